//! What one node published, was answered, heard and was told.

use std::{
    fmt::Debug,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use backplane_core::{Event, Link, Sink, Topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Answer, Clock};

/// An envelope was published. Times are those of the run's [`Clock`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Posted {
    pub(super) topic: u16,
    pub(super) number: u32,
    pub(super) at: u64,
}

/// Its ticket resolved.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) topic: u16,
    pub(super) number: u32,
    pub(super) at: u64,
    pub(super) answer: Answer,
}

/// An envelope of another node arrived.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) origin: u16,
    pub(super) topic: u16,
    pub(super) number: u32,
    pub(super) posted: u64,
    pub(super) at: u64,
}

/// The sink was told something else.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) at: u64,
    /// How many envelopes had been heard by then.
    pub(super) after: u64,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    Interrupted { since: u64 },
    Restored,
    Gap { topic: u16, origin: Option<String>, count: Option<u64> },
    OriginLost { origin: String },
}

/// The link changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LinkChange {
    pub(super) at: u64,
    pub(super) up: bool,
    /// In words, where it is not up.
    pub(super) cause: String,
}

/// All that is known of a node, or what is new of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Pages {
    pub(super) posted: Vec<Posted>,
    pub(super) answered: Vec<Answered>,
    pub(super) heard: Vec<Heard>,
    pub(super) told: Vec<Told>,
    pub(super) links: Vec<LinkChange>,
    /// When publish said that the queue is full.
    pub(super) full: Vec<u64>,
    /// How many of its own envelopes a node heard, by topic.
    pub(super) own: Vec<u64>,
    /// What nobody has sent.
    pub(super) strangers: Vec<String>,
}

/// Of what should never happen, the first few tell enough.
const STRANGERS: usize = 20;

/// One node's notes, and its sink. An `accept` costs one lock and 32 bytes.
#[derive(Debug)]
pub(super) struct Journal {
    run: u64,
    node: u16,
    pub(super) clock: Clock,
    pub(super) topics: Vec<Topic>,
    pages: [Mutex<Pages>; 2],
    own: Vec<AtomicU64>,
    /// The latest time of publishing among what was heard, by origin.
    freshest: Vec<AtomicU64>,
    heard: AtomicU64,
    /// Of those heard, how many were taken away.
    taken: AtomicU64,
    posted: AtomicU64,
    answered: AtomicU64,
    interrupted: AtomicU64,
    restored: AtomicU64,
}

/// What is written on the publishing side, and on the receiving one, so that they do not wait for
/// each other.
const DESK: usize = 0;
const EAR: usize = 1;

impl Journal {
    pub(super) fn new(
        run: u64,
        node: usize,
        nodes: usize,
        topics: Vec<Topic>,
        clock: Clock,
    ) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            run,
            node: node as u16,
            clock,
            own: zeros(topics.len()),
            topics,
            pages: Default::default(),
            freshest: zeros(nodes),
            heard: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            posted: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            restored: AtomicU64::new(0),
        }
    }

    /// The body of an envelope that is published now.
    pub(super) fn body(&self, topic: u16, number: u32, size: usize) -> (u64, Bytes) {
        let at = self.clock.now();
        let mut body = Vec::with_capacity(size);
        body.extend(self.run.to_le_bytes());
        body.extend(self.node.to_le_bytes());
        body.extend(topic.to_le_bytes());
        body.extend(number.to_le_bytes());
        body.extend(at.to_le_bytes());
        body.resize(size.max(body.len()), b'.');
        (at, body.into())
    }

    pub(super) fn posted(&self, posted: Posted) {
        self.pages(DESK).posted.push(posted);
        self.posted.fetch_add(1, Ordering::Release);
    }

    pub(super) fn answered(&self, topic: u16, number: u32, answer: Answer) {
        let at = self.clock.now();
        self.pages(DESK).answered.push(Answered { topic, number, at, answer });
        self.answered.fetch_add(1, Ordering::Release);
    }

    pub(super) fn full(&self) {
        let at = self.clock.now();
        self.pages(DESK).full.push(at);
    }

    pub(super) fn link(&self, link: &Link) {
        let cause = match link {
            Link::Up { .. } => String::new(),
            Link::Down { cause, .. } => format!("{cause:?}"),
            other => format!("{other:?}"),
        };
        let change = LinkChange { at: self.clock.now(), up: link.is_up(), cause };
        self.pages(DESK).links.push(change);
    }

    /// How often the link has changed so far, and why it is down.
    pub(super) fn link_changes(&self) -> (usize, Option<LinkChange>) {
        let pages = self.pages(DESK);
        (pages.links.len(), pages.links.last().cloned())
    }

    /// Whether the link was not up at some time after its first so many changes.
    pub(super) fn was_down_since(&self, changes: usize) -> bool {
        self.pages(DESK).links.iter().skip(changes).any(|change| !change.up)
    }

    pub(super) fn heard_in_all(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    pub(super) fn posted_in_all(&self) -> u64 {
        self.posted.load(Ordering::Acquire)
    }

    /// Whether every ticket has resolved.
    pub(super) fn all_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire) >= self.posted_in_all()
    }

    /// The latest time of publishing among what was heard of that node.
    pub(super) fn freshest(&self, origin: usize) -> u64 {
        self.freshest.get(origin).map_or(0, |at| at.load(Ordering::Acquire))
    }

    /// Whether each `Interrupted` was followed by its `Restored`.
    pub(super) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Acquire) >= self.interrupted.load(Ordering::Acquire)
    }

    /// Adds what another process has written of its node.
    pub(super) fn append(&self, more: Pages) {
        let told =
            |wanted: fn(&What) -> bool| more.told.iter().filter(|it| wanted(&it.what)).count();
        let interrupted = told(|what| matches!(what, What::Interrupted { .. }));
        let restored = told(|what| matches!(what, What::Restored));
        let (posted, answered, heard) = (more.posted.len(), more.answered.len(), more.heard.len());
        for heard in &more.heard {
            self.fresh(heard.origin, heard.posted);
        }
        for (own, count) in self.own.iter().zip(&more.own) {
            own.store(*count, Ordering::Release);
        }
        {
            let mut desk = self.pages(DESK);
            desk.posted.extend(more.posted);
            desk.answered.extend(more.answered);
            desk.links.extend(more.links);
            desk.full.extend(more.full);
        }
        {
            let mut ear = self.pages(EAR);
            ear.heard.extend(more.heard);
            ear.told.extend(more.told);
            ear.strangers.extend(more.strangers);
        }
        self.posted.fetch_add(posted as u64, Ordering::Release);
        self.answered.fetch_add(answered as u64, Ordering::Release);
        self.heard.fetch_add(heard as u64, Ordering::Release);
        self.interrupted.fetch_add(interrupted as u64, Ordering::Release);
        self.restored.fetch_add(restored as u64, Ordering::Release);
    }

    /// All that is written, which stays.
    pub(super) fn read(&self) -> Pages {
        let mut pages = self.pages(DESK).clone();
        let ear = self.pages(EAR).clone();
        (pages.heard, pages.told, pages.strangers) = (ear.heard, ear.told, ear.strangers);
        pages.own = self.own_so_far();
        pages
    }

    /// What was written since it was last taken.
    pub(super) fn take(&self) -> Pages {
        let mut pages = std::mem::take(&mut *self.pages(DESK));
        let ear = {
            let mut ear = self.pages(EAR);
            self.taken.fetch_add(ear.heard.len() as u64, Ordering::AcqRel);
            std::mem::take(&mut *ear)
        };
        (pages.heard, pages.told, pages.strangers) = (ear.heard, ear.told, ear.strangers);
        pages.own = self.own_so_far();
        pages
    }

    fn own_so_far(&self) -> Vec<u64> {
        self.own.iter().map(|count| count.load(Ordering::Acquire)).collect()
    }

    fn pages(&self, side: usize) -> MutexGuard<'_, Pages> {
        self.pages[side % 2].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, origin: u16, posted: u64) {
        if let Some(latest) = self.freshest.get(usize::from(origin)) {
            latest.fetch_max(posted, Ordering::AcqRel);
        }
    }

    fn message(&self, topic: &Topic, body: &[u8]) -> Result<(), &'static str> {
        let (run, heard) = read(body, self.clock.now()).ok_or("no body of ours")?;
        if run != self.run {
            return Err("another run's");
        }
        let place = usize::from(heard.topic);
        if self.topics.get(place) != Some(topic) {
            return Err("on another topic");
        }
        if heard.origin == self.node {
            self.own.get(place).map(|count| count.fetch_add(1, Ordering::AcqRel));
            return Ok(());
        }
        let latest = self.freshest.get(usize::from(heard.origin)).ok_or("nobody's")?;
        self.pages(EAR).heard.push(heard);
        self.heard.fetch_add(1, Ordering::Release);
        latest.fetch_max(heard.posted, Ordering::AcqRel);
        Ok(())
    }

    fn told(&self, what: What) {
        let at = self.clock.now();
        let mut ear = self.pages(EAR);
        let after = self.taken.load(Ordering::Acquire) + ear.heard.len() as u64;
        ear.told.push(Told { at, after, what });
    }

    fn stranger(&self, what: &str, event: &dyn Debug) {
        let mut ear = self.pages(EAR);
        if ear.strangers.len() < STRANGERS {
            ear.strangers.push(format!("{what}: {event:?}"));
        }
    }
}

/// A body that [`Journal::body`] made, as heard now, and its run.
fn read(body: &[u8], at: u64) -> Option<(u64, Heard)> {
    let (run, rest) = body.split_first_chunk()?;
    let (origin, rest) = rest.split_first_chunk()?;
    let (topic, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let posted = rest.first_chunk()?;
    let heard = Heard {
        origin: u16::from_le_bytes(*origin),
        topic: u16::from_le_bytes(*topic),
        number: u32::from_le_bytes(*number),
        posted: u64::from_le_bytes(*posted),
        at,
    };
    Some((u64::from_le_bytes(*run), heard))
}

impl Sink for Journal {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(envelope) => {
                if let Err(what) = self.message(&envelope.topic, &envelope.body) {
                    self.stranger(what, envelope);
                }
            }
            Event::Gap(gap) => match self.topics.iter().position(|topic| *topic == gap.topic) {
                Some(topic) => self.told(What::Gap {
                    topic: topic as u16,
                    origin: gap.origin.map(|origin| origin.to_string()),
                    count: gap.count,
                }),
                None => self.stranger("a gap elsewhere", gap),
            },
            Event::Interrupted { since } => {
                self.told(What::Interrupted { since: self.clock.at(*since) });
                self.interrupted.fetch_add(1, Ordering::Release);
            }
            Event::Restored => {
                self.told(What::Restored);
                self.restored.fetch_add(1, Ordering::Release);
            }
            Event::OriginLost { origin } => {
                self.told(What::OriginLost { origin: origin.to_string() });
            }
            other => self.stranger("an unknown event", other),
        }
    }
}
