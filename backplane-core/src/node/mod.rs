//! The pipeline that every transport shares.
//!
//! Publishing: check size and room → local sinks → number and retain → queue → wire. Receiving: header →
//! drop the own echo → interest → numbers → sinks. One supervisor task owns the connection.

mod batch;
mod conversation;
mod options;
mod outbox;
mod outgoing;
mod probe;
mod publish;
mod query;
mod reading;
mod receive;
mod reconcile;
mod supervisor;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use batch::Batch;
pub use options::{NodeOptions, Outage, Retention, Sequencing, WhenFull};
pub use receive::Inbound;
pub(crate) use receive::{Arrival, Detour};

use crate::{
    Backplane, CloseError, Envelope, Event, Flushed, Link, LinkError, Members, NodeId, Position,
    PublishError, Semantics, Sink, Stats, SubscribeError, Subscription, Ticket, Topic,
    event::Telling,
    interest::{Interest, Registration},
    membership::Membership,
    sequenced::{Moment, Sequencer},
    stats::Counters,
    wire::Wire,
};
use conversation::Late;
use probe::ProbeBook;
use publish::Outbound;
use reading::Log;

/// A node on a backplane: the [`Backplane`] that any [`Wire`] becomes.
///
/// Starting it returns at once, whether or not the broker can be reached. Dropping it disconnects
/// without sending what is queued; [`close`](Backplane::close) sends it first.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    options: NodeOptions,
    _stop: DropGuard,
}

/// What the handle, the supervisor and the wire's read path have in common.
#[derive(Debug)]
struct Shared {
    id: NodeId,
    semantics: Semantics,
    interest: Arc<Interest>,
    counters: Counters,
    outbound: Outbound,
    probes: ProbeBook,
    sequencer: Sequencer,
    membership: Mutex<Membership>,
    /// Everything up to this position is in the queue, or further.
    sent: AtomicU64,
    /// What is left to say while the node takes its leave.
    late: Late,
    started: Instant,
    /// Nanoseconds from `started` to the latest tick.
    clock: AtomicU64,
    link: watch::Sender<Link>,
    members: watch::Sender<Members>,
    /// Whether somebody has called `close`: one step decides who does it.
    closed: AtomicBool,
    closing: CancellationToken,
    /// Whether the supervisor has ended.
    ended: CancellationToken,
    stop: CancellationToken,
}

impl Node {
    /// Starts a node with a fresh [`NodeId`] on `wire`.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(wire: impl Wire, options: NodeOptions) -> Self {
        let (outbound, queued) = Outbound::new(&options);
        let own = wire.semantics();
        let settings = options.settings(own);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            id: NodeId::random(),
            semantics: options.semantics(own),
            sequencer: Sequencer::new(settings, options.name.as_deref()),
            membership: Mutex::new(Membership::new(options.name.clone(), options.dead_after)),
            sent: AtomicU64::new(0),
            late: Late::default(),
            started: Instant::now(),
            clock: AtomicU64::new(0),
            interest: Arc::new(Interest::new()),
            counters: Counters::default(),
            outbound,
            probes: ProbeBook::default(),
            link: watch::Sender::new(Link::Connecting),
            members: watch::Sender::default(),
            closed: AtomicBool::new(false),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            stop: stop.clone(),
        });
        let wire = Arc::new(wire);
        let log = Arc::<_>::clone(&wire) as Arc<dyn Log>;
        let run = supervisor::run(wire, options.clone(), Arc::clone(&shared), queued);
        tokio::spawn(run);
        Self { shared, log, options, _stop: stop.drop_guard() }
    }
}

#[async_trait]
impl Backplane for Node {
    fn node(&self) -> NodeId {
        self.shared.id
    }

    fn semantics(&self) -> Semantics {
        self.shared.semantics
    }

    fn try_publish(&self, envelope: Envelope) -> Result<Ticket, PublishError> {
        self.shared.publish(envelope)
    }

    async fn room(&self, envelope: &Envelope) -> Result<(), PublishError> {
        self.shared.outbound.room(envelope.cost()).await
    }

    fn subscribe(
        &self,
        interest: &[(Topic, Arc<dyn Sink>)],
    ) -> Result<Subscription, SubscribeError> {
        let stamp = self.shared.sequencer.subscribing();
        self.shared.interest.add(interest, stamp)
    }

    fn subscribe_from(
        &self,
        topic: &Topic,
        sink: Arc<dyn Sink>,
        from: Position,
    ) -> Result<Subscription, SubscribeError> {
        self.shared.read(Arc::clone(&self.log), topic.clone(), sink, from, &self.options)
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.subscribe()
    }

    fn members(&self) -> watch::Receiver<Members> {
        self.shared.members.subscribe()
    }

    fn stats(&self) -> Stats {
        let mut stats = self.shared.counters.snapshot();
        let holding = self.shared.sequencer.holding();
        stats.retained = holding.retained as u64;
        stats.retained_bytes = holding.retained_bytes as u64;
        stats.numbered_topics = holding.topics as u64;
        stats.held_full = holding.held_full as u64;
        stats
    }

    async fn close(&self, deadline: Duration) -> Result<Flushed, CloseError> {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return Err(CloseError::AlreadyClosed);
        }
        let outstanding = self.shared.outstanding();
        self.shared.closing.cancel();
        // What could not be sent by then is counted below.
        let _ = tokio::time::timeout(deadline, self.shared.ended.cancelled()).await;
        self.shared.stop.cancel();
        self.shared.ended.cancelled().await;
        let unsent = self.shared.outbound.abandoned.load(Ordering::Acquire);
        if unsent == 0 {
            Ok(Flushed { sent: outstanding })
        } else {
            Err(CloseError::DeadlinePassed { unsent })
        }
    }
}

impl Shared {
    /// Gives the sinks of a topic an envelope, and back to the caller.
    fn deliver(&self, sinks: &[Registration], envelope: Envelope) -> Envelope {
        let kind = envelope.topic.kind();
        let event = Event::Message(envelope);
        tell(sinks, &event);
        self.counters.kind(kind).delivered.add(sinks.len() as u64);
        match event {
            Event::Message(envelope) => envelope,
            _ => unreachable!("it was made a message above"),
        }
    }

    /// Time since the node was started.
    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// The same, as of the latest tick: cheap.
    fn coarse_now(&self) -> Moment {
        Moment::from_nanos(self.clock.load(Ordering::Relaxed))
    }

    fn set_clock(&self, now: Moment) {
        self.clock.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepted envelopes whose outcome is open.
    fn outstanding(&self) -> u64 {
        self.counters.snapshot().buffered
    }

    /// Why the link is not up.
    fn why_down(&self) -> Arc<LinkError> {
        match &*self.link.borrow() {
            Link::Down { cause, .. } => Arc::clone(cause),
            Link::Muted { since } => Arc::new(LinkError::Mute { waited: since.elapsed() }),
            _ => Arc::new(LinkError::NotYet),
        }
    }
}

/// Tells the sinks of a topic; what they publish meanwhile is refused.
fn tell(sinks: &[Registration], event: &Event) {
    let _telling = Telling::begin();
    sinks.iter().for_each(|registration| registration.sink.accept(event));
}
