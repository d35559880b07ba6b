use std::{fmt, future::ready};

use futures_util::{FutureExt, future::BoxFuture};

use super::{Erased, Invocation, Needs, Reply};
use crate::InvocationError;

/// A call in progress, within a filter.
pub type Filtered<'a> = BoxFuture<'a, Result<Reply, InvocationError>>;

/// A layer around the methods of a hub and around its `on_connected` and `on_disconnected`.
///
/// Filters nest in the order in which [`HubBuilder::filter`](crate::HubBuilder::filter) got them: the
/// first is outermost. Each runs what is inside it by [`Next::run`], or doesn't; looks at what it is
/// about ([`Invocation`]) before, and at what came of it afterwards, and may answer otherwise.
/// A method is filtered once it is found, the user may call it, and it is called as it wants to be; its
/// arguments are read inside all filters. A hook is filtered even where the hub has none.
///
/// A filter is called as a `tower` service is, and given what is inside it as axum's `from_fn` does:
/// `tower`'s own `Layer` would make each filter's type, and so the hub's, a type of all that it wraps.
/// The methods that a filter leaves out cost one indirect call, no allocation; a hub without filters
/// pays nothing for them.
///
/// ```
/// use backplane_hub::{Disconnect, Filter, Filtered, HubError, Invocation, Next};
///
/// struct Audit;
///
/// impl Filter for Audit {
///     fn call<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
///         Box::pin(async move {
///             let (caller, method) = (invocation.caller(), invocation.target().to_owned());
///             if method == "Delete" && caller.user().is_none() {
///                 return Err(HubError::client("Who are you?").into());
///             }
///             let outcome = next.run(invocation).await;
///             println!("{method} by {}: {}", caller.id(), outcome.is_ok());
///             outcome
///         })
///     }
///
///     fn disconnected<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
///         Box::pin(async move {
///             let why: Disconnect = invocation.extract()?;
///             println!("{} left: {:?}", invocation.caller().id(), why.error());
///             next.run(invocation).await
///         })
///     }
/// }
/// # fn described(hub: backplane_hub::HubBuilder) -> backplane_hub::HubBuilder {
/// hub.filter(Audit)
/// # }
/// ```
pub trait Filter: Send + Sync + 'static {
    /// Around each call of a method. A streaming method's stream comes as [`Reply::Items`].
    fn call<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        next.run(invocation)
    }

    /// Around `on_connected`. An error ends the connection; what else it answers does not matter.
    fn connected<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        next.run(invocation)
    }

    /// Around `on_disconnected`, with [`Disconnect`](crate::Disconnect) to tell why. What it answers
    /// does not matter; errors are logged.
    fn disconnected<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        next.run(invocation)
    }

    /// Adds what it needs of the hub, so that a missing state fails
    /// [`build`](crate::HubBuilder::build) and not a call.
    fn needs(&self, needs: &mut Needs) {
        let _ = needs;
    }
}

/// What is inside a filter: the other filters, and the method or hook.
pub struct Next<'a> {
    filters: &'a [Box<dyn Filter>],
    around: Around,
    handler: Option<&'a dyn Erased>,
}

/// What is filtered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Around {
    Method,
    Connected,
    Disconnected,
}

impl<'a> Next<'a> {
    pub(super) const fn new(
        filters: &'a [Box<dyn Filter>],
        around: Around,
        handler: Option<&'a dyn Erased>,
    ) -> Self {
        Self { filters, around, handler }
    }

    /// Runs it. Dropping the future drops what runs where it stands.
    #[must_use]
    pub fn run(self, invocation: Invocation) -> Filtered<'a> {
        let Some((filter, filters)) = self.filters.split_first() else {
            return match self.handler {
                Some(handler) => handler.call(invocation),
                None => ready(Ok(Reply::value(()))).boxed(),
            };
        };
        let next = Self { filters, ..self };
        match self.around {
            Around::Method => filter.call(invocation, next),
            Around::Connected => filter.connected(invocation, next),
            Around::Disconnected => filter.disconnected(invocation, next),
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("filters", &self.filters.len())
            .field("around", &self.around)
            .finish_non_exhaustive()
    }
}
