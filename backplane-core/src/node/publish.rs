use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytesize::ByteSize;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{NodeOptions, Shared, outgoing::Queued};
use crate::{Envelope, Event, PublishError, Ticket, codec, event::Telling, ticket::Ledger};

/// Topics are spread over this many lanes, each with its own lock, numbers and outcomes.
pub(super) const LANES: usize = 16;

/// The publishers' side of the outgoing queue.
#[derive(Debug)]
pub(super) struct Outbound {
    lanes: [Lane; LANES],
    queue: mpsc::Sender<Queued>,
    /// One permit per byte that may still be queued.
    room: Semaphore,
    freed: Notify,
    capacity: usize,
    /// Whether envelopes are queued for the wire at all.
    pub(super) up: AtomicBool,
    /// Envelopes that were given up when the node ended.
    pub(super) abandoned: AtomicU64,
}

#[derive(Debug, Default)]
struct Lane {
    /// The latest number. Held while the local sinks are told, so that they and the wire see one order.
    latest: Mutex<u64>,
    ledger: Arc<Ledger>,
}

impl Outbound {
    pub(super) fn new(options: &NodeOptions) -> (Self, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(options.queue_envelopes.max(1));
        let capacity = usize::try_from(options.queue_bytes.as_u64())
            .unwrap_or(usize::MAX)
            .min(u32::MAX as usize)
            .min(Semaphore::MAX_PERMITS);
        let outbound = Self {
            lanes: Default::default(),
            queue,
            room: Semaphore::new(capacity),
            freed: Notify::new(),
            capacity,
            up: AtomicBool::new(false),
            abandoned: AtomicU64::new(0),
        };
        (outbound, queued)
    }

    /// What an envelope of this cost takes of the byte bound; one that is larger than the whole
    /// bound waits until the queue is empty.
    fn permits(&self, cost: usize) -> u32 {
        u32::try_from(cost.min(self.capacity)).unwrap_or(u32::MAX)
    }

    /// Waits until there is room. Reserves nothing: a place that is passed from one waiter to the
    /// next would never be taken.
    pub(super) async fn room(&self, cost: usize) -> Result<(), PublishError> {
        let permits = self.permits(cost) as usize;
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.queue.is_closed() || self.room.is_closed() {
                return Err(PublishError::Closed);
            }
            if self.queue.capacity() > 0 && self.room.available_permits() >= permits {
                return Ok(());
            }
            freed.await;
        }
    }

    /// Envelopes have left the queue: whoever waits for room looks again.
    pub(super) fn taken(&self) {
        self.freed.notify_waiters();
    }

    /// The outcome of envelopes is known: their bytes are free.
    pub(super) fn release(&self, permits: usize) {
        self.room.add_permits(permits);
        self.freed.notify_waiters();
    }

    pub(super) fn ledger(&self, lane: usize) -> &Ledger {
        &self.lanes[lane % LANES].ledger
    }

    /// Whoever waits for room is told that there will be none.
    pub(super) fn close(&self) {
        self.room.close();
        self.freed.notify_waiters();
    }
}

impl Shared {
    pub(super) fn publish(&self, mut envelope: Envelope) -> Result<Ticket, PublishError> {
        if Telling::now() {
            return Err(PublishError::InsideSink);
        }
        if self.closing.is_cancelled() {
            return Err(PublishError::Closed);
        }
        self.check(&envelope)?;
        envelope.origin = Some(self.id);
        let outbound = &self.outbound;
        let lane_index = self.interest.lane(&envelope.topic, LANES);
        let lane = &outbound.lanes[lane_index];
        let mut latest = lane.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if !outbound.up.load(Ordering::Acquire) {
            self.counters.accepted.add(1);
            self.counters.link_down.add(1);
            self.deliver_here(envelope);
            return Ok(Ticket::known(Err(PublishError::LinkDown(self.why_down()))));
        }
        let place = match outbound.queue.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Closed(())) => return Err(PublishError::Closed),
            Err(mpsc::error::TrySendError::Full(())) => return Err(self.full(envelope)),
        };
        let permits = outbound.permits(envelope.cost());
        let room = match outbound.room.try_acquire_many(permits) {
            Ok(room) => room,
            Err(tokio::sync::TryAcquireError::Closed) => return Err(PublishError::Closed),
            Err(tokio::sync::TryAcquireError::NoPermits) => return Err(self.full(envelope)),
        };
        // A sink that panics gives place and room back, as if nothing had been published.
        let envelope = self.deliver_here(envelope);
        self.counters.accepted.add(1);
        *latest += 1;
        // Given back when the outcome is known.
        room.forget();
        place.send(Queued { envelope, lane: lane_index, number: *latest, permits });
        Ok(Ticket::pending(Arc::clone(&lane.ledger), *latest))
    }

    fn full(&self, envelope: Envelope) -> PublishError {
        self.counters.full.add(1);
        PublishError::Full(envelope)
    }

    fn check(&self, envelope: &Envelope) -> Result<(), PublishError> {
        let size = ByteSize::b(envelope.body.len() as u64);
        let limit = self.semantics.largest_body;
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        if !envelope.topic.fits() {
            return Err(PublishError::NameTooLong);
        }
        // Half of the header for the list leaves ample room for the names and the rest.
        const LIST: usize = codec::LONGEST_HEADER / 2;
        const LENGTH: usize = 8;
        let trace = envelope.trace.as_ref().map_or(0, |trace| trace.len());
        let list: usize = envelope.except.iter().map(|id| id.len() + LENGTH).sum();
        if list + trace > LIST {
            return Err(PublishError::TooManyExceptions { count: envelope.except.len() });
        }
        Ok(())
    }

    /// Local first: this node's sinks get the envelope before it leaves.
    fn deliver_here(&self, envelope: Envelope) -> Envelope {
        let Some((_, sinks)) = self.interest.sinks(envelope.topic.as_parts()) else {
            return envelope;
        };
        let event = Event::Message(envelope);
        self.tell(&sinks, &event);
        match event {
            Event::Message(envelope) => envelope,
            _ => unreachable!("it was made a message above"),
        }
    }
}
