use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError},
    vec,
};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{Aborted, Call, Unread, UploadReceiver, ViaArgument, ViaExtract, arguments};
use crate::{
    ArgumentsError, Caller, HubError, InvocationError, clients::Within, hub::Shared,
    members::Member,
};

/// One call of a handler: who calls, on what hub, with which arguments.
#[derive(Debug)]
pub struct Invocation {
    hub: Arc<Shared>,
    member: Arc<Member>,
    target: Target,
    arguments: Vec<Bytes>,
    next: usize,
    uploads: vec::IntoIter<UploadReceiver>,
    trace: Option<Arc<str>>,
    /// Of a call that asks for a stream.
    cancel: Option<CancellationToken>,
    error: Option<Arc<str>>,
    within: Within,
}

/// What is called.
#[derive(Debug)]
enum Target {
    Method(Arc<str>),
    Hook(&'static str),
}

impl Invocation {
    /// Of a method.
    pub(super) fn of_method(
        hub: Arc<Shared>,
        member: Arc<Member>,
        target: Arc<str>,
        call: Call,
        within: Within,
    ) -> Self {
        Self {
            hub,
            member,
            target: Target::Method(target),
            arguments: call.arguments,
            next: 0,
            uploads: call.uploads.into_iter(),
            trace: call.trace,
            cancel: call.streaming,
            error: None,
            within,
        }
    }

    /// Of a hook.
    pub(super) fn of_hook(
        hub: Arc<Shared>,
        member: Arc<Member>,
        target: &'static str,
        error: Option<&str>,
        within: Within,
    ) -> Self {
        Self {
            hub,
            member,
            target: Target::Hook(target),
            arguments: Vec::new(),
            next: 0,
            uploads: Vec::new().into_iter(),
            trace: None,
            cancel: None,
            error: error.map(Arc::from),
            within,
        }
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// The name of the method, as the hub has it, or of the hook.
    #[must_use]
    pub fn target(&self) -> &str {
        match &self.target {
            Target::Method(name) => name,
            Target::Hook(name) => name,
        }
    }

    /// How many arguments the client gave. Its streams are not among them.
    #[must_use]
    pub fn arguments(&self) -> usize {
        self.arguments.len()
    }

    /// What a handler would get as a parameter of this type.
    ///
    /// # Errors
    ///
    /// What the extractor fails with.
    pub fn extract<T: Extract>(&self) -> Result<T, HubError> {
        T::extract(self)
    }

    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> Caller {
        let (hub, member) = (Arc::clone(&self.hub), Arc::clone(&self.member));
        Caller::new(hub, member, self.trace.clone(), self.within.clone())
    }

    /// The hub's state of this type, if it was given any.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.hub.states.get()
    }

    /// What the front end keeps of the request that the connection began with, if it is of this
    /// type: for extractors of a front end, which say so by [`Needs::request`].
    #[must_use]
    pub fn request<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.member.request.as_ref()?).downcast().ok()
    }

    /// The W3C `traceparent` that the client sent along.
    #[must_use]
    pub const fn trace(&self) -> Option<&Arc<str>> {
        self.trace.as_ref()
    }

    pub(super) fn aborted(&self) -> Aborted {
        Aborted::new(Arc::clone(&self.member), self.cancel.clone())
    }

    /// The next upload; none where the front end gave fewer than it said.
    pub(super) fn upload(&mut self) -> Option<UploadReceiver> {
        self.uploads.next()
    }

    pub(super) fn expect(&self, expected: usize) -> Result<(), InvocationError> {
        ArgumentsError::expect(self.arguments.len(), expected)
    }

    fn argument<T: DeserializeOwned>(&mut self) -> Result<T, InvocationError> {
        let index = self.next;
        self.next += 1;
        arguments::read_at(&*self.member.protocol, &self.arguments, index)
    }
}

/// A parameter of a handler: an argument of the call, an upload, or an extractor.
///
/// `M` tells these apart, so that they can stand in any order; the compiler finds it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a hub method",
    label = "neither an argument nor an upload nor an extractor",
    note = "an argument implements `serde::Deserialize` and borrows nothing; an upload is `Upload<T>` of such a type; an extractor is `Caller`, `State<T>`, `Items`, `Aborted`, `Trace`, `Disconnect`, or implements `Extract`"
)]
pub trait FromInvocation<M>: Sized {
    /// How many arguments of the call it takes.
    const ARGUMENTS: usize;

    /// Takes the parameter's value out of a call.
    ///
    /// # Errors
    ///
    /// An argument of another type, or what the extractor fails with.
    fn from_invocation(invocation: &mut Invocation) -> Result<Self, InvocationError>;

    /// Whether a call that has not begun has what the parameter takes of its arguments.
    ///
    /// # Errors
    ///
    /// An argument of another type.
    fn fits(unread: &mut Unread<'_>) -> Result<(), InvocationError> {
        let _ = unread;
        Ok(())
    }

    /// Adds what the parameter needs of the hub.
    fn needs(needs: &mut Needs);
}

impl<T: DeserializeOwned> FromInvocation<ViaArgument> for T {
    const ARGUMENTS: usize = 1;

    fn from_invocation(invocation: &mut Invocation) -> Result<Self, InvocationError> {
        invocation.argument()
    }

    fn fits(unread: &mut Unread<'_>) -> Result<(), InvocationError> {
        unread.fits::<T>()
    }

    fn needs(needs: &mut Needs) {
        needs.arguments += 1;
    }
}

impl<T: Extract> FromInvocation<ViaExtract> for T {
    const ARGUMENTS: usize = 0;

    fn from_invocation(invocation: &mut Invocation) -> Result<Self, InvocationError> {
        T::extract(invocation).map_err(InvocationError::Failed)
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

/// A parameter of handlers that does not come from the call's arguments.
pub trait Extract: Sized {
    /// Makes the value for one call.
    ///
    /// # Errors
    ///
    /// The call fails with what this returns; the handler does not run.
    fn extract(invocation: &Invocation) -> Result<Self, HubError>;

    /// Names the states it takes, so that a missing one fails
    /// [`build`](crate::HubBuilder::build) and not a call.
    fn needs(needs: &mut Needs) {
        let _ = needs;
    }
}

/// What a handler needs of its hub.
#[derive(Debug, Default)]
pub struct Needs {
    pub(crate) arguments: usize,
    pub(crate) uploads: usize,
    pub(crate) states: Vec<(TypeId, &'static str)>,
    pub(crate) disconnect: bool,
    pub(crate) request: bool,
    pub(crate) aborted: bool,
}

impl Needs {
    /// A state of this type.
    pub fn state<T: Send + Sync + 'static>(&mut self) {
        self.states.push((TypeId::of::<T>(), type_name::<T>()));
    }

    /// What the front end keeps of the request that a connection began with.
    pub const fn request(&mut self) {
        self.request = true;
    }
}

/// State that all handlers of a hub share, by its type: what
/// [`HubBuilder::state`](crate::HubBuilder::state) was given.
#[derive(Debug)]
pub struct State<T>(pub Arc<T>);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + Sync + 'static> Extract for State<T> {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        let missing = || HubError::named("MissingState", type_name::<T>());
        invocation.state().map(Self).ok_or_else(missing)
    }

    fn needs(needs: &mut Needs) {
        needs.state::<T>();
    }
}

impl Extract for Caller {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        Ok(invocation.caller())
    }
}

/// The W3C `traceparent` that the client sent along with the call.
#[derive(Debug, Clone)]
pub struct Trace(pub Option<Arc<str>>);

impl Extract for Trace {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        Ok(Self(invocation.trace.clone()))
    }
}

/// Why a connection ended; only for `on_disconnected`.
#[derive(Debug, Clone)]
pub struct Disconnect(Option<Arc<str>>);

impl Disconnect {
    /// What went wrong; `None` where the client left in an orderly way.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Extract for Disconnect {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        Ok(Self(invocation.error.clone()))
    }

    fn needs(needs: &mut Needs) {
        needs.disconnect = true;
    }
}

/// What the application keeps for one connection, by type; lives as long as the connection.
#[derive(Clone)]
pub struct Items(Arc<Member>);

impl Items {
    pub(crate) const fn new(member: Arc<Member>) -> Self {
        Self(member)
    }

    /// A copy of the item of this type.
    #[must_use]
    pub fn get<T: Clone + Send + 'static>(&self) -> Option<T> {
        self.with(|items| items.get(&TypeId::of::<T>())?.downcast_ref::<T>().cloned())
    }

    /// Puts an item in, and returns the one of the same type that was there.
    pub fn insert<T: Send + 'static>(&self, item: T) -> Option<T> {
        self.with(|items| items.insert(TypeId::of::<T>(), Box::new(item)).and_then(downcast))
    }

    /// Takes the item of this type out.
    pub fn remove<T: Send + 'static>(&self) -> Option<T> {
        self.with(|items| items.remove(&TypeId::of::<T>()).and_then(downcast))
    }

    /// Changes the item of this type in place, starting from its default where there is none. Other
    /// calls of this connection that want its items wait meanwhile, so `change` should be quick.
    pub fn update<T: Default + Send + 'static, R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        self.with(|items| {
            let item = items.entry(TypeId::of::<T>()).or_insert_with(|| Box::<T>::default());
            match item.downcast_mut() {
                Some(item) => change(item),
                None => unreachable!("items are kept by the id of their type"),
            }
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut ItemMap) -> R) -> R {
        f(self.0.items.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
    }
}

fn downcast<T: 'static>(item: Box<dyn Any + Send>) -> Option<T> {
    item.downcast().ok().map(|item| *item)
}

/// Boxed by its holder, as most connections have none.
pub(crate) type ItemMap = HashMap<TypeId, Box<dyn Any + Send>>;

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

impl Extract for Items {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        Ok(Self(Arc::clone(&invocation.member)))
    }
}

/// The states of a hub, by type.
#[derive(Default)]
pub(crate) struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    /// Whether it was the first of its type.
    pub(crate) fn add<T: Send + Sync + 'static>(&mut self, state: T) -> bool {
        self.0.insert(TypeId::of::<T>(), Arc::new(state)).is_none()
    }

    pub(crate) fn has(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.0.get(&TypeId::of::<T>())?).downcast().ok()
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("count", &self.0.len()).finish()
    }
}
