use redis::RedisError;

use crate::error;

/// What a server's error about one channel means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It does not own the slot, or not now: somebody else does, or will.
    Moved,
    /// The access rules forbid this channel.
    Refused,
    /// Nothing that would be better on this connection.
    Lost,
}

impl Answer {
    pub(super) fn of(error: &RedisError) -> Self {
        match error.code() {
            Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN") => Self::Moved,
            _ if error::is_refusal(error) => Self::Refused,
            _ => Self::Lost,
        }
    }
}
