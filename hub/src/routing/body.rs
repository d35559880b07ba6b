//! What a hub puts into envelopes. Integers are little-endian.
//!
//! ```text
//! invocation = 1 | head length u8 | head | count u8 | (name length u8 | name | length u32)* | payload*
//! head       = number u64 | several u8
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
pub(crate) struct Malformed;

/// Which of its sender's messages one is, and how it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    /// Whether it may reach a connection by several topics.
    pub(crate) several: bool,
}

/// Encodes what clients of each protocol get.
pub(super) fn encode(payloads: &[(&'static str, Bytes)], head: Head) -> Bytes {
    const HEAD: u8 = 9;
    let mut body = Vec::with_capacity(3 + usize::from(HEAD) + size(payloads));
    body.put_u8(INVOCATION);
    body.put_u8(HEAD);
    body.put_u64_le(head.number);
    body.put_u8(head.several.into());
    put_payloads(&mut body, payloads);
    body.into()
}

/// A call in each protocol, for a question.
pub(crate) fn payloads(payloads: &[(&'static str, Bytes)]) -> Bytes {
    let mut body = Vec::with_capacity(1 + size(payloads));
    put_payloads(&mut body, payloads);
    body.into()
}

fn size(payloads: &[(&'static str, Bytes)]) -> usize {
    payloads.iter().map(|(name, payload)| name.len() + 5 + payload.len()).sum()
}

/// Writes a call in each protocol.
fn put_payloads(body: &mut Vec<u8>, payloads: &[(&'static str, Bytes)]) {
    // A hub speaks at most eight protocols, whose names are checked when it takes them up; payloads
    // are far below 4 GiB, as the backplane takes no larger body.
    body.put_u8(payloads.len() as u8);
    for (name, payload) in payloads {
        body.put_u8(name.len() as u8);
        body.put_slice(name.as_bytes());
        body.put_u32_le(payload.len() as u32);
    }
    payloads.iter().for_each(|(_, payload)| body.put_slice(payload));
}

/// Reads what [`encode`] wrote, after its kind: the payloads of the protocols spoken here go into
/// `message`.
pub(super) fn decode(
    mut body: Bytes,
    protocols: &Protocols,
    borrowed: bool,
    message: &mut Message<'_>,
) -> Result<Head, Malformed> {
    let length = body.try_get_u8().map_err(|_| Malformed)?;
    let mut head = take(&mut body, length.into())?;
    let number = head.try_get_u64_le().map_err(|_| Malformed)?;
    let several = head.try_get_u8().map_err(|_| Malformed)? != 0;
    read_payloads(body, |name, payload| {
        if let Some(slot) = protocols.index_of(&name) {
            message.add(slot, payload, borrowed);
        }
    })?;
    Ok(Head { number, several })
}

/// The call in the protocol of this name, out of what [`take_payloads`] has found whole.
pub(super) fn payload_of(payloads: Bytes, protocol: &str) -> Option<Bytes> {
    let mut found = None;
    let read = read_payloads(payloads, |name, payload| {
        if *name == *protocol.as_bytes() {
            // The letter is not kept alive for as long as a client takes to read a part of it.
            found = Some(Bytes::copy_from_slice(&payload));
        }
    });
    read.ok().and(found)
}

/// Payloads without what follows them.
pub(super) fn take_payloads(body: &Bytes) -> Result<Bytes, Malformed> {
    let whole = body.len();
    let rest = read_payloads(body.clone(), |_, _| {})?;
    Ok(body.slice(..whole - rest))
}

/// Hands over what [`put_payloads`] wrote: names and payloads. Returns how many bytes follow.
fn read_payloads(mut body: Bytes, mut read: impl FnMut(Bytes, Bytes)) -> Result<usize, Malformed> {
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
        read(name, take(&mut body, length)?);
    }
    Ok(body.len())
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
