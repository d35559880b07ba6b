//! Taking a session over from the node that has it, whose client has come here.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use backplane_hub::{Opening, Ownership};
use bytes::Bytes;
use http::request::Parts;

use super::letter::{Errand, Verdict};
use crate::{
    Transport,
    codec::Codec,
    endpoint::Endpoint,
    message::Message,
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
        let taking = Arc::clone(self).taken(ticket.clone(), standing.clone(), kept);
        match tokio::spawn(taking).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(hub = self.hub.name(), %error, "a session was not taken over");
                Err(Refusal::Unavailable)
            }
        }
    }

    async fn taken(
        self: Arc<Self>,
        ticket: Ticket,
        standing: Option<Arc<Standing>>,
        request: Option<Arc<Kept>>,
    ) -> Result<Arc<Seat>, Refusal> {
        let options = &self.options;
        let (codec, groups) = match self.ask_by(&ticket, self.hub.node(), Errand::Preview).await? {
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
            request: request.map(|request| request as _),
            movable: true,
        };
        let adopted = self.hub.adopt(opening, &groups).await;
        let adopted = adopted.map_err(|error| self.not_taken(&error))?;

        let (luggage, relayed) = match self.ask(&ticket, Errand::Take).await? {
            (Verdict::Batch { loan, size, piece }, relayed) => {
                (self.whole(&ticket, loan, size, piece).await?, relayed)
            }
            _ => return Err(self.unfit()),
        };
        let luggage = Luggage::decode(luggage, options.stateful_buffer);
        let luggage = luggage.map_err(|error| self.not_taken(&error))?;
        let waiting = luggage.waiting.map(|call| read(codec, call));
        let taken = adopted.take_over(luggage.hub).await;
        let (connection, outbound) = taken.map_err(|error| self.not_taken(&error))?;
        // From here on it is here. If the other node does not hear of it, it is nowhere: two must not
        // have it.
        relayed.written().await.map_err(|error| self.not_taken(&error))?;

        self.owners.forget(&ticket.id);
        let ownership = self.hub.take_ownership(&ticket.id, ticket.registrar);
        let seat: Arc<Seat> = Arc::default();
        let local = Local::WebSocket(Some(Arc::clone(&seat)));
        let registration = self.table.register(&ticket.id, local, standing.clone(), ownership);
        if let Some(standing) = &standing {
            standing.opened(&self.hub, &ticket.id);
        }
        let stateful = Stateful::new(luggage.buffer, Arc::clone(&seat), &connection);
        let opened = (connection, outbound);
        let open = Open::taken_over(opened, codec, standing, stateful, options);
        let open = match waiting.flatten() {
            Some(Message::Invocation(call)) => open.waiting_for(call),
            _ => open,
        };
        tokio::spawn(session::resume(open, registration, Arc::clone(&self)));
        Ok(seat)
    }

    /// What the other node still has, or, after that said that it has left, nobody.
    fn not_taken(&self, error: &(dyn std::error::Error + 'static)) -> Refusal {
        tracing::warn!(hub = self.hub.name(), error, "a session was not taken over");
        Refusal::Unavailable
    }

    /// Sends on what has arrived late for a session that another node has now.
    pub(crate) async fn send_on(
        &self,
        id: &backplane_hub::ConnectionId,
        to: backplane_hub::NodeId,
        arrived: Bytes,
    ) {
        match self.hub.relay(id, to, Errand::Late(arrived).encode()).await {
            Ok(relayed) => drop(relayed.into_body()),
            Err(error) => {
                tracing::warn!(hub = self.hub.name(), %error, "what arrived late was not sent on");
            }
        }
    }
}

/// A message with its framing.
fn read(codec: Codec, framed: Bytes) -> Option<Message> {
    let mut inbox = Inbox::new(usize::MAX);
    inbox.speak(codec);
    inbox.push(framed);
    let record = inbox.next().ok()??;
    codec.parse(&record).ok()?
}
