//! What the server answers about streams.

use redis::Value;

use super::part::{Id, Parts};

/// One entry of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) part: u32,
    pub(super) id: Id,
    /// Frames, each with its channel; none where somebody else has written there.
    pub(super) frames: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The fields of an entry.
pub(super) const CHANNEL: &str = "c";
pub(super) const FRAME: &str = "e";

/// The entries in the answer to `XREAD`, in order; none where nothing came in time.
pub(super) fn read(parts: &Parts, answer: Value) -> Vec<Found> {
    let streams: Vec<(Value, Value)> = match answer {
        Value::Map(streams) => streams,
        Value::Array(streams) => streams.into_iter().filter_map(pair).collect(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for (key, entries) in streams {
        let Value::BulkString(key) = key else { continue };
        let Some(part) = parts.of_key(&key) else { continue };
        found.extend(list(part, entries));
    }
    found
}

/// The entries in the answer to `XRANGE` and in each stream of `XREAD`'s.
pub(super) fn list(part: u32, entries: Value) -> impl Iterator<Item = Found> {
    let entries = if let Value::Array(entries) = entries { entries } else { Vec::new() };
    entries.into_iter().filter_map(move |entry| {
        let (id, fields) = pair(entry)?;
        let Value::BulkString(id) = id else { return None };
        let id = std::str::from_utf8(&id).ok()?.parse().ok()?;
        Some(Found { part, id, frames: frames(fields).unwrap_or_default() })
    })
}

fn frames(fields: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let Value::Array(fields) = fields else { return None };
    let mut frames = Vec::with_capacity(fields.len() / 4);
    let mut fields = fields.into_iter();
    while let Some(first) = fields.next() {
        match [first, fields.next()?, fields.next()?, fields.next()?] {
            [
                Value::BulkString(first),
                Value::BulkString(channel),
                Value::BulkString(second),
                Value::BulkString(frame),
            ] if first == CHANNEL.as_bytes() && second == FRAME.as_bytes() => {
                frames.push((channel, frame));
            }
            _ => return None,
        }
    }
    Some(frames)
}

/// The last place in use, from the answer to `XINFO STREAM`.
pub(super) fn last_generated(answer: Value) -> Option<Id> {
    let facts: Vec<(Value, Value)> = match answer {
        Value::Map(facts) => facts,
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
        _ => return None,
    };
    facts.into_iter().find_map(|fact| match fact {
        (name, Value::BulkString(id)) if text(&name) == Some("last-generated-id") => {
            std::str::from_utf8(&id).ok()?.parse().ok()
        }
        _ => None,
    })
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
