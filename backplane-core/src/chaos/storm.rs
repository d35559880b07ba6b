//! What becomes of each arrival, as a machine: what arrives and when goes in, what goes on comes out.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{ChaosCounts, ChaosOptions};
use crate::{node::Arrival, random::Random};

/// The decisions about one connection, and what it holds.
#[derive(Debug)]
pub(super) struct Storm {
    options: ChaosOptions,
    random: Random,
    /// How many have gone on.
    gone_on: u64,
    /// How many were ever held: the order of those that are due together.
    ever_held: u64,
    /// By the time at which it goes on at the latest.
    held: BTreeMap<Key, Held>,
    /// Those that wait to be overtaken: by the value of `gone_on` with which they follow.
    behind: BTreeMap<(u64, u64), Key>,
    held_bytes: usize,
    ended: bool,
}

type Key = (Instant, u64);

/// Something on its way.
#[derive(Debug, Clone)]
pub(super) struct Moving {
    pub(super) arrival: Arrival,
    /// How many messages are lost if it does not arrive. A copy's loss costs none.
    pub(super) messages: u64,
}

#[derive(Debug)]
struct Held {
    moving: Moving,
    bytes: usize,
    behind: Option<(u64, u64)>,
}

/// What was drawn for one arrival. Everything is drawn each time, so that what one of them decides
/// changes nothing about the next.
#[derive(Debug)]
struct Fate {
    drop: bool,
    double: bool,
    reorder: bool,
    delay: bool,
    overtaken_by: u64,
    late: Duration,
    /// None where the copy follows at once.
    copy_late: Option<Duration>,
}

impl Fate {
    fn draw(options: &ChaosOptions, random: &mut Random) -> Self {
        let mut happens = |probability: f64| random.fraction() < probability;
        let drop = happens(options.drop);
        let double = happens(options.double);
        let reorder = happens(options.reorder);
        let delay = happens(options.delay);
        let copy_waits = happens(0.5);
        let overtaken_by = 1 + random.below(u64::from(options.overtaken_by.max(1)));
        let (from, to) = (*options.delay_for.start(), *options.delay_for.end());
        let mut late = || from + to.saturating_sub(from).mul_f64(random.fraction());
        let (late, copy_late) = (late(), late());
        let copy_late = copy_waits.then_some(copy_late);
        Self { drop, double, reorder, delay, overtaken_by, late, copy_late }
    }
}

impl Storm {
    pub(super) const fn new(options: ChaosOptions, random: Random) -> Self {
        Self {
            options,
            random,
            gone_on: 0,
            ever_held: 0,
            held: BTreeMap::new(),
            behind: BTreeMap::new(),
            held_bytes: 0,
            ended: false,
        }
    }

    /// Something has arrived. Returns what goes on now, in order.
    pub(super) fn arrives(
        &mut self,
        moving: Moving,
        now: Instant,
        on: bool,
        counts: &mut ChaosCounts,
    ) -> Vec<Moving> {
        counts.arrived += 1;
        if self.ended {
            counts.abandoned += 1;
            counts.lost_messages += moving.messages;
            return Vec::new();
        }
        let mut going = Vec::new();
        if on {
            self.meet(moving, now, counts, &mut going);
        } else {
            self.go_on(moving, &mut going);
        }
        self.overtaken(&mut going);
        going
    }

    fn meet(
        &mut self,
        moving: Moving,
        now: Instant,
        counts: &mut ChaosCounts,
        going: &mut Vec<Moving>,
    ) {
        let fate = Fate::draw(&self.options, &mut self.random);
        if fate.drop {
            counts.dropped += 1;
            counts.lost_messages += moving.messages;
            return;
        }
        let copy = fate.double.then(|| Moving { messages: 0, ..moving.clone() });
        let bytes = moving.arrival.cost();
        if !(fate.delay || fate.reorder) {
            self.go_on(moving, going);
        } else if !self.has_room(bytes) {
            counts.full += 1;
            self.go_on(moving, going);
        } else if fate.delay {
            counts.delayed += 1;
            self.hold(moving, bytes, now + fate.late, None);
        } else {
            counts.reordered += 1;
            let behind = self.gone_on + fate.overtaken_by;
            self.hold(moving, bytes, now + self.options.overtaken_within, Some(behind));
        }
        let Some(copy) = copy else { return };
        match fate.copy_late {
            Some(_) if !self.has_room(bytes) => counts.full += 1,
            Some(late) => {
                counts.doubled += 1;
                self.hold(copy, bytes, now + late, None);
            }
            None => {
                counts.doubled += 1;
                self.go_on(copy, going);
            }
        }
    }

    /// When something held is due at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.first_key_value().map(|((at, _), _)| *at)
    }

    /// What is due by now goes on.
    pub(super) fn release(&mut self, now: Instant) -> Vec<Moving> {
        let mut going = Vec::new();
        while let Some(key) = self.held.first_key_value().map(|(key, _)| *key)
            && key.0 <= now
        {
            self.let_go(key, &mut going);
        }
        self.overtaken(&mut going);
        going
    }

    /// Everything held goes on, in the order in which it arrived.
    pub(super) fn release_all(&mut self) -> Vec<Moving> {
        let mut keys: Vec<Key> = self.held.keys().copied().collect();
        keys.sort_unstable_by_key(|(_, order)| *order);
        let mut going = Vec::new();
        keys.into_iter().for_each(|key| self.let_go(key, &mut going));
        going
    }

    /// The connection has ended, and what it holds with it.
    pub(super) fn end(&mut self, counts: &mut ChaosCounts) {
        self.ended = true;
        let lost = self.release_all();
        counts.abandoned += lost.len() as u64;
        counts.lost_messages += lost.iter().map(|moving| moving.messages).sum::<u64>();
    }

    fn has_room(&self, bytes: usize) -> bool {
        let most = usize::try_from(self.options.held_bytes.as_u64()).unwrap_or(usize::MAX);
        self.held.len() < self.options.held_frames && self.held_bytes.saturating_add(bytes) <= most
    }

    fn hold(&mut self, moving: Moving, bytes: usize, until: Instant, behind: Option<u64>) {
        let key = (until, self.ever_held);
        let behind = behind.map(|gone_on| (gone_on, self.ever_held));
        self.ever_held += 1;
        self.held_bytes += bytes;
        self.held.insert(key, Held { moving, bytes, behind });
        if let Some(behind) = behind {
            self.behind.insert(behind, key);
        }
    }

    fn go_on(&mut self, moving: Moving, going: &mut Vec<Moving>) {
        self.gone_on += 1;
        going.push(moving);
    }

    fn let_go(&mut self, key: Key, going: &mut Vec<Moving>) {
        let Some(Held { moving, bytes, behind }) = self.held.remove(&key) else { return };
        self.held_bytes -= bytes;
        if let Some(behind) = behind {
            self.behind.remove(&behind);
        }
        self.go_on(moving, going);
    }

    /// What enough others have overtaken follows them.
    fn overtaken(&mut self, going: &mut Vec<Moving>) {
        while let Some(((gone_on, _), key)) = self.behind.first_key_value().map(|it| (*it.0, *it.1))
            && gone_on <= self.gone_on
        {
            self.let_go(key, going);
        }
    }
}
