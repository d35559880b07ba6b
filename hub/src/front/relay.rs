use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use backplane_core::NodeId;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::{
    ConnectionId, Hub, RelayError,
    front::Whereabouts,
    hub::Shared,
    routing::{Errand, KEPT, Outcome, Question, Silence, Whom},
};

/// How a front end serves requests of its clients that have landed on another node.
///
/// What a request and its answer are is the front end's own. It is held by the hub, which it must not
/// hold in turn.
pub trait Relay: fmt::Debug + Send + Sync + 'static {
    /// Starts to serve a request; `None` where the connection is not here.
    ///
    /// Called once for each request, in the order in which one node relays those of one connection;
    /// what the futures do runs side by side. It must return at once. A future may take as long as a
    /// long poll does; it is dropped as soon as nobody waits for it any more.
    fn relay(&self, request: RelayRequest) -> Option<BoxFuture<'static, RelayAnswer>>;

    /// Lets go of the connections that can move to another node: [`Hub::drain`]. Must return at once.
    fn drain(&self) {}
}

/// A request of a client that has landed on another node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RelayRequest {
    /// The hub, for as long as the request is served.
    pub hub: Hub,
    /// The connection that it is for.
    pub connection: Box<str>,
    /// Where it has landed.
    pub from: NodeId,
    /// What the front end there says of it.
    pub body: Bytes,
}

/// The answer to a relayed request.
#[must_use]
pub struct RelayAnswer {
    pub(crate) body: Bytes,
    pub(crate) settle: Settle,
}

impl RelayAnswer {
    /// With this body, which the backplane's largest bounds.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), settle: Settle(None) }
    }

    /// The same, and `settled` is called once it is known whether the body has reached the client:
    /// what has not must be kept, and sent again by the next answer.
    ///
    /// It is called in any case, at the latest half a minute after nobody has said so, and must return
    /// at once.
    pub fn when_settled(self, settled: impl FnOnce(bool) + Send + 'static) -> Self {
        Self { settle: Settle(Some(Box::new(settled))), ..self }
    }
}

impl fmt::Debug for RelayAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayAnswer").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Tells the front end whether an answer has reached the client; that it has not if dropped.
pub(crate) struct Settle(Option<Box<dyn FnOnce(bool) + Send>>);

impl Settle {
    pub(crate) fn reached(mut self) {
        self.tell(true);
    }

    fn tell(&mut self, reached: bool) {
        if let Some(settled) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| settled(reached))).is_err()
        {
            tracing::error!("a front end panicked when it was told of a relayed answer");
        }
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settle").field(&self.0.is_some()).finish()
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        self.tell(false);
    }
}

/// The front ends that serve what other nodes relay.
#[derive(Debug, Default)]
pub(crate) struct Relays(RwLock<Arc<[Arc<dyn Relay>]>>);

impl Relays {
    fn add(&self, relay: Arc<dyn Relay>) {
        let mut relays = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *relays = relays.iter().cloned().chain([relay]).collect();
    }

    /// Has all of them let go of what can move.
    pub(crate) fn drain(&self) {
        let relays = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        for relay in relays.iter() {
            if catch_unwind(AssertUnwindSafe(|| relay.drain())).is_err() {
                tracing::error!("a front end panicked when it was to let its connections go");
            }
        }
    }

    /// Asks one after the other, until one has the connection.
    pub(crate) fn start(
        &self,
        request: &RelayRequest,
    ) -> Result<Option<BoxFuture<'static, RelayAnswer>>, Panicked> {
        let relays = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let start = || relays.iter().find_map(|relay| relay.relay(request.clone()));
        catch_unwind(AssertUnwindSafe(start)).map_err(|_| Panicked)
    }
}

/// The front end panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

impl Hub {
    /// Has this front end too serve what other nodes relay to this one, for as long as the hub lives.
    /// Of several, the first that has a connection serves its requests.
    pub fn on_relay(&self, relay: Arc<dyn Relay>) {
        self.0.relays.add(relay);
    }

    /// Has a request of a connection's client, which is not of this node, served by the node that has
    /// the connection, and waits for the answer as long as that takes.
    ///
    /// `via` is that node, or the connection's registrar, which knows it. Where neither helps, the node
    /// is found by the connection's id, as long as the connection is open there. Of one connection,
    /// requests reach that node in the order of these calls; each goes off as soon as the one before
    /// is accepted.
    ///
    /// Cancelling it drops what serves the request, wherever that stands.
    ///
    /// # Errors
    ///
    /// Those of [`RelayError`]; `NotFound` promptly, `Unavailable` at once where the link to the broker
    /// is down or goes down, `NodeGone` as soon as the node leaves or dies.
    pub async fn relay(
        &self,
        id: &ConnectionId,
        via: NodeId,
        body: Bytes,
    ) -> Result<Relayed, RelayError> {
        let hub = &self.0;
        hub.local.counters.relays.add(1);
        let asking = &hub.local.asking;
        let mut turn = Some(asking.turns.wait(id).await);
        let mut ask = async |whom| {
            let question = Question::Relay { connection: id.as_str().into(), body: body.clone() };
            let number = asking.number();
            let asked = hub.routing.ask_client(whom, question, number, &mut turn).await;
            let (owner, outcome) = match asked {
                Ok(answered) => answered,
                // It never had the request, so that another node may be asked.
                Err(Silence::Nobody | Silence::Gone) if turn.is_some() => {
                    return Ok(Found::Nothing);
                }
                Err(silence) => return Err(refused(silence)),
            };
            match outcome {
                Outcome::Relayed(body) => {
                    let hub = Arc::clone(hub);
                    Ok(Found::Answer(Relayed { hub, owner, number, body, settled: false }))
                }
                Outcome::Elsewhere(owner) => Ok(Found::Elsewhere(owner)),
                Outcome::NotAnnounced => Ok(Found::Nothing),
                Outcome::NotFound => Err(RelayError::NotFound),
                Outcome::Ended => Err(RelayError::Ended),
                Outcome::TooLarge { size, limit } => Err(RelayError::TooLarge { size, limit }),
                Outcome::Refused(reason) => Err(RelayError::Refused { reason }),
                Outcome::Failed(reason) => Err(RelayError::Unavailable { reason }),
                Outcome::Forgotten => Err(RelayError::Unavailable {
                    reason: "its node did not keep the answer for long enough".into(),
                }),
                _ => Err(RelayError::Unavailable {
                    reason: "it answers in a way that this version does not know".into(),
                }),
            }
        };
        let me = self.node();
        let mut owner = Some(via);
        if via == me {
            owner = match hub.registrar.whereabouts(id) {
                Whereabouts::Ended => return Err(RelayError::Ended),
                Whereabouts::Nowhere => return Err(RelayError::NotFound),
                Whereabouts::At(owner) if owner != me => Some(owner),
                Whereabouts::At(_) | Whereabouts::Unknown => None,
            };
        }
        // Who knows of the connection may name another node, which then has it, or had it.
        for _ in 0..2 {
            let Some(node) = owner.take().filter(|node| *node != me) else { break };
            if !hub.routing.backplane.members().borrow().contains(node) {
                // Gone, most likely: the connection itself is asked for first.
                owner = Some(node);
                break;
            }
            match ask(Whom::Node(node)).await? {
                Found::Answer(answer) => return Ok(answer),
                Found::Elsewhere(other) => owner = Some(other),
                Found::Nothing => {}
            }
        }
        match ask(Whom::Connection(id)).await? {
            Found::Answer(answer) => return Ok(answer),
            Found::Elsewhere(other) => owner = Some(other),
            Found::Nothing => {}
        }
        match owner.filter(|node| *node != me) {
            Some(node) => match ask(Whom::Node(node)).await? {
                Found::Answer(answer) => Ok(answer),
                Found::Elsewhere(_) | Found::Nothing => Err(RelayError::NotFound),
            },
            None => Err(RelayError::NotFound),
        }
    }
}

/// What a node says to a relayed request.
enum Found {
    Answer(Relayed),
    Elsewhere(NodeId),
    Nothing,
}

fn refused(silence: Silence) -> RelayError {
    match silence {
        Silence::Nobody => RelayError::NotFound,
        Silence::Gone => RelayError::NodeGone,
        Silence::Unavailable(reason) => RelayError::Unavailable { reason },
        Silence::TooLarge { size, limit } => RelayError::TooLarge { size, limit },
        Silence::Closed => RelayError::Closed,
    }
}

/// The pause before it is said again that an answer was written.
const PAUSE: Duration = Duration::from_millis(500);

/// The answer of another node to a relayed request. That node keeps it until it is said that the client
/// has it, or this is dropped, which says that it has not.
#[derive(Debug)]
#[must_use = "dropping it says that the client did not get it"]
pub struct Relayed {
    hub: Arc<Shared>,
    owner: NodeId,
    number: u64,
    body: Bytes,
    settled: bool,
}

impl Relayed {
    /// What the front end there answers.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The node that has the connection.
    #[must_use]
    pub const fn owner(&self) -> NodeId {
        self.owner
    }

    /// The answer alone, where nothing depends on whether the client gets it: its node is told nothing.
    #[must_use]
    pub fn into_body(mut self) -> Bytes {
        self.settled = true;
        std::mem::take(&mut self.body)
    }

    /// Says that the answer has been written to the client; while the link is down again and again, for
    /// as long as the answer is kept.
    ///
    /// # Errors
    ///
    /// Those of [`RelayError`]: the node that has the connection may not have heard it, and then sends
    /// the same to the client again.
    pub async fn written(mut self) -> Result<(), RelayError> {
        self.settled = true;
        let until = Instant::now() + KEPT;
        loop {
            let question = Question::Written(self.number);
            match self.hub.routing.ask(Whom::Node(self.owner), question).await {
                Ok(Outcome::Done) => return Ok(()),
                Ok(_) => {
                    return Err(RelayError::Unavailable {
                        reason: "its node has not kept the answer for so long".into(),
                    });
                }
                Err(Silence::Unavailable(_)) if Instant::now() < until => sleep(PAUSE).await,
                Err(silence) => return Err(refused(silence)),
            }
        }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        if !self.settled {
            let errand = Errand::TellToUndo((self.owner, self.number));
            self.hub.local.desk.bring(errand, &self.hub.local.counters);
        }
    }
}
