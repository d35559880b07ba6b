use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_nats::{Client, Subject, Subscriber};
use backplane_core::{
    LinkError, Topic,
    wire::{Inbound, Refused},
};
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use tokio::sync::mpsc;

use crate::{fence::Fences, notices::Notices, subject::Subjects};

/// With care, this many topics are asked for at once: if all are refused, the client library's queue of
/// events still holds what the server says.
const PORTION: usize = 64;

/// How long the server may take to refuse the impossible, once it has answered a fence.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// Smaller payloads are copied. They come as slices of a read buffer of 64 KiB, and queues that are bounded
/// by bytes would hold many times of what they count.
const COPIED: usize = 16 * 1024;

/// The subscriptions of one connection.
#[derive(Debug)]
pub(crate) struct Routes {
    active: Mutex<HashMap<Topic, AbortHandle>>,
    reader: mpsc::Sender<Vec<Abortable<Delivery>>>,
    inbound: Inbound,
}

/// Who asks on behalf of [`Routes`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) client: &'a Client,
    pub(crate) subjects: &'a Subjects,
    pub(crate) fences: &'a Fences,
    pub(crate) notices: &'a Notices,
}

impl Routes {
    /// An empty table, and what reads for it.
    pub(crate) fn new(inbound: Inbound) -> (Self, Reader) {
        let (reader, added) = mpsc::channel(1);
        (Self { active: Mutex::default(), reader, inbound }, Reader { added })
    }

    /// Subscribes, and waits until the server routes each topic or has refused it.
    ///
    /// What the server has against a subscription may be handled after the fence that came behind it. Where
    /// it never refused one, that is put up with: a late refusal ends the connection ([`Notices`]). Where
    /// it did, topics are asked for in small portions, each with proof that all refusals were handled.
    pub(crate) async fn subscribe(
        &self,
        topics: &[Topic],
        asking: Asking<'_>,
    ) -> Result<Vec<Refused<Topic>>, LinkError> {
        let subjects: Vec<Subject> = topics.iter().map(|it| asking.subjects.of(it)).collect();
        asking.notices.ask(subjects.iter().map(Subject::as_str));
        let mut refused = Vec::new();
        let at_once = if asking.notices.refuses_subscriptions() {
            None
        } else {
            let subscribers = asking.subscribe(&subjects).await?;
            // Two, as refusals take another way than fences: one in a hundred would be late for the first.
            asking.fences.pass(asking.client, asking.notices).await?;
            asking.fences.pass(asking.client, asking.notices).await?;
            Some(subscribers).filter(|_| !asking.notices.refuses_subscriptions())
        };
        if let Some(subscribers) = at_once {
            self.add(topics.iter().zip(subscribers)).await;
        } else {
            for (topics, subjects) in topics.chunks(PORTION).zip(subjects.chunks(PORTION)) {
                let subscribers = asking.subscribe(subjects).await?;
                asking.wait_for_refusals().await?;
                let mut routed = Vec::with_capacity(topics.len());
                for ((topic, subject), subscriber) in topics.iter().zip(subjects).zip(subscribers) {
                    match asking.notices.refusal(subject) {
                        Some(reason) => refused.push(Refused { what: topic.clone(), reason }),
                        None => routed.push((topic, subscriber)),
                    }
                }
                self.add(routed.into_iter()).await;
            }
        }
        asking.notices.settled();
        Ok(refused)
    }

    /// Hands subscriptions to the reader.
    async fn add(&self, routed: impl Iterator<Item = (&Topic, Subscriber)> + Send) {
        let deliveries = {
            let mut active = self.active();
            let deliver = |(topic, subscriber): (&Topic, Subscriber)| {
                let (stop, registration) = AbortHandle::new_pair();
                active.insert(topic.clone(), stop.clone());
                let inbound = self.inbound.clone();
                Abortable::new(Delivery { subscriber, stop, inbound }, registration)
            };
            routed.map(deliver).collect()
        };
        // It ends only with the session.
        let _ = self.reader.send(deliveries).await;
    }

    /// Gives topics up. Nothing is delivered for them any more; the server is told in due course.
    pub(crate) fn unsubscribe(&self, topics: &[Topic]) {
        let mut active = self.active();
        topics.iter().filter_map(|topic| active.remove(topic)).for_each(|stop| stop.abort());
    }

    fn active(&self) -> MutexGuard<'_, HashMap<Topic, AbortHandle>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking<'_> {
    async fn subscribe(&self, subjects: &[Subject]) -> Result<Vec<Subscriber>, LinkError> {
        let mut subscribers = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let subscriber = self.client.subscribe(subject.clone()).await;
            subscribers.push(subscriber.map_err(|_| self.notices.lost())?);
        }
        Ok(subscribers)
    }

    /// Waits until all that the server had against the subscriptions so far was handled.
    ///
    /// It asks for what every server refuses. That refusal takes the same way as the others, behind them.
    async fn wait_for_refusals(&self) -> Result<(), LinkError> {
        let mut impossible = self.notices.impossible();
        let before = *impossible.borrow_and_update();
        self.subscribe(&[self.subjects.impossible()]).await?;
        self.fences.pass(self.client, self.notices).await?;
        let refused = impossible.wait_for(|count| *count > before);
        match tokio::time::timeout(REFUSED_WITHIN, refused).await {
            Ok(_) => Ok(()),
            // Dropped, as too many came at once; then others may be missing too.
            Err(_) => Err(LinkError::Lost {
                reason:
                    "too many refused subscriptions at once to tell which: trying again, with care"
                        .to_owned(),
            }),
        }
    }
}

/// One topic's messages on their way to the node. Ready when there will be no more.
#[derive(Debug)]
pub(crate) struct Delivery {
    subscriber: Subscriber,
    stop: AbortHandle,
    inbound: Inbound,
}

impl Future for Delivery {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        while let Some(message) = ready!(Pin::new(&mut self.subscriber).poll_next(context)) {
            // Looked at for each message: a new subscription of the topic may deliver already.
            if self.stop.is_aborted() {
                break;
            }
            self.inbound.frame(kept(message.payload));
        }
        Poll::Ready(())
    }
}

fn kept(payload: Bytes) -> Bytes {
    if payload.len() < COPIED { Bytes::copy_from_slice(&payload) } else { payload }
}

/// Reads all subscriptions of a connection in one task. Those with messages take turns; within one, the
/// order is kept.
#[derive(Debug)]
pub(crate) struct Reader {
    added: mpsc::Receiver<Vec<Abortable<Delivery>>>,
}

impl Reader {
    /// Ends with the session; dropping it unsubscribes everything.
    pub(crate) async fn run(mut self) {
        let mut deliveries = FuturesUnordered::new();
        loop {
            tokio::select! {
                added = self.added.recv() => match added {
                    Some(added) => deliveries.extend(added),
                    None => return,
                },
                // Given up, or at the end of the connection, which the keeper reports.
                Some(_) = deliveries.next(), if !deliveries.is_empty() => {}
            }
        }
    }
}
