use std::{fmt, future::Future, pin::Pin};

use super::{LinkEvent, Missed};
use crate::{HubError, IntoReturned};

/// A listener at work.
pub type Listening = Pin<Box<dyn Future<Output = Result<(), HubError>> + Send>>;

/// A plain or an async function of one event. It returns nothing, or a `Result` of nothing and
/// anything that converts into [`HubError`], which is logged.
///
/// Implemented for such functions and closures; `M` holds what the compiler finds out about them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not listen to `{Event}`",
    note = "a listener is a function or an async function (its future `Send`) of the event alone; it returns nothing, or a `Result<(), E>` whose error converts into `HubError`"
)]
pub trait Listener<Event, M>: Send + Sync + 'static {
    /// Takes one event.
    fn hear(&self, event: Event) -> Listening;
}

/// Marks an async function.
#[derive(Debug)]
pub enum Awaited {}

/// Marks a plain function.
#[derive(Debug)]
pub enum Direct {}

impl<Function, Event, Running, Output, Kind> Listener<Event, (Awaited, Output, Kind)> for Function
where
    Function: Fn(Event) -> Running + Send + Sync + 'static,
    Running: Future<Output = Output> + Send + 'static,
    Output: IntoReturned<Kind>,
{
    fn hear(&self, event: Event) -> Listening {
        let running = self(event);
        Box::pin(async move { running.await.into_returned().map(drop) })
    }
}

impl<Function, Event, Output, Kind> Listener<Event, (Direct, Output, Kind)> for Function
where
    Function: Fn(Event) -> Output + Send + Sync + 'static,
    Output: IntoReturned<Kind>,
{
    fn hear(&self, event: Event) -> Listening {
        Box::pin(std::future::ready(self(event).into_returned().map(drop)))
    }
}

type Erased<Event> = Box<dyn Fn(Event) -> Listening + Send + Sync>;

/// Who listens, on one hub.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) gap: Option<Erased<Missed>>,
    pub(crate) link: Option<Erased<LinkEvent>>,
}

impl Listeners {
    pub(crate) fn erase<Event: 'static, M: 'static>(
        listener: impl Listener<Event, M>,
    ) -> Erased<Event> {
        Box::new(move |event| listener.hear(event))
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners")
            .field("gap", &self.gap.is_some())
            .field("link", &self.link.is_some())
            .finish()
    }
}
