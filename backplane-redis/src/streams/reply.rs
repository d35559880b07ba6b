//! What the server answers about streams.

use redis::{Cmd, Value, cmd};

use super::part::{Id, Parts};

/// One entry of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) part: u32,
    pub(super) id: Id,
    /// Frames, each with its channel; none where somebody else has written there.
    pub(super) frames: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The entries in the answer to `XREAD`, in order; none where nothing came in time.
pub(super) fn read(parts: &Parts, answer: Value) -> Vec<Found> {
    let streams: Vec<(Value, Value)> = match answer {
        Value::Map(streams) => streams,
        Value::Array(streams) => streams.into_iter().filter_map(pair).collect(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for (key, answer) in streams {
        let Value::BulkString(key) = key else { continue };
        let Some(part) = parts.of_key(&key) else { continue };
        found.extend(entries(answer).map(|(id, fields)| {
            let frames = frames(parts, fields).unwrap_or_default();
            Found { part, id, frames }
        }));
    }
    found
}

/// Asks for the entry at this place.
pub(super) fn entry_at(key: &str, id: Id) -> Cmd {
    let mut range = cmd("XRANGE");
    let id = id.to_string();
    range.arg(key).arg(&id).arg(&id).arg("COUNT").arg(1);
    range
}

/// The places of the entries in the answer to `XRANGE`.
pub(super) fn ids(answer: Value) -> impl Iterator<Item = Id> {
    entries(answer).map(|(id, _)| id)
}

/// Entries with their fields.
fn entries(answer: Value) -> impl Iterator<Item = (Id, Value)> {
    let entries = if let Value::Array(entries) = answer { entries } else { Vec::new() };
    entries.into_iter().filter_map(|entry| {
        let (id, fields) = pair(entry)?;
        let Value::BulkString(id) = id else { return None };
        Some((std::str::from_utf8(&id).ok()?.parse().ok()?, fields))
    })
}

fn frames(parts: &Parts, fields: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let Value::Array(fields) = fields else { return None };
    let mut frames = Vec::with_capacity(fields.len() / 2);
    let mut fields = fields.into_iter();
    while let Some(channel) = fields.next() {
        let (Value::BulkString(channel), Value::BulkString(frame)) = (channel, fields.next()?)
        else {
            return None;
        };
        if !channel.starts_with(parts.channels.spare().as_bytes()) {
            return None;
        }
        frames.push((channel, frame));
    }
    Some(frames)
}

/// The last place in use, from the answer to `XINFO STREAM`.
pub(super) fn last_generated(answer: Value) -> Option<Id> {
    let id = facts(answer).into_iter().find(|(name, _)| text(name) == Some("last-generated-id"));
    text(&id?.1)?.parse().ok()
}

/// Whether a stream has had entries that it does not have any more, from the same answer. Servers before Redis 7.0
/// do not say.
pub(super) fn has_lost_some(answer: Value) -> bool {
    let facts = facts(answer);
    let number = |wanted| {
        facts.iter().find_map(|fact| match fact {
            (name, Value::Int(number)) if text(name) == Some(wanted) => Some(*number),
            _ => None,
        })
    };
    number("entries-added") > number("length")
}

fn facts(answer: Value) -> Vec<(Value, Value)> {
    match answer {
        Value::Map(facts) => facts,
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(both) = value else { return None };
    let [first, second] = <[Value; 2]>::try_from(both).ok()?;
    Some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Channels;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn entry(id: &str, fields: &[&str]) -> Value {
        let fields = fields.iter().map(|it| text(it)).collect();
        Value::Array(vec![text(id), Value::Array(fields)])
    }

    /// What stands in the stream of a part, in both protocols' ways.
    fn frames_of(fields: &[&str]) -> Vec<usize> {
        let parts = Parts::new(Channels::new("shop"), 2);
        let entries = Value::Array(vec![entry("5-1", fields), entry("5-2", &["shop/h/all/", "x"])]);
        let stream = (text("shop/log/1"), entries);
        let map = Value::Map(vec![stream.clone()]);
        let list = Value::Array(vec![Value::Array(vec![stream.0, stream.1])]);
        let found = read(&parts, map);
        assert_eq!(read(&parts, list), found);
        assert!(found.iter().all(|it| it.part == 1) && found[1].id == "5-2".parse().unwrap());
        found.into_iter().map(|it| it.frames.len()).collect()
    }

    #[test]
    fn what_others_wrote_is_told_apart() {
        assert_eq!(frames_of(&["shop/h/all/", "a", "shop/h/all/", "b"]), [2, 1]);
        for foreign in
            [&["field", "value"][..], &["shop/h/all/", "a", "sho", "b"], &["shop/h/all/"]]
        {
            assert_eq!(frames_of(foreign), [0, 1], "{foreign:?}");
        }
        let parts = Parts::new(Channels::new("shop"), 2);
        assert_eq!(read(&parts, Value::Nil), []);
    }
}
