use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Local, Member, Pushed};
use crate::{Completion, CompletionError};

/// The results that clients of this node owe, by the ids of the calls.
#[derive(Debug, Default)]
pub(crate) struct Owed(Mutex<HashMap<Box<str>, Place>>);

/// A call that waits for its result.
#[derive(Debug)]
struct Place {
    /// Whose result it is.
    debtor: Weak<Member>,
    told: oneshot::Sender<Completion>,
}

/// The most calls that wait for a result.
const MOST: usize = 65_536;

/// Why there is no result of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    Disconnected,
    /// The call did not fit into the connection's queue.
    TooSlow,
    /// Too many calls wait.
    TooMany,
    /// A call of this id waits already.
    Duplicate,
}

impl Owed {
    pub(crate) fn len(&self) -> usize {
        self.places().len()
    }

    /// What `debtor` answers to the call `id`.
    pub(crate) fn pay(
        &self,
        id: &str,
        debtor: &Member,
        completion: Completion,
    ) -> Result<(), CompletionError> {
        let place = {
            let mut places = self.places();
            let Some(place) = places.get(id) else {
                return Err(CompletionError::Unknown { invocation: id.into() });
            };
            if !std::ptr::eq(place.debtor.as_ptr(), debtor) {
                return Err(CompletionError::WrongConnection {
                    connection: debtor.id.clone(),
                    invocation: id.into(),
                });
            }
            places.remove(id)
        };
        // Whoever waited has just gone if this fails, which makes the answer a late one.
        place.map_or(Ok(()), |place| place.told.send(completion).or(Ok(())))
    }

    /// Nobody of this node answers the calls of this connection any more.
    pub(crate) fn forsake(&self, debtor: &Member) {
        self.places().retain(|_, place| !std::ptr::eq(place.debtor.as_ptr(), debtor));
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Box<str>, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result that a client of this node owes. Dropping it forgets the call: an answer to it is late.
#[derive(Debug)]
pub(crate) struct Debt {
    local: Arc<Local>,
    member: Arc<Member>,
    id: Box<str>,
    told: oneshot::Receiver<Completion>,
}

impl Local {
    /// Puts the call `id` into the queue of a connection of this node.
    pub(crate) fn call(
        self: &Arc<Self>,
        member: &Arc<Member>,
        id: &str,
        payload: Bytes,
    ) -> Result<Debt, Unanswered> {
        let (told, answer) = oneshot::channel();
        {
            let mut places = self.owed.places();
            if places.len() >= MOST {
                return Err(Unanswered::TooMany);
            }
            match places.entry(id.into()) {
                // Ids are unique: it would be another node that makes them up.
                Entry::Occupied(_) => return Err(Unanswered::Duplicate),
                Entry::Vacant(place) => {
                    place.insert(Place { debtor: Arc::downgrade(member), told });
                }
            }
        }
        let debt = Debt {
            local: Arc::clone(self),
            member: Arc::clone(member),
            id: id.into(),
            told: answer,
        };
        match self.push(member, payload) {
            Pushed::Queued | Pushed::Repeated => Ok(debt),
            Pushed::Dropped => Err(Unanswered::TooSlow),
            Pushed::Closed | Pushed::Ending => Err(Unanswered::Disconnected),
        }
    }
}

impl Debt {
    /// Waits for the client's answer, or its end. Cancel-safe.
    pub(crate) async fn paid(mut self) -> Result<Completion, Unanswered> {
        tokio::select! {
            biased;
            // The sender is in the book until it is used, or this is dropped.
            answer = &mut self.told => answer.or(Err(Unanswered::Disconnected)),
            () = self.member.queue.over() => Err(Unanswered::Disconnected),
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.local.owed.places().remove(&self.id);
    }
}
