//! The streams of a client, both ways: those that it asked for, and those that it sends.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use backplane_hub::{Call, Connection, HubError, Replies, Reply, Returned, UploadSender, upload};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, select},
    stream::{BoxStream, FuturesUnordered},
};
use tokio_util::sync::CancellationToken;

use super::calls::Answers;
use crate::{
    Options,
    message::{Invocation, Message, Outcome},
    texts,
};

/// All calls that return streams or send them. They run beside the other calls, which wait for each
/// other. Holds nothing while there are none.
#[derive(Default)]
pub(super) struct Streams(Option<Box<Active>>);

#[derive(Default)]
struct Active {
    /// The calls, which end with their streams.
    running: FuturesUnordered<BoxFuture<'static, Ids>>,
    /// How many streams they have, both ways.
    count: usize,
    /// What gives up a stream that the client asked for, by its id.
    cancels: HashMap<Box<str>, CancellationToken>,
    /// The calls that the client waits for.
    calls: HashSet<Box<str>>,
    /// The streams that the client sends, by their ids.
    uploads: HashMap<Box<str>, UploadSender>,
    /// The session is over. Gives up all streams.
    over: CancellationToken,
}

/// The streams of one call, by their ids.
struct Ids {
    call: Option<Box<str>>,
    /// The one that the client asked for.
    stream: Option<Box<str>>,
    /// Those that it sends.
    uploads: Vec<Box<str>>,
}

impl Ids {
    fn count(&self) -> usize {
        usize::from(self.stream.is_some()) + self.uploads.len()
    }
}

impl Streams {
    /// Starts a call that sends streams, or asks for one if `streaming`; or tells the client why not.
    pub(super) fn start(
        &mut self,
        connection: &Connection,
        invocation: Invocation,
        streaming: bool,
        answers: Answers,
        options: &Options,
    ) -> Result<(), Option<Bytes>> {
        let Invocation { id, target, arguments, streams, trace } = invocation;
        let stream = id.clone().filter(|_| streaming);
        let ids = Ids { call: id.clone(), stream, uploads: streams };
        if let Err(text) = self.admit(&ids, options.parallel_streams.get()) {
            return Err(id.map(|id| answers.error(id, text)));
        }
        let active = self.0.get_or_insert_default();
        active.count += ids.count();
        active.calls.extend(ids.call.clone());
        let mut receivers = Vec::with_capacity(ids.uploads.len());
        for id in &ids.uploads {
            let (sender, receiver) = upload(options.stream_capacity.get(), options.largest_message);
            active.uploads.insert(id.clone(), sender);
            receivers.push(receiver);
        }
        let cancel = ids.stream.as_ref().map(|id| {
            let cancel = active.over.child_token();
            active.cancels.insert(id.clone(), cancel.clone());
            cancel
        });
        let running = connection.call(Call {
            target: target.clone(),
            arguments,
            uploads: receivers,
            trace: trace.map(Arc::from),
            streaming: cancel.clone(),
        });
        let replies = connection.replies();
        let cancel = cancel.unwrap_or_else(|| active.over.clone());
        let client = Client { replies, answers, cancel, over: active.over.clone() };
        active.running.push(Box::pin(async move {
            let last = match running.await {
                Ok(Reply::Items(items)) => client.stream(id, items).await,
                outcome => answers.outcome(id, &target, outcome),
            };
            if let Some(last) = last {
                client.finish(last).await;
            }
            ids
        }));
        Ok(())
    }

    /// Why there is no place for these streams: they are too many, or an id is not new.
    fn admit(&self, ids: &Ids, most: usize) -> Result<(), String> {
        let count = self.0.as_ref().map_or(0, |active| active.count);
        if count + ids.count() > most {
            return Err(texts::too_many_streams(most));
        }
        let mut seen = HashSet::new();
        for id in ids.stream.iter().chain(&ids.uploads) {
            let taken = self.0.as_ref().is_some_and(|active| {
                active.cancels.contains_key(id) || active.uploads.contains_key(id)
            });
            if taken || !seen.insert(id) {
                return Err(texts::id_in_use(id));
            }
        }
        Ok(())
    }

    /// Lets all calls go on, and forgets those that are no more.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) {
        let Some(active) = &mut self.0 else { return };
        while let Poll::Ready(Some(ended)) = active.running.poll_next_unpin(context) {
            active.count -= ended.count();
            if let Some(id) = &ended.call {
                active.calls.remove(id);
            }
            if let Some(id) = &ended.stream {
                active.cancels.remove(id);
            }
            for id in &ended.uploads {
                // Another call may have taken the id of one that the client had ended.
                if active.uploads.get(id).is_some_and(UploadSender::is_closed) {
                    active.uploads.remove(id);
                }
            }
        }
        if active.running.is_empty() {
            self.0 = None;
        }
    }

    /// Gives up a stream that the client asked for, if there is such a one.
    pub(super) fn cancel(&self, id: &str) {
        if let Some(cancel) = self.0.as_ref().and_then(|active| active.cancels.get(id)) {
            cancel.cancel();
        }
    }

    /// Adds an item to a stream that the client sends; ready when it had room, or nobody wants it.
    pub(super) fn poll_item(&self, context: &mut Context<'_>, id: &str, item: &Bytes) -> Poll<()> {
        match self.0.as_ref().and_then(|active| active.uploads.get(id)) {
            Some(upload) => pin!(upload.send(item.clone())).poll(context),
            None => Poll::Ready(()),
        }
    }

    /// Whether this is a stream that the client sends, which has ended thus.
    pub(super) fn finish(&mut self, id: &str, outcome: &Outcome) -> bool {
        let Some(upload) = self.0.as_mut().and_then(|active| active.uploads.remove(id)) else {
            return false;
        };
        upload.finish(match outcome {
            Outcome::Error(error) => Some(error),
            // A stream has no result; some clients write one.
            Outcome::Result(_) | Outcome::Nothing => None,
        });
        true
    }

    /// The session is over: nobody waits for streams, and no more comes of those that the client
    /// sends.
    pub(super) fn give_up(&mut self) {
        if let Some(active) = &mut self.0 {
            active.over.cancel();
            active.uploads.clear();
        }
    }

    /// The calls that the client waits for.
    pub(super) fn calls(&self) -> impl Iterator<Item = Box<str>> {
        self.0.iter().flat_map(|active| active.calls.iter().cloned())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Whom a call's streams are for.
struct Client {
    replies: Replies,
    answers: Answers,
    /// Nobody waits for this call.
    cancel: CancellationToken,
    /// Nobody waits for anything.
    over: CancellationToken,
}

impl Client {
    /// Sends the items of a stream as there is room for them; what is left to send then.
    async fn stream(
        &self,
        id: Option<Box<str>>,
        mut items: BoxStream<'static, Result<Returned, HubError>>,
    ) -> Option<Bytes> {
        let id = id?;
        let Answers { codec, detailed } = self.answers;
        let mut turn = Turn::default();
        loop {
            self.room(0, &mut turn).await;
            let item = match items.next().await {
                Some(Ok(item)) => codec.item(&id, &*item),
                Some(Err(error)) => {
                    if !error.is_public() {
                        tracing::warn!(stream = %id, %error, "a stream failed");
                    }
                    return Some(self.answers.error(id, texts::stream_failed(&error, detailed)));
                }
                None => {
                    let outcome = Outcome::Nothing;
                    return Some(codec.write(&Message::Completion { id, outcome }));
                }
            };
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    tracing::error!(stream = %id, %error, "an item cannot be written");
                    let error = HubError::named(codec.write_failure(), error.to_string());
                    return Some(self.answers.error(id, texts::stream_failed(&error, detailed)));
                }
            };
            self.room(item.len(), &mut turn).await;
            if !self.cancel.is_cancelled() {
                self.replies.send(item);
            }
            if turn.is_over() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits for room, unless nobody waits for the stream any more.
    async fn room(&self, size: usize, turn: &mut Turn) {
        if self.replies.room(size).now_or_never().is_none() {
            turn.waited();
            select(pin!(self.replies.room(size)), pin!(self.cancel.cancelled())).await;
        }
    }

    /// Sends a completion, if anybody still waits for it. A client whose connection ends is not told
    /// that its streams have ended well.
    async fn finish(&self, last: Bytes) {
        select(pin!(self.replies.room(last.len())), pin!(self.over.cancelled())).await;
        if !self.over.is_cancelled() && !self.replies.is_over() {
            self.replies.send(last);
        }
    }
}

/// How many items of a stream are queued before others have their turn: few where there is little
/// room, as they all wait for it and the first to come would take it all.
struct Turn {
    length: u8,
    left: u8,
}

impl Default for Turn {
    fn default() -> Self {
        Self { length: 1, left: 1 }
    }
}

impl Turn {
    const LONGEST: u8 = 16;

    /// There was no room.
    fn waited(&mut self) {
        *self = Self::default();
    }

    /// Counts an item. Whether it was the last one; the next turn is longer.
    fn is_over(&mut self) -> bool {
        self.left -= 1;
        let over = self.left == 0;
        if over {
            self.length = Self::LONGEST.min(self.length * 2);
            self.left = self.length;
        }
        over
    }
}
