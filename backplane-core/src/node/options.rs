use std::{sync::Arc, time::Duration};

use bytesize::ByteSize;

use crate::{
    Delivery, Order, PublisherOutage, Semantics, SubscriberOutage,
    sequenced::{Rules, Settings},
};

/// How a node behaves, whatever its transport.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeOptions {
    /// The most envelopes that wait to be written. Default 16,384: a few milliseconds at full speed.
    pub queue_envelopes: usize,
    /// The most bytes that wait to be written. Default 16 MiB.
    pub queue_bytes: ByteSize,
    /// How often the node probes its own link. Default 1 s: cheap, and a mute link is noticed soon.
    pub probe_every: Duration,
    /// How long a probe may take before the link counts as mute. Default 3 s: above any pause that a
    /// healthy broker makes.
    pub probe_deadline: Duration,
    /// How long a connection attempt may take. Default 5 s.
    pub connect_deadline: Duration,
    /// How long the broker may take to answer a batch. Default 5 s.
    pub answer_deadline: Duration,
    /// The first pause between attempts; it doubles up to `longest_pause`, each drawn at random
    /// from half to whole. Default 50 ms.
    pub shortest_pause: Duration,
    /// The longest pause between attempts. Default 2 s: many nodes, one restarted broker.
    pub longest_pause: Duration,
    /// What people call the node. Default none. Two live nodes of one name are told so
    /// ([`Members::name_is_shared`](crate::Members::name_is_shared)); nothing else depends on it.
    pub name: Option<Arc<str>>,
    /// Whether envelopes are numbered, and what is lost is repaired. Default
    /// [`Sequencing::Auto`].
    pub sequencing: Sequencing,
    /// What the node keeps of what it published, for repairs.
    pub retention: Retention,
    /// What becomes of what is published while the link is down. Default [`Outage::default`].
    pub outage: Outage,
    /// How often the node says that it lives. Default 1 s.
    pub heartbeat_every: Duration,
    /// How long another node may be silent before it counts as dead; only time in which this node
    /// runs and its own link is up counts. Default 5 s: four heartbeats may get lost.
    pub dead_after: Duration,
    /// How long a hole may stay without progress, while the link is up, before it is given up as a
    /// [`Gap`](crate::Gap). Default 10 s: twice the time after which a silent node counts as dead.
    pub repair_deadline: Duration,
}

/// Whether a node numbers what it publishes, and repairs what gets lost on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sequencing {
    /// [`Repaired`](Self::Repaired) where the transport delivers at most once, or as it may;
    /// [`Counted`](Self::Counted) where it keeps a log; otherwise [`Off`](Self::Off).
    #[default]
    Auto,
    /// Nothing is numbered. A loss is known as an interruption only.
    Off,
    /// Envelopes are numbered and losses counted, but nothing is retained, so nothing is repaired.
    Counted,
    /// Envelopes are numbered and retained for a while; what others miss is sent again. Where the
    /// transport keeps a log, that retains them, and this is the same as [`Counted`](Self::Counted).
    Repaired,
}

/// What a node keeps of what it published. What exceeds a bound is forgotten, oldest first; whoever
/// misses it then is told how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// The most envelopes per topic. Default 16,384: three seconds of one topic at full load.
    pub topic_envelopes: usize,
    /// The most bytes per topic; an envelope that is larger is not kept at all. Default 16 MiB: the largest that
    /// any broker here takes, of 8 MiB, has to fit with its header.
    pub topic_bytes: ByteSize,
    /// The most bytes in all. Default 64 MiB.
    pub bytes: ByteSize,
    /// How long, at most; and hardly less, as what was published within a thirty-second part of this time
    /// is forgotten together. Default 60 s: most brokers are restarted, and most links heal, in less.
    pub age: Duration,
    /// The most topics whose numbers are remembered. Default 131,072. Beyond it the topic that was
    /// idle for longest is forgotten, and starts with new numbers when it is used again.
    pub topics: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            topic_envelopes: 16_384,
            topic_bytes: ByteSize::mib(16),
            bytes: ByteSize::mib(64),
            age: Duration::from_secs(60),
            topics: 131_072,
        }
    }
}

/// What becomes of what is published while the link is down. Local sinks get it in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// The ticket says [`PublishError::LinkDown`](crate::PublishError::LinkDown) at once.
    Refuse,
    /// It waits for the link, and its ticket with it; after `deadline` the ticket says
    /// [`PublishError::LinkDown`](crate::PublishError::LinkDown).
    Wait {
        /// How long.
        deadline: Duration,
    },
    /// It is buffered and sent in order when the link is back. The ticket says
    /// [`Receipt::Queued`](crate::Receipt::Queued) at once.
    Buffer {
        /// The most envelopes.
        count: usize,
        /// The most bytes.
        bytes: ByteSize,
        /// How long one may wait; what is older is dropped.
        age: Duration,
        /// What gives way when there is no room.
        when_full: WhenFull,
    },
}

/// What gives way when an outage's buffer has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// What was buffered first.
    DropOldest,
    /// What was to be buffered.
    DropNewest,
    /// Nothing: publish says [`PublishError::Full`](crate::PublishError::Full).
    Refuse,
}

impl Outage {
    /// A buffer of 16,384 envelopes and 16 MiB for 60 s, as long as they can be repaired; the oldest
    /// give way.
    #[must_use]
    pub const fn buffer() -> Self {
        Self::Buffer {
            count: 16_384,
            bytes: ByteSize::mib(16),
            age: Duration::from_secs(60),
            when_full: WhenFull::DropOldest,
        }
    }
}

impl Default for Outage {
    fn default() -> Self {
        Self::buffer()
    }
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            queue_envelopes: 16_384,
            queue_bytes: ByteSize::mib(16),
            probe_every: Duration::from_secs(1),
            probe_deadline: Duration::from_secs(3),
            connect_deadline: Duration::from_secs(5),
            answer_deadline: Duration::from_secs(5),
            shortest_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
            name: None,
            sequencing: Sequencing::default(),
            retention: Retention::default(),
            outage: Outage::default(),
            heartbeat_every: Duration::from_secs(1),
            dead_after: Duration::from_secs(5),
            repair_deadline: Duration::from_secs(10),
        }
    }
}

impl NodeOptions {
    /// Neither numbers nor a buffer: what the transport does by itself.
    #[must_use]
    pub fn bare() -> Self {
        Self { sequencing: Sequencing::Off, outage: Outage::Refuse, ..Self::default() }
    }

    /// What numbering makes of what the medium promises.
    pub(super) fn semantics(&self, medium: Semantics) -> Semantics {
        let mut semantics = medium;
        if semantics.publisher_outage != PublisherOutage::Never {
            semantics.publisher_outage = match self.outage {
                Outage::Refuse => PublisherOutage::Refuses,
                Outage::Wait { .. } => PublisherOutage::Waits,
                Outage::Buffer { .. } => PublisherOutage::Buffers,
            };
        }
        let sequencing = self.sequencing_over(medium);
        if matches!(sequencing, Sequencing::Counted | Sequencing::Repaired) {
            semantics.order = Order::PerOriginAndTopic;
        }
        match sequencing {
            Sequencing::Counted | Sequencing::Repaired if medium.keeps_log() => {
                semantics.delivery = Delivery::Kept;
            }
            Sequencing::Repaired => {
                semantics.delivery = Delivery::Repaired;
                semantics.subscriber_outage = SubscriberOutage::Repaired;
            }
            Sequencing::Counted => {
                semantics.delivery = Delivery::Counted;
                semantics.subscriber_outage = SubscriberOutage::Counted;
            }
            Sequencing::Auto | Sequencing::Off => {}
        }
        semantics
    }

    pub(super) fn settings(&self, medium: Semantics) -> Settings {
        let sequencing = self.sequencing_over(medium);
        let mut retention = self.retention;
        if sequencing == Sequencing::Counted || medium.keeps_log() {
            retention.topic_envelopes = 0;
            retention.bytes = ByteSize::b(0);
        }
        Settings {
            numbered: matches!(sequencing, Sequencing::Counted | Sequencing::Repaired),
            retention,
            deadline: self.repair_deadline,
            log: medium.keeps_log(),
            rules: Rules::ALL,
        }
    }

    fn sequencing_over(&self, medium: Semantics) -> Sequencing {
        match (self.sequencing, medium.delivery) {
            (Sequencing::Auto, Delivery::AtMostOnce | Delivery::BestEffort) => Sequencing::Repaired,
            (Sequencing::Auto, _) if medium.keeps_log() => Sequencing::Counted,
            (Sequencing::Auto, _) => Sequencing::Off,
            (chosen, _) => chosen,
        }
    }
}
