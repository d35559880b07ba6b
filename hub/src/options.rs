use std::time::Duration;

use backplane_core::ByteSize;

/// How a hub treats its connections.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// The most messages that wait for one connection. Default 4,096: a burst that a healthy client
    /// takes in well under a second.
    pub outbound_messages: usize,
    /// The most bytes that wait for one connection. Default 1 MiB: so that a thousand stalled
    /// clients cost a gigabyte at the very most. A message that is larger by itself is taken when nothing
    /// else waits.
    pub outbound_bytes: ByteSize,
    /// What becomes of a connection whose queue is full. Default [`WhenSlow::Close`].
    pub when_slow: WhenSlow,
    /// How long another node may take to say that it has the connection it is asked about. Default
    /// 1 s, in which the question is repeated.
    pub answer_within: Duration,
    /// How long another node may take for the work itself, once it has said that it does it. Default
    /// 10 s: above the time in which a node gives up on a broker that does not answer.
    pub result_within: Duration,
    /// The most negotiated connections that this node remembers as registrar, and as many that it has
    /// granted. Default 100,000, about 30 MB when full; the oldest make room. One that was granted and is
    /// not remembered is still found by its id once it is open.
    pub announcements: usize,
    /// The most gaps that wait for [`on_gap`](crate::HubBuilder::on_gap) to be told of. Default 1,024:
    /// as many topics as a listener that only notes them takes in some milliseconds. News of the link
    /// has places of its own.
    pub loss_events: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            outbound_messages: 4096,
            outbound_bytes: ByteSize::mib(1),
            when_slow: WhenSlow::Close,
            answer_within: Duration::from_secs(1),
            result_within: Duration::from_secs(10),
            announcements: 100_000,
            loss_events: 1024,
        }
    }
}

/// What becomes of a connection that does not take its messages as fast as they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenSlow {
    /// It is ended: the client sees that, reconnects, and asks for what it missed.
    #[default]
    Close,
    /// What does not fit is dropped and counted: for messages that the next one supersedes.
    DropNewest,
}
