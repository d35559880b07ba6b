//! What carries a session's bytes, whichever transport it is: bytes come in, whole messages go out.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    Transport,
    polled::PolledSocket,
    websocket::{FrameError, Socket},
};

/// The server's end of a connection.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are WebSockets, for which a box is one more allocation"
)]
pub(crate) enum Carrier {
    WebSocket(Socket),
    Polled(PolledSocket),
    /// None at the moment: the client may come back.
    Away,
}

/// What happened on a carrier.
#[derive(Debug)]
pub(crate) enum Turn {
    /// These bytes came.
    Read(Bytes),
    /// The batch is written, or there is somewhere to write one now.
    Written,
    /// Nothing more comes.
    Over(Over),
}

/// Why nothing more comes.
#[derive(Debug)]
pub(crate) enum Over {
    /// The client closed its side, or has stayed away for too long; with the code of its close frame, if it
    /// had one.
    Closed { code: Option<u16> },
    /// The client sent something that is no frame.
    Malformed(FrameError),
    /// The connection failed.
    Lost(io::Error),
}

impl Carrier {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::WebSocket(_) | Self::Away => Transport::WebSockets,
            Self::Polled(socket) => socket.transport(),
        }
    }

    /// Sends messages as binary or as text from now on; nothing may be being written.
    pub(crate) fn set_binary(&mut self, binary: bool) {
        match self {
            Self::WebSocket(socket) => socket.set_binary(binary),
            // The bodies of requests and responses are bytes in any case.
            Self::Polled(_) | Self::Away => {}
        }
    }

    /// Whether a batch cannot be taken now: one is not written yet, or there is nobody to write to.
    pub(crate) fn is_writing(&self) -> bool {
        match self {
            Self::WebSocket(socket) => socket.is_writing(),
            Self::Polled(socket) => socket.is_writing(),
            Self::Away => true,
        }
    }

    /// Whether something is left that was to be written.
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Self::WebSocket(socket) => socket.is_writing(),
            Self::Polled(socket) => socket.has_unsent(),
            Self::Away => false,
        }
    }

    /// Starts to write these messages, none of them split, and empties `batch`.
    pub(crate) fn send(&mut self, batch: &mut Vec<Bytes>) {
        match self {
            Self::WebSocket(socket) => socket.send(batch),
            Self::Polled(socket) => socket.send(batch),
            // Nothing is to be sent while something is being written.
            Self::Away => batch.clear(),
        }
    }

    /// Starts to write one message.
    pub(crate) fn send_one(&mut self, message: Bytes) {
        self.send(&mut vec![message]);
    }

    /// Writes what is to be written and, if `read`, reads.
    pub(crate) fn poll_turn(&mut self, context: &mut Context<'_>, read: bool) -> Poll<Turn> {
        match self {
            Self::WebSocket(socket) => socket.poll_turn(context, read),
            Self::Polled(socket) => socket.poll_turn(context, read),
            Self::Away => Poll::Pending,
        }
    }

    /// Whether the client's end is seen only behind all that it has sent before.
    pub(crate) const fn ends_in_line(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }

    /// The next of what has come before the client's end, where that was seen earlier.
    pub(crate) fn take_arrived(&mut self) -> Option<Bytes> {
        match self {
            Self::Polled(socket) => socket.take_arrived(),
            Self::WebSocket(_) | Self::Away => None,
        }
    }

    /// Reads, and writes what is to be written meanwhile. Cancel-safe.
    pub(crate) async fn read(&mut self) -> Result<Bytes, Over> {
        loop {
            match poll_fn(|context| self.poll_turn(context, true)).await {
                Turn::Read(bytes) => return Ok(bytes),
                Turn::Over(over) => return Err(over),
                Turn::Written => {}
            }
        }
    }

    /// Writes what is left, then `last`, and ends the server's side: `code` says how, where there is
    /// a place for it.
    pub(crate) async fn finish(&mut self, last: Vec<Bytes>, code: u16) -> io::Result<()> {
        match self {
            Self::WebSocket(socket) => socket.finish(last, code).await,
            Self::Polled(socket) => socket.finish(last).await,
            Self::Away => Ok(()),
        }
    }

    /// Waits until the client has closed its side too, but not forever, and lets go.
    pub(crate) async fn linger(self, timeout: Duration) {
        match self {
            Self::WebSocket(socket) => socket.linger(timeout).await,
            Self::Polled(socket) => socket.linger(timeout).await,
            Self::Away => {}
        }
    }
}
