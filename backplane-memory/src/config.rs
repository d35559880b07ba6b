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
    /// Reads `memory:` or `memory:NAME`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`] for anything else.
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        let name = url.strip_prefix("memory:").map(|rest| rest.trim_start_matches('/'));
        match name {
            Some(name) if !name.contains(['?', '#']) => {
                Ok(Self { name: name.to_owned(), ..Self::default() })
            }
            _ => Err(ConnectError::Url {
                reason: format!("expected memory: or memory:NAME without options, found {url:?}"),
            }),
        }
    }

    /// Starts a node on the process-wide medium of that name.
    #[must_use]
    pub fn start(self) -> Node {
        Medium::named(&self.name).node_with(self.node)
    }
}
