use std::{fmt, future::Future, marker::PhantomData, pin::Pin};

use super::{FromInvocation, IntoReply, Invocation, Needs, Reply, Returning, Unread};
use crate::InvocationError;

/// A call in progress.
pub type Answer = Pin<Box<dyn Future<Output = Result<Reply, InvocationError>> + Send>>;

/// An async function that can serve as a method or a hook.
///
/// Its parameters are arguments of the call, [`Upload`](crate::Upload)s and extractors, in any mix, at
/// most twelve. Where `R` is [`Returning`] it returns something that serialises, a `Result` of such and
/// anything that converts into [`HubError`](crate::HubError), or nothing; where `R` is
/// [`Streaming`](crate::Streaming), a [`Stream`](futures_util::Stream) of any of these, or a `Result`
/// of such a stream. Implemented for such functions and closures; `M` holds what the compiler finds
/// out about their parameters.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a hub method",
    label = "not an async function of arguments and extractors",
    note = "a method is an `async fn` (its future `Send`) with at most 12 parameters, in any order: arguments that implement `serde::Deserialize` and borrow nothing, and extractors such as `Caller` or `State<T>`",
    note = "it returns a `serde::Serialize` value, a `Result` of one with an error that converts into `HubError`, or nothing; for `HubBuilder::stream` a `Stream` of these, or a `Result` of a stream"
)]
pub trait Handler<M, R = Returning>: Send + Sync + 'static {
    /// What it needs of its hub.
    fn needs(&self) -> Needs;

    /// Whether a call would not fail for the types of its arguments.
    ///
    /// # Errors
    ///
    /// The first argument of another type.
    fn fits(&self, unread: &mut Unread<'_>) -> Result<(), InvocationError>;

    /// Starts one call.
    fn call(&self, invocation: Invocation) -> Answer;
}

/// Marks a parameter that is an argument of the call.
#[derive(Debug)]
pub enum ViaArgument {}

/// Marks a parameter that is an extractor.
#[derive(Debug)]
pub enum ViaExtract {}

/// Marks a parameter that is an upload.
#[derive(Debug)]
pub enum ViaUpload {}

macro_rules! handlers {
    ($(($($parameter:ident $marker:ident),*),)+) => {$(
        impl<Function, Running, Output, Kind, Returns, $($parameter, $marker,)*>
            Handler<(Output, Kind, $($parameter, $marker,)*), Returns> for Function
        where
            Function: Fn($($parameter),*) -> Running + Send + Sync + 'static,
            Running: Future<Output = Output> + Send + 'static,
            Output: IntoReply<Kind, Returns>,
            $($parameter: FromInvocation<$marker>,)*
        {
            fn needs(&self) -> Needs {
                #[allow(unused_mut, reason = "a function without parameters needs nothing")]
                let mut needs = Needs::default();
                $($parameter::needs(&mut needs);)*
                needs
            }

            fn fits(&self, unread: &mut Unread<'_>) -> Result<(), InvocationError> {
                let _ = &unread;
                $($parameter::fits(unread)?;)*
                Ok(())
            }

            #[allow(non_snake_case, reason = "one name serves as type and as variable")]
            fn call(&self, invocation: Invocation) -> Answer {
                #[allow(unused_mut, reason = "a function without parameters takes nothing")]
                let mut invocation = invocation;
                let running = (|| {
                    invocation.expect(0 $(+ <$parameter as FromInvocation<$marker>>::ARGUMENTS)*)?;
                    $(let $parameter = $parameter::from_invocation(&mut invocation)?;)*
                    Ok(self($($parameter),*))
                })();
                match running {
                    Ok(running) => Box::pin(async move {
                        running.await.into_reply().map_err(InvocationError::Failed)
                    }),
                    Err(error) => Box::pin(std::future::ready(Err(error))),
                }
            }
        }
    )+};
}

handlers! {
    (),
    (P1 M1),
    (P1 M1, P2 M2),
    (P1 M1, P2 M2, P3 M3),
    (P1 M1, P2 M2, P3 M3, P4 M4),
    (P1 M1, P2 M2, P3 M3, P4 M4, P5 M5),
    (P1 M1, P2 M2, P3 M3, P4 M4, P5 M5, P6 M6),
    (P1 M1, P2 M2, P3 M3, P4 M4, P5 M5, P6 M6, P7 M7),
    (P1 M1, P2 M2, P3 M3, P4 M4, P5 M5, P6 M6, P7 M7, P8 M8),
    (P1 M1, P2 M2, P3 M3, P4 M4, P5 M5, P6 M6, P7 M7, P8 M8, P9 M9),
    (P1 M1, P2 M2, P3 M3, P4 M4, P5 M5, P6 M6, P7 M7, P8 M8, P9 M9, P10 M10),
    (P1 M1, P2 M2, P3 M3, P4 M4, P5 M5, P6 M6, P7 M7, P8 M8, P9 M9, P10 M10, P11 M11),
    (P1 M1, P2 M2, P3 M3, P4 M4, P5 M5, P6 M6, P7 M7, P8 M8, P9 M9, P10 M10, P11 M11, P12 M12),
}

/// A [`Handler`] whose markers are forgotten, so that a table can hold many.
pub(crate) trait Erased: fmt::Debug + Send + Sync {
    fn needs(&self) -> Needs;
    fn fits(&self, unread: &mut Unread<'_>) -> Result<(), InvocationError>;
    fn call(&self, invocation: Invocation) -> Answer;
}

/// Erases a handler.
pub(crate) fn erase<M: 'static, R: 'static>(handler: impl Handler<M, R>) -> Box<dyn Erased> {
    Box::new(Marked(handler, PhantomData))
}

struct Marked<H, M, R>(H, PhantomData<fn(M, R)>);

impl<H, M, R> fmt::Debug for Marked<H, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<H>())
    }
}

impl<H: Handler<M, R>, M, R> Erased for Marked<H, M, R> {
    fn needs(&self) -> Needs {
        self.0.needs()
    }

    fn fits(&self, unread: &mut Unread<'_>) -> Result<(), InvocationError> {
        self.0.fits(unread)
    }

    fn call(&self, invocation: Invocation) -> Answer {
        self.0.call(invocation)
    }
}
