use std::mem;

/// What a client sent that no WebSocket may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame is not masked")]
    Unmasked,
    #[error("a frame has reserved bits")]
    Reserved,
    #[error("a frame is of an unknown kind")]
    UnknownKind,
    #[error("a control frame is split or too long")]
    Control,
    #[error("a message begins within another, or goes on before it has begun")]
    OutOfOrder,
    #[error("a frame's length is out of range")]
    Length,
    #[error("a close frame is malformed")]
    Close,
}

/// A control frame that asks for something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Asks for a pong with this payload.
    Ping(Vec<u8>),
    /// Ends the connection, with a code.
    Close(Option<u16>),
}

/// Takes a client's frames apart, however they come.
///
/// It keeps no payload: a hub message may be in many frames, and many in one, so the payloads are one
/// stream of bytes, whose parts are bounded elsewhere.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    head: Head,
    state: State,
    /// Whether a message has begun whose end is to come.
    within: bool,
}

/// The longest head: two bytes, a length of eight, a mask of four.
const LONGEST_HEAD: usize = 14;
const LONGEST_CONTROL: u64 = 125;

/// The start of a frame, as far as it has come.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; LONGEST_HEAD],
    length: usize,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Data {
        left: u64,
        mask: [u8; 4],
    },
    Control {
        kind: u8,
        left: u64,
        mask: [u8; 4],
        payload: Vec<u8>,
    },
}

impl Decoder {
    /// Takes from `input` up to the next control frame, or all, and appends the payload to `data`.
    pub(super) fn decode(
        &mut self,
        input: &mut &[u8],
        data: &mut Vec<u8>,
    ) -> Result<Option<Control>, FrameError> {
        loop {
            match &mut self.state {
                State::Head => match self.head.take(input) {
                    Some(head) => self.state = self.begin(&head)?,
                    None => return Ok(None),
                },
                State::Data { left, mask } => {
                    unmask(input, left, mask, data);
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
                State::Control { kind, left, mask, payload } => {
                    unmask(input, left, mask, payload);
                    if *left > 0 {
                        return Ok(None);
                    }
                    let (kind, payload) = (*kind, mem::take(payload));
                    self.state = State::Head;
                    match kind {
                        CLOSE => return close_code(&payload).map(Control::Close).map(Some),
                        PING => return Ok(Some(Control::Ping(payload))),
                        _ => {}
                    }
                }
            }
        }
    }

    fn begin(&mut self, head: &[u8; LONGEST_HEAD]) -> Result<State, FrameError> {
        let (last, reserved, kind) = (head[0] & 0x80 != 0, head[0] & 0x70, head[0] & 0x0f);
        if reserved != 0 {
            return Err(FrameError::Reserved);
        }
        if head[1] & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        let (left, mask) = length_and_mask(head);
        if left > i64::MAX as u64 {
            return Err(FrameError::Length);
        }
        match kind {
            CONTINUATION | TEXT | BINARY => {
                if self.within != (kind == CONTINUATION) {
                    return Err(FrameError::OutOfOrder);
                }
                self.within = !last;
                Ok(State::Data { left, mask })
            }
            CLOSE | PING | PONG if last && left <= LONGEST_CONTROL => {
                Ok(State::Control { kind, left, mask, payload: Vec::new() })
            }
            CLOSE | PING | PONG => Err(FrameError::Control),
            _ => Err(FrameError::UnknownKind),
        }
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Head {
    /// The whole head, once it is there.
    fn take(&mut self, input: &mut &[u8]) -> Option<[u8; LONGEST_HEAD]> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            self.bytes[self.length] = *byte;
            self.length += 1;
            if self.length >= 2 && self.length == 2 + length_of_length(self.bytes[1]) + 4 {
                self.length = 0;
                return Some(self.bytes);
            }
            // A frame without a mask is an error, so the rest need not be awaited.
            if self.length == 2 && self.bytes[1] & 0x80 == 0 {
                self.length = 0;
                return Some(self.bytes);
            }
        }
        None
    }
}

const fn length_of_length(second: u8) -> usize {
    match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

fn length_and_mask(head: &[u8; LONGEST_HEAD]) -> (u64, [u8; 4]) {
    let (length, mask) = head[2..].split_at(length_of_length(head[1]));
    let length = match length {
        [] => u64::from(head[1] & 0x7f),
        bytes => bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    (length, [mask[0], mask[1], mask[2], mask[3]])
}

/// Moves what there is of a payload, and turns the mask to where the next byte needs it.
fn unmask(input: &mut &[u8], left: &mut u64, mask: &mut [u8; 4], into: &mut Vec<u8>) {
    let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    let (bytes, rest) = input.split_at(count);
    let start = into.len();
    into.extend_from_slice(bytes);
    for part in into[start..].chunks_mut(4) {
        part.iter_mut().zip(&*mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    *input = rest;
    *left -= count as u64;
    mask.rotate_left(count % 4);
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => match u16::from_be_bytes([*high, *low]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999)
                if std::str::from_utf8(reason).is_ok() =>
            {
                Ok(Some(code))
            }
            _ => Err(FrameError::Close),
        },
        [_] => Err(FrameError::Close),
    }
}

#[cfg(test)]
mod tests;
