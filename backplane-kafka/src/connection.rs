use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak, atomic::AtomicBool, atomic::AtomicU32, atomic::Ordering,
    },
    time::Duration,
};

use async_trait::async_trait;
use backplane_core::{
    ByteSize, Delivery, Durability, Filter, LinkError, Offset, Order, Position, PublisherOutage,
    Receipt, Replay, Semantics, SubscriberOutage, Topic,
    wire::{Batch, Inbound, Reader, Refused, Session, Wire},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    cluster::{self, Found},
    config::KafkaConfig,
    error::{lost, of_answer},
    follow::{self, Following, Opened},
    part,
    place::Place,
    publish::Publisher,
    read::LogReader,
};

/// The largest body: with the longest header, of 256 KiB, the longest key, and what Kafka puts around them,
/// it fits into the default `max.message.bytes` of 1 MiB.
const LARGEST_BODY: ByteSize = ByteSize::kib(760);

/// How often the partitions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Connects to one cluster.
pub(crate) struct KafkaWire {
    config: Arc<KafkaConfig>,
    place: Arc<Place>,
    /// Held by the connection that moves the place.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// What publishes on the latest connection.
    publisher: Mutex<Weak<Publisher>>,
}

impl KafkaWire {
    pub(crate) fn new(config: KafkaConfig) -> Self {
        Self {
            config: Arc::new(config),
            place: Arc::default(),
            turn: Arc::default(),
            publisher: Mutex::default(),
        }
    }

    /// Where each partition begins by now, of those that the node reads on from its place.
    async fn beginnings(
        &self,
        publisher: &Arc<Publisher>,
        marks: &[i64],
    ) -> Result<Vec<(usize, i64)>, LinkError> {
        let behind: Vec<usize> = {
            let place = self.place.lock();
            let both = place.next.iter().zip(marks).enumerate();
            both.filter(|(_, (next, mark))| next <= mark).map(|(partition, _)| partition).collect()
        };
        let mut found = Vec::with_capacity(behind.len());
        for partition in behind {
            found.push((partition, self.beginning(publisher, partition as u32).await?));
        }
        Ok(found)
    }

    /// Where a partition begins by now.
    async fn beginning(
        &self,
        publisher: &Arc<Publisher>,
        partition: u32,
    ) -> Result<i64, LinkError> {
        let (publisher, config) = (Arc::clone(publisher), Arc::clone(&self.config));
        let asking = tokio::task::spawn_blocking(move || {
            let waited = config.node.answer_deadline;
            let client = publisher.client().ok_or_else(|| lost("it has ended"))?;
            let answer = client.fetch_watermarks(&config.topic, partition as i32, waited);
            let doing = "asking where a partition begins";
            answer.map_err(|error| of_answer(&error, doing, waited, &config.servers.join(",")))
        });
        Ok(asking.await.map_err(lost)??.0)
    }

    /// Moves the node's place to where reading begins on a new connection, and tells of what is gone.
    fn resume(&self, marks: &[i64], beginnings: &[(usize, i64)], inbound: &Inbound) {
        let mut trimmed = Vec::new();
        {
            let mut place = self.place.lock();
            if place.next.is_empty() {
                place.next = marks.to_vec();
            }
            place.resize(marks.len());
            place.begin(marks);
            for (partition, mark) in marks.iter().enumerate() {
                if place.next[partition] > *mark || place.is_due_behind(partition as u32, *mark) {
                    // It is another log now, or has lost its end. What was marked, and not read yet, stood in
                    // front of what was stored just now.
                    place.begin_anew(partition as u32);
                    trimmed.push(partition as u32);
                }
            }
            for (partition, beginning) in beginnings {
                if place.next[*partition] < *beginning {
                    place.next[*partition] = *beginning;
                    trimmed.push(*partition as u32);
                }
                if place.next[*partition] <= *beginning {
                    place.last[*partition] = None;
                }
            }
        }
        if trimmed.is_empty() {
            return;
        }
        tracing::warn!(partitions = ?trimmed, "the log does not hold any more what comes next");
        let own = self.config.partitions;
        inbound.trimmed(|topic| trimmed.iter().any(|it| follow::concerns(*it, topic, own)));
    }
}

#[async_trait]
impl Wire for KafkaWire {
    type Session = KafkaSession;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtLeastOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Stored,
            // Who does not force writes onto the disk, as is usual, relies on its replicas.
            durability: Durability::AsSetUp { settings: "min.insync.replicas, flush.messages" },
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::CatchesUp,
            replay: Replay::Kept { age: Some(self.config.age), entries: None },
            filter: Filter::Node,
            largest_body: LARGEST_BODY,
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<KafkaSession, LinkError> {
        cluster::knock(&self.config).await?;
        // The connection before gives it back when it ends.
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let following = Arc::new(Following {
            place: Arc::clone(&self.place),
            stop: AtomicBool::new(false),
            partitions: AtomicU32::new(0),
            caught_up: watch::Sender::new(false),
        });
        // From here on, dropping this ends the thread.
        let stop = Stop(Arc::clone(&following));
        let config = Arc::clone(&self.config);
        let opening = follow::start(config, Arc::clone(&following), inbound.clone(), turn);
        let opened = opening.map_err(lost)?.await.map_err(lost)??;
        let Opened { publisher, partitions, begin } = opened;
        let publisher = Arc::new(publisher);
        let all: Vec<u32> = (0..partitions).collect();
        let marks = publisher.fence(&all).await?;
        let beginnings = self.beginnings(&publisher, &marks).await?;
        self.resume(&marks, &beginnings, &inbound);
        following.partitions.store(partitions, Ordering::Release);
        begin.send(()).map_err(lost)?;
        let latest = Arc::downgrade(&publisher);
        *self.publisher.lock().unwrap_or_else(PoisonError::into_inner) = latest;
        let config = Arc::clone(&self.config);
        let watching = watch_partitions(config, Arc::clone(&publisher), following, inbound);
        Ok(KafkaSession {
            publisher,
            own: self.config.partitions,
            stop,
            watching: tokio::spawn(watching),
        })
    }

    fn part_of(&self, topic: &Topic) -> u32 {
        part::of(topic, self.config.partitions)
    }

    async fn read(
        &self,
        topic: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError> {
        let partition = part::of(topic, self.config.partitions);
        let publisher = self.publisher.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let publisher = publisher.ok_or_else(|| lost("the node has no connection"))?;
        let mark = publisher.fence(&[partition]).await?.first().copied().unwrap_or_default();
        let (position, next, trimmed) = match from {
            Position::Earliest => (from, 0, false),
            Position::Now => {
                let offset = Offset::end_of(partition, (mark.unsigned_abs(), 0));
                (Position::After(offset), mark + 1, false)
            }
            Position::After(offset) => {
                let entry = i64::try_from(offset.entry().0).unwrap_or(i64::MAX);
                if entry > mark {
                    // It is another log now: its offsets say nothing about the one that was meant.
                    (Position::Earliest, 0, true)
                } else {
                    let beginning = self.beginning(&publisher, partition).await?;
                    (from, entry.max(beginning), beginning > entry)
                }
            }
        };
        let reader = LogReader::start(&self.config, partition, part::key(topic), next, trimmed)?;
        Ok((position, Box::new(reader)))
    }
}

/// Looks after the connection for as long as it lives: at partitions that were added, and whether each takes
/// and brings records. The node's own probes prove one of them only, and the client library keeps quiet
/// about a broker of several that it cannot reach.
async fn watch_partitions(
    config: Arc<KafkaConfig>,
    publisher: Arc<Publisher>,
    following: Arc<Following>,
    inbound: Inbound,
) {
    let mut before: Vec<(i64, i64)> = Vec::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (asked, asking) = (Arc::clone(&config), Arc::clone(&publisher));
        let counted = tokio::task::spawn_blocking(move || {
            let client = asking.client().ok_or_else(|| lost("it has ended"))?;
            cluster::partitions(client, &asked, asked.node.answer_deadline)
        });
        match counted.await.map_err(lost).flatten() {
            Ok(Found::Ready(count)) => {
                following.partitions.fetch_max(count, Ordering::AcqRel);
            }
            Ok(Found::NotReady) => {}
            Ok(Found::Missing) => {
                return inbound.lost(lost(format!("the topic {} is gone", config.topic)));
            }
            Err(error) => tracing::debug!(%error, "the partitions could not be counted"),
        }
        let next = following.place.lock().next.clone();
        let is_silent = |((mark, then), now): (&(i64, i64), &i64)| now <= mark && now == then;
        if let Some(partition) = before.iter().zip(&next).position(is_silent) {
            return inbound.lost(lost(format!("partition {partition} brings no records")));
        }
        let all: Vec<u32> = (0..following.partitions.load(Ordering::Acquire)).collect();
        match publisher.fence(&all).await {
            Ok(marks) => before = marks.into_iter().zip(next).collect(),
            Err(cause) => return inbound.lost(cause),
        }
    }
}

/// Ends the thread that reads.
struct Stop(Arc<Following>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}

/// Two clients: one publishes, one reads. Dropping it ends both with their threads.
pub(crate) struct KafkaSession {
    publisher: Arc<Publisher>,
    /// Into how many partitions this node divides topics.
    own: u32,
    stop: Stop,
    watching: JoinHandle<()>,
}

impl Drop for KafkaSession {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[async_trait]
impl Session for KafkaSession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        self.publisher.write(batch).await
    }

    /// From now on these are wanted: from where they were on the connection before, otherwise behind what
    /// stands in their partition now.
    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        let place = &self.stop.0.place;
        let mut fresh = Vec::new();
        {
            let mut place = place.lock();
            for topic in topics {
                let key = part::key(topic);
                if place.want(&key) {
                    fresh.push((key, part::of(topic, self.own)));
                }
            }
        }
        let mut partitions: Vec<u32> = fresh.iter().map(|(_, partition)| *partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let marks = self.publisher.fence(&partitions).await?;
        place.mark(fresh.into_iter().filter_map(|(key, partition)| {
            let at = partitions.binary_search(&partition).ok()?;
            Some((key.into(), partition, *marks.get(at)?))
        }));
        Ok(Vec::new())
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        let mut place = self.stop.0.place.lock();
        topics.iter().for_each(|topic| place.give_up(&part::key(topic)));
        Ok(())
    }

    async fn caught_up(&self) -> Result<(), LinkError> {
        let Following { place, caught_up, .. } = &*self.stop.0;
        if place.lock().settle() {
            caught_up.send_replace(true);
        }
        caught_up.subscribe().wait_for(|it| *it).await.map_err(lost)?;
        Ok(())
    }
}

impl fmt::Debug for KafkaWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaWire").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for KafkaSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSession").field("publisher", &self.publisher).finish_non_exhaustive()
    }
}
