//! What the requests of each transport do. Each begins a connection, or is about one that has begun;
//! the refusals are those of the original.

use std::{future::Future, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use backplane_hub::{ConnectionId, Ownership, User};
use futures_util::future::Either;
use http::{
    HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, EXPIRES, PRAGMA},
    request::Parts,
};

use crate::{
    Identity, Transport,
    carrier::Carrier,
    endpoint::{self, Endpoint},
    polled::{Events, Polled, PolledConnection, PolledSocket, PostError, whole},
    raw,
    refusal::{Refusal, plain},
    relayed::Begun,
    request::Kept,
    session::{self, Admission},
    standing::Standing,
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
    /// Opens a WebSocket: of a negotiated connection, which may have begun with another one, or of a new
    /// one.
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
        if self.table.is_draining() {
            return Err(Refusal::Unavailable);
        }
        if let Some(ticket) = &ticket
            && let Some(local) = self.local(ticket)
            && let Some(seat) = local.seat().cloned()
        {
            self.table.renew_if_fresher(&self.hub, &ticket.id, identity);
            return Ok(upgrade.accept(async move |socket| seat.take(socket)));
        }
        let standing = standing(identity);
        let (id, registration, seat) = match ticket {
            None => (ConnectionId::random(), None, None),
            Some(ticket) => {
                let ownership = match self.begin_or_take(&ticket, &standing, &request).await? {
                    Begun::Here(ownership) => ownership,
                    Begun::Taken(seat) => {
                        return Ok(upgrade.accept(async move |socket| seat.take(socket)));
                    }
                };
                let seat = (ticket.stateful && self.reconnects()).then(Arc::default);
                let local = Local::WebSocket(seat.clone());
                let registration =
                    self.table.register(&ticket.id, local, standing.clone(), Some(ownership));
                (ticket.id, Some(registration), seat)
            }
        };
        let admission = self.admission(id, standing, registration, &request, Transport::WebSockets);
        let admission = Admission { seat, ..admission };
        Ok(upgrade.accept(move |socket| serve(Carrier::WebSocket(socket), admission)))
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
        let ownership = self.take(&ticket, transport).await?;
        let connection = self.begin(ticket.id, ownership, standing(identity), request, transport);
        Ok((EVENTS, Body::from_stream(Events::new(connection))).into_response())
    }

    /// Begins a connection of long polling, or waits for something to tell the client. Before it waits it
    /// lets the request go, which is as large as the client likes.
    pub(crate) async fn poll(
        self: Arc<Self>,
        request: Parts,
        token: Option<&str>,
        identity: Option<Identity>,
    ) -> Result<Response, Refusal> {
        let transport = Transport::LongPolling;
        let ticket = self.ticket(token, endpoint::user(&identity))?;
        self.serves(transport)?;
        match self.local(&ticket) {
            Some(Local::Polled(connection)) if connection.transport() == transport => {
                self.table.renew_if_fresher(&self.hub, &ticket.id, identity);
                drop(request);
                Ok(answer(connection.poll(self.options.poll_timeout).await))
            }
            Some(local) => Err(local.begun(transport)),
            None => {
                let Some(ownership) = Box::pin(self.claim_polls(&ticket)).await? else {
                    drop(request);
                    return Box::pin(self.poll_elsewhere(&ticket, identity)).await;
                };
                self.begin(ticket.id, ownership, standing(identity), &request, transport);
                Ok((UNCACHED, OCTETS, ()).into_response())
            }
        }
    }

    /// Takes what a client sends. Some send their handshake before they poll for the first time.
    pub(crate) async fn post(
        self: Arc<Self>,
        request: &Parts,
        token: Option<&str>,
        identity: Option<Identity>,
        body: Body,
    ) -> Result<Response, Refusal> {
        let ticket = self.ticket(token, endpoint::user(&identity))?;
        let connection = match self.local(&ticket) {
            Some(Local::Polled(connection)) => connection,
            Some(Local::WebSocket(_)) => return Err(Refusal::NoPost),
            None => {
                let claimed = match self.serves(Transport::LongPolling) {
                    Ok(()) => self.claim_polls(&ticket).await?,
                    // It cannot begin so, but may have begun elsewhere.
                    Err(_) => None,
                };
                let Some(ownership) = claimed else {
                    self.post_elsewhere(&ticket, body).await?;
                    return Ok(plain(StatusCode::OK, ""));
                };
                self.begin(
                    ticket.id,
                    ownership,
                    standing(identity),
                    request,
                    Transport::LongPolling,
                )
            }
        };
        connection.post(body).await.map_err(|error| self.broken(&error))?;
        Ok(plain(StatusCode::OK, ""))
    }

    /// Ends a connection of long polling.
    pub(crate) async fn delete(
        &self,
        token: Option<&str>,
        user: Option<&User>,
    ) -> Result<Response, Refusal> {
        let ticket = self.ticket(token, user)?;
        if self.local(&ticket).is_none() {
            self.delete_elsewhere(&ticket).await?;
        } else {
            self.table.delete(&ticket.id)?;
        }
        Ok(plain(StatusCode::ACCEPTED, ""))
    }

    /// The refusal of a POST whose bytes did not come through.
    pub(crate) fn broken(&self, error: &PostError) -> Refusal {
        match error {
            PostError::Over => Refusal::Unknown,
            PostError::Body(error) => {
                tracing::debug!(hub = self.hub.name(), %error, "the body of a request broke off");
                Refusal::Body
            }
        }
    }

    /// Lets a connection begin here, or refuses as the node does that has it.
    pub(crate) async fn take(
        &self,
        ticket: &Ticket,
        transport: Transport,
    ) -> Result<Ownership, Refusal> {
        if let Some(local) = self.local(ticket) {
            return Err(local.begun(transport));
        }
        match self.claim(ticket).await? {
            Some(ownership) => Ok(ownership),
            None => Err(self.begun_elsewhere(ticket, transport).await),
        }
    }

    /// Lets a connection of long polling begin here; `None` where it has begun elsewhere.
    async fn claim_polls(&self, ticket: &Ticket) -> Result<Option<Ownership>, Refusal> {
        self.claim(ticket).await.map_err(|refusal| match refusal {
            // Here, and it is no more.
            Refusal::Begun => Refusal::Unknown,
            other => other,
        })
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
        let registration = self.table.register(&id, local, standing.clone(), Some(ownership));
        let socket = PolledSocket::new(Arc::clone(&connection), self.options.disconnect_timeout);
        let admission = self.admission(id, standing, Some(registration), request, transport);
        tokio::spawn(serve(Carrier::Polled(socket), admission));
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
        let wanted = self.serve.is_some() || self.hub.wants_request();
        let request = wanted.then(|| Arc::new(Kept::of(request, transport)));
        Admission { endpoint: Arc::clone(self), id, standing, registration, request, seat: None }
    }
}

/// Serves a client until it is gone: by the hub, or by what stands in for it.
fn serve(carrier: Carrier, admission: Admission) -> impl Future<Output = ()> + Send + 'static {
    match admission.endpoint.serve.clone() {
        None => Either::Left(session::run(carrier, admission)),
        Some(serve) => Either::Right(Box::pin(raw::run(carrier, admission, serve))),
    }
}

fn standing(identity: Option<Identity>) -> Option<Arc<Standing>> {
    identity.map(|identity| Arc::new(Standing::new(identity)))
}

/// The answer to a poll.
pub(crate) fn answer(polled: Polled) -> Response {
    match polled {
        Polled::Messages(batch) => messages(whole(batch)),
        Polled::Nothing => (UNCACHED, plain(StatusCode::OK, "")).into_response(),
        Polled::Superseded | Polled::Over => {
            (UNCACHED, plain(StatusCode::NO_CONTENT, "")).into_response()
        }
    }
}

/// The answer to a poll that has something to tell, in a body whose length is known.
pub(crate) fn messages(body: impl IntoResponse) -> Response {
    (UNCACHED, OCTETS, body).into_response()
}
