//! The thread that reads every partition, and owns the client that does.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use backplane_core::{LinkError, Offset, Topic, wire::Inbound};
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
    place::{Place, Trace},
    publish::Publisher,
};

/// How soon the thread looks whether it is to end.
const POLL: Duration = Duration::from_millis(100);

/// How often, and after which pause, what is missing is read again.
const MOST_TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
const SEEK_WITHIN: Duration = Duration::from_secs(2);

/// How much of a record is enough to know it again.
const TRACED: usize = 64;

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
    topic: Box<str>,
    following: Arc<Following>,
    inbound: Inbound,
    /// Into how many partitions this node divides topics.
    own: u32,
    /// What comes next of each partition that is read.
    next: Vec<i64>,
    /// What that has to be, where it was read on the connection before: otherwise it is another log.
    known: Vec<Option<Trace>>,
    missing: Missing,
}

/// What became of a record.
enum Taken {
    Yes,
    /// The node has given this connection up.
    No,
    /// The one before it was not there yet.
    Again,
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
        let mut follower = Follower {
            topic: config.topic.as_str().into(),
            following,
            inbound,
            own: config.partitions,
            next: Vec::new(),
            known: Vec::new(),
            missing: Missing::default(),
        };
        if may_begin.recv().is_ok()
            && let Err(cause) = follower.follow(&consumer)
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
    fn follow(&mut self, consumer: &BaseConsumer<Ear>) -> Result<(), LinkError> {
        while !self.following.stop.load(Ordering::Acquire) {
            let partitions = self.following.partitions.load(Ordering::Acquire);
            if partitions as usize > self.next.len() {
                self.assign(consumer, partitions)?;
            }
            let again = match consumer.poll(POLL) {
                None => continue,
                Some(Ok(record)) => {
                    let (partition, offset) = (record.partition() as u32, record.offset());
                    match self.take(&record, partition, offset) {
                        Taken::Yes => continue,
                        Taken::No => return Ok(()),
                        Taken::Again => partition,
                    }
                }
                Some(Err(trouble)) => match error::of_reading(&trouble, &self.topic) {
                    Some(cause) => return Err(cause),
                    None => {
                        tracing::debug!(error = %trouble, "reading goes on");
                        continue;
                    }
                },
            };
            let next = self.next[again as usize];
            read_again(consumer, &self.topic, again, next).map_err(lost)?;
        }
        Ok(())
    }

    /// Reads so many partitions, each on from the node's place.
    fn assign(&mut self, consumer: &BaseConsumer<Ear>, partitions: u32) -> Result<(), LinkError> {
        if !self.next.is_empty() {
            tracing::info!(topic = &*self.topic, partitions, "there are more partitions now");
        }
        {
            let mut place = self.following.place.lock();
            place.resize(partitions as usize);
            self.next.clone_from(&place.next);
            self.known.clone_from(&place.last);
        }
        for (next, known) in self.next.iter_mut().zip(&self.known) {
            *next -= i64::from(known.is_some());
        }
        let places = (0..).zip(self.next.iter().copied());
        let assignment = assignment(&self.topic, places).map_err(lost)?;
        consumer.assign(&assignment).map_err(lost)
    }

    /// Hands a record over, if it is wanted.
    fn take(&mut self, record: &BorrowedMessage<'_>, partition: u32, offset: i64) -> Taken {
        let Some(next) = self.next.get_mut(partition as usize) else { return Taken::Yes };
        let look = self.missing.look(partition, *next, offset);
        match look {
            Look::Next => {}
            Look::Passed => return Taken::Yes,
            Look::Again => return Taken::Again,
            Look::Gone => {
                tracing::warn!(partition, next, offset, "records are not there that were");
                let own = self.own;
                self.inbound.trimmed(|topic| concerns(partition, topic, own));
            }
        }
        let Following { place, stop, caught_up, .. } = &*self.following;
        let trace = trace_of(record);
        if let Some(known) = self.known[partition as usize].take() {
            if trace == known && look == Look::Next {
                *next = offset + 1;
                return Taken::Yes;
            }
            tracing::warn!(partition, offset, "it is another log now");
            *next = 0;
            place.lock().begin_anew(partition);
            let own = self.own;
            self.inbound.trimmed(|topic| concerns(partition, topic, own));
            return Taken::Again;
        }
        let key = record.key().and_then(|key| std::str::from_utf8(key).ok());
        match key {
            Some(part::FENCE) => {}
            Some(key)
                if key.contains('/')
                    && !place.wants(key, partition, offset, || !stop.load(Ordering::Acquire)) =>
            {
                // No hub has an empty name: that is a node's talk, and no envelope of anybody's.
                self.inbound.uninterested(u64::from(!key.starts_with('/')));
            }
            // What somebody else has written there is counted as what it is.
            _ => {
                let value = Bytes::copy_from_slice(record.payload().unwrap_or_default());
                if !self.inbound.frame_at(value, offset_of(partition, offset)) {
                    return Taken::No;
                }
            }
        }
        *next = offset + 1;
        if place.lock().read(partition, offset, trace) {
            caught_up.send_replace(true);
        }
        Taken::Yes
    }
}

fn trace_of(record: &BorrowedMessage<'_>) -> Trace {
    let value = record.payload().unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    hasher.write(value.get(..TRACED).unwrap_or(value));
    Trace { timestamp: record.timestamp().to_millis(), length: value.len(), hash: hasher.finish() }
}

/// Whether what stands in this partition may be of this topic: one that the node does not use itself may
/// hold anything of a node that divides topics otherwise.
pub(crate) fn concerns(partition: u32, topic: &Topic, own: u32) -> bool {
    partition == part::of(topic, own) || partition >= own
}

/// Watches that the records of a partition follow each other.
///
/// They do, as nobody deletes or compacts them in between, and no transaction leaves marks. But Tansu 0.6
/// may show a batch before the one in front of it, when two are stored at once: then the same is read again,
/// until the other is there.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Of a partition, the offset that is missing, and how often it was read again.
    at: HashMap<u32, (i64, u32)>,
}

/// What a record is to what should come next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Next,
    /// It was read before.
    Passed,
    /// It comes too early.
    Again,
    /// What should have come next is not there.
    Gone,
}

impl Missing {
    pub(crate) fn look(&mut self, partition: u32, next: i64, offset: i64) -> Look {
        if offset <= next {
            return if offset == next { Look::Next } else { Look::Passed };
        }
        let (at, tries) = self.at.entry(partition).or_default();
        *tries = if *at == next { *tries + 1 } else { 1 };
        *at = next;
        if *tries > MOST_TRIES { Look::Gone } else { Look::Again }
    }
}

/// Goes back to what is missing.
pub(crate) fn read_again(
    consumer: &BaseConsumer<Ear>,
    topic: &str,
    partition: u32,
    next: i64,
) -> KafkaResult<()> {
    client::pause(BETWEEN_TRIES);
    consumer.seek(topic, partition as i32, Where::Offset(next), SEEK_WITHIN)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_early_is_read_again_for_a_while() {
        let mut missing = Missing::default();
        assert_eq!(missing.look(0, 5, 5), Look::Next);
        assert_eq!(missing.look(0, 5, 4), Look::Passed);
        assert_eq!(missing.look(0, 6, 8), Look::Again);
        assert_eq!(missing.look(0, 6, 6), Look::Next);
        for _ in 0..MOST_TRIES {
            assert_eq!(missing.look(1, 7, 9), Look::Again);
        }
        assert_eq!(missing.look(1, 7, 9), Look::Gone);
        assert_eq!(missing.look(1, 10, 12), Look::Again);
    }

    #[test]
    fn holes_of_two_partitions_are_told_apart() {
        let mut missing = Missing::default();
        for _ in 0..MOST_TRIES {
            assert_eq!(missing.look(0, 5, 7), Look::Again);
            assert_eq!(missing.look(1, 0, 2), Look::Again);
        }
        assert_eq!([missing.look(0, 5, 7), missing.look(1, 0, 2)], [Look::Gone, Look::Gone]);
    }
}
