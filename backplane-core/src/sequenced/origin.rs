//! The sending half: numbers, retention, watermarks, and sending again.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use hashbrown::HashMap;

use super::{Action, Hashing, Moment, Rules};
use crate::{
    NodeId, Topic,
    codec::{Answer, Control, Listed, Part, Start, Watermark},
    envelope::{Envelope, Kind, Sequence},
    node::Retention,
};

/// How long a topic is silent before its first watermark, and its second.
const WATERMARKS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// The most envelopes, and bytes, that answer one request.
const WINDOW: u64 = 512;
const WINDOW_BYTES: usize = 256 * 1024;

/// What all lanes of a node have in common.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The position of the newest envelope of this node.
    pub(super) position: AtomicU64,
    pub(super) envelopes: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    /// Bytes that lanes hold beyond their own shares.
    common: AtomicUsize,
    pub(super) topics: AtomicUsize,
    /// The last position of a topic that was forgotten before anyone could know where it ended. Told with
    /// every heartbeat.
    pub(super) lost_track: AtomicU64,
    /// The last position of a topic that was forgotten with a single watermark, which may be on its way.
    hurried: AtomicU64,
    /// The last position of any topic that was forgotten.
    pub(super) forgotten: AtomicU64,
}

/// One lane's share of what this node has published.
#[derive(Debug)]
pub(super) struct Origin {
    retention: Retention,
    /// The most topics of this lane.
    most_topics: usize,
    room: Room,
    /// Watermarks of topics that were forgotten early, not sent yet.
    parting: Vec<(Topic, Watermark)>,
    /// Above this length, `kept` is cleared of what was forgotten.
    skip_at: usize,
    /// Whether the link was up when the clock last ticked.
    up: bool,
    rules: Rules,
    topics: HashMap<Topic, Numbered, Hashing>,
    /// Everything kept, oldest first, by position. What was forgotten earlier is skipped.
    kept: VecDeque<(Topic, u64)>,
    /// Topics by the step that is due next: the watermarks, then forgetting.
    due: [VecDeque<Due>; 3],
}

impl Held {
    /// The link is back, and what was sent behind this position may not have arrived.
    pub(super) fn link_up(&self, proven: u64) {
        let hurried = self.hurried.load(Ordering::Acquire);
        if hurried > proven {
            self.lost_track.fetch_max(hurried, Ordering::AcqRel);
        }
    }
}

/// Half of [`Retention::bytes`] is divided among the lanes, so that a topic in a lane that holds
/// nothing yet finds room; the other half is for whoever comes first.
#[derive(Debug)]
struct Room {
    share: usize,
    common: usize,
    used: usize,
}

impl Room {
    fn new(bound: usize, lanes: usize) -> Self {
        let share = bound / 2 / lanes;
        Self { share, common: bound - share * lanes, used: 0 }
    }

    const fn beyond(&self, used: usize) -> usize {
        used.saturating_sub(self.share)
    }

    /// Returns whether there is room.
    fn take(&mut self, cost: usize, held: &Held) -> bool {
        let more = self.beyond(self.used + cost) - self.beyond(self.used);
        let fits = |common: usize| Some(common + more).filter(|it| *it <= self.common);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        if more > 0 && held.common.fetch_update(set, get, fits).is_err() {
            return false;
        }
        self.used += cost;
        held.bytes.fetch_add(cost, set);
        true
    }

    fn give_back(&mut self, cost: usize, held: &Held) {
        let less = self.beyond(self.used) - self.beyond(self.used - cost);
        self.used -= cost;
        held.common.fetch_sub(less, Ordering::AcqRel);
        held.bytes.fetch_sub(cost, Ordering::AcqRel);
    }
}

/// What a withdrawn envelope's place costs.
const PLACE: usize = 64;

/// The most watermarks of forgotten topics that wait to be sent, per lane.
const MOST_PARTING: usize = 1024;

#[derive(Debug)]
struct Due {
    at: Moment,
    topic: Topic,
}

#[derive(Debug)]
struct Numbered {
    last: Watermark,
    /// When it was last used, or its last watermark sent: the next step counts from then.
    since: Moment,
    /// Which of [`Origin::due`] holds it.
    step: usize,
    /// The newest of its envelopes, without a hole in their numbers.
    kept: VecDeque<Kept>,
    bytes: usize,
    /// The position of the newest that is not kept any more.
    forgotten: u64,
}

#[derive(Debug)]
struct Kept {
    position: u64,
    at: Moment,
    cost: usize,
    /// None where its publisher was told that no other node gets it.
    envelope: Option<Envelope>,
}

/// A step of its own, so that the first use finds that none is due yet.
const UNUSED: usize = usize::MAX;

impl Numbered {
    const fn new(epoch: u64) -> Self {
        Self {
            last: Watermark { epoch, number: 0, position: 0 },
            since: Moment::ZERO,
            step: UNUSED,
            kept: VecDeque::new(),
            bytes: 0,
            forgotten: 0,
        }
    }

    /// The number of the first that is kept.
    fn first(&self) -> u64 {
        self.last.number + 1 - self.kept.len() as u64
    }
}

impl Origin {
    pub(super) fn new(retention: Retention, lanes: usize, rules: Rules) -> Self {
        Self {
            most_topics: (retention.topics / lanes).max(1),
            room: Room::new(bytes(retention.bytes), lanes),
            parting: Vec::new(),
            skip_at: 0,
            up: false,
            retention,
            rules,
            topics: HashMap::default(),
            kept: VecDeque::new(),
            due: Default::default(),
        }
    }

    /// Gives the envelope its place, and keeps it within the bounds.
    pub(super) fn publish(&mut self, envelope: &mut Envelope, now: Moment, held: &Held) {
        let position = held.position.fetch_add(1, Ordering::AcqRel) + 1;
        let cost = envelope.cost().max(PLACE);
        let has_room = self.retention.topic_envelopes > 0
            && cost <= bytes(self.retention.topic_bytes)
            && self.make_room(cost, held);
        let topic = &envelope.topic;
        if !self.topics.contains_key(topic) {
            while self.topics.len() >= self.most_topics && self.forget_idlest(held) {}
            held.topics.fetch_add(1, Ordering::Relaxed);
            self.topics.insert(topic.clone(), Numbered::new(position));
        }
        let Some(numbered) = self.topics.get_mut(topic) else { return };
        if numbered.step != 0 {
            numbered.step = 0;
            self.due[0].push_back(Due { at: now + WATERMARKS[0], topic: topic.clone() });
        }
        let predecessor = numbered.last.position;
        numbered.since = now;
        numbered.last.number += 1;
        numbered.last.position = position;
        let Watermark { epoch, number, .. } = numbered.last;
        envelope.sequence = Some(Sequence { epoch, number, position, predecessor });
        if !has_room {
            // What is kept has no hole, so nothing before it is kept either.
            while !numbered.kept.is_empty() {
                numbered.forget_first(&mut self.room, held);
            }
            numbered.forgotten = position;
            return;
        }
        held.envelopes.fetch_add(1, Ordering::Relaxed);
        numbered.kept.push_back(Kept { position, at: now, cost, envelope: Some(envelope.clone()) });
        numbered.bytes += cost;
        while numbered.kept.len() > self.retention.topic_envelopes
            || numbered.bytes > bytes(self.retention.topic_bytes)
        {
            numbered.forget_first(&mut self.room, held);
        }
        self.kept.push_back((envelope.topic.clone(), position));
        if self.kept.len() > self.skip_at {
            self.skip_forgotten();
        }
    }

    /// Drops places of what topics have forgotten by themselves. At least as many are added before the
    /// next time as are looked at now.
    fn skip_forgotten(&mut self) {
        let topics = &self.topics;
        self.kept.retain(|(topic, position)| {
            let numbered = topics.get(topic);
            numbered
                .is_some_and(|it| it.kept.front().is_some_and(|kept| kept.position <= *position))
        });
        self.skip_at = (2 * self.kept.len()).max(1024);
    }

    /// Forgets the oldest of this lane until there is room, or nothing is left here.
    fn make_room(&mut self, cost: usize, held: &Held) -> bool {
        while !self.room.take(cost, held) {
            let Some((topic, position)) = self.kept.pop_front() else { return false };
            self.forget_through(&topic, position, held);
        }
        true
    }

    fn forget_through(&mut self, topic: &Topic, position: u64, held: &Held) {
        let Some(numbered) = self.topics.get_mut(topic) else { return };
        while numbered.kept.front().is_some_and(|kept| kept.position <= position) {
            numbered.forget_first(&mut self.room, held);
        }
    }

    /// What the publisher was told that no other node gets is never sent.
    pub(super) fn withdraw(&mut self, topic: &Topic, sequence: Sequence, held: &Held) {
        let Some(numbered) = self.topics.get_mut(topic) else { return };
        if numbered.last.epoch != sequence.epoch {
            return;
        }
        let Some(index) = sequence.number.checked_sub(numbered.first()) else { return };
        if let Some(kept) = numbered.kept.get_mut(index as usize)
            && kept.envelope.take().is_some()
        {
            let freed = kept.cost - PLACE;
            kept.cost = PLACE;
            numbered.bytes -= freed;
            self.room.give_back(freed, held);
            held.envelopes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets what is too old, and says where silent topics ended: not while the link is down, as
    /// nobody would hear it.
    pub(super) fn tick(&mut self, now: Moment, up: bool, held: &Held, actions: &mut Vec<Action>) {
        self.up = up;
        while let Some((topic, position)) = self.kept.front().cloned() {
            let young = self.topics.get(&topic).is_some_and(|numbered| {
                let kept = numbered.kept.partition_point(|kept| kept.position < position);
                numbered.kept.get(kept).is_some_and(|it| it.at + self.retention.age > now)
            });
            if young {
                break;
            }
            self.kept.pop_front();
            self.forget_through(&topic, position, held);
        }
        for step in (0..self.due.len()).filter(|_| up) {
            while self.due[step].front().is_some_and(|due| due.at <= now) {
                let Some(Due { topic, .. }) = self.due[step].pop_front() else { break };
                self.step(step, topic, now, held, actions);
            }
        }
        for (topic, last) in std::mem::take(&mut self.parting) {
            if !up {
                held.lost_track.fetch_max(last.position, Ordering::AcqRel);
            } else if self.rules.watermarks {
                held.hurried.fetch_max(last.position, Ordering::AcqRel);
                actions.push(Action::Mark(topic, Control::Watermark(last)));
            }
        }
    }

    fn step(
        &mut self,
        step: usize,
        topic: Topic,
        now: Moment,
        held: &Held,
        actions: &mut Vec<Action>,
    ) {
        let forget_after = if self.rules.remember {
            self.retention.age.max(WATERMARKS[1] * 2)
        } else {
            WATERMARKS[1]
        };
        let waits = [WATERMARKS[0], WATERMARKS[1], forget_after];
        let Some(numbered) = self.topics.get_mut(&topic).filter(|it| it.step == step) else {
            return;
        };
        let at = numbered.since + waits[step];
        if at > now {
            // It was used since. Only for the first step there is no other entry.
            if step == 0 {
                self.due[0].push_back(Due { at, topic });
            }
            return;
        }
        if let Some(next) = waits.get(step + 1) {
            numbered.step = step + 1;
            numbered.since = now;
            if self.rules.watermarks {
                actions.push(Action::Mark(topic.clone(), Control::Watermark(numbered.last)));
            }
            self.due[step + 1].push_back(Due { at: now + *next, topic });
        } else {
            self.forget(&topic, held);
        }
    }

    /// Forgets the topic that was idle for longest, after a last watermark.
    fn forget_idlest(&mut self, held: &Held) -> bool {
        for step in (0..self.due.len()).rev() {
            while let Some(Due { topic, .. }) = self.due[step].pop_front() {
                let Some(numbered) = self.topics.get(&topic).filter(|it| it.step == step) else {
                    continue;
                };
                if step < WATERMARKS.len() || !self.up {
                    if self.parting.len() < MOST_PARTING {
                        self.parting.push((topic.clone(), numbered.last));
                    } else {
                        held.lost_track.fetch_max(numbered.last.position, Ordering::AcqRel);
                    }
                }
                self.forget(&topic, held);
                return true;
            }
        }
        false
    }

    fn forget(&mut self, topic: &Topic, held: &Held) {
        if let Some(mut numbered) = self.topics.remove(topic) {
            while !numbered.kept.is_empty() {
                numbered.forget_first(&mut self.room, held);
            }
            held.forgotten.fetch_max(numbered.last.position, Ordering::AcqRel);
            held.topics.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The topics used since `position` fall silent once more: each gets a watermark.
    pub(super) fn mark_again(&mut self, position: u64, now: Moment) {
        for (topic, numbered) in &mut self.topics {
            if numbered.last.position > position && numbered.step > 0 {
                numbered.step = 0;
                self.due[0].push_back(Due { at: now + WATERMARKS[0], topic: topic.clone() });
            }
        }
    }

    /// Adds the last positions of the topics used since `position`.
    pub(super) fn positions(&self, since: u64, into: &mut Vec<u64>) {
        into.extend(self.topics.values().map(|it| it.last.position).filter(|it| *it > since));
    }

    /// Adds the topics whose last position is behind `since`, and not behind `until`.
    pub(super) fn list(&self, since: u64, until: u64, into: &mut Vec<Listed>) {
        let listed = since + 1..=until;
        let used = self.topics.iter().filter(|(_, it)| listed.contains(&it.last.position));
        into.extend(used.map(|(topic, it)| Listed { topic: topic.clone(), last: it.last }));
    }

    /// Sends again what `asker` misses, as much as one answer holds.
    pub(super) fn answer(
        &self,
        asker: NodeId,
        topic: Topic,
        start: Start,
        through: u64,
        held: &Held,
        actions: &mut Vec<Action>,
    ) {
        let part = self.topics.get(&topic).and_then(|numbered| {
            let (from, uncertain) = match start {
                Start::Number { epoch, from } if epoch == numbered.last.epoch => (from, false),
                Start::Number { .. } => return None,
                Start::After { position } => {
                    let index = numbered.kept.partition_point(|kept| kept.position <= position);
                    (numbered.first() + index as u64, numbered.forgotten > position)
                }
            };
            let via = Topic::node("", asker);
            let mut part = numbered.send_again(asker, &via, from.max(1), through, actions);
            part.uncertain = uncertain;
            if let Start::After { position } = start
                && position < numbered.last.epoch
            {
                // The topic may have had an epoch in between.
                let forgotten = held.forgotten.load(Ordering::Acquire).min(numbered.last.epoch);
                part.forgotten = if forgotten > position { forgotten } else { 0 };
            }
            Some(part)
        });
        actions.push(Action::Send(asker, Control::Answer(Answer { topic, start, part })));
    }
}

impl Numbered {
    fn forget_first(&mut self, room: &mut Room, held: &Held) {
        let Some(kept) = self.kept.pop_front() else { return };
        self.forgotten = kept.position;
        self.bytes -= kept.cost;
        room.give_back(kept.cost, held);
        if kept.envelope.is_some() {
            held.envelopes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn send_again(
        &self,
        asker: NodeId,
        via: &Topic,
        from: u64,
        through: u64,
        actions: &mut Vec<Action>,
    ) -> Part {
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
            match self.kept.get((number - first) as usize).and_then(|kept| kept.envelope.as_ref()) {
                Some(envelope) => {
                    bytes += envelope.cost();
                    let mut again = envelope.clone();
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

fn bytes(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
