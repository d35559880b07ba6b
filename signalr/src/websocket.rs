//! A WebSocket as the session sees it: bytes come in, whole messages go out.

use std::{
    future::{Future, poll_fn},
    mem,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    response::Response,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite;

use crate::Options;

/// Held by each connection from start to end, so that an idle one is small; larger messages still
/// arrive whole.
const READ_BUFFER: usize = 4 * 1024;

/// Small messages are written together up to here. It is allocated when it is used.
const WRITE_BUFFER: usize = 4 * 1024;

/// The largest message that is sent: a bound for mistakes, as hub messages are bounded by the
/// transport between the nodes, and what waits for a connection by the hub.
const LARGEST_SENT: usize = 64 * 1024 * 1024;

/// A written batch with more places than this gives its memory back.
const KEPT: usize = 8;

/// A WebSocket's close code: all is well, or the Close message before it says what is not.
pub(crate) const NORMAL: u16 = 1000;
/// A WebSocket's close code: the server failed.
pub(crate) const FAILED: u16 = 1011;

/// Sets an upgrade's bounds.
pub(crate) fn configure(upgrade: WebSocketUpgrade, options: &Options) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER + LARGEST_SENT)
        .max_message_size(options.largest_frame)
        .max_frame_size(options.largest_frame)
}

/// Answers an upgrade, and hands the socket to `run` in a task of its own.
pub(crate) fn accept<R, F>(upgrade: WebSocketUpgrade, run: R) -> Response
where
    R: FnOnce(Socket) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    upgrade
        .on_failed_upgrade(|error| tracing::debug!(%error, "a WebSocket was not opened"))
        // Boxed, as the task has to hold the socket beside it.
        .on_upgrade(move |socket| Box::pin(run(Socket::new(socket))))
}

/// The server's end of a WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: WebSocket,
    /// What is being written, from `next` on.
    batch: Vec<Bytes>,
    next: usize,
    /// What comes cannot be told apart any more.
    unreadable: bool,
}

/// What happened on a socket.
#[derive(Debug)]
pub(crate) enum Turn {
    /// These bytes came.
    Read(Bytes),
    /// The batch is written.
    Written,
    /// Nothing more comes.
    Over(Over),
}

/// Why nothing more comes.
#[derive(Debug)]
pub(crate) enum Over {
    /// The client closed the socket.
    Closed,
    /// The client sent more in one piece than it may.
    TooLarge,
    /// The client sent something that is no WebSocket message.
    Malformed(axum::Error),
    /// The connection failed.
    Lost(axum::Error),
}

impl Socket {
    const fn new(socket: WebSocket) -> Self {
        Self { socket, batch: Vec::new(), next: 0, unreadable: false }
    }

    /// Whether a batch is not written yet.
    pub(crate) fn is_writing(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Starts to write these messages, each a WebSocket message of its own, and empties `batch`.
    pub(crate) fn send(&mut self, batch: &mut Vec<Bytes>) {
        debug_assert!(!self.is_writing(), "one batch at a time");
        mem::swap(&mut self.batch, batch);
    }

    /// Starts to write one message.
    pub(crate) fn send_one(&mut self, message: Bytes) {
        debug_assert!(!self.is_writing(), "one batch at a time");
        self.batch.push(message);
    }

    /// Writes what is to be written and, if `read`, reads.
    pub(crate) fn poll_turn(&mut self, context: &mut Context<'_>, read: bool) -> Poll<Turn> {
        let mut written = false;
        if self.is_writing() {
            match self.poll_write(context) {
                Poll::Ready(Ok(())) => written = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Turn::Over(Over::Lost(error))),
                Poll::Pending => {}
            }
        }
        // Asked even if something was written: whoever is sent much may still speak.
        if read && let Poll::Ready(turn) = self.poll_read(context) {
            return Poll::Ready(turn);
        }
        if written { Poll::Ready(Turn::Written) } else { Poll::Pending }
    }

    /// Reads, and writes what is to be written meanwhile.
    pub(crate) async fn read(&mut self) -> Result<Bytes, Over> {
        loop {
            match poll_fn(|context| self.poll_turn(context, true)).await {
                Turn::Read(bytes) => return Ok(bytes),
                Turn::Over(over) => return Err(over),
                Turn::Written => {}
            }
        }
    }

    /// Writes what is left, then `last`, then the close frame.
    pub(crate) async fn finish(&mut self, last: Vec<Bytes>, code: u16) -> Result<(), axum::Error> {
        poll_fn(|context| self.poll_write(context)).await?;
        self.batch = last;
        poll_fn(|context| self.poll_write(context)).await?;
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static("") };
        self.socket.send(Message::Close(Some(frame))).await
    }

    /// Waits until the client has closed its side too, but not forever, and lets the socket go.
    pub(crate) async fn linger(mut self, timeout: Duration) {
        if self.unreadable {
            // The client may still be sending. To let the socket go then would take what it was sent
            // last away from it.
            return tokio::time::sleep(timeout).await;
        }
        let closed = async { while let Some(Ok(_)) = self.socket.next().await {} };
        if tokio::time::timeout(timeout, closed).await.is_err() {
            tracing::debug!("the client did not close its side");
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        while let Some(message) = self.batch.get_mut(self.next) {
            ready!(self.socket.poll_ready_unpin(context))?;
            match Utf8Bytes::try_from(mem::take(message)) {
                Ok(text) => self.socket.start_send_unpin(Message::Text(text))?,
                // Only another node can have made it, which thinks otherwise about its protocol.
                Err(error) => tracing::warn!(%error, "dropped a message that is no text"),
            }
            self.next += 1;
        }
        ready!(self.socket.poll_flush_unpin(context))?;
        self.next = 0;
        if self.batch.capacity() > KEPT {
            self.batch = Vec::new();
        } else {
            self.batch.clear();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        loop {
            return Poll::Ready(match ready!(self.socket.poll_next_unpin(context)) {
                Some(Ok(Message::Text(text))) => Turn::Read(text.into()),
                Some(Ok(Message::Binary(bytes))) => Turn::Read(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_))) | None => Turn::Over(Over::Closed),
                Some(Err(error)) => {
                    let over = Over::of(error);
                    self.unreadable = matches!(over, Over::TooLarge | Over::Malformed(_));
                    Turn::Over(over)
                }
            });
        }
    }
}

impl Over {
    fn of(error: axum::Error) -> Self {
        use tungstenite::{Error, error::ProtocolError::ResetWithoutClosingHandshake};

        let inner = error.into_inner();
        match inner.downcast_ref::<Error>() {
            Some(Error::Capacity(_)) => Self::TooLarge,
            Some(Error::Protocol(ResetWithoutClosingHandshake)) => Self::Closed,
            Some(Error::Protocol(_) | Error::Utf8(_)) => Self::Malformed(axum::Error::new(inner)),
            _ => Self::Lost(axum::Error::new(inner)),
        }
    }
}
