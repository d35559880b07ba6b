use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::Interest;
use crate::{SubscribeError, Topic};

/// Registered interest; dropping it ends the interest.
#[must_use = "dropping a subscription ends it at once"]
pub struct Subscription {
    interest: Arc<Interest>,
    registered: Vec<(Topic, u64)>,
    confirmation: Arc<Confirmation>,
}

impl Subscription {
    pub(crate) const fn new(
        interest: Arc<Interest>,
        registered: Vec<(Topic, u64)>,
        confirmation: Arc<Confirmation>,
    ) -> Self {
        Self { interest, registered, confirmation }
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
        let mut state = self.confirmation.state.subscribe();
        let outcome = match state.wait_for(|state| *state != Pending::Waits).await {
            Ok(state) => *state,
            Err(_) => Pending::Closed,
        };
        match outcome {
            Pending::Confirmed => Ok(()),
            Pending::Refused => Err(self.confirmation.refusal()),
            Pending::Waits | Pending::Closed => Err(SubscribeError::Closed),
        }
    }

    /// The topics of this subscription.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.registered.iter().map(|(topic, _)| topic)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.interest.remove(&self.registered);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscription").field(&self.registered).finish()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Waits,
    Confirmed,
    Refused,
    Closed,
}

/// Counts down the topics of one subscription that the broker does not route yet.
#[derive(Debug)]
pub(crate) struct Confirmation {
    state: watch::Sender<Pending>,
    book: Mutex<(usize, Option<SubscribeError>)>,
}

impl Confirmation {
    pub(super) fn new(topics: usize) -> Self {
        let state = if topics == 0 { Pending::Confirmed } else { Pending::Waits };
        Self { state: watch::Sender::new(state), book: Mutex::new((topics, None)) }
    }

    /// One more topic is routed.
    pub(super) fn confirm(&self) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.0 = book.0.saturating_sub(1);
        if book.0 == 0 && book.1.is_none() {
            self.state.send_replace(Pending::Confirmed);
        }
    }

    pub(super) fn refuse(&self, error: SubscribeError) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.1.get_or_insert(error);
        self.state.send_replace(Pending::Refused);
    }

    pub(super) fn close(&self) {
        self.state.send_if_modified(|state| {
            let waits = *state == Pending::Waits;
            if waits {
                *state = Pending::Closed;
            }
            waits
        });
    }

    fn refusal(&self) -> SubscribeError {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.1.clone().unwrap_or(SubscribeError::Closed)
    }
}
