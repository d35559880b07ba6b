use std::{
    future::poll_fn,
    task::{Poll, ready},
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{PolledConnection, remember, wake};

/// How much may wait for the session, as in the original. A piece larger than that waits alone.
const ROOM: usize = 64 * 1024;

/// Why the bytes of a POST did not come through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error("the connection is over")]
    Over,
    #[error("the body cannot be read")]
    Body(#[source] axum::Error),
}

impl PolledConnection {
    /// Takes what a client sends, and returns when all of it waits for the session. One after the
    /// other, in the order in which they were called.
    ///
    /// Cancelling it keeps what was read so far.
    pub(crate) async fn post(&self, body: Body) -> Result<(), PostError> {
        let _turn = self.posting.lock().await;
        let mut body = body.into_data_stream();
        while let Some(piece) = self.next(&mut body).await? {
            self.push(piece).await?;
        }
        Ok(())
    }

    /// The same with bytes that are here.
    pub(crate) async fn put(&self, piece: Bytes) -> Result<(), PostError> {
        let _turn = self.posting.lock().await;
        self.push(piece).await
    }

    /// The next piece of the body, for as long as somebody wants it.
    async fn next(&self, body: &mut BodyDataStream) -> Result<Option<Bytes>, PostError> {
        poll_fn(|context| {
            {
                let mut state = self.state();
                if state.is_over() {
                    return Poll::Ready(Err(PostError::Over));
                }
                remember(&mut state.post, context);
            }
            let piece = ready!(body.poll_next_unpin(context));
            Poll::Ready(piece.transpose().map_err(PostError::Body))
        })
        .await
    }

    async fn push(&self, mut piece: Bytes) -> Result<(), PostError> {
        poll_fn(|context| {
            let mut state = self.state();
            if state.is_over() {
                return Poll::Ready(Err(PostError::Over));
            }
            if state.arrived_bytes > 0 && state.arrived_bytes + piece.len() > ROOM {
                remember(&mut state.post, context);
                return Poll::Pending;
            }
            if !piece.is_empty() {
                state.arrived_bytes += piece.len();
                state.arrived.push_back(std::mem::take(&mut piece));
                wake(&mut state.session);
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}
