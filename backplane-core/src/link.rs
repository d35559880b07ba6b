use std::{error::Error, sync::Arc, time::Instant};

/// The state of a node's connection to its broker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Link {
    /// The first connection is being made; nothing has failed yet.
    Connecting,
    /// Envelopes flow in both directions and every desired topic is confirmed or refused.
    Up {
        /// Counts the connections of this node that came up, from 1.
        epoch: u64,
    },
    /// The connection takes envelopes, but the node's own probes do not come back. It is being
    /// replaced.
    Muted {
        /// The last instant at which it was proven to deliver.
        since: Instant,
    },
    /// There is no connection. Attempts go on for as long as it takes.
    Down {
        /// The last instant at which the link was proven to deliver, or when the first attempt began.
        since: Instant,
        /// Why the latest attempt or connection failed.
        cause: Arc<LinkError>,
    },
    /// The node was closed.
    Closed,
}

impl Link {
    /// Whether envelopes flow.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }
}

/// Why there is no connection to the broker, or no longer.
///
/// All of these can heal by themselves or from outside, so a node reports them in
/// [`Link::Down`] and tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The first connection is still being made.
    #[error("the first connection to the broker is still being made")]
    NotYet,
    /// Nothing took the connection.
    #[error(
        "cannot reach the broker at {address}: check that it runs, and the host and port in the URL"
    )]
    Unreachable {
        /// Host and port as configured.
        address: String,
        /// What the operating system or the client said.
        #[source]
        source: BoxError,
    },
    /// The broker rejects the credentials.
    #[error(
        "the broker at {address} rejects the credentials: check user, password or token ({reason})"
    )]
    Authentication {
        /// Host and port as configured.
        address: String,
        /// What the broker said; never holds a secret.
        reason: String,
    },
    /// The broker knows the user, but the user's access rules forbid what every node does.
    #[error("the broker at {address} denies its user what every node does: {reason}")]
    Denied {
        /// Host and port as configured.
        address: String,
        /// What is denied, and which rule would allow it.
        reason: String,
    },
    /// Something answers, but not the protocol of this transport.
    #[error(
        "what listens at {address} is not a usable {expected}: {reason}; check the URL's scheme and port"
    )]
    Protocol {
        /// Host and port as configured.
        address: String,
        /// What the transport needs there.
        expected: &'static str,
        /// What it said instead.
        reason: String,
    },
    /// The broker is there, but not set up for this.
    #[error("the broker at {address} cannot be used as it is set up: {reason}")]
    Unsuitable {
        /// Host and port as configured.
        address: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The broker is older than this transport supports.
    #[error(
        "the broker at {address} is {product} {found}; this transport needs {needed} or newer: upgrade it"
    )]
    TooOld {
        /// Host and port as configured.
        address: String,
        /// What the broker calls itself.
        product: String,
        /// The version it reports.
        found: String,
        /// The oldest version that works.
        needed: &'static str,
    },
    /// TLS could not be established.
    #[error(
        "TLS with the broker at {address} failed: check its certificate and the CA it is signed by"
    )]
    Tls {
        /// Host and port as configured.
        address: String,
        /// What the TLS layer said.
        #[source]
        source: BoxError,
    },
    /// The broker did not answer in time.
    #[error(
        "the broker did not answer within {waited:?} while {doing}: check host and port, and whether it wants TLS"
    )]
    TimedOut {
        /// What was being done.
        doing: &'static str,
        /// How long the answer was waited for.
        waited: std::time::Duration,
    },
    /// An established connection ended.
    #[error("the connection to the broker was lost: {reason}")]
    Lost {
        /// What the client library said.
        reason: String,
    },
    /// The connection takes envelopes but does not deliver.
    #[error("the connection takes envelopes but its own probe did not come back within {waited:?}")]
    Mute {
        /// How long the probe was waited for.
        waited: std::time::Duration,
    },
}

/// Any error of a client library, kept as a source.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;
