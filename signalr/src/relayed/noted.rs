use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use backplane_hub::Relayed;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The body of an answer to a poll whose messages another node has lent. That is told when the body is
/// written. Dropped before, it says that the client did not get it.
#[derive(Debug)]
pub(super) struct Noted {
    /// `None` once it is written.
    lent: Option<(Bytes, Relayed)>,
}

impl Noted {
    pub(super) const fn new(batch: Bytes, relayed: Relayed) -> Self {
        Self { lent: Some((batch, relayed)) }
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((batch, relayed)) = self.lent.take() else { return Poll::Ready(None) };
        // The response does not wait for it: only the client's next poll does, and this goes ahead.
        tokio::spawn(async move {
            if let Err(error) = relayed.written().await {
                tracing::debug!(%error, "another node may send again what a client has got");
            }
        });
        Poll::Ready(Some(Ok(Frame::data(batch))))
    }

    fn is_end_stream(&self) -> bool {
        self.lent.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let size = self.lent.as_ref().map_or(0, |(batch, _)| batch.len());
        SizeHint::with_exact(size as u64)
    }
}
