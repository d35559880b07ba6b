use std::fmt;

/// Names one incarnation of one server process: random, and new at every start.
///
/// A process that is restarted under the same host name is a different node, so nothing
/// that was meant for its predecessor can be mistaken for its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// A fresh id from the operating system's random source.
    ///
    /// # Panics
    ///
    /// When the operating system has no random source, as nothing after that could be trusted.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut bytes) {
            panic!("the operating system's random source failed: {error}");
        }
        Self(bytes)
    }

    /// The id made of these bytes, as read from a wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes, as written on a wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}
