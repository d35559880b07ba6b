use std::{fmt, time::Duration};

use bytesize::ByteSize;

use crate::Receipt;

/// What a transport promises. The kit checks each promise against what it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Semantics {
    /// How often a published envelope reaches an interested node while nothing fails.
    pub delivery: Delivery,
    /// Which envelopes keep their order.
    pub order: Order,
    /// The most that an `Ok` from a publish proves.
    pub receipt: Receipt,
    /// What an envelope outlives once an `Ok` has said that it is stored.
    pub durability: Durability,
    /// What a publisher is told while the link is down.
    pub publisher_outage: PublisherOutage,
    /// What becomes of what others publish while a subscriber's link is down.
    pub subscriber_outage: SubscriberOutage,
    /// How far back a new subscriber can read.
    pub replay: Replay,
    /// Who drops an envelope that a node has no interest in.
    pub filter: Filter,
    /// The largest body; one byte more is [`PublishError::TooLarge`](crate::PublishError::TooLarge).
    pub largest_body: ByteSize,
}

impl Semantics {
    /// Whether the medium keeps a log, and a subscriber reads on from where it stood.
    pub(crate) fn keeps_log(&self) -> bool {
        self.subscriber_outage == SubscriberOutage::CatchesUp
    }
}

/// See [`Semantics::delivery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Lost, or twice, at any time, and nobody is told: what [`chaos`](crate::chaos) leaves of a
    /// transport.
    BestEffort,
    /// Never twice; lost where a connection fails.
    AtMostOnce,
    /// Never lost while the medium lives; twice where a connection fails.
    AtLeastOnce,
    /// Never twice. What the medium loses is repaired for as long as its origin lives and retains
    /// it, and otherwise reported with its count.
    Repaired,
    /// Never twice. What the medium loses is reported with its count.
    Counted,
    /// Never twice, and never lost while the medium keeps it. What the medium drops before it was read is
    /// reported, with its count as soon as that is known.
    Kept,
}

/// See [`Semantics::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// None: any envelope may overtake any other.
    None,
    /// Envelopes of one origin on one topic arrive in the order of their publishing.
    PerOriginAndTopic,
}

/// See [`Semantics::durability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The medium keeps nothing.
    Nothing,
    /// The server keeps it as it is set up: these settings of the server's say whether it outlives the
    /// server's process, and the machine.
    AsSetUp {
        /// Their names.
        settings: &'static str,
    },
    /// It is in the memory of so many servers when the answer comes: it outlives a minority of them.
    Memory {
        /// How many.
        copies: u32,
    },
    /// So many servers have given it to their operating systems when the answer comes: it outlives their
    /// processes, also when they are killed, and a minority of the machines. What it costs when all machines
    /// end at once is up to a setting of the servers'.
    Disk {
        /// How many.
        copies: u32,
        /// The setting: how often what was written is forced onto the disk.
        fsync: &'static str,
    },
}

/// What it outlives, in words.
impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is kept"),
            Self::AsSetUp { settings } => write!(f, "what the server's `{settings}` say"),
            Self::Memory { copies: 1 } => f.write_str("nothing"),
            Self::Memory { copies } => write!(f, "a minority of {copies} servers"),
            Self::Disk { fsync, .. } => {
                write!(f, "a killed server; the machine's end: the server's `{fsync}`")
            }
        }
    }
}

/// See [`Semantics::publisher_outage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublisherOutage {
    /// Local sinks get the envelope; the ticket says at once that nobody else does.
    Refuses,
    /// The envelope, and its ticket, wait for the link, up to a deadline.
    Waits,
    /// The envelope is buffered within bounds and sent when the link is back; the ticket says
    /// [`Queued`](Receipt::Queued).
    Buffers,
    /// There is no broker that could be away.
    Never,
}

/// See [`Semantics::subscriber_outage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriberOutage {
    /// Lost, and reported as `Interrupted` … `Restored`.
    LostAndReported,
    /// Lost, and reported as a `Gap` with its count, within `Interrupted` … `Restored`.
    Counted,
    /// Sent again by their origins before `Restored`, or reported as a `Gap` with its count.
    Repaired,
    /// Read from the medium's log, on from where the subscriber stood, before `Restored`. What the log
    /// does not hold any more is reported as a `Gap`.
    CatchesUp,
    /// There is no broker that could be away.
    Never,
}

/// See [`Semantics::replay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// A subscriber gets what is published after its confirmation, nothing from before.
    ///
    /// Where losses are repaired or counted, a node takes for missed what it cannot know to be from
    /// before: what another node published since it was last heard of, a heartbeat ago at most, or
    /// since this node was started.
    None,
    /// The medium keeps a log. A subscriber that asks for it
    /// ([`Backplane::subscribe_from`](crate::Backplane::subscribe_from)) reads from there, as far back as
    /// both bounds allow.
    Kept {
        /// For how long, if that is bounded.
        age: Option<Duration>,
        /// How many entries of a part, roughly, if that is bounded.
        entries: Option<u64>,
    },
}

/// See [`Semantics::filter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// The broker: an envelope costs nothing on a node without interest.
    Broker,
    /// The node: it reads every header and drops what it has no interest in.
    Node,
}
