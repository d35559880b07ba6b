//! A streaming method's run: until it ends, fails, panics, or nobody waits for it any more.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, Either, select},
    stream::{self, BoxStream},
};

use super::{Aborted, Closing, Reply, Returned, panicked};
use crate::{HubError, InvocationError};

/// How many items are discarded before others have their turn.
const AT_ONCE: usize = 32;

/// Waits for a streaming method's stream. One that is not told of its end is dropped where it stands.
pub(super) async fn start(
    running: impl Future<Output = Result<Reply, InvocationError>> + Send,
    aborted: &Aborted,
    told: bool,
) -> Result<Reply, InvocationError> {
    if told {
        return running.await;
    }
    match select(pin!(aborted.wait()), pin!(running)).await {
        Either::Left(_) => Ok(Reply::Items(stream::empty().boxed())),
        Either::Right((outcome, _)) => outcome,
    }
}

/// The stream of a method, as a front end gets it.
pub(super) struct Items {
    /// `None` behind the end.
    items: Option<BoxStream<'static, Result<Returned, HubError>>>,
    /// `None` where nobody waits any more.
    wanted: Option<BoxFuture<'static, ()>>,
    /// Whether the method is told that nobody waits.
    told: bool,
    uploads: Closing,
    hub: Arc<str>,
    method: Arc<str>,
}

impl Items {
    pub(super) fn new(
        items: BoxStream<'static, Result<Returned, HubError>>,
        aborted: Aborted,
        told: bool,
        uploads: Closing,
        names: (Arc<str>, Arc<str>),
    ) -> Self {
        let wanted = Some(async move { aborted.wait().await }.boxed());
        let (hub, method) = names;
        Self { items: Some(items), wanted, told, uploads, hub, method }
    }

    fn end(&mut self) {
        self.items = None;
        self.uploads = Closing::default();
    }
}

impl Stream for Items {
    type Item = Result<Returned, HubError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.wanted.as_mut().is_some_and(|wanted| wanted.as_mut().poll(context).is_ready()) {
            this.wanted = None;
            if !this.told {
                this.end();
            }
        }
        for _ in 0..AT_ONCE {
            let Some(items) = &mut this.items else { return Poll::Ready(None) };
            let next = catch_unwind(AssertUnwindSafe(|| items.poll_next_unpin(context)));
            let next = match next {
                Ok(Poll::Ready(next)) => next,
                Ok(Poll::Pending) => return Poll::Pending,
                Err(panic) => Some(Err(panicked(&this.hub, &this.method, &*panic))),
            };
            if !matches!(next, Some(Ok(_))) {
                this.end();
            }
            if this.wanted.is_some() {
                return Poll::Ready(next);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
