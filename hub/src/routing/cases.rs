//! The questions that a node was asked: which are known, and what is kept of them.

mod doing;

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Weak,
    time::Duration,
};

use backplane_core::{NodeId, PublishError};
use tokio::{sync::oneshot, time::Instant};

use super::{
    desk::{Asker, send},
    question::{Letter, Outcome},
};
use crate::{front::Settle, hub::Shared, members::Member};

/// How long an outcome is kept for a repeated question or a cancellation: far longer than anybody
/// repeats.
pub(crate) const KEPT: Duration = Duration::from_secs(30);

/// The most outcomes that are kept.
const MOST_KEPT: usize = 65_536;

/// The most bytes of outcomes that are kept.
const MOST_KEPT_BYTES: usize = 64 << 20;

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
    /// Whether it is known that it has.
    reached: bool,
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
