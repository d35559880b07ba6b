use std::{
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::{Local, Member, Message};
use crate::OpenError;

const SHARDS: usize = 64;

/// Every connection of this node, by id: the audience of `All`.
#[derive(Debug)]
pub(crate) struct Connections {
    hasher: RandomState,
    shards: Box<[RwLock<HashTable<Arc<Member>>>]>,
    count: AtomicUsize,
    /// Those that another node has by now: what still comes for them is sent on.
    left: RwLock<Vec<Arc<Member>>>,
    any_left: AtomicBool,
    /// Read with a shard locked for writing, so that nobody slips in behind the one who closes.
    closed: AtomicBool,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            count: AtomicUsize::new(0),
            left: RwLock::default(),
            any_left: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }
}

impl Connections {
    pub(crate) fn insert(&self, member: &Arc<Member>) -> Result<(), OpenError> {
        let hash = self.hash(&member.id);
        let mut table = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return Err(OpenError::Closed);
        }
        if table.find(hash, |it| it.id == member.id).is_some() {
            return Err(OpenError::Duplicate);
        }
        table.insert_unique(hash, Arc::clone(member), |it| self.hash(&it.id));
        self.count.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    pub(crate) fn remove(&self, member: &Member) {
        let hash = self.hash(&member.id);
        let mut table = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        if let Ok(entry) = table.find_entry(hash, |it| std::ptr::eq(&**it, member)) {
            entry.remove();
            self.count.fetch_sub(1, Ordering::AcqRel);
        } else if self.any_left.load(Ordering::Acquire) {
            let mut left = self.left.write().unwrap_or_else(PoisonError::into_inner);
            left.retain(|it| !std::ptr::eq(&**it, member));
            self.any_left.store(!left.is_empty(), Ordering::Release);
        }
    }

    /// Another node has it, whose id is free for whom that hands it over again.
    pub(crate) fn leave(&self, member: &Arc<Member>) {
        {
            // First there, so that no message to all passes it by.
            let mut left = self.left.write().unwrap_or_else(PoisonError::into_inner);
            left.push(Arc::clone(member));
            self.any_left.store(true, Ordering::Release);
        }
        let hash = self.hash(&member.id);
        let mut table = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        if let Ok(entry) = table.find_entry(hash, |it| Arc::ptr_eq(it, member)) {
            entry.remove();
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// That of this id, if it is here: not one that moves.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Member>> {
        let hash = self.hash(id);
        let table = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        table.find(hash, |it| *it.id == *id && !it.is_moving()).map(Arc::clone)
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn deliver(&self, local: &Local, message: &mut Message<'_>) {
        for shard in &self.shards {
            let table = shard.read().unwrap_or_else(PoisonError::into_inner);
            if !table.is_empty() {
                local.deliver(table.iter(), message);
            }
        }
        if self.any_left.load(Ordering::Acquire) {
            let left = self.left.read().unwrap_or_else(PoisonError::into_inner);
            local.deliver(left.iter(), message);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes no more, and returns all there are.
    pub(crate) fn close(&self) -> Vec<Arc<Member>> {
        self.closed.store(true, Ordering::Release);
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            let table = shard.write().unwrap_or_else(PoisonError::into_inner);
            all.extend(table.iter().map(Arc::clone));
        }
        all
    }

    fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<Arc<Member>>> {
        // The table uses the highest and the lowest bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}
