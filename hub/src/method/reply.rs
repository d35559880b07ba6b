use std::fmt;

use futures_util::{Stream, StreamExt, stream::BoxStream};
use serde::Serialize;

use crate::HubError;

/// A value of a method, for the front end to encode; nothing is `()`, which serialises as null.
pub type Returned = Box<dyn erased_serde::Serialize + Send>;

/// What a method returns.
pub enum Reply {
    /// The value of a method that returns once.
    Value(Returned),
    /// The items of a streaming method.
    Items(BoxStream<'static, Result<Returned, HubError>>),
}

impl Reply {
    /// One value; `()` for nothing.
    pub fn value(value: impl Serialize + Send + 'static) -> Self {
        Self::Value(Box::new(value))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value(_) => "Value",
            Self::Items(_) => "Items",
        })
    }
}

/// Marks a handler that returns once: a method or a hook.
#[derive(Debug)]
pub enum Returning {}

/// Marks a handler that returns a stream.
#[derive(Debug)]
pub enum Streaming {}

/// Marks a return type, or an item, that is a value.
#[derive(Debug)]
pub enum Plain {}

/// Marks a return type, or an item, that is a result.
#[derive(Debug)]
pub enum Fallible {}

/// What a method may return, and an item of a stream be. `M` tells values and results apart; the
/// compiler finds it.
#[diagnostic::on_unimplemented(
    message = "a hub method cannot return `{Self}`",
    note = "it returns a `serde::Serialize` value, a `Result` of one with an error that converts into `HubError`, or nothing; streams are for `HubBuilder::stream`"
)]
pub trait IntoReturned<M> {
    /// The value to encode, or the failure.
    ///
    /// # Errors
    ///
    /// What the method failed with.
    fn into_returned(self) -> Result<Returned, HubError>;
}

impl<T: Serialize + Send + 'static> IntoReturned<Plain> for T {
    fn into_returned(self) -> Result<Returned, HubError> {
        Ok(Box::new(self))
    }
}

impl<T, E> IntoReturned<Fallible> for Result<T, E>
where
    T: Serialize + Send + 'static,
    E: Into<HubError>,
{
    fn into_returned(self) -> Result<Returned, HubError> {
        match self {
            Ok(value) => Ok(Box::new(value)),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a handler may return: a value where `R` is [`Returning`], a stream of values where it is
/// [`Streaming`]. `M` is for the compiler to find.
#[diagnostic::on_unimplemented(
    message = "a hub method of this kind cannot return `{Self}`",
    note = "a method returns a `serde::Serialize` value, a `Result` of one with an error that converts into `HubError`, or nothing",
    note = "a streaming method returns a `Stream` of such (`Send` and `'static`), or a `Result` of such a stream"
)]
pub trait IntoReply<M, R> {
    /// What the call comes to.
    ///
    /// # Errors
    ///
    /// What the method failed with.
    fn into_reply(self) -> Result<Reply, HubError>;
}

impl<T: IntoReturned<M>, M> IntoReply<M, Returning> for T {
    fn into_reply(self) -> Result<Reply, HubError> {
        self.into_returned().map(Reply::Value)
    }
}

impl<S, M> IntoReply<(Plain, M), Streaming> for S
where
    S: Stream<Item: IntoReturned<M>> + Send + 'static,
    M: 'static,
{
    fn into_reply(self) -> Result<Reply, HubError> {
        Ok(Reply::Items(self.map(IntoReturned::into_returned).boxed()))
    }
}

impl<S, E, M> IntoReply<(Fallible, M), Streaming> for Result<S, E>
where
    S: Stream<Item: IntoReturned<M>> + Send + 'static,
    M: 'static,
    E: Into<HubError>,
{
    fn into_reply(self) -> Result<Reply, HubError> {
        self.map_err(Into::into)?.into_reply()
    }
}
