//! What is stacked on a transport.

use backplane_core::{NodeOptions, Outage, Sequencing};

/// How much a node does about what its transport loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Nothing: what is published during an outage is refused, what is lost is lost.
    Bare,
    /// Losses are counted.
    Counted,
    /// Losses are repaired, and what is published during an outage is buffered.
    Repaired,
}

impl Layer {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Bare, Self::Counted, Self::Repaired];

    /// The name for tests, tables and command lines.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Counted => "counted",
            Self::Repaired => "repaired",
        }
    }

    /// The layer of that name.
    #[must_use]
    pub fn named(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.label() == label)
    }

    /// The options of a node with this layer, otherwise by default.
    #[must_use]
    pub fn options(self) -> NodeOptions {
        let mut options = NodeOptions::default();
        (options.sequencing, options.outage) = match self {
            Self::Bare => (Sequencing::Off, Outage::Refuse),
            Self::Counted => (Sequencing::Counted, Outage::Refuse),
            Self::Repaired => (Sequencing::Repaired, Outage::buffer()),
        };
        options
    }
}
