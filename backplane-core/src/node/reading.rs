//! Sinks that read a log from a position on, each on a connection of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hashbrown::{HashMap, hash_map::Entry as Place};
use tokio_util::sync::CancellationToken;

use super::{NodeOptions, Shared, supervisor::Pause};
use crate::{
    Envelope, Event, Gap, LinkError, NodeId, Offset, Position, Replay, Sink, SubscribeError,
    Subscription, Topic,
    codec::{self, Received},
    envelope::{Kind, Sequence},
    event::Telling,
    interest::Confirmation,
    sequenced::Hashing,
    wire::{Entry, Reader, Wire},
};

/// The most origins of which a reading knows the last number. Beyond it, what its publisher sent twice is
/// delivered twice.
const MOST_ORIGINS: usize = 4096;

/// The log of a wire, whatever its type.
#[async_trait]
pub(super) trait Log: std::fmt::Debug + Send + Sync {
    fn part_of(&self, topic: &Topic) -> u32;

    async fn read(
        &self,
        topic: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError>;
}

#[async_trait]
impl<W: Wire> Log for W {
    fn part_of(&self, topic: &Topic) -> u32 {
        Wire::part_of(self, topic)
    }

    async fn read(
        &self,
        topic: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError> {
        Wire::read(self, topic, from).await
    }
}

/// One sink, and how far it has read.
#[derive(Debug)]
struct Reading {
    shared: Arc<Shared>,
    topic: Topic,
    sink: Arc<dyn Sink>,
    position: Position,
    /// The last number of each origin.
    origins: HashMap<NodeId, Sequence, Hashing>,
}

impl Shared {
    /// Starts to read a topic for a sink.
    pub(super) fn read(
        self: &Arc<Self>,
        log: Arc<dyn Log>,
        topic: Topic,
        sink: Arc<dyn Sink>,
        from: Position,
        options: &NodeOptions,
    ) -> Result<Subscription, SubscribeError> {
        if self.semantics.replay == Replay::None {
            return Err(SubscribeError::NoReplay { topic });
        }
        if self.closing.is_cancelled() {
            return Err(SubscribeError::Closed);
        }
        if !topic.fits() {
            return Err(SubscribeError::NameTooLong { topic });
        }
        if let Position::After(offset) = from
            && offset.part() != log.part_of(&topic)
        {
            return Err(SubscribeError::WrongOffset { topic, offset });
        }
        let confirmation = Arc::new(Confirmation::new(1));
        let ended = self.stop.child_token();
        let reading = Reading {
            shared: Arc::clone(self),
            topic: topic.clone(),
            sink,
            position: from,
            origins: HashMap::default(),
        };
        let (pause, deadline) = (Pause::new(options), options.connect_deadline);
        let run = reading.run(log, Arc::clone(&confirmation), ended.clone(), pause, deadline);
        tokio::spawn(run);
        Ok(Subscription::of_reading(topic, confirmation, ended.drop_guard()))
    }
}

impl Reading {
    async fn run(
        mut self,
        log: Arc<dyn Log>,
        confirmation: Arc<Confirmation>,
        ended: CancellationToken,
        mut pause: Pause,
        deadline: Duration,
    ) {
        let mut interrupted = false;
        let reading = async {
            loop {
                let mut since = Instant::now();
                let opened = log.read(&self.topic, self.position);
                let cause = match tokio::time::timeout(deadline, opened).await {
                    Err(_) => LinkError::TimedOut { doing: "opening the log", waited: deadline },
                    Ok(Err(cause)) => cause,
                    Ok(Ok((position, reader))) => {
                        self.position = position;
                        pause.reset();
                        confirmation.confirm();
                        if std::mem::take(&mut interrupted) {
                            self.tell(&Event::Restored);
                        }
                        self.follow(reader, &mut since).await
                    }
                };
                let (node, topic) = (self.shared.id, &self.topic);
                tracing::debug!(%node, %topic, %cause, "reading the log will be tried again");
                if confirmation.is_settled() && !std::mem::replace(&mut interrupted, true) {
                    self.tell(&Event::Interrupted { since });
                }
                tokio::time::sleep(pause.next()).await;
            }
        };
        tokio::select! {
            biased;
            () = ended.cancelled() => confirmation.close(),
            () = reading => {}
        }
    }

    /// Delivers what a reader finds, until its connection is lost. `since` becomes the time of what it
    /// found last.
    async fn follow(&mut self, mut reader: Box<dyn Reader>, since: &mut Instant) -> LinkError {
        loop {
            let entries = match reader.next().await {
                Ok(entries) => entries,
                Err(cause) => return cause,
            };
            *since = Instant::now();
            for entry in entries {
                match entry {
                    Entry::Frame { bytes, offset } => self.frame(bytes, offset),
                    Entry::Trimmed => self.lost(None, None),
                }
            }
        }
    }

    fn frame(&mut self, bytes: bytes::Bytes, entry: Offset) {
        let mut index = 0;
        codec::read(bytes, |received| {
            let offset = entry.at(index);
            index += 1;
            let before = matches!(self.position, Position::After(last) if offset <= last);
            if before {
                return;
            }
            self.position = Position::After(offset);
            match received {
                Ok(received) => self.envelope(&received, offset),
                Err(error) => self.shared.unreadable(&error),
            }
        });
    }

    fn envelope(&mut self, received: &Received, offset: Offset) {
        let header = match received.header() {
            Ok(header) => header,
            Err(error) => return self.shared.unreadable(&error),
        };
        let shared = Arc::clone(&self.shared);
        let counters = shared.counters.kind(header.topic.kind);
        if header.kind != Kind::Message || header.topic != self.topic.as_parts() {
            return;
        }
        counters.received.add(1);
        let Some(origin) = received.origin() else { return };
        if let Some(sequence) = header.sequence {
            match self.place(origin, sequence) {
                Some(missing) if missing > 0 => self.lost(Some(origin), Some(missing)),
                Some(_) => {}
                None => return counters.doubled.add(1),
            }
        }
        let mut envelope = Envelope::new(self.topic.clone(), received.body.clone())
            .except(header.except.iter().copied())
            .trace(header.trace.map(Arc::from));
        envelope.origin = Some(origin);
        envelope.sequence = header.sequence;
        envelope.offset = Some(offset);
        counters.delivered.add(1);
        self.tell(&Event::Message(envelope));
    }

    /// How many are missing between the last of its origin and this; none where it comes again.
    fn place(&mut self, origin: NodeId, sequence: Sequence) -> Option<u64> {
        if self.origins.len() >= MOST_ORIGINS && !self.origins.contains_key(&origin) {
            self.origins.clear();
        }
        match self.origins.entry(origin) {
            Place::Vacant(vacant) => {
                vacant.insert(sequence);
                Some(0)
            }
            Place::Occupied(mut last) => {
                let Sequence { epoch, number, .. } = *last.get();
                if sequence.epoch < epoch || (sequence.epoch == epoch && sequence.number <= number)
                {
                    return None;
                }
                last.insert(sequence);
                let first = if sequence.epoch == epoch { number + 1 } else { 1 };
                Some(sequence.number.saturating_sub(first))
            }
        }
    }

    fn lost(&mut self, origin: Option<NodeId>, count: Option<u64>) {
        match count {
            Some(count) => self.shared.counters.kind(self.topic.kind()).lost.add(count),
            None => {
                self.shared.counters.uncounted_gaps.add(1);
                // What is missing behind it was told by this.
                self.origins.clear();
            }
        }
        self.tell(&Event::Gap(Gap::new(self.topic.clone(), origin, count)));
    }

    fn tell(&self, event: &Event) {
        let _telling = Telling::begin();
        self.sink.accept(event);
    }
}
