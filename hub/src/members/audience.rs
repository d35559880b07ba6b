use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use backplane_core::{SubscribeError, Subscription};
use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::{Local, Member, Message};

/// Connections of this node that are addressed together: a group's or a user's. The sink of their
/// topic.
#[derive(Debug)]
pub(crate) struct Audience {
    pub(crate) local: Arc<Local>,
    /// `None` for a user's.
    group: Option<Arc<str>>,
    members: RwLock<HashTable<Arc<Member>>>,
}

impl Audience {
    fn new(local: Arc<Local>, group: Option<Arc<str>>) -> Self {
        Self { local, group, members: RwLock::default() }
    }

    pub(crate) fn deliver(&self, message: &mut Message<'_>) {
        message.group.clone_from(&self.group);
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        self.local.deliver(members.iter(), message);
    }

    fn add(&self, member: &Arc<Member>) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let hash = address(member);
        if members.find(hash, |it| Arc::ptr_eq(it, member)).is_none() {
            members.insert_unique(hash, Arc::clone(member), |it| address(it));
        }
    }

    /// Whether nobody is left.
    fn remove(&self, member: &Member) -> bool {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        if let Ok(entry) = members.find_entry(address(member), |it| std::ptr::eq(&**it, member)) {
            entry.remove();
        }
        members.is_empty()
    }
}

/// A hash of which member it is: its address, spread over all bits.
fn address(member: &Member) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let mixed = (std::ptr::from_ref(member) as u64).wrapping_mul(GOLDEN);
    mixed ^ (mixed >> 32)
}

const SHARDS: usize = 64;

/// The audiences of one kind, by name, each with its subscription.
#[derive(Debug)]
pub(crate) struct Audiences {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    count: AtomicUsize,
    /// Whether they are groups, and not users.
    are_groups: bool,
}

type Shard = HashMap<Arc<str>, Present, foldhash::quality::RandomState>;

#[derive(Debug)]
struct Present {
    audience: Arc<Audience>,
    /// Kept here and not in the audience, which the backplane holds: dropping the table ends it.
    subscription: Arc<Subscription>,
}

/// A place in an audience.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) name: Arc<str>,
    pub(crate) subscription: Arc<Subscription>,
}

impl Audiences {
    pub(crate) fn of_groups() -> Self {
        Self::new(true)
    }

    pub(crate) fn of_users() -> Self {
        Self::new(false)
    }

    fn new(are_groups: bool) -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            are_groups,
        }
    }
}

impl Audiences {
    /// Adds a member to the audience `name`, which is subscribed first where it is new.
    pub(crate) fn add(
        &self,
        name: &str,
        member: &Arc<Member>,
        local: &Arc<Local>,
        subscribe: impl FnOnce(Arc<Audience>) -> Result<Subscription, SubscribeError>,
    ) -> Result<Added, SubscribeError> {
        let mut shard = self.shard(name);
        if let Some((name, present)) = shard.get_key_value(name) {
            present.audience.add(member);
            let subscription = Arc::clone(&present.subscription);
            return Ok(Added { name: Arc::clone(name), subscription });
        }
        let name: Arc<str> = name.into();
        let group = self.are_groups.then(|| Arc::clone(&name));
        let audience = Arc::new(Audience::new(Arc::clone(local), group));
        audience.add(member);
        let subscription = Arc::new(subscribe(Arc::clone(&audience))?);
        let present = Present { audience, subscription: Arc::clone(&subscription) };
        shard.insert(Arc::clone(&name), present);
        self.count.fetch_add(1, Ordering::AcqRel);
        Ok(Added { name, subscription })
    }

    /// Removes a member; the audience ends with its last one.
    pub(crate) fn remove(&self, name: &Arc<str>, member: &Member) {
        let ended = {
            let mut shard = self.shard(name);
            match shard.entry(Arc::clone(name)) {
                Entry::Occupied(present) if present.get().audience.remove(member) => {
                    self.count.fetch_sub(1, Ordering::AcqRel);
                    Some(present.remove())
                }
                _ => None,
            }
        };
        // Unsubscribes, without the lock.
        drop(ended);
    }

    /// The members of an audience.
    pub(crate) fn members(&self, name: &str) -> Vec<Arc<Member>> {
        let audience = self.shard(name).get(name).map(|present| Arc::clone(&present.audience));
        let Some(audience) = audience else { return Vec::new() };
        let members = audience.members.read().unwrap_or_else(PoisonError::into_inner);
        members.iter().map(Arc::clone).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(name) >> 32) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
