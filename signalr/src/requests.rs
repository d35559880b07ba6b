//! What the requests of each transport do. Each begins a connection, or is about one that has begun;
//! the refusals are those of the original.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use backplane_hub::{ConnectionId, Ownership, User};
use bytes::Bytes;
use http::{
    HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, EXPIRES, PRAGMA},
    request::Parts,
};

use crate::{
    Identity, Transport,
    carrier::Carrier,
    endpoint::{self, Endpoint},
    polled::{Events, Polled, PolledConnection, PolledSocket, PostError},
    refusal::{Refusal, plain},
    request::Kept,
    session::{self, Admission},
    standing::Standing,
    table::{Local, Registration},
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
        identity: Option<Identity>,
    ) -> Result<Response, Refusal> {
        let upgrade = Upgrade::of(&mut request).map_err(Refusal::Upgrade)?;
        let ticket = match token {
            Some(_) => Some(self.ticket(token, endpoint::user(&identity))?),
            None => None,
        };
        self.serves(Transport::WebSockets)?;
        let standing = standing(identity);
        let (id, registration) = match ticket {
            None => (ConnectionId::random(), None),
            Some(ticket) => {
                if let Some(local) = self.local(&ticket) {
                    return Err(begun(&local, Transport::WebSockets));
                }
                let ownership = self.claim(&ticket).await?;
                let registered = standing.clone();
                let registration =
                    self.table.register(&ticket.id, Local::WebSocket, registered, ownership);
                (ticket.id, Some(registration))
            }
        };
        let admission = self.admission(id, standing, registration, &request, Transport::WebSockets);
        Ok(upgrade.accept(move |socket| session::run(Carrier::WebSocket(socket), admission)))
    }

    /// Begins a connection of server-sent events.
    pub(crate) async fn events(
        self: Arc<Self>,
        request: &Parts,
        token: Option<&str>,
        identity: Option<Identity>,
    ) -> Result<Response, Refusal> {
        let transport = Transport::ServerSentEvents;
        let ticket = self.ticket(token, endpoint::user(&identity))?;
        self.serves(transport)?;
        if let Some(local) = self.local(&ticket) {
            return Err(begun(&local, transport));
        }
        let ownership = self.claim(&ticket).await?;
        let connection = self.begin(ticket.id, ownership, standing(identity), request, transport);
        Ok((EVENTS, Body::from_stream(Events::new(connection))).into_response())
    }

    /// Begins a connection of long polling, or waits for something to tell the client.
    pub(crate) async fn poll(
        self: Arc<Self>,
        request: &Parts,
        token: Option<&str>,
        identity: Option<Identity>,
    ) -> Result<Response, Refusal> {
        let transport = Transport::LongPolling;
        let ticket = self.ticket(token, endpoint::user(&identity))?;
        self.serves(transport)?;
        match self.local(&ticket) {
            Some(Local::Polled(connection)) if connection.transport() == transport => {
                self.renew_if_fresher(&ticket.id, identity);
                Ok(answer(connection.poll(self.options.poll_timeout).await))
            }
            Some(local) => Err(begun(&local, transport)),
            None => {
                // One that has begun, but not here, has ended or is on another node.
                let ownership = self.claim(&ticket).await.map_err(|refusal| match refusal {
                    Refusal::Begun => Refusal::Unknown,
                    other => other,
                })?;
                self.begin(ticket.id, ownership, standing(identity), request, transport);
                Ok((UNCACHED, OCTETS, ()).into_response())
            }
        }
    }

    /// Takes what a client sends.
    pub(crate) async fn post(
        &self,
        token: Option<&str>,
        user: Option<&User>,
        body: Body,
    ) -> Result<Response, Refusal> {
        let ticket = self.ticket(token, user)?;
        let connection = match self.local(&ticket).ok_or(Refusal::Unknown)? {
            Local::Polled(connection) => connection,
            Local::WebSocket => return Err(Refusal::NoPost),
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

    fn begin(
        self: &Arc<Self>,
        id: ConnectionId,
        ownership: Ownership,
        standing: Option<Arc<Standing>>,
        request: &Parts,
        transport: Transport,
    ) -> Arc<PolledConnection> {
        let connection = Arc::new(PolledConnection::new(transport));
        let local = Local::Polled(Arc::clone(&connection));
        let registration = self.table.register(&id, local, standing.clone(), ownership);
        let socket = PolledSocket::new(Arc::clone(&connection), self.options.disconnect_timeout);
        let admission = self.admission(id, standing, Some(registration), request, transport);
        tokio::spawn(session::run(Carrier::Polled(socket), admission));
        connection
    }

    fn admission(
        self: &Arc<Self>,
        id: ConnectionId,
        standing: Option<Arc<Standing>>,
        registration: Option<Registration>,
        request: &Parts,
        transport: Transport,
    ) -> Admission {
        let wanted = self.hub.wants_request();
        let request = wanted.then(|| Arc::new(Kept::of(request, transport)));
        Admission { endpoint: Arc::clone(self), id, standing, registration, request }
    }
}

fn standing(identity: Option<Identity>) -> Option<Arc<Standing>> {
    identity.map(|identity| Arc::new(Standing::new(identity)))
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
