//! Who is alive, told from heartbeats on the backplane itself.
//!
//! A pure state machine: what was heard and how much time has passed goes in, what has changed comes
//! out. Silence counts only while this node runs and its own link is up: one that was stalled or cut
//! off knows nothing about the others, and waits a while after that before it judges again.

mod members;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use hashbrown::HashMap;

pub use members::{Member, Members};

use crate::{NodeId, sequenced::Hashing};

/// How long after its own trouble a node judges nobody.
const GRACE: Duration = Duration::from_secs(2);

/// A node that takes so much longer than planned to look at its clock was stalled.
const STALLED: Duration = Duration::from_secs(1);

/// How long a dead node is remembered, so that it is known when it comes back.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The most nodes that are known. More than that is not one application.
const MOST: usize = 4096;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A node is heard for the first time.
    Joined(NodeId),
    /// A node has taken its leave.
    Left(NodeId),
    /// A node has been silent for too long.
    Died(NodeId),
    /// A node that counted as dead is heard again.
    Returned(NodeId),
    /// A dead node will not be known if it comes back.
    Forgotten(NodeId),
}

#[derive(Debug)]
pub(crate) struct Membership {
    dead_after: Duration,
    own_name: Option<Arc<str>>,
    nodes: HashMap<NodeId, Known, Hashing>,
    /// No silence counts until then.
    grace: Duration,
}

#[derive(Debug)]
struct Known {
    name: Option<Arc<str>>,
    silent: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Dead,
    /// What still arrives of it is late.
    Left,
}

impl Membership {
    pub(crate) fn new(own_name: Option<Arc<str>>, dead_after: Duration) -> Self {
        Self { dead_after, own_name, nodes: HashMap::default(), grace: Duration::ZERO }
    }

    /// A node has said that it lives.
    pub(crate) fn heard(&mut self, node: NodeId, name: Option<&str>) -> Option<Change> {
        if let Some(known) = self.nodes.get_mut(&node) {
            known.silent = Duration::ZERO;
            let before = known.state;
            if before == State::Dead {
                known.state = State::Alive;
            }
            return (before == State::Dead).then_some(Change::Returned(node));
        }
        if self.nodes.len() >= MOST {
            return None;
        }
        let name = name.map(Arc::from);
        self.nodes.insert(node, Known { name, silent: Duration::ZERO, state: State::Alive });
        Some(Change::Joined(node))
    }

    /// A node has said that it is gone.
    pub(crate) fn left(&mut self, node: NodeId) -> Option<Change> {
        let known = self.nodes.get_mut(&node)?;
        if std::mem::replace(&mut known.state, State::Left) == State::Left {
            return None;
        }
        known.silent = Duration::ZERO;
        Some(Change::Left(node))
    }

    /// `passed` has passed since the last call, which was planned to be `planned`.
    pub(crate) fn tick(&mut self, passed: Duration, planned: Duration, up: bool) -> Vec<Change> {
        if !up || passed > planned + STALLED {
            self.grace = GRACE;
            self.nodes.values_mut().filter(|it| it.state == State::Alive).for_each(|known| {
                known.silent = Duration::ZERO;
            });
            return Vec::new();
        }
        if !self.grace.is_zero() {
            self.grace = self.grace.saturating_sub(passed);
            return Vec::new();
        }
        let mut changes = Vec::new();
        self.nodes.retain(|node, known| {
            known.silent += passed;
            if known.state == State::Alive && known.silent >= self.dead_after {
                known.state = State::Dead;
                changes.push(Change::Died(*node));
            }
            let remembered = known.state == State::Alive || known.silent < REMEMBERED;
            if !remembered {
                changes.push(Change::Forgotten(*node));
            }
            remembered
        });
        changes
    }

    #[cfg(test)]
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Those that are alive.
    pub(crate) fn members(&self) -> Members {
        let alive = self.nodes.iter().filter(|(_, known)| known.state == State::Alive);
        let mut nodes: Vec<Member> =
            alive.map(|(node, known)| Member { node: *node, name: known.name.clone() }).collect();
        nodes.sort_unstable_by_key(|member| member.node);
        let own = self.own_name.as_ref();
        let name_is_shared =
            own.is_some_and(|own| nodes.iter().any(|it| it.name.as_ref() == Some(own)));
        Members { nodes, name_is_shared }
    }
}
