use std::{
    collections::VecDeque,
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
    waiters: Vec<(u64, Waker)>,
}

/// How many runs are remembered. A ticket that is first asked when its run has been forgotten
/// resolves to `Unknown`.
const RUNS: usize = 1024;

impl Ledger {
    /// All numbers up to `last` that have no outcome yet have this one.
    pub(crate) fn settle(&self, last: u64, outcome: Result<Receipt, PublishError>) {
        let mut woken = Vec::new();
        {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            if last <= self.settled.load(Ordering::Relaxed) {
                return;
            }
            match book.runs.back_mut() {
                Some((end, Ok(before))) if outcome.as_ref().is_ok_and(|now| now == before) => *end = last,
                _ => book.runs.push_back((last, outcome)),
            }
            if book.runs.len() > RUNS {
                book.runs.pop_front();
            }
            self.settled.store(last, Ordering::Release);
            book.waiters.retain(|(number, waker)| {
                let waits = *number > last;
                if !waits {
                    woken.push(waker.clone());
                }
                waits
            });
        }
        woken.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, number: u64, context: &Context<'_>) -> Poll<Result<Receipt, PublishError>> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if self.settled.load(Ordering::Acquire) < number {
            match book.waiters.iter_mut().find(|(waiting, _)| *waiting == number) {
                Some((_, waker)) => waker.clone_from(context.waker()),
                None => book.waiters.push((number, context.waker().clone())),
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
