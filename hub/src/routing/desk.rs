//! The asked node's side: one task per hub that answers the questions of other nodes.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backplane_core::{Envelope, Members, NodeId, PublishError, Topic};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    cases::{Cases, Work},
    offer,
    question::{Letter, Question},
};
use crate::{hub::Shared, members::Member, stats::Counters};

/// Who asked, and under which number.
pub(crate) type Asker = (NodeId, u64);

/// Where errands are brought. Never blocks.
#[derive(Debug)]
pub(crate) struct Desk {
    errands: mpsc::Sender<Errand>,
    /// What waits, in bytes.
    bytes: Arc<AtomicUsize>,
}

impl Desk {
    /// A desk, and what the task that serves it reads.
    pub(crate) fn new() -> (Self, Errands) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let bytes = Arc::default();
        let errands = Errands { receiver, bytes: Arc::clone(&bytes) };
        (Self { errands: sender, bytes }, errands)
    }

    pub(crate) fn bring(&self, errand: Errand, counters: &Counters) {
        let size = errand.size();
        let waiting = self.bytes.fetch_add(size, Ordering::AcqRel);
        if (size > 0 && waiting + size > QUEUED_BYTES) || self.errands.try_send(errand).is_err() {
            self.bytes.fetch_sub(size, Ordering::AcqRel);
            counters.dropped_requests.add(1);
        }
    }
}

/// What waits at a desk.
#[derive(Debug)]
pub(crate) struct Errands {
    receiver: mpsc::Receiver<Errand>,
    bytes: Arc<AtomicUsize>,
}

impl Errands {
    async fn next(&mut self) -> Option<Errand> {
        let errand = self.receiver.recv().await?;
        self.bytes.fetch_sub(errand.size(), Ordering::AcqRel);
        Some(errand)
    }
}

/// Work for the desk.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A question about one connection of this node.
    Connection(Asker, Arc<Member>, Question),
    /// A question to the node itself.
    Node(Asker, Question),
    /// The asker still waits for the outcome.
    Remind(Asker),
    /// The asker has given up: undo what was done.
    Undo(Asker),
    /// Another node answered a question that this one gave up: tell it to undo it.
    TellToUndo(Asker),
    /// The same, several times once the link is up: it may hear only later.
    InsistToUndo(Asker),
    /// A connection that was granted to that node has ended.
    Ended(NodeId, Box<str>),
    /// Tell the registrar that a connection has ended that it granted to this node.
    TellEnded(NodeId, Box<str>),
    /// A node has left or died: it waits for nothing any more.
    Gone(NodeId),
}

impl Errand {
    const fn size(&self) -> usize {
        match self {
            Self::Connection(_, _, question) | Self::Node(_, question) => question.size(),
            _ => 0,
        }
    }
}

/// The most errands that wait. What comes on top is dropped: questions are repeated.
const QUEUE: usize = 16_384;

/// The most bytes of questions that wait.
const QUEUED_BYTES: usize = 64 << 20;

/// The most questions in work that this node answers by itself. The others wait in the queue.
const IN_WORK: usize = 16_384;

/// How often it is looked whether those who ask for what takes long still wait.
const ROUND: Duration = Duration::from_secs(10);

/// How often those are told again who could not be told that nobody waits for them.
const NEWS: Duration = Duration::from_secs(1);

/// Runs until the hub and all that could bring it an errand are gone.
pub(crate) async fn run(hub: Weak<Shared>, errands: Errands, members: watch::Receiver<Members>) {
    tokio::select! {
        () = serve(Weak::clone(&hub), errands) => {}
        () = notice_absence(hub, members) => {}
    }
}

/// Whoever waits for a node that leaves or dies is told at once.
async fn notice_absence(hub: Weak<Shared>, mut members: watch::Receiver<Members>) {
    let mut before = members.borrow_and_update().clone();
    while members.changed().await.is_ok() {
        let now = members.borrow_and_update().clone();
        let Some(hub) = hub.upgrade() else { return };
        for member in before.nodes.iter().filter(|member| !now.contains(member.node)) {
            hub.local.asking.gone(member.node);
            hub.registrar.gone(member.node);
            hub.local.desk.bring(Errand::Gone(member.node), &hub.local.counters);
        }
        before = now;
    }
    // A backplane that has no news of its members.
    std::future::pending().await
}

async fn serve(hub: Weak<Shared>, mut errands: Errands) {
    let mut cases = Cases::default();
    let mut work: FuturesUnordered<Work> = FuturesUnordered::new();
    let mut round = Instant::now() + ROUND;
    let mut news = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(finished) = work.next() => {
                let Some(hub) = hub.upgrade() else { return };
                cases.finish(&hub, finished).await;
            }
            () = sleep_until(round), if !cases.is_empty() => {
                round = Instant::now() + ROUND;
                cases.go_round();
            }
            () = sleep_until(news), if cases.owes_news() => {
                let Some(hub) = hub.upgrade() else { return };
                cases.tell_late(&hub).await;
                news = Instant::now() + NEWS;
            }
            errand = errands.next(), if work.len() - cases.waits() < IN_WORK => {
                let (Some(errand), Some(hub)) = (errand, hub.upgrade()) else { return };
                if let Some(unfinished) = cases.take_on(&hub, errand).await {
                    work.push(unfinished);
                }
            }
        }
    }
}

/// Sends a letter to the hub on `node`. If that fails its asker hears nothing, and asks again.
pub(super) async fn send(hub: &Shared, node: NodeId, letter: &Letter) -> Result<(), PublishError> {
    let envelope = Envelope::new(Topic::node(&hub.name, node), letter.encode()).transient();
    let offered = offer(&*hub.routing.backplane, envelope).await;
    if let Err(error) = &offered {
        tracing::debug!(hub = %hub.name, %error, "an answer to another node was not sent");
    }
    offered.map(drop)
}
