use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use backplane_core::{PublishError, Receipt, RouteKind};
use bytes::Bytes;

use super::{Arguments, Target, Whom};
use crate::{
    SendError,
    hub::Shared,
    members::{Member, Message},
    protocol::MOST,
    routing::{Head, Parcel},
};

/// A message on its way. See [`Target::send`].
#[must_use = "nothing is sent before this is awaited"]
pub struct Sending(Pin<Box<dyn Future<Output = Result<Sent, SendError>> + Send>>);

/// How far a message has got. Connections of this node have it in their queues in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sent {
    /// The broker has it, as far as the transport's receipts tell; or nobody but connections of this node
    /// was addressed.
    Everywhere,
    /// The link to the broker is down. For the connections of other nodes the message waits in this
    /// process, and is sent when the link is back, if that is before the bounds of the buffer
    /// ([`Outage`](backplane_core::Outage)) are reached.
    Queued,
}

impl From<Receipt> for Sent {
    fn from(receipt: Receipt) -> Self {
        if receipt == Receipt::Queued { Self::Queued } else { Self::Everywhere }
    }
}

impl Future for Sending {
    type Output = Result<Sent, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

impl Target {
    /// Calls `method` on these clients.
    ///
    /// Waits for room in the queue to the broker, then until the broker has taken the message, as far
    /// as the transport's receipts tell ([`Semantics::receipt`](backplane_core::Semantics::receipt)): an
    /// `Ok` says nothing of clients, which may be slow or nobody at all. Connections of this node have
    /// it in their queues by then. While the link is down it does not wait, if the backplane buffers:
    /// the outcome is [`Sent::Queued`]. With several groups, users or connections, it is that if any of
    /// them is only queued. One that is addressed by its id costs no trip to the broker.
    ///
    /// Messages that one task sends to one target arrive in that order. The arguments are encoded
    /// before this returns its future, once for each client protocol. Cancelling the future leaves
    /// open whether the message was sent.
    ///
    /// # Errors
    ///
    /// Those of [`SendError`] except `QueueFull`.
    pub fn send(&self, method: &str, arguments: impl Arguments) -> Sending {
        match self.prepare(method, arguments) {
            Err(error) => Sending(Box::pin(std::future::ready(Err(error)))),
            Ok(prepared) => {
                let hub = Arc::clone(&self.hub);
                Sending(Box::pin(async move {
                    prepared.deliver_here(&hub);
                    match prepared.parcel {
                        Some(parcel) => Ok(hub.routing.publish(parcel).await?.into()),
                        None => Ok(Sent::Everywhere),
                    }
                }))
            }
        }
    }

    /// The same without waiting: an `Ok` says that the message is in the queue to the broker, or
    /// buffered until the link is back.
    ///
    /// # Errors
    ///
    /// Those of [`SendError`]; `Unknown` and `Refused` stay undetected.
    pub fn try_send(&self, method: &str, arguments: impl Arguments) -> Result<(), SendError> {
        let prepared = self.prepare(method, arguments)?;
        prepared.deliver_here(&self.hub);
        match prepared.parcel {
            Some(parcel) => self.hub.routing.try_publish(&parcel),
            None => Ok(()),
        }
    }

    fn prepare(&self, method: &str, arguments: impl Arguments) -> Result<Prepared, SendError> {
        self.hub.local.counters.sends.add(1);
        let (here, kind, elsewhere) = self.split();
        if here.is_empty() && elsewhere.is_empty() {
            return Ok(Prepared::default());
        }
        // Connections of this node need no protocol but theirs.
        let slots = if elsewhere.is_empty() { slots(&here) } else { [true; MOST] };
        let encoded = arguments.with(|arguments| self.encode(None, method, arguments, slots))?;
        let several = kind == RouteKind::Group && elsewhere.len() > 1;
        let parcel = (!elsewhere.is_empty()).then(|| Parcel {
            kind,
            names: elsewhere,
            payloads: encoded.iter().map(|it| (it.protocol, it.payload.clone())).collect(),
            head: Head { number: self.hub.messages.fetch_add(1, Ordering::Relaxed), several },
            except: self.except.clone(),
            trace: self.trace.clone(),
        });
        Ok(Prepared { here, encoded, parcel })
    }

    /// The addressed connections of this node, and the names to publish under.
    fn split(&self) -> (Vec<Arc<Member>>, RouteKind, Vec<Box<str>>) {
        match &self.whom {
            Whom::All => (Vec::new(), RouteKind::All, vec![Box::default()]),
            Whom::Groups(groups) => (Vec::new(), RouteKind::Group, groups.clone()),
            Whom::Users(users) => (Vec::new(), RouteKind::User, users.clone()),
            Whom::Connections(ids) => {
                let mut here = Vec::new();
                let mut elsewhere = Vec::new();
                for id in ids {
                    match self.hub.connections.get(id) {
                        Some(member) => here.push(member),
                        None => elsewhere.push(id.clone()),
                    }
                }
                (here, RouteKind::Connection, elsewhere)
            }
        }
    }

    pub(super) fn encode(
        &self,
        id: Option<&str>,
        method: &str,
        arguments: &[&dyn erased_serde::Serialize],
        slots: [bool; MOST],
    ) -> Result<Vec<Encoded>, SendError> {
        let mut encoded = Vec::new();
        for (slot, protocol) in self.hub.local.protocols.iter().enumerate() {
            if !slots[slot] {
                continue;
            }
            let payload = protocol
                .invocation(id, method, arguments, self.trace.as_deref())
                .map_err(|source| SendError::Encode { protocol: protocol.name(), source })?;
            encoded.push(Encoded { slot, protocol: protocol.name(), payload });
        }
        if encoded.is_empty() { Err(SendError::NoProtocol) } else { Ok(encoded) }
    }
}

/// A message that is encoded and addressed.
#[derive(Debug, Default)]
struct Prepared {
    here: Vec<Arc<Member>>,
    encoded: Vec<Encoded>,
    parcel: Option<Parcel>,
}

/// What clients of one protocol get.
#[derive(Debug)]
pub(super) struct Encoded {
    slot: usize,
    pub(super) protocol: &'static str,
    pub(super) payload: Bytes,
}

impl Prepared {
    fn deliver_here(&self, hub: &Shared) {
        if self.here.is_empty() {
            return;
        }
        let mut message = Message::new(&[]);
        for Encoded { slot, payload, .. } in &self.encoded {
            message.add(*slot, payload.clone(), false);
        }
        hub.local.deliver(&self.here, &mut message);
    }
}

/// Which protocols these connections speak.
pub(super) fn slots<'a>(members: impl IntoIterator<Item = &'a Arc<Member>>) -> [bool; MOST] {
    let mut slots = [false; MOST];
    members.into_iter().for_each(|member| slots[member.slot] = true);
    slots
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
