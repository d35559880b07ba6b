//! A medium that keeps a log of one part, in memory.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use backplane_core::{
    ByteSize, Delivery, Durability, Filter, LinkError, Offset, Order, Position, PublisherOutage,
    Receipt, Replay, Semantics, SubscriberOutage, Topic,
    wire::{Batch, Entry, Inbound, Reader, Refused, Session, Wire},
};
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// The log. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<(Topic, Bytes)>,
    /// Counts the cuts of all readers.
    cuts: u64,
}

/// One node's connections to it, for the test to meddle with.
#[derive(Debug, Clone)]
pub(crate) struct LogWire {
    log: Log,
    place: Arc<Mutex<Place>>,
}

#[derive(Debug, Default)]
struct Place {
    /// How far it has read. Outlives connections.
    read: Option<usize>,
    cuts: u64,
    /// So many of the next messages are not handed over.
    drops: usize,
    /// Nothing is read.
    held: bool,
}

impl Log {
    pub(crate) fn wire(&self) -> LogWire {
        LogWire { log: self.clone(), place: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn changed(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Ends the connection of everyone who reads from a position.
    pub(crate) fn cut_readers(&self) {
        self.state().cuts += 1;
        self.changed();
    }

    /// What stands behind this place.
    fn behind(&self, place: usize) -> Vec<(usize, Topic, Bytes)> {
        let state = self.state();
        let entries = state.entries.iter().enumerate().skip(place);
        entries.map(|(at, (topic, bytes))| (at, topic.clone(), bytes.clone())).collect()
    }
}

impl LogWire {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap()
    }

    /// Ends the present connection.
    pub(crate) fn cut(&self) {
        self.place().cuts += 1;
        self.log.changed();
    }

    /// Reads nothing until it is to go on.
    pub(crate) fn hold(&self, held: bool) {
        self.place().held = held;
        self.log.changed();
    }

    /// So many of the next messages do not arrive.
    pub(crate) fn drop_next(&self, count: usize) {
        self.place().drops = count;
    }
}

fn offset(at: usize) -> Offset {
    Offset::new(0, (at as u64 + 1, 0))
}

fn lost() -> LinkError {
    LinkError::Lost { reason: "cut".to_owned() }
}

#[async_trait]
impl Wire for LogWire {
    type Session = LogSession;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtLeastOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Stored,
            durability: Durability::Nothing,
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::CatchesUp,
            replay: Replay::Kept { age: None, entries: None },
            filter: Filter::Node,
            largest_body: ByteSize::kib(1),
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<LogSession, LinkError> {
        let end = self.log.state().entries.len();
        let cuts = {
            let mut place = self.place();
            place.read.get_or_insert(end);
            place.cuts
        };
        let (told, caught_up) = watch::channel(false);
        let wire = self.clone();
        let reading = async move {
            let mut changed = wire.log.0.changed.subscribe();
            loop {
                changed.borrow_and_update();
                if wire.place().cuts != cuts {
                    return inbound.lost(lost());
                }
                let (read, held) = {
                    let place = wire.place();
                    (place.read.unwrap_or(0), place.held)
                };
                for (at, topic, bytes) in wire.log.behind(if held { usize::MAX } else { read }) {
                    let dropped = {
                        let mut place = wire.place();
                        let drops = place.drops > 0 && !topic.hub().is_empty();
                        place.drops -= usize::from(drops);
                        drops
                    };
                    if !dropped && !inbound.frame_at(bytes, offset(at)) {
                        return;
                    }
                    wire.place().read = Some(at + 1);
                }
                if wire.place().read >= Some(end) {
                    told.send_replace(true);
                }
                changed.changed().await.unwrap();
            }
        };
        let reading = AbortOnDropHandle::new(tokio::spawn(reading));
        Ok(LogSession { log: self.log.clone(), caught_up, _reading: reading })
    }

    async fn read(
        &self,
        _: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError> {
        let state = self.log.state();
        let (position, read) = match from {
            Position::Earliest => (from, 0),
            Position::Now => match state.entries.len() {
                0 => (Position::Earliest, 0),
                end => (Position::After(Offset::end_of(0, (end as u64, 0))), end),
            },
            Position::After(offset) => (from, offset.entry().0 as usize - 1),
        };
        let reader = LogReader { log: self.log.clone(), read, cuts: state.cuts };
        Ok((position, Box::new(reader)))
    }
}

#[derive(Debug)]
pub(crate) struct LogSession {
    log: Log,
    caught_up: watch::Receiver<bool>,
    _reading: AbortOnDropHandle<()>,
}

#[async_trait]
impl Session for LogSession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let frames = batch.frames().into_iter().map(|frame| (frame.topic, frame.bytes));
        self.log.state().entries.extend(frames);
        self.log.changed();
        Ok(Vec::new())
    }

    async fn caught_up(&self) -> Result<(), LinkError> {
        self.caught_up.clone().wait_for(|it| *it).await.map_err(|_| lost())?;
        Ok(())
    }
}

#[derive(Debug)]
struct LogReader {
    log: Log,
    read: usize,
    cuts: u64,
}

#[async_trait]
impl Reader for LogReader {
    async fn next(&mut self) -> Result<Vec<Entry>, LinkError> {
        let mut changed = self.log.0.changed.subscribe();
        loop {
            if self.log.state().cuts != self.cuts {
                return Err(lost());
            }
            let found = self.log.behind(self.read);
            if !found.is_empty() {
                self.read += found.len();
                let entry = |(at, _, bytes)| Entry::Frame { bytes, offset: offset(at) };
                return Ok(found.into_iter().map(entry).collect());
            }
            changed.changed().await.map_err(|_| lost())?;
        }
    }
}
