//! Whether what a receiver was given and what it was told of add up to what was sent.

use std::fmt;

use super::Sent;

/// The sums of one receiver, over the streams of which it knows each loss by a count or not at all: no
/// gap lacks its count, the origin lives, and the subscription is older than the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Balance {
    pub(in super::super) node: usize,
    pub(in super::super) sent: u64,
    /// Each envelope once.
    pub(in super::super) delivered: u64,
    /// By all gaps together, wherever they lie.
    pub(in super::super) counted: u64,
    /// Did not arrive, and the publisher's ticket says so: a gap may count it or not.
    pub(in super::super) denied: u64,
}

impl Balance {
    pub(super) fn of(node: usize) -> Self {
        Self { node, ..Self::default() }
    }

    /// Adds a stream, of which each envelope arrived so many times, and its gaps' counts.
    pub(super) fn add(&mut self, sent: &[Sent], times: &[u32], counted: u64) {
        self.sent += sent.len() as u64;
        self.counted += counted;
        for (sent, times) in sent.iter().zip(times) {
            match times {
                0 => self.denied += u64::from(!sent.answer.is_ok()),
                1.. => self.delivered += 1,
            }
        }
    }

    pub(in super::super) const fn holds(&self) -> bool {
        let known = self.delivered + self.counted;
        known <= self.sent && self.sent <= known + self.denied
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, sent, delivered, counted, denied } = self;
        write!(f, "node {node} got {delivered} of {sent} and gaps counted {counted}")?;
        write!(f, ", with {denied} that their tickets deny")
    }
}
