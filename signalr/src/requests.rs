//! What the requests of each transport do. Each begins a connection, or is about one that has begun;
//! the refusals are those of the original.

use std::{future::Future, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use backplane_hub::{ConnectionId, Ownership, User};
use bytes::Bytes;
use futures_util::future::Either;
use http::{
    HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, EXPIRES, ORIGIN, PRAGMA},
    request::Parts,
};

use crate::{
    Transport,
    carrier::Carrier,
    endpoint::Endpoint,
    polled::{Events, Polled, PolledConnection, PolledSocket, PostError},
    raw,
    refusal::{Refusal, plain},
    request::Kept,
    session::{self, Admission},
    table::{Local, Registration},
    token::Ticket,
    websocket::Upgrade,
};

/// What goes with the answers to polls, which no cache may keep.
const UNCACHED: [(HeaderName, &str); 3] = [
    (CACHE_CONTROL, "no-cache, no-store"),
    (PRAGMA, "no-cache"),
    (EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"),
];

const EVENTS: [(HeaderName, &str); 4] = [
    (CONTENT_TYPE, "text/event-stream"),
    (CACHE_CONTROL, "no-cache,no-store"),
    (PRAGMA, "no-cache"),
    (CONTENT_ENCODING, "identity"),
];

const OCTETS: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/octet-stream")];

impl Endpoint {
    /// Opens a WebSocket: of a negotiated connection, or of a new one.
    pub(crate) async fn websocket(
        self: Arc<Self>,
        mut request: Parts,
        token: Option<&str>,
        user: Option<User>,
    ) -> Result<Response, Refusal> {
        let upgrade = Upgrade::of(&mut request).map_err(Refusal::Upgrade)?;
        let origin = request.headers.get(ORIGIN);
        if !self.options.allows(origin) {
            tracing::warn!(
                hub = self.hub.name(),
                ?origin,
                "refused a WebSocket of an origin that is not allowed"
            );
            return Err(Refusal::Origin);
        }
        let ticket = match token {
            Some(_) => Some(self.ticket(token, user.as_ref())?),
            None => None,
        };
        self.serves(Transport::WebSockets)?;
        let (id, registration) = match ticket {
            None => (ConnectionId::random(), None),
            Some(ticket) => {
                if let Some(local) = self.local(&ticket) {
                    return Err(begun(&local, Transport::WebSockets));
                }
                let ownership = self.claim(&ticket).await?;
                let registration = self.table.register(&ticket.id, Local::WebSocket, ownership);
                (ticket.id, Some(registration))
            }
        };
        let admission = self.admission(id, user, registration, &request, Transport::WebSockets);
        Ok(upgrade.accept(move |socket| serve(Carrier::WebSocket(socket), admission)))
    }

    /// Begins a connection of server-sent events.
    pub(crate) async fn events(
        self: Arc<Self>,
        request: &Parts,
        token: Option<&str>,
        user: Option<User>,
    ) -> Result<Response, Refusal> {
        let transport = Transport::ServerSentEvents;
        let ticket = self.ticket(token, user.as_ref())?;
        self.serves(transport)?;
        if let Some(local) = self.local(&ticket) {
            return Err(begun(&local, transport));
        }
        let ownership = self.claim(&ticket).await?;
        let connection = self.begin(ticket.id, ownership, user, request, transport);
        Ok((EVENTS, Body::from_stream(Events::new(connection))).into_response())
    }

    /// Begins a connection of long polling, or waits for something to tell the client.
    pub(crate) async fn poll(
        self: Arc<Self>,
        request: &Parts,
        token: Option<&str>,
        user: Option<User>,
    ) -> Result<Response, Refusal> {
        let transport = Transport::LongPolling;
        let ticket = self.ticket(token, user.as_ref())?;
        self.serves(transport)?;
        match self.local(&ticket) {
            Some(Local::Polled(connection)) if connection.transport() == transport => {
                Ok(answer(connection.poll(self.options.poll_timeout).await))
            }
            Some(local) => Err(begun(&local, transport)),
            None => {
                self.begin_polls(ticket, user, request).await?;
                Ok((UNCACHED, OCTETS, ()).into_response())
            }
        }
    }

    /// Takes what a client sends. Some send their handshake before they poll for the first time.
    pub(crate) async fn post(
        self: Arc<Self>,
        request: &Parts,
        token: Option<&str>,
        user: Option<User>,
        body: Body,
    ) -> Result<Response, Refusal> {
        let ticket = self.ticket(token, user.as_ref())?;
        let connection = match self.local(&ticket) {
            Some(Local::Polled(connection)) => connection,
            Some(Local::WebSocket) => return Err(Refusal::NoPost),
            None => {
                self.serves(Transport::LongPolling).map_err(|_| Refusal::Unknown)?;
                self.begin_polls(ticket, user, request).await?
            }
        };
        match connection.post(body).await {
            Ok(()) => Ok(plain(StatusCode::OK, "")),
            Err(PostError::Over) => Err(Refusal::Unknown),
            Err(PostError::Body(error)) => {
                tracing::debug!(hub = self.hub.name(), %error, "the body of a request broke off");
                Err(Refusal::Body)
            }
        }
    }

    /// Ends a connection of long polling.
    pub(crate) fn delete(
        &self,
        token: Option<&str>,
        user: Option<&User>,
    ) -> Result<Response, Refusal> {
        let ticket = self.ticket(token, user)?;
        match self.local(&ticket).ok_or(Refusal::Unknown)? {
            Local::Polled(connection) if connection.transport() == Transport::LongPolling => {
                self.table.remove(&ticket.id);
                connection.hang_up();
                Ok(plain(StatusCode::ACCEPTED, ""))
            }
            _ => Err(Refusal::NoDelete),
        }
    }

    /// Begins a connection of long polling.
    async fn begin_polls(
        self: &Arc<Self>,
        ticket: Ticket,
        user: Option<User>,
        request: &Parts,
    ) -> Result<Arc<PolledConnection>, Refusal> {
        // One that has begun, but not here, has ended or is on another node.
        let ownership = self.claim(&ticket).await.map_err(|refusal| match refusal {
            Refusal::Begun => Refusal::Unknown,
            other => other,
        })?;
        Ok(self.begin(ticket.id, ownership, user, request, Transport::LongPolling))
    }

    fn begin(
        self: &Arc<Self>,
        id: ConnectionId,
        ownership: Ownership,
        user: Option<User>,
        request: &Parts,
        transport: Transport,
    ) -> Arc<PolledConnection> {
        let connection = Arc::new(PolledConnection::new(transport));
        let local = Local::Polled(Arc::clone(&connection));
        let registration = self.table.register(&id, local, ownership);
        let socket = PolledSocket::new(Arc::clone(&connection), self.options.disconnect_timeout);
        let admission = self.admission(id, user, Some(registration), request, transport);
        tokio::spawn(serve(Carrier::Polled(socket), admission));
        connection
    }

    fn admission(
        self: &Arc<Self>,
        id: ConnectionId,
        user: Option<User>,
        registration: Option<Registration>,
        request: &Parts,
        transport: Transport,
    ) -> Admission {
        let wanted = self.serve.is_some() || self.hub.wants_request();
        let request = wanted.then(|| Arc::new(Kept::of(request, transport)));
        Admission { endpoint: Arc::clone(self), id, user, registration, request }
    }
}

/// Serves a client until it is gone: by the hub, or by what stands in for it.
fn serve(carrier: Carrier, admission: Admission) -> impl Future<Output = ()> + Send + 'static {
    match admission.endpoint.serve.clone() {
        None => Either::Left(session::run(carrier, admission)),
        Some(serve) => Either::Right(Box::pin(raw::run(carrier, admission, serve))),
    }
}

/// The refusal of a connection that has begun.
fn begun(local: &Local, transport: Transport) -> Refusal {
    if local.transport() == transport { Refusal::Begun } else { Refusal::OtherTransport }
}

fn answer(polled: Polled) -> Response {
    match polled {
        Polled::Messages(batch) => (UNCACHED, OCTETS, whole(batch)).into_response(),
        Polled::Nothing => (UNCACHED, plain(StatusCode::OK, "")).into_response(),
        Polled::Superseded | Polled::Over => {
            (UNCACHED, plain(StatusCode::NO_CONTENT, "")).into_response()
        }
    }
}

/// The messages as one body, whose length is known.
fn whole(batch: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(batch) {
        Ok([message]) => message,
        Err(batch) => batch.concat().into(),
    }
}
