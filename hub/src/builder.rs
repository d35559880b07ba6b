use std::{
    any::TypeId,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
    time::Instant,
};

use backplane_core::{Backplane, ByteSize, LONGEST_HUB, SubscribeError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Notify;

use crate::{
    ClientNotices, Hub, HubOptions, LinkEvent, Listener, Missed, Policy, PresenceOptions,
    front::{Registrar, Relays},
    hub::Shared,
    loss::{self, Listeners, Losses},
    members::{Audiences, Connections, Local},
    method::{self, Filter, Handler, Method, Methods, Needs, Portables, States, Streaming},
    presence::{Book, Register, SMALLEST_BODY},
    routing::{self, Desk, Gossip, Routing},
};

/// Describes a hub. See [`Hub::builder`].
#[derive(Debug)]
#[must_use = "a hub comes out of build()"]
pub struct HubBuilder {
    name: String,
    backplane: Option<Arc<dyn Backplane>>,
    options: HubOptions,
    policy: Policy,
    methods: Methods,
    states: States,
    portables: Portables,
    listeners: Listeners,
    notices: Option<ClientNotices>,
    presence: Option<PresenceOptions>,
    /// The first thing that was wrong.
    wrong: Option<BuildError>,
    needs: Vec<(String, Needs)>,
}

impl HubBuilder {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            backplane: None,
            options: HubOptions::default(),
            policy: Policy::default(),
            methods: Methods::default(),
            states: States::default(),
            portables: Portables::default(),
            listeners: Listeners::default(),
            notices: None,
            presence: None,
            wrong: None,
            needs: Vec::new(),
        }
    }

    /// What connects the hub to those of other nodes. Several hubs can share one.
    pub fn backplane(mut self, backplane: Arc<dyn Backplane>) -> Self {
        self.backplane = Some(backplane);
        self
    }

    /// How the hub treats its connections.
    pub fn options(mut self, options: HubOptions) -> Self {
        self.options = options;
        self
    }

    /// Shares `state` with all handlers, which take it as [`State<T>`](crate::State). One of each
    /// type.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        if !self.states.add(state) {
            self.note(BuildError::DuplicateState { state: std::any::type_name::<T>() });
        }
        self
    }

    /// Lets the [`Items`](crate::Items) of this type move with their connection when another node takes it
    /// over. They travel as JSON, by `name`, which is the same on all nodes. Items that are not named so
    /// stay behind.
    pub fn portable<T>(mut self, name: &str) -> Self
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        if !self.portables.add::<T>(name) {
            self.note(BuildError::DuplicateItem { name: name.to_owned() });
        }
        self
    }

    /// Who may connect. Everyone, if this is not called.
    pub fn authorize(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Adds a method that clients can call by `name`, in any case.
    pub fn method<M: 'static>(self, name: &str, handler: impl Handler<M>) -> Self {
        self.add(name, method::erase(handler), None, false)
    }

    /// The same, for those users only whom `policy` lets pass.
    pub fn method_with<M: 'static>(
        self,
        name: &str,
        handler: impl Handler<M>,
        policy: Policy,
    ) -> Self {
        self.add(name, method::erase(handler), Some(policy), false)
    }

    /// Adds a streaming method: one that returns a [`Stream`](futures_util::Stream) of items, which
    /// are sent as they come. Clients ask for its stream by `name`, in any case.
    ///
    /// Items are pulled from the stream only while there is room for them in the connection's queue,
    /// so it may be as fast and as long as it likes. It ends behind its first error, where it panics,
    /// and when nobody waits for it any more: see [`Aborted`](crate::Aborted).
    pub fn stream<M: 'static>(self, name: &str, handler: impl Handler<M, Streaming>) -> Self {
        self.add(name, method::erase(handler), None, true)
    }

    /// The same, for those users only whom `policy` lets pass.
    pub fn stream_with<M: 'static>(
        self,
        name: &str,
        handler: impl Handler<M, Streaming>,
        policy: Policy,
    ) -> Self {
        self.add(name, method::erase(handler), Some(policy), true)
    }

    /// Puts a layer around all methods and hooks, inside those that were added before.
    pub fn filter(mut self, filter: impl Filter) -> Self {
        let mut needs = Needs::default();
        filter.needs(&mut needs);
        self.needs.push((format!("filter {}", self.methods.filters.len() + 1), needs));
        self.methods.filters.push(Box::new(filter));
        self
    }

    /// Runs `hook` for each new connection, before any of its calls. Takes extractors only. A hook
    /// that fails ends the connection.
    pub fn on_connected<M: 'static>(mut self, hook: impl Handler<M>) -> Self {
        let hook = method::erase(hook);
        self.hook("on_connected", hook.needs(), self.methods.connected.is_some());
        self.methods.connected = Some(hook);
        self
    }

    /// Runs `hook` after each connection's end. Takes extractors only, among them
    /// [`Disconnect`](crate::Disconnect).
    pub fn on_disconnected<M: 'static>(mut self, hook: impl Handler<M>) -> Self {
        let hook = method::erase(hook);
        self.hook("on_disconnected", hook.needs(), self.methods.disconnected.is_some());
        self.methods.disconnected = Some(hook);
        self
    }

    /// Runs `listener` whenever messages for this node's clients are known to be lost: once for each
    /// run of messages of one origin on one topic, with their number where it is known. Nothing of
    /// them is delivered later.
    ///
    /// Listeners run in a task of their own, one event after the other, in the order in which things
    /// happened, and may send. One that panics or fails is logged. What waits is bounded by
    /// [`HubOptions::loss_events`]; what does not fit is dropped, counted in
    /// [`HubStats::dropped_events`](crate::HubStats::dropped_events) and told with the next event.
    pub fn on_gap<M: 'static>(mut self, listener: impl Listener<Missed, M>) -> Self {
        if self.listeners.gap.is_some() {
            self.note(BuildError::DuplicateHook { hook: "on_gap" });
        }
        self.listeners.gap = Some(Listeners::erase(listener));
        self
    }

    /// Runs `listener` whenever the link to the other nodes is in doubt or restored, and when a node
    /// has fallen silent: once for each of these, however many connections and groups there are. As for
    /// the rest, see [`on_gap`](Self::on_gap).
    ///
    /// [`Hub::health`] tells how the link stands now.
    pub fn on_link<M: 'static>(mut self, listener: impl Listener<LinkEvent, M>) -> Self {
        if self.listeners.link.is_some() {
            self.note(BuildError::DuplicateHook { hook: "on_link" });
        }
        self.listeners.link = Some(Listeners::erase(listener));
        self
    }

    /// Tells clients of this node when messages for them may be lost, by a reserved client method. Off
    /// unless this is called.
    pub fn notify_clients(mut self, notices: ClientNotices) -> Self {
        if notices.method().is_empty() {
            self.note(BuildError::EmptyMethodName);
        }
        self.notices = Some(notices);
        self
    }

    /// Keeps presence: who is connected and in which groups, on all nodes whose hub does so too. Off unless
    /// this is called, and then nothing is sent for it. See [`Presence`](crate::Presence).
    pub const fn presence(mut self, options: PresenceOptions) -> Self {
        self.presence = Some(options);
        self
    }

    /// Makes the hub, whether or not the broker can be reached.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the description.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn build(self) -> Result<Hub, BuildError> {
        if self.name.is_empty() || self.name.len() > LONGEST_HUB {
            return Err(BuildError::HubName { length: self.name.len() });
        }
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let missing = |(id, _): &&(TypeId, &str)| !self.states.has(*id);
        for (handler, needs) in &self.needs {
            if let Some((_, state)) = needs.states.iter().find(missing) {
                return Err(BuildError::MissingState { handler: handler.clone(), state });
            }
        }
        let backplane = self.backplane.ok_or(BuildError::NoBackplane)?;
        let name: Arc<str> = self.name.into();
        let (desk, errands) = Desk::new();
        let (losses, news) = Losses::new(&*backplane, &self.options, self.notices, &self.listeners);
        let local = Arc::new(Local::new(backplane.node(), &self.options, desk, losses));
        let members = backplane.members();
        let connections = Arc::new(Connections::default());
        let routing = Routing::new(backplane, &name, &local, &connections, &self.options)?;
        let registrar = Registrar::new(self.options.announcements);
        let (presence, gossip) = match self.presence {
            Some(options) => {
                let limit = routing.backplane.semantics().largest_body;
                if limit.as_u64() < SMALLEST_BODY as u64 {
                    return Err(BuildError::PresenceBody { limit });
                }
                let register = Register::new(local.node, limit, &options);
                let gossip = Gossip::new(&name, &routing.backplane, &local, &register)?;
                (Some(Book::new(register)), Some(gossip))
            }
            None => (None, None),
        };
        let shared = Arc::new(Shared {
            name,
            policy: self.policy,
            methods: self.methods,
            states: self.states,
            portables: self.portables,
            wants_request: self.needs.iter().any(|(_, needs)| needs.request),
            local,
            connections,
            groups: Audiences::of_groups(),
            users: Audiences::of_users(),
            registrar,
            relays: Relays::default(),
            routing,
            presence,
            started: Instant::now(),
            joins: AtomicU64::new(1),
            messages: AtomicU64::new(1),
            announced: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            movable: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            closed: Notify::new(),
        });
        // These end with the hub, to which they hold no claim.
        tokio::spawn(routing::run(Arc::downgrade(&shared), errands, members));
        if let Some(news) = news {
            tokio::spawn(loss::run(Arc::downgrade(&shared), self.listeners, news));
        }
        if let Some(gossip) = gossip {
            tokio::spawn(gossip.run());
        }
        Ok(Hub(shared))
    }

    fn add(
        mut self,
        name: &str,
        handler: Box<dyn method::Erased>,
        policy: Option<Policy>,
        streaming: bool,
    ) -> Self {
        let needs = handler.needs();
        if name.is_empty() {
            self.note(BuildError::EmptyMethodName);
        }
        if needs.disconnect {
            self.note(BuildError::MisplacedDisconnect { handler: name.to_owned() });
        }
        let method = Method {
            name: name.into(),
            handler,
            policy,
            streaming,
            arguments: needs.arguments,
            uploads: needs.uploads,
            aborted: needs.aborted,
        };
        self.needs.push((name.to_owned(), needs));
        if let Some(other) = self.methods.by_name.insert(method::fold(name), method) {
            let other = other.name.as_ref().to_owned();
            self.note(BuildError::DuplicateMethod { name: name.to_owned(), other });
        }
        self
    }

    fn hook(&mut self, name: &'static str, needs: Needs, again: bool) {
        if again {
            self.note(BuildError::DuplicateHook { hook: name });
        }
        let arguments = needs.arguments + needs.uploads;
        if arguments > 0 {
            self.note(BuildError::HookArguments { hook: name, arguments });
        }
        if needs.disconnect && name != "on_disconnected" {
            self.note(BuildError::MisplacedDisconnect { handler: name.to_owned() });
        }
        self.needs.push((name.to_owned(), needs));
    }

    fn note(&mut self, wrong: BuildError) {
        self.wrong.get_or_insert(wrong);
    }
}

/// What is wrong with a hub's description.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The hub's name is empty or too long.
    #[error("a hub's name has 1 to {LONGEST_HUB} bytes, this one has {length}")]
    HubName {
        /// Its length in bytes.
        length: usize,
    },
    /// No backplane was given.
    #[error("a hub needs a backplane: .backplane(connect(\"memory:\").await?)")]
    NoBackplane,
    /// The backplane takes no subscriptions.
    #[error("the backplane takes no subscriptions")]
    Backplane(#[from] SubscribeError),
    /// The backplane carries too little for presence.
    #[error(
        "presence needs a transport that carries bodies of {} bytes, this one carries {limit}",
        SMALLEST_BODY
    )]
    PresenceBody {
        /// See [`Semantics::largest_body`](backplane_core::Semantics::largest_body).
        limit: ByteSize,
    },
    /// A method has no name.
    #[error("a method needs a name")]
    EmptyMethodName,
    /// Two methods have names that differ by case at most.
    #[error(
        "the method {name:?} cannot be told from {other:?}: names are compared without regard to case"
    )]
    DuplicateMethod {
        /// The later one.
        name: String,
        /// The earlier one.
        other: String,
    },
    /// A hook was given twice.
    #[error("{hook} was given twice")]
    DuplicateHook {
        /// Which.
        hook: &'static str,
    },
    /// A hook takes arguments, which nobody gives.
    #[error(
        "{hook} takes {arguments} arguments, but nobody gives it any: it can take extractors only"
    )]
    HookArguments {
        /// Which.
        hook: &'static str,
        /// How many.
        arguments: usize,
    },
    /// A handler takes a [`Disconnect`](crate::Disconnect), which only `on_disconnected` gets.
    #[error("{handler:?} takes a Disconnect, which only on_disconnected gets")]
    MisplacedDisconnect {
        /// The handler.
        handler: String,
    },
    /// Two states of one type were given.
    #[error("the state {state} was given twice: one of each type")]
    DuplicateState {
        /// The type.
        state: &'static str,
    },
    /// Two portable items have one name.
    #[error("the item {name:?} was given twice: each type needs a name of its own")]
    DuplicateItem {
        /// The name.
        name: String,
    },
    /// A handler takes a state that was not given.
    #[error("{handler:?} takes State<{state}>, which the hub was not given: .state(…)")]
    MissingState {
        /// The handler.
        handler: String,
        /// The type.
        state: &'static str,
    },
}
