//! A WebSocket as the session sees it: bytes come in, whole messages go out.
//!
//! The server's half of RFC 6455, of its own for what a hub needs and libraries don't give. Clients
//! put any number of hub messages into one WebSocket message, so those are not put together here but
//! read as one stream of bytes, and none is too large. What goes out is the hub's bytes as they are,
//! not a copy in each connection's buffer. An idle connection has no buffers at all. And a close
//! frame without a code is answered with one, as clients of the original expect.

mod decoder;
mod reader;
mod upgrade;
mod writer;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) use self::{
    decoder::FrameError,
    upgrade::{Upgrade, UpgradeError},
};
use self::{reader::Reader, writer::Writer};
use crate::carrier::{Over, Turn};

/// A WebSocket's close code: all is well, or the Close message before it says what is not.
pub(crate) const NORMAL: u16 = 1000;
/// A WebSocket's close code: the page is left, or the process ends.
pub(crate) const GOING_AWAY: u16 = 1001;
/// A WebSocket's close code: the server is replaced, and the client may come back at once.
pub(crate) const RESTART: u16 = 1012;
/// A WebSocket's close code: the server failed.
pub(crate) const FAILED: u16 = 1011;

/// What a WebSocket is made of.
type Stream = TokioIo<Upgraded>;

/// The server's end of a WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    reader: Reader,
    writer: Writer,
    /// Whether the close frame was sent.
    closed: bool,
}

impl Socket {
    fn new(stream: Stream) -> Self {
        Self { reader: Reader::new(stream), writer: Writer::default(), closed: false }
    }

    /// Sends messages as binary or as text from now on; nothing may be being written.
    pub(crate) fn set_binary(&mut self, binary: bool) {
        self.writer.set_binary(binary);
    }

    /// Whether a batch is not written yet.
    pub(crate) fn is_writing(&self) -> bool {
        self.writer.is_writing()
    }

    /// Starts to write these messages, each a WebSocket message of its own, and empties `batch`.
    pub(crate) fn send(&mut self, batch: &mut Vec<Bytes>) {
        self.writer.start(batch);
    }

    /// Writes what is to be written and, if `read`, reads.
    pub(crate) fn poll_turn(&mut self, context: &mut Context<'_>, read: bool) -> Poll<Turn> {
        let before = self.is_writing();
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            return Poll::Ready(Turn::Over(Over::Lost(error)));
        }
        let written = before && !self.is_writing();
        // Asked even if something was written: whoever is sent much may still speak.
        if read && let Poll::Ready(turn) = self.reader.poll_read(context) {
            return Poll::Ready(turn);
        }
        if self.reader.has_answers()
            && let Poll::Ready(Err(error)) = self.poll_write(context)
        {
            return Poll::Ready(Turn::Over(Over::Lost(error)));
        }
        if written { Poll::Ready(Turn::Written) } else { Poll::Pending }
    }

    /// Writes what is left, then `last`, then the close frame.
    pub(crate) async fn finish(&mut self, mut last: Vec<Bytes>, code: u16) -> io::Result<()> {
        poll_fn(|context| self.poll_write(context)).await?;
        self.writer.start(&mut last);
        poll_fn(|context| self.poll_write(context)).await?;
        self.close(code).await
    }

    /// Waits until the client has closed its side too, but not forever, and lets the socket go.
    ///
    /// To let it go while the client is still sending would take what it was sent last away from it.
    pub(crate) async fn linger(mut self, timeout: Duration) {
        match tokio::time::timeout(timeout, self.part()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "the client closed its side by force"),
            Err(_) => tracing::debug!("the client did not close its side"),
        }
    }

    async fn part(&mut self) -> io::Result<()> {
        while !self.reader.is_over() {
            poll_fn(|context| self.reader.poll_read(context)).await;
        }
        if let Some(code) = self.reader.closed_with()
            && !self.closed
        {
            self.close(code).await?;
        }
        let stream = self.reader.stream();
        stream.shutdown().await?;
        let mut scrap = [0; 1024];
        while stream.read(&mut scrap).await? > 0 {}
        Ok(())
    }

    async fn close(&mut self, code: u16) -> io::Result<()> {
        self.closed = true;
        self.writer.close(code);
        poll_fn(|context| self.poll_write(context)).await
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.take(self.reader.answers());
        let stream = self.reader.stream();
        ready!(self.writer.poll_write(context, stream))?;
        Pin::new(stream).poll_flush(context)
    }
}
