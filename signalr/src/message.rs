//! The messages of the hub protocol, whatever they are written in.

use bytes::Bytes;

/// One message, from either side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// Calls a method that returns once.
    Invocation(Invocation),
    /// One item of a stream.
    StreamItem { id: Box<str>, item: Bytes },
    /// How a call or a stream ended.
    Completion { id: Box<str>, outcome: Outcome },
    /// Calls a method that returns a stream.
    StreamInvocation(Invocation),
    /// Gives up a stream.
    CancelInvocation { id: Box<str> },
    /// Says that the sender is there.
    Ping,
    /// Ends the connection.
    Close { error: Option<Box<str>>, allow_reconnect: bool },
    /// All up to this number has arrived.
    Ack { sequence: i64 },
    /// The next message has this number.
    Sequence { sequence: i64 },
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invocation {
    /// What the answer refers to; without it there is no answer.
    pub(crate) id: Option<Box<str>>,
    /// The method's name, as the caller wrote it.
    pub(crate) target: Box<str>,
    /// Each as it came.
    pub(crate) arguments: Vec<Bytes>,
    /// The streams that the caller sends beside the arguments.
    pub(crate) streams: Vec<Box<str>>,
    /// The `traceparent` header.
    pub(crate) trace: Option<Box<str>>,
}

/// How a call or a stream ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// With a value, in the protocol's encoding.
    Result(Bytes),
    /// With an error's text.
    Error(Box<str>),
    /// With neither: the end of a stream.
    Nothing,
}
