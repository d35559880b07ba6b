//! Methods: how a handler is written, found and run.

mod arguments;
mod extract;
mod handler;

use std::{collections::HashMap, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;

pub(crate) use arguments::read;
pub use extract::{
    Aborted, Disconnect, Extract, FromInvocation, Invocation, Items, Needs, State, Trace,
};
pub(crate) use extract::{ItemMap, States};
pub use handler::{Answer, Fallible, Handler, IntoReturned, Plain, ViaArgument, ViaExtract};
pub(crate) use handler::{Erased, erase};

use crate::{HubError, InvocationError, Policy};

/// What a method returns, for the front end to encode; nothing is `()`, which serialises as null.
pub type Returned = Box<dyn erased_serde::Serialize + Send>;

/// A method as it was registered.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) handler: Box<dyn Erased>,
    pub(crate) policy: Option<Policy>,
}

/// The methods of a hub, found without regard to case, and its hooks.
#[derive(Debug, Default)]
pub(crate) struct Methods {
    pub(crate) by_name: HashMap<String, Method>,
    pub(crate) connected: Option<Box<dyn Erased>>,
    pub(crate) disconnected: Option<Box<dyn Erased>>,
}

impl Methods {
    fn find(&self, target: &str) -> Option<&Method> {
        // A client that calls by the registered name in lower case costs no allocation.
        self.by_name.get(target).or_else(|| self.by_name.get(&fold(target)))
    }

    /// Runs the method `target`.
    pub(crate) async fn invoke(
        &self,
        target: &str,
        invocation: Invocation,
    ) -> Result<Returned, InvocationError> {
        let method = self.find(target).ok_or(InvocationError::UnknownMethod)?;
        alone(invocation.hub_name(), &method.name, async {
            let user = invocation.member().user.as_ref();
            let denied = method.policy.as_ref().and_then(|policy| policy.allows(user).err());
            if let Some(denied) = denied {
                tracing::debug!(method = %method.name, policy = %denied.policy, "denied a call");
                return Err(InvocationError::Unauthorized);
            }
            method.handler.call(invocation).await
        })
        .await
    }

    /// Runs a hook.
    pub(crate) async fn hook(
        hook: Option<&dyn Erased>,
        invocation: Invocation,
        name: &'static str,
    ) -> Result<(), HubError> {
        let Some(hook) = hook else { return Ok(()) };
        let hub = invocation.hub_name();
        match alone(hub, name, async { hook.call(invocation).await }).await {
            Ok(_) => Ok(()),
            Err(InvocationError::Failed(error)) => Err(error),
            Err(error) => Err(HubError::named("InvocationError", error.to_string())),
        }
    }
}

/// How names are compared.
pub(crate) fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// What panics fails alone.
async fn alone(
    hub: Arc<str>,
    name: &str,
    call: impl Future<Output = Result<Returned, InvocationError>> + Send,
) -> Result<Returned, InvocationError> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let error = HubError::panicked(&*panic);
            tracing::error!(%hub, method = name, panic = error.message(), "a handler panicked");
            Err(InvocationError::Failed(error))
        }
    }
}
