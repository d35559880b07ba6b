use std::{
    any::Any,
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use super::{Mark, Queue, Yielded};
use crate::{Claims, ConnectionId, Protocol, User, method::ItemMap};

/// One connection of this node.
pub(crate) struct Member {
    pub(crate) id: ConnectionId,
    user: Option<Owner>,
    pub(crate) protocol: Arc<dyn Protocol>,
    /// The protocol's index.
    pub(crate) slot: usize,
    /// What the front end keeps of the request that it began with.
    pub(crate) request: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) queue: Queue,
    pub(crate) yielded: Yielded,
    pub(crate) items: Mutex<Option<Box<ItemMap>>>,
    memberships: Mutex<Memberships>,
    /// Its [`Phase`].
    phase: AtomicU8,
}

/// Where a connection is that may move. It is reached by its id only where it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Here,
    /// Another node still has it.
    Arriving,
    /// Another node may have it by now.
    Frozen,
    /// Another node has it.
    Left,
}

/// The user of a connection: always the same one, of whom other things may become known.
#[derive(Debug)]
struct Owner {
    id: Option<Arc<str>>,
    claims: Mutex<Arc<Claims>>,
}

/// The groups of one connection. Its lock is taken before that of any audience, so that a
/// connection's joins and leaves have one order.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    /// Unregistered: it joins nothing any more.
    pub(crate) closed: bool,
    /// Not here yet: another node has it.
    pub(crate) arriving: bool,
    /// Each group with the number of the latest join.
    pub(crate) groups: HashMap<Arc<str>, u64, foldhash::fast::RandomState>,
}

impl Memberships {
    /// Whether presence is told of them: the connection is here.
    pub(crate) const fn are_told(&self) -> bool {
        !self.arriving && !self.closed
    }
}

impl Member {
    pub(crate) fn new(
        id: ConnectionId,
        user: Option<User>,
        protocol: Arc<dyn Protocol>,
        slot: usize,
        request: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        Self {
            id,
            user: user.map(|User { id, claims }| Owner { id, claims: Mutex::new(claims) }),
            protocol,
            slot,
            request,
            queue: Queue::default(),
            yielded: Yielded::default(),
            items: Mutex::default(),
            memberships: Mutex::default(),
            phase: AtomicU8::new(Phase::Here as u8),
        }
    }

    /// Who it belongs to, as of now.
    pub(crate) fn user(&self) -> Option<User> {
        let Owner { id, claims } = self.user.as_ref()?;
        let claims = Arc::clone(&claims.lock().unwrap_or_else(PoisonError::into_inner));
        Some(User { id: id.clone(), claims })
    }

    /// What its user is addressed by; `None` where there is nothing to address.
    pub(crate) fn user_id(&self) -> Option<&Arc<str>> {
        let id = self.user.as_ref().and_then(|user| user.id.as_ref());
        id.filter(|id| !id.is_empty())
    }

    /// Takes what is known of its user by now; `false` if that is another one.
    pub(crate) fn refresh(&self, known: User) -> bool {
        match &self.user {
            Some(user) if user.id == known.id => {
                *user.claims.lock().unwrap_or_else(PoisonError::into_inner) = known.claims;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn memberships(&self) -> MutexGuard<'_, Memberships> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds what comes from now on: it moves.
    pub(crate) fn hold(&self, phase: Phase) {
        self.enter(phase);
        self.queue.hold();
    }

    /// Another node has it.
    pub(crate) fn leave(&self) {
        self.enter(Phase::Left);
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// It does not move any more. These had come before what was held.
    pub(crate) fn release(&self, before: &[Mark]) {
        let groups = self.memberships().groups.keys().map(Arc::clone).collect();
        self.queue.release(before, &groups);
        self.enter(Phase::Here);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            it if it == Phase::Arriving as u8 => Phase::Arriving,
            it if it == Phase::Frozen as u8 => Phase::Frozen,
            it if it == Phase::Left as u8 => Phase::Left,
            _ => Phase::Here,
        }
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.memberships().groups.contains_key(group)
    }

    /// Whether it is not here, or may be gone by now.
    pub(crate) fn is_moving(&self) -> bool {
        self.phase() != Phase::Here
    }

    /// Forgets what the application kept, which may hold this very member.
    pub(crate) fn forget_items(&self) {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(items);
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("id", &self.id).finish_non_exhaustive()
    }
}
