//! The texts that clients see. They are those of the original to the letter, as clients and their
//! tests compare them.

use std::{error::Error, fmt::Display};

use backplane_hub::{ArgumentsError, EncodeError, HubError};

/// A request other than a WebSocket's without an id.
pub(crate) const ID_REQUIRED: &str = "Connection ID required";
/// An id that nobody was given, or that is no longer good.
pub(crate) const UNKNOWN_ID: &str = "No Connection with that ID";
/// A POST about a WebSocket.
pub(crate) const POST_NOT_ALLOWED: &str =
    "POST requests are not allowed for WebSocket connections.";
/// A DELETE about a connection that ends otherwise.
pub(crate) const DELETE_NOT_ALLOWED: &str =
    "Cannot terminate this connection using the DELETE endpoint.";
/// A request of another transport than the connection's.
pub(crate) const OTHER_TRANSPORT: &str = "Cannot change transports mid-connection";
/// The node that knows of a connection cannot be asked. The original has but one node.
pub(crate) const UNREACHABLE: &str = "The server of this connection cannot be reached now";
/// A `negotiateVersion` that is none.
pub(crate) const NOT_A_VERSION: &str = "The client requested a non-integer protocol version.";
/// A handshake that fails for no reason of its own.
pub(crate) const HANDSHAKE_FAILED: &str =
    "An unexpected error occurred during connection handshake.";
/// The end of a message is missing when the connection ends.
pub(crate) const CUT_OFF: &str = "Connection terminated while reading a message.";
/// Nothing came from the client for too long.
pub(crate) const CLIENT_TIMEOUT: &str =
    "Client hasn't sent a message/ping within the configured ClientTimeoutInterval.";

/// A client that comes back goes on with a message that is not the next.
pub(crate) const AHEAD: &str = "Sequence ID greater than amount of messages we've received.";

/// The answer to a call that another server has begun, and could not end in time.
pub(crate) const MOVED: &str =
    "The connection has moved to another server before the call was done.";

/// A transport that this end point does not have.
pub(crate) fn no_transport(name: &str) -> String {
    format!("{name} transport not supported by this end point type")
}

/// A negotiate version below the least that is served.
pub(crate) fn version_too_low(version: i32) -> String {
    format!(
        "The client requested version '{version}', but the server does not support this version."
    )
}

/// [`HANDSHAKE_FAILED`] and why.
pub(crate) fn handshake_failed(kind: &str, message: impl Display, detailed: bool) -> String {
    with_detail(HANDSHAKE_FAILED.to_owned(), detailed, kind, message)
}

/// A message larger than `limit` bytes.
pub(crate) fn too_large(limit: usize) -> String {
    format!(
        "The maximum message size of {limit}B was exceeded. The message size can be configured in AddHubOptions."
    )
}

/// The connection ends, as this went wrong.
pub(crate) fn closed(kind: &str, message: impl Display, detailed: bool) -> String {
    with_detail("Connection closed with an error.".to_owned(), detailed, kind, message)
}

/// There is no such method.
pub(crate) fn unknown_method(target: &str) -> String {
    format!("Unknown hub method '{target}'")
}

/// The arguments don't fit.
pub(crate) fn arguments(target: &str, error: &ArgumentsError, detailed: bool) -> String {
    let text = format!("Failed to invoke '{target}' due to an error on the server.");
    let kind = "InvalidDataException";
    match error {
        ArgumentsError::Count { given, expected } => with_detail(
            text,
            detailed,
            kind,
            format_args!("Invocation provides {given} argument(s) but target expects {expected}."),
        ),
        ArgumentsError::Type { .. } => with_detail(
            text,
            detailed,
            kind,
            "Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.",
        ),
    }
}

/// The user may not call it.
pub(crate) fn unauthorized(target: &str) -> String {
    format!("Failed to invoke '{target}' because user is unauthorized")
}

/// The method failed.
pub(crate) fn failed(target: &str, error: &HubError, detailed: bool) -> String {
    failed_with(target, detailed || error.is_public(), error.kind(), error.message())
}

/// The caller sends another number of streams than the method takes.
pub(crate) fn streams(target: &str, sent: usize, expected: usize) -> String {
    let message = format!("Client sent {sent} stream(s), Hub method expects {expected}.");
    failed_with(target, true, "HubException", message)
}

/// The method's result cannot be written.
pub(crate) fn unwritable(target: &str, kind: &str, error: &EncodeError, detailed: bool) -> String {
    match error.source() {
        Some(source) => failed_with(target, detailed, kind, source),
        None => failed_with(target, detailed, kind, error),
    }
}

/// A stream is asked of a method that has none.
pub(crate) fn not_streaming(target: &str) -> String {
    format!(
        "The client attempted to invoke the non-streaming '{target}' method with a streaming invocation."
    )
}

/// One value is asked of a method that streams.
pub(crate) fn streaming(target: &str) -> String {
    format!(
        "The client attempted to invoke the streaming '{target}' method with a non-streaming invocation."
    )
}

/// A filter made something else of a stream.
pub(crate) fn not_a_stream(target: &str) -> String {
    format!(
        "The value returned by the streaming method '{target}' is not a ChannelReader<> or IAsyncEnumerable<>."
    )
}

/// A stream failed midway.
pub(crate) fn stream_failed(error: &HubError, detailed: bool) -> String {
    let text = "An error occurred on the server while streaming results.".to_owned();
    with_detail(text, detailed || error.is_public(), error.kind(), error.message())
}

/// A stream has the id of another one.
pub(crate) fn id_in_use(id: &str) -> String {
    format!("Invocation ID '{id}' is already in use.")
}

/// More streams than one client may have. The original has no such limit.
pub(crate) fn too_many_streams(most: usize) -> String {
    format!("A client may have at most {most} streams at once.")
}

fn failed_with(target: &str, show: bool, kind: &str, message: impl Display) -> String {
    let text = format!("An unexpected error occurred invoking '{target}' on the server.");
    with_detail(text, show, kind, message)
}

fn with_detail(text: String, show: bool, kind: &str, message: impl Display) -> String {
    if show { format!("{text} {kind}: {message}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http() {
        assert_eq!(
            no_transport("LongPolling"),
            "LongPolling transport not supported by this end point type"
        );
        assert_eq!(
            version_too_low(0),
            "The client requested version '0', but the server does not support this version."
        );
    }

    #[test]
    fn methods_that_cannot_be_called() {
        assert_eq!(unknown_method("Nope"), "Unknown hub method 'Nope'");
        assert_eq!(unauthorized("Audit"), "Failed to invoke 'Audit' because user is unauthorized");
        assert_eq!(
            not_streaming("Echo"),
            "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation."
        );
        assert_eq!(
            streaming("EmptyStream"),
            "The client attempted to invoke the streaming 'EmptyStream' method with a non-streaming invocation."
        );
        assert_eq!(
            not_a_stream("Count"),
            "The value returned by the streaming method 'Count' is not a ChannelReader<> or IAsyncEnumerable<>."
        );
        assert_eq!(id_in_use("1"), "Invocation ID '1' is already in use.");
        assert_eq!(
            streams("Echo", 1, 0),
            "An unexpected error occurred invoking 'Echo' on the server. HubException: Client sent 1 stream(s), Hub method expects 0."
        );
    }

    #[test]
    fn arguments_that_do_not_fit() {
        let count = ArgumentsError::Count { given: 2, expected: 1 };
        assert_eq!(
            arguments("Echo", &count, false),
            "Failed to invoke 'Echo' due to an error on the server."
        );
        assert_eq!(
            arguments("Echo", &count, true),
            "Failed to invoke 'Echo' due to an error on the server. InvalidDataException: Invocation provides 2 argument(s) but target expects 1."
        );
        let kind = ArgumentsError::Type { index: 0, source: serde::de::Error::custom("secret") };
        assert_eq!(
            arguments("Echo", &kind, true),
            "Failed to invoke 'Echo' due to an error on the server. InvalidDataException: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked."
        );
    }

    #[test]
    fn methods_that_fail() {
        let private = HubError::named("InvalidOperationException", "An error occurred.");
        assert_eq!(
            failed("ThrowException", &private, false),
            "An unexpected error occurred invoking 'ThrowException' on the server."
        );
        assert_eq!(
            failed("ThrowException", &private, true),
            "An unexpected error occurred invoking 'ThrowException' on the server. InvalidOperationException: An error occurred."
        );
        let public = HubError::client("Something bad");
        assert_eq!(
            failed("StreamingConcat", &public, false),
            "An unexpected error occurred invoking 'StreamingConcat' on the server. HubException: Something bad"
        );
        let text = "An error occurred on the server while streaming results.";
        assert_eq!(stream_failed(&private, false), text);
        let detail = "InvalidOperationException: An error occurred.";
        assert_eq!(stream_failed(&private, true), format!("{text} {detail}"));
        let detail = "HubException: Something bad";
        assert_eq!(stream_failed(&public, false), format!("{text} {detail}"));
    }

    #[test]
    fn connections_that_end() {
        let text = too_large(32768);
        assert_eq!(
            text,
            "The maximum message size of 32768B was exceeded. The message size can be configured in AddHubOptions."
        );
        assert_eq!(
            closed("InvalidDataException", &text, false),
            "Connection closed with an error."
        );
        assert_eq!(
            closed("InvalidDataException", &text, true),
            format!("Connection closed with an error. InvalidDataException: {text}")
        );
    }
}
