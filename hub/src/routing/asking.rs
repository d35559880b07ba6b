//! The asker's side of a question: sent, repeated, and answered in two steps.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use backplane_core::{Envelope, Link, NodeId, PublishError, Topic};
use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Routed, Routing, offer,
    question::{Letter, Outcome, Question},
};

/// Why a question has no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The link was up throughout, and nobody said a word.
    Nobody,
    /// It cannot be told whether anybody heard it.
    Unavailable(Arc<str>),
    /// The asked node has left or died.
    Gone,
}

/// How far a question got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Asked,
    Accepted(NodeId),
    Done(Outcome),
    /// The asked node is no more.
    Gone,
}

/// The questions of this node that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    latest: AtomicU64,
    book: Mutex<Book>,
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

/// A question is put this many times in the time within which it has to be accepted.
const REPEATS: u32 = 4;

/// How often a node that did not run in time starts to wait anew.
const WINDOWS: u32 = 4;

/// How often a question is put beyond that while the link is not seen to deliver: with the default
/// times, for longer than a link takes to be declared mute.
const DEAF: u32 = 20;

impl Asking {
    /// The number of a new question.
    pub(crate) fn number(&self) -> u64 {
        self.latest.fetch_add(1, Ordering::Relaxed)
    }

    /// This node has the question. Whether it is to be told that nobody waits any more.
    pub(super) fn accepted(&self, number: u64, owner: NodeId) -> bool {
        self.progress(number, Progress::Accepted(owner))
    }

    /// A node has left or died: nobody waits for it any more.
    pub(super) fn gone(&self, node: NodeId) {
        let book = self.book();
        for Place { told, asked } in book.waiting.values() {
            told.send_if_modified(|known| {
                let waits = match known {
                    Progress::Asked => *asked == Some(node),
                    Progress::Accepted(owner) => *owner == node,
                    Progress::Done(_) | Progress::Gone => false,
                };
                if waits {
                    *known = Progress::Gone;
                }
                waits
            });
        }
    }

    /// The outcome is here. Whether the asked node is to be told that nobody waits any more.
    pub(super) fn done(&self, number: u64, outcome: Outcome) -> bool {
        self.progress(number, Progress::Done(outcome))
    }

    fn progress(&self, number: u64, progress: Progress) -> bool {
        let book = self.book();
        let Some(waiting) = book.waiting.get(&number) else {
            return book.given_up_set.contains(&number);
        };
        waiting.told.send_if_modified(|known| {
            let newer = match known {
                Progress::Asked => true,
                Progress::Accepted(_) | Progress::Gone => matches!(progress, Progress::Done(_)),
                Progress::Done(_) => false,
            };
            if newer {
                *known = progress;
            }
            newer
        });
        false
    }

    fn begin(&self, asked: Option<NodeId>) -> Option<Waiting<'_>> {
        let mut book = self.book();
        if book.waiting.len() >= MOST {
            return None;
        }
        let number = self.number();
        let (told, progress) = watch::channel(Progress::Asked);
        book.waiting.insert(number, Place { told, asked });
        Some(Waiting { asking: self, number, progress })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question's place in the book, for as long as somebody waits.
struct Waiting<'a> {
    asking: &'a Asking,
    number: u64,
    progress: watch::Receiver<Progress>,
}

impl Waiting<'_> {
    /// Stops to wait: the outcome if it has come just now. Whoever answers later is told to undo it.
    fn give_up(&self) -> Option<Outcome> {
        let mut book = self.asking.book();
        book.waiting.remove(&self.number);
        if let Progress::Done(outcome) = &*self.progress.borrow() {
            return Some(outcome.clone());
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

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.asking.book().waiting.remove(&self.number);
    }
}

/// How long silence may last before it means that nobody is there.
///
/// It counts only while this node runs and its link is seen to deliver: the question is put again
/// where it may be this node that did not hear.
#[derive(Debug)]
struct Patience {
    put: u32,
    windows: u32,
    deaf: u32,
    /// The probes of the link that had come back when the window began; 0 where there are none.
    probes: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    AskAgain,
    Nobody,
    /// This node would not have heard an answer.
    Deaf,
}

impl Patience {
    const fn new(probes: u64) -> Self {
        Self { put: 0, windows: 1, deaf: 0, probes }
    }

    /// What to do when it is time to ask. `late` says that this node did not run in time.
    fn judge(&mut self, late: bool, probes: u64) -> Verdict {
        if self.put < REPEATS {
            self.put += 1;
            return Verdict::AskAgain;
        }
        if late {
            self.windows += 1;
            self.put = 1;
            self.probes = probes;
            return if self.windows > WINDOWS { Verdict::Deaf } else { Verdict::AskAgain };
        }
        if self.probes == 0 || probes > self.probes {
            return Verdict::Nobody;
        }
        self.deaf += 1;
        if self.deaf > DEAF { Verdict::Deaf } else { Verdict::AskAgain }
    }
}

impl Routing {
    /// Asks the node that has a connection.
    pub(crate) async fn ask_connection(
        &self,
        id: &str,
        question: Question,
    ) -> Result<Outcome, Silence> {
        let topic = Topic::connection(&self.hub, id);
        if id.is_empty() || !topic.fits() {
            return Err(Silence::Nobody);
        }
        self.ask(&topic, None, question).await
    }

    /// Asks the hub on another node.
    pub(crate) async fn ask_node(
        &self,
        node: NodeId,
        question: Question,
    ) -> Result<Outcome, Silence> {
        self.ask(&Topic::node(&self.hub, node), Some(node), question).await
    }

    /// Waits until others could be asked, and an answer could arrive.
    pub(crate) async fn reachable(&self) -> Result<(), Silence> {
        self.can_hear(&mut self.backplane.link()).await
    }

    /// Asks whoever has `topic`, and waits for the outcome.
    ///
    /// The asked node says at once that it has the question, and later what came of it. The
    /// question is repeated until the first of these comes, which the other side recognises by its
    /// number. Silence means that nobody is there only if this node could have heard an answer.
    ///
    /// What nodes say to each other is worthless later: it is not kept for when the link is back.
    async fn ask(
        &self,
        topic: &Topic,
        asked: Option<NodeId>,
        question: Question,
    ) -> Result<Outcome, Silence> {
        self.local.counters.requests.add(1);
        let mut link = self.backplane.link();
        self.can_hear(&mut link).await?;
        let Some(mut waiting) = self.local.asking.begin(asked) else {
            return Err(Silence::Unavailable("too many questions wait for an answer".into()));
        };
        let body = Letter::Ask(question, waiting.number).encode();
        let outcome = tokio::select! {
            biased;
            // Any change of an up link is for the worse. An outcome that came before it still counts.
            _ = link.changed() => Err(Silence::Unavailable(why(&link.borrow()))),
            outcome = self.insist(&mut waiting, topic, &body) => outcome,
        };
        outcome.or_else(|silence| waiting.give_up().ok_or(silence))
    }

    /// Puts the question until it is accepted, and waits for the outcome.
    async fn insist(
        &self,
        waiting: &mut Waiting<'_>,
        topic: &Topic,
        body: &Bytes,
    ) -> Result<Outcome, Silence> {
        let step = self.answer_within / REPEATS;
        let interruptions = self.local.counters.interruptions.get();
        let mut patience = Patience::new(self.backplane.stats().probes);
        let mut next = Instant::now();
        let mut result_until = None;
        loop {
            let known = waiting.progress.borrow_and_update().clone();
            match known {
                Progress::Done(outcome) => return Ok(outcome),
                Progress::Gone => return Err(Silence::Gone),
                Progress::Accepted(_) if result_until.is_none() => {
                    result_until = Some(Instant::now() + self.result_within);
                }
                _ => {}
            }
            let now = Instant::now();
            if result_until.is_some_and(|deadline| now >= deadline) {
                let reason = "its node works on it, but did not say in time what came of it";
                return Err(Silence::Unavailable(reason.into()));
            }
            if now >= next {
                let accepted = result_until.is_some();
                let late = now - next > step;
                if !accepted {
                    match patience.judge(late, self.backplane.stats().probes) {
                        Verdict::AskAgain => {}
                        // A link that stays up can lose something all the same, and says so.
                        Verdict::Nobody
                            if self.local.counters.interruptions.get() > interruptions =>
                        {
                            let reason = "messages of other nodes were lost meanwhile";
                            return Err(Silence::Unavailable(reason.into()));
                        }
                        Verdict::Nobody => return Err(Silence::Nobody),
                        Verdict::Deaf => {
                            let reason =
                                "this node is too busy, or its link too slow, to hear an answer";
                            return Err(Silence::Unavailable(reason.into()));
                        }
                    }
                }
                self.put(topic, body).await?;
                // Once accepted, it is put again only in case the outcome was lost on its way.
                next = Instant::now() + if accepted { self.answer_within } else { step };
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
            Err(error) => Err(Silence::Unavailable(error.to_string().into())),
        }
    }

    /// Waits until an answer could arrive: the link is up and this node's own topic routed.
    async fn can_hear(&self, link: &mut watch::Receiver<Link>) -> Result<(), Silence> {
        let started = link.wait_for(|link| !matches!(link, Link::Connecting));
        let state = match tokio::time::timeout(self.answer_within, started).await {
            Ok(Ok(state)) if state.is_up() => Ok(()),
            Ok(Ok(state)) => Err(why(&state)),
            Ok(Err(_)) => Err("the backplane is closed".into()),
            Err(_) => Err("the first connection to the broker is still being made".into()),
        };
        state.map_err(Silence::Unavailable)?;
        match self.routed(&self.subscription).await {
            Ok(Routed::Everywhere) => Ok(()),
            Ok(Routed::HereOnly) => Err(Silence::Unavailable(why(&link.borrow()))),
            Err(error) => Err(Silence::Unavailable(error.to_string().into())),
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

#[cfg(test)]
mod tests {
    use super::{DEAF, Patience, REPEATS, Verdict, WINDOWS};

    /// How many questions are put, and what is concluded then.
    fn ask(mut patience: Patience, mut step: impl FnMut(u32) -> (bool, u64)) -> (u32, Verdict) {
        let mut put = 0;
        loop {
            let (late, probes) = step(put);
            match patience.judge(late, probes) {
                Verdict::AskAgain => put += 1,
                verdict => return (put, verdict),
            }
        }
    }

    #[test]
    fn silence_counts_while_this_node_runs_and_its_link_delivers() {
        assert_eq!(ask(Patience::new(7), |_| (false, 8)), (REPEATS, Verdict::Nobody));
        // A backplane without probes: there is nothing to go by.
        assert_eq!(ask(Patience::new(0), |_| (false, 0)), (REPEATS, Verdict::Nobody));
    }

    #[test]
    fn a_link_that_is_not_seen_to_deliver_proves_nothing() {
        let probe_after_six = ask(Patience::new(7), |put| (false, if put < 6 { 7 } else { 8 }));
        assert_eq!(probe_after_six, (6, Verdict::Nobody));
        assert_eq!(ask(Patience::new(7), |_| (false, 7)), (REPEATS + DEAF, Verdict::Deaf));
    }

    #[test]
    fn a_node_that_stood_still_asks_anew() {
        let once = ask(Patience::new(7), |put| (put == REPEATS, 8 + u64::from(put)));
        assert_eq!(once, (2 * REPEATS, Verdict::Nobody));
        let always = ask(Patience::new(7), |put| (true, 8 + u64::from(put)));
        assert_eq!(always, (WINDOWS * REPEATS, Verdict::Deaf));
    }
}
