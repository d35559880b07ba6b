use bytes::Bytes;

use super::read::{NoValue, Reader, Unfit};
use crate::message::{Invocation, Message, Outcome};

/// Why a record is not a message. Such a connection ends: what follows cannot be trusted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("Reading array length for '{0}' failed.")]
    Length(&'static str),
    #[error("Reading '{name}' as {kind} failed.")]
    Kind { name: &'static str, kind: &'static str },
    #[error("Missing required item '{0}'.")]
    Missing(&'static str),
    #[error("The message is nested too deep.")]
    TooDeep,
    #[error("Invalid invocation result kind.")]
    ResultKind,
}

/// Reads one record without its length; `None` is a message of a type that is not known here, which
/// is to be ignored.
///
/// Arguments, items and results are slices of `record`, checked to be values but not read any
/// further. Items behind those known here are left to later versions.
pub(crate) fn parse(record: &Bytes) -> Result<Option<Message>, ParseError> {
    let mut reader = Reader::new(record);
    let left = reader.array().map_err(|Unfit| ParseError::Length("message"))?;
    let mut items = Items { reader, left };
    Ok(Some(match items.integer("type")? {
        1 => Message::Invocation(items.invocation(false)?),
        2 => {
            items.headers()?;
            Message::StreamItem { id: items.id()?, item: items.value("item")? }
        }
        3 => {
            items.headers()?;
            Message::Completion { id: items.id()?, outcome: items.outcome()? }
        }
        4 => Message::StreamInvocation(items.invocation(true)?),
        5 => {
            items.headers()?;
            Message::CancelInvocation { id: items.id()? }
        }
        6 => Message::Ping,
        7 => Message::Close {
            error: items.optional_text("error")?,
            allow_reconnect: items.left > 0 && items.boolean("allowReconnect")?,
        },
        8 => Message::Ack { sequence: items.integer("sequenceId")? },
        9 => Message::Sequence { sequence: items.integer("sequenceId")? },
        _ => return Ok(None),
    }))
}

/// The items of a message that are not read yet.
struct Items<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl Items<'_> {
    fn invocation(&mut self, needs_id: bool) -> Result<Invocation, ParseError> {
        let trace = self.headers()?;
        let id = if needs_id { Some(self.id()?) } else { self.optional_text("invocationId")? };
        Ok(Invocation {
            // The original treats an empty id as none.
            id: id.filter(|id| !id.is_empty()),
            target: self.text("target")?,
            arguments: self.arguments()?,
            streams: self.streams()?,
            trace,
        })
    }

    /// The trace context among the headers, the only one that is used.
    fn headers(&mut self) -> Result<Option<Box<str>>, ParseError> {
        const UNFIT: ParseError = ParseError::Kind { name: "headers", kind: "Map of Strings" };

        self.next("headers")?;
        if self.reader.nil() {
            return Ok(None);
        }
        let mut trace = None;
        for _ in 0..self.reader.map().map_err(|Unfit| UNFIT)? {
            let name = self.reader.text().map_err(|Unfit| UNFIT)?;
            let value = self.reader.text().map_err(|Unfit| UNFIT)?;
            if name.eq_ignore_ascii_case("traceparent") {
                trace = Some(value.into());
            }
        }
        Ok(trace)
    }

    fn arguments(&mut self) -> Result<Vec<Bytes>, ParseError> {
        self.next("arguments")?;
        let count = self.reader.array().map_err(|Unfit| ParseError::Length("arguments"))?;
        let mut arguments = Vec::new();
        for _ in 0..count {
            arguments.push(self.reader.value().map_err(|error| error.of("arguments"))?);
        }
        Ok(arguments)
    }

    /// Left out by clients that are older than streams to the server.
    fn streams(&mut self) -> Result<Vec<Box<str>>, ParseError> {
        let mut streams = Vec::new();
        if self.left == 0 || self.reader.nil() {
            return Ok(streams);
        }
        self.next("streamIds")?;
        let count = self.reader.array().map_err(|Unfit| ParseError::Length("streamIds"))?;
        for _ in 0..count {
            let id = self.reader.text();
            let unfit = |Unfit| ParseError::Kind { name: "streamIds", kind: "String" };
            streams.push(id.map_err(unfit)?.into());
        }
        Ok(streams)
    }

    fn outcome(&mut self) -> Result<Outcome, ParseError> {
        match self.integer("resultKind")? {
            1 => Ok(Outcome::Error(self.text("error")?)),
            2 => Ok(Outcome::Nothing),
            3 => Ok(Outcome::Result(self.value("result")?)),
            _ => Err(ParseError::ResultKind),
        }
    }

    fn id(&mut self) -> Result<Box<str>, ParseError> {
        let id = self.text("invocationId")?;
        if id.is_empty() { Err(ParseError::Missing("invocationId")) } else { Ok(id) }
    }

    fn text(&mut self, name: &'static str) -> Result<Box<str>, ParseError> {
        self.next(name)?;
        let text = self.reader.text();
        text.map(Into::into).map_err(|Unfit| ParseError::Kind { name, kind: "String" })
    }

    fn optional_text(&mut self, name: &'static str) -> Result<Option<Box<str>>, ParseError> {
        if self.left > 0 && self.reader.nil() {
            self.left -= 1;
            return Ok(None);
        }
        self.text(name).map(Some)
    }

    fn integer(&mut self, name: &'static str) -> Result<i64, ParseError> {
        self.next(name)?;
        self.reader.integer().map_err(|Unfit| ParseError::Kind { name, kind: "Int64" })
    }

    fn boolean(&mut self, name: &'static str) -> Result<bool, ParseError> {
        self.next(name)?;
        self.reader.boolean().map_err(|Unfit| ParseError::Kind { name, kind: "Boolean" })
    }

    fn value(&mut self, name: &'static str) -> Result<Bytes, ParseError> {
        self.next(name)?;
        self.reader.value().map_err(|error| error.of(name))
    }

    /// Counts the next item.
    fn next(&mut self, name: &'static str) -> Result<(), ParseError> {
        self.left = self.left.checked_sub(1).ok_or(ParseError::Missing(name))?;
        Ok(())
    }
}

impl NoValue {
    const fn of(self, name: &'static str) -> ParseError {
        match self {
            Self::Malformed => ParseError::Kind { name, kind: "Value" },
            Self::TooDeep => ParseError::TooDeep,
        }
    }
}
