//! What another node has told of its connections.

use std::collections::BTreeMap;

use backplane_core::NodeId;

use super::{
    Moment,
    directory::Directory,
    message::{Change, Digest, Part},
    rules::Rules,
};

/// The most that is held of what came too early.
const MOST_AHEAD: usize = 256;
const MOST_CHANGES_AHEAD: usize = 65_536;

/// The most parts that a snapshot has: of the usual size, 4 GiB.
const MOST_PARTS: u32 = 65_536;

/// Beats of its own for which a node waits for a word of another one's hub.
const SILENT_BEATS: u32 = 5;

#[derive(Debug)]
pub(super) struct Peer {
    node: NodeId,
    rules: Rules,
    epoch: u64,
    /// The version that the directory shows.
    version: u64,
    /// The newest version that was heard of.
    newest: u64,
    /// Whether the directory is known to show something else than that version.
    diverged: bool,
    /// Deltas that wait for what is missing before them.
    ahead: BTreeMap<u64, Vec<Change>>,
    snapshot: Option<Snapshot>,
    /// When to ask for what is missing.
    ask_at: Option<Moment>,
    /// Whether it was heard since the link came up.
    pub(super) confirmed: bool,
    silent: u32,
}

/// One that arrives in parts.
#[derive(Debug)]
struct Snapshot {
    version: u64,
    answer: u64,
    of: u32,
    parts: BTreeMap<u32, Vec<Change>>,
}

impl Peer {
    pub(super) const fn new(node: NodeId, rules: Rules) -> Self {
        Self {
            node,
            rules,
            epoch: 0,
            version: 0,
            newest: 0,
            diverged: false,
            ahead: BTreeMap::new(),
            snapshot: None,
            ask_at: None,
            confirmed: false,
            silent: 0,
        }
    }

    /// Something was heard of this epoch. Whether it is the current one.
    pub(super) fn heard(&mut self, epoch: u64, directory: &mut Directory) -> bool {
        self.silent = 0;
        self.confirmed = true;
        if epoch > self.epoch && (self.rules.epochs || self.epoch == 0) {
            self.begin(epoch, directory);
        }
        epoch == self.epoch || !self.rules.epochs
    }

    /// Nothing is left of it, and nothing of what it said earlier counts.
    pub(super) fn farewell(&mut self, directory: &mut Directory) {
        self.begin(self.epoch.saturating_add(1), directory);
    }

    fn begin(&mut self, epoch: u64, directory: &mut Directory) {
        directory.clear(self.node);
        let fresh = Self::new(self.node, self.rules);
        *self = Self { epoch, confirmed: true, ..fresh };
    }

    pub(super) fn delta(&mut self, version: u64, changes: Vec<Change>, directory: &mut Directory) {
        if version <= self.version {
            return;
        }
        self.newest = self.newest.max(version);
        let follows = self.is_next(version) && !self.diverged;
        if follows || !self.rules.order {
            self.version = version;
            changes.iter().for_each(|change| directory.apply(self.node, change));
            self.catch_up(directory);
        } else if self.ahead.len() < MOST_AHEAD
            && self.ahead.values().map(Vec::len).sum::<usize>() < MOST_CHANGES_AHEAD
        {
            self.ahead.insert(version, changes);
        }
    }

    const fn is_next(&self, version: u64) -> bool {
        // Anything may arrive, the largest number included.
        version == self.version.saturating_add(1)
    }

    /// Applies what had come too early and does not any more.
    fn catch_up(&mut self, directory: &mut Directory) {
        while let Some((&version, _)) = self.ahead.first_key_value()
            && (version <= self.version || self.is_next(version))
        {
            let changes = self.ahead.remove(&version).unwrap_or_default();
            if self.is_next(version) {
                self.version = version;
                changes.iter().for_each(|change| directory.apply(self.node, change));
            }
        }
    }

    pub(super) fn part(&mut self, part: Part, directory: &mut Directory) {
        let Part { version, answer, index, of, changes, .. } = part;
        self.newest = self.newest.max(version);
        let wanted = version > self.version || (version == self.version && self.diverged);
        if !wanted || index >= of || of > MOST_PARTS {
            return;
        }
        let current = self.snapshot.as_ref().filter(|it| it.answer >= answer);
        if current.is_none() {
            self.snapshot = Some(Snapshot { version, answer, of, parts: BTreeMap::new() });
        }
        let Some(snapshot) = &mut self.snapshot else { return };
        let same = (snapshot.version, snapshot.answer, snapshot.of) == (version, answer, of);
        if !same && self.rules.whole {
            return;
        }
        snapshot.parts.insert(index, changes);
        if snapshot.parts.len() < snapshot.of as usize {
            return;
        }
        let Some(Snapshot { version, parts, .. }) = self.snapshot.take() else { return };
        let all: Vec<Change> = parts.into_values().flatten().collect();
        directory.replace(self.node, &all);
        self.version = version;
        self.diverged = false;
        self.catch_up(directory);
    }

    pub(super) fn digest(&mut self, digest: Digest, directory: &Directory) {
        self.newest = self.newest.max(digest.version);
        if digest.version == self.version && self.rules.sums {
            self.diverged |= directory.sum(self.node) != digest.sum;
        }
    }

    /// Whether something is missing, as far as is known.
    pub(super) const fn is_behind(&self) -> bool {
        self.version < self.newest || self.diverged
    }

    #[cfg(test)]
    pub(super) fn shown(&self) -> Option<(u64, u64)> {
        (!self.diverged).then_some((self.epoch, self.version))
    }

    /// Plans to ask for what is missing, if anything is: at `when`, or at once if `when` has passed.
    /// What arrives in between puts it off.
    pub(super) fn plan(&mut self, when: Moment, again: bool) {
        self.ask_at = match self.ask_at {
            _ if !self.is_behind() => None,
            Some(planned) if !again => Some(planned),
            _ => Some(when),
        };
    }

    /// Whether it is time to ask, and from which version on.
    pub(super) fn ask(&mut self, now: Moment, again: Moment) -> Option<(u64, u64)> {
        if self.ask_at.is_none_or(|at| at > now) {
            return None;
        }
        self.ask_at = Some(again);
        // Of no epoch, for everything.
        Some(if self.diverged { (0, 0) } else { (self.epoch, self.version) })
    }

    pub(super) const fn ask_at(&self) -> Option<Moment> {
        self.ask_at
    }

    /// A beat of this node has passed. Whether the other has been silent for so long that it is no more.
    pub(super) const fn beat(&mut self, counts: bool) -> bool {
        self.silent = if counts { self.silent + 1 } else { 0 };
        self.silent > SILENT_BEATS && self.rules.silence
    }
}
