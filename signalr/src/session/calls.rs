//! What becomes of the calls of a client.

use backplane_hub::{ArgumentsError, Connection, InvocationError};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    codec::Codec,
    message::{Invocation, Message, Outcome},
    texts,
};

/// A call in progress; its answer, if the client waits for one.
pub(super) type Call = BoxFuture<'static, Option<Bytes>>;

/// What is to be done with a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// It is served.
    Plain,
    /// It asks for a stream, which no method has.
    Stream,
    /// It sends streams, which no method takes.
    Uploads,
}

/// Starts a call.
pub(super) fn start(
    connection: &Connection,
    codec: Codec,
    invocation: Invocation,
    kind: Kind,
    detailed: bool,
) -> Call {
    match kind {
        Kind::Plain => call(connection, codec, invocation, detailed),
        Kind::Stream | Kind::Uploads => refuse(connection, codec, invocation, kind, detailed),
    }
}

fn call(connection: &Connection, codec: Codec, invocation: Invocation, detailed: bool) -> Call {
    let Invocation { id, target, arguments, trace, .. } = invocation;
    let running = connection.invoke(&target, arguments, trace.map(Into::into));
    Box::pin(async move {
        let outcome = running.await;
        if let Err(InvocationError::Failed(error)) = &outcome
            && !error.is_public()
        {
            tracing::warn!(method = %target, %error, "a call failed");
        }
        let id = id?;
        Some(match outcome {
            Ok(value) => codec.result(&id, &*value).unwrap_or_else(|error| {
                tracing::error!(method = %target, %error, "a result cannot be written");
                failed(
                    codec,
                    id,
                    texts::unwritable(&target, codec.write_failure(), &error, detailed),
                )
            }),
            Err(error) => failed(codec, id, text(&target, &error, detailed)),
        })
    })
}

/// Refuses a call that no method serves.
///
/// Whether there is such a method, and whether the user may know, is for the hub to say. It is asked
/// by a call with more arguments than any method takes, which gets just as far as that.
fn refuse(
    connection: &Connection,
    codec: Codec,
    invocation: Invocation,
    kind: Kind,
    detailed: bool,
) -> Call {
    const TOO_MANY: usize = 64;

    let Invocation { id, target, streams, .. } = invocation;
    let asked = connection.invoke(&target, vec![Bytes::new(); TOO_MANY], None);
    Box::pin(async move {
        let outcome = asked.await;
        let id = id?;
        let text = match outcome {
            Err(InvocationError::Arguments { .. }) | Ok(_) if matches!(kind, Kind::Stream) => {
                texts::not_streaming(&target)
            }
            Err(InvocationError::Arguments { .. }) | Ok(_) => {
                texts::streams(&target, streams.len(), 0)
            }
            Err(error) => text(&target, &error, detailed),
        };
        Some(failed(codec, id, text))
    })
}

fn text(target: &str, error: &InvocationError, detailed: bool) -> String {
    match error {
        InvocationError::UnknownMethod => texts::unknown_method(target),
        InvocationError::Arguments { detail } => {
            if let ArgumentsError::Type { index, source } = detail {
                tracing::debug!(method = target, index, error = %source, "an argument does not fit");
            }
            texts::arguments(target, detail, detailed)
        }
        InvocationError::Unauthorized => texts::unauthorized(target),
        InvocationError::Failed(error) => texts::failed(target, error, detailed),
    }
}

fn failed(codec: Codec, id: Box<str>, text: String) -> Bytes {
    codec.write(&Message::Completion { id, outcome: Outcome::Error(text.into()) })
}
