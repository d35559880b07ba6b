//! What nodes say of a connection that moves. Integers are little-endian.
//!
//! ```text
//! groups   = count u32 | (length u16 | name)*
//! state    = groups | count u32 | mark u64 * | count u32 | (length u16 | name | length u32 | item)*
//! arrivals = (mark u64 | length u16 | group | length u32 | message)*
//! ```

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::{
    members::{Held, Mark},
    routing::{Malformed, put_body, put_text, take_body, take_text},
};

/// What a connection has beside its queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) groups: Vec<Arc<str>>,
    /// What has come to it lately.
    pub(super) recent: Vec<Mark>,
    /// Its portable items, by their names.
    pub(super) items: Vec<(Box<str>, Bytes)>,
}

impl State {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        put_groups(&mut bytes, &self.groups);
        bytes.put_u32_le(self.recent.len() as u32);
        self.recent.iter().for_each(|mark| bytes.put_u64_le(mark.to_wire()));
        bytes.put_u32_le(self.items.len() as u32);
        for (name, item) in &self.items {
            put_text(&mut bytes, name);
            put_body(&mut bytes, item);
        }
        bytes.into()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let bytes = &mut bytes;
        let groups = take_groups(bytes)?;
        let recent = many(bytes, |bytes| {
            bytes.try_get_u64_le().map(Mark::from_wire).map_err(|_| Malformed)
        })?;
        let items = many(bytes, |bytes| Ok((take_text(bytes)?, take_body(bytes)?)))?;
        Ok(Self { groups, recent, items })
    }
}

pub(super) fn encode_groups(groups: &[Arc<str>]) -> Bytes {
    let mut bytes = Vec::new();
    put_groups(&mut bytes, groups);
    bytes.into()
}

pub(super) fn decode_groups(mut bytes: Bytes) -> Result<Vec<Arc<str>>, Malformed> {
    take_groups(&mut bytes)
}

pub(super) fn encode_arrivals(held: &[Held]) -> Bytes {
    let mut bytes = Vec::new();
    for Held { mark, group, message } in held {
        bytes.put_u64_le(mark.to_wire());
        // No group has an empty name.
        put_text(&mut bytes, group.as_deref().unwrap_or_default());
        put_body(&mut bytes, message);
    }
    bytes.into()
}

pub(super) fn decode_arrivals(mut bytes: Bytes) -> Result<Vec<Held>, Malformed> {
    let mut held = Vec::new();
    while bytes.has_remaining() {
        let mark = bytes.try_get_u64_le().map_err(|_| Malformed)?;
        let group = Some(take_text(&mut bytes)?).filter(|group| !group.is_empty());
        let (mark, group) = (Mark::from_wire(mark), group.map(Arc::from));
        held.push(Held { mark, group, message: take_body(&mut bytes)? });
    }
    Ok(held)
}

fn put_groups(bytes: &mut Vec<u8>, groups: &[Arc<str>]) {
    bytes.put_u32_le(groups.len() as u32);
    groups.iter().for_each(|group| put_text(bytes, group));
}

fn take_groups(bytes: &mut Bytes) -> Result<Vec<Arc<str>>, Malformed> {
    many(bytes, |bytes| take_text(bytes).map(Arc::from))
}

/// As many as are announced; each is bounded by what has arrived.
fn many<T>(
    bytes: &mut Bytes,
    mut take: impl FnMut(&mut Bytes) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = bytes.try_get_u32_le().map_err(|_| Malformed)?;
    (0..count).map(|_| take(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            groups: vec!["kitchen".into(), "küche".into()],
            recent: [1, u64::MAX].map(Mark::from_wire).to_vec(),
            items: vec![("cart".into(), Bytes::from_static(b"[1,2]"))],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(State::decode(state().encode()), Ok(state()));
        assert_eq!(decode_groups(encode_groups(&state().groups)), Ok(state().groups));
        let held = [(0, None, "a"), (7, Some("bar".into()), "")].map(|(mark, group, message)| {
            Held { mark: Mark::from_wire(mark), group, message: message.into() }
        });
        assert_eq!(decode_arrivals(encode_arrivals(&held)), Ok(held.to_vec()));
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = state().encode();
        for end in 0..whole.len() {
            assert_eq!(State::decode(whole.slice(..end)), Err(Malformed), "{end}");
        }
        // A count that is too large costs nothing.
        assert_eq!(decode_groups(Bytes::from_static(b"\xff\xff\xff\xff")), Err(Malformed));
    }
}
