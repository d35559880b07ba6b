use axum::response::{IntoResponse, Response};
use http::{StatusCode, header::CONTENT_TYPE};

use crate::{Transport, texts, websocket::UpgradeError};

/// Why a request about a connection is not granted.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// It names none.
    IdRequired,
    /// No node has the one that it names.
    Unknown,
    /// It has just ended, or gone to another node.
    Moved,
    /// Nobody who knows of it can be asked.
    Unavailable,
    /// The connection has begun already.
    Begun,
    /// The connection has begun with another transport.
    OtherTransport,
    /// The transport is not served.
    NotServed(Transport),
    /// A WebSocket takes no POSTs.
    NoPost,
    /// Only a client that polls ends its connection by a request.
    NoDelete,
    /// The body could not be read.
    Body,
    /// It is not in order.
    Upgrade(UpgradeError),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::IdRequired => plain(StatusCode::BAD_REQUEST, texts::ID_REQUIRED),
            Self::Unknown | Self::Moved => plain(StatusCode::NOT_FOUND, texts::UNKNOWN_ID),
            Self::Unavailable => plain(StatusCode::SERVICE_UNAVAILABLE, texts::UNREACHABLE),
            Self::Begun => plain(StatusCode::CONFLICT, ""),
            Self::OtherTransport => plain(StatusCode::BAD_REQUEST, texts::OTHER_TRANSPORT),
            Self::NotServed(transport) => {
                plain(StatusCode::NOT_FOUND, &texts::no_transport(transport.name()))
            }
            Self::NoPost => plain(StatusCode::METHOD_NOT_ALLOWED, texts::POST_NOT_ALLOWED),
            Self::NoDelete => plain(StatusCode::BAD_REQUEST, texts::DELETE_NOT_ALLOWED),
            Self::Body => plain(StatusCode::BAD_REQUEST, ""),
            Self::Upgrade(error) => error.into_response(),
        }
    }
}

/// An answer in plain text.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain")], text.to_owned()).into_response()
}
