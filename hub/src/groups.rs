use std::sync::{Arc, atomic::Ordering};

use backplane_core::{LONGEST_NAME, SubscribeError, Subscription};

use crate::{
    GroupError,
    hub::Shared,
    members::Member,
    routing::{Outcome, Question, Routed, Silence},
};

/// Who is in which group: connections of all nodes.
///
/// A group exists while it has members. Names are compared byte by byte.
#[derive(Debug, Clone)]
pub struct Groups {
    hub: Arc<Shared>,
    /// Whose call this serves: it is known here even after its end.
    caller: Option<Arc<Member>>,
}

/// How far a join is effective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Joined {
    /// What any node sends to the group from now on reaches the connection.
    Everywhere,
    /// The link to the broker is down: so far only what the connection's own node sends does. It
    /// becomes effective everywhere when the link is back.
    HereOnly,
}

impl Groups {
    pub(crate) const fn new(hub: Arc<Shared>, caller: Option<Arc<Member>>) -> Self {
        Self { hub, caller }
    }

    fn member(&self, connection: &str) -> Option<Arc<Member>> {
        let caller = self.caller.as_ref().filter(|caller| *caller.id == *connection);
        caller.map(Arc::clone).or_else(|| self.hub.connections.get(connection))
    }

    /// Lets a connection join a group, on whichever node it is, and returns when that is effective.
    /// Joining again changes nothing.
    ///
    /// Cancelling it leaves open whether the connection joins.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`] promptly where no node has the connection; `Unavailable` at once where that
    /// cannot be told, as the link to the broker is down; `NodeGone` as soon as the node that was at it
    /// leaves or dies.
    pub async fn add(&self, connection: &str, group: &str) -> Result<Joined, GroupError> {
        check(group)?;
        if group.is_empty() {
            return Ok(Joined::Everywhere);
        }
        match self.member(connection) {
            Some(member) => {
                let joining = self.hub.join(&member, group)?;
                self.hub.joined(&member, group, &joining).await
            }
            None => self.hub.join_elsewhere(connection, group).await,
        }
    }

    /// Lets a connection leave a group, on whichever node it is. Leaving a group that it is not in
    /// changes nothing.
    ///
    /// Cancelling it leaves open whether the connection leaves.
    ///
    /// # Errors
    ///
    /// Those of [`add`](Self::add).
    pub async fn remove(&self, connection: &str, group: &str) -> Result<(), GroupError> {
        check(group)?;
        if group.is_empty() {
            return Ok(());
        }
        match self.member(connection) {
            Some(member) => {
                self.hub.leave(&member, group, None);
                Ok(())
            }
            None => self.hub.leave_elsewhere(connection, group).await,
        }
    }
}

fn check(group: &str) -> Result<(), GroupError> {
    if group.len() > LONGEST_NAME { Err(GroupError::NameTooLong) } else { Ok(()) }
}

/// A join on this node, which other nodes may not know of yet.
#[derive(Debug)]
pub(crate) struct Joining {
    subscription: Arc<Subscription>,
    /// Later joins have higher numbers.
    pub(crate) number: u64,
    /// Whether the connection was not a member before.
    pub(crate) is_new: bool,
}

impl Shared {
    /// Makes a connection of this node a member.
    pub(crate) fn join(&self, member: &Arc<Member>, group: &str) -> Result<Joining, GroupError> {
        // Held throughout, so that joins, leaves and the end of one connection have one order.
        let mut memberships = member.memberships();
        if memberships.closed {
            return Err(GroupError::NotFound);
        }
        let subscribe = |audience| self.routing.subscribe_group(group, audience);
        let added = self.groups.add(group, member, &self.local, subscribe)?;
        let number = self.joins.fetch_add(1, Ordering::Relaxed);
        let is_new = memberships.groups.insert(Arc::clone(&added.name), number).is_none();
        if let Some(presence) = self.presence.as_ref().filter(|_| is_new) {
            presence.joined(member, &added.name);
        }
        Ok(Joining { subscription: added.subscription, number, is_new })
    }

    /// Ends a membership; with a number, only if that is the number of its latest join.
    pub(crate) fn leave(&self, member: &Member, group: &str, number: Option<u64>) {
        let mut memberships = member.memberships();
        if number.is_some() && memberships.groups.get(group).copied() != number {
            return;
        }
        if let Some((name, _)) = memberships.groups.remove_entry(group) {
            self.groups.remove(&name, member);
            if let Some(presence) = &self.presence {
                presence.left(member, &name);
            }
        }
    }

    /// Waits until a join is effective.
    pub(crate) async fn joined(
        &self,
        member: &Member,
        group: &str,
        joining: &Joining,
    ) -> Result<Joined, GroupError> {
        match self.routing.routed(&joining.subscription).await {
            Ok(Routed::Everywhere) => Ok(Joined::Everywhere),
            Ok(Routed::HereOnly) => Ok(Joined::HereOnly),
            Err(error) => {
                // A membership that other nodes never learn of would look like one that works.
                self.leave(member, group, Some(joining.number));
                Err(error.into())
            }
        }
    }
}

impl Shared {
    async fn join_elsewhere(&self, connection: &str, group: &str) -> Result<Joined, GroupError> {
        match self.ask_connection(connection, Question::Join(group.into())).await? {
            Outcome::DoneHereOnly => Ok(Joined::HereOnly),
            _ => Ok(Joined::Everywhere),
        }
    }

    async fn leave_elsewhere(&self, connection: &str, group: &str) -> Result<(), GroupError> {
        self.ask_connection(connection, Question::Leave(group.into())).await.map(drop)
    }

    /// Asks the node that has a connection; an outcome that this returns is a success.
    async fn ask_connection(&self, id: &str, question: Question) -> Result<Outcome, GroupError> {
        let asked = self.routing.ask_connection(id, question);
        match asked.await {
            Ok(outcome @ (Outcome::Done | Outcome::DoneHereOnly)) => Ok(outcome),
            Ok(Outcome::Refused(reason)) => Err(GroupError::Refused { reason }),
            Ok(Outcome::Failed(reason)) | Err(Silence::Unavailable(reason)) => {
                Err(GroupError::Unavailable { reason })
            }
            Err(Silence::Gone) => Err(GroupError::NodeGone),
            Ok(_) | Err(Silence::Nobody) => Err(GroupError::NotFound),
        }
    }
}

impl From<SubscribeError> for GroupError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::NameTooLong { .. } => Self::NameTooLong,
            SubscribeError::Refused { reason, .. } => Self::Refused { reason },
            SubscribeError::Closed => Self::Closed,
            other => Self::Refused { reason: other.to_string().into() },
        }
    }
}
