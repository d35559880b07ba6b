use std::{pin::pin, sync::Arc};

use futures_util::future::{Either, select};
use tokio_util::sync::CancellationToken;

use super::{Extract, Invocation, Needs};
use crate::{HubError, members::Member};

/// Tells a long call that nobody waits for it any more: its connection has ended or is being ended, or
/// its client gave up the stream that it returns.
///
/// A streaming method that takes it is told so, and ends by itself: its stream goes on until then, and
/// its items are discarded. One that does not take it is dropped where it stands. Methods that
/// return once are never dropped; the client's end is all that they can be told of.
///
/// ```
/// use backplane_hub::{Aborted, Caller};
/// use futures_util::{Stream, StreamExt, future::ready, stream};
///
/// /// Streams nothing, and says so when it is given up.
/// async fn wait_for_cancel(caller: Caller, aborted: Aborted) -> impl Stream<Item = u32> {
///     let told = async move {
///         aborted.wait().await;
///         let _ = caller.clients().caller().send("Cancelled", ()).await;
///     };
///     stream::once(told).filter_map(|()| ready(None))
/// }
/// # fn described(hub: backplane_hub::HubBuilder) -> backplane_hub::HubBuilder {
/// hub.stream("WaitForCancel", wait_for_cancel)
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Aborted {
    member: Arc<Member>,
    /// Of a call that asks for a stream.
    cancel: Option<CancellationToken>,
}

impl Aborted {
    pub(crate) const fn new(member: Arc<Member>, cancel: Option<CancellationToken>) -> Self {
        Self { member, cancel }
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.member.queue.is_over()
            || self.cancel.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits until nobody waits any more. Cancel-safe.
    pub async fn wait(&self) {
        let over = self.member.queue.over();
        match &self.cancel {
            None => over.await,
            Some(cancel) => match select(pin!(over), pin!(cancel.cancelled())).await {
                Either::Left(_) | Either::Right(_) => {}
            },
        }
    }
}

impl Extract for Aborted {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        Ok(invocation.aborted())
    }

    fn needs(needs: &mut Needs) {
        needs.aborted = true;
    }
}
