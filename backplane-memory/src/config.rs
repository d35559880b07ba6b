use backplane_core::{ConnectError, Node, NodeOptions};

use crate::Medium;

/// Which medium a node joins, and how the node behaves.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// The medium's name; nodes that name the same one within a process are connected.
    pub name: String,
    /// What every transport's node has in common.
    pub node: NodeOptions,
}

impl MemoryConfig {
    /// Reads `memory:[NAME][?option=value&…]`. The options are those of
    /// [every transport](NodeOptions::from_query).
    ///
    /// # Errors
    ///
    /// [`ConnectError::UnknownScheme`], [`ConnectError::Url`] and [`ConnectError::Option`].
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        crate::from_url::parse(url)
    }

    /// Starts a node on the process-wide medium of that name.
    #[must_use]
    pub fn start(self) -> Node {
        Medium::named(&self.name).node_with(self.node)
    }
}
