use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{calls::Calling, streams::Streams};

/// All calls of a client that run.
#[derive(Default)]
pub(super) struct Running {
    /// Those that return once and send no streams.
    pub(super) calls: FuturesUnordered<Calling>,
    /// The others.
    pub(super) streams: Streams,
}

impl Running {
    /// Lets all go on. Ready when a call has come to its end: with what the client is to be told. Streams
    /// tell by themselves.
    pub(super) fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.streams.poll(context);
        match self.calls.poll_next_unpin(context) {
            Poll::Ready(Some(answer)) => Poll::Ready(answer),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for the end of the next call that returns once; `None` where there is none.
    pub(super) async fn next_answer(&mut self) -> Option<Option<Bytes>> {
        self.calls.next().await
    }

    /// Awaits `future` while all go on, unanswered.
    pub(super) async fn beside<F: Future>(&mut self, future: F) -> F::Output {
        self.alongside(future, drop).await
    }

    /// The same, with their answers.
    pub(super) async fn alongside<F: Future>(
        &mut self,
        future: F,
        mut answered: impl FnMut(Bytes),
    ) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            while let Poll::Ready(answer) = self.poll_answer(context) {
                answer.into_iter().for_each(&mut answered);
            }
            future.as_mut().poll(context)
        })
        .await
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.streams.is_empty()
    }

    /// The calls whose clients wait for an answer.
    pub(super) fn unanswered(&self) -> Vec<Box<str>> {
        let calls = self.calls.iter().filter_map(|calling| calling.id.clone());
        calls.chain(self.streams.calls()).collect()
    }

    /// Waits until all have come to their ends, unanswered.
    pub(super) async fn finish(mut self) {
        poll_fn(|context| {
            while self.poll_answer(context).is_ready() {}
            if self.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
