use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use memchr::memchr;

use super::{PolledConnection, remember};

/// The body of a response of server-sent events. A client that lets it go has ended the connection.
#[derive(Debug)]
pub(crate) struct Events {
    connection: Arc<PolledConnection>,
    begun: bool,
}

/// A comment, so that the client knows that the response has begun.
const PREAMBLE: Bytes = Bytes::from_static(b":\r\n");

impl Events {
    pub(crate) const fn new(connection: Arc<PolledConnection>) -> Self {
        Self { connection, begun: false }
    }
}

impl Stream for Events {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.begun {
            self.begun = true;
            return Poll::Ready(Some(Ok(PREAMBLE)));
        }
        let batch = {
            let mut state = self.connection.state();
            if state.leaving.is_empty() {
                if state.is_over() {
                    return Poll::Ready(None);
                }
                remember(&mut state.response, context);
                return Poll::Pending;
            }
            state.take()
        };
        Poll::Ready(Some(Ok(event(&batch))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        {
            let mut state = self.connection.state();
            // Nobody waits for what these would do.
            state.arrived.clear();
            state.arrived_bytes = 0;
        }
        self.connection.hang_up();
    }
}

/// One event with all these messages.
fn event(batch: &[Bytes]) -> Bytes {
    let size: usize = batch.iter().map(Bytes::len).sum();
    let mut event = Vec::with_capacity(size + 16);
    event.extend_from_slice(DATA);
    batch.iter().for_each(|message| append(&mut event, message));
    event.extend_from_slice(b"\r\n\r\n");
    event.into()
}

const DATA: &[u8] = b"data: ";

/// Each line of what an event says stands on one of its own.
fn append(event: &mut Vec<u8>, mut message: &[u8]) {
    while let Some(end) = memchr(b'\n', message) {
        let line = &message[..end];
        event.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        event.extend_from_slice(b"\r\n");
        event.extend_from_slice(DATA);
        message = &message[end + 1..];
    }
    event.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&'static str]) -> String {
        let batch: Vec<Bytes> = messages.iter().map(|&message| message.into()).collect();
        String::from_utf8(event(&batch).to_vec()).unwrap()
    }

    #[test]
    fn a_batch_is_one_event() {
        assert_eq!(framed(&["{}\u{1e}"]), "data: {}\u{1e}\r\n\r\n");
        assert_eq!(framed(&["1\u{1e}", "2\u{1e}"]), "data: 1\u{1e}2\u{1e}\r\n\r\n");
    }

    #[test]
    fn lines_are_lines_of_data() {
        assert_eq!(
            framed(&["{\r\n\n \"a\":1}\u{1e}"]),
            "data: {\r\ndata: \r\ndata:  \"a\":1}\u{1e}\r\n\r\n"
        );
    }
}
