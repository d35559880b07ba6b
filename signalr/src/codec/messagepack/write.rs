use bytes::Bytes;
use rmp::encode;
use serde::Serialize;

use super::frame::{self, LONGEST};
use crate::message::{Invocation, Message, Outcome};

/// A ping, for all connections.
pub(crate) static PING: Bytes = Bytes::from_static(&[0x02, 0x91, 0x06]);

/// One message after its length.
pub(crate) fn write(message: &Message) -> Bytes {
    match message {
        Message::Invocation(invocation) => call(1, invocation),
        Message::StreamItem { id, item } => {
            let mut record = Record::answer(2, id, 1);
            record.raw(item);
            record.end()
        }
        Message::Completion { id, outcome } => {
            let (kind, more) = match outcome {
                Outcome::Error(_) => (1, 2),
                Outcome::Nothing => (2, 1),
                Outcome::Result(_) => (3, 2),
            };
            let mut record = Record::answer(3, id, more);
            record.integer(kind);
            match outcome {
                Outcome::Error(error) => record.text(error),
                Outcome::Nothing => {}
                Outcome::Result(result) => record.raw(result),
            }
            record.end()
        }
        Message::StreamInvocation(invocation) => call(4, invocation),
        Message::CancelInvocation { id } => Record::answer(5, id, 0).end(),
        Message::Ping => PING.clone(),
        Message::Close { error, allow_reconnect } => {
            let mut record = Record::new(7, 2);
            record.optional_text(error.as_deref());
            sure(&encode::write_bool(&mut record.0, *allow_reconnect));
            record.end()
        }
        Message::Ack { sequence } => {
            let mut record = Record::new(8, 1);
            record.integer(*sequence);
            record.end()
        }
        Message::Sequence { sequence } => {
            let mut record = Record::new(9, 1);
            record.integer(*sequence);
            record.end()
        }
    }
}

/// The completion of a call that returned `value`; `()` is nil.
pub(crate) fn result(
    id: &str,
    value: &dyn erased_serde::Serialize,
) -> Result<Bytes, rmp_serde::encode::Error> {
    let mut record = Record::answer(3, id, 2);
    record.integer(3);
    record.value(value)?;
    Ok(record.end())
}

/// One item of a stream.
pub(crate) fn item(
    id: &str,
    value: &dyn erased_serde::Serialize,
) -> Result<Bytes, rmp_serde::encode::Error> {
    let mut record = Record::answer(2, id, 1);
    record.value(value)?;
    Ok(record.end())
}

/// A call of a client's method that wants no answer.
pub(super) fn invocation(
    id: Option<&str>,
    target: &str,
    arguments: &[&dyn erased_serde::Serialize],
    trace: Option<&str>,
) -> Result<Bytes, rmp_serde::encode::Error> {
    let mut record = Record::call(1, trace, id, target);
    record.array(arguments.len());
    for argument in arguments {
        record.value(argument)?;
    }
    record.array(0);
    Ok(record.end())
}

fn call(kind: u8, invocation: &Invocation) -> Bytes {
    let Invocation { id, target, arguments, streams, trace } = invocation;
    let mut record = Record::call(kind, trace.as_deref(), id.as_deref(), target);
    record.array(arguments.len());
    arguments.iter().for_each(|argument| record.raw(argument));
    record.array(streams.len());
    streams.iter().for_each(|id| record.text(id));
    record.end()
}

/// A record in the making, behind the room for its length.
struct Record(Vec<u8>);

impl Record {
    /// A message of this type with so many other items.
    fn new(kind: u8, items: usize) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.resize(LONGEST, 0);
        let mut record = Self(bytes);
        record.array(1 + items);
        record.integer(kind.into());
        record
    }

    /// A message about the call or stream `id`, with so many items to come.
    fn answer(kind: u8, id: &str, more: usize) -> Self {
        let mut record = Self::new(kind, 2 + more);
        record.headers(None);
        record.text(id);
        record
    }

    /// A call up to its arguments.
    fn call(kind: u8, trace: Option<&str>, id: Option<&str>, target: &str) -> Self {
        let mut record = Self::new(kind, 5);
        record.headers(trace);
        record.optional_text(id);
        record.text(target);
        record
    }

    fn headers(&mut self, trace: Option<&str>) {
        sure(&encode::write_map_len(&mut self.0, trace.is_some().into()));
        if let Some(trace) = trace {
            self.text("traceparent");
            self.text(trace);
        }
    }

    fn array(&mut self, items: usize) {
        // What is written here comes from memory, where no list is that long.
        sure(&encode::write_array_len(&mut self.0, u32::try_from(items).unwrap_or(u32::MAX)));
    }

    fn integer(&mut self, value: i64) {
        sure(&encode::write_sint(&mut self.0, value));
    }

    fn text(&mut self, text: &str) {
        sure(&encode::write_str(&mut self.0, text));
    }

    fn optional_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => sure(&encode::write_nil(&mut self.0)),
        }
    }

    fn raw(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// Structures are maps with the names of their fields.
    fn value(
        &mut self,
        value: &dyn erased_serde::Serialize,
    ) -> Result<(), rmp_serde::encode::Error> {
        value.serialize(&mut rmp_serde::Serializer::new(&mut self.0).with_struct_map())
    }

    fn end(mut self) -> Bytes {
        let length = self.0.len() - LONGEST;
        let mut room = [0; LONGEST];
        let start = frame::put(length, &mut room);
        self.0[..LONGEST].copy_from_slice(&room);
        Bytes::from(self.0).slice(start..)
    }
}

/// What is written to memory is written.
fn sure<T, E>(written: &Result<T, E>) {
    debug_assert!(written.is_ok(), "memory can be written to");
}
