//! The first message of either side. It is always JSON, whatever is agreed on.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Transport,
    codec::{Codec, SEPARATOR},
    texts,
};

/// The newest version of the hub protocol that is spoken. 2 only adds messages for stateful
/// reconnects, which a client doesn't use unless they were negotiated.
const NEWEST: i32 = 2;

/// The version from which on a client can reconnect so.
pub(crate) const STATEFUL: i32 = 2;

/// Why a connection does not get past its handshake; as text, what the client is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("The protocol '{protocol}' is not supported.")]
    Protocol { protocol: String },
    #[error("The server does not support version {version} of the '{protocol}' protocol.")]
    Version { version: i32, protocol: String },
    #[error(
        "Cannot use the '{protocol}' protocol on the current transport. The transport does not support 'Binary' transfer format."
    )]
    Format { protocol: &'static str },
    #[error("Handshake was canceled.")]
    TooLate,
    #[error("Handshake was canceled.")]
    TooLarge,
    #[error("{}", texts::HANDSHAKE_FAILED)]
    Malformed(#[source] serde_json::Error),
    #[error("{}", texts::HANDSHAKE_FAILED)]
    Open(#[source] backplane_hub::OpenError),
}

impl HandshakeError {
    /// The text for the client.
    pub(crate) fn text(&self, detailed: bool) -> String {
        match self {
            Self::Malformed(source) => {
                texts::handshake_failed("InvalidDataException", source, detailed)
            }
            Self::Open(source) => texts::handshake_failed("OpenError", source, detailed),
            told => told.to_string(),
        }
    }
}

#[derive(Deserialize)]
struct Request {
    protocol: String,
    version: i32,
}

/// Reads a request without its separator, and returns what is spoken from then on, in which version.
pub(crate) fn read(request: &[u8], transport: Transport) -> Result<(Codec, i32), HandshakeError> {
    let Request { protocol, version } =
        serde_json::from_slice(request).map_err(HandshakeError::Malformed)?;
    let Some(codec) = Codec::by_name(&protocol) else {
        return Err(HandshakeError::Protocol { protocol });
    };
    if version > NEWEST {
        return Err(HandshakeError::Version { version, protocol });
    }
    if codec.is_binary() && !transport.takes_binary() {
        return Err(HandshakeError::Format { protocol: codec.name() });
    }
    Ok((codec, version))
}

/// The answer to a request that is granted.
pub(crate) static GRANTED: Bytes = Bytes::from_static(b"{}\x1e");

/// The answer to a request that is not.
pub(crate) fn refusal(text: &str) -> Bytes {
    #[derive(Serialize)]
    struct Refusal<'a> {
        error: &'a str,
    }

    // A text has a JSON form, and memory can be written to.
    let mut answer = serde_json::to_vec(&Refusal { error: text }).unwrap_or_default();
    answer.push(SEPARATOR);
    answer.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: &str, detailed: bool) -> String {
        read(request.as_bytes(), Transport::WebSockets).expect_err("refused").text(detailed)
    }

    #[test]
    fn json_in_versions_one_and_two_is_granted() {
        for (request, version) in [
            (r#"{"protocol":"json","version":1}"#, 1),
            (r#"{"version":2,"protocol":"json"}"#, 2),
            (r#"{"protocol":"JSON","version":0,"more":[{}]}"#, 0),
        ] {
            for transport in Transport::ALL {
                let granted = read(request.as_bytes(), transport).expect(request);
                assert_eq!(granted, (Codec::Json, version));
            }
        }
    }

    #[test]
    fn so_is_messagepack() {
        let request = br#"{"protocol":"MessagePack","version":1}"#;
        for transport in [Transport::WebSockets, Transport::LongPolling] {
            assert_eq!(read(request, transport).expect("granted"), (Codec::MessagePack, 1));
        }
        assert_eq!(
            read(request, Transport::ServerSentEvents).expect_err("refused").text(false),
            "Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."
        );
    }

    #[test]
    fn refusals_have_the_exact_texts() {
        assert_eq!(
            refused(r#"{"protocol":"blazorpack","version":1}"#, false),
            "The protocol 'blazorpack' is not supported."
        );
        assert_eq!(
            refused(r#"{"protocol":"json","version":3}"#, false),
            "The server does not support version 3 of the 'json' protocol."
        );
        assert_eq!(HandshakeError::TooLate.text(true), "Handshake was canceled.");
        assert_eq!(HandshakeError::TooLarge.text(true), "Handshake was canceled.");
    }

    #[test]
    fn malformed_requests_are_told_details_only_when_allowed() {
        for request in [
            "",
            "{",
            "[]",
            "null",
            r#"{"protocol":"json"}"#,
            r#"{"protocol":1,"version":1}"#,
            r#"{"protocol":"json","version":"1"}"#,
            "\u{1}",
        ] {
            assert_eq!(
                refused(request, false),
                "An unexpected error occurred during connection handshake.",
                "{request}"
            );
            assert!(
                refused(request, true).starts_with(
                    "An unexpected error occurred during connection handshake. InvalidDataException: "
                ),
                "{request}"
            );
        }
    }

    #[test]
    fn a_refusal_is_one_record() {
        assert_eq!(refusal("a \"b\" \u{1e}"), &b"{\"error\":\"a \\\"b\\\" \\u001e\"}\x1e"[..]);
    }
}
