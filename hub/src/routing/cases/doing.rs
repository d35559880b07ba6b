//! Doing what is asked.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{Cases, Finished, Reply, Undo, Work};
use crate::{
    ClaimError, Completion, GroupError, Hub, Joined, RelayRequest,
    front::Whereabouts,
    hub::Shared,
    members::{Member, Unanswered},
    routing::{
        body,
        desk::{Asker, Errand, send},
        question::{Letter, Outcome, Question},
    },
};

/// The most questions in work that clients take part in.
const MOST_WAITS: usize = 16_384;

/// The most bytes of relayed requests in work.
const MOST_RELAYED_BYTES: usize = 64 << 20;

impl Cases {
    /// Does what is asked, as far as that takes no waiting, and returns the rest.
    pub(in crate::routing) async fn take_on(
        &mut self,
        hub: &Arc<Shared>,
        errand: Errand,
    ) -> Option<Work> {
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

    async fn answer(
        &mut self,
        hub: &Arc<Shared>,
        asker: Asker,
        member: Option<Arc<Member>>,
        question: Question,
    ) -> Option<Work> {
        let moving = member.as_ref().is_some_and(|member| member.is_moving());
        if moving && !matches!(question, Question::Relay { .. }) {
            // Since it was asked for. Without an answer it is asked for again.
            return None;
        }
        if self.known(hub, asker).await {
            return None;
        }
        let reply = match (question, member) {
            (Question::Join(group), Some(member)) => {
                return self.join(hub, asker, member, group).await;
            }
            (Question::Leave(group), Some(member)) => {
                hub.leave(&member, &group, None);
                done(&member)
            }
            (Question::LeaveAll, Some(member)) => {
                hub.leave_all(&member);
                done(&member)
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
            (Question::Relay { connection, body }, member) => {
                match self.relay(hub, asker, &connection, body) {
                    Ok(work) => return self.accept(hub, asker, work).await,
                    Err(Outcome::NotAnnounced) if member.is_some_and(|it| it.is_moving()) => {
                        // It has just gone, and whoever has it answers when it is asked again.
                        self.by_asker.remove(&asker);
                        return None;
                    }
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
        if member.is_moving() {
            self.close(hub, asker, done(&member).into()).await;
            return None;
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
        hub: &Arc<Shared>,
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
        let request = RelayRequest {
            hub: Hub(Arc::clone(hub)),
            connection: connection.into(),
            from: node,
            body,
        };
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

    /// The answer to a relayed request has reached the client. Said again where that it was heard was not
    /// heard.
    fn written(&mut self, relay: Asker) -> Outcome {
        let Some(case) = self.by_asker.get_mut(&relay) else { return Outcome::Forgotten };
        match case.settle.take() {
            Some(settle) => settle.reached(),
            None if case.reached => return Outcome::Done,
            None => return Outcome::Forgotten,
        }
        case.reached = true;
        self.strip(relay);
        Outcome::Done
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
}

/// What was done to a connection that was here before. Where it began to move just then, it may have gone
/// without.
fn done(member: &Member) -> Outcome {
    if member.is_moving() {
        Outcome::Failed("the connection moves to another node".into())
    } else {
        Outcome::Done
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
