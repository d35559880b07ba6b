use std::sync::Arc;

use crate::NodeId;

/// The other nodes, as this one knows them. See [`Backplane::members`](crate::Backplane::members).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Members {
    /// Those that are alive, in the order of their ids.
    pub nodes: Vec<Member>,
    /// Whether one of them has this node's own name ([`NodeOptions::name`](crate::NodeOptions::name)).
    pub name_is_shared: bool,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Which incarnation of which process.
    pub node: NodeId,
    /// What people call it.
    pub name: Option<Arc<str>>,
}

impl Members {
    /// Whether this node is alive, as far as is known here.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.binary_search_by_key(&node, |member| member.node).is_ok()
    }
}
