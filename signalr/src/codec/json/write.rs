use std::io::Write;

use bytes::Bytes;
use serde::Serialize;

use super::SEPARATOR;
use crate::message::{Invocation, Message, Outcome};

/// A ping, for all connections.
pub(crate) static PING: Bytes = Bytes::from_static(b"{\"type\":6}\x1e");

/// One message with its separator. The order of the properties is that of the original.
pub(crate) fn write(message: &Message) -> Bytes {
    let mut record = Record::new();
    match message {
        Message::Invocation(invocation) => record.invocation(1, invocation),
        Message::StreamItem { id, item } => {
            record.head(2, None, Some(id));
            record.raw(",\"item\":", item);
        }
        Message::Completion { id, outcome } => {
            record.head(3, None, Some(id));
            match outcome {
                Outcome::Result(result) => record.raw(",\"result\":", result),
                Outcome::Error(error) => record.text(",\"error\":", error),
                Outcome::Nothing => {}
            }
        }
        Message::StreamInvocation(invocation) => record.invocation(4, invocation),
        Message::CancelInvocation { id } => record.head(5, None, Some(id)),
        Message::Ping => return PING.clone(),
        Message::Close { error, allow_reconnect } => {
            record.head(7, None, None);
            if let Some(error) = error {
                record.text(",\"error\":", error);
            }
            if *allow_reconnect {
                record.raw(",\"allowReconnect\":", b"true");
            }
        }
        Message::Ack { sequence } => {
            record.head(8, None, None);
            record.raw(",\"sequenceId\":", sequence.to_string().as_bytes());
        }
        Message::Sequence { sequence } => {
            record.head(9, None, None);
            record.raw(",\"sequenceId\":", sequence.to_string().as_bytes());
        }
    }
    record.end()
}

/// The completion of a call that returned `value`; `()` is null.
pub(crate) fn result(id: &str, value: &dyn erased_serde::Serialize) -> serde_json::Result<Bytes> {
    let mut record = Record::new();
    record.head(3, None, Some(id));
    record.value(",\"result\":", value)?;
    Ok(record.end())
}

/// One item of a stream.
pub(crate) fn item(id: &str, value: &dyn erased_serde::Serialize) -> serde_json::Result<Bytes> {
    let mut record = Record::new();
    record.head(2, None, Some(id));
    record.value(",\"item\":", value)?;
    Ok(record.end())
}

/// A call of a client's method; without an id it wants no answer.
pub(super) fn invocation(
    id: Option<&str>,
    target: &str,
    arguments: &[&dyn erased_serde::Serialize],
    trace: Option<&str>,
) -> serde_json::Result<Bytes> {
    let mut record = Record::new();
    record.head(1, trace, id);
    record.text(",\"target\":", target);
    record.value(",\"arguments\":", arguments)?;
    Ok(record.end())
}

/// A record in the making.
struct Record(Vec<u8>);

impl Record {
    fn new() -> Self {
        Self(Vec::with_capacity(128))
    }

    fn head(&mut self, kind: u8, trace: Option<&str>, id: Option<&str>) {
        self.raw("{\"type\":", kind.to_string().as_bytes());
        if let Some(trace) = trace {
            self.text(",\"headers\":{\"traceparent\":", trace);
            self.0.push(b'}');
        }
        if let Some(id) = id {
            self.text(",\"invocationId\":", id);
        }
    }

    fn invocation(&mut self, kind: u8, invocation: &Invocation) {
        self.head(kind, invocation.trace.as_deref(), invocation.id.as_deref());
        self.text(",\"target\":", &invocation.target);
        self.list(",\"arguments\":", &invocation.arguments, |record, argument| {
            record.raw("", argument);
        });
        if !invocation.streams.is_empty() {
            self.list(",\"streamIds\":", &invocation.streams, |record, id| record.text("", id));
        }
    }

    fn list<T>(&mut self, name: &str, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.raw(name, b"[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            write(self, item);
        }
        self.0.push(b']');
    }

    fn raw(&mut self, name: &str, json: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(json);
    }

    fn text(&mut self, name: &str, text: &str) {
        // Only the value's own Serialize or the writer can fail: a str and a Vec don't.
        let written = self.value(name, text);
        debug_assert!(written.is_ok(), "a text can be written to memory");
    }

    fn value<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> serde_json::Result<()> {
        self.0.extend_from_slice(name.as_bytes());
        serde_json::to_writer(self.0.by_ref(), value)
    }

    fn end(mut self) -> Bytes {
        self.0.extend_from_slice(&[b'}', SEPARATOR]);
        self.0.into()
    }
}
