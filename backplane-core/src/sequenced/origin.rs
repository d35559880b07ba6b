//! The sending half: numbers, retention, watermarks, and sending again.

mod numbered;
mod room;
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
    codec::{Answer, Control, Listed, Start, Watermark},
    envelope::{Envelope, Sequence},
    node::Retention,
};
#[cfg(test)]
pub(super) use numbered::LIFE;
use numbered::{Limits, Numbered, PLACE};
use room::Room;

/// How long a topic is silent before its first watermark, and its second.
const WATERMARKS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// What all lanes of a node have in common.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The position of the newest envelope of this node.
    pub(super) position: AtomicU64,
    /// Bytes that lanes hold beyond their own shares.
    common: AtomicUsize,
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
    /// Above this length, `chunks` is cleared of what was forgotten.
    skip_at: usize,
    /// Whether the link was up when the clock last ticked.
    up: bool,
    rules: Rules,
    topics: HashMap<Topic, Numbered, Hashing>,
    /// Everything kept, oldest first. What was forgotten earlier is skipped.
    chunks: VecDeque<Chunk>,
    limits: Limits,
    /// How many envelopes are kept, without those withdrawn.
    envelopes: usize,
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

/// The most watermarks of forgotten topics that wait to be sent, per lane.
const MOST_PARTING: usize = 1024;

#[derive(Debug)]
struct Due {
    at: Moment,
    topic: Topic,
}

/// A run of envelopes of one topic that is forgotten as a whole.
#[derive(Debug)]
struct Chunk {
    topic: Topic,
    /// The position of its first.
    position: u64,
    /// When that was published.
    at: Moment,
}

impl Origin {
    pub(super) fn new(retention: Retention, lanes: usize, rules: Rules) -> Self {
        let room = Room::new(bytes(retention.bytes), lanes);
        let most_bytes = bytes(retention.topic_bytes).min(room.share);
        Self {
            most_topics: (retention.topics / lanes).max(1),
            limits: Limits::new(retention.topic_envelopes, most_bytes, retention.age),
            room,
            parting: Vec::new(),
            skip_at: 0,
            up: false,
            retention,
            rules,
            topics: HashMap::default(),
            chunks: VecDeque::new(),
            envelopes: 0,
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
        let numbered = match self.topics.get_mut(topic) {
            Some(numbered) => numbered,
            None => {
                while self.topics.len() >= self.most_topics && self.forget_idlest(held) {}
                self.topics.entry(topic.clone()).or_insert(Numbered::new(position))
            }
        };
        if numbered.step != 0 {
            numbered.step = 0;
            self.due[0].push_back(Due { at: now + WATERMARKS[0], topic: topic.clone() });
        }
        envelope.sequence = Some(numbered.number(position, now));
        if !has_room {
            self.envelopes -= numbered.keep_none(&mut self.room, held);
            return;
        }
        self.envelopes += 1;
        if numbered.keep(envelope, cost, now, self.limits) {
            let topic = envelope.topic.clone();
            self.chunks.push_back(Chunk { topic, position, at: now });
        }
        while numbered.kept.len() > self.retention.topic_envelopes
            || numbered.bytes > bytes(self.retention.topic_bytes)
        {
            self.envelopes -= numbered.forget_chunk(&mut self.room, held);
        }
        if self.chunks.len() > self.skip_at {
            self.skip_forgotten();
        }
    }

    /// Drops chunks that topics have forgotten by themselves. At least as many are added before the next
    /// time as are looked at now.
    fn skip_forgotten(&mut self) {
        let topics = &self.topics;
        self.chunks.retain(|chunk| {
            topics.get(&chunk.topic).is_some_and(|numbered| numbered.keeps(chunk.position))
        });
        self.skip_at = (2 * self.chunks.len()).max(1024);
    }

    /// Forgets the oldest of this lane until there is room, or nothing is left here.
    fn make_room(&mut self, cost: usize, held: &Held) -> bool {
        while !self.room.take(cost, held) {
            let Some(chunk) = self.chunks.pop_front() else { return false };
            self.forget_chunk(&chunk, held);
        }
        true
    }

    fn forget_chunk(&mut self, chunk: &Chunk, held: &Held) {
        let numbered = self.topics.get_mut(&chunk.topic);
        if let Some(numbered) = numbered.filter(|it| it.begins_at(chunk.position)) {
            self.envelopes -= numbered.forget_chunk(&mut self.room, held);
        }
    }

    /// What the publisher was told that no other node gets is never sent.
    pub(super) fn withdraw(&mut self, topic: &Topic, sequence: Sequence, held: &Held) {
        if let Some(numbered) = self.topics.get_mut(topic)
            && numbered.withdraw(sequence, &mut self.room, held)
        {
            self.envelopes -= 1;
        }
    }

    /// How many envelopes, bytes and topics this lane holds.
    pub(super) fn holding(&self) -> (usize, usize, usize) {
        (self.envelopes, self.room.used, self.topics.len())
    }

    /// Forgets what is too old, and says where silent topics ended: not while the link is down, as
    /// nobody would hear it.
    pub(super) fn tick(&mut self, now: Moment, up: bool, held: &Held, actions: &mut Vec<Action>) {
        self.up = up;
        while self.chunks.front().is_some_and(|chunk| chunk.at + self.retention.age <= now) {
            let Some(chunk) = self.chunks.pop_front() else { break };
            self.forget_chunk(&chunk, held);
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
            self.envelopes -= numbered.forget_all(&mut self.room, held);
            held.forgotten.fetch_max(numbered.last.position, Ordering::AcqRel);
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
                Start::After { position } => numbered.first_after(position),
            };
            let mut part = numbered.send_again(&topic, asker, from.max(1), through, actions);
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

fn bytes(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
