//! One topic: its numbers, and the newest of its envelopes.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{Held, Room};
use crate::{
    NodeId, Topic,
    codec::{Part, Watermark},
    envelope::{Envelope, Kind, Sequence},
    sequenced::{Action, Moment},
};

/// The most envelopes, and bytes, that answer one request.
const WINDOW: u64 = 512;
const WINDOW_BYTES: usize = 256 * 1024;

/// What a withdrawn envelope's place costs.
pub(super) const PLACE: usize = 64;

#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) last: Watermark,
    /// When it was last used, or its last watermark sent: the next step counts from then.
    pub(super) since: Moment,
    /// Which of the origin's `due` holds it.
    pub(super) step: usize,
    /// The newest of its envelopes, without a hole in their numbers. Forgotten by whole chunks.
    pub(super) kept: VecDeque<Kept>,
    pub(super) bytes: usize,
    chunk: Chunk,
    /// The position of the newest that is not kept any more.
    forgotten: u64,
}

/// What the newest chunk holds.
#[derive(Debug, Clone, Copy, Default)]
struct Chunk {
    envelopes: usize,
    bytes: usize,
    /// When it was begun.
    at: Moment,
}

/// A chunk lasts for no more than this part of the time for which envelopes are kept.
pub(in crate::sequenced) const LIFE: u32 = 32;

/// Where chunks end: small against all bounds, so that to forget one at a time is exact enough, and large
/// enough that what is done once for each costs little.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    envelopes: usize,
    bytes: usize,
    age: Moment,
}

impl Limits {
    const LARGEST: usize = 16;

    pub(super) fn new(envelopes: usize, bytes: usize, age: Moment) -> Self {
        Self {
            envelopes: (envelopes / 8).clamp(1, Self::LARGEST),
            bytes: bytes / 8,
            age: age / LIFE,
        }
    }
}

/// An envelope, without what its topic says of it.
#[derive(Debug)]
pub(super) struct Kept {
    position: u64,
    pub(super) cost: u32,
    /// Whether it is the first of its chunk.
    begins: bool,
    /// None where its publisher was told that no other node gets it.
    pub(super) body: Option<Bytes>,
    rare: Option<Box<Rare>>,
}

/// What few envelopes have.
#[derive(Debug)]
struct Rare {
    except: Vec<Box<str>>,
    trace: Option<Arc<str>>,
}

/// A step of its own, so that the first use finds that none is due yet.
const UNUSED: usize = usize::MAX;

impl Numbered {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            last: Watermark { epoch, number: 0, position: 0 },
            since: Moment::ZERO,
            step: UNUSED,
            kept: VecDeque::new(),
            bytes: 0,
            chunk: Chunk::default(),
            forgotten: 0,
        }
    }

    /// The number of the first that is kept.
    fn first(&self) -> u64 {
        self.last.number + 1 - self.kept.len() as u64
    }

    /// The next number is this position's.
    pub(super) fn number(&mut self, position: u64, now: Moment) -> Sequence {
        let predecessor = self.last.position;
        self.since = now;
        self.last.number += 1;
        self.last.position = position;
        let Watermark { epoch, number, .. } = self.last;
        Sequence { epoch, number, position, predecessor }
    }

    /// Keeps what was just numbered. Returns whether that begins a chunk.
    pub(super) fn keep(
        &mut self,
        envelope: &Envelope,
        cost: usize,
        now: Moment,
        limits: Limits,
    ) -> bool {
        let Chunk { envelopes, bytes, at } = self.chunk;
        let begins = self.kept.is_empty()
            || envelopes >= limits.envelopes
            || bytes + cost > limits.bytes
            || at + limits.age <= now;
        if begins {
            self.chunk = Chunk { envelopes: 0, bytes: 0, at: now };
        }
        self.chunk.envelopes += 1;
        self.chunk.bytes += cost;
        self.bytes += cost;
        let rare = (!envelope.except.is_empty() || envelope.trace.is_some()).then(|| {
            Box::new(Rare { except: envelope.except.clone(), trace: envelope.trace.clone() })
        });
        self.kept.push_back(Kept {
            position: self.last.position,
            cost: u32::try_from(cost).unwrap_or(u32::MAX),
            begins,
            body: Some(envelope.body.clone()),
            rare,
        });
        begins
    }

    /// What was just numbered is not kept, so nothing before it is either: there is to be no hole.
    pub(super) fn keep_none(&mut self, room: &mut Room, held: &Held) -> usize {
        let forgotten = self.forget_all(room, held);
        self.forgotten = self.last.position;
        forgotten
    }

    /// Whether its oldest chunk begins at this position.
    pub(super) fn begins_at(&self, position: u64) -> bool {
        self.kept.front().is_some_and(|kept| kept.position == position)
    }

    /// Whether a chunk that begins at this position has not been forgotten.
    pub(super) fn keeps(&self, position: u64) -> bool {
        self.kept.front().is_some_and(|kept| kept.position <= position)
    }

    /// Forgets the oldest chunk. Returns how many envelopes that was.
    pub(super) fn forget_chunk(&mut self, room: &mut Room, held: &Held) -> usize {
        let mut forgotten = 0;
        let mut freed = 0;
        while let Some(kept) = self.kept.pop_front() {
            self.forgotten = kept.position;
            freed += kept.cost as usize;
            forgotten += usize::from(kept.body.is_some());
            if self.kept.front().is_some_and(|next| next.begins) {
                break;
            }
        }
        self.bytes -= freed;
        room.give_back(freed, held);
        forgotten
    }

    pub(super) fn forget_all(&mut self, room: &mut Room, held: &Held) -> usize {
        let mut forgotten = 0;
        while !self.kept.is_empty() {
            forgotten += self.forget_chunk(room, held);
        }
        forgotten
    }

    /// What the publisher was told that no other node gets is never sent. Returns whether it was kept.
    pub(super) fn withdraw(&mut self, sequence: Sequence, room: &mut Room, held: &Held) -> bool {
        if self.last.epoch != sequence.epoch {
            return false;
        }
        let Some(index) = sequence.number.checked_sub(self.first()) else { return false };
        let Some(kept) = self.kept.get_mut(index as usize) else { return false };
        if kept.body.take().is_none() {
            return false;
        }
        kept.rare = None;
        let freed = kept.cost as usize - PLACE;
        kept.cost = PLACE as u32;
        self.bytes -= freed;
        room.give_back(freed, held);
        true
    }

    /// The number of the first behind this position, and whether it is uncertain that it is the first.
    pub(super) fn first_after(&self, position: u64) -> (u64, bool) {
        let index = self.kept.partition_point(|kept| kept.position <= position);
        (self.first() + index as u64, self.forgotten > position)
    }

    /// What is kept at this index, as it was published.
    fn envelope(&self, topic: &Topic, index: usize) -> Option<Envelope> {
        let kept = self.kept.get(index)?;
        let mut envelope = Envelope::new(topic.clone(), kept.body.clone()?);
        if let Some(rare) = &kept.rare {
            envelope.except.clone_from(&rare.except);
            envelope.trace.clone_from(&rare.trace);
        }
        let before = index.checked_sub(1).and_then(|before| self.kept.get(before));
        envelope.sequence = Some(Sequence {
            epoch: self.last.epoch,
            number: self.first() + index as u64,
            position: kept.position,
            predecessor: before.map_or(self.forgotten, |before| before.position),
        });
        Some(envelope)
    }

    /// Sends again from this number on, as much as one answer holds.
    pub(super) fn send_again(
        &self,
        topic: &Topic,
        asker: NodeId,
        from: u64,
        through: u64,
        actions: &mut Vec<Action>,
    ) -> Part {
        let via = Topic::node("", asker);
        let first = self.first();
        let through = through.min(self.last.number);
        let mut missing: Vec<(u64, u64)> = Vec::new();
        // What was forgotten costs nothing to say.
        if from < first && from <= through {
            missing.push((from, through.min(first - 1)));
        }
        let start = from.max(first);
        let mut last = through.min(start.saturating_sub(1));
        let mut bytes = 0;
        for number in start..=through {
            if number - start >= WINDOW || bytes >= WINDOW_BYTES {
                break;
            }
            match self.envelope(topic, (number - first) as usize) {
                Some(mut again) => {
                    bytes += again.cost();
                    again.kind = Kind::Resent;
                    again.via = Some(via.clone());
                    actions.push(Action::Resend(asker, Box::new(again)));
                }
                None => match missing.last_mut() {
                    Some((_, end)) if *end + 1 == number => *end = number,
                    _ => missing.push((number, number)),
                },
            }
            last = number;
        }
        let position = match last.checked_sub(first).and_then(|at| self.kept.get(at as usize)) {
            Some(kept) => kept.position,
            None => self.forgotten,
        };
        let epoch = self.last.epoch;
        Part { epoch, from, through: last, position, missing, uncertain: false, forgotten: 0 }
    }
}
