//! What becomes of the calls of a client that return once, and what all calls are answered with.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use backplane_hub::{ArgumentsError, Call, Connection, InvocationError, Reply};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    codec::Codec,
    message::{Invocation, Message, Outcome},
    texts,
};

/// A call in progress; its answer, if the client waits for one.
pub(super) struct Calling {
    /// What the answer refers to.
    pub(super) id: Option<Box<str>>,
    answer: BoxFuture<'static, Option<Bytes>>,
}

impl Future for Calling {
    type Output = Option<Bytes>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.as_mut().poll(context)
    }
}

/// A call that sends no streams and asks for none.
#[derive(Debug)]
pub(super) struct Single {
    id: Option<Box<str>>,
    call: Call,
}

impl From<Invocation> for Single {
    fn from(invocation: Invocation) -> Self {
        let Invocation { id, target, arguments, trace, .. } = invocation;
        Self { id, call: Call { trace: trace.map(Arc::from), ..Call::new(target, arguments) } }
    }
}

impl Single {
    pub(super) fn start(self, connection: &Connection, answers: Answers) -> Calling {
        let Self { id, call } = self;
        let target = call.target.clone();
        let running = connection.call(call);
        let answered = id.clone();
        let answer = async move { answers.outcome(answered, &target, running.await) };
        Calling { id, answer: Box::pin(answer) }
    }

    /// The call as the client sent it.
    pub(super) fn message(&self) -> Message {
        let Call { target, arguments, trace, .. } = &self.call;
        Message::Invocation(Invocation {
            id: self.id.clone(),
            target: target.clone(),
            arguments: arguments.clone(),
            streams: Vec::new(),
            trace: trace.as_deref().map(Box::from),
        })
    }

    /// Answers a call that no method would run for, or gives it back.
    pub(super) fn refuse(
        self,
        connection: &Connection,
        answers: Answers,
    ) -> Result<Option<Bytes>, Self> {
        match connection.refusal(&self.call) {
            Some(error) => Ok(answers.failure(self.id, &self.call.target, &error)),
            None => Err(self),
        }
    }
}

/// How a client is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answers {
    pub(super) codec: Codec,
    /// Whether the client sees what went wrong on the server.
    pub(super) detailed: bool,
}

impl Answers {
    /// What a call came to that returns once.
    pub(super) fn outcome(
        self,
        id: Option<Box<str>>,
        target: &str,
        outcome: Result<Reply, InvocationError>,
    ) -> Option<Bytes> {
        match outcome {
            Ok(Reply::Value(value)) => {
                let id = id?;
                Some(self.codec.result(&id, &*value).unwrap_or_else(|error| {
                    tracing::error!(method = %target, %error, "a result cannot be written");
                    let kind = self.codec.write_failure();
                    self.error(id, texts::unwritable(target, kind, &error, self.detailed))
                }))
            }
            Ok(Reply::Items(_)) => unreachable!("the hub streams only to those who ask for it"),
            Err(error) => self.failure(id, target, &error),
        }
    }

    /// The completion of a call that has not come to what was asked for.
    pub(super) fn failure(
        self,
        id: Option<Box<str>>,
        target: &str,
        error: &InvocationError,
    ) -> Option<Bytes> {
        if let InvocationError::Failed(error) = error
            && !error.is_public()
        {
            tracing::warn!(method = %target, %error, "a call failed");
        }
        Some(self.error(id?, self.text(target, error)))
    }

    /// A completion with an error.
    pub(super) fn error(self, id: Box<str>, text: String) -> Bytes {
        self.codec.write(&Message::Completion { id, outcome: Outcome::Error(text.into()) })
    }

    fn text(self, target: &str, error: &InvocationError) -> String {
        match error {
            InvocationError::UnknownMethod => texts::unknown_method(target),
            InvocationError::Arguments { detail } => {
                if let ArgumentsError::Type { index, source } = detail {
                    tracing::debug!(
                        method = target, index, error = %source, "an argument does not fit"
                    );
                }
                texts::arguments(target, detail, self.detailed)
            }
            InvocationError::Unauthorized => texts::unauthorized(target),
            InvocationError::Streaming => texts::streaming(target),
            InvocationError::NotStreaming => texts::not_streaming(target),
            InvocationError::NotAStream => texts::not_a_stream(target),
            InvocationError::Uploads { sent, expected } => texts::streams(target, *sent, *expected),
            InvocationError::Failed(error) => texts::failed(target, error, self.detailed),
        }
    }
}
