//! Methods: how a handler is written, found and run.

mod aborted;
mod arguments;
mod call;
mod extract;
mod filter;
mod handler;
mod portable;
mod reply;
mod streaming;
mod upload;

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_util::{FutureExt, StreamExt};

pub use aborted::Aborted;
pub use arguments::Unread;
pub(crate) use arguments::read;
pub use call::Call;
pub use extract::{Disconnect, Extract, FromInvocation, Invocation, Items, Needs, State, Trace};
pub(crate) use extract::{ItemMap, States};
pub(crate) use filter::Around;
pub use filter::{Filter, Filtered, Next};
pub use handler::{Answer, Handler, ViaArgument, ViaExtract, ViaUpload};
pub(crate) use handler::{Erased, erase};
pub(crate) use portable::Portables;
pub use reply::{Fallible, IntoReply, IntoReturned, Plain, Reply, Returned, Returning, Streaming};
pub(crate) use upload::Closing;
pub use upload::{Upload, UploadReceiver, UploadSender, upload};

use crate::{
    ArgumentsError, HubError, InvocationError, Policy, clients::Within, hub::Shared,
    members::Member,
};

/// A method as it was registered.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: Arc<str>,
    pub(crate) handler: Box<dyn Erased>,
    pub(crate) policy: Option<Policy>,
    /// Whether it returns a stream.
    pub(crate) streaming: bool,
    /// How many arguments it takes.
    pub(crate) arguments: usize,
    /// How many uploads it takes.
    pub(crate) uploads: usize,
    /// Whether it is told that nobody waits for it any more.
    pub(crate) aborted: bool,
}

/// The methods of a hub, found without regard to case, its hooks, and what is around them.
#[derive(Default)]
pub(crate) struct Methods {
    pub(crate) by_name: HashMap<String, Method>,
    pub(crate) connected: Option<Box<dyn Erased>>,
    pub(crate) disconnected: Option<Box<dyn Erased>>,
    /// The outermost first.
    pub(crate) filters: Vec<Box<dyn Filter>>,
}

impl Methods {
    fn find(&self, target: &str) -> Result<&Method, InvocationError> {
        // A client that calls by the registered name in lower case costs no allocation.
        let method = self.by_name.get(target).or_else(|| self.by_name.get(&fold(target)));
        method.ok_or(InvocationError::UnknownMethod)
    }

    /// Why a call would not run, as far as can be told before it does.
    pub(crate) fn refusal(
        &self,
        member: &Member,
        call: &Call,
        hub: &str,
    ) -> Option<InvocationError> {
        let method = match self.find(&call.target) {
            Ok(method) => method,
            Err(error) => return Some(error),
        };
        let admitted = method.admit(member, call, hub);
        let (given, expected) = (call.arguments.len(), method.arguments);
        let counted = admitted.and_then(|()| ArgumentsError::expect(given, expected));
        let mut unread = Unread::new(&*member.protocol, &call.arguments);
        let fit = AssertUnwindSafe(|| method.handler.fits(&mut unread));
        // What panics here does so again when it runs, and is told then.
        counted.and_then(|()| catch_unwind(fit).unwrap_or(Ok(()))).err()
    }

    /// Runs a method.
    pub(crate) async fn call(
        hub: &Arc<Shared>,
        member: Arc<Member>,
        call: Call,
        within: Within,
    ) -> Result<Reply, InvocationError> {
        let method = hub.methods.find(&call.target)?;
        method.admit(&member, &call, &hub.name)?;
        let uploads = Closing::of(&call.uploads);
        let cancel = call.streaming.clone();
        let aborted = cancel.map(|cancel| Aborted::new(Arc::clone(&member), Some(cancel)));
        let target = Arc::clone(&method.name);
        let invocation = Invocation::of_method(Arc::clone(hub), member, target, call, within);
        let running = alone(&hub.name, &method.name, async {
            let handler = Some(&*method.handler);
            hub.methods.filtered(Around::Method, handler, invocation).await
        });
        let Some(aborted) = aborted else {
            let reply = running.await?;
            drop(uploads);
            return match reply {
                Reply::Value(_) => Ok(reply),
                Reply::Items(_) => Err(HubError::named(
                    "NotAValue",
                    "a filter answered a call of a method that returns once with a stream",
                )
                .into()),
            };
        };
        // Boxed, as a call that returns once needs less.
        match Box::pin(streaming::start(running, &aborted, method.aborted)).await? {
            Reply::Items(items) => {
                let names = (Arc::clone(&hub.name), Arc::clone(&method.name));
                let items = streaming::Items::new(items, aborted, method.aborted, uploads, names);
                Ok(Reply::Items(items.boxed()))
            }
            Reply::Value(_) => Err(InvocationError::NotAStream),
        }
    }

    /// Runs a hook; `error` is why the connection has ended.
    pub(crate) async fn hook(
        hub: &Arc<Shared>,
        member: &Arc<Member>,
        around: Around,
        error: Option<&str>,
    ) -> Result<(), HubError> {
        let methods = &hub.methods;
        let (hook, name, within) = match around {
            Around::Connected => (&methods.connected, "on_connected", Within::OnConnected),
            _ => (&methods.disconnected, "on_disconnected", Within::OnDisconnected),
        };
        if hook.is_none() && methods.filters.is_empty() {
            return Ok(());
        }
        let invocation =
            Invocation::of_hook(Arc::clone(hub), Arc::clone(member), name, error, within);
        let running = async { methods.filtered(around, hook.as_deref(), invocation).await };
        match alone(&hub.name, name, running).await {
            Ok(_) => Ok(()),
            Err(InvocationError::Failed(error)) => Err(error),
            Err(error) => Err(HubError::named("InvocationError", error.to_string())),
        }
    }

    fn filtered<'a>(
        &'a self,
        around: Around,
        handler: Option<&'a dyn Erased>,
        invocation: Invocation,
    ) -> Filtered<'a> {
        Next::new(&self.filters, around, handler).run(invocation)
    }
}

impl Method {
    /// Whether it can be called like this, by this connection's user.
    fn admit(&self, member: &Member, call: &Call, hub: &str) -> Result<(), InvocationError> {
        if let Some(policy) = &self.policy {
            let allowed = catch_unwind(AssertUnwindSafe(|| policy.allows(member.user().as_ref())));
            if let Err(denied) = allowed.map_err(|panic| panicked(hub, &self.name, &*panic))? {
                tracing::debug!(method = %self.name, policy = %denied.policy, "denied a call");
                return Err(InvocationError::Unauthorized);
            }
        }
        match (self.streaming, call.streaming.is_some()) {
            (true, false) => return Err(InvocationError::Streaming),
            (false, true) => return Err(InvocationError::NotStreaming),
            _ => {}
        }
        let sent = call.uploads.len();
        if sent != self.uploads {
            return Err(InvocationError::Uploads { sent, expected: self.uploads });
        }
        Ok(())
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods")
            .field("by_name", &self.by_name)
            .field("filters", &self.filters.len())
            .finish_non_exhaustive()
    }
}

/// How names are compared.
pub(crate) fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// What panics fails alone.
async fn alone(
    hub: &str,
    name: &str,
    call: impl Future<Output = Result<Reply, InvocationError>> + Send,
) -> Result<Reply, InvocationError> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Err(InvocationError::Failed(panicked(hub, name, &*panic))),
    }
}

fn panicked(hub: &str, name: &str, panic: &(dyn Any + Send)) -> HubError {
    let error = HubError::panicked(panic);
    tracing::error!(%hub, method = name, panic = error.message(), "a handler panicked");
    error
}
