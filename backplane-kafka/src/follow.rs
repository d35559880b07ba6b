//! The thread that reads every partition, and owns the client that does.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use backplane_core::{LinkError, Offset, wire::Inbound};
use bytes::Bytes;
use rdkafka::{
    Message, Offset as Where, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
    message::BorrowedMessage,
};
use tokio::{
    runtime::Handle,
    sync::{OwnedMutexGuard, oneshot, watch},
};

use crate::{
    client::{self, Ear},
    cluster,
    config::KafkaConfig,
    error::{self, lost},
    part,
    place::Place,
    publish::Publisher,
};

/// How soon the thread looks whether it is to end.
const POLL: Duration = Duration::from_millis(100);

/// The clients of one connection, and what the cluster was found to have.
pub(crate) struct Opened {
    pub(crate) publisher: Publisher,
    /// How many partitions there are.
    pub(crate) partitions: u32,
    /// Says where to begin; without, the thread ends.
    pub(crate) begin: mpsc::SyncSender<()>,
}

/// What a session and its thread share.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) place: Arc<Place>,
    pub(crate) stop: AtomicBool,
    /// How many partitions there are by now.
    pub(crate) partitions: AtomicU32,
    pub(crate) caught_up: watch::Sender<bool>,
}

struct Follower {
    consumer: BaseConsumer<Ear>,
    topic: Box<str>,
    following: Arc<Following>,
    inbound: Inbound,
    assigned: u32,
}

/// Starts the thread. It creates the clients and answers with them, waits until it may begin, reads until
/// it is to stop, and ends the client that reads, all of which blocks.
///
/// It holds `turn` until it reads no more, so that one connection at a time moves the node's place.
pub(crate) fn start(
    config: Arc<KafkaConfig>,
    following: Arc<Following>,
    inbound: Inbound,
    turn: OwnedMutexGuard<()>,
) -> io::Result<oneshot::Receiver<Result<Opened, LinkError>>> {
    let (opened, answer) = oneshot::channel();
    let runtime = Handle::current();
    thread::Builder::new().name("backplane-kafka".to_owned()).spawn(move || {
        // Sinks run here, as they would on the runtime.
        let _entered = runtime.enter();
        let (begin, may_begin) = mpsc::sync_channel(1);
        let (consumer, outcome) = match open(&config, &inbound, begin) {
            Ok((consumer, open)) => (Some(consumer), Ok(open)),
            Err(error) => (None, Err(error)),
        };
        // Whoever asked may have lost patience.
        let _ = opened.send(outcome);
        let Some(consumer) = consumer else { return };
        let topic = config.topic.as_str().into();
        let mut follower = Follower { consumer, topic, following, inbound, assigned: 0 };
        if may_begin.recv().is_ok()
            && let Err(cause) = follower.follow()
        {
            follower.inbound.lost(cause);
        }
        // The next connection need not wait for the end of this client.
        drop(turn);
    })?;
    Ok(answer)
}

fn open(
    config: &KafkaConfig,
    inbound: &Inbound,
    begin: mpsc::SyncSender<()>,
) -> Result<(BaseConsumer<Ear>, Opened), LinkError> {
    let ear = || {
        let inbound = inbound.clone();
        Ear::new(config, move |cause| inbound.lost(cause))
    };
    let publisher = Publisher::new(config, ear())?;
    let consumer: BaseConsumer<Ear> =
        client::consumer(config).create_with_context(ear()).map_err(lost)?;
    let within = config.node.connect_deadline.mul_f64(0.8);
    let partitions = cluster::prepare_topic(consumer.client(), config, within)?;
    Ok((consumer, Opened { publisher, partitions, begin }))
}

impl Follower {
    fn follow(&mut self) -> Result<(), LinkError> {
        while !self.following.stop.load(Ordering::Acquire) {
            let partitions = self.following.partitions.load(Ordering::Acquire);
            if partitions > self.assigned {
                self.assign(partitions)?;
            }
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(record)) => {
                    if !self.take(&record) {
                        return Ok(());
                    }
                }
                Some(Err(trouble)) => {
                    if let Some(cause) = error::of_reading(&trouble, &self.topic) {
                        return Err(cause);
                    }
                    tracing::debug!(error = %trouble, "reading goes on");
                }
            }
        }
        Ok(())
    }

    /// Reads so many partitions, each on from the node's place.
    fn assign(&mut self, partitions: u32) -> Result<(), LinkError> {
        let places = {
            let mut place = self.following.place.lock();
            // One that is new has nothing that was there before.
            let count = place.next.len().max(partitions as usize);
            place.next.resize(count, 0);
            place.next[..partitions as usize].to_vec()
        };
        if self.assigned > 0 {
            tracing::info!(topic = &*self.topic, partitions, "there are more partitions now");
        }
        let assignment = assignment(&self.topic, (0..).zip(places)).map_err(lost)?;
        self.consumer.assign(&assignment).map_err(lost)?;
        self.assigned = partitions;
        Ok(())
    }

    /// Hands a record over, if it is wanted. Returns false once the node has given this connection up.
    fn take(&self, record: &BorrowedMessage<'_>) -> bool {
        let Following { place, stop, caught_up, .. } = &*self.following;
        let (partition, offset) = (record.partition() as u32, record.offset());
        let key = record.key().and_then(|key| std::str::from_utf8(key).ok());
        match key {
            Some(part::FENCE) => {}
            Some(key)
                if key.contains('/')
                    && !place.wants(key, partition, offset, || !stop.load(Ordering::Acquire)) =>
            {
                self.inbound.uninterested(1);
            }
            // What somebody else has written there is counted as what it is.
            _ => {
                let value = Bytes::copy_from_slice(record.payload().unwrap_or_default());
                if !self.inbound.frame_at(value, offset_of(partition, offset)) {
                    return false;
                }
            }
        }
        if place.lock().read(partition, offset) {
            caught_up.send_replace(true);
        }
        true
    }
}

/// These partitions, each from this place on.
pub(crate) fn assignment(
    topic: &str,
    places: impl IntoIterator<Item = (i32, i64)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, next) in places {
        // Wherever a log begins that has been trimmed from its beginning on.
        let from = if next == 0 { Where::Beginning } else { Where::Offset(next) };
        list.add_partition_offset(topic, partition, from)?;
    }
    Ok(list)
}

/// A record's place, as the node counts.
pub(crate) const fn offset_of(partition: u32, offset: i64) -> Offset {
    Offset::new(partition, (offset.unsigned_abs(), 0))
}
