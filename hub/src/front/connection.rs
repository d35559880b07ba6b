use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
};

use backplane_core::{LONGEST_NAME, SubscribeError, Subscription};
use bytes::Bytes;

use super::Outbound;
use crate::{
    ConnectionId, End, Hub, HubError, InvocationError, OpenError, Protocol, Returned, User,
    hub::Shared,
    members::Member,
    method::{Invocation, Methods},
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
        let Opening { id, user, protocol } = opening;
        let hub = &self.0;
        self.authorize(user.as_ref())?;
        if id.is_empty() || id.len() > LONGEST_NAME {
            return Err(OpenError::NameTooLong);
        }
        let slot = hub.local.protocols.add(&protocol).ok_or(OpenError::TooManyProtocols)?;
        let member = Arc::new(Member::new(id, user, protocol, slot));
        match &hub.presence {
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
        // From here on, dropping it unregisters the connection.
        let mut connection = Connection { hub: Arc::clone(hub), member, subscription: None };
        let outbound = Outbound::new(Arc::clone(&connection.member));
        let member = &connection.member;
        let own = connection.subscription.insert(hub.routing.subscribe_connection(member)?);
        let user = member.user.as_ref().and_then(|user| user.id.as_deref());
        let user = match user.filter(|id| !id.is_empty()) {
            Some(id) => {
                let subscribe = |audience| hub.routing.subscribe_user(id, audience);
                Some(hub.users.add(id, member, &hub.local, subscribe)?.subscription)
            }
            None => None,
        };
        hub.routing.routed(own).await?;
        if let Some(subscription) = user {
            hub.routing.routed(&subscription).await?;
        }
        Ok((connection, outbound))
    }
}

/// A front end's handle of an open connection.
///
/// Dropping it unregisters the connection at once, without running `on_disconnected`.
#[derive(Debug)]
pub struct Connection {
    hub: Arc<Shared>,
    member: Arc<Member>,
    subscription: Option<Subscription>,
}

impl Connection {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ConnectionId {
        &self.member.id
    }

    /// Who it belongs to.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.member.user.as_ref()
    }

    /// Runs `on_connected`; before any [`invoke`](Self::invoke).
    ///
    /// # Errors
    ///
    /// What the hook failed with: the connection is to be closed with that, by way of
    /// [`disconnected`](Self::disconnected).
    pub async fn connected(&self) -> Result<(), HubError> {
        let hook = self.hub.methods.connected.as_deref();
        Methods::hook(hook, self.invocation(), "on_connected").await
    }

    /// Runs the method `target`, whose name is found without regard to case. Each argument is what
    /// [`Protocol::argument`] reads.
    ///
    /// The future owns what it needs and can be polled anywhere; several may run at once. Dropping it
    /// drops the method where it stands.
    ///
    /// # Errors
    ///
    /// Those of [`InvocationError`]. A method that panics has failed, and nothing else is disturbed.
    pub fn invoke(
        &self,
        target: &str,
        arguments: Vec<Bytes>,
        trace: Option<Arc<str>>,
    ) -> impl Future<Output = Result<Returned, InvocationError>> + Send + 'static + use<> {
        let hub = Arc::clone(&self.hub);
        let target: Box<str> = target.into();
        let invocation = self.invocation().with_arguments(arguments, trace);
        async move {
            hub.local.counters.invocations.add(1);
            hub.methods.invoke(&target, invocation).await
        }
    }

    /// Queues a message of the front end's own, in order with those of the hub. It is never dropped
    /// by policy: if it does not fit, the connection ends as [`End::TooSlow`].
    pub fn reply(&self, bytes: Bytes) {
        if self.member.queue.reply(bytes, &self.hub.local.limits) {
            self.hub.local.closed_slow(&self.member);
        }
    }

    /// Waits until the hub wants the connection closed. Cancel-safe.
    pub async fn ended(&self) -> End {
        self.member.queue.ended().await
    }

    /// Unregisters the connection, which leaves all its groups, and then runs `on_disconnected` with
    /// what went wrong; `None` for an orderly end.
    ///
    /// Cancelling it drops the hook where it stands.
    pub async fn disconnected(mut self, error: Option<&str>) {
        self.unregister();
        let hook = self.hub.methods.disconnected.as_deref();
        let invocation = self.invocation().with_error(error);
        if let Err(error) = Methods::hook(hook, invocation, "on_disconnected").await {
            tracing::error!(hub = %self.hub.name, %error, "on_disconnected failed");
        }
    }

    fn invocation(&self) -> Invocation {
        Invocation::new(Arc::clone(&self.hub), Arc::clone(&self.member))
    }

    /// Idempotent.
    fn unregister(&mut self) {
        let (hub, member) = (&*self.hub, &*self.member);
        let groups = {
            let mut memberships = member.memberships();
            let first = !std::mem::replace(&mut memberships.closed, true);
            // Before its id is free for another.
            if let Some(presence) = hub.presence.as_ref().filter(|_| first) {
                presence.closed(member);
            }
            std::mem::take(&mut memberships.groups)
        };
        hub.connections.remove(member);
        groups.keys().for_each(|group| hub.groups.remove(group, member));
        if let Some(id) = member.user.as_ref().and_then(|user| user.id.as_ref()) {
            hub.users.remove(id, member);
        }
        member.queue.close();
        self.subscription = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.unregister();
        self.member.forget_items();
        self.hub.open.fetch_sub(1, Ordering::AcqRel);
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
