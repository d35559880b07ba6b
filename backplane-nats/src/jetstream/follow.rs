//! The task that reads what this node is interested in.

use std::{ops::Range, sync::Arc};

use backplane_core::{LinkError, Topic, wire::Inbound};
use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

use super::{
    api::Api,
    consumer::{Consumer, Ended, Found},
    entry,
    place::Place,
    stream::{Standing, Stream},
};
use crate::subject;

/// What the session wants of the reading task, with the way back.
pub(super) enum Request {
    Subscribe(Vec<Topic>, oneshot::Sender<()>),
    Unsubscribe(Vec<Topic>, oneshot::Sender<()>),
    /// Everything that was wanted before has been asked for.
    Settle,
}

/// Reads until the connection fails.
pub(super) struct Follower {
    api: Api,
    stream: Arc<Stream>,
    place: OwnedMutexGuard<Place>,
    inbound: Inbound,
    /// What is being read, with its parts; nothing where nothing is wanted.
    consumer: Option<(Consumer, Vec<u32>)>,
    /// How many consumers there were.
    consumers: u64,
    /// Where the stream ended when the connection was made, as long as that is not read.
    end: Option<u64>,
    caught_up: watch::Sender<bool>,
}

impl Follower {
    /// Goes on where the connection before was, and tells what is gone.
    pub(super) async fn begin(
        api: Api,
        stream: Arc<Stream>,
        standing: Standing,
        mut place: OwnedMutexGuard<Place>,
        inbound: Inbound,
        caught_up: watch::Sender<bool>,
    ) -> Result<Self, LinkError> {
        place.begin();
        let found = match place.read() {
            Some(read) if read > 0 => stream.time_of(&api, read).await?,
            _ => None,
        };
        let trimmed = place.resume(&standing, found);
        let end = place.read().filter(|read| standing.last.sequence > *read);
        let end = end.map(|_| standing.last.sequence);
        let (consumer, consumers) = (None, 0);
        let mut it = Self { api, stream, place, inbound, consumer, consumers, end, caught_up };
        if trimmed {
            it.tell_trimmed();
        }
        it.read_what_is_wanted().await?;
        Ok(it)
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        if let Err(cause) = self.follow(&mut requests).await {
            self.inbound.lost(cause);
        }
    }

    async fn follow(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), LinkError> {
        loop {
            let heard = async {
                match &mut self.consumer {
                    Some((consumer, _)) => consumer.next(&self.stream).await,
                    None => std::future::pending().await,
                }
            };
            let heard = tokio::select! {
                biased;
                request = requests.recv() => {
                    let Some(request) = request else { return Ok(()) };
                    self.serve(request).await?;
                    continue;
                }
                heard = heard => heard,
            };
            match heard {
                Ok(found) => {
                    self.tell_overtaken(&found).await?;
                    if !self.take(found) {
                        return Ok(());
                    }
                }
                Err(Ended::Broken(reason)) => {
                    tracing::debug!(reason, "the consumer is made anew");
                    self.consumer = None;
                    self.read_what_is_wanted().await?;
                }
                Err(Ended::Lost(cause)) => return Err(cause),
            }
        }
    }

    /// Has a consumer of the parts that are wanted, behind what was read. Returns where the stream stood when it
    /// was there, if another one was made.
    async fn read_what_is_wanted(&mut self) -> Result<Option<Standing>, LinkError> {
        let parts = self.place.parts();
        if self.consumer.as_ref().is_some_and(|(_, read)| *read == parts) {
            return Ok(None);
        }
        self.consumer = None;
        let (Some(read), false) = (self.place.read(), parts.is_empty()) else { return Ok(None) };
        self.consumers += 1;
        let number = self.consumers;
        let opened = Consumer::open(&self.api, &self.stream, number, &parts, read + 1).await?;
        let standing = self.stream.standing(&self.api, self.place.created()).await?;
        if self.place.is_trimmed(&standing) {
            self.tell_trimmed();
        }
        if opened.pending == 0 {
            self.end = None;
        }
        self.consumer = Some((opened, parts));
        self.look_at_the_end();
        Ok(Some(standing))
    }

    /// Tells where the stream drops faster than it is read.
    async fn tell_overtaken(&mut self, found: &[Found]) -> Result<(), LinkError> {
        let Some((consumer, _)) = &mut self.consumer else { return Ok(()) };
        let read = self.place.read().unwrap_or_default();
        let log = (&self.api, &*self.stream, self.place.created());
        if consumer.overtaken.look(log, read, found).await? {
            self.tell_trimmed();
        }
        Ok(())
    }

    fn tell_trimmed(&self) {
        let stream = self.stream.name();
        tracing::warn!(stream, "the stream does not hold any more what comes next");
        self.inbound.trimmed(|_| true);
    }

    /// Hands over what is due. Returns false once the node has given this connection up.
    fn take(&mut self, found: Vec<Found>) -> bool {
        let created = self.place.created();
        let nothing_more = found.last().is_none_or(|last| last.pending == 0);
        let mut uninterested = 0;
        for found in found {
            let (part, sequence) = (found.part, found.at.sequence);
            if self.place.read() >= Some(sequence) {
                // A server that did not have it yet when the consumer was made begins before it.
                continue;
            }
            let offset = |frame| Stream::offset(part.unwrap_or_default(), created, sequence, frame);
            let payload = found.payload;
            let frames = part.and_then(|_| entry::read(&payload));
            let taken = match frames {
                Some(frames) => {
                    let due = (0..).zip(&frames).filter(|(_, (channel, _))| {
                        let due = self.place.wants(channel, sequence);
                        uninterested += u64::from(!due);
                        due
                    });
                    let frame = |(at, (_, frame)): (usize, &(&str, Range<usize>))| {
                        (payload.slice(frame.clone()), offset(at))
                    };
                    self.inbound.frames_at(due.map(frame))
                }
                // What somebody else has written there is counted as what it is.
                None if part.is_some() => self.inbound.frame_at(payload, offset(0)),
                None => self.inbound.frame_at(Bytes::new(), offset(0)),
            };
            if !taken {
                return false;
            }
            self.place.has_read(found.at);
        }
        self.inbound.uninterested(uninterested);
        if nothing_more || self.end <= self.place.read() {
            self.end = None;
        }
        self.look_at_the_end();
        true
    }

    /// Whether everything has been read that stood there when the connection was made.
    fn look_at_the_end(&self) {
        if self.end.is_none() && self.place.is_settled() {
            self.caught_up.send_if_modified(|it| !std::mem::replace(it, true));
        }
    }

    async fn serve(&mut self, request: Request) -> Result<(), LinkError> {
        match request {
            Request::Subscribe(topics, answer) => {
                self.subscribe(&topics).await?;
                // Whoever asked may be gone with its connection.
                let _ = answer.send(());
            }
            Request::Unsubscribe(topics, answer) => {
                topics.iter().for_each(|topic| self.place.give_up(&subject::channel(topic)));
                self.read_what_is_wanted().await?;
                let _ = answer.send(());
            }
            Request::Settle => {
                self.place.settle();
                self.read_what_is_wanted().await?;
                self.look_at_the_end();
            }
        }
        Ok(())
    }

    /// From now on these are wanted: from where they were on the connection before, otherwise behind what
    /// stands in the stream now.
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), LinkError> {
        let mut fresh = Vec::new();
        for topic in topics {
            let channel = subject::channel(topic);
            if !self.place.want_again(&channel) {
                self.place.want(topic.part_of(self.stream.parts), &channel);
                fresh.push(channel);
            }
        }
        let created = self.place.created();
        if self.place.read().is_none() {
            self.place.has_read(self.stream.standing(&self.api, created).await?.last);
        }
        let standing = match self.read_what_is_wanted().await? {
            Some(standing) => standing,
            None if fresh.is_empty() => return Ok(()),
            None => self.stream.standing(&self.api, created).await?,
        };
        fresh.iter().for_each(|channel| self.place.is_due(channel, standing.last));
        Ok(())
    }
}
