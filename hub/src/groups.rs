use std::sync::{Arc, atomic::Ordering};

use backplane_core::{LONGEST_NAME, NodeId, SubscribeError, Subscription};
use futures_util::{StreamExt, stream::FuturesUnordered};

use crate::{
    GroupError,
    hub::Shared,
    members::Member,
    routing::{Outcome, Page, Question, Routed, Silence, Whom},
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
        let caller = self.caller.as_ref();
        // A call may still run here while its connection is on another node.
        let caller = caller.filter(|caller| *caller.id == *connection && !caller.is_moving());
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
        if let Some(member) = self.member(connection) {
            let joining = self.hub.join(&member, group)?;
            // If it began to move just then, it may have gone without.
            if !member.is_moving() {
                return self.hub.joined(&member, group, &joining).await;
            }
        }
        self.hub.join_elsewhere(connection, group).await
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
                // If it began to move just then, it may have gone with it.
                if member.is_moving() {
                    return self.hub.leave_elsewhere(connection, group).await;
                }
                Ok(())
            }
            None => self.hub.leave_elsewhere(connection, group).await,
        }
    }
}

/// What concerns all groups of a connection, or all connections of a user.
impl Groups {
    /// The groups of a connection, on whichever node it is, in no order.
    ///
    /// What joins and leaves meanwhile may or may not be among them. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Those of [`add`](Self::add).
    pub async fn of(&self, connection: &str) -> Result<Vec<Arc<str>>, GroupError> {
        if let Some(member) = self.member(connection) {
            return Ok(member.memberships().groups.keys().map(Arc::clone).collect());
        }
        let mut groups: Vec<Arc<str>> = Vec::new();
        loop {
            let after = groups.last().map_or_else(Box::default, |name| Box::from(&**name));
            let outcome = self.hub.ask_connection(connection, Question::Groups(after)).await?;
            let Outcome::Groups(page) = outcome else { return Ok(groups) };
            // Each page ends at a later name, so this ends, whatever the other node says.
            let goes_on = page.more && page.names.last() > groups.last();
            groups.extend(page.names);
            if !goes_on {
                return Ok(groups);
            }
        }
    }

    /// Lets a connection leave all its groups, on whichever node it is.
    ///
    /// Cancelling it leaves open whether the connection leaves.
    ///
    /// # Errors
    ///
    /// Those of [`add`](Self::add).
    pub async fn leave_all(&self, connection: &str) -> Result<(), GroupError> {
        match self.member(connection) {
            Some(member) => {
                self.hub.leave_all(&member);
                if member.is_moving() {
                    return self.hub.leave_all_elsewhere(connection).await;
                }
                Ok(())
            }
            None => self.hub.leave_all_elsewhere(connection).await,
        }
    }

    /// Lets all connections that a user has now join a group, on all nodes, and returns when that is
    /// effective. Connections that the user opens later are not members.
    ///
    /// Each node that this one knows to be alive is asked. One that says nothing although the link was up
    /// throughout does not run the hub; one that leaves or dies takes its connections along. A node that has
    /// come up within the last heartbeat may not be known yet.
    ///
    /// Cancelling it leaves open which connections join.
    ///
    /// # Errors
    ///
    /// [`GroupError::Partly`] names the nodes that could not be asked, as the link to the broker is down or
    /// in doubt; on all others the user's connections have joined, and doing it again does no harm.
    /// [`GroupError::Refused`] where the broker refuses the group.
    pub async fn add_user(&self, user: &str, group: &str) -> Result<Joined, GroupError> {
        check(user)?;
        check(group)?;
        if user.is_empty() || group.is_empty() {
            return Ok(Joined::Everywhere);
        }
        let here = self.hub.join_user(user, group);
        let question = Question::AddUser(user.into(), group.into());
        let (here, elsewhere) = tokio::join!(here, self.hub.ask_all(&question));
        match (here?, elsewhere?) {
            (Joined::Everywhere, Joined::Everywhere) => Ok(Joined::Everywhere),
            _ => Ok(Joined::HereOnly),
        }
    }

    /// Lets all connections that a user has now leave a group, on all nodes.
    ///
    /// Cancelling it leaves open which connections leave.
    ///
    /// # Errors
    ///
    /// Those of [`add_user`](Self::add_user).
    pub async fn remove_user(&self, user: &str, group: &str) -> Result<(), GroupError> {
        check(user)?;
        check(group)?;
        if user.is_empty() || group.is_empty() {
            return Ok(());
        }
        self.hub.leave_user(user, group);
        let question = Question::RemoveUser(user.into(), group.into());
        self.hub.ask_all(&question).await.map(drop)
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
        // Nobody is told of one that is not here yet.
        if let Some(presence) = self.presence.as_ref().filter(|_| is_new && !memberships.arriving) {
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
            if let Some(presence) = self.presence.as_ref().filter(|_| memberships.are_told()) {
                presence.left(member, &name);
            }
        }
    }

    /// Ends all memberships.
    pub(crate) fn leave_all(&self, member: &Member) {
        let mut memberships = member.memberships();
        let presence = self.presence.as_ref().filter(|_| memberships.are_told());
        for (name, _) in std::mem::take(&mut memberships.groups) {
            self.groups.remove(&name, member);
            if let Some(presence) = presence {
                presence.left(member, &name);
            }
        }
    }

    /// Makes all connections that a user has on this node members, and waits until that is effective.
    pub(crate) async fn join_user(&self, user: &str, group: &str) -> Result<Joined, GroupError> {
        let mut joining = Vec::new();
        for member in self.users.members(user) {
            match self.join(&member, group) {
                Ok(join) => joining.push((member, join)),
                // It has just gone.
                Err(GroupError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let mut effective = Joined::Everywhere;
        for (member, join) in joining {
            if self.joined(&member, group, &join).await? == Joined::HereOnly {
                effective = Joined::HereOnly;
            }
        }
        Ok(effective)
    }

    /// Ends the memberships of all connections that a user has on this node.
    pub(crate) fn leave_user(&self, user: &str, group: &str) {
        self.users.members(user).iter().for_each(|member| self.leave(member, group, None));
    }

    /// The groups of a connection of this node whose names follow `after`, as many as go into one answer.
    pub(crate) fn groups_of(&self, member: &Member, after: &str) -> Page {
        let memberships = member.memberships();
        let later = memberships.groups.keys().filter(|name| ***name > *after);
        let mut names: Vec<Arc<str>> = later.map(Arc::clone).collect();
        drop(memberships);
        names.sort_unstable();
        Page::of(names, self.routing.largest_answer())
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

    async fn leave_all_elsewhere(&self, connection: &str) -> Result<(), GroupError> {
        self.ask_connection(connection, Question::LeaveAll).await.map(drop)
    }

    async fn leave_elsewhere(&self, connection: &str, group: &str) -> Result<(), GroupError> {
        self.ask_connection(connection, Question::Leave(group.into())).await.map(drop)
    }

    /// Asks every other node that is alive, and waits for all of them.
    async fn ask_all(&self, question: &Question) -> Result<Joined, GroupError> {
        let nodes = self.routing.others();
        if let Err(reason) = self.routing.reachable().await {
            return Err(GroupError::Partly { nodes, reason });
        }
        let asked = nodes.into_iter().map(|node| {
            let asked = self.routing.ask(Whom::Node(node), question.clone());
            // Each on the heap, where there may be many.
            Box::pin(async move { (node, asked.await) })
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut effective = Joined::Everywhere;
        let mut missing: Option<(Vec<NodeId>, Arc<str>)> = None;
        let mut refused = None;
        while let Some((node, outcome)) = asked.next().await {
            let reason = match outcome {
                Ok(Outcome::DoneHereOnly) => {
                    effective = Joined::HereOnly;
                    continue;
                }
                Ok(Outcome::Refused(reason)) => {
                    refused = Some(reason);
                    continue;
                }
                // Done; or it does not run the hub, or its connections are gone with it.
                Ok(Outcome::Done | Outcome::NotFound) | Err(Silence::Nobody | Silence::Gone) => {
                    continue;
                }
                Ok(Outcome::Failed(reason)) | Err(Silence::Unavailable(reason)) => reason,
                Ok(_) => "it answers in a way that this version does not know".into(),
                Err(Silence::TooLarge { size, limit }) => {
                    format!("the question has {size}, and an envelope holds {limit}").into()
                }
                Err(Silence::Closed) => "the backplane is closed".into(),
            };
            missing.get_or_insert_with(|| (Vec::new(), reason)).0.push(node);
        }
        match (refused, missing) {
            (Some(reason), _) => Err(GroupError::Refused { reason }),
            (None, Some((nodes, reason))) => Err(GroupError::Partly { nodes, reason }),
            (None, None) => Ok(effective),
        }
    }

    /// Asks the node that has a connection; an outcome that this returns is a success.
    async fn ask_connection(&self, id: &str, question: Question) -> Result<Outcome, GroupError> {
        let asked = self.routing.ask(Whom::Connection(id), question);
        match asked.await {
            Ok(outcome @ (Outcome::Done | Outcome::DoneHereOnly | Outcome::Groups(_))) => {
                Ok(outcome)
            }
            Ok(Outcome::Refused(reason)) => Err(GroupError::Refused { reason }),
            Ok(Outcome::Failed(reason)) | Err(Silence::Unavailable(reason)) => {
                Err(GroupError::Unavailable { reason })
            }
            Err(Silence::Gone) => Err(GroupError::NodeGone),
            Err(Silence::Closed) => Err(GroupError::Closed),
            Err(Silence::TooLarge { size, limit }) => {
                let reason = format!("asking takes {size}, the transport carries at most {limit}");
                Err(GroupError::Unavailable { reason: reason.into() })
            }
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
