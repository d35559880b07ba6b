//! What can be asked about presence.

use std::sync::Arc;

use super::{PresenceOff, Present, Register, Watch, watch::Subject};
use crate::{Caller, Hub, hub::Shared};

/// Who is connected, to which user and in which groups, over all nodes whose hub keeps presence.
///
/// Everything is answered from what this node knows, at once: its own connections as they are now, those
/// of other nodes as of some milliseconds ago. Whatever gets lost on the way, all nodes agree within two
/// [heartbeats](crate::PresenceOptions::heartbeat_every); [`freshness`](Self::freshness) tells
/// how it stands. The connections of a node that leaves, or that counts as dead, are gone at once,
/// and are back when it returns.
///
/// Each node keeps all connections and memberships of all nodes in memory: some 150 bytes for each. A join takes
/// some 0.2 µs more, and 7 bytes on the backplane where many join at once (`cargo bench -p backplane-hub --bench
/// cost`).
///
/// ```
/// # use backplane_hub::{Hub, HubError, PresenceEvent, PresenceOff};
/// async fn watch_kitchen(orders: Hub) -> Result<(), PresenceOff> {
///     let presence = orders.presence();
///     println!("ann is here: {}", presence.user("ann").is_online()?);
///     let mut kitchen = presence.group("kitchen").watch()?;
///     while let Some(event) = kitchen.recv().await {
///         match event {
///             PresenceEvent::Snapshot { present, .. } => println!("{} are here", present.len()),
///             PresenceEvent::Joined(who) => println!("{:?} has come", who.user()),
///             PresenceEvent::Left(who) => println!("{:?} has gone", who.user()),
///             _ => {}
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Presence(Arc<Shared>);

impl Hub {
    /// Who is connected, on all nodes. The hub has to be built with
    /// [`HubBuilder::presence`](crate::HubBuilder::presence).
    #[must_use]
    pub fn presence(&self) -> Presence {
        Presence(Arc::clone(&self.0))
    }
}

impl Caller {
    /// The same as [`Hub::presence`].
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.hub().presence()
    }
}

impl Presence {
    fn register(&self) -> Result<&Arc<Register>, PresenceOff> {
        self.0.presence.as_ref().map(super::Book::register).ok_or(PresenceOff)
    }

    /// The members of a group.
    pub fn group(&self, name: &str) -> GroupPresence {
        GroupPresence(Asked { presence: self.clone(), subject: Subject::Group(name.into()) })
    }

    /// The connections of a user.
    pub fn user(&self, id: &str) -> UserPresence {
        UserPresence(Asked { presence: self.clone(), subject: Subject::User(id.into()) })
    }

    /// Where a connection is, and in which groups; `None` if nothing is known of it.
    ///
    /// # Errors
    ///
    /// [`PresenceOff`].
    pub fn connection(&self, id: &str) -> Result<Option<Whereabouts>, PresenceOff> {
        let found = self.register()?.find(id);
        Ok(found.map(|(present, groups)| Whereabouts { present, groups }))
    }

    /// How far what is told here can be relied on.
    ///
    /// # Errors
    ///
    /// [`PresenceOff`].
    pub fn freshness(&self) -> Result<Freshness, PresenceOff> {
        Ok(match self.register()?.standing() {
            (false, _) => Freshness::LinkDown,
            (true, Some(0)) => Freshness::Complete,
            (true, nodes) => Freshness::CatchingUp { nodes },
        })
    }
}

/// How far presence can be relied on. This node's own connections are always told as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// Everything that live nodes have told is known.
    Complete,
    /// Something is missing, and has been asked for.
    CatchingUp {
        /// Of how many nodes; `None` while the link has just come up and nobody can tell.
        nodes: Option<usize>,
    },
    /// The link to the broker is down: other nodes' connections are told as they were when it failed.
    LinkDown,
}

impl Freshness {
    /// Whether it is [`Complete`](Self::Complete).
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Complete)
    }
}

/// A connection and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Whereabouts {
    /// Its id, its user and its node.
    pub present: Present,
    /// Its groups, in no order.
    pub groups: Vec<Arc<str>>,
}

#[derive(Debug, Clone)]
struct Asked {
    presence: Presence,
    subject: Subject,
}

impl Asked {
    fn count(&self) -> Result<usize, PresenceOff> {
        let register = self.presence.register()?;
        Ok(register.indexed(&self.subject, |index, name| index.count(name)))
    }

    fn members(&self) -> Result<Vec<Present>, PresenceOff> {
        let register = self.presence.register()?;
        Ok(register.indexed(&self.subject, |index, name| index.members(name)))
    }

    fn watch(&self) -> Result<Watch, PresenceOff> {
        let register = Arc::clone(self.presence.register()?);
        let capacity = register.watched_events;
        Ok(Watch::new(register, self.subject.clone(), capacity))
    }
}

/// The members of one group, on all nodes. See [`Presence::group`].
#[derive(Debug, Clone)]
#[must_use = "ask it something"]
pub struct GroupPresence(Asked);

impl GroupPresence {
    /// How many there are.
    ///
    /// # Errors
    ///
    /// [`PresenceOff`].
    pub fn count(&self) -> Result<usize, PresenceOff> {
        self.0.count()
    }

    /// All of them, in no order.
    ///
    /// # Errors
    ///
    /// [`PresenceOff`].
    pub fn members(&self) -> Result<Vec<Present>, PresenceOff> {
        self.0.members()
    }

    /// Follows who joins and leaves. It starts with a snapshot, at its first event.
    ///
    /// # Errors
    ///
    /// [`PresenceOff`].
    pub fn watch(&self) -> Result<Watch, PresenceOff> {
        self.0.watch()
    }
}

/// The connections of one user, on all nodes. See [`Presence::user`].
#[derive(Debug, Clone)]
#[must_use = "ask it something"]
pub struct UserPresence(Asked);

impl UserPresence {
    /// All of them, in no order.
    ///
    /// # Errors
    ///
    /// [`PresenceOff`].
    pub fn connections(&self) -> Result<Vec<Present>, PresenceOff> {
        self.0.members()
    }

    /// Whether there is one.
    ///
    /// # Errors
    ///
    /// [`PresenceOff`].
    pub fn is_online(&self) -> Result<bool, PresenceOff> {
        self.0.count().map(|count| count > 0)
    }

    /// Follows which of them open and close. It starts with a snapshot, at its first event.
    ///
    /// # Errors
    ///
    /// [`PresenceOff`].
    pub fn watch(&self) -> Result<Watch, PresenceOff> {
        self.0.watch()
    }
}
