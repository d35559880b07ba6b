//! Whose turn it is to ask about a connection, where the order counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// Those who want to ask about the same connection, in the order of their coming.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Box<str>, Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    queue: Arc<Queue<()>>,
    /// Those who wait, and the one whose turn it is.
    count: usize,
}

/// It is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    // Given back first, so that the next one goes on.
    _queue: OwnedMutexGuard<()>,
    _place: Place<'a>,
}

/// A place in the queue, held while waiting too.
#[derive(Debug)]
struct Place<'a> {
    turns: &'a Turns,
    connection: &'a str,
}

impl Turns {
    /// Waits until it is this one's turn. Cancel-safe.
    pub(crate) async fn wait<'a>(&'a self, connection: &'a str) -> Turn<'a> {
        let queue = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = waiting.entry(connection.into()).or_default();
            waiting.count += 1;
            Arc::clone(&waiting.queue)
        };
        let place = Place { turns: self, connection };
        Turn { _queue: queue.lock_owned().await, _place: place }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = waiting.get_mut(self.connection) {
            place.count -= 1;
            if place.count == 0 {
                waiting.remove(self.connection);
            }
        }
    }
}
