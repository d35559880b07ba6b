use std::{
    mem::{self, MaybeUninit},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    NORMAL, Stream,
    decoder::{Control, Decoder},
};
use crate::carrier::{Over, Turn};

/// How much is read at once. It is on the stack: a connection from which nothing comes holds no
/// buffer.
const AT_ONCE: usize = 16 * 1024;

/// Above this, pings go unanswered until what was answered is written.
const ANSWERS: usize = 512;

/// Reads what a client sends.
#[derive(Debug)]
pub(super) struct Reader {
    stream: Stream,
    decoder: Decoder,
    /// Frames that answer the client's pings.
    answers: Vec<u8>,
    state: State,
    closed_with: Option<u16>,
}

#[derive(Debug)]
enum State {
    Open,
    /// This is to be told when the data before it has been.
    Ending(Over),
    Over,
}

impl Reader {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            answers: Vec::new(),
            state: State::Open,
            closed_with: None,
        }
    }

    /// The next bytes, or why there are none; never [`Turn::Written`]. Not to be called after that.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        loop {
            if let State::Ending(_) = self.state
                && let State::Ending(over) = mem::replace(&mut self.state, State::Over)
            {
                return Poll::Ready(Turn::Over(over));
            }
            let mut scratch = [MaybeUninit::uninit(); AT_ONCE];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            let mut data = Vec::new();
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => {
                    self.state = State::Ending(Over::Closed { code: None });
                }
                Ok(()) => self.decode(buffer.filled(), &mut data),
                Err(error) => self.state = State::Ending(Over::Lost(error)),
            }
            if !data.is_empty() {
                return Poll::Ready(Turn::Read(Bytes::from(data)));
            }
        }
    }

    fn decode(&mut self, mut input: &[u8], data: &mut Vec<u8>) {
        data.reserve_exact(input.len());
        loop {
            match self.decoder.decode(&mut input, data) {
                Ok(None) => return,
                Ok(Some(Control::Ping(payload))) => self.answer(&payload),
                Ok(Some(Control::Close(code))) => {
                    self.closed_with = Some(code.unwrap_or(NORMAL));
                    self.state = State::Ending(Over::Closed { code });
                    return;
                }
                Err(error) => {
                    self.state = State::Ending(Over::Malformed(error));
                    return;
                }
            }
        }
    }

    fn answer(&mut self, ping: &[u8]) {
        if self.answers.len() <= ANSWERS {
            // A ping has at most 125 bytes.
            self.answers.extend_from_slice(&[0x8a, ping.len() as u8]);
            self.answers.extend_from_slice(ping);
        }
    }

    /// Whether nothing more can be read.
    pub(super) const fn is_over(&self) -> bool {
        !matches!(self.state, State::Open)
    }

    /// The code to answer the client's close frame with, if there was one.
    pub(super) const fn closed_with(&self) -> Option<u16> {
        self.closed_with
    }

    /// Whether there are frames that answer the client's pings.
    pub(super) const fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Takes the frames that answer the client's pings.
    pub(super) fn answers(&mut self) -> Vec<u8> {
        mem::take(&mut self.answers)
    }

    pub(super) const fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}
