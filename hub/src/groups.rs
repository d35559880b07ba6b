use std::sync::{Arc, atomic::Ordering};

use backplane_core::{LONGEST_NAME, SubscribeError, Subscription};

use crate::{GroupError, hub::Shared, members::Member, routing::Routed};

/// Who is in which group: connections of all nodes.
///
/// A group exists while it has members. Names are compared byte by byte.
#[derive(Debug, Clone)]
pub struct Groups(Arc<Shared>);

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
    pub(crate) const fn new(hub: Arc<Shared>) -> Self {
        Self(hub)
    }

    /// Lets a connection join a group, on whichever node it is, and returns when that is effective.
    /// Joining again changes nothing.
    ///
    /// Cancelling it leaves open whether the connection joins.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotFound`] promptly where no node has the connection; `Unavailable` where that cannot be
    /// told, as the link to the broker is down.
    pub async fn add(&self, connection: &str, group: &str) -> Result<Joined, GroupError> {
        check(group)?;
        if group.is_empty() {
            return Ok(Joined::Everywhere);
        }
        match self.0.connections.get(connection) {
            Some(member) => {
                let (subscription, _) = self.0.join(&member, group)?;
                self.0.joined(&member, group, &subscription).await
            }
            None => self.0.join_elsewhere(connection, group).await,
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
        match self.0.connections.get(connection) {
            Some(member) => {
                self.0.leave(&member, group, None);
                Ok(())
            }
            None => self.0.leave_elsewhere(connection, group).await,
        }
    }
}

fn check(group: &str) -> Result<(), GroupError> {
    if group.len() > LONGEST_NAME { Err(GroupError::NameTooLong) } else { Ok(()) }
}

impl Shared {
    /// Makes a connection of this node a member. Returns the group's subscription and the number of
    /// this join.
    pub(crate) fn join(
        &self,
        member: &Arc<Member>,
        group: &str,
    ) -> Result<(Arc<Subscription>, u64), GroupError> {
        // Held throughout, so that joins, leaves and the end of one connection have one order.
        let mut memberships = member.memberships();
        if memberships.closed {
            return Err(GroupError::NotFound);
        }
        let subscribe = |audience| self.routing.subscribe_group(group, audience);
        let added = self.groups.add(group, member, &self.local, subscribe)?;
        let number = self.joins.fetch_add(1, Ordering::Relaxed);
        memberships.groups.insert(added.name, number);
        Ok((added.subscription, number))
    }

    /// Ends a membership; with a number, only if that is the number of its latest join.
    pub(crate) fn leave(&self, member: &Member, group: &str, number: Option<u64>) {
        let mut memberships = member.memberships();
        if number.is_some() && memberships.groups.get(group).copied() != number {
            return;
        }
        if let Some((name, _)) = memberships.groups.remove_entry(group) {
            self.groups.remove(&name, member);
        }
    }

    /// Waits until a join is effective.
    pub(crate) async fn joined(
        &self,
        member: &Member,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Joined, GroupError> {
        match self.routing.routed(subscription).await {
            Ok(Routed::Everywhere) => Ok(Joined::Everywhere),
            Ok(Routed::HereOnly) => Ok(Joined::HereOnly),
            Err(error) => {
                // A membership that other nodes never learn of would look like one that works.
                self.leave(member, group, None);
                Err(error.into())
            }
        }
    }
}

impl Shared {
    async fn join_elsewhere(&self, _: &str, _: &str) -> Result<Joined, GroupError> {
        Err(GroupError::NotFound)
    }

    async fn leave_elsewhere(&self, _: &str, _: &str) -> Result<(), GroupError> {
        Err(GroupError::NotFound)
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
