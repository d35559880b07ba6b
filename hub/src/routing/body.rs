//! What a hub puts into envelopes. Integers are little-endian.
//!
//! ```text
//! invocation = 1 | head length u8 | head | count u8 | (name length u8 | name | length u32)* | payload*
//! head       = once u64, or nothing
//! ```
//!
//! Later versions append to the head and add kinds: what follows the fields known here is skipped,
//! unknown kinds are counted.

use bytes::{Buf, BufMut, Bytes};

use crate::{members::Message, protocol::Protocols};

/// The kind of an invocation; those of questions and answers are in `question`.
pub(super) const INVOCATION: u8 = 1;

/// What arrived is not a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Encodes what clients of each protocol get.
pub(super) fn encode(payloads: &[(&'static str, Bytes)], once: Option<u64>) -> Bytes {
    let names: usize = payloads.iter().map(|(name, _)| name.len() + 5).sum();
    let bytes: usize = payloads.iter().map(|(_, payload)| payload.len()).sum();
    let mut body = Vec::with_capacity(3 + 8 + names + bytes);
    body.put_u8(INVOCATION);
    match once {
        Some(once) => {
            body.put_u8(8);
            body.put_u64_le(once);
        }
        None => body.put_u8(0),
    }
    // A hub speaks at most eight protocols, whose names are checked when it takes them up; payloads
    // are far below 4 GiB, as the backplane takes no larger body.
    body.put_u8(payloads.len() as u8);
    for (name, payload) in payloads {
        body.put_u8(name.len() as u8);
        body.put_slice(name.as_bytes());
        body.put_u32_le(payload.len() as u32);
    }
    payloads.iter().for_each(|(_, payload)| body.put_slice(payload));
    body.into()
}

/// Reads what [`encode`] wrote, after its kind: the payloads of the protocols spoken here go into
/// `message`. Returns what names the message among those that come by several topics.
pub(super) fn decode(
    mut body: Bytes,
    protocols: &Protocols,
    borrowed: bool,
    message: &mut Message<'_>,
) -> Result<Option<u64>, Malformed> {
    let length = body.try_get_u8().map_err(|_| Malformed)?;
    let mut head = take(&mut body, length.into())?;
    // Without a number it came by one topic only.
    let once = head.try_get_u64_le().ok();
    let count = body.try_get_u8().map_err(|_| Malformed)?;
    let mut index = body.clone();
    for _ in 0..count {
        let (_, length) = entry(&mut body)?;
        // Bounded by the body, so that the sum of lengths needs no check of its own.
        if length > body.len() {
            return Err(Malformed);
        }
    }
    for _ in 0..count {
        let (name, length) = entry(&mut index)?;
        let payload = take(&mut body, length)?;
        if let Some(slot) = protocols.index_of(&name) {
            message.add(slot, payload, borrowed);
        }
    }
    Ok(once)
}

fn entry(body: &mut Bytes) -> Result<(Bytes, usize), Malformed> {
    let length = body.try_get_u8().map_err(|_| Malformed)?;
    let name = take(body, length.into())?;
    let length = body.try_get_u32_le().map_err(|_| Malformed)?;
    Ok((name, length as usize))
}

/// Splits a prefix off.
pub(super) fn take(body: &mut Bytes, length: usize) -> Result<Bytes, Malformed> {
    if body.len() < length {
        return Err(Malformed);
    }
    Ok(body.split_to(length))
}
