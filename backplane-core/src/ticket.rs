use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::PublishError;

/// What an `Ok` from a publish proves, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Receipt {
    /// It waits in this process.
    Queued,
    /// It was handed to the operating system for sending.
    Sent,
    /// The broker has taken it and passed it on to whoever was subscribed.
    Accepted,
    /// The broker has stored it.
    Stored,
}

/// The outcome of one publish, to be awaited or dropped.
///
/// Resolves to the [`Receipt`], or to what is known instead. Cancel-safe; dropping it changes
/// nothing about the envelope.
#[derive(Debug)]
#[must_use = "await the ticket to learn the outcome, or drop it on purpose"]
pub struct Ticket(State);

#[derive(Debug)]
enum State {
    Known(Result<Receipt, PublishError>),
    Pending { ledger: Arc<Ledger>, number: u64 },
}

impl Ticket {
    /// A ticket whose outcome is known from the start.
    pub const fn known(outcome: Result<Receipt, PublishError>) -> Self {
        Self(State::Known(outcome))
    }

    pub(crate) const fn pending(ledger: Arc<Ledger>, number: u64) -> Self {
        Self(State::Pending { ledger, number })
    }
}

impl Future for Ticket {
    type Output = Result<Receipt, PublishError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.0 {
            State::Known(outcome) => Poll::Ready(outcome.clone()),
            State::Pending { ledger, number } => ledger.poll(*number, context),
        }
    }
}

/// The outcomes of envelopes that were numbered in the order of their sending.
///
/// Outcomes come in that order too, so one number says how far they are known, and a run of equal
/// outcomes costs one entry: a publish allocates nothing for its ticket.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    settled: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// Outcomes of runs, each with the last number of its run, oldest first.
    runs: VecDeque<(u64, Result<Receipt, PublishError>)>,
    /// Who waits, by number.
    waiters: BTreeMap<u64, Waker>,
}

/// How many runs are remembered. A ticket that is first asked when its run has been forgotten
/// resolves to `Unknown`.
const RUNS: usize = 1024;

impl Ledger {
    /// All numbers up to `last` that have no outcome yet have this one.
    pub(crate) fn settle(&self, last: u64, outcome: Result<Receipt, PublishError>) {
        let woken = {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            if last <= self.settled.load(Ordering::Relaxed) {
                return;
            }
            match book.runs.back_mut() {
                Some((end, Ok(before))) if outcome.as_ref().is_ok_and(|now| now == before) => {
                    *end = last;
                }
                _ => book.runs.push_back((last, outcome)),
            }
            if book.runs.len() > RUNS {
                book.runs.pop_front();
            }
            self.settled.store(last, Ordering::Release);
            let waiting = book.waiters.split_off(&last.saturating_add(1));
            std::mem::replace(&mut book.waiters, waiting)
        };
        woken.into_values().for_each(Waker::wake);
    }

    fn poll(&self, number: u64, context: &Context<'_>) -> Poll<Result<Receipt, PublishError>> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if self.settled.load(Ordering::Acquire) < number {
            match book.waiters.entry(number) {
                Entry::Occupied(mut waker) => waker.get_mut().clone_from(context.waker()),
                Entry::Vacant(place) => {
                    place.insert(context.waker().clone());
                }
            }
            return Poll::Pending;
        }
        let at = book.runs.partition_point(|(end, _)| *end < number);
        let forgotten = at == 0 && book.runs.len() == RUNS;
        match book.runs.get(at) {
            Some((_, outcome)) if !forgotten => Poll::Ready(outcome.clone()),
            _ => Poll::Ready(Err(PublishError::Unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(ledger: &Arc<Ledger>, number: u64) -> Poll<Result<Receipt, PublishError>> {
        let mut ticket = Ticket::pending(Arc::clone(ledger), number);
        Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_run_of_outcomes_answers_each_of_its_numbers() {
        let ledger = Arc::new(Ledger::default());
        assert!(ask(&ledger, 1).is_pending());
        ledger.settle(3, Ok(Receipt::Accepted));
        ledger.settle(4, Err(PublishError::Unknown));
        ledger.settle(9, Ok(Receipt::Accepted));
        for number in [1, 3, 5, 9] {
            assert!(matches!(ask(&ledger, number), Poll::Ready(Ok(Receipt::Accepted))));
        }
        assert!(matches!(ask(&ledger, 4), Poll::Ready(Err(PublishError::Unknown))));
        assert!(ask(&ledger, 10).is_pending());
        assert_eq!(ledger.book.lock().unwrap().runs.len(), 3);
    }

    #[test]
    fn memory_is_bounded_and_a_forgotten_outcome_is_unknown() {
        let ledger = Arc::new(Ledger::default());
        for number in (2..=3 * RUNS as u64).step_by(2) {
            ledger.settle(number - 1, Ok(Receipt::Accepted));
            ledger.settle(number, Err(PublishError::Closed));
        }
        assert_eq!(ledger.book.lock().unwrap().runs.len(), RUNS);
        assert!(matches!(ask(&ledger, 1), Poll::Ready(Err(PublishError::Unknown))));
        let latest = 3 * RUNS as u64;
        assert!(matches!(ask(&ledger, latest), Poll::Ready(Err(PublishError::Closed))));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let ledger = Arc::new(Ledger::default());
        let tickets: Vec<_> = (1..=4)
            .map(|number| tokio::spawn(Ticket::pending(Arc::clone(&ledger), number)))
            .collect();
        tokio::task::yield_now().await;
        ledger.settle(2, Ok(Receipt::Sent));
        ledger.settle(4, Err(PublishError::Unknown));
        let mut outcomes = Vec::new();
        for ticket in tickets {
            outcomes.push(ticket.await.unwrap().is_ok());
        }
        assert_eq!(outcomes, [true, true, false, false]);
        assert!(ledger.book.lock().unwrap().waiters.is_empty());
    }
}
