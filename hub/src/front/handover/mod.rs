//! How a connection moves to another node while the one that has it lives.
//!
//! ```text
//! old node                              new node
//! preview: groups              ──────▶  adopt: subscribes to all of it, holds what comes
//! freeze: holds what comes     ──────▶  take over: what the old node had, then what is held
//! leave: forgets it, no hook   ◀──────  the front end says that it has it
//! arrivals, for a while        ──────▶  late messages, answers of calls that still run
//! ```
//!
//! From the first subscription of the new node to the last message of the old one, both hear the
//! connection's topics. Whatever either has heard goes to the client: what both have is told by its mark
//! and dropped once, so nothing is lost on the way and nothing doubled, on whichever transport. Messages
//! keep their order, but for those that the old node hears after it froze and the new one never does;
//! they come late. What is for a group that the connection has left meanwhile is dropped on the way.

mod state;

use std::{collections::HashSet, sync::Arc};

use backplane_core::NodeId;
use bytes::Bytes;

use self::state::{State, decode_arrivals, decode_groups, encode_arrivals, encode_groups};
use super::{Connection, Opening, Outbound};
use crate::{
    ConnectionId, End, GroupError, Hub, Joined, OpenError, Ownership,
    hub::Shared,
    members::{Member, Phase},
    routing::{Question, Routed, Whom},
};

/// Why a connection was not taken over. The node that had it keeps it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// It cannot be opened here.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot join one of its groups here.
    #[error("the connection cannot join its groups on this node")]
    Group(#[from] GroupError),
    /// The link to the broker is down, so that nothing that is sent to the connection would arrive.
    #[error("the link to the broker is down; a connection moves only while it is up")]
    LinkDown,
    /// What the other node says of the connection cannot be read, most likely as it runs another version.
    #[error("the other node describes the connection in a way that this version does not know")]
    Unreadable,
}

/// The old node's side.
impl Connection {
    /// What a node needs to adopt the connection. Nothing changes.
    #[must_use]
    pub fn preview(&self) -> Bytes {
        encode_groups(&self.groups())
    }

    /// Holds what comes from now on, and returns what the new node takes over. What waits in the
    /// connection's queue is the front end's to hand over.
    ///
    /// To be followed by [`thaw`](Self::thaw) or [`leave`](Self::leave).
    #[must_use]
    pub fn freeze(&self) -> Bytes {
        let member = &self.member;
        member.hold(Phase::Frozen);
        let state = State {
            groups: self.groups(),
            recent: member.queue.recent(),
            items: self.hub.portables.write(member),
        };
        state.encode()
    }

    /// Goes on as if nothing had been.
    pub fn thaw(&self) {
        self.member.release(&[]);
    }

    /// The most bytes that wait for the connection: [`HubOptions::outbound_bytes`](crate::HubOptions::outbound_bytes).
    #[must_use]
    pub fn outbound_bytes(&self) -> usize {
        self.hub.local.limits.bytes()
    }

    /// The new node has the connection: this one forgets it, without running `on_disconnected`. Calls of
    /// its client's results fail. What still comes is collected until this is dropped, among it the wish of
    /// a call that still runs to [abort](crate::Caller::abort): [`ended`](Self::ended).
    #[must_use = "dropping it drops what still comes for the connection"]
    pub fn leave(self) -> Left {
        let (hub, member) = (&*self.hub, &self.member);
        member.leave();
        {
            let mut memberships = member.memberships();
            let first = !std::mem::replace(&mut memberships.closed, true);
            if let Some(presence) = hub.presence.as_ref().filter(|_| first) {
                presence.closed(member);
            }
        }
        hub.connections.leave(member);
        hub.local.owed.forsake(member);
        Left(self)
    }

    fn groups(&self) -> Vec<Arc<str>> {
        self.member.memberships().groups.keys().map(Arc::clone).collect()
    }
}

/// A connection that another node has, for which something may still come here.
#[derive(Debug)]
pub struct Left(Connection);

impl Left {
    /// Waits until something has come, and takes about so many bytes of it: for
    /// [`Arrivals::take`]. Cancel-safe.
    pub async fn arrived(&self, most: usize) -> Bytes {
        let queue = &self.0.member.queue;
        let held = std::future::poll_fn(|context| queue.poll_held(context, most)).await;
        encode_arrivals(&held)
    }

    /// For answers of calls that still run.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.0
    }
}

/// A connection that is to be taken over. Dropping it lets the other node keep it.
#[derive(Debug)]
#[must_use = "dropping it gives the connection up"]
pub struct Adopted {
    connection: Connection,
    outbound: Outbound,
    /// Those that it has joined already.
    groups: Vec<Arc<str>>,
}

/// The new node's side.
impl Hub {
    /// Prepares to take a connection over: subscribes to what the node that has it has said in its
    /// [`preview`](Connection::preview), and holds what comes. Neither hook runs.
    ///
    /// Cancelling it gives the connection up.
    ///
    /// # Errors
    ///
    /// Those of [`HandoverError`].
    pub async fn adopt(&self, opening: Opening, preview: &Bytes) -> Result<Adopted, HandoverError> {
        let groups = decode_groups(preview.clone()).map_err(|_| HandoverError::Unreadable)?;
        let opened = self.register(opening, true)?;
        let member = &opened.connection.member;
        let joined = groups.iter().map(|group| Ok((group, self.0.join(member, group)?)));
        for (group, joining) in joined.collect::<Result<Vec<_>, GroupError>>()? {
            if self.0.joined(member, group, &joining).await? != Joined::Everywhere {
                return Err(HandoverError::LinkDown);
            }
        }
        if opened.routed().await? != Routed::Everywhere {
            return Err(HandoverError::LinkDown);
        }
        let (connection, outbound) = opened.split();
        Ok(Adopted { connection, outbound, groups })
    }
}

impl Adopted {
    /// Takes over what the other node has [frozen](Connection::freeze). From now on the connection is
    /// served here, once the front end has told the other node.
    ///
    /// Cancelling it gives the connection up.
    ///
    /// # Errors
    ///
    /// Those of [`HandoverError`].
    pub async fn take_over(self, state: Bytes) -> Result<(Connection, Outbound), HandoverError> {
        let Self { connection, outbound, groups } = self;
        let state = State::decode(state).map_err(|_| HandoverError::Unreadable)?;
        let (hub, member) = (&connection.hub, &connection.member);
        let known: HashSet<&Arc<str>> = groups.iter().collect();
        for group in state.groups.iter().filter(|group| !known.contains(group)) {
            let joining = hub.join(member, group)?;
            if hub.joined(member, group, &joining).await? != Joined::Everywhere {
                return Err(HandoverError::LinkDown);
            }
        }
        let kept: HashSet<&Arc<str>> = state.groups.iter().collect();
        for group in groups.iter().filter(|group| !kept.contains(group)) {
            hub.leave(member, group, None);
        }
        hub.portables.read(state.items, member);
        {
            let mut memberships = member.memberships();
            memberships.arriving = false;
            if let Some(presence) = &hub.presence {
                presence.opened(member);
                memberships.groups.keys().for_each(|group| presence.joined(member, group));
            }
        }
        member.release(&state.recent);
        Ok((connection, outbound))
    }
}

impl Connection {
    /// For what the node that had the connection sends on.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        Arrivals { hub: Arc::clone(&self.hub), member: Arc::clone(&self.member) }
    }
}

/// Where late messages go.
#[derive(Debug, Clone)]
pub struct Arrivals {
    hub: Arc<Shared>,
    member: Arc<Member>,
}

impl Arrivals {
    /// Ends the connection, as a call wants that still runs on the node that had it.
    pub fn abort(&self) {
        self.member.queue.end(End::Aborted);
    }

    /// Takes what has [arrived](Left::arrived) at the other node, as there is room for it; what has come
    /// here too is dropped. Cancelling it drops what is left.
    ///
    /// # Errors
    ///
    /// It cannot be read, and is lost.
    pub async fn take(&self, arrived: Bytes) -> Result<(), HandoverError> {
        let (local, member) = (&self.hub.local, &self.member);
        for held in decode_arrivals(arrived).map_err(|_| HandoverError::Unreadable)? {
            let is_its = held.group.as_ref().is_none_or(|group| member.is_in(group));
            // What has come here too needs no room, and may be forgotten while it would wait for it.
            if is_its && !member.queue.has_come(held.mark) {
                member.queue.room(held.message.len(), &local.limits).await;
                local.deliver_late(member, held);
            }
        }
        Ok(())
    }
}

impl Hub {
    /// This node has a connection that another one had: its registrar, if it lives, is told.
    pub fn take_ownership(&self, id: &ConnectionId, registrar: NodeId) -> Ownership {
        let hub = &self.0;
        if registrar == self.node() {
            hub.registrar.moved(id, (registrar, hub.local.asking.number()));
        } else if hub.routing.others().contains(&registrar) {
            let (hub, id) = (Arc::clone(hub), id.clone());
            // One for each move; whoever looks for the connection meanwhile finds it by its id.
            tokio::spawn(async move {
                let moved = Question::Moved(id.as_str().into());
                if let Err(silence) = hub.routing.ask(Whom::Node(registrar), moved).await {
                    tracing::debug!(%id, ?silence, "a registrar was not told where a connection is");
                }
            });
        }
        Ownership::new(hub, id, registrar)
    }
}
