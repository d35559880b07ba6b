use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;

use super::Member;

/// How many calls of one connection wait for what a client answers, and so take no place among
/// those that run. A call that waited in its place would keep the answer from being read.
#[derive(Debug, Default)]
pub(crate) struct Yielded {
    count: AtomicUsize,
    waker: AtomicWaker,
}

impl Yielded {
    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// How many. Whoever polls is woken when it grows.
    pub(crate) fn poll(&self, context: &Context<'_>) -> usize {
        self.waker.register(context.waker());
        self.count()
    }

    fn add(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.waker.wake();
    }

    fn remove(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The place of one running call.
#[derive(Debug)]
pub(crate) struct Slot {
    member: Arc<Member>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many answers the call waits for, in any of its tasks.
    waits: usize,
    /// The call has ended, whatever its tasks still wait for.
    over: bool,
}

impl Slot {
    pub(crate) fn new(member: Arc<Member>) -> Arc<Self> {
        Arc::new(Self { member, state: Mutex::default() })
    }

    /// Gives the place away for as long as the returned value lives.
    pub(crate) fn give_away(self: &Arc<Self>) -> GivenAway {
        let mut state = self.state();
        state.waits += 1;
        if state.waits == 1 && !state.over {
            self.member.yielded.add();
        }
        GivenAway(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that others may take meanwhile.
#[derive(Debug)]
pub(crate) struct GivenAway(Arc<Slot>);

impl Drop for GivenAway {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waits -= 1;
        if state.waits == 0 && !state.over {
            self.0.member.yielded.remove();
        }
    }
}

/// Ends with the call.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Arc<Slot>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.over = true;
        if state.waits > 0 {
            self.0.member.yielded.remove();
        }
    }
}
