//! Where a run stands, and what is noted along the way.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backplane_core::Stats;

use super::Scene;

/// Where a run stands, for whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is going on.
    pub phase: Phase,
    /// Time since the nodes were ready.
    pub passed: Duration,
    /// How long the run will take, as far as can be told beforehand.
    pub expected: Duration,
    /// Envelopes published so far.
    pub sent: u64,
    /// Deliveries so far.
    pub delivered: u64,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All is well.
    Before,
    /// The fault lasts.
    Fault,
    /// It is over, and the nodes recover.
    Recovery,
    /// All is well again.
    After,
    /// It is waited for what is still on its way.
    Settling,
}

/// What is noted along the way.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) phase: Mutex<Option<Phase>>,
    /// Envelopes that waited in all buffers, at that time.
    pub(super) buffered: Mutex<Vec<(u64, u64)>>,
    pub(super) memory: Mutex<Memory>,
    /// What was wrong with the counters of a node, the first time of each.
    pub(super) miscounted: Mutex<BTreeMap<usize, String>>,
}

/// Resident memory of the medium's processes together, in KiB; none where it has none of its own.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) first: Option<u64>,
    pub(super) peak: Option<u64>,
}

impl Memory {
    fn look(&mut self, processes: &[u32]) {
        let now = processes.iter().filter_map(|pid| resident(*pid)).sum();
        if now > 0 {
            self.first.get_or_insert(now);
            self.peak = self.peak.max(Some(now));
        }
    }
}

/// Where the operating system tells it, and the process runs.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Marks {
    pub(super) fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(phase);
    }

    /// Looks into all nodes of this process.
    pub(super) fn look(&self, scene: &Scene, at: u64) {
        let processes = scene.medium.processes();
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).look(&processes);
        let mut waiting = 0;
        for (number, member) in scene.members.iter().enumerate() {
            let Ok(node) = member.node() else { continue };
            let stats = node.stats();
            waiting += stats.buffered;
            let wrong = miscounted(&stats, u64::MAX);
            self.miscounted(number, wrong);
        }
        self.buffered.lock().unwrap_or_else(PoisonError::into_inner).push((at, waiting));
    }

    pub(super) fn miscounted(&self, node: usize, what: Option<String>) {
        if let Some(what) = what {
            let mut known = self.miscounted.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(node).or_insert_with(|| format!("node {node} counts wrong: {what}"));
        }
    }
}

/// What is wrong with a node's counters: of what was accepted, what became of each must be known.
pub(super) fn miscounted(stats: &Stats, posted: u64) -> Option<String> {
    let Stats { accepted, sent, buffered, link_down, refused, unknown, .. } = stats;
    let dropped = stats.dropped_full + stats.dropped_old;
    let known = sent + buffered + link_down + refused + unknown + dropped;
    let as_posted = posted == u64::MAX || posted == *accepted;
    let wrong = known != *accepted || !as_posted;
    wrong.then(|| {
        format!(
            "{accepted} accepted ({posted} published) are not {sent} sent + {buffered} buffered + \
             {link_down} link down + {refused} refused + {unknown} unknown + {dropped} dropped"
        )
    })
}
