use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{Loan, PolledConnection, State, remember, wake};

/// What a poll is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Polled<T = Vec<Bytes>> {
    /// These messages.
    Messages(T),
    /// Nothing, so far.
    Nothing,
    /// Nothing, as a newer poll has come.
    Superseded,
    /// Nothing any more.
    Over,
}

impl PolledConnection {
    /// Waits for something to tell the client. A newer poll takes the place of this one.
    ///
    /// Cancelling it loses nothing: what is written meanwhile is for the next.
    pub(crate) async fn poll(&self, longest: Duration) -> Polled {
        self.wait(longest, |state, _| state.take()).await
    }

    /// The same, but what is told is only lent: what is not kept then is for the next poll.
    pub(crate) async fn poll_on_loan(self: &Arc<Self>, longest: Duration) -> Polled<Loan> {
        self.wait(longest, |state, number| Loan::new(self, state, number)).await
    }

    async fn wait<T>(
        &self,
        longest: Duration,
        take: impl Fn(&mut State, u64) -> T + Send + Sync,
    ) -> Polled<T> {
        let number = self.arrive();
        let _leaving = Leaving { connection: self, number };
        let polled = poll_fn(|context| {
            let mut state = self.state();
            if state.poll != number {
                return Poll::Ready(Polled::Superseded);
            }
            // Whether it has arrived is soon known, and matters to nobody who has hung up.
            if state.lent.is_some() && !state.hung_up {
                remember(&mut state.response, context);
                return Poll::Pending;
            }
            if !state.leaving.is_empty() && state.lent.is_none() {
                // Whatever comes from now on is for the next.
                state.waits = false;
                return Poll::Ready(Polled::Messages(take(&mut state, number)));
            }
            if state.is_over() {
                state.told = true;
                wake(&mut state.session);
                return Poll::Ready(Polled::Over);
            }
            remember(&mut state.response, context);
            Poll::Pending
        });
        timeout(longest, polled).await.unwrap_or(Polled::Nothing)
    }

    fn arrive(&self) -> u64 {
        let mut state = self.state();
        state.poll += 1;
        state.waits = true;
        state.turned = true;
        wake(&mut state.response);
        wake(&mut state.session);
        state.poll
    }
}

/// A poll that waits until this is dropped.
struct Leaving<'a> {
    connection: &'a PolledConnection,
    number: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        if state.poll == self.number {
            state.waits = false;
            state.left = Instant::now();
            wake(&mut state.session);
        }
    }
}
