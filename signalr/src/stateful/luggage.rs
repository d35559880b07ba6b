//! What a session takes along to another node. Integers are little-endian.
//!
//! ```text
//! luggage = hub length u32 | hub | first u64 | latest u64 | waiting u8 | (length u32 | message)*
//! ```
//!
//! The messages are those that the client has not acknowledged; with `waiting`, the one before them is a
//! call of the client that had no place yet.

use bytes::{Buf, BufMut, Bytes};

use super::Buffer;

/// What a session takes along.
#[derive(Debug)]
pub(crate) struct Luggage {
    /// What the hub has of the connection.
    pub(crate) hub: Bytes,
    pub(crate) buffer: Buffer,
    /// A call that was counted and has not begun, with its framing.
    pub(crate) waiting: Option<Bytes>,
}

/// These bytes are none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node describes a session in a way that this version does not know")]
pub(crate) struct Unreadable;

impl Luggage {
    pub(crate) fn encode(hub: &[u8], buffer: &Buffer, waiting: Option<&Bytes>) -> Bytes {
        let mut to = Vec::new();
        put(&mut to, hub);
        to.put_u64_le(buffer.first);
        to.put_u64_le(buffer.latest);
        to.put_u8(waiting.is_some().into());
        waiting.into_iter().chain(&buffer.kept).for_each(|message| put(&mut to, message));
        to.into()
    }

    /// For a session that keeps so many bytes.
    pub(crate) fn decode(mut from: Bytes, limit: usize) -> Result<Self, Unreadable> {
        let from = &mut from;
        let hub = take(from)?;
        let first = from.try_get_u64_le().map_err(|_| Unreadable)?;
        let latest = from.try_get_u64_le().map_err(|_| Unreadable)?;
        let waits = from.try_get_u8().map_err(|_| Unreadable)? != 0;
        let waiting = if waits { Some(take(from)?) } else { None };
        let mut buffer = Buffer::resumed(first, latest, limit);
        while from.has_remaining() {
            buffer.keep(take(from)?);
        }
        Ok(Self { hub, buffer, waiting })
    }
}

/// All of it is far below 4 GiB: a backplane carries it.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.put_u32_le(bytes.len() as u32);
    to.put_slice(bytes);
}

fn take(from: &mut Bytes) -> Result<Bytes, Unreadable> {
    let length = from.try_get_u32_le().map_err(|_| Unreadable)? as usize;
    if from.len() < length {
        return Err(Unreadable);
    }
    Ok(from.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut buffer = Buffer::resumed(7, 9, 100);
        for message in ["a", "", "bc"] {
            buffer.keep(message.into());
        }
        let waiting = Bytes::from_static(b"call");
        let whole = Luggage::encode(b"hub", &buffer, Some(&waiting));
        let read = Luggage::decode(whole.clone(), 100).unwrap();
        assert_eq!((&read.hub[..], read.waiting), (&b"hub"[..], Some(waiting)));
        assert_eq!(format!("{:?}", read.buffer), format!("{buffer:?}"));
        // Whole messages may be missing at the end; nothing else may.
        let ends = [whole.len() - 6, whole.len() - 10, whole.len() - 15];
        for end in 0..whole.len() {
            let read = Luggage::decode(whole.slice(..end), 100);
            assert_eq!(read.is_ok(), ends.contains(&end), "{end}");
        }
        let empty = Luggage::decode(Luggage::encode(b"", &Buffer::new(1), None), 1).unwrap();
        assert_eq!(empty.waiting, None);
    }
}
