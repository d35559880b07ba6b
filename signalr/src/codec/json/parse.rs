use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::depth::is_too_deep;
use crate::message::{Invocation, Message, Outcome};

/// Why a record is not a message. Such a connection ends: what follows cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("Error reading JSON.")]
    Json(#[source] serde_json::Error),
    #[error("Error reading JSON.")]
    Utf8(#[source] std::str::Utf8Error),
    #[error("The message is nested too deep.")]
    TooDeep,
    #[error("Expected a JSON Object.")]
    NotAnObject,
    #[error("Missing required property '{0}'.")]
    Missing(&'static str),
    #[error("Expected '{name}' to be of type {kind}.")]
    Kind { name: &'static str, kind: &'static str },
    #[error("The 'error' and 'result' properties are mutually exclusive.")]
    ErrorAndResult,
}

/// Reads one record without its separator; `None` is a message of a type that is not known here,
/// which is to be ignored.
///
/// Properties may come in any order and more than once, the last one counts. Arguments, items and
/// results are slices of `record`, checked to be JSON but not read any further.
pub(crate) fn parse(record: &Bytes) -> Result<Option<Message>, ParseError> {
    let text = std::str::from_utf8(record).map_err(ParseError::Utf8)?;
    if is_too_deep(record) {
        return Err(ParseError::TooDeep);
    }
    if !text.trim_ascii_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => ParseError::NotAnObject,
            Err(error) => ParseError::Json(error),
        });
    }
    let fields: Fields<'_> = serde_json::from_str(text).map_err(ParseError::Json)?;
    fields.into_message(record)
}

/// The properties of all messages, unread: which of them matter is known when `type` is.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a RawValue>,
    invocation_id: Option<&'a RawValue>,
    target: Option<&'a RawValue>,
    arguments: Option<&'a RawValue>,
    stream_ids: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    item: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    allow_reconnect: Option<&'a RawValue>,
    sequence_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Name {
    Type,
    InvocationId,
    Target,
    Arguments,
    StreamIds,
    Headers,
    Item,
    Result,
    Error,
    AllowReconnect,
    SequenceId,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key()? {
                    let field = match name {
                        Name::Type => &mut fields.kind,
                        Name::InvocationId => &mut fields.invocation_id,
                        Name::Target => &mut fields.target,
                        Name::Arguments => &mut fields.arguments,
                        Name::StreamIds => &mut fields.stream_ids,
                        Name::Headers => &mut fields.headers,
                        Name::Item => &mut fields.item,
                        Name::Result => &mut fields.result,
                        Name::Error => &mut fields.error,
                        Name::AllowReconnect => &mut fields.allow_reconnect,
                        Name::SequenceId => &mut fields.sequence_id,
                        Name::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = Some(map.next_value()?);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl Fields<'_> {
    fn into_message(self, record: &Bytes) -> Result<Option<Message>, ParseError> {
        let kind: i64 = required(self.kind, "type", "Number")?;
        Ok(Some(match kind {
            1 => Message::Invocation(self.into_invocation(record)?),
            2 => Message::StreamItem {
                id: self.id()?,
                item: slice(record, self.item.ok_or(ParseError::Missing("item"))?),
            },
            3 => Message::Completion { id: self.id()?, outcome: self.outcome(record)? },
            4 => {
                self.id()?;
                Message::StreamInvocation(self.into_invocation(record)?)
            }
            5 => Message::CancelInvocation { id: self.id()? },
            6 => Message::Ping,
            7 => Message::Close {
                error: optional(self.error, "error", "String")?,
                allow_reconnect: optional(self.allow_reconnect, "allowReconnect", "Boolean")?
                    .unwrap_or(false),
            },
            8 => Message::Ack { sequence: required(self.sequence_id, "sequenceId", "Number")? },
            9 => {
                Message::Sequence { sequence: required(self.sequence_id, "sequenceId", "Number")? }
            }
            _ => return Ok(None),
        }))
    }

    fn into_invocation(self, record: &Bytes) -> Result<Invocation, ParseError> {
        let target = required(self.target, "target", "String")?;
        let arguments = self.arguments.ok_or(ParseError::Missing("arguments"))?;
        let arguments = Slices(record)
            .deserialize(arguments)
            .map_err(|_| ParseError::Kind { name: "arguments", kind: "Array" })?;
        let headers: Option<Headers> = optional(self.headers, "headers", "Object of Strings")?;
        Ok(Invocation {
            // The original treats an empty id as none.
            id: optional::<Box<str>>(self.invocation_id, "invocationId", "String")?
                .filter(|id| !id.is_empty()),
            target,
            arguments,
            streams: optional(self.stream_ids, "streamIds", "Array of Strings")?
                .unwrap_or_default(),
            trace: headers.and_then(|headers| headers.trace),
        })
    }

    fn outcome(&self, record: &Bytes) -> Result<Outcome, ParseError> {
        match (self.result, optional(self.error, "error", "String")?) {
            (Some(_), Some(_)) => Err(ParseError::ErrorAndResult),
            (Some(result), None) => Ok(Outcome::Result(slice(record, result))),
            (None, Some(error)) => Ok(Outcome::Error(error)),
            (None, None) => Ok(Outcome::Nothing),
        }
    }

    fn id(&self) -> Result<Box<str>, ParseError> {
        let id: Box<str> = required(self.invocation_id, "invocationId", "String")?;
        if id.is_empty() { Err(ParseError::Missing("invocationId")) } else { Ok(id) }
    }
}

/// A property's value; null counts as absent, as some clients write all that they have.
fn optional<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    name: &'static str,
    kind: &'static str,
) -> Result<Option<T>, ParseError> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|_| ParseError::Kind { name, kind })
}

fn required<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    name: &'static str,
    kind: &'static str,
) -> Result<T, ParseError> {
    let raw = raw.ok_or(ParseError::Missing(name))?;
    serde_json::from_str(raw.get()).map_err(|_| ParseError::Kind { name, kind })
}

/// The part of the record that `raw` was read from.
fn slice(record: &Bytes, raw: &RawValue) -> Bytes {
    record.slice_ref(raw.get().as_bytes())
}

/// Reads an array into slices of the record.
struct Slices<'a>(&'a Bytes);

impl<'de> DeserializeSeed<'de> for Slices<'_> {
    type Value = Vec<Bytes>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Bytes>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Slices<'_> {
    type Value = Vec<Bytes>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Bytes>, A::Error> {
        let mut slices = Vec::new();
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            slices.push(slice(self.0, raw));
        }
        Ok(slices)
    }
}

/// The headers of a call, of which only the trace context is used.
#[derive(Default)]
struct Headers {
    trace: Option<Box<str>>,
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;

        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Headers::default();
                while let Some((name, value)) = map.next_entry::<Box<str>, Box<str>>()? {
                    if name.eq_ignore_ascii_case("traceparent") {
                        headers.trace = Some(value);
                    }
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_map(HeadersVisitor)
    }
}
