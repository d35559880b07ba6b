use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use backplane_core::{Envelope, PublishError, RouteKind, Topic};
use bytes::Bytes;

use super::{Arguments, Target, Whom};
use crate::{
    SendError,
    members::{Member, Message},
    routing::body,
};

/// A message on its way. See [`Target::send`].
#[must_use = "nothing is published before this is awaited"]
pub struct Sending(State);

enum State {
    /// Taken when it is told.
    Known(Option<Result<(), SendError>>),
    Running(Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send>>),
}

impl Future for Sending {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(outcome) => match outcome.take() {
                Some(outcome) => Poll::Ready(outcome),
                None => panic!("polled after it was ready"),
            },
            State::Running(published) => published.as_mut().poll(context).map_err(SendError::from),
        }
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

/// What is left to publish after the connections of this node that are addressed by id were served.
type Rest = Vec<Envelope>;

impl Target {
    /// Calls `method` on these clients.
    ///
    /// Waits for room in the queue to the broker, then until the broker has taken the message, as far
    /// as the transport's receipts tell ([`Semantics::receipt`](backplane_core::Semantics::receipt)): an
    /// `Ok` says nothing of clients, which may be slow or nobody at all. Connections of this node have
    /// it in their queues by then. One that is addressed by its id costs no trip to the broker.
    ///
    /// Messages that one task sends to one target arrive in that order. The arguments are encoded
    /// before this returns its future, once for each client protocol. Cancelling the future leaves
    /// open whether the message was sent.
    ///
    /// # Errors
    ///
    /// Those of [`SendError`] except `QueueFull`.
    pub fn send(&self, method: &str, arguments: impl Arguments) -> Sending {
        Sending(match self.prepare(method, &arguments) {
            Err(error) => State::Known(Some(Err(error))),
            Ok(rest) if rest.is_empty() => State::Known(Some(Ok(()))),
            Ok(rest) => State::Running(Box::pin(self.hub.routing.publish(rest))),
        })
    }

    /// The same without waiting: an `Ok` says that the message is in the queue to the broker.
    ///
    /// # Errors
    ///
    /// Those of [`SendError`]; `Unknown` and `Refused` stay undetected.
    pub fn try_send(&self, method: &str, arguments: impl Arguments) -> Result<(), SendError> {
        let rest = self.prepare(method, &arguments)?;
        self.hub.routing.try_publish(rest).map_err(SendError::from)
    }

    fn prepare(&self, method: &str, arguments: &impl Arguments) -> Result<Rest, SendError> {
        let hub = &*self.hub;
        hub.local.counters.sends.add(1);
        let name = &*hub.name;
        let (here, topics) = match &self.whom {
            Whom::All => (Vec::new(), vec![Topic::all(name)]),
            Whom::Groups(groups) => (Vec::new(), topics(name, RouteKind::Group, groups)),
            Whom::Users(users) => (Vec::new(), topics(name, RouteKind::User, users)),
            Whom::Connections(ids) => {
                let mut here = Vec::new();
                let mut elsewhere = Vec::new();
                for id in ids {
                    match hub.connections.get(id) {
                        Some(member) => here.push(member),
                        None => elsewhere.push(Topic::connection(name, id)),
                    }
                }
                (here, elsewhere)
            }
        };
        if here.is_empty() && topics.is_empty() {
            return Ok(Rest::new());
        }
        let slots = if topics.is_empty() { slots(&here) } else { u8::MAX };
        let payloads = self.encode(method, arguments, slots)?;
        if !here.is_empty() {
            let mut message = Message::new(&[]);
            for (slot, _, payload) in &payloads {
                message.add(*slot, payload.clone(), false);
            }
            hub.local.deliver(&here, &mut message);
        }
        if topics.is_empty() {
            return Ok(Rest::new());
        }
        let several = matches!(self.whom, Whom::Groups(_)) && topics.len() > 1;
        let once = several.then(|| hub.messages.fetch_add(1, Ordering::Relaxed));
        let payloads: Vec<(&'static str, Bytes)> =
            payloads.into_iter().map(|(_, name, payload)| (name, payload)).collect();
        let body = body::encode(&payloads, once);
        let envelope = |topic| {
            Envelope::new(topic, body.clone())
                .except(self.except.iter().cloned())
                .trace(self.trace.clone())
        };
        Ok(topics.into_iter().map(envelope).collect())
    }

    /// The message for each protocol whose slot is in `slots`.
    fn encode(
        &self,
        method: &str,
        arguments: &impl Arguments,
        slots: u8,
    ) -> Result<Vec<(usize, &'static str, Bytes)>, SendError> {
        let protocols = &self.hub.local.protocols;
        let mut payloads = Vec::new();
        for (slot, protocol) in
            protocols.iter().enumerate().filter(|(slot, _)| slots >> slot & 1 == 1)
        {
            let payload = arguments
                .with(|arguments| protocol.invocation(method, arguments, self.trace.as_deref()))
                .map_err(|source| SendError::Encode { protocol: protocol.name(), source })?;
            payloads.push((slot, protocol.name(), payload));
        }
        if payloads.is_empty() { Err(SendError::NoProtocol) } else { Ok(payloads) }
    }
}

/// The protocols of these connections, one bit each.
fn slots(members: &[Arc<Member>]) -> u8 {
    members.iter().fold(0, |slots, member| slots | 1 << member.slot)
}

fn topics(hub: &str, kind: RouteKind, names: &[Box<str>]) -> Vec<Topic> {
    names.iter().map(|name| Topic::new(hub, kind, name)).collect()
}

impl From<PublishError> for SendError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::LinkDown(cause) => Self::HereOnly(cause),
            PublishError::Unknown => Self::Unknown,
            PublishError::Full(_) => Self::QueueFull,
            PublishError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            PublishError::NameTooLong => Self::NameTooLong,
            PublishError::TooManyExceptions { count } => Self::TooManyExceptions { count },
            PublishError::Closed => Self::Closed,
            PublishError::Refused { reason } => Self::Refused { reason },
            other => Self::Refused { reason: other.to_string().into() },
        }
    }
}

// The slots of all protocols fit into the bits of a byte.
const _: () = assert!(crate::protocol::MOST <= u8::BITS as usize);
