use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream;
use serde::de::DeserializeOwned;

use super::{FromInvocation, Invocation, Needs, ViaUpload, arguments};
use crate::{HubError, InvocationError, Protocol};

/// A stream that the caller sends beside its arguments; a parameter of methods, streaming or not.
///
/// A method's first `Upload` is the first stream that the client sends with the call, its second the
/// second, and so on; the others are its arguments, as ever. Items can be read as they come. A
/// method that does not read them in time holds up all that its client sends.
///
/// Behind an error there is nothing:
///
/// * the client ended the stream with an error: a [public](HubError::is_public) one with the client's text,
/// * an item is not a `T`: a public one,
/// * the connection ended: a private one.
///
/// The method's end is the end of its uploads, wherever they are read.
pub struct Upload<T> {
    /// `None` behind an error.
    receiver: Option<UploadReceiver>,
    protocol: Arc<dyn Protocol>,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> FromInvocation<ViaUpload> for Upload<T> {
    const ARGUMENTS: usize = 0;

    fn from_invocation(invocation: &mut Invocation) -> Result<Self, InvocationError> {
        let receiver = invocation.upload();
        let protocol = Arc::clone(&invocation.member().protocol);
        Ok(Self { receiver, protocol, items: PhantomData })
    }

    fn needs(needs: &mut Needs) {
        needs.uploads += 1;
    }
}

impl<T: DeserializeOwned> Stream for Upload<T> {
    type Item = Result<T, HubError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(receiver) = &self.receiver else { return Poll::Ready(None) };
        let Poll::Ready(next) = receiver.0.poll_next(context) else { return Poll::Pending };
        let next = next.map(|item| {
            arguments::read(&*self.protocol, &item?).map_err(|error| {
                tracing::debug!(%error, "an item of an upload does not fit");
                HubError::client("Failed to bind Stream message.")
            })
        });
        if !matches!(next, Some(Ok(_))) {
            self.receiver = None;
        }
        Poll::Ready(next)
    }
}

impl<T> fmt::Debug for Upload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}

/// A stream from a client, for a front end to fill: what it sends, the method reads that was called
/// with the receiver.
///
/// At most `items` wait, and at most `bytes`; a larger item fits where nothing else waits.
#[must_use]
pub fn upload(items: usize, bytes: usize) -> (UploadSender, UploadReceiver) {
    let pipe =
        Arc::new(Pipe { most_items: items.max(1), most_bytes: bytes, state: Mutex::default() });
    (UploadSender(Arc::clone(&pipe)), UploadReceiver(pipe))
}

/// The front end's end of an upload. Dropping it fails the upload, as its connection has ended.
#[derive(Debug)]
pub struct UploadSender(Arc<Pipe>);

impl UploadSender {
    /// Adds an item, which [`Protocol::argument`] reads, as soon as it fits. Where nobody reads any
    /// more it is dropped.
    ///
    /// Cancel-safe: the item is not added then. One at a time.
    pub async fn send(&self, item: Bytes) {
        poll_fn(|context| self.0.poll_send(context, &item)).await;
    }

    /// Whether nobody reads any more, as the method has ended or does not want it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.state().closed
    }

    /// No more items come: all is well, or the client's error says what is wrong. What waits can still
    /// be read.
    pub fn finish(self, error: Option<&str>) {
        self.0.end(match error {
            None => End::Well,
            Some(text) => End::Failed(text.into()),
        });
    }
}

impl Drop for UploadSender {
    fn drop(&mut self) {
        self.0.end(End::Cut);
    }
}

/// The hub's end of an upload, for a [`Call`](crate::Call).
#[derive(Debug)]
pub struct UploadReceiver(Arc<Pipe>);

impl Drop for UploadReceiver {
    fn drop(&mut self) {
        self.0.close();
        let unread = std::mem::take(&mut self.0.state().items);
        drop(unread);
    }
}

/// Ends the uploads of a call when it is dropped, wherever they are read.
#[derive(Debug, Default)]
pub(crate) struct Closing(Box<[Arc<Pipe>]>);

impl Closing {
    pub(crate) fn of(uploads: &[UploadReceiver]) -> Self {
        Self(uploads.iter().map(|upload| Arc::clone(&upload.0)).collect())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.iter().for_each(|pipe| pipe.close());
    }
}

/// A bounded queue of items that were not read yet.
struct Pipe {
    most_items: usize,
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: VecDeque<Bytes>,
    bytes: usize,
    /// The first one counts.
    end: Option<End>,
    /// Takes no more items.
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// How an upload ended.
enum End {
    Well,
    /// With the client's error.
    Failed(Box<str>),
    /// With the connection.
    Cut,
}

/// Items up to this size are copied out of what they came in, so that small ones don't keep large
/// buffers alive.
const COPIED: usize = 4 * 1024;

impl Pipe {
    fn poll_send(&self, context: &Context<'_>, item: &Bytes) -> Poll<()> {
        let mut state = self.state();
        if state.closed || state.end.is_some() {
            return Poll::Ready(());
        }
        let fits = state.items.is_empty()
            || (state.items.len() < self.most_items && state.bytes + item.len() <= self.most_bytes);
        if !fits {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let item = if item.len() <= COPIED { Bytes::copy_from_slice(item) } else { item.clone() };
        state.bytes += item.len();
        state.items.push_back(item);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Poll::Ready(())
    }

    fn poll_next(&self, context: &Context<'_>) -> Poll<Option<Result<Bytes, HubError>>> {
        let mut state = self.state();
        if let Some(item) = state.items.pop_front() {
            state.bytes -= item.len();
            let writer = state.writer.take();
            drop(state);
            wake(writer);
            return Poll::Ready(Some(Ok(item)));
        }
        let next = match &state.end {
            Some(End::Failed(text)) => Some(Err(HubError::client(&**text))),
            Some(End::Cut) => {
                Some(Err(HubError::named("ConnectionEnded", "The connection has ended.")))
            }
            Some(End::Well) => None,
            None => {
                state.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
        };
        Poll::Ready(next)
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// Nobody is to wait for it any more, on either side.
    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.end.get_or_insert(End::Well);
        let (reader, writer) = (state.reader.take(), state.writer.take());
        drop(state);
        wake(reader);
        wake(writer);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.state().items.len();
        f.debug_struct("Pipe").field("waiting", &waiting).finish_non_exhaustive()
    }
}
