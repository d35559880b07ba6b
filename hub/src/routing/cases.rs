//! The questions that a node was asked: in work, and answered.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use backplane_core::{NodeId, PublishError};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{sync::oneshot, time::Instant};

use super::{
    body,
    desk::{Asker, Errand, send},
    question::{Letter, Outcome, Question},
};
use crate::{
    ClaimError, Completion, GroupError, Joined, RelayRequest,
    front::{Settle, Whereabouts},
    hub::Shared,
    members::{Member, Unanswered},
};

/// How long an outcome is kept for a repeated question or a cancellation: far longer than anybody
/// repeats.
pub(crate) const KEPT: Duration = Duration::from_secs(30);

/// The most outcomes that are kept.
const MOST_KEPT: usize = 65_536;

/// The most bytes of outcomes that are kept.
const MOST_KEPT_BYTES: usize = 64 << 20;

/// The most questions in work that clients take part in.
const MOST_WAITS: usize = 16_384;

/// The most bytes of relayed requests in work.
const MOST_RELAYED_BYTES: usize = 64 << 20;

/// The most who are told late that nobody waits any more.
const MOST_UNTOLD: usize = 4096;

/// How often each of them is told: after an outage the nodes' links come up one after the other.
const NEWS_TOLD: u8 = 5;

/// Who has not asked again for so many rounds waits no more. One round tells nothing: it may be this
/// node that did not run.
const SILENT_ROUNDS: u8 = 3;

/// Every question, by who asked and its number.
#[derive(Debug, Default)]
pub(super) struct Cases {
    by_asker: HashMap<Asker, Case>,
    /// Those with an outcome, in the order in which they got it.
    order: VecDeque<(Instant, Asker)>,
    /// Those of them whose outcome has a size.
    bodies: VecDeque<Asker>,
    kept_bytes: usize,
    /// Those in work that clients take part in.
    waits: usize,
    relayed_bytes: usize,
    /// The latest relay of each asker for each connection.
    lanes: HashMap<Lane, u64>,
    /// Who is to be told that nobody waits any more, and how often. The latest ones, oldest first.
    untold: VecDeque<(Asker, u8)>,
}

/// Relays whose order counts: from one node, for one connection.
type Lane = (NodeId, Box<str>);

/// What is known of a question.
#[derive(Debug, Default)]
struct Case {
    /// `None` while it is in work.
    outcome: Option<Outcome>,
    undo: Option<Undo>,
    /// Who is to be told whether the outcome has reached the client.
    settle: Option<Settle>,
    lane: Option<Lane>,
    /// The rounds in which its asker did not say that it still waits.
    silent: u8,
}

/// How to undo what a question brought about.
#[derive(Debug)]
enum Undo {
    /// A connection became a member by the join of this number.
    Join { member: Weak<Member>, group: Box<str>, number: u64 },
    /// A negotiated connection was granted.
    Claim { connection: Box<str> },
    /// It is in work, which ends when this is dropped.
    Stop(oneshot::Sender<()>),
}

/// Work that takes its time.
pub(super) type Work = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// Work that is done.
#[derive(Debug)]
pub(super) struct Finished {
    asker: Asker,
    /// `None` if it was stopped.
    reply: Option<Reply>,
    /// Of what a client takes part in: what it held.
    waited: Option<usize>,
}

#[derive(Debug)]
struct Reply {
    outcome: Outcome,
    settle: Option<Settle>,
}

impl From<Outcome> for Reply {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, settle: None }
    }
}

impl Cases {
    /// How many of those in work clients take part in.
    pub(super) const fn waits(&self) -> usize {
        self.waits
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_asker.is_empty()
    }

    /// Does what is asked, as far as that takes no waiting, and returns the rest.
    pub(super) async fn take_on(&mut self, hub: &Arc<Shared>, errand: Errand) -> Option<Work> {
        match errand {
            // Only looked up: a repeated question is answered anew, and nothing is kept.
            Errand::Connection((node, number), member, Question::Groups(after)) => {
                let page = hub.groups_of(&member, &after);
                hub.local.counters.answered.add(1);
                // Without it the asker asks again.
                let _ = send(hub, node, &Letter::Result(number, Outcome::Groups(page))).await;
            }
            Errand::Connection(asker, member, question) => {
                return self.answer(hub, asker, Some(member), question).await;
            }
            Errand::Node(asker, question) => return self.answer(hub, asker, None, question).await,
            Errand::Remind(asker) => self.remind(hub, asker).await,
            Errand::Undo(asker) => self.undo(hub, asker),
            Errand::TellToUndo(asked) => {
                let (node, number) = asked;
                if send(hub, node, &Letter::Cancel(number)).await.is_err() {
                    self.owe_news(asked);
                }
            }
            Errand::InsistToUndo(asked) => self.owe_news(asked),
            Errand::TellEnded(registrar, connection) => {
                // Without it, who asks for the connection later is told by this node.
                let _ = send(hub, registrar, &Letter::Ended(connection)).await;
            }
            Errand::Ended(owner, connection) => hub.registrar.ended(&connection, owner),
            Errand::Gone(node) => {
                let its = self.by_asker.iter_mut().filter(|((asker, _), _)| *asker == node);
                its.for_each(|(_, case)| case.abandon());
            }
        }
        None
    }

    /// Whether somebody is still to be told that nobody waits for his answer.
    pub(super) fn owes_news(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Tells them, if the link is up.
    pub(super) async fn tell_late(&mut self, hub: &Shared) {
        if !hub.routing.backplane.link().borrow().is_up() {
            return;
        }
        for (asked, left) in std::mem::take(&mut self.untold) {
            let (node, number) = asked;
            let sent = send(hub, node, &Letter::Cancel(number)).await.is_ok();
            let left = left - u8::from(sent);
            if left > 0 {
                self.untold.push_back((asked, left));
            }
        }
    }

    fn owe_news(&mut self, asked: Asker) {
        self.untold.push_back((asked, NEWS_TOLD));
        if self.untold.len() > MOST_UNTOLD {
            self.untold.pop_front();
        }
    }

    /// The work that was pushed is done.
    pub(super) async fn finish(&mut self, hub: &Shared, finished: Finished) {
        let Finished { asker, reply, waited } = finished;
        if let Some(held) = waited {
            self.waits -= 1;
            self.relayed_bytes -= held;
        }
        match reply {
            Some(reply) => self.close(hub, asker, reply).await,
            None => self.keep(asker, Outcome::Forgotten.into()),
        }
    }

    /// Lets those go whose askers are not heard of any more, and what was kept for long enough.
    pub(super) fn go_round(&mut self) {
        for case in self.by_asker.values_mut() {
            if matches!(case.undo, Some(Undo::Stop(_))) {
                case.silent = case.silent.saturating_add(1);
                if case.silent > SILENT_ROUNDS {
                    case.abandon();
                }
            }
        }
        self.forget_old();
    }

    async fn answer(
        &mut self,
        hub: &Arc<Shared>,
        asker: Asker,
        member: Option<Arc<Member>>,
        question: Question,
    ) -> Option<Work> {
        if self.known(hub, asker).await {
            return None;
        }
        let reply = match (question, member) {
            (Question::Join(group), Some(member)) => {
                return self.join(hub, asker, member, group).await;
            }
            (Question::Leave(group), Some(member)) => {
                hub.leave(&member, &group, None);
                Outcome::Done
            }
            (Question::LeaveAll, Some(member)) => {
                hub.leave_all(&member);
                Outcome::Done
            }
            (Question::AddUser(user, group), None) => {
                let shared = Arc::clone(hub);
                let joined = async move { shared.join_user(&user, &group).await };
                return self.accept(hub, asker, work_of_join(asker, joined)).await;
            }
            (Question::RemoveUser(user, group), None) => {
                hub.leave_user(&user, &group);
                Outcome::Done
            }
            (Question::Claim(connection), None) => self.claim(hub, asker, connection),
            (Question::Moved(connection), None) => {
                hub.registrar.moved(&connection, asker);
                Outcome::Done
            }
            (Question::Invoke { id, payloads }, Some(member)) => {
                match self.invoke(hub, asker, &member, &id, payloads) {
                    Ok(work) => return self.accept(hub, asker, work).await,
                    Err(outcome) => outcome,
                }
            }
            (Question::Relay { connection, body }, _) => {
                match self.relay(hub, asker, &connection, body) {
                    Ok(work) => return self.accept(hub, asker, work).await,
                    Err(outcome) => outcome,
                }
            }
            (Question::Written(relay), None) => self.written((asker.0, relay)),
            // A question to a node that names a connection, or the other way round.
            _ => Outcome::Failed("the question went to the wrong place".into()),
        };
        self.close(hub, asker, reply.into()).await;
        None
    }

    /// Whether the question was asked before; then its asker is told again how it stands.
    async fn known(&mut self, hub: &Shared, asker: Asker) -> bool {
        if self.by_asker.contains_key(&asker) {
            self.remind(hub, asker).await;
            return true;
        }
        self.forget_old();
        self.by_asker.insert(asker, Case::default());
        hub.local.counters.answered.add(1);
        false
    }

    async fn remind(&mut self, hub: &Shared, asker: Asker) {
        let (node, number) = asker;
        let letter = match self.by_asker.get_mut(&asker) {
            Some(Case { outcome: Some(outcome), .. }) => Letter::Result(number, outcome.clone()),
            Some(case) => {
                case.silent = 0;
                Letter::Accepted(number)
            }
            None => Letter::Result(number, Outcome::Forgotten),
        };
        // The asker reminds again.
        let _ = send(hub, node, &letter).await;
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
                self.close(hub, asker, Outcome::from(error).into()).await;
                return None;
            }
        };
        if joining.is_new {
            let member = Arc::downgrade(&member);
            let number = joining.number;
            self.undo_by(asker, Undo::Join { member, group: group.clone(), number });
        }
        let shared = Arc::clone(hub);
        let joined = async move { shared.joined(&member, &group, &joining).await };
        self.accept(hub, asker, work_of_join(asker, joined)).await
    }

    fn claim(&mut self, hub: &Shared, asker: Asker, connection: Box<str>) -> Outcome {
        match hub.registrar.grant(&connection, asker) {
            Ok(()) => {
                self.undo_by(asker, Undo::Claim { connection });
                Outcome::Done
            }
            Err(ClaimError::AlreadyClaimed { owner }) => Outcome::AlreadyClaimed(owner),
            Err(ClaimError::Ended) => Outcome::Ended,
            Err(_) => Outcome::NotAnnounced,
        }
    }

    /// Calls a client.
    fn invoke(
        &mut self,
        hub: &Shared,
        asker: Asker,
        member: &Arc<Member>,
        id: &str,
        payloads: Bytes,
    ) -> Result<Work, Outcome> {
        self.has_place(hub, 0)?;
        let protocol = member.protocol.name();
        let Some(payload) = body::payload_of(payloads, protocol) else {
            hub.local.counters.dropped_protocol.add(1);
            let reason = format!("the asking node's hub does not speak the protocol {protocol:?}");
            return Err(Outcome::Refused(reason.into()));
        };
        let debt = hub.local.call(member, id, payload).map_err(Outcome::from)?;
        let answered = async move {
            let outcome = match debt.paid().await {
                Ok(Completion::Result(result)) => {
                    Outcome::Completed { protocol: protocol.into(), result }
                }
                Ok(Completion::Nothing) => Outcome::CompletedEmpty,
                Ok(Completion::Error(text)) => Outcome::ClientFailed(text),
                Err(unanswered) => unanswered.into(),
            };
            outcome.into()
        };
        Ok(self.stoppable(asker, 0, answered))
    }

    /// Has the front end serve a request.
    fn relay(
        &mut self,
        hub: &Shared,
        asker: Asker,
        connection: &str,
        body: Bytes,
    ) -> Result<Work, Outcome> {
        let (node, number) = asker;
        self.has_place(hub, body.len())?;
        let lane = (node, connection.into());
        // One that was withdrawn, and comes late.
        if self.lanes.get(&lane).is_some_and(|latest| *latest > number) {
            return Err(Outcome::Forgotten);
        }
        let held = body.len();
        let request = RelayRequest { connection: connection.into(), from: node, body };
        let Ok(started) = hub.relays.start(&request) else { return Err(panicked()) };
        let Some(serving) = started else {
            return Err(match hub.registrar.whereabouts(connection) {
                Whereabouts::At(owner) if owner != hub.local.node => Outcome::Elsewhere(owner),
                Whereabouts::Ended => Outcome::Ended,
                Whereabouts::Nowhere => Outcome::NotFound,
                Whereabouts::At(_) | Whereabouts::Unknown => Outcome::NotAnnounced,
            });
        };
        self.lanes.insert(lane.clone(), number);
        if let Some(case) = self.by_asker.get_mut(&asker) {
            case.lane = Some(lane);
        }
        let served = async move {
            match AssertUnwindSafe(serving).catch_unwind().await {
                Ok(answer) => {
                    Reply { outcome: Outcome::Relayed(answer.body), settle: Some(answer.settle) }
                }
                Err(_) => panicked().into(),
            }
        };
        Ok(self.stoppable(asker, held, served))
    }

    /// The answer to a relayed request has reached the client.
    fn written(&mut self, relay: Asker) -> Outcome {
        let Some(case) = self.by_asker.get_mut(&relay) else { return Outcome::Forgotten };
        match case.settle.take() {
            Some(settle) => settle.reached(),
            None => return Outcome::Forgotten,
        }
        self.strip(relay);
        Outcome::Done
    }

    /// What was asked for is not wanted any more.
    fn undo(&mut self, hub: &Shared, asker: Asker) {
        let Some(case) = self.by_asker.get_mut(&asker) else { return };
        if let Some(undo) = case.undo.take() {
            undo.run(hub, asker);
        }
        if case.settle.take().is_some() {
            self.strip(asker);
        }
    }

    fn undo_by(&mut self, asker: Asker, undo: Undo) {
        if let Some(case) = self.by_asker.get_mut(&asker) {
            case.undo = Some(undo);
        }
    }

    /// Whether another question that a client takes part in, of so many bytes, can be taken on.
    fn has_place(&self, hub: &Shared, bytes: usize) -> Result<(), Outcome> {
        if self.waits < MOST_WAITS && self.relayed_bytes + bytes <= MOST_RELAYED_BYTES {
            Ok(())
        } else {
            hub.local.counters.dropped_requests.add(1);
            Err(Outcome::Refused("too many calls wait for clients of that node".into()))
        }
    }

    /// Work that ends as soon as nobody waits for it.
    fn stoppable(
        &mut self,
        asker: Asker,
        held: usize,
        work: impl Future<Output = Reply> + Send + 'static,
    ) -> Work {
        let (stop, stopped) = oneshot::channel();
        self.undo_by(asker, Undo::Stop(stop));
        self.waits += 1;
        self.relayed_bytes += held;
        Box::pin(async move {
            let reply = tokio::select! {
                biased;
                reply = work => Some(reply),
                _ = stopped => None,
            };
            Finished { asker, reply, waited: Some(held) }
        })
    }

    /// Does what of the work can be done at once. Of the rest the asker is told that it is in work.
    async fn accept(&mut self, hub: &Shared, asker: Asker, mut work: Work) -> Option<Work> {
        if let Some(finished) = (&mut work).now_or_never() {
            self.finish(hub, finished).await;
            return None;
        }
        let (node, number) = asker;
        // Without it the asker asks again.
        let _ = send(hub, node, &Letter::Accepted(number)).await;
        Some(work)
    }

    /// Tells the asker what came of it.
    async fn close(&mut self, hub: &Shared, asker: Asker, reply: Reply) {
        let (node, number) = asker;
        let letter = Letter::Result(number, reply.outcome.clone());
        let told = send(hub, node, &letter).await;
        self.keep(asker, reply);
        if let Err(PublishError::TooLarge { size, limit }) = told {
            let outcome = Outcome::TooLarge { size, limit };
            // Without it the asker asks again.
            let _ = send(hub, node, &Letter::Result(number, outcome.clone())).await;
            self.strip(asker);
            if let Some(case) = self.by_asker.get_mut(&asker) {
                case.outcome = Some(outcome);
            }
        }
    }

    fn keep(&mut self, asker: Asker, reply: Reply) {
        let Some(case) = self.by_asker.get_mut(&asker) else { return };
        let size = reply.outcome.size();
        case.outcome = Some(reply.outcome);
        case.settle = reply.settle;
        // There is nothing left to stop.
        case.undo.take_if(|undo| matches!(undo, Undo::Stop(_)));
        self.order.push_back((Instant::now(), asker));
        if size > 0 {
            self.kept_bytes += size;
            self.bodies.push_back(asker);
        }
        while self.kept_bytes > MOST_KEPT_BYTES
            && let Some(oldest) = self.bodies.pop_front()
        {
            self.strip(oldest);
        }
    }

    /// Keeps no longer what came of a question, only that it was asked.
    fn strip(&mut self, asker: Asker) {
        if let Some(case) = self.by_asker.get_mut(&asker)
            && let Some(outcome) = &mut case.outcome
        {
            self.kept_bytes -= outcome.size();
            *outcome = Outcome::Forgotten;
            case.settle = None;
        }
    }

    fn forget_old(&mut self) {
        let now = Instant::now();
        while let Some((since, asker)) = self.order.front()
            && (now - *since > KEPT || self.order.len() >= MOST_KEPT)
        {
            let asker = *asker;
            self.strip(asker);
            let lane = self.by_asker.remove(&asker).and_then(|case| case.lane);
            if let Some(lane) = lane
                && self.lanes.get(&lane) == Some(&asker.1)
            {
                self.lanes.remove(&lane);
            }
            self.order.pop_front();
        }
        while let Some(asker) = self.bodies.front()
            && !self.by_asker.contains_key(asker)
        {
            self.bodies.pop_front();
        }
    }
}

impl Case {
    /// Nobody waits for it.
    fn abandon(&mut self) {
        self.undo.take_if(|undo| matches!(undo, Undo::Stop(_)));
        self.settle = None;
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
            Self::Stop(stop) => drop(stop),
        }
    }
}

/// Waits until a join is effective.
fn work_of_join(
    asker: Asker,
    joined: impl Future<Output = Result<Joined, GroupError>> + Send + 'static,
) -> Work {
    Box::pin(async move {
        let outcome = match joined.await {
            Ok(Joined::HereOnly) => Outcome::DoneHereOnly,
            Ok(_) => Outcome::Done,
            Err(error) => error.into(),
        };
        Finished { asker, reply: Some(outcome.into()), waited: None }
    })
}

fn panicked() -> Outcome {
    tracing::error!("a front end panicked when it served a relayed request");
    Outcome::Refused("its front end panicked".into())
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

impl From<Unanswered> for Outcome {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Disconnected => Self::Disconnected,
            Unanswered::TooSlow => Self::TooSlow,
            Unanswered::TooMany => Self::Refused("too many calls wait for clients there".into()),
            Unanswered::Duplicate => Self::Refused("a call of this id waits already".into()),
        }
    }
}
