use std::{fmt, ops::Deref, sync::Arc};

use crate::{
    Claims, Client, Clients, ConnectionId, End, Groups, Hub, Items, Target, User,
    clients::{Calling, Within},
    hub::Shared,
    members::Member,
};

/// The connection whose call is served.
#[derive(Clone)]
pub struct Caller {
    hub: Arc<Shared>,
    member: Arc<Member>,
    /// As it was when the call began.
    user: Option<User>,
    trace: Option<Arc<str>>,
    within: Within,
}

impl Caller {
    pub(crate) fn new(
        hub: Arc<Shared>,
        member: Arc<Member>,
        trace: Option<Arc<str>>,
        within: Within,
    ) -> Self {
        let user = member.user();
        Self { hub, member, user, trace, within }
    }

    /// The hub, on this node.
    #[must_use]
    pub fn hub(&self) -> Hub {
        Hub(Arc::clone(&self.hub))
    }

    /// The connection's id.
    #[must_use]
    pub fn id(&self) -> &ConnectionId {
        &self.member.id
    }

    /// Who it belongs to, as it was known when this call began; `None` for anonymous users.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The user's claims; none for anonymous users.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        static NONE: Claims = Claims::new();
        self.user().map_or(&NONE, |user| &user.claims)
    }

    /// What the application keeps for this connection.
    #[must_use]
    pub fn items(&self) -> Items {
        Items::new(Arc::clone(&self.member))
    }

    /// Whom to send to: on all nodes, and on behalf of this call.
    #[must_use]
    pub fn clients(&self) -> CallerClients {
        let calling = Calling { member: Arc::clone(&self.member), within: self.within.clone() };
        CallerClients {
            clients: Clients::new(Arc::clone(&self.hub), self.trace.clone(), Some(calling)),
            member: Arc::clone(&self.member),
        }
    }

    /// Who is in which group: on all nodes.
    #[must_use]
    pub fn groups(&self) -> Groups {
        Groups::new(Arc::clone(&self.hub), Some(Arc::clone(&self.member)))
    }

    /// Ends the connection. The client is told not to connect again.
    pub fn abort(&self) {
        self.member.queue.end(End::Aborted);
    }

    /// The W3C `traceparent` that the client sent along with the call.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("id", self.id()).finish_non_exhaustive()
    }
}

/// [`Clients`], and those that a caller gives a meaning to.
#[derive(Debug, Clone)]
pub struct CallerClients {
    clients: Clients,
    member: Arc<Member>,
}

impl CallerClients {
    /// The connection that called.
    pub fn caller(&self) -> Client {
        self.clients.connection(&self.member.id)
    }

    /// Every connection but the one that called.
    pub fn others(&self) -> Target {
        self.clients.all_except([&self.member.id])
    }

    /// The members of a group, but not the connection that called.
    pub fn others_in_group(&self, group: &str) -> Target {
        self.clients.group_except(group, [&self.member.id])
    }
}

impl Deref for CallerClients {
    type Target = Clients;

    fn deref(&self) -> &Clients {
        &self.clients
    }
}
