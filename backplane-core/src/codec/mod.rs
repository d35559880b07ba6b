//! Envelopes as bytes.
//!
//! ```text
//! envelope = magic 0xB5 | version 0x01 | header length u32 | header | body
//! bundle   = magic 0xB5 | version 0x81 | (envelope length u32 | envelope)*
//! ```
//!
//! Integers are little-endian. The body is the tail of what was received and is never copied out
//! of it. A bundle holds envelopes of one topic that were published close together: one message
//! for the broker, however many it holds.

mod control;
mod frame;
mod header;

pub(crate) use control::{Alive, Answer, Control, Listed, Page, Part, Phase, Start, Watermark};
pub use frame::Frame;
pub(crate) use frame::{Received, frames, read};
pub(crate) use header::{Header, LONGEST as LONGEST_HEADER};

/// Why received bytes are not an envelope. They are counted and dropped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("not an envelope of this project")]
    Magic,
    #[error("wire version {0:#04x} is not known here")]
    UnknownVersion(u8),
    #[error("kind or route {0} is not known here")]
    UnknownKind(u8),
    #[error("ends early")]
    Truncated,
    #[error("the header is malformed: {reason}")]
    Header { reason: String },
}

#[cfg(test)]
mod tests;
