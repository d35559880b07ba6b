use std::{
    any::type_name,
    fmt,
    future::Future,
    marker::PhantomData,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use serde::de::{DeserializeOwned, value::UnitDeserializer};

use super::{Arguments, Target};
use crate::{
    Completion, InvokeError, Protocol, SendError,
    hub::Shared,
    members::{Member, Slot, Unanswered},
    method,
    protocol::MOST,
    routing::{Outcome, Question, Silence, Whom, payloads},
};

/// One connection: a [`Target`] that can also be asked for a result.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before send() or invoke() is awaited, or try_send() called"]
pub struct Client {
    target: Target,
    id: Box<str>,
    calling: Option<Calling>,
}

/// On behalf of whom clients are called.
#[derive(Debug, Clone)]
pub(crate) struct Calling {
    /// The connection, which is known here even after its end.
    pub(crate) member: Arc<Member>,
    pub(crate) within: Within,
}

/// What of a connection runs.
#[derive(Debug, Clone)]
pub(crate) enum Within {
    OnConnected,
    /// A method, in a place among those that run side by side if it takes one.
    Method(Option<Arc<Slot>>),
    OnDisconnected,
}

/// A call of a client that waits for its result. See [`Client::invoke`].
#[must_use = "nothing is sent before this is awaited"]
pub struct Invoking<T> {
    answer: Pin<Box<dyn Future<Output = Result<Answer, InvokeError>> + Send>>,
    result: PhantomData<fn() -> T>,
}

/// What a client answered, and who can read it.
#[derive(Debug)]
struct Answer {
    protocol: Arc<dyn Protocol>,
    completion: Completion,
}

impl Client {
    pub(super) fn new(target: Target, id: &str, calling: Option<Calling>) -> Self {
        Self { target, id: id.into(), calling }
    }

    /// Calls `method` on this client and waits for what it returns, whichever node has the connection.
    ///
    /// There is no deadline: a client may take as long as it likes. Dropping the future gives the call
    /// up, and what the client still answers is ignored; wrap it in a `timeout` where a client may
    /// never answer. The client is not told. Of a call that was refused or could not be encoded no
    /// client has heard.
    ///
    /// In a method, call clients by way of its [`Caller`](crate::Caller): meanwhile the caller's
    /// next call can run, and its answers are read. What waits for a client in another way keeps its
    /// place among the calls of the connection that called, which may be the one that is to answer.
    ///
    /// The arguments are encoded before this returns its future, once for each client protocol.
    ///
    /// # Errors
    ///
    /// Those of [`InvokeError`]. `NotFound` promptly where no node has the connection; `Disconnected`
    /// and `NodeGone` as soon as the connection ends or its node leaves or dies; `Unavailable` at once
    /// where the connection is not of this node and the link to the broker is down, or goes down.
    pub fn invoke<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: impl Arguments,
    ) -> Invoking<T> {
        let answer: Pin<Box<dyn Future<Output = _> + Send>> = match self.prepare(method, arguments)
        {
            Err(error) => Box::pin(std::future::ready(Err(error))),
            Ok(prepared) => {
                let hub = Arc::clone(&self.target.hub);
                let (id, slot) = (self.id.clone(), self.slot());
                Box::pin(async move {
                    let _place = slot.as_ref().map(Slot::give_away);
                    prepared.call(&hub, &id).await
                })
            }
        };
        Invoking { answer, result: PhantomData }
    }

    fn slot(&self) -> Option<Arc<Slot>> {
        match &self.calling.as_ref()?.within {
            Within::Method(slot) => slot.clone(),
            Within::OnConnected | Within::OnDisconnected => None,
        }
    }

    fn prepare(&self, method: &str, arguments: impl Arguments) -> Result<Prepared, InvokeError> {
        let hub = &self.target.hub;
        hub.local.counters.client_calls.add(1);
        if let Some(Calling { within: Within::OnConnected, .. }) = &self.calling {
            return Err(InvokeError::InsideOnConnected);
        }
        let member = self.member();
        if hub.connections.is_closed() && member.is_none() {
            return Err(InvokeError::Closed);
        }
        let slots = match &member {
            Some(member) => super::send::slots([member]),
            None => [true; MOST],
        };
        let number = hub.local.asking.number();
        // No other node makes the same, nor does a client by accident.
        let invocation: Box<str> = format!("s{}-{number}", hub.local.node).into();
        let encoded = arguments
            .with(|it| self.target.encode(Some(&invocation), method, it, slots))
            .map_err(InvokeError::from)?;
        let encoded = encoded.into_iter().map(|it| (it.protocol, it.payload));
        Ok(Prepared { member, number, invocation, payloads: encoded.collect() })
    }

    /// The connection, if it is of this node.
    fn member(&self) -> Option<Arc<Member>> {
        let caller = self.calling.as_ref().map(|calling| &calling.member);
        let caller = caller.filter(|caller| *caller.id == *self.id);
        caller.map(Arc::clone).or_else(|| self.target.hub.connections.get(&self.id))
    }
}

impl Deref for Client {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl From<Client> for Target {
    fn from(client: Client) -> Self {
        client.target
    }
}

/// A call that is encoded and addressed.
#[derive(Debug)]
struct Prepared {
    /// The connection, if it is of this node.
    member: Option<Arc<Member>>,
    number: u64,
    invocation: Box<str>,
    payloads: Vec<(&'static str, Bytes)>,
}

impl Prepared {
    async fn call(self, hub: &Arc<Shared>, id: &str) -> Result<Answer, InvokeError> {
        match &self.member {
            Some(member) => self.call_here(hub, member).await,
            None => self.call_elsewhere(hub, id).await,
        }
    }

    async fn call_here(
        &self,
        hub: &Arc<Shared>,
        member: &Arc<Member>,
    ) -> Result<Answer, InvokeError> {
        let id = &*member.id;
        // Encoded for the protocol of this connection and no other.
        let payload = self.payloads.first().map(|(_, payload)| payload.clone());
        let payload = payload.ok_or(InvokeError::NoProtocol)?;
        let debt = hub.local.call(member, &self.invocation, payload);
        let paid = match debt {
            Ok(debt) => debt.paid().await,
            Err(unanswered) => Err(unanswered),
        };
        match paid {
            Ok(completion) => Ok(Answer { protocol: Arc::clone(&member.protocol), completion }),
            Err(Unanswered::Disconnected) => Err(InvokeError::Disconnected { id: id.into() }),
            Err(Unanswered::TooSlow) => Err(InvokeError::TooSlow { id: id.into() }),
            Err(Unanswered::TooMany | Unanswered::Duplicate) => {
                Err(InvokeError::Refused { reason: "too many calls wait for clients".into() })
            }
        }
    }

    async fn call_elsewhere(self, hub: &Shared, id: &str) -> Result<Answer, InvokeError> {
        let question = Question::Invoke { id: self.invocation, payloads: payloads(&self.payloads) };
        let whom = Whom::Connection(id);
        let asked = hub.routing.ask_client(whom, question, self.number, &mut None).await;
        let id: Box<str> = id.into();
        let (_, outcome) = match asked {
            Ok(answered) => answered,
            Err(Silence::Nobody) => return Err(InvokeError::NotFound { id }),
            Err(Silence::Gone) => return Err(InvokeError::NodeGone { id }),
            Err(Silence::Unavailable(reason)) => return Err(InvokeError::Unavailable { reason }),
            Err(Silence::TooLarge { size, limit }) => {
                return Err(InvokeError::TooLarge { size, limit });
            }
            Err(Silence::Closed) => return Err(InvokeError::Closed),
        };
        match outcome {
            Outcome::Completed { protocol: name, result } => {
                let mut spoken = hub.local.protocols.iter();
                match spoken.find(|protocol| protocol.name() == &*name) {
                    Some(protocol) => Ok(Answer {
                        protocol: Arc::clone(protocol),
                        completion: Completion::Result(result),
                    }),
                    None => Err(InvokeError::UnknownProtocol { protocol: name }),
                }
            }
            Outcome::CompletedEmpty => {
                let protocol = hub.local.protocols.iter().next().ok_or(InvokeError::NoProtocol)?;
                Ok(Answer { protocol: Arc::clone(protocol), completion: Completion::Nothing })
            }
            Outcome::ClientFailed(message) => Err(InvokeError::Client { message }),
            Outcome::NotFound => Err(InvokeError::NotFound { id }),
            Outcome::Disconnected => Err(InvokeError::Disconnected { id }),
            Outcome::TooSlow => Err(InvokeError::TooSlow { id }),
            Outcome::TooLarge { size, limit } => Err(InvokeError::TooLarge { size, limit }),
            Outcome::Refused(reason) => Err(InvokeError::Refused { reason }),
            Outcome::Failed(reason) => Err(InvokeError::Unavailable { reason }),
            Outcome::Forgotten => Err(InvokeError::Unavailable {
                reason: "it does not know of the call any more".into(),
            }),
            _ => Err(InvokeError::Unavailable {
                reason: "it answers in a way that this version does not know".into(),
            }),
        }
    }
}

impl Answer {
    fn read<T: DeserializeOwned>(self) -> Result<T, InvokeError> {
        let read = match self.completion {
            Completion::Result(raw) => method::read(&*self.protocol, &raw),
            Completion::Nothing => T::deserialize(UnitDeserializer::<erased_serde::Error>::new()),
            Completion::Error(message) => return Err(InvokeError::Client { message }),
        };
        read.map_err(|source| InvokeError::Result { expected: type_name::<T>(), source })
    }
}

impl<T: DeserializeOwned> Future for Invoking<T> {
    type Output = Result<T, InvokeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.as_mut().poll(context).map(|answer| answer?.read())
    }
}

impl<T> fmt::Debug for Invoking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invoking").finish_non_exhaustive()
    }
}

impl From<SendError> for InvokeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Encode { protocol, source } => Self::Encode { protocol, source },
            SendError::NoProtocol => Self::NoProtocol,
            SendError::Closed => Self::Closed,
            other => Self::Unavailable { reason: other.to_string().into() },
        }
    }
}
