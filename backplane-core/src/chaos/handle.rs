use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Switches a [`Chaos`](super::Chaos) on and off, and says what it has done.
///
/// Clones are the same switch. One switch may serve the wires of several nodes, which are then
/// counted together: see [`Chaos::switched_by`](super::Chaos::switched_by).
#[derive(Debug, Clone, Default)]
pub struct ChaosHandle(Arc<Control>);

/// What a switch, its wires and their connections have in common.
#[derive(Debug)]
pub(super) struct Control {
    on: watch::Sender<bool>,
    counts: Mutex<ChaosCounts>,
}

impl Default for Control {
    fn default() -> Self {
        Self { on: watch::Sender::new(true), counts: Mutex::default() }
    }
}

impl ChaosHandle {
    /// A switch that is on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on everything passes, in order. What is held goes on at once.
    pub fn stop(&self) {
        self.0.on.send_replace(false);
    }

    /// Goes on after [`stop`](Self::stop), with the decisions that are next.
    pub fn start(&self) {
        self.0.on.send_replace(true);
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_on()
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> ChaosCounts {
        *self.0.counts()
    }

    pub(super) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.0)
    }
}

impl Control {
    pub(super) fn is_on(&self) -> bool {
        *self.on.borrow()
    }

    pub(super) fn switched(&self) -> watch::Receiver<bool> {
        self.on.subscribe()
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, ChaosCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of what arrived, in frames: of a wire that hands over envelopes as they are, those.
///
/// At every moment, `arrived + doubled = passed + dropped + abandoned + held()`. What was spared is
/// not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChaosCounts {
    /// Came from the wire.
    pub arrived: u64,
    /// Reached the node, copies included.
    pub passed: u64,
    /// Dropped.
    pub dropped: u64,
    /// Copied.
    pub doubled: u64,
    /// Held back until others have overtaken them, or until
    /// [`overtaken_within`](super::ChaosOptions::overtaken_within) is over.
    pub reordered: u64,
    /// Delayed, other than the copies.
    pub delayed: u64,
    /// Were to be held or copied, and found no room: they went on at once, and only once.
    pub full: u64,
    /// Held, copies included, when their connection ended: they reach nobody.
    pub abandoned: u64,
    /// Envelopes, published by other nodes' applications, in what was dropped, or was abandoned and
    /// is no copy: without numbers, that is what is missing. A frame may hold many.
    pub lost_messages: u64,
}

impl ChaosCounts {
    /// Frames that are held, or are being handed to the node, now.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.arrived + self.doubled - self.passed - self.dropped - self.abandoned
    }
}
