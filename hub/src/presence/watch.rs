//! Following who joins and leaves.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::{Stream, StreamExt};

use super::{Present, directory::Index, register::Register};

/// What a [`Watch`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// Everybody who is there at this moment, in no order: the first event, and again after some were
    /// skipped. What follows has happened since.
    Snapshot {
        /// Who is there.
        present: Vec<Present>,
        /// How many joins and leaves were not told before this, as they came faster than they were
        /// taken. What they came to is in the snapshot.
        skipped: u64,
    },
    /// Somebody has joined: the group, or as a connection of the user.
    Joined(Present),
    /// Somebody has left, or his node has.
    Left(Present),
}

/// Who is there, and from then on who joins and leaves, on all nodes: a [`Stream`]. See
/// [`GroupPresence::watch`](super::GroupPresence::watch).
///
/// The joins and leaves of one connection come in their order. They are kept until they are taken, up to
/// [`PresenceOptions::watched_events`](super::PresenceOptions::watched_events); one that comes on top
/// discards them, and everything starts anew with a snapshot. It ends with the hub.
#[derive(Debug)]
pub struct Watch {
    register: Arc<Register>,
    subject: Subject,
    watching: Arc<Watching>,
}

/// What is watched.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    Group(Box<str>),
    User(Box<str>),
}

impl Subject {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Group(name) | Self::User(name) => name,
        }
    }
}

impl Watch {
    pub(super) fn new(register: Arc<Register>, subject: Subject, capacity: usize) -> Self {
        let watching = Watching::new(capacity);
        register.watch(&subject, Arc::clone(&watching));
        Self { register, subject, watching }
    }

    /// The next event; `None` when the hub has ended. Cancel-safe.
    pub async fn recv(&mut self) -> Option<PresenceEvent> {
        self.next().await
    }
}

impl Stream for Watch {
    type Item = PresenceEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PresenceEvent>> {
        if let Some(outcome) = self.watching.poll(context) {
            return outcome;
        }
        let snapshot = self.register.indexed(&self.subject, |index, name| {
            // Nobody changes the index meanwhile, so nothing comes between this and what follows.
            self.watching.begin(index.members(name))
        });
        Poll::Ready(Some(snapshot))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.register.unwatch(&self.subject, &self.watching);
    }
}

/// What the directory tells a watch.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Joined(Present),
    Left(Present),
}

/// The directory's end of a watch. Told with the directory locked, so everything has one order.
#[derive(Debug)]
pub(super) struct Watching {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    told: VecDeque<Told>,
    reader: Option<Waker>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, Default)]
enum Phase {
    /// The reader has yet to ask.
    #[default]
    Idle,
    Following,
    /// So many were not told; the reader has to begin anew.
    Lagging(u64),
}

impl Watching {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity: capacity.max(1), state: Mutex::default() })
    }

    pub(super) fn tell(&self, told: Told) {
        let mut state = self.state();
        match state.phase {
            Phase::Idle => return,
            Phase::Lagging(skipped) => {
                state.phase = Phase::Lagging(skipped + 1);
                return;
            }
            Phase::Following if state.told.len() < self.capacity => state.told.push_back(told),
            Phase::Following => {
                state.phase = Phase::Lagging(state.told.len() as u64 + 1);
                state.told = VecDeque::new();
            }
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// `None` where the reader has to begin with a snapshot.
    fn poll(&self, context: &Context<'_>) -> Option<Poll<Option<PresenceEvent>>> {
        let mut state = self.state();
        Some(match state.told.pop_front() {
            Some(Told::Joined(present)) => Poll::Ready(Some(PresenceEvent::Joined(present))),
            Some(Told::Left(present)) => Poll::Ready(Some(PresenceEvent::Left(present))),
            None if state.ended => Poll::Ready(None),
            None if matches!(state.phase, Phase::Following) => {
                match &mut state.reader {
                    Some(reader) => reader.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            None => return None,
        })
    }

    fn begin(&self, present: Vec<Present>) -> PresenceEvent {
        let mut state = self.state();
        let skipped = match std::mem::replace(&mut state.phase, Phase::Following) {
            Phase::Lagging(skipped) => skipped,
            Phase::Idle | Phase::Following => 0,
        };
        PresenceEvent::Snapshot { present, skipped }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index that a subject is looked up in.
pub(super) fn index<'a>(subject: &Subject, groups: &'a Index, users: &'a Index) -> &'a Index {
    match subject {
        Subject::Group(_) => groups,
        Subject::User(_) => users,
    }
}

/// What a watch would yield by now.
#[cfg(test)]
pub(super) fn drained(watching: &Watching, index: &Index, name: &str) -> Vec<PresenceEvent> {
    let context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    loop {
        match watching.poll(&context) {
            Some(Poll::Ready(Some(event))) => events.push(event),
            Some(_) => return events,
            None => events.push(watching.begin(index.members(name))),
        }
    }
}
