use std::{
    collections::{HashSet, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Held, Mark, passage::Passage};
use crate::{HubOptions, WhenSlow};

/// Why the hub wants a connection closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// A method called [`Caller::abort`](crate::Caller::abort).
    Aborted,
    /// The client did not take its messages as fast as they came. What waited is discarded.
    TooSlow,
    /// The hub is closing.
    ShuttingDown,
}

/// The bounds of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    messages: usize,
    bytes: usize,
    when_slow: WhenSlow,
}

impl From<&HubOptions> for Limits {
    fn from(options: &HubOptions) -> Self {
        Self {
            messages: options.outbound_messages.max(1),
            bytes: usize::try_from(options.outbound_bytes.as_u64()).unwrap_or(usize::MAX),
            when_slow: options.when_slow,
        }
    }
}

impl Limits {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// It has come before.
    Repeated,
    /// Dropped, as the queue is full.
    Dropped,
    /// The queue was full and the connection is ended because of it.
    Closed,
    /// Dropped, as the connection is ending.
    Ending,
}

/// What waits for one connection. Holds next to nothing while nothing waits.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    over: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Bytes>,
    bytes: usize,
    reader: Option<Waker>,
    /// Told when there may be room, or is not to be waited for; only while somebody waits.
    room: Option<Arc<Notify>>,
    status: Status,
    /// Nobody reads any more.
    discarded: bool,
    /// Of a connection that may move to another node.
    passage: Option<Box<Passage>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Open,
    Ending(End),
    /// Unregistered: nothing more comes.
    Gone,
}

/// A drained queue that is larger than this gives its memory back.
const KEPT: usize = 16;

impl Queue {
    /// Puts a message of the hub in; `group` says whose members get it.
    pub(crate) fn push(
        &self,
        message: Bytes,
        mark: Mark,
        group: Option<&Arc<str>>,
        limits: &Limits,
    ) -> Pushed {
        let mut state = self.state();
        if state.status != Status::Open || state.discarded {
            return Pushed::Ending;
        }
        if state.passage.as_mut().is_some_and(|passage| !passage.notes(mark)) {
            return Pushed::Repeated;
        }
        if state.has_room(message.len(), limits) {
            state.put(message, mark, group);
            let reader = state.reader.take();
            drop(state);
            wake(reader);
            return Pushed::Queued;
        }
        match limits.when_slow {
            WhenSlow::DropNewest => Pushed::Dropped,
            WhenSlow::Close => {
                self.end_with(state, End::TooSlow);
                Pushed::Closed
            }
        }
    }

    /// Puts the front end's own message in, which is never dropped: a connection that cannot take it
    /// ends. Whether it did so here.
    pub(crate) fn reply(&self, message: Bytes, limits: &Limits) -> bool {
        let mut state = self.state();
        if matches!(state.status, Status::Gone | Status::Ending(End::TooSlow)) || state.discarded {
            return false;
        }
        if !state.has_room(message.len(), limits) {
            self.end_with(state, End::TooSlow);
            return true;
        }
        state.put(message, Mark::NONE, None);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        false
    }

    pub(crate) fn poll_receive(
        &self,
        context: &Context<'_>,
        into: &mut Vec<Bytes>,
        most: usize,
    ) -> Poll<usize> {
        let mut state = self.state();
        let count = state.messages.len().min(most);
        if count > 0 {
            let from = into.len();
            into.extend(state.messages.drain(..count));
            state.bytes -= into[from..].iter().map(Bytes::len).sum::<usize>();
            if state.messages.is_empty() && state.messages.capacity() > KEPT {
                state.messages = VecDeque::new();
            }
            let room = state.room.take();
            drop(state);
            tell(room);
            return Poll::Ready(count);
        }
        if matches!(state.status, Status::Gone | Status::Ending(End::TooSlow)) {
            return Poll::Ready(0);
        }
        state.wakes(context);
        Poll::Pending
    }

    /// Asks for the connection's end; the first reason counts.
    pub(crate) fn end(&self, end: End) {
        let state = self.state();
        if state.status == Status::Open {
            self.end_with(state, end);
        }
    }

    fn end_with(&self, mut state: MutexGuard<'_, State>, end: End) {
        state.status = Status::Ending(end);
        let mut discarded = VecDeque::new();
        if end == End::TooSlow {
            discarded = std::mem::take(&mut state.messages);
            state.bytes = 0;
        }
        let (reader, room) = (state.reader.take(), state.room.take());
        drop(state);
        drop(discarded);
        wake(reader);
        tell(room);
        self.over.notify_waiters();
    }

    /// Nothing more comes. What waits can still be received.
    pub(crate) fn close(&self) {
        let (reader, room) = {
            let mut state = self.state();
            if state.status != Status::Ending(End::TooSlow) {
                state.status = Status::Gone;
            }
            (state.reader.take(), state.room.take())
        };
        wake(reader);
        tell(room);
        self.over.notify_waiters();
    }

    /// Nobody receives any more.
    pub(crate) fn discard(&self) {
        let mut state = self.state();
        state.discarded = true;
        state.bytes = 0;
        let messages = std::mem::take(&mut state.messages);
        let room = state.room.take();
        drop(state);
        drop(messages);
        tell(room);
    }

    /// Waits until a message of this size is within the share of replies that wait for room, or nobody
    /// receives any more. Cancel-safe.
    pub(crate) async fn room(&self, size: usize, limits: &Limits) {
        loop {
            let told = {
                let mut state = self.state();
                if state.status != Status::Open || state.discarded || state.shares(size, limits) {
                    return;
                }
                // It is told of all that happens from here on.
                Arc::clone(state.room.get_or_insert_default()).notified_owned()
            };
            told.await;
        }
    }

    /// Whether the connection has ended or is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.state().status != Status::Open
    }

    /// Waits until the connection has ended or is to end. Cancel-safe.
    pub(crate) async fn over(&self) {
        while !self.is_over() {
            let mut told = pin!(self.over.notified());
            told.as_mut().enable();
            if !self.is_over() {
                told.await;
            }
        }
    }

    /// Waits until the hub wants the connection closed. Cancel-safe.
    pub(crate) async fn ended(&self) -> End {
        self.over().await;
        match self.state().status {
            Status::Ending(end) => end,
            // Only the holder of the connection closes it, and it is borrowed here.
            Status::Gone | Status::Open => End::ShuttingDown,
        }
    }

    /// From now on its messages are told apart, as the connection may move.
    pub(crate) fn track(&self) {
        self.state().passage.get_or_insert_default();
    }

    /// Whether a message of the hub has come before, as far as that is remembered.
    pub(crate) fn has_come(&self, mark: Mark) -> bool {
        self.state().passage.as_ref().is_some_and(|passage| passage.knows(mark))
    }

    /// Holds what comes from now on: the connection moves. What waits can still be received.
    pub(crate) fn hold(&self) {
        self.state().passage.get_or_insert_default().start();
    }

    /// The marks of the messages that have come lately.
    pub(crate) fn recent(&self) -> Vec<Mark> {
        self.state().passage.as_ref().map(|passage| passage.recent()).unwrap_or_default()
    }

    /// The connection does not move any more, and is in these groups. Of what was held, what had come
    /// elsewhere before is dropped, and what is not for it any more.
    pub(crate) fn release(&self, before: &[Mark], groups: &HashSet<Arc<str>>) {
        let mut state = self.state();
        let Some(passage) = &mut state.passage else { return };
        passage.follows(before);
        let held = passage.release();
        let new = held.into_iter().filter(|it| it.mark == Mark::NONE || !before.contains(&it.mark));
        let its = new.filter(|it| it.group.as_ref().is_none_or(|group| groups.contains(group)));
        its.for_each(|it| state.put(it.message, it.mark, None));
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// Takes about so many bytes of what was held so far, once there is anything, and goes on holding.
    pub(crate) fn poll_held(&self, context: &Context<'_>, most: usize) -> Poll<Vec<Held>> {
        let mut state = self.state();
        let held = state.passage.as_mut().map(|passage| passage.take_held(most));
        match held.filter(|held| !held.is_empty()) {
            Some(held) => Poll::Ready(held),
            None => {
                state.wakes(context);
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A message always fits where nothing else waits, however large it is.
    fn has_room(&self, size: usize, limits: &Limits) -> bool {
        let (messages, bytes) = self.waiting();
        messages == 0 || (messages < limits.messages && bytes + size <= limits.bytes)
    }

    /// Whether there is room in a quarter of the queue.
    fn shares(&self, size: usize, limits: &Limits) -> bool {
        let (messages, bytes) = self.waiting();
        messages == 0 || (messages < limits.messages / 4 && bytes + size <= limits.bytes / 4)
    }

    /// How many messages wait, those included that are held, and how many bytes.
    fn waiting(&self) -> (usize, usize) {
        let (held, bytes) = self.passage.as_ref().map_or((0, 0), |passage| passage.held());
        (self.messages.len() + held, self.bytes + bytes)
    }

    /// Whoever reads is told when something comes.
    fn wakes(&mut self, context: &Context<'_>) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    /// Puts a message where it waits.
    fn put(&mut self, message: Bytes, mark: Mark, group: Option<&Arc<str>>) {
        match &mut self.passage {
            Some(passage) if passage.is_holding() => {
                passage.hold(Held { mark, group: group.map(Arc::clone), message });
            }
            _ => {
                self.bytes += message.len();
                self.messages.push_back(message);
            }
        }
    }
}

fn tell(room: Option<Arc<Notify>>) {
    if let Some(room) = room {
        room.notify_waiters();
    }
}

fn wake(reader: Option<Waker>) {
    if let Some(reader) = reader {
        reader.wake();
    }
}
