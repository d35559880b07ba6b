use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::DropGuard;

use super::Interest;
use crate::{SubscribeError, Topic};

/// Registered interest; dropping it ends the interest.
#[must_use = "dropping a subscription ends it at once"]
pub struct Subscription {
    of: Of,
    confirmation: Arc<Confirmation>,
}

/// What ends with it.
enum Of {
    Interest { table: Arc<Interest>, registered: Vec<(Topic, u64)> },
    Reading { topic: Topic, _ends: DropGuard },
}

impl Subscription {
    pub(crate) const fn new(
        table: Arc<Interest>,
        registered: Vec<(Topic, u64)>,
        confirmation: Arc<Confirmation>,
    ) -> Self {
        Self { of: Of::Interest { table, registered }, confirmation }
    }

    pub(crate) const fn of_reading(
        topic: Topic,
        confirmation: Arc<Confirmation>,
        ends: DropGuard,
    ) -> Self {
        Self { of: Of::Reading { topic, _ends: ends }, confirmation }
    }

    /// Waits until the broker routes every topic: what any node publishes after that arrives.
    ///
    /// Waits for as long as the link is down. Once resolved it stays so; later interruptions are
    /// told to the sinks. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Refused`] for the first topic that the broker refuses, and
    /// [`SubscribeError::Closed`].
    pub async fn confirmed(&self) -> Result<(), SubscribeError> {
        loop {
            let mut told = pin!(self.confirmation.told.notified());
            told.as_mut().enable();
            if let Some(outcome) = self.confirmation.outcome() {
                return outcome;
            }
            told.await;
        }
    }

    /// The topics of this subscription.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        let (registered, read) = match &self.of {
            Of::Interest { registered, .. } => (&registered[..], None),
            Of::Reading { topic, .. } => (&[][..], Some(topic)),
        };
        registered.iter().map(|(topic, _)| topic).chain(read)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Of::Interest { table, registered } = &self.of {
            table.remove(registered);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.topics()).finish()
    }
}

/// Counts down the topics of one subscription that the broker does not route yet. Small: there is
/// one for each connection, user and group of a node.
#[derive(Debug)]
pub(crate) struct Confirmation {
    state: Mutex<State>,
    told: Notify,
}

#[derive(Debug)]
enum State {
    /// So many are left.
    Waits(usize),
    Confirmed,
    Failed(Box<SubscribeError>),
}

impl Confirmation {
    pub(crate) fn new(topics: usize) -> Self {
        let state = if topics == 0 { State::Confirmed } else { State::Waits(topics) };
        Self { state: Mutex::new(state), told: Notify::new() }
    }

    /// One more topic is routed.
    pub(crate) fn confirm(&self) {
        self.change(|left| if left > 1 { State::Waits(left - 1) } else { State::Confirmed });
    }

    pub(super) fn refuse(&self, error: SubscribeError) {
        self.change(|_| State::Failed(Box::new(error)));
    }

    pub(crate) fn close(&self) {
        self.change(|_| State::Failed(Box::new(SubscribeError::Closed)));
    }

    /// Changes what is not settled yet.
    fn change(&self, change: impl FnOnce(usize) -> State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waits(left) = *state {
            *state = change(left);
            if !matches!(*state, State::Waits(_)) {
                self.told.notify_waiters();
            }
        }
    }

    /// Whether it is confirmed, or will never be.
    pub(crate) fn is_settled(&self) -> bool {
        self.outcome().is_some()
    }

    fn outcome(&self) -> Option<Result<(), SubscribeError>> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Waits(_) => None,
            State::Confirmed => Some(Ok(())),
            State::Failed(error) => Some(Err(error.as_ref().clone())),
        }
    }
}
