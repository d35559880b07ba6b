//! Taking a session over from the node that has it, whose client has come here.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use backplane_hub::{ConnectionId, HandoverError, NodeId, Opening, Ownership};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::request::Parts;

use super::letter::{Errand, Verdict};
use crate::{
    Transport,
    codec::Codec,
    endpoint::Endpoint,
    message::{Invocation, Message},
    refusal::Refusal,
    request::Kept,
    session::{self, Inbox, Open},
    standing::Standing,
    stateful::{Luggage, Seat, Stateful},
    table::Local,
    token::Ticket,
};

/// How a WebSocket of a negotiated connection begins.
pub(crate) enum Begun {
    /// As the first one.
    Here(Ownership),
    /// With a session that is here now, and waits for it.
    Taken(Arc<Seat>),
}

impl Endpoint {
    /// Lets a connection begin here, or takes over one that has begun elsewhere.
    pub(crate) async fn begin_or_take(
        self: &Arc<Self>,
        ticket: &Ticket,
        standing: &Option<Arc<Standing>>,
        request: &Parts,
    ) -> Result<Begun, Refusal> {
        if !(ticket.stateful && self.reconnects()) {
            return self.take(ticket, Transport::WebSockets).await.map(Begun::Here);
        }
        if self.is_first(ticket) {
            if let Some(ownership) = self.claim(ticket).await? {
                return Ok(Begun::Here(ownership));
            }
            return self.take_over(ticket, standing, request).await.map(Begun::Taken);
        }
        match self.take_over(ticket, standing, request).await {
            Err(Refusal::Unknown) => {
                self.take(ticket, Transport::WebSockets).await.map(Begun::Here)
            }
            taken => taken.map(Begun::Taken),
        }
    }

    /// Whether this is the first socket of the connection, most likely. Where it is not, its registrar may
    /// be gone by now, and would be waited for in vain.
    fn is_first(&self, ticket: &Ticket) -> bool {
        const AT_ONCE: Duration = Duration::from_secs(5);

        let registrar = ticket.registrar;
        ticket.age(SystemTime::now(), self.options.token_expiry) < AT_ONCE
            && (registrar == self.hub.node()
                || self.hub.backplane().members().borrow().contains(registrar))
    }

    /// Takes a session over. Once begun it goes on to its end, even if the client has gone by then.
    async fn take_over(
        self: &Arc<Self>,
        ticket: &Ticket,
        standing: &Option<Arc<Standing>>,
        request: &Parts,
    ) -> Result<Arc<Seat>, Refusal> {
        let wanted = self.hub.wants_request();
        let kept = wanted.then(|| Arc::new(Kept::of(request, Transport::WebSockets)));
        let begin = || Arc::clone(self).taken(ticket.clone(), standing.clone(), kept);
        self.takings.join(&ticket.id, begin).await.unwrap_or_else(|| {
            tracing::error!(hub = self.hub.name(), "a session was not taken over: that panicked");
            Err(Refusal::Unavailable)
        })
    }

    /// Several times where others take it meanwhile.
    async fn taken(
        self: Arc<Self>,
        ticket: Ticket,
        standing: Option<Arc<Standing>>,
        request: Option<Arc<Kept>>,
    ) -> Result<Arc<Seat>, Refusal> {
        const TIMES: usize = 4;

        for _ in 0..TIMES {
            match self.take_once(&ticket, &standing, &request).await {
                Err(Refusal::Moved) => self.owners.forget(&ticket.id),
                taken => return taken,
            }
        }
        Err(Refusal::Unknown)
    }

    async fn take_once(
        self: &Arc<Self>,
        ticket: &Ticket,
        standing: &Option<Arc<Standing>>,
        request: &Option<Arc<Kept>>,
    ) -> Result<Arc<Seat>, Refusal> {
        let options = &self.options;
        let (codec, groups) = match self.ask_by(ticket, self.hub.node(), Errand::Preview).await? {
            (Verdict::Preview { codec, groups }, relayed) => {
                drop(relayed.into_body());
                (codec, groups)
            }
            _ => return Err(self.unfit()),
        };
        let opening = Opening {
            id: ticket.id.clone(),
            user: standing.as_ref().map(|standing| standing.user()),
            protocol: codec.protocol(),
            request: request.clone().map(|request| request as _),
            movable: true,
        };
        let adopted = self.hub.adopt(opening, &groups).await;
        let adopted = adopted.map_err(|error| self.not_taken(&error))?;

        let (luggage, relayed) = match self.ask(ticket, Errand::Take).await? {
            (Verdict::Batch { loan, size, piece }, relayed) => {
                (self.whole(ticket, loan, size, piece).await?, relayed)
            }
            _ => return Err(self.unfit()),
        };
        let luggage = Luggage::decode(luggage, options.stateful_buffer);
        let luggage = luggage.map_err(|error| self.not_taken(&error))?;
        let waiting = luggage.waiting.map(|call| read(codec, call)).transpose();
        let waiting = waiting.map_err(|error| self.not_taken(&error))?;
        let seat: Arc<Seat> = Arc::default();
        let local = Local::WebSocket(Some(Arc::clone(&seat)));
        // Whoever looks for it by its id is answered here from then on, and what the other node sends on
        // may come before its word that it has let go.
        let registration = self.table.register(&ticket.id, local, standing.clone(), None);
        let taken = adopted.take_over(luggage.hub).await;
        let (connection, outbound) = taken.map_err(|error| self.not_taken(&error))?;
        let stateful = Stateful::new(luggage.buffer, Arc::clone(&seat), &connection);
        // From here on it is here. If the other node does not hear of it, it is nowhere: two must not
        // have it.
        relayed.written().await.map_err(|error| self.not_taken(&error))?;

        self.owners.forget(&ticket.id);
        let ownership = self.hub.take_ownership(&ticket.id, ticket.registrar);
        let registration = registration.owned(ownership);
        if let Some(standing) = standing {
            standing.opened(&self.hub, &ticket.id);
        }
        let opened = (connection, outbound);
        let open = Open::taken_over(opened, codec, standing.clone(), stateful, options);
        let open = match waiting {
            Some(call) => open.waiting_for(call),
            None => open,
        };
        tokio::spawn(session::resume(open, registration, Arc::clone(self)));
        Ok(seat)
    }

    /// What the other node still has, or, after that said that it has left, nobody.
    fn not_taken(&self, error: &(dyn std::error::Error + 'static)) -> Refusal {
        tracing::warn!(hub = self.hub.name(), error, "a session was not taken over");
        Refusal::Unavailable
    }

    /// Sends on what has arrived late for a session that another node has now.
    pub(crate) async fn send_on(&self, id: &ConnectionId, to: NodeId, arrived: Bytes) {
        self.tell(id, to, Errand::Late(arrived)).await;
    }

    /// Ends a session that another node has now.
    pub(crate) async fn abort_on(&self, id: &ConnectionId, to: NodeId) {
        self.tell(id, to, Errand::Abort).await;
    }

    async fn tell(&self, id: &ConnectionId, to: NodeId, errand: Errand) {
        match self.hub.relay(id, to, errand.encode()).await {
            Ok(relayed) => drop(relayed.into_body()),
            Err(error) => {
                tracing::warn!(hub = self.hub.name(), %error, "what arrived late was not sent on");
            }
        }
    }
}

/// The sessions that are being taken over. Several sockets of one client take it together.
#[derive(Debug, Default)]
pub(crate) struct Takings(Mutex<HashMap<ConnectionId, Taking>>);

/// `None` if it panicked.
type Taking = Shared<BoxFuture<'static, Option<Result<Arc<Seat>, Refusal>>>>;

impl Takings {
    /// Waits for a session that is being taken over, or begins to. That goes on to its end, whoever waits.
    async fn join<F>(
        self: &Arc<Self>,
        id: &ConnectionId,
        begin: impl FnOnce() -> F,
    ) -> Option<Result<Arc<Seat>, Refusal>>
    where
        F: Future<Output = Result<Arc<Seat>, Refusal>> + Send + 'static,
    {
        let taking = {
            let mut takings = self.lock();
            let taking = takings.entry(id.clone()).or_insert_with(|| {
                let place = Place { takings: Arc::clone(self), id: id.clone() };
                let begun = begin();
                let taking = tokio::spawn(async move {
                    let _place = place;
                    begun.await
                });
                taking.map(Result::ok).boxed().shared()
            });
            taking.clone()
        };
        taking.await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Taking>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place among them, until it is taken or not.
struct Place {
    takings: Arc<Takings>,
    id: ConnectionId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let taking = self.takings.lock().remove(&self.id);
        drop(taking);
    }
}

/// A call with its framing.
fn read(codec: Codec, framed: Bytes) -> Result<Invocation, HandoverError> {
    let mut inbox = Inbox::new(usize::MAX);
    inbox.speak(codec);
    inbox.push(framed);
    let record = inbox.next().ok().flatten();
    match record.map(|record| codec.parse(&record)) {
        Some(Ok(Some(Message::Invocation(call)))) => Ok(call),
        _ => Err(HandoverError::Unreadable),
    }
}
