//! The asker's side of a question: sent, repeated, and answered in two steps.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use backplane_core::{ByteSize, Envelope, Link, NodeId, PublishError, Topic};
use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Routed, Routing,
    desk::{Asker, Errand},
    offer,
    patience::{Patience, REPEATS, Verdict},
    question::{Letter, Outcome, Question},
    turns::{Turn, Turns},
};
use crate::members::Local;

/// Why a question has no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The link was up throughout, and nobody said a word.
    Nobody,
    /// It cannot be told whether anybody heard it.
    Unavailable(Arc<str>),
    /// The asked node has left or died.
    Gone,
    /// The question does not fit into an envelope.
    TooLarge { size: ByteSize, limit: ByteSize },
    /// The backplane is closed.
    Closed,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom<'a> {
    /// The node that has this connection.
    Connection(&'a str),
    /// The hub on this node.
    Node(NodeId),
}

/// How long an outcome may take once the question is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// The node does it by itself, in the time that its options give.
    OfTheNode,
    /// A client takes part: as long as it likes. Who no longer waits for it has it undone.
    OfAClient,
}

/// How far a question got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Asked,
    /// By this node, and how often it has said so.
    Accepted(NodeId, u32),
    Done(NodeId, Outcome),
    /// The asked node is no more.
    Gone,
}

/// The questions of this node that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    latest: AtomicU64,
    book: Mutex<Book>,
    pub(crate) turns: Turns,
}

#[derive(Debug, Default)]
struct Book {
    waiting: HashMap<u64, Place>,
    /// Questions whose asker was told that nobody answered: if somebody does after all, he is told to
    /// undo it. The latest ones, oldest first.
    given_up: VecDeque<u64>,
    given_up_set: HashSet<u64>,
}

/// A question that waits.
#[derive(Debug)]
struct Place {
    told: watch::Sender<Progress>,
    /// The node that is asked, where that is known from the start.
    asked: Option<NodeId>,
}

/// The most questions that wait, and the most that are remembered as given up.
const MOST: usize = 65_536;

impl Asking {
    /// The number of a new question.
    pub(crate) fn number(&self) -> u64 {
        self.latest.fetch_add(1, Ordering::Relaxed)
    }

    /// This node has the question. Whether it is to be told that nobody waits any more.
    pub(super) fn accepted(&self, number: u64, owner: NodeId) -> bool {
        self.progress(number, |known| match known {
            Progress::Asked => Some(Progress::Accepted(owner, 1)),
            Progress::Accepted(_, times) => Some(Progress::Accepted(owner, times.wrapping_add(1))),
            Progress::Done(..) | Progress::Gone => None,
        })
    }

    /// A node has left or died: nobody waits for it any more.
    pub(super) fn gone(&self, node: NodeId) {
        let book = self.book();
        for Place { told, asked } in book.waiting.values() {
            told.send_if_modified(|known| {
                let waits = match known {
                    Progress::Asked => *asked == Some(node),
                    Progress::Accepted(owner, _) => *owner == node,
                    Progress::Done(..) | Progress::Gone => false,
                };
                if waits {
                    *known = Progress::Gone;
                }
                waits
            });
        }
    }

    /// The outcome is here. Whether the asked node is to be told that nobody waits any more.
    pub(super) fn done(&self, number: u64, owner: NodeId, outcome: Outcome) -> bool {
        self.progress(number, |known| match known {
            Progress::Done(..) => None,
            _ => Some(Progress::Done(owner, outcome)),
        })
    }

    fn progress(&self, number: u64, next: impl FnOnce(&Progress) -> Option<Progress>) -> bool {
        let book = self.book();
        let Some(waiting) = book.waiting.get(&number) else {
            return book.given_up_set.contains(&number);
        };
        waiting.told.send_if_modified(|known| {
            let next = next(known);
            let newer = next.is_some();
            if let Some(next) = next {
                *known = next;
            }
            newer
        });
        false
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Local {
    fn begin(&self, number: u64, asked: Option<NodeId>, work: Work) -> Option<Waiting<'_>> {
        let mut book = self.asking.book();
        // Clients that never answer leave the nodes' own questions their places.
        let most = if work == Work::OfAClient { MOST / 2 } else { MOST };
        if book.waiting.len() >= most {
            return None;
        }
        let (told, progress) = watch::channel(Progress::Asked);
        book.waiting.insert(number, Place { told, asked });
        Some(Waiting { local: self, number, asked, work, progress })
    }
}

/// A question's place in the book, for as long as somebody waits.
struct Waiting<'a> {
    local: &'a Local,
    number: u64,
    asked: Option<NodeId>,
    work: Work,
    progress: watch::Receiver<Progress>,
}

impl Waiting<'_> {
    /// Stops to wait: the outcome if it has come just now. Whoever answers later is told to undo it.
    fn give_up(&self) -> Option<(NodeId, Outcome)> {
        let mut book = self.local.asking.book();
        book.waiting.remove(&self.number);
        if let Progress::Done(owner, outcome) = &*self.progress.borrow() {
            return Some((*owner, outcome.clone()));
        }
        book.given_up.push_back(self.number);
        book.given_up_set.insert(self.number);
        if book.given_up.len() > MOST
            && let Some(oldest) = book.given_up.pop_front()
        {
            book.given_up_set.remove(&oldest);
        }
        None
    }
}

impl Waiting<'_> {
    /// Whoever may have the question is told that nobody waits any more, by an errand.
    fn tell(&self, errand: impl FnOnce(Asker) -> Errand) {
        let asked = match &*self.progress.borrow() {
            Progress::Asked => self.asked,
            Progress::Accepted(owner, _) => Some(*owner),
            Progress::Done(..) | Progress::Gone => None,
        };
        if let Some(asked) = asked {
            self.local.desk.bring(errand((asked, self.number)), &self.local.counters);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.local.asking.book().waiting.remove(&self.number).is_none() {
            return;
        }
        // Cancelled. What a node does by itself may then be done or not.
        if self.work == Work::OfAClient && self.give_up().is_none() {
            self.tell(Errand::TellToUndo);
        }
    }
}

impl Routing {
    /// Asks a node for something that it does by itself, and waits for the outcome.
    pub(crate) async fn ask(&self, whom: Whom<'_>, question: Question) -> Result<Outcome, Silence> {
        let number = self.local.asking.number();
        let asked = self.ask_for(whom, question, number, Work::OfTheNode, &mut None).await;
        asked.map(|(_, outcome)| outcome)
    }

    /// Waits until others could be asked, and an answer could arrive.
    pub(crate) async fn reachable(&self) -> Result<(), Arc<str>> {
        self.can_hear(&mut self.backplane.link()).await
    }

    /// Asks a node for something that a client takes part in, and waits for the outcome for as long
    /// as that takes. Also tells who answered.
    ///
    /// `turn` is over as soon as the question is accepted. Cancelling it undoes what was asked for.
    pub(crate) async fn ask_client(
        &self,
        whom: Whom<'_>,
        question: Question,
        number: u64,
        turn: &mut Option<Turn<'_>>,
    ) -> Result<(NodeId, Outcome), Silence> {
        self.ask_for(whom, question, number, Work::OfAClient, turn).await
    }

    /// The asked node says at once that it has the question, and later what came of it. The
    /// question is repeated until the first of these comes, which the other side recognises by its
    /// number. Silence means that nobody is there only if this node could have heard an answer.
    ///
    /// What nodes say to each other is worthless later: it is not kept for when the link is back.
    async fn ask_for(
        &self,
        whom: Whom<'_>,
        question: Question,
        number: u64,
        work: Work,
        turn: &mut Option<Turn<'_>>,
    ) -> Result<(NodeId, Outcome), Silence> {
        let (topic, asked) = match whom {
            Whom::Connection(id) => (Topic::connection(&self.hub, id), None),
            Whom::Node(node) => (Topic::node(&self.hub, node), Some(node)),
        };
        if matches!(whom, Whom::Connection("")) || !topic.fits() {
            return Err(Silence::Nobody);
        }
        self.local.counters.requests.add(1);
        let mut link = self.backplane.link();
        self.can_hear(&mut link).await.map_err(Silence::Unavailable)?;
        let Some(mut waiting) = self.local.begin(number, asked, work) else {
            return Err(Silence::Unavailable("too many questions wait for an answer".into()));
        };
        let body = Letter::Ask(question, number).encode();
        let outcome = tokio::select! {
            biased;
            // Any change of an up link is for the worse. An outcome that came before it still counts.
            _ = link.changed() => Err(Silence::Unavailable(why(&link.borrow()))),
            outcome = self.insist(&mut waiting, &topic, &body, turn) => outcome,
        };
        outcome.or_else(|silence| {
            if let Some(outcome) = waiting.give_up() {
                return Ok(outcome);
            }
            if work == Work::OfAClient && matches!(silence, Silence::Unavailable(_)) {
                waiting.tell(Errand::InsistToUndo);
            }
            Err(silence)
        })
    }

    /// Puts the question until it is accepted, and waits for the outcome.
    async fn insist(
        &self,
        waiting: &mut Waiting<'_>,
        topic: &Topic,
        body: &Bytes,
        turn: &mut Option<Turn<'_>>,
    ) -> Result<(NodeId, Outcome), Silence> {
        let step = self.answer_within / REPEATS;
        let interruptions = self.local.counters.interruptions.get();
        let mut patience = Patience::new(self.backplane.stats().probes);
        let mut next = Instant::now();
        let mut result_until = None;
        let mut accepted = None;
        loop {
            let known = waiting.progress.borrow_and_update().clone();
            match known {
                Progress::Done(owner, outcome) => return Ok((owner, outcome)),
                Progress::Gone => return Err(Silence::Gone),
                Progress::Accepted(owner, times) if accepted != Some((owner, times)) => {
                    *turn = None;
                    match waiting.work {
                        Work::OfTheNode if accepted.is_none() => {
                            result_until = Some(Instant::now() + self.result_within);
                        }
                        Work::OfTheNode => {}
                        Work::OfAClient => {
                            patience = Patience::new(self.backplane.stats().probes);
                            next = Instant::now() + self.answer_within;
                        }
                    }
                    accepted = Some((owner, times));
                }
                _ => {}
            }
            let now = Instant::now();
            if result_until.is_some_and(|deadline| now >= deadline) {
                let reason = "its node works on it, but did not say in time what came of it";
                return Err(Silence::Unavailable(reason.into()));
            }
            if now >= next {
                // While membership knows the node, it will tell of its end too.
                let silence_counts = match (accepted, waiting.work) {
                    (None, _) => true,
                    (Some(_), Work::OfTheNode) => false,
                    (Some((owner, _)), Work::OfAClient) => {
                        owner != self.local.node
                            && !self.backplane.members().borrow().contains(owner)
                    }
                };
                if silence_counts {
                    let late = now - next > step;
                    match patience.judge(late, self.backplane.stats().probes) {
                        Verdict::AskAgain => {}
                        // A link that stays up can lose something all the same, and says so.
                        Verdict::Nobody
                            if self.local.counters.interruptions.get() > interruptions =>
                        {
                            let reason = "messages of other nodes were lost meanwhile";
                            return Err(Silence::Unavailable(reason.into()));
                        }
                        Verdict::Nobody if accepted.is_some() => return Err(Silence::Gone),
                        Verdict::Nobody => return Err(Silence::Nobody),
                        Verdict::Deaf => {
                            let reason =
                                "this node is too busy, or its link too slow, to hear an answer";
                            return Err(Silence::Unavailable(reason.into()));
                        }
                    }
                }
                match (accepted, waiting.work) {
                    (Some((owner, _)), Work::OfAClient) => {
                        let reminder = Letter::Remind(waiting.number).encode();
                        self.put(&Topic::node(&self.hub, owner), &reminder).await?;
                    }
                    // Once accepted, it is put again only in case the outcome was lost on its way.
                    _ => self.put(topic, body).await?,
                }
                next = Instant::now() + if silence_counts { step } else { self.answer_within };
            }
            let wake = result_until.map_or(next, |deadline| deadline.min(next));
            tokio::select! {
                biased;
                // The sender is in the book for as long as this waits.
                _ = waiting.progress.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    async fn put(&self, topic: &Topic, body: &Bytes) -> Result<(), Silence> {
        let envelope = Envelope::new(topic.clone(), body.clone()).transient();
        let outcome = match offer(&*self.backplane, envelope).await {
            Ok(ticket) => ticket.await.map(drop),
            Err(error) => Err(error),
        };
        match outcome {
            // Unknown: the link says so as well, or the next repetition gets through.
            Ok(()) | Err(PublishError::Unknown) => Ok(()),
            Err(PublishError::TooLarge { size, limit }) => Err(Silence::TooLarge { size, limit }),
            Err(PublishError::Closed) => Err(Silence::Closed),
            Err(error) => Err(Silence::Unavailable(error.to_string().into())),
        }
    }

    /// Waits until an answer could arrive: the link is up and this node's own topic routed. Fails with
    /// what stands in the way.
    async fn can_hear(&self, link: &mut watch::Receiver<Link>) -> Result<(), Arc<str>> {
        let started = link.wait_for(|link| !matches!(link, Link::Connecting));
        match tokio::time::timeout(self.answer_within, started).await {
            Ok(Ok(state)) if state.is_up() => {}
            Ok(Ok(state)) => return Err(why(&state)),
            Ok(Err(_)) => return Err("the backplane is closed".into()),
            Err(_) => return Err("the first connection to the broker is still being made".into()),
        }
        match self.routed(&self.subscription).await {
            Ok(Routed::Everywhere) => Ok(()),
            Ok(Routed::HereOnly) => Err(why(&link.borrow())),
            Err(error) => Err(error.to_string().into()),
        }
    }
}

fn why(link: &Link) -> Arc<str> {
    match link {
        Link::Down { cause, .. } => format!("the link to the broker is down ({cause})").into(),
        Link::Muted { .. } => "the link to the broker delivers nothing".into(),
        Link::Closed => "the backplane is closed".into(),
        _ => "the link to the broker was interrupted".into(),
    }
}
