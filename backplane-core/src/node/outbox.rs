//! What becomes of envelopes while the link is down: a pure state machine.
//!
//! Whatever goes in comes out once: taken to be sent, or with a [`Fate`].

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use super::{Outage, WhenFull, outgoing::Queued};
use crate::sequenced::Moment;

/// Envelopes that wait for the link, oldest first.
#[derive(Debug)]
pub(super) struct Outbox {
    policy: Outage,
    /// How long one that was on its way when the link failed may wait to be sent again.
    resend_within: Duration,
    waiting: VecDeque<Queued>,
    bytes: u64,
}

/// Why an envelope will not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its publisher does not want it to wait, or not any longer.
    LinkDown,
    /// The connection failed underneath it, and it may not be sent again.
    Unknown,
    /// There was no room.
    DroppedFull,
    /// It has waited for too long.
    DroppedOld,
}

impl Outbox {
    pub(super) const fn new(policy: Outage, resend_within: Duration) -> Self {
        Self { policy, resend_within, waiting: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, u64) {
        (self.waiting.len(), self.bytes)
    }

    /// Takes an envelope while the link is down.
    pub(super) fn push(&mut self, queued: Queued, fates: &mut Vec<(Queued, Fate)>) {
        if queued.envelope.transient {
            return fates.push((queued, Fate::LinkDown));
        }
        match self.policy {
            Outage::Refuse => fates.push((queued, Fate::LinkDown)),
            Outage::Wait { .. } => self.keep(queued),
            Outage::Buffer { count, bytes, when_full, .. } => {
                let bound = bytes.as_u64();
                let cost = u64::from(queued.cost);
                let newest_gives_way =
                    when_full == WhenFull::DropNewest || cost > bound || count == 0;
                while self.waiting.len() + 1 > count || self.bytes + cost > bound {
                    match if newest_gives_way { None } else { self.shift() } {
                        Some(oldest) => fates.push((oldest, Fate::DroppedFull)),
                        None => return fates.push((queued, Fate::DroppedFull)),
                    }
                }
                self.keep(queued);
            }
        }
    }

    fn keep(&mut self, queued: Queued) {
        self.bytes += u64::from(queued.cost);
        self.waiting.push_back(queued);
    }

    fn shift(&mut self) -> Option<Queued> {
        let queued = self.waiting.pop_front()?;
        self.bytes -= u64::from(queued.cost);
        Some(queued)
    }

    /// The link failed while these were on their way, in this order: what is numbered is sent again,
    /// before everything else, as receivers drop what they have.
    pub(super) fn put_back(&mut self, sent: Vec<Queued>, fates: &mut Vec<(Queued, Fate)>) {
        for queued in sent.into_iter().rev() {
            if queued.envelope.transient || queued.envelope.sequence.is_none() {
                fates.push((queued, Fate::Unknown));
                continue;
            }
            self.bytes += u64::from(queued.cost);
            self.waiting.push_front(queued);
        }
    }

    /// Gives up what has waited for too long.
    pub(super) fn expire(&mut self, now: Moment, fates: &mut Vec<(Queued, Fate)>) {
        while let Some(oldest) = self.waiting.front() {
            let (age, fate) = match self.policy {
                _ if oldest.tried.is_some() => (self.resend_within, Fate::Unknown),
                Outage::Refuse => (self.resend_within, Fate::Unknown),
                Outage::Wait { deadline } => (deadline, Fate::LinkDown),
                Outage::Buffer { age, .. } => (age, Fate::DroppedOld),
            };
            if oldest.at + age > now {
                return;
            }
            if let Some(oldest) = self.shift() {
                fates.push((oldest, fate));
            }
        }
    }

    /// Takes up to so many, to be sent together. What was on its way before is not mixed with anything else.
    pub(super) fn take(&mut self, most: usize, into: &mut Vec<Queued>) {
        let Some(tried) = self.waiting.front().map(|oldest| oldest.tried) else { return };
        while into.len() < most
            && self.waiting.front().is_some_and(|oldest| oldest.tried == tried)
            && let Some(queued) = self.shift()
        {
            into.push(queued);
        }
    }

    /// The node ends: gives everything up.
    pub(super) fn drain(&mut self) -> Vec<Queued> {
        self.bytes = 0;
        self.waiting.drain(..).collect()
    }
}
