//! The pipeline that every transport shares.
//!
//! Publishing: check size and room → number → local sinks → queue → wire. Receiving: header → drop
//! the own echo → interest → sinks. One supervisor task owns the connection.

mod batch;
mod options;
mod outgoing;
mod probe;
mod publish;
mod receive;
mod reconcile;
mod supervisor;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use batch::Batch;
pub use options::NodeOptions;
pub use receive::Inbound;

use crate::{
    Backplane, CloseError, Envelope, Event, Flushed, Link, LinkError, NodeId, PublishError,
    Semantics, Sink, Stats, SubscribeError, Subscription, Ticket, Topic,
    event::Telling,
    interest::{Interest, Registration},
    stats::Counters,
    wire::Wire,
};
use probe::ProbeBook;
use publish::Outbound;

/// A node on a backplane: the [`Backplane`] that any [`Wire`] becomes.
///
/// Starting it returns at once, whether or not the broker can be reached. Dropping it disconnects
/// without sending what is queued; [`close`](Backplane::close) sends it first.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
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
    link: watch::Sender<Link>,
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
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            id: NodeId::random(),
            semantics: wire.semantics(),
            interest: Arc::new(Interest::new()),
            counters: Counters::default(),
            outbound,
            probes: ProbeBook::default(),
            link: watch::Sender::new(Link::Connecting),
            closed: AtomicBool::new(false),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            stop: stop.clone(),
        });
        tokio::spawn(supervisor::run(wire, options, Arc::clone(&shared), queued));
        Self { shared, _stop: stop.drop_guard() }
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
        self.shared.interest.add(interest)
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.subscribe()
    }

    fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    async fn close(&self, deadline: Duration) -> Result<Flushed, CloseError> {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return Err(CloseError::AlreadyClosed);
        }
        let outstanding = self.shared.outstanding();
        self.shared.closing.cancel();
        let in_time = tokio::time::timeout(deadline, self.shared.ended.cancelled()).await.is_ok();
        self.shared.stop.cancel();
        self.shared.ended.cancelled().await;
        let unsent = self.shared.outbound.abandoned.load(Ordering::Acquire);
        if in_time && unsent == 0 {
            Ok(Flushed { sent: outstanding })
        } else {
            Err(CloseError::DeadlinePassed { unsent })
        }
    }
}

impl Shared {
    /// Tells the sinks of a topic; what they publish meanwhile is refused.
    fn tell(&self, sinks: &[Registration], event: &Event) {
        let _telling = Telling::begin();
        sinks.iter().for_each(|registration| registration.sink.accept(event));
        self.counters.delivered.add(sinks.len() as u64);
    }

    /// Accepted envelopes whose outcome is open.
    fn outstanding(&self) -> u64 {
        let stats = self.counters.snapshot();
        let settled = stats.sent + stats.link_down + stats.refused + stats.unknown;
        stats.accepted.saturating_sub(settled)
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
