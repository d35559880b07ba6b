//! The asked node's side: one task per hub that answers the questions of other nodes.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use backplane_core::{Envelope, Members, NodeId, Topic};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    offer,
    question::{Letter, Outcome, Question},
};
use crate::{ClaimError, GroupError, Joined, hub::Shared, members::Member, stats::Counters};

/// Who asked, and under which number.
pub(crate) type Asker = (NodeId, u64);

/// Where errands are brought. Never blocks.
#[derive(Debug)]
pub(crate) struct Desk(mpsc::Sender<Errand>);

impl Desk {
    /// A desk, and what the task that serves it reads.
    pub(crate) fn new() -> (Self, Errands) {
        let (desk, errands) = mpsc::channel(QUEUE);
        (Self(desk), Errands(errands))
    }

    pub(super) fn bring(&self, errand: Errand, counters: &Counters) {
        if self.0.try_send(errand).is_err() {
            counters.dropped_requests.add(1);
        }
    }
}

/// What waits at a desk.
#[derive(Debug)]
pub(crate) struct Errands(mpsc::Receiver<Errand>);

/// Work for the desk.
#[derive(Debug)]
pub(super) enum Errand {
    /// A question about one connection of this node.
    Connection(Asker, Arc<Member>, Question),
    /// A question to the node itself.
    Node(Asker, Question),
    /// The asker has given up: undo what was done.
    Undo(Asker),
    /// Another node answered a question that this one gave up: tell it to undo it.
    TellToUndo(Asker),
}

/// The most errands that wait. What comes on top is dropped: questions are repeated.
const QUEUE: usize = 16_384;

/// The most questions in work. The others wait in the queue.
const IN_WORK: usize = 16_384;

/// How long an outcome is kept for a repeated question or a cancellation: far longer than anybody
/// repeats.
const KEPT: Duration = Duration::from_secs(30);

/// The most outcomes that are kept.
const MOST_KEPT: usize = 65_536;

/// What is known of a question.
#[derive(Debug)]
struct Case {
    /// `None` while it is in work.
    outcome: Option<Outcome>,
    undo: Option<Undo>,
}

/// How to undo what a question brought about.
#[derive(Debug)]
enum Undo {
    /// A connection became a member by the join of this number.
    Join { member: Weak<Member>, group: Box<str>, number: u64 },
    /// A negotiated connection was granted.
    Claim { connection: Box<str> },
}

type Work = Pin<Box<dyn Future<Output = (Asker, Outcome)> + Send>>;

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
        let gone = before.nodes.iter().filter(|member| !now.contains(member.node));
        gone.for_each(|member| hub.local.asking.gone(member.node));
        before = now;
    }
    // A backplane that has no news of its members.
    std::future::pending().await
}

async fn serve(hub: Weak<Shared>, errands: Errands) {
    let Errands(mut errands) = errands;
    let mut cases = Cases::default();
    let mut work: FuturesUnordered<Work> = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((asker, outcome)) = work.next() => {
                let Some(hub) = hub.upgrade() else { return };
                cases.close(&hub, asker, outcome).await;
            }
            errand = errands.recv(), if work.len() < IN_WORK => {
                let (Some(errand), Some(hub)) = (errand, hub.upgrade()) else { return };
                if let Some(unfinished) = cases.take_on(&hub, errand).await {
                    work.push(unfinished);
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Cases {
    by_asker: HashMap<Asker, Case>,
    /// In the order of their coming.
    order: VecDeque<(Instant, Asker)>,
}

impl Cases {
    /// Does what is asked, as far as that takes no waiting, and returns the rest.
    async fn take_on(&mut self, hub: &Arc<Shared>, errand: Errand) -> Option<Work> {
        match errand {
            // Only looked up: a repeated question is answered anew, and nothing is kept.
            Errand::Connection((node, number), member, Question::Groups(after)) => {
                let page = hub.groups_of(&member, &after);
                hub.local.counters.answered.add(1);
                send(hub, node, &Letter::Result(number, Outcome::Groups(page))).await;
                None
            }
            Errand::Connection(asker, member, question) => {
                if self.known(hub, asker).await {
                    return None;
                }
                match question {
                    Question::Join(group) => self.join(hub, asker, member, group).await,
                    Question::Leave(group) => {
                        hub.leave(&member, &group, None);
                        self.close(hub, asker, Outcome::Done).await;
                        None
                    }
                    Question::LeaveAll => {
                        hub.leave_all(&member);
                        self.close(hub, asker, Outcome::Done).await;
                        None
                    }
                    // Asked of a node, not of a connection; or answered above.
                    Question::Claim(_)
                    | Question::AddUser(..)
                    | Question::RemoveUser(..)
                    | Question::Groups(_) => None,
                }
            }
            Errand::Node(asker, question) => {
                if self.known(hub, asker).await {
                    return None;
                }
                match question {
                    Question::Claim(connection) => {
                        self.claim(hub, asker, connection).await;
                        None
                    }
                    Question::AddUser(user, group) => {
                        let shared = Arc::clone(hub);
                        let joining = async move { shared.join_user(&user, &group).await };
                        self.work_on(hub, asker, joining).await
                    }
                    Question::RemoveUser(user, group) => {
                        hub.leave_user(&user, &group);
                        self.close(hub, asker, Outcome::Done).await;
                        None
                    }
                    // Asked of a connection, not of a node.
                    Question::Join(_)
                    | Question::Leave(_)
                    | Question::LeaveAll
                    | Question::Groups(_) => None,
                }
            }
            Errand::Undo(asker) => {
                let case = self.by_asker.get_mut(&asker);
                if let Some(undo) = case.and_then(|case| case.undo.take()) {
                    undo.run(hub, asker);
                }
                None
            }
            Errand::TellToUndo((owner, number)) => {
                send(hub, owner, &Letter::Cancel(number)).await;
                None
            }
        }
    }

    /// Whether the question was asked before; then its asker is told again how it stands.
    async fn known(&mut self, hub: &Shared, asker: Asker) -> bool {
        let (node, number) = asker;
        let Some(case) = self.by_asker.get(&asker) else {
            self.forget_old();
            let case = Case { outcome: None, undo: None };
            self.by_asker.insert(asker, case);
            self.order.push_back((Instant::now(), asker));
            hub.local.counters.answered.add(1);
            return false;
        };
        let letter = match &case.outcome {
            Some(outcome) => Letter::Result(number, outcome.clone()),
            None => Letter::Accepted(number),
        };
        send(hub, node, &letter).await;
        true
    }

    async fn join(
        &mut self,
        hub: &Arc<Shared>,
        asker: Asker,
        member: Arc<Member>,
        group: Box<str>,
    ) -> Option<Work> {
        let joining = match hub.join(&member, &group) {
            Ok(joining) => joining,
            Err(error) => {
                self.close(hub, asker, error.into()).await;
                return None;
            }
        };
        if joining.is_new {
            let undo = Undo::Join {
                member: Arc::downgrade(&member),
                group: group.clone(),
                number: joining.number,
            };
            if let Some(case) = self.by_asker.get_mut(&asker) {
                case.undo = Some(undo);
            }
        }
        let shared = Arc::clone(hub);
        let joined = async move { shared.joined(&member, &group, &joining).await };
        self.work_on(hub, asker, joined).await
    }

    /// Does what takes no waiting of a join, tells the asker, and returns the rest.
    async fn work_on(
        &mut self,
        hub: &Shared,
        asker: Asker,
        joined: impl Future<Output = Result<Joined, GroupError>> + Send + 'static,
    ) -> Option<Work> {
        let mut work: Work = Box::pin(async move {
            let outcome = match joined.await {
                Ok(Joined::HereOnly) => Outcome::DoneHereOnly,
                Ok(_) => Outcome::Done,
                Err(error) => error.into(),
            };
            (asker, outcome)
        });
        match (&mut work).now_or_never() {
            Some((asker, outcome)) => {
                self.close(hub, asker, outcome).await;
                None
            }
            None => {
                let (node, number) = asker;
                send(hub, node, &Letter::Accepted(number)).await;
                Some(work)
            }
        }
    }

    async fn claim(&mut self, hub: &Shared, asker: Asker, connection: Box<str>) {
        let outcome = match hub.registrar.grant(&connection, asker) {
            Ok(()) => Outcome::Done,
            Err(ClaimError::AlreadyClaimed) => Outcome::AlreadyClaimed,
            Err(_) => Outcome::NotAnnounced,
        };
        if let Some(case) = self.by_asker.get_mut(&asker)
            && outcome == Outcome::Done
        {
            case.undo = Some(Undo::Claim { connection });
        }
        self.close(hub, asker, outcome).await;
    }

    /// Tells the asker what came of it.
    async fn close(&mut self, hub: &Shared, asker: Asker, outcome: Outcome) {
        let (node, number) = asker;
        if let Some(case) = self.by_asker.get_mut(&asker) {
            case.outcome = Some(outcome.clone());
        }
        send(hub, node, &Letter::Result(number, outcome)).await;
    }

    fn forget_old(&mut self) {
        let now = Instant::now();
        while let Some((since, asker)) = self.order.front()
            && (now - *since > KEPT || self.order.len() >= MOST_KEPT)
        {
            self.by_asker.remove(asker);
            self.order.pop_front();
        }
    }
}

impl Undo {
    fn run(self, hub: &Shared, asker: Asker) {
        match self {
            Self::Join { member, group, number } => {
                if let Some(member) = member.upgrade() {
                    hub.leave(&member, &group, Some(number));
                }
            }
            Self::Claim { connection } => hub.registrar.revoke(&connection, asker),
        }
    }
}

/// Sends a letter to the hub on `node`. If that fails its asker hears nothing, and asks again.
async fn send(hub: &Shared, node: NodeId, letter: &Letter) {
    let envelope = Envelope::new(Topic::node(&hub.name, node), letter.encode()).transient();
    if let Err(error) = offer(&*hub.routing.backplane, envelope).await {
        tracing::debug!(hub = %hub.name, %error, "an answer to another node was not sent");
    }
}

impl From<GroupError> for Outcome {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::NotFound => Self::NotFound,
            GroupError::Refused { reason } => Self::Refused(reason),
            other => Self::Failed(other.to_string().into()),
        }
    }
}
