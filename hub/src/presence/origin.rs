//! What this node tells of its own connections.

use std::collections::VecDeque;

use backplane_core::NodeId;
use bytes::Bytes;

use super::{
    directory::Directory,
    exchange::Settings,
    message::{self, Change, Digest},
};

#[derive(Debug)]
pub(super) struct Origin {
    node: NodeId,
    settings: Settings,
    pub(super) epoch: u64,
    /// The version that was told last.
    version: u64,
    pending: Vec<Change>,
    /// Whether changes were given up that were pending.
    skipped: bool,
    /// The latest deltas, the last of which led to `version`.
    recent: VecDeque<Bytes>,
    recent_bytes: usize,
    answers: u64,
}

impl Origin {
    pub(super) const fn new(node: NodeId, epoch: u64, settings: Settings) -> Self {
        Self {
            node,
            settings,
            epoch,
            version: 0,
            pending: Vec::new(),
            skipped: false,
            recent: VecDeque::new(),
            recent_bytes: 0,
            answers: 0,
        }
    }

    pub(super) fn changed(&mut self, change: Change) {
        if self.pending.len() >= self.settings.most_pending {
            self.pending = Vec::new();
            self.skipped = true;
        }
        self.pending.push(change);
    }

    pub(super) const fn is_pending(&self) -> bool {
        !self.pending.is_empty() || self.skipped
    }

    /// The deltas that lead to what is so now.
    pub(super) fn flush(&mut self) -> Vec<Bytes> {
        if std::mem::take(&mut self.skipped) && self.settings.rules.skips {
            self.version += 1;
            self.recent.clear();
            self.recent_bytes = 0;
        }
        let pending = std::mem::take(&mut self.pending);
        let deltas = message::deltas(&pending, self.epoch, self.version + 1, self.settings.limit);
        self.version += deltas.len() as u64;
        for delta in &deltas {
            self.recent_bytes += delta.len();
            self.recent.push_back(delta.clone());
        }
        while self.recent_bytes > self.settings.kept
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_bytes -= oldest.len();
        }
        deltas
    }

    #[cfg(test)]
    pub(super) const fn told(&self) -> (u64, u64) {
        (self.epoch, self.version)
    }

    /// Where this node stands, once everything is flushed.
    pub(super) fn digest(&self, directory: &Directory, asks: bool) -> Digest {
        let sum = directory.sum(self.node);
        Digest { epoch: self.epoch, version: self.version, sum, asks }
    }

    /// What somebody lacks who is at this version, once everything is flushed. Whether it is a snapshot.
    pub(super) fn answer(
        &mut self,
        (epoch, version): (u64, u64),
        directory: &Directory,
    ) -> (Vec<Bytes>, bool) {
        let behind = self.version.checked_sub(version).filter(|_| epoch == self.epoch);
        let behind = behind.and_then(|behind| usize::try_from(behind).ok());
        if let Some(from) = behind.and_then(|behind| self.recent.len().checked_sub(behind)) {
            return (self.recent.range(from..).cloned().collect(), false);
        }
        self.answers += 1;
        let all = directory.described(self.node);
        (message::parts(&all, (self.epoch, self.version), self.answers, self.settings.limit), true)
    }
}
