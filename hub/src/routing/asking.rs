//! The asker's side of a question: sent, repeated, and answered in two steps.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backplane_core::{Envelope, Link, NodeId, PublishError, Topic};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Routed, Routing, offer,
    question::{Letter, Outcome, Question},
};
use crate::{HubOptions, members::Local};

/// Why a question has no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The link was up throughout, and nobody said a word.
    Nobody,
    /// It cannot be told whether anybody heard it.
    Unavailable(Arc<str>),
}

/// How far a question got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Asked,
    Accepted,
    Done(Outcome),
}

/// The questions of this node that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    latest: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    waiting: HashMap<u64, watch::Sender<Progress>>,
    /// Questions whose asker was told that nobody answered: if somebody does after all, he is told to
    /// undo it. The latest ones, oldest first.
    given_up: VecDeque<u64>,
    given_up_set: HashSet<u64>,
}

/// The most questions that wait, and the most that are remembered as given up.
const MOST: usize = 65_536;

/// A question is put this many times in the time within which it has to be accepted.
const REPEATS: u32 = 4;

/// How often a node that is late itself starts to wait anew.
const PATIENCE: u32 = 3;

impl Asking {
    /// The number of a new question.
    pub(crate) fn number(&self) -> u64 {
        self.latest.fetch_add(1, Ordering::Relaxed)
    }

    /// The asked node has the question. Whether it is to be told that nobody waits any more.
    pub(super) fn accepted(&self, number: u64) -> bool {
        self.progress(number, Progress::Accepted)
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
        waiting.send_if_modified(|known| {
            let newer = match known {
                Progress::Asked => true,
                Progress::Accepted => matches!(progress, Progress::Done(_)),
                Progress::Done(_) => false,
            };
            if newer {
                *known = progress;
            }
            newer
        });
        false
    }

    fn begin(&self) -> Option<Waiting<'_>> {
        let mut book = self.book();
        if book.waiting.len() >= MOST {
            return None;
        }
        let number = self.number();
        let (told, progress) = watch::channel(Progress::Asked);
        book.waiting.insert(number, told);
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

impl Routing {
    /// Asks the node that has a connection.
    pub(crate) async fn ask_connection(
        &self,
        local: &Local,
        options: &HubOptions,
        id: &str,
        question: Question,
    ) -> Result<Outcome, Silence> {
        let topic = Topic::connection(&self.hub, id);
        if id.is_empty() || !topic.fits() {
            return Err(Silence::Nobody);
        }
        self.ask(local, options, &topic, question).await
    }

    /// Asks the hub on another node.
    pub(crate) async fn ask_node(
        &self,
        local: &Local,
        options: &HubOptions,
        node: NodeId,
        question: Question,
    ) -> Result<Outcome, Silence> {
        self.ask(local, options, &Topic::node(&self.hub, node), question).await
    }

    /// Asks whoever has `topic`, and waits for the outcome.
    ///
    /// The asked node says at once that it has the question, and later what came of it. The
    /// question is repeated until the first of these comes, which the other side recognises by its
    /// number. Silence means that nobody is there only if this node could have heard an answer.
    async fn ask(
        &self,
        local: &Local,
        options: &HubOptions,
        topic: &Topic,
        question: Question,
    ) -> Result<Outcome, Silence> {
        local.counters.requests.add(1);
        let mut link = self.backplane.link();
        self.can_hear(&mut link, options.answer_within).await?;
        let Some(mut waiting) = local.asking.begin() else {
            return Err(Silence::Unavailable("too many questions wait for an answer".into()));
        };
        let body = Letter::Ask(question, waiting.number).encode();
        let outcome = tokio::select! {
            biased;
            outcome = self.insist(&mut waiting, topic, &body, options) => outcome,
            // Any change of an up link is for the worse.
            _ = link.changed() => Err(Silence::Unavailable(why(&link.borrow()))),
        };
        outcome.or_else(|silence| waiting.give_up().ok_or(silence))
    }

    /// Puts the question until it is accepted, and waits for the outcome.
    async fn insist(
        &self,
        waiting: &mut Waiting<'_>,
        topic: &Topic,
        body: &bytes::Bytes,
        options: &HubOptions,
    ) -> Result<Outcome, Silence> {
        let step = options.answer_within / REPEATS;
        let mut windows = 1;
        let mut asked = 0;
        let mut until = Instant::now();
        let mut result_until = None;
        loop {
            let known = waiting.progress.borrow_and_update().clone();
            match known {
                Progress::Done(outcome) => return Ok(outcome),
                Progress::Accepted => {
                    let deadline =
                        *result_until.get_or_insert_with(|| Instant::now() + options.result_within);
                    if Instant::now() >= deadline {
                        let reason =
                            "its node works on it, but did not say in time what came of it";
                        return Err(Silence::Unavailable(reason.into()));
                    }
                }
                Progress::Asked => {}
            }
            let now = Instant::now();
            if now >= until {
                // A node that was not running could not have heard anything.
                let late = now - until > step;
                if result_until.is_none() && asked >= REPEATS {
                    if !late || windows >= PATIENCE {
                        return Err(Silence::Nobody);
                    }
                    windows += 1;
                    asked = 0;
                }
                asked += 1;
                self.put(topic, body).await?;
                // Once accepted, it is put again only in case the outcome was lost on its way.
                until = Instant::now()
                    + if result_until.is_some() { options.answer_within } else { step };
            }
            let wake = result_until.map_or(until, |deadline| deadline.min(until));
            tokio::select! {
                biased;
                // The sender is in the book for as long as this waits.
                _ = waiting.progress.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    async fn put(&self, topic: &Topic, body: &bytes::Bytes) -> Result<(), Silence> {
        let envelope = Envelope::new(topic.clone(), body.clone());
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
    async fn can_hear(
        &self,
        link: &mut watch::Receiver<Link>,
        patience: Duration,
    ) -> Result<(), Silence> {
        let started = link.wait_for(|link| !matches!(link, Link::Connecting));
        let state = match tokio::time::timeout(patience, started).await {
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
