use std::{
    any::Any,
    future::Future,
    sync::{Arc, atomic::Ordering},
    task::Context,
};

use backplane_core::{LONGEST_NAME, SubscribeError, Subscription};
use bytes::Bytes;

use super::{Outbound, Replies};
use crate::{
    Call, CompletionError, ConnectionId, End, Hub, HubError, InvocationError, OpenError, Protocol,
    RefreshError, Reply, User,
    clients::Within,
    hub::Shared,
    members::{Member, Phase, Running, Slot},
    method::{Around, Methods},
    routing::Routed,
};

/// What a front end opens a connection with.
#[derive(Debug)]
pub struct Opening {
    /// Names it on all nodes.
    pub id: ConnectionId,
    /// Who it belongs to; `None` for anonymous users.
    pub user: Option<User>,
    /// What its client speaks.
    pub protocol: Arc<dyn Protocol>,
    /// What the front end keeps of the request that the connection began with, for its extractors:
    /// [`Invocation::request`](crate::Invocation::request). Needed only where [`Hub::wants_request`].
    pub request: Option<Arc<dyn Any + Send + Sync>>,
    /// Whether the front end can hand it over to another node: [`Connection::freeze`].
    pub movable: bool,
}

impl Hub {
    /// Registers a connection. Returns when its own topic and its user's are routed, so that what any
    /// node sends to it from then on arrives; while the link to the broker is down it does not wait
    /// for that, and the connection is reached from this node until the link is back.
    ///
    /// Cancelling it unregisters the connection.
    ///
    /// # Errors
    ///
    /// Those of [`OpenError`].
    pub async fn open(&self, opening: Opening) -> Result<(Connection, Outbound), OpenError> {
        let opened = self.register(opening, false)?;
        opened.routed().await?;
        Ok(opened.split())
    }

    /// Registers a connection, and returns while its topics are still being routed. With `arriving`, what
    /// comes for it is held, and nobody is told of it yet.
    pub(super) fn register(&self, opening: Opening, arriving: bool) -> Result<Opened, OpenError> {
        let Opening { id, user, protocol, request, movable } = opening;
        let hub = &self.0;
        self.authorize(user.as_ref())?;
        if hub.is_draining() {
            return Err(OpenError::Closed);
        }
        if id.is_empty() || id.len() > LONGEST_NAME {
            return Err(OpenError::NameTooLong);
        }
        let slot = hub.local.protocols.add(&protocol).ok_or(OpenError::TooManyProtocols)?;
        let member = Arc::new(Member::new(id, user, protocol, slot, request));
        if movable {
            member.queue.track();
        }
        if arriving {
            member.memberships().arriving = true;
            member.hold(Phase::Arriving);
        }
        match hub.presence.as_ref().filter(|_| !arriving) {
            Some(presence) => {
                // Nobody makes it join anything before it is known to be open.
                let memberships = member.memberships();
                hub.connections.insert(&member)?;
                presence.opened(&member);
                drop(memberships);
            }
            None => hub.connections.insert(&member)?,
        }
        hub.open.fetch_add(1, Ordering::AcqRel);
        hub.movable.fetch_add(movable.into(), Ordering::AcqRel);
        // From here on, dropping it unregisters the connection.
        let mut connection =
            Connection { hub: Arc::clone(hub), member, subscription: None, movable };
        let outbound = Outbound::new(Arc::clone(&connection.member));
        let member = &connection.member;
        connection.subscription = Some(hub.routing.subscribe_connection(member)?);
        let user = match member.user_id() {
            Some(id) => {
                let subscribe = |audience| hub.routing.subscribe_user(id, audience);
                Some(hub.users.add(id, member, &hub.local, subscribe)?.subscription)
            }
            None => None,
        };
        Ok(Opened { connection, outbound, user })
    }

    /// Takes what the user of a connection of this node has proven anew: its policies and handlers see
    /// these claims from now on. What runs already goes on with those that it began with.
    ///
    /// # Errors
    ///
    /// Those of [`RefreshError`]: nothing has changed then.
    pub fn refresh(&self, connection: &str, user: User) -> Result<(), RefreshError> {
        self.authorize(Some(&user))?;
        let member = self.0.connections.get(connection).ok_or(RefreshError::Unknown)?;
        if member.refresh(user) { Ok(()) } else { Err(RefreshError::OtherUser) }
    }
}

/// A connection whose topics are being routed.
pub(super) struct Opened {
    pub(super) connection: Connection,
    outbound: Outbound,
    /// That of its user.
    user: Option<Arc<Subscription>>,
}

impl Opened {
    /// Waits until its own topic and its user's are routed, but not while the link is down.
    pub(super) async fn routed(&self) -> Result<Routed, OpenError> {
        let routing = &self.connection.hub.routing;
        let mut effective = Routed::Everywhere;
        for subscription in [self.connection.subscription.as_ref(), self.user.as_deref()] {
            if let Some(subscription) = subscription
                && routing.routed(subscription).await? == Routed::HereOnly
            {
                effective = Routed::HereOnly;
            }
        }
        Ok(effective)
    }

    pub(super) fn split(self) -> (Connection, Outbound) {
        (self.connection, self.outbound)
    }
}

/// What a client answers to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// A value, as [`Protocol::argument`] reads it.
    Result(Bytes),
    /// Its method failed, or there is none.
    Error(Box<str>),
    /// Its method returned nothing.
    Nothing,
}

/// A front end's handle of an open connection.
///
/// Dropping it unregisters the connection at once, without running `on_disconnected`.
#[derive(Debug)]
pub struct Connection {
    pub(super) hub: Arc<Shared>,
    pub(super) member: Arc<Member>,
    subscription: Option<Subscription>,
    movable: bool,
}

impl Connection {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ConnectionId {
        &self.member.id
    }

    /// Who it belongs to, as [`Hub::refresh`] has left it.
    #[must_use]
    pub fn user(&self) -> Option<User> {
        self.member.user()
    }

    /// Runs `on_connected`; before any [`call`](Self::call).
    ///
    /// # Errors
    ///
    /// What the hook failed with: the connection is to be closed with that, by way of
    /// [`disconnected`](Self::disconnected).
    pub fn connected(&self) -> impl Future<Output = Result<(), HubError>> + Send + 'static + use<> {
        let (hub, member) = (Arc::clone(&self.hub), Arc::clone(&self.member));
        async move { Methods::hook(&hub, &member, Around::Connected, None).await }
    }

    /// Runs a method.
    ///
    /// The future owns what it needs and can be polled anywhere; several may run at once. Dropping it
    /// drops the method where it stands, and dropping [`Reply::Items`] the stream: by itself that ends
    /// when the call's token or the connection does, as [`Aborted`](crate::Aborted) has it. Pull
    /// its items while there is [`room`](Replies::room).
    ///
    /// # Errors
    ///
    /// Those of [`InvocationError`]. A method that panics has failed, and nothing else is disturbed.
    pub fn call(
        &self,
        call: Call,
    ) -> impl Future<Output = Result<Reply, InvocationError>> + Send + 'static + use<> {
        let (hub, member) = (Arc::clone(&self.hub), Arc::clone(&self.member));
        // Streams and calls with uploads run beside the others.
        let takes_place = call.streaming.is_none() && call.uploads.is_empty();
        let slot = takes_place.then(|| Slot::new(Arc::clone(&member)));
        let running = slot.clone().map(Running);
        async move {
            let _running = running;
            hub.local.counters.invocations.add(1);
            Methods::call(&hub, member, call, Within::Method(slot)).await
        }
    }

    /// Why a call would not run, as far as can be told before it does: a front end in which calls wait for
    /// each other can answer such a one at once. It reads the arguments, as the call does again.
    #[must_use]
    pub fn refusal(&self, call: &Call) -> Option<InvocationError> {
        self.hub.methods.refusal(&self.member, call, &self.hub.name)
    }

    /// How many of the running calls wait for what a client answers, by way of their
    /// [`Caller`](crate::Caller): they take no place of a limit to how many run side by side. Streams and
    /// calls with uploads take none anyhow, and are not counted.
    #[must_use]
    pub fn waiting_calls(&self) -> usize {
        self.member.yielded.count()
    }

    /// The same; whoever polls last is woken when it grows.
    #[must_use]
    pub fn poll_waiting_calls(&self, context: &Context<'_>) -> usize {
        self.member.yielded.poll(context)
    }

    /// Takes what the client answers to a call with this id.
    ///
    /// # Errors
    ///
    /// Those of [`CompletionError`]: nothing has changed then.
    pub fn completed(&self, id: &str, completion: Completion) -> Result<(), CompletionError> {
        let local = &self.hub.local;
        let paid = local.owed.pay(id, &self.member, completion);
        if paid.is_err() {
            local.counters.stray_results.add(1);
        }
        paid
    }

    /// Queues a message of the front end's own, in order with those of the hub. It is never dropped
    /// by policy: if it does not fit, the connection ends as [`End::TooSlow`].
    pub fn reply(&self, bytes: Bytes) {
        super::replies::send(&self.hub, &self.member, bytes);
    }

    /// For replies from elsewhere.
    #[must_use]
    pub fn replies(&self) -> Replies {
        Replies::new(Arc::clone(&self.hub), Arc::clone(&self.member))
    }

    /// Waits until the hub wants the connection closed. Cancel-safe.
    pub async fn ended(&self) -> End {
        self.member.queue.ended().await
    }

    /// Unregisters the connection, which leaves all its groups, and tells whatever still runs for it
    /// that its client has gone: [`Aborted`](crate::Aborted). For what has to come to its end before
    /// [`disconnected`](Self::disconnected), which does the same first. Idempotent.
    pub fn unregister(&self) {
        let (hub, member) = (&*self.hub, &*self.member);
        let groups = {
            let mut memberships = member.memberships();
            let first = !std::mem::replace(&mut memberships.closed, true);
            // Before its id is free for another.
            if let Some(presence) = hub.presence.as_ref().filter(|_| first && !memberships.arriving)
            {
                presence.closed(member);
            }
            std::mem::take(&mut memberships.groups)
        };
        hub.connections.remove(member);
        groups.keys().for_each(|group| hub.groups.remove(group, member));
        if let Some(id) = member.user_id() {
            hub.users.remove(id, member);
        }
        member.queue.close();
    }

    /// Unregisters the connection, and then runs `on_disconnected` with what went wrong; `None` for an
    /// orderly end. Not before [`connected`](Self::connected) has returned.
    ///
    /// Cancelling it drops the hook where it stands.
    pub async fn disconnected(mut self, error: Option<&str>) {
        self.unregister();
        self.subscription = None;
        let hook = Methods::hook(&self.hub, &self.member, Around::Disconnected, error);
        if let Err(error) = hook.await {
            tracing::error!(hub = %self.hub.name, %error, "on_disconnected failed");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.unregister();
        self.member.forget_items();
        self.hub.open.fetch_sub(1, Ordering::AcqRel);
        self.hub.movable.fetch_sub(self.movable.into(), Ordering::AcqRel);
        self.hub.closed.notify_waiters();
    }
}

impl From<SubscribeError> for OpenError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::NameTooLong { .. } => Self::NameTooLong,
            SubscribeError::Refused { reason, .. } => Self::Refused { reason },
            SubscribeError::Closed => Self::Closed,
            other => Self::Refused { reason: other.to_string().into() },
        }
    }
}
