//! What the client library reports → what a node reports.

use backplane_core::LinkError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What a transport over Redis needs at the other end.
const EXPECTED: &str = "Redis or Valkey server";

/// Why a connection could not be made.
pub(crate) fn connecting(address: &str, error: &RedisError) -> LinkError {
    let address = || address.to_owned();
    let protocol = |reason: &str| LinkError::Protocol {
        address: address(),
        expected: EXPECTED,
        reason: reason.to_owned(),
    };
    if is_authentication(error) {
        return LinkError::Authentication { address: address(), reason: answer(error) };
    }
    #[cfg(feature = "tls")]
    if crate::tls::is_cause(error) {
        return LinkError::Tls { address: address(), source: error.clone().into() };
    }
    if is_unknown_command(error) {
        return protocol("it does not speak RESP3; use protocol=auto or resp2");
    }
    match error.kind() {
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            protocol("its answer is not in the Redis protocol")
        }
        ErrorKind::Io if !error.is_connection_refusal() && error.is_connection_dropped() => {
            protocol("it closed the connection before it answered (as one that wants TLS does)")
        }
        ErrorKind::Io => {
            LinkError::Unreachable { address: address(), source: error.clone().into() }
        }
        _ => LinkError::Lost { reason: answer(error) },
    }
}

/// Why an established connection is given up.
pub(crate) fn lost(error: &RedisError) -> LinkError {
    LinkError::Lost { reason: answer(error) }
}

/// What the server said, in its own words where there are any.
pub(crate) fn answer(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

/// Whether the server refuses this for want of a permission.
pub(crate) fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}

/// Whether the server does not know a command or a version of the protocol.
pub(crate) fn is_unknown_command(error: &RedisError) -> bool {
    let unknown = |detail: &str| detail.to_ascii_lowercase().starts_with("unknown command");
    match error.kind() {
        ErrorKind::RESP3NotSupported => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) => error.detail().is_some_and(unknown),
        _ => error.code() == Some("NOPROTO"),
    }
}

/// Whether the server wants other credentials. `DENIED` is that of one without a password, which
/// takes nobody from another machine.
pub(crate) fn is_authentication(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "DENIED"))
}
