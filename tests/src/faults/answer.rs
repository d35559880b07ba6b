//! What publishers are answered.

use backplane_core::{PublishError, Receipt};
use serde::{Deserialize, Serialize};

/// What publish said about an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing yet.
    Open,
    /// [`Receipt::Queued`].
    Queued,
    /// [`Receipt::Sent`].
    Sent,
    /// [`Receipt::Accepted`].
    Accepted,
    /// [`Receipt::Stored`].
    Stored,
    /// [`PublishError::LinkDown`].
    LinkDown,
    /// [`PublishError::Refused`].
    Refused,
    /// [`PublishError::Unknown`], or an error that says no more.
    Unknown,
}

impl Answer {
    /// What a ticket's outcome is.
    #[must_use]
    pub const fn of(outcome: &Result<Receipt, PublishError>) -> Self {
        match outcome {
            Ok(Receipt::Queued) => Self::Queued,
            Ok(Receipt::Sent) => Self::Sent,
            Ok(Receipt::Accepted) => Self::Accepted,
            Ok(_) => Self::Stored,
            Err(PublishError::LinkDown(_)) => Self::LinkDown,
            Err(PublishError::Refused { .. }) => Self::Refused,
            Err(_) => Self::Unknown,
        }
    }

    /// The same in words.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Stored => "stored",
            Self::LinkDown => "link down",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it lets the publisher believe that others get the envelope.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Queued | Self::Sent | Self::Accepted | Self::Stored)
    }

    /// Whether it says that no other node gets the envelope.
    #[must_use]
    pub const fn denies(self) -> bool {
        matches!(self, Self::LinkDown | Self::Refused)
    }
}
