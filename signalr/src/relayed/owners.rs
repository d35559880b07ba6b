use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use backplane_hub::{ConnectionId, NodeId};

/// Which nodes have the connections that requests were relayed for lately. What is forgotten costs a
/// question to the registrar.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    owners: HashMap<ConnectionId, NodeId>,
    /// In the order in which they were noted; some are forgotten already.
    order: VecDeque<ConnectionId>,
}

/// The most that are remembered: less than a MiB.
const MOST: usize = 4096;

impl Owners {
    pub(crate) fn find(&self, id: &str) -> Option<NodeId> {
        self.book().owners.get(id).copied()
    }

    pub(crate) fn note(&self, id: &ConnectionId, owner: NodeId) {
        let mut book = self.book();
        if let Some(known) = book.owners.get_mut(id) {
            *known = owner;
            return;
        }
        if book.order.len() >= MOST
            && let Some(oldest) = book.order.pop_front()
        {
            book.owners.remove(&oldest);
        }
        book.owners.insert(id.clone(), owner);
        book.order.push_back(id.clone());
    }

    pub(crate) fn forget(&self, id: &str) {
        self.book().owners.remove(id);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let owners = Owners::default();
        let node = NodeId::random();
        let ids: Vec<ConnectionId> = (0..=MOST).map(|_| ConnectionId::random()).collect();
        ids.iter().for_each(|id| owners.note(id, node));
        assert_eq!(owners.find(&ids[0]), None);
        assert_eq!(owners.find(&ids[1]), Some(node));
        assert_eq!(owners.find(&ids[MOST]), Some(node));
        let other = NodeId::random();
        owners.note(&ids[1], other);
        assert_eq!(owners.find(&ids[1]), Some(other));
        owners.forget(&ids[1]);
        assert_eq!(owners.find(&ids[1]), None);
    }

    #[test]
    fn what_comes_and_goes_is_bounded() {
        let owners = Owners::default();
        let id = ConnectionId::random();
        for _ in 0..3 * MOST {
            owners.note(&id, NodeId::random());
            owners.forget(&id);
        }
        assert!(owners.book().order.len() <= MOST);
    }
}
