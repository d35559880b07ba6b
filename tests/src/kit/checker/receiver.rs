//! What arrived.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use backplane_core::{Event, NodeId, Sink, Topic};
use tokio::sync::watch;

use super::book::{Stream, read};
use crate::kit::{Outcome, SOON, within};

/// A sink that notes what arrives, and when.
#[derive(Debug)]
pub struct Receiver {
    pub(super) label: String,
    pub(super) node: NodeId,
    run: u64,
    notes: Mutex<Notes>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) expected: HashMap<Topic, Instant>,
    pub(super) heard: Vec<Heard>,
    messages: usize,
    interrupted: usize,
    restored: usize,
    /// The highest number of each stream.
    latest: HashMap<u32, u64>,
    /// What is no envelope of this checker's.
    pub(super) strangers: Vec<String>,
}

/// One event, in the order of arrival.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    Message { stream: u32, number: u64, topic: Topic, origin: Option<NodeId> },
    Gap { topic: Topic, origin: Option<NodeId>, count: Option<u64> },
    Interrupted { since: Instant },
    Restored { at: Instant },
}

impl Receiver {
    pub(super) fn new(label: String, node: NodeId, run: u64) -> Self {
        Self { label, node, run, notes: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// Whatever is published on these topics from now on must arrive.
    pub fn expects(&self, topics: &[Topic]) {
        let now = Instant::now();
        self.notes().expected.extend(topics.iter().map(|topic| (topic.clone(), now)));
    }

    /// How many envelopes it heard.
    #[must_use]
    pub fn count(&self) -> usize {
        self.notes().messages
    }

    /// How often it heard `Interrupted`, and how often `Restored`.
    #[must_use]
    pub fn interruptions(&self) -> (usize, usize) {
        let notes = self.notes();
        (notes.interrupted, notes.restored)
    }

    /// Waits until it has heard that many envelopes.
    ///
    /// # Errors
    ///
    /// It does not, in time.
    pub async fn has(&self, count: usize) -> Outcome {
        let mut changed = self.changed.subscribe();
        let what = format!("{} to hear {count} envelopes", self.label);
        within(SOON, what, changed.wait_for(|_| self.count() >= count)).await.map(drop)
    }

    /// Waits until it has heard `Restored` that often.
    ///
    /// # Errors
    ///
    /// It does not, in time.
    pub async fn restored(&self, times: usize) -> Outcome {
        let mut changed = self.changed.subscribe();
        let what = format!("{} to hear Restored for the {times}. time", self.label);
        within(SOON, what, changed.wait_for(|_| self.interruptions().1 >= times)).await.map(drop)
    }

    pub(super) async fn hears(&self, stream: &Stream, number: u64) -> Outcome {
        let mut changed = self.changed.subscribe();
        let what = format!("{} to hear number {number} on {:?}", self.label, stream.topic);
        let heard = || self.notes().latest.get(&stream.id).is_some_and(|latest| *latest >= number);
        within(SOON, what, changed.wait_for(|_| heard())).await.map(drop)
    }

    pub(super) fn expected_since(&self, topic: &Topic) -> Option<Instant> {
        self.notes().expected.get(topic).copied()
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Receiver {
    fn accept(&self, event: &Event) {
        let at = Instant::now();
        {
            let mut notes = self.notes();
            match event {
                Event::Message(envelope) => match read(&envelope.body) {
                    Some((run, stream, number)) if run == self.run => {
                        let latest = notes.latest.entry(stream).or_default();
                        *latest = (*latest).max(number);
                        notes.messages += 1;
                        let (topic, origin) = (envelope.topic.clone(), envelope.origin);
                        notes.heard.push(Heard::Message { stream, number, topic, origin });
                    }
                    _ => notes.strangers.push(format!("{envelope:?}")),
                },
                Event::Gap(gap) => {
                    let (topic, origin, count) = (gap.topic.clone(), gap.origin, gap.count);
                    notes.heard.push(Heard::Gap { topic, origin, count });
                }
                Event::Interrupted { since } => {
                    notes.interrupted += 1;
                    notes.heard.push(Heard::Interrupted { since: *since });
                }
                Event::Restored => {
                    notes.restored += 1;
                    notes.heard.push(Heard::Restored { at });
                }
                // Excuses no loss here: whoever is gone had been heard out.
                Event::OriginLost { .. } => {}
                other => notes.strangers.push(format!("{other:?}")),
            }
        }
        self.changed.send_modify(|count| *count += 1);
    }
}
