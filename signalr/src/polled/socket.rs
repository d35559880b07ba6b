use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::{PolledConnection, remember, wake};
use crate::{
    Transport,
    carrier::{Over, Turn},
};

/// The session's end of such a connection. With it, the connection is over.
#[derive(Debug)]
pub(crate) struct PolledSocket {
    connection: Arc<PolledConnection>,
    /// Only for long polling.
    absence: Option<Absence>,
}

/// How long no poll may wait, and the timer for it.
#[derive(Debug)]
struct Absence {
    longest: Duration,
    timer: Pin<Box<Sleep>>,
}

impl PolledSocket {
    /// `longest`: how long a client that polls may stay away.
    pub(crate) fn new(connection: Arc<PolledConnection>, longest: Duration) -> Self {
        let absence = (connection.transport == Transport::LongPolling)
            .then(|| Absence { longest, timer: Box::pin(sleep_until(Instant::now() + longest)) });
        Self { connection, absence }
    }

    pub(crate) fn transport(&self) -> Transport {
        self.connection.transport
    }

    pub(crate) fn is_writing(&self) -> bool {
        let state = self.connection.state();
        let nobody = self.absence.is_some() && !state.waits;
        nobody || !state.has_left()
    }

    /// Whether no response has taken what was written.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.connection.state().leaving.is_empty()
    }

    /// Hands a batch to the response that waits, or to the next one.
    pub(crate) fn send(&mut self, batch: &mut Vec<Bytes>) {
        let mut state = self.connection.state();
        state.leaving.append(batch);
        wake(&mut state.response);
    }

    pub(crate) fn poll_turn(&mut self, context: &mut Context<'_>, read: bool) -> Poll<Turn> {
        let mut state = self.connection.state();
        remember(&mut state.session, context);
        if read && let Some(piece) = state.arrived.pop_front() {
            state.arrived_bytes -= piece.len();
            wake(&mut state.post);
            return Poll::Ready(Turn::Read(piece));
        }
        if state.hung_up && (state.arrived.is_empty() || !read) {
            return Poll::Ready(Turn::Over(Over::Closed { code: None }));
        }
        if std::mem::take(&mut state.turned) {
            return Poll::Ready(Turn::Written);
        }
        if let Some(absence) = &mut self.absence
            && !state.waits
            && absence.poll(context, state.left).is_ready()
        {
            tracing::debug!("the client has not polled for too long");
            return Poll::Ready(Turn::Over(Over::Closed { code: None }));
        }
        Poll::Pending
    }

    /// The next of what has come before the client's end.
    pub(crate) fn take_arrived(&mut self) -> Option<Bytes> {
        self.connection.state().arrived.pop_front()
    }

    /// Waits until a response has taken all there is and `last`. Cancel-safe.
    pub(crate) async fn finish(&mut self, mut last: Vec<Bytes>) -> io::Result<()> {
        self.send(&mut last);
        poll_fn(|context| {
            let mut state = self.connection.state();
            remember(&mut state.session, context);
            if state.has_left() {
                Poll::Ready(Ok(()))
            } else if state.hung_up {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Waits until a response has told the client that the connection is over, but not forever.
    pub(crate) async fn linger(self, longest: Duration) {
        self.end();
        let told = poll_fn(|context| {
            let mut state = self.connection.state();
            remember(&mut state.session, context);
            if state.told || state.hung_up { Poll::Ready(()) } else { Poll::Pending }
        });
        if timeout(longest, told).await.is_err() {
            tracing::debug!("the client did not fetch the end of its connection");
        }
    }

    fn end(&self) {
        let mut state = self.connection.state();
        state.over = true;
        state.wake_all();
    }
}

impl Absence {
    /// Whether a client that left then has stayed away for too long.
    fn poll(&mut self, context: &mut Context<'_>, left: Instant) -> Poll<()> {
        // As good as never, where it is so long that there is no such time.
        let until = left.checked_add(self.longest).unwrap_or_else(|| self.timer.deadline());
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(context)
    }
}

impl Drop for PolledSocket {
    fn drop(&mut self) {
        self.end();
    }
}
