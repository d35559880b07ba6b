use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// The most messages that are handed to the operating system at once.
const AT_ONCE: usize = 32;

/// How much is gathered for a stream that takes one piece at a time, such as some TLS.
const GATHERED: usize = 16 * 1024;

/// A written batch with more places than this gives its memory back.
const KEPT: usize = 8;

/// Writes messages as text or binary frames, without copying them.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What is being written, from `next` on.
    batch: Vec<Bytes>,
    next: usize,
    /// How much of the frame of `next` is written.
    written: usize,
    /// Whether messages are no text.
    binary: bool,
    /// Frames that go between those of the batch.
    control: Vec<u8>,
}

impl Writer {
    /// Whether a batch is not written yet.
    pub(super) const fn is_writing(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Writes what is taken from now on as binary frames, or as text; nothing may wait.
    pub(super) fn set_binary(&mut self, binary: bool) {
        debug_assert!(!self.is_writing(), "a batch has frames of one kind");
        self.binary = binary;
    }

    /// Takes a batch, which must be empty here.
    pub(super) fn start(&mut self, batch: &mut Vec<Bytes>) {
        debug_assert!(!self.is_writing(), "one batch at a time");
        mem::swap(&mut self.batch, batch);
        if self.binary {
            return;
        }
        self.batch.retain(|message| match std::str::from_utf8(message) {
            Ok(_) => true,
            // Only another node can have made it, one that means something else by this protocol.
            Err(error) => {
                tracing::warn!(%error, "dropped a message that is no text");
                false
            }
        });
    }

    /// Takes whole control frames.
    pub(super) fn take(&mut self, frames: Vec<u8>) {
        if self.control.is_empty() {
            self.control = frames;
        } else {
            self.control.extend(frames);
        }
    }

    /// Takes a close frame, behind which nothing may come.
    pub(super) fn close(&mut self, code: u16) {
        let [high, low] = code.to_be_bytes();
        self.control.extend_from_slice(&[0x88, 2, high, low]);
    }

    /// Writes all there is.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        loop {
            let count = if self.written == 0 && !self.control.is_empty() {
                let count = ready!(Pin::new(&mut *stream).poll_write(context, &self.control))?;
                self.control.drain(..count);
                count
            } else if self.next < self.batch.len() {
                let count = ready!(self.poll_frames(context, stream))?;
                self.advance(count);
                count
            } else {
                break;
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        self.next = 0;
        if self.batch.capacity() > KEPT {
            self.batch = Vec::new();
        } else {
            self.batch.clear();
        }
        self.control = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Writes what is left of the current frame, or if nothing of it is written, all frames there are.
    fn poll_frames<S: AsyncWrite + Unpin>(
        &self,
        context: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let most = if self.written > 0 { 1 } else { AT_ONCE };
        let messages = self.batch[self.next..].iter().take(most);
        let mut headers = [Header::default(); AT_ONCE];
        let mut slices = [IoSlice::new(&[]); 2 * AT_ONCE];
        let mut count = 0;
        for (message, header) in messages.zip(&mut headers) {
            *header = Header::of(message.len(), self.binary);
            slices[count] = IoSlice::new(header.bytes());
            slices[count + 1] = IoSlice::new(message);
            count += 2;
        }
        let mut slices = &mut slices[..count];
        IoSlice::advance_slices(&mut slices, self.written);
        let stream = Pin::new(stream);
        if stream.is_write_vectored() {
            return stream.poll_write_vectored(context, slices);
        }
        let mut gathered = Vec::new();
        for slice in slices {
            let room = GATHERED - gathered.len();
            gathered.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        stream.poll_write(context, &gathered)
    }

    fn advance(&mut self, mut count: usize) {
        count += self.written;
        self.written = 0;
        while let Some(message) = self.batch.get_mut(self.next) {
            let length = Header::of(message.len(), self.binary).bytes().len() + message.len();
            if count < length {
                self.written = count;
                return;
            }
            count -= length;
            self.next += 1;
            // Others may wait for its memory.
            *message = Bytes::new();
        }
    }
}

/// The header of a frame that the server sends: such frames are not masked, and none is split.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    bytes: [u8; 10],
    length: u8,
}

impl Header {
    /// That of a message of so many bytes.
    fn of(length: usize, binary: bool) -> Self {
        let mut bytes = [0; 10];
        bytes[0] = if binary { 0x82 } else { 0x81 };
        let length = match length {
            ..126 => {
                bytes[1] = length as u8;
                2
            }
            126..65_536 => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&(length as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests;
