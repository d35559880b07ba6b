use std::{
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

const SHARDS: usize = 16;

/// A shard's newer half turns into the older one when it holds this many.
const HALF: usize = 8192;

/// Which connection has had which message that comes by several topics.
///
/// Two such messages may come interleaved in any way, and connections may join and leave in between,
/// so it is not enough to ask who is in which group. Bounded: a repetition that comes more than
/// 131,072 deliveries later is not recognised. Holds nothing while no such messages are sent.
#[derive(Debug, Default)]
pub(crate) struct Once {
    hasher: RandomState,
    shards: [Mutex<Halves>; SHARDS],
}

#[derive(Debug, Default)]
struct Halves {
    newer: HashTable<u64>,
    older: HashTable<u64>,
}

impl Once {
    /// Whether `connection` gets `message` for the first time.
    pub(crate) fn first(&self, connection: &str, message: u64) -> bool {
        let key = self.hasher.hash_one((message, connection));
        // The table uses the highest and the lowest bits.
        let shard = &self.shards[(key >> 32) as usize % SHARDS];
        let mut halves = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.newer.find(key, |it| *it == key).is_some()
            || halves.older.find(key, |it| *it == key).is_some()
        {
            return false;
        }
        if halves.newer.len() >= HALF {
            halves.older = std::mem::take(&mut halves.newer);
        }
        halves.newer.insert_unique(key, key, |it| *it);
        true
    }

    /// One name for the message that `origin` numbered so.
    pub(crate) fn name(&self, origin: &[u8], number: u64) -> u64 {
        self.hasher.hash_one((origin, number))
    }
}
