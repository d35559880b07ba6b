//! A hub as requests reach it: who is let in, and which connection a request is about.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::response::Response;
use backplane_hub::{ClaimError, Hub, User};
use http::{StatusCode, request::Parts};

use crate::{
    NegotiateVersion, Options, Rejection, Transport, negotiate,
    query::Query,
    router::plain,
    table::{Local, Table},
    texts,
    token::{self, Ticket, TokenError},
};

/// What all requests to one hub share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) hub: Hub,
    pub(crate) options: Options,
    pub(crate) table: Arc<Table>,
}

/// How far the clocks of nodes may differ.
const CLOCKS: Duration = Duration::from_secs(30);

impl Endpoint {
    pub(crate) fn new(hub: Hub, options: Options) -> Self {
        Self { hub, options, table: Arc::default() }
    }

    /// The user that a request comes from, if the hub lets it pass.
    pub(crate) async fn admit(&self, request: &Parts) -> Result<Option<User>, Rejection> {
        let user = self.options.user(request).await;
        let admitted = user.and_then(|user| match self.hub.authorize(user.as_ref()) {
            Ok(()) => Ok(user),
            Err(denied) if denied.anonymous => Err(Rejection::unauthenticated()),
            Err(_) => Err(Rejection::forbidden()),
        });
        admitted.inspect_err(|rejection| {
            tracing::debug!(hub = self.hub.name(), ?rejection, "refused a request");
        })
    }

    pub(crate) fn negotiate(&self, query: &Query, user: Option<&User>) -> Vec<u8> {
        let version = match NegotiateVersion::of(query, self.options.minimum_negotiate_version) {
            Ok(version) => version,
            Err(text) => return negotiate::refused(&text),
        };
        let keep = self.options.token_expiry;
        let (id, token) = token::issue(
            &self.options.token_keys,
            self.hub.name(),
            user,
            version,
            self.hub.node(),
            SystemTime::now() + keep,
        );
        // Nodes whose clocks are behind still take the token for a while.
        self.hub.announce(&id, keep + CLOCKS);
        negotiate::granted(version, &id, &token, &self.options.transports)
    }

    /// Refuses what belongs to a transport that is not served.
    pub(crate) fn serves(&self, transport: Transport) -> Result<(), Response> {
        if self.options.transports.contains(&transport) {
            return Ok(());
        }
        Err(plain(StatusCode::NOT_FOUND, &texts::no_transport(transport.name())))
    }

    /// What the token of a request stands for.
    pub(crate) fn ticket(
        &self,
        token: Option<&str>,
        user: Option<&User>,
    ) -> Result<Ticket, Response> {
        let token = token.ok_or_else(|| plain(StatusCode::BAD_REQUEST, texts::ID_REQUIRED))?;
        let keys = &self.options.token_keys;
        token::verify(keys, self.hub.name(), user, token).map_err(|error| self.unknown(error))
    }

    /// The connection of a ticket, if it is one of this node and of this router.
    pub(crate) fn local(&self, ticket: &Ticket) -> Option<Local> {
        self.table.find(&ticket.id)
    }

    /// Lets a connection begin, which is granted once.
    pub(crate) async fn claim(&self, ticket: &Ticket) -> Result<(), Refused> {
        ticket.check(SystemTime::now()).map_err(|error| Refused::Unknown(self.unknown(error)))?;
        let Err(error) = self.hub.claim(&ticket.id, ticket.registrar).await else { return Ok(()) };
        tracing::debug!(hub = self.hub.name(), %error, "refused a connection token");
        Err(match error {
            ClaimError::AlreadyClaimed => Refused::AlreadyClaimed,
            ClaimError::Unavailable { .. } => {
                Refused::Unknown(plain(StatusCode::SERVICE_UNAVAILABLE, ""))
            }
            _ => Refused::Unknown(unknown()),
        })
    }

    fn unknown(&self, error: TokenError) -> Response {
        tracing::debug!(hub = self.hub.name(), %error, "refused a connection token");
        unknown()
    }
}

/// Why a connection may not begin.
pub(crate) enum Refused {
    /// It has begun, here or on another node, and perhaps ended.
    AlreadyClaimed,
    /// Nothing is known of it, or nobody who knows can be asked; with the answer.
    Unknown(Response),
}

impl Refused {
    /// The answer, where it is `status` for a connection that has begun.
    pub(crate) fn or(self, status: StatusCode, text: &str) -> Response {
        match self {
            Self::AlreadyClaimed => plain(status, text),
            Self::Unknown(response) => response,
        }
    }
}

pub(crate) fn unknown() -> Response {
    plain(StatusCode::NOT_FOUND, texts::UNKNOWN_ID)
}
