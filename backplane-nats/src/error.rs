//! What the client library says, in this project's words.

use std::{error::Error, io, time::Duration};

use async_nats::{ConnectError, ConnectErrorKind, ServerError, rustls};
use backplane_core::LinkError;

pub(crate) const EXPECTED: &str = "NATS server";

/// Why one server could not be connected to.
pub(crate) fn connecting(error: ConnectError, address: &str, waited: Duration) -> LinkError {
    let address = address.to_owned();
    let reason = said(&error);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            LinkError::Authentication { address, reason }
        }
        ConnectErrorKind::TimedOut => LinkError::TimedOut { doing: "connecting", waited },
        ConnectErrorKind::Tls => LinkError::Tls { address, source: error.into() },
        _ if find::<rustls::Error>(&error).is_some() => {
            LinkError::Tls { address, source: error.into() }
        }
        _ if find::<ServerError>(&error).is_some() => turned_away(address, reason),
        ConnectErrorKind::Io if is_foreign(&error) => {
            LinkError::Protocol { address, expected: EXPECTED, reason }
        }
        _ => LinkError::Unreachable { address, source: error.into() },
    }
}

/// The server spoke the protocol, and said no.
fn turned_away(address: String, reason: String) -> LinkError {
    let lower = reason.to_lowercase();
    if lower.contains("authentication") || lower.contains("authorization") {
        return LinkError::Authentication { address, reason };
    }
    LinkError::Lost { reason: format!("{address} turned the connection away: {reason}") }
}

/// Whether what was read is not the protocol, rather than not there.
fn is_foreign(error: &ConnectError) -> bool {
    match find::<io::Error>(error) {
        // Unknown words, or bytes that are not even text.
        Some(error) => error.kind() == io::ErrorKind::InvalidInput,
        // Without an error of the operating system: a wrong first word, or none.
        None => true,
    }
}

/// The innermost words of an error.
fn said(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The first error of this type among an error and its sources.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error hides its cause from `source` behind itself.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(kind: ConnectErrorKind, source: impl Into<async_nats::Error>) -> LinkError {
        connecting(ConnectError::with_source(kind, source), "host:1", Duration::from_secs(3))
    }

    #[test]
    fn each_kind_says_what_to_look_at() {
        let refused =
            mapped(ConnectErrorKind::Io, io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(matches!(refused, LinkError::Unreachable { .. }));
        let unknown = mapped(ConnectErrorKind::Dns, io::Error::other("no such name"));
        assert!(matches!(unknown, LinkError::Unreachable { .. }));

        let denied =
            mapped(ConnectErrorKind::AuthorizationViolation, ServerError::AuthorizationViolation);
        assert!(matches!(denied, LinkError::Authentication { .. }));
        let expired = ServerError::Other("User Authentication Expired".to_owned());
        assert!(matches!(mapped(ConnectErrorKind::Io, expired), LinkError::Authentication { .. }));
        let full = ServerError::Other("maximum connections exceeded".to_owned());
        let full = mapped(ConnectErrorKind::Io, full);
        assert!(full.to_string().contains("host:1 turned the connection away: nats: maximum"));

        let foreign =
            io::Error::new(io::ErrorKind::InvalidInput, "invalid server operation: '+PONG'");
        let foreign = mapped(ConnectErrorKind::Io, foreign);
        assert!(matches!(&foreign, LinkError::Protocol { reason, .. } if reason.contains("+PONG")));
        let silent = mapped(ConnectErrorKind::Io, "expected INFO, got nothing");
        assert!(matches!(silent, LinkError::Protocol { .. }));
        assert!(matches!(mapped(ConnectErrorKind::TimedOut, "slow"), LinkError::TimedOut { .. }));

        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert!(matches!(mapped(ConnectErrorKind::Io, tls), LinkError::Tls { .. }));
    }
}
