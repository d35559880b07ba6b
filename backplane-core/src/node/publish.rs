use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytesize::ByteSize;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{
    NodeOptions, Outage, Shared, WhenFull,
    outgoing::{Place, Queued},
};
use crate::{
    Envelope, PublishError, Receipt, Ticket, codec, envelope::Kind, event::Telling,
    interest::Interest, ticket::Ledger,
};

/// Topics are spread over this many lanes, each with its own lock, numbers and outcomes.
const TOPIC_LANES: usize = 16;

/// What is worthless later has outcomes of its own: they come out of turn.
const TRANSIENT: usize = TOPIC_LANES;

/// Places of the queue that no publisher takes: what nodes say to each other never waits for room, so
/// a node that publishes as fast as it can still answers.
const RESERVED: usize = 2048;

/// All lanes.
pub(super) const LANES: usize = TOPIC_LANES + 1;

/// The publishers' side of the outgoing queue.
#[derive(Debug)]
pub(super) struct Outbound {
    lanes: [Lane; LANES],
    queue: mpsc::Sender<Queued>,
    /// One permit per byte that may still be queued.
    room: Semaphore,
    freed: Notify,
    capacity: usize,
    /// What becomes of what is published while the link is down.
    pub(super) outage: Outage,
    /// Accepted envelopes without an outcome, and what they cost.
    open: AtomicU64,
    open_bytes: AtomicU64,
    /// Whether envelopes are queued for the wire at all.
    pub(super) up: AtomicBool,
    /// Envelopes that were given up when the node ended.
    pub(super) abandoned: AtomicU64,
}

#[derive(Debug, Default)]
struct Lane {
    /// The latest number.
    latest: Mutex<u64>,
    ledger: Arc<Ledger>,
}

impl Outbound {
    pub(super) fn new(options: &NodeOptions) -> (Self, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(options.queue_envelopes.max(1) + RESERVED);
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
            outage: options.outage,
            open: AtomicU64::new(0),
            open_bytes: AtomicU64::new(0),
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
            let fits = self.has_place() && self.room.available_permits() >= permits;
            if fits && !self.outage_is_full(cost) {
                return Ok(());
            }
            freed.await;
        }
    }

    /// Whether a publisher may take another place: one in each lane at most does so beyond the bound.
    fn has_place(&self) -> bool {
        self.queue.capacity() > RESERVED
    }

    /// Whether the buffer for an outage refuses an envelope of this cost.
    fn outage_is_full(&self, cost: usize) -> bool {
        let Outage::Buffer { count, bytes, when_full: WhenFull::Refuse, .. } = self.outage else {
            return false;
        };
        !self.up.load(Ordering::Acquire)
            && (self.open.load(Ordering::Acquire) >= count as u64
                || self.open_bytes.load(Ordering::Acquire) + cost as u64 > bytes.as_u64())
    }

    /// An envelope leaves the queue for a place with bounds of its own.
    pub(super) fn free(&self, queued: &mut Queued) {
        self.room.add_permits(std::mem::take(&mut queued.permits) as usize);
    }

    /// So many envelopes, of this cost together, have an outcome.
    pub(super) fn settled(&self, count: u64, cost: u64) {
        self.open.fetch_sub(count, Ordering::AcqRel);
        self.open_bytes.fetch_sub(cost, Ordering::AcqRel);
    }

    /// Whether the link is up.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Whether everything that was numbered before this was called is in the queue when it returns.
    ///
    /// It is not where a local sink blocks its publisher: that never holds up whoever asks.
    pub(super) fn lanes_are_flushed(&self) -> bool {
        // A publisher holds its lane for about a microsecond.
        const PATIENCE: usize = 100;
        let free = |lane: &Lane| !matches!(lane.latest.try_lock(), Err(TryLockError::WouldBlock));
        let soon_free = |lane: &Lane| {
            (0..PATIENCE).any(|_| {
                let is_free = free(lane);
                if !is_free {
                    std::thread::yield_now();
                }
                is_free
            })
        };
        self.lanes.iter().all(soon_free)
    }

    /// Queues what a node says to another. Where the queue is full, or was closed, it comes back; what
    /// is sent again leaves half of the reserve to the rest.
    pub(super) fn say(&self, envelope: Envelope) -> Result<(), Box<Envelope>> {
        let resent = envelope.kind == Kind::Resent;
        if resent && self.queue.capacity() < RESERVED / 2 {
            return Err(Box::new(envelope));
        }
        let queued = self.queue.try_send(Queued::control(envelope));
        queued.map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(queued) | mpsc::error::TrySendError::Closed(queued) => {
                Box::new(queued.envelope)
            }
        })
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
        let lane_index = Interest::lane(&envelope.topic, TOPIC_LANES);
        let lane = &outbound.lanes[lane_index];
        // Held while the local sinks are told, so that they and the wire see one order.
        let latest = lane.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let up = outbound.up.load(Ordering::Acquire);
        if !up && (envelope.transient || outbound.outage == Outage::Refuse) {
            let traffic = self.counters.kind(envelope.topic.kind());
            traffic.accepted.add(1);
            traffic.link_down.add(1);
            self.deliver_here(envelope);
            return Ok(Ticket::known(Err(PublishError::LinkDown(self.why_down()))));
        }
        let cost = envelope.cost();
        if !up && outbound.outage_is_full(cost) {
            return Err(self.full(envelope));
        }
        let has_place = outbound.has_place();
        let place = match outbound.queue.try_reserve() {
            Ok(place) if has_place => place,
            Err(mpsc::error::TrySendError::Closed(())) => return Err(PublishError::Closed),
            _ => return Err(self.full(envelope)),
        };
        let permits = outbound.permits(cost);
        let room = match outbound.room.try_acquire_many(permits) {
            Ok(room) => room,
            Err(tokio::sync::TryAcquireError::Closed) => return Err(PublishError::Closed),
            Err(tokio::sync::TryAcquireError::NoPermits) => return Err(self.full(envelope)),
        };
        // A sink that panics gives place and room back, as if nothing had been published.
        let mut envelope = self.deliver_here(envelope);
        self.counters.kind(envelope.topic.kind()).accepted.add(1);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        outbound.open.fetch_add(1, Ordering::AcqRel);
        outbound.open_bytes.fetch_add(u64::from(cost), Ordering::AcqRel);
        let at = self.coarse_now();
        // Given back when the outcome is known.
        room.forget();
        let transient = &outbound.lanes[TRANSIENT];
        let (lane, mut latest, lane_index) = if envelope.transient {
            drop(latest);
            let latest = transient.latest.lock().unwrap_or_else(PoisonError::into_inner);
            (transient, latest, TRANSIENT)
        } else {
            (lane, latest, lane_index)
        };
        if !envelope.transient && self.sequencer.numbers() {
            self.sequencer.publish(&mut envelope, at);
        }
        // Numbered and queued under one lock: the outcomes of a lane come in the order of its numbers.
        *latest += 1;
        let number = *latest;
        let ticket = Some(Place { lane: lane_index, number });
        place.send(Queued { envelope, ticket, permits, cost, at, tried: None });
        if !up && matches!(outbound.outage, Outage::Buffer { .. }) {
            return Ok(Ticket::known(Ok(Receipt::Queued)));
        }
        Ok(Ticket::pending(Arc::clone(&lane.ledger), number))
    }

    fn full(&self, envelope: Envelope) -> PublishError {
        self.counters.full.add(1);
        PublishError::Full(Box::new(envelope))
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
        match self.interest.sinks(envelope.topic.as_parts()) {
            Some(interested) => self.deliver(&interested.sinks, envelope),
            None => envelope,
        }
    }
}
