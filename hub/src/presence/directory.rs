//! Who is where: the connections of all nodes, found by node, by group and by user.

use std::{collections::HashMap, fmt, sync::Arc};

use backplane_core::NodeId;
// In tests the order of what is told follows from a seed alone.
#[cfg(test)]
use foldhash::quality::FixedState as RandomState;
#[cfg(not(test))]
use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::{
    message::Change,
    watch::{Told, Watching},
};
use crate::ConnectionId;

/// A connection that is open, on this node or another. Cloning costs one reference count.
#[derive(Clone, PartialEq, Eq)]
pub struct Present(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    connection: ConnectionId,
    user: Option<Arc<str>>,
    node: NodeId,
}

impl Present {
    /// Its id.
    #[must_use]
    pub fn connection(&self) -> &ConnectionId {
        &self.0.connection
    }

    /// Whose it is; `None` for anonymous users.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// Which node it is on.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// A hash of which one it is: its address, spread over all bits.
    fn address(&self) -> u64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let mixed = (Arc::as_ptr(&self.0) as u64).wrapping_mul(GOLDEN);
        mixed ^ (mixed >> 32)
    }
}

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Present")
            .field("connection", self.connection())
            .field("user", &self.user())
            .field("node", &self.node())
            .finish()
    }
}

/// Everything that is known of who is where.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    hasher: RandomState,
    rolls: HashMap<NodeId, Roll, RandomState>,
    pub(super) groups: Index,
    pub(super) users: Index,
}

/// The connections of one node.
#[derive(Debug, Default)]
struct Roll {
    connections: HashTable<Held>,
    /// Of the checksums of all connections and memberships.
    sum: u64,
}

#[derive(Debug)]
struct Held {
    present: Present,
    groups: Vec<Arc<str>>,
    /// Of the id, for the sum.
    checksum: u64,
}

impl Directory {
    /// Notes what has become of a connection of `node`, and tells whoever watches.
    ///
    /// What is so already changes nothing, and what cannot be is passed over: the sums tell in the end.
    pub(super) fn apply(&mut self, node: NodeId, change: &Change) {
        match change {
            Change::Opened { connection, user } => self.open(node, connection, user.as_ref()),
            Change::Closed { connection } => self.close(node, connection),
            Change::Joined { connection, group } => {
                let hash = self.hasher.hash(connection);
                let Some(held) = self.held(node, hash, connection) else { return };
                let (present, checksum) = (held.present.clone(), held.checksum);
                if let Some(name) = self.groups.add(group, &present) {
                    let roll = self.rolls.entry(node).or_default();
                    roll.sum = roll.sum.wrapping_add(membership(checksum, group));
                    if let Some(held) = self.held(node, hash, connection) {
                        held.groups.push(name);
                    }
                }
            }
            Change::Left { connection, group } => {
                let hash = self.hasher.hash(connection);
                let Some(held) = self.held(node, hash, connection) else { return };
                let Some(place) = held.groups.iter().position(|it| *it == *group) else { return };
                let name = held.groups.swap_remove(place);
                if held.groups.is_empty() {
                    held.groups = Vec::new();
                }
                let (present, checksum) = (held.present.clone(), held.checksum);
                self.groups.remove(&name, &present);
                let roll = self.rolls.entry(node).or_default();
                roll.sum = roll.sum.wrapping_sub(membership(checksum, group));
            }
        }
    }

    fn open(&mut self, node: NodeId, connection: &Arc<str>, user: Option<&Arc<str>>) {
        let hash = self.hasher.hash(connection);
        if let Some(held) = self.held(node, hash, connection) {
            if held.present.user() == user.map(|user| &**user) {
                return;
            }
            self.close(node, connection);
        }
        let checksum = checksum(connection);
        let id = ConnectionId::from_shared(Arc::clone(connection));
        let mut parts = Parts { connection: id, user: user.map(Arc::clone), node };
        // The index has the one copy of the name that all connections of the user share.
        parts.user = parts.user.map(|user| self.users.shared(user));
        let present = Present(Arc::new(parts));
        if let Some(user) = user {
            self.users.add(user, &present);
        }
        let roll = self.rolls.entry(node).or_default();
        roll.sum = roll.sum.wrapping_add(opening(checksum, user.map_or("", |user| user)));
        let hasher = &self.hasher;
        roll.connections.insert_unique(
            hash,
            Held { present, groups: Vec::new(), checksum },
            |it| hasher.hash(it.present.connection()),
        );
    }

    fn close(&mut self, node: NodeId, connection: &str) {
        let hash = self.hasher.hash(connection);
        let Some(roll) = self.rolls.get_mut(&node) else { return };
        let found =
            roll.connections.find_entry(hash, |it| **it.present.connection() == *connection);
        let Ok(entry) = found else { return };
        let (Held { present, groups, checksum }, _) = entry.remove();
        let user = present.user().unwrap_or_default();
        let gone = groups.iter().map(|group| membership(checksum, group));
        let gone = gone.fold(opening(checksum, user), u64::wrapping_add);
        roll.sum = roll.sum.wrapping_sub(gone);
        if roll.connections.is_empty() {
            self.rolls.remove(&node);
        }
        groups.iter().for_each(|group| self.groups.remove(group, &present));
        if let Some(user) = &present.0.user {
            self.users.remove(user, &present);
        }
    }

    /// Nothing of the node is left.
    pub(super) fn clear(&mut self, node: NodeId) {
        for connection in self.connections(node) {
            self.close(node, &connection);
        }
    }

    /// Makes of what is known of a node what these changes make of nothing.
    pub(super) fn replace(&mut self, node: NodeId, changes: &[Change]) {
        let mut wanted: HashMap<&str, (Option<&str>, Vec<&str>), RandomState> = HashMap::default();
        for change in changes {
            match change {
                Change::Opened { connection, user } => {
                    wanted.insert(connection, (user.as_deref(), Vec::new()));
                }
                Change::Joined { connection, group } => {
                    if let Some((_, groups)) = wanted.get_mut(&**connection) {
                        groups.push(group);
                    }
                }
                Change::Closed { .. } | Change::Left { .. } => {}
            }
        }
        wanted.values_mut().for_each(|(_, groups)| groups.sort_unstable());
        for connection in self.connections(node) {
            let hash = self.hasher.hash(&connection);
            let Some(held) = self.held(node, hash, &connection) else { continue };
            let stays = wanted.get(&*connection).filter(|it| it.0 == held.present.user());
            let Some((_, groups)) = stays else {
                self.close(node, &connection);
                continue;
            };
            let left = |group: &&Arc<str>| groups.binary_search(&&***group).is_err();
            let left: Vec<Arc<str>> = held.groups.iter().filter(left).map(Arc::clone).collect();
            for group in left {
                self.apply(node, &Change::Left { connection: Arc::clone(&connection), group });
            }
        }
        changes.iter().for_each(|change| self.apply(node, change));
    }

    /// What has to happen to nothing for it to become what is known of a node.
    pub(super) fn described(&self, node: NodeId) -> Vec<Change> {
        let held = self.rolls.get(&node).into_iter().flat_map(|roll| &roll.connections);
        held.flat_map(|held| {
            let connection = held.present.connection().shared();
            let user = held.present.0.user.as_ref().map(Arc::clone);
            let opened = Change::Opened { connection: Arc::clone(connection), user };
            let joined = held.groups.iter().map(|group| Change::Joined {
                connection: Arc::clone(connection),
                group: Arc::clone(group),
            });
            [opened].into_iter().chain(joined)
        })
        .collect()
    }

    /// Of all that is known of a node.
    pub(super) fn sum(&self, node: NodeId) -> u64 {
        self.rolls.get(&node).map_or(0, |roll| roll.sum)
    }

    /// A connection and its groups. If several nodes have one of this id, that of `first`, else any.
    pub(super) fn find(&self, first: NodeId, connection: &str) -> Option<(Present, Vec<Arc<str>>)> {
        let hash = self.hasher.hash(connection);
        let find = |roll: &Roll| {
            let held = roll.connections.find(hash, |it| **it.present.connection() == *connection);
            held.map(|held| (held.present.clone(), held.groups.clone()))
        };
        self.rolls.get(&first).and_then(find).or_else(|| self.rolls.values().find_map(find))
    }

    fn connections(&self, node: NodeId) -> Vec<Arc<str>> {
        let held = self.rolls.get(&node).into_iter().flat_map(|roll| &roll.connections);
        held.map(|held| Arc::clone(held.present.connection().shared())).collect()
    }

    fn held(&mut self, node: NodeId, hash: u64, connection: &str) -> Option<&mut Held> {
        let roll = self.rolls.get_mut(&node)?;
        roll.connections.find_mut(hash, |it| **it.present.connection() == *connection)
    }
}

/// Connections by a name: that of a group, or of their user.
#[derive(Debug, Default)]
pub(super) struct Index {
    crowds: HashMap<Arc<str>, HashTable<Present>, RandomState>,
    watching: HashMap<Box<str>, Vec<Arc<Watching>>, RandomState>,
}

impl Index {
    /// Returns the name, in the copy that all share, if the connection was not there before.
    fn add(&mut self, name: &Arc<str>, present: &Present) -> Option<Arc<str>> {
        let name = self.shared(Arc::clone(name));
        let crowd = self.crowds.entry(Arc::clone(&name)).or_default();
        let address = present.address();
        if crowd.find(address, |it| Arc::ptr_eq(&it.0, &present.0)).is_some() {
            return None;
        }
        crowd.insert_unique(address, present.clone(), Present::address);
        self.tell(&name, || Told::Joined(present.clone()));
        Some(name)
    }

    fn remove(&mut self, name: &Arc<str>, present: &Present) {
        let Some(crowd) = self.crowds.get_mut(name) else { return };
        let found = crowd.find_entry(present.address(), |it| Arc::ptr_eq(&it.0, &present.0));
        let Ok(entry) = found else { return };
        entry.remove();
        if crowd.is_empty() {
            self.crowds.remove(name);
        }
        self.tell(name, || Told::Left(present.clone()));
    }

    fn shared(&self, name: Arc<str>) -> Arc<str> {
        self.crowds.get_key_value(&name).map_or(name, |(name, _)| Arc::clone(name))
    }

    fn tell(&self, name: &str, told: impl Fn() -> Told) {
        if !self.watching.is_empty()
            && let Some(watching) = self.watching.get(name)
        {
            watching.iter().for_each(|watching| watching.tell(told()));
        }
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.crowds.get(name).map_or(0, HashTable::len)
    }

    pub(super) fn members(&self, name: &str) -> Vec<Present> {
        self.crowds.get(name).into_iter().flatten().cloned().collect()
    }

    pub(super) fn watch(&mut self, name: &str, watching: Arc<Watching>) {
        self.watching.entry(name.into()).or_default().push(watching);
    }

    pub(super) fn unwatch(&mut self, name: &str, ended: &Arc<Watching>) {
        if let Some(watching) = self.watching.get_mut(name) {
            watching.retain(|it| !Arc::ptr_eq(it, ended));
            if watching.is_empty() {
                self.watching.remove(name);
            }
        }
    }

    pub(super) fn watching(&self) -> impl Iterator<Item = &Arc<Watching>> {
        self.watching.values().flatten()
    }
}

trait Hash {
    fn hash(&self, text: &str) -> u64;
}

impl Hash for RandomState {
    fn hash(&self, text: &str) -> u64 {
        std::hash::BuildHasher::hash_one(self, text)
    }
}

/// The same on every node and in every version: FNV-1a, and a finisher that spreads it over all bits.
fn checksum(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    finished(fnv)
}

/// That of a connection; the user's name is empty for anonymous ones.
fn opening(connection: u64, user: &str) -> u64 {
    finished(connection.rotate_left(31) ^ checksum(user))
}

/// That of a connection in a group.
fn membership(connection: u64, group: &str) -> u64 {
    finished(connection.rotate_left(17) ^ checksum(group))
}

const fn finished(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
