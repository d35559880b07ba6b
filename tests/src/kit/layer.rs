//! What is stacked on a transport.

use backplane_core::{NodeOptions, Outage, Sequencing};

/// How much a node does about what its transport loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Nothing: what is published during an outage is refused, what is lost is lost.
    Bare,
    /// Losses are counted.
    Counted,
    /// Losses are repaired, and what is published during an outage is buffered: what a node does by
    /// default over a transport that delivers at most once.
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

    /// What a transport of this label is called under this layer: `redis7` when it is bare, otherwise
    /// `redis7_repaired`.
    #[must_use]
    pub fn over(self, transport: &str) -> String {
        match self {
            Self::Bare => transport.to_owned(),
            _ => format!("{transport}_{}", self.label()),
        }
    }

    /// The options of a node with this layer, otherwise by default.
    #[must_use]
    pub fn options(self) -> NodeOptions {
        let mut options = NodeOptions::default();
        (options.sequencing, options.outage) = match self {
            Self::Bare => (Sequencing::Off, Outage::Refuse),
            Self::Counted => (Sequencing::Counted, Outage::Refuse),
            Self::Repaired => (Sequencing::Repaired, options.outage),
        };
        options
    }
}

#[cfg(test)]
mod tests {
    use backplane_core::Backplane;
    use backplane_nats::NatsConfig;
    use backplane_redis::RedisConfig;

    use super::*;

    /// What is judged with the layer is what users get.
    #[tokio::test]
    async fn repaired_is_the_default_over_redis_and_nats() {
        let (mut redis, mut nats) = (RedisConfig::default(), NatsConfig::default());
        let defaults =
            [redis.clone().start().unwrap().semantics(), nats.clone().start().unwrap().semantics()];
        (redis.node, nats.node) = (Layer::Repaired.options(), Layer::Repaired.options());
        assert_eq!(
            defaults,
            [redis.start().unwrap().semantics(), nats.start().unwrap().semantics()]
        );
        assert_eq!(Layer::Repaired.options().outage, NodeOptions::default().outage);
    }
}
