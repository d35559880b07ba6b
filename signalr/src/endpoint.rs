//! A hub as requests reach it: who is let in, and which connection a request is about.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use backplane_hub::{ClaimError, Hub, Ownership, User};
use http::request::Parts;

use crate::{
    Identity, NegotiateVersion, Options, Rejection, Transport, negotiate,
    query::Query,
    raw::Serve,
    refusal::Refusal,
    relayed::{Owner, Owners, Takings},
    table::{Local, Table},
    token::{self, Ticket, TokenError},
};

/// What all requests to one hub share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) hub: Hub,
    pub(crate) options: Options,
    pub(crate) table: Arc<Table>,
    pub(crate) owners: Owners,
    pub(crate) takings: Arc<Takings>,
    /// Serves the connections instead of the hub.
    pub(crate) serve: Option<Serve>,
}

/// How far the clocks of nodes may differ.
const CLOCKS: Duration = Duration::from_secs(30);

impl Endpoint {
    pub(crate) fn new(hub: Hub, options: Options) -> Self {
        let table = Arc::default();
        hub.on_relay(Arc::new(Owner::new(&hub, &table, options.poll_timeout)));
        Self {
            hub,
            options,
            table,
            owners: Owners::default(),
            takings: Arc::default(),
            serve: None,
        }
    }

    /// Who a request comes from, if the hub lets it pass.
    pub(crate) async fn admit(&self, request: &Parts) -> Result<Option<Identity>, Rejection> {
        let identity = self.options.identity(request).await;
        let admitted = identity.and_then(|identity| match self.hub.authorize(user(&identity)) {
            Ok(()) => Ok(identity),
            Err(denied) if denied.anonymous => Err(Rejection::unauthenticated()),
            Err(_) => Err(Rejection::forbidden()),
        });
        admitted.inspect_err(|rejection| {
            tracing::debug!(hub = self.hub.name(), ?rejection, "refused a request");
        })
    }

    pub(crate) fn negotiate(&self, query: &Query, identity: Option<&Identity>) -> Vec<u8> {
        let version = match NegotiateVersion::of(query, self.options.minimum_negotiate_version) {
            Ok(version) => version,
            Err(text) => return negotiate::refused(&text),
        };
        let keep = self.options.token_expiry;
        let now = SystemTime::now();
        let stateful = self.reconnects() && negotiate::asks_for_stateful_reconnect(query);
        let (id, token) = token::issue(
            &self.options.token_keys,
            self.hub.name(),
            identity.map(|it| &it.user),
            token::Terms { version, stateful },
            self.hub.node(),
            now + keep,
        );
        // Nodes whose clocks are behind still take the token for a while.
        self.hub.announce(&id, keep + CLOCKS);
        let refreshes = self.options.authentication_refresh && version == NegotiateVersion::One;
        let lifetime = identity.filter(|_| refreshes).and_then(|it| it.lifetime_seconds(now));
        negotiate::granted(version, &id, &token, &self.options.transports, stateful, lifetime)
    }

    /// Whether clients may come back with what they have missed.
    pub(crate) fn reconnects(&self) -> bool {
        let carried = self.options.transports.contains(&Transport::WebSockets);
        // Connections of plain bytes have no messages that could be numbered.
        self.options.stateful_reconnect && carried && self.serve.is_none()
    }

    /// Refuses what belongs to a transport that is not served.
    pub(crate) fn serves(&self, transport: Transport) -> Result<(), Refusal> {
        let served = self.options.transports.contains(&transport);
        if served { Ok(()) } else { Err(Refusal::NotServed(transport)) }
    }

    /// What the token of a request stands for.
    pub(crate) fn ticket(
        &self,
        token: Option<&str>,
        user: Option<&User>,
    ) -> Result<Ticket, Refusal> {
        let token = token.ok_or(Refusal::IdRequired)?;
        let keys = &self.options.token_keys;
        token::verify(keys, self.hub.name(), user, token).map_err(|error| self.unknown(error))
    }

    /// The connection of a ticket, if it is one of this node and of this router.
    pub(crate) fn local(&self, ticket: &Ticket) -> Option<Local> {
        self.table.find(&ticket.id)
    }

    /// Lets a connection begin here, which is granted once. `None` where another node may have it.
    pub(crate) async fn claim(&self, ticket: &Ticket) -> Result<Option<Ownership>, Refusal> {
        if self.owners.find(&ticket.id).is_some() {
            return Ok(None);
        }
        if self.table.is_draining() {
            return Err(Refusal::Unavailable);
        }
        if let Err(error) = ticket.check(SystemTime::now()) {
            // That does not matter to one that has begun.
            tracing::debug!(hub = self.hub.name(), %error, "a connection does not begin");
            return Ok(None);
        }
        let error = match self.hub.claim(&ticket.id, ticket.registrar).await {
            Ok(ownership) => return Ok(Some(ownership)),
            Err(error) => error,
        };
        tracing::debug!(hub = self.hub.name(), %error, "a connection does not begin");
        match error {
            ClaimError::AlreadyClaimed { owner: Some(owner) } if owner == self.hub.node() => {
                Err(Refusal::Begun)
            }
            ClaimError::AlreadyClaimed { owner } => {
                if let Some(owner) = owner {
                    self.owners.note(&ticket.id, owner);
                }
                Ok(None)
            }
            ClaimError::Unavailable { .. } => Err(Refusal::Unavailable),
            ClaimError::Ended => Err(Refusal::Unknown),
            // The registrar is gone, or has forgotten.
            _ => Ok(None),
        }
    }

    fn unknown(&self, error: TokenError) -> Refusal {
        tracing::debug!(hub = self.hub.name(), %error, "refused a connection token");
        Refusal::Unknown
    }
}

/// The user of a request.
pub(crate) fn user(identity: &Option<Identity>) -> Option<&User> {
    identity.as_ref().map(|it| &it.user)
}
