use std::future::Future;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use axum::response::{IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
    request::Parts,
};
use hyper::{ext::Protocol, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use super::Socket;
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// A client's wish for a WebSocket, in order.
pub(crate) struct Upgrade {
    /// What proves that it was read. Over HTTP/2 nothing has to.
    accept: Option<String>,
    upgrade: OnUpgrade,
}

/// Why a wish for a WebSocket is not in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("A WebSocket is opened by a GET request of HTTP/1.1, or by CONNECT of HTTP/2")]
    Method,
    #[error("The header Connection must hold upgrade")]
    Connection,
    #[error("Only version 13 of the WebSocket protocol is spoken")]
    Version,
    #[error("The header Sec-WebSocket-Key is missing")]
    Key,
    #[error("This connection cannot become a WebSocket")]
    Unable,
}

impl IntoResponse for UpgradeError {
    fn into_response(self) -> Response {
        match self {
            Self::Version => {
                let spoken = [(SEC_WEBSOCKET_VERSION, VERSION)];
                (StatusCode::UPGRADE_REQUIRED, spoken, self.to_string()).into_response()
            }
            _ => (StatusCode::BAD_REQUEST, self.to_string()).into_response(),
        }
    }
}

impl Upgrade {
    /// Whether the request is one for a WebSocket, in order or not.
    pub(crate) fn is_wanted(request: &Parts) -> bool {
        match request.method {
            Method::GET => has_token(&request.headers, UPGRADE, "websocket"),
            Method::CONNECT => {
                let protocol = request.extensions.get::<Protocol>();
                protocol.is_some_and(|it| it.as_str().eq_ignore_ascii_case("websocket"))
            }
            _ => false,
        }
    }

    /// Reads the wish as RFC 6455, section 4.2.1, has it, or for HTTP/2 RFC 8441, section 5.
    pub(crate) fn of(request: &mut Parts) -> Result<Self, UpgradeError> {
        let tunnel = match (&request.method, request.version) {
            (&Method::GET, Version::HTTP_11) => false,
            (&Method::CONNECT, Version::HTTP_2) => true,
            _ => return Err(UpgradeError::Method),
        };
        if !tunnel && !has_token(&request.headers, CONNECTION, "upgrade") {
            return Err(UpgradeError::Connection);
        }
        if request.headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            return Err(UpgradeError::Version);
        }
        let accept = if tunnel {
            None
        } else {
            let key = request.headers.get(SEC_WEBSOCKET_KEY).ok_or(UpgradeError::Key)?;
            Some(accept_key(key.as_bytes()))
        };
        let upgrade = request.extensions.remove().ok_or(UpgradeError::Unable)?;
        Ok(Self { accept, upgrade })
    }

    /// Grants the wish, and hands the socket to `run` in a task of its own.
    pub(crate) fn accept<R, F>(self, run: R) -> Response
    where
        R: FnOnce(Socket) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let upgrade = self.upgrade;
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => run(Socket::new(TokioIo::new(upgraded))).await,
                Err(error) => tracing::debug!(%error, "a WebSocket was not opened"),
            }
        });
        let Some(accept) = self.accept else {
            return StatusCode::OK.into_response();
        };
        let headers = [
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers, [(SEC_WEBSOCKET_ACCEPT, accept)]).into_response()
    }
}

/// Proves that the server has read the wish; RFC 6455, section 1.3.
fn accept_key(key: &[u8]) -> String {
    const APPENDED: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

    STANDARD.encode(digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, APPENDED].concat()))
}

/// Whether one of the header's values is, or one of their parts, this word.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut parts =
        values.iter().filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    parts.any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn tokens_are_found_in_lists() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.append(CONNECTION, HeaderValue::from_static("other"));
        assert!(has_token(&headers, CONNECTION, "upgrade"));
        assert!(has_token(&headers, CONNECTION, "Other"));
        assert!(!has_token(&headers, CONNECTION, "keep"));
        assert!(!has_token(&headers, UPGRADE, "upgrade"));
    }
}
