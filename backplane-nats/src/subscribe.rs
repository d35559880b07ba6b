use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Subject, Subscriber};
use backplane_core::{LinkError, Topic, wire::Refused};
use futures_util::future::{AbortHandle, Abortable};
use tokio::sync::mpsc;

use crate::{
    connection::Connection,
    receive::{Delivery, Inflow, Reader},
};

/// With care, this many topics are asked for at once: if all are refused, the client library's queue of
/// events still holds what the server says.
const PORTION: usize = 64;

/// How long the server may take to refuse the impossible, once it has answered a fence.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// The subscriptions of one connection.
#[derive(Debug)]
pub(crate) struct Routes {
    active: Mutex<HashMap<Topic, AbortHandle>>,
    reader: mpsc::Sender<Vec<Abortable<Delivery>>>,
    inflow: Arc<Inflow>,
}

impl Routes {
    /// An empty table, and what reads for it.
    pub(crate) fn new(inflow: Inflow) -> (Self, Reader) {
        let (reader, added) = mpsc::channel(1);
        let inflow = Arc::new(inflow);
        let routes = Self { active: Mutex::default(), reader, inflow: Arc::clone(&inflow) };
        (routes, Reader { added, inflow })
    }

    /// Subscribes, and waits until the server routes each topic or has refused it.
    ///
    /// What the server has against a subscription may be handled after the fence that came behind it. Where
    /// it never refused one, that is put up with: a late refusal ends the connection ([`Notices`]). Where
    /// it did, topics are asked for in small portions, each with proof that all refusals were handled.
    pub(crate) async fn subscribe(
        &self,
        topics: &[Topic],
        connection: &Connection,
    ) -> Result<Vec<Refused<Topic>>, LinkError> {
        let notices = &connection.notices;
        let subjects: Vec<Subject> = topics.iter().map(|it| connection.subjects.of(it)).collect();
        notices.ask(subjects.iter().map(Subject::as_str));
        let mut refused = Vec::new();
        let at_once = if notices.refuses_subscriptions() {
            None
        } else {
            let subscribers = subscribe(&subjects, connection).await?;
            // Two, as refusals take another way than fences: one in a hundred would be late for the first.
            connection.pass_fence().await?;
            connection.pass_fence().await?;
            Some(subscribers).filter(|_| !notices.refuses_subscriptions())
        };
        if let Some(subscribers) = at_once {
            self.add(topics.iter().zip(subscribers)).await;
        } else {
            for (topics, subjects) in topics.chunks(PORTION).zip(subjects.chunks(PORTION)) {
                let subscribers = subscribe(subjects, connection).await?;
                wait_for_refusals(connection).await?;
                let mut routed = Vec::with_capacity(topics.len());
                for ((topic, subject), subscriber) in topics.iter().zip(subjects).zip(subscribers) {
                    match notices.refusal(subject) {
                        Some(reason) => refused.push(Refused { what: topic.clone(), reason }),
                        None => routed.push((topic, subscriber)),
                    }
                }
                self.add(routed.into_iter()).await;
            }
        }
        notices.settled();
        Ok(refused)
    }

    /// Hands subscriptions to the reader.
    async fn add(&self, routed: impl Iterator<Item = (&Topic, Subscriber)> + Send) {
        let deliveries = {
            let mut active = self.active();
            let deliver = |(topic, subscriber): (&Topic, Subscriber)| {
                let (stop, registration) = AbortHandle::new_pair();
                active.insert(topic.clone(), stop.clone());
                let inflow = Arc::clone(&self.inflow);
                Abortable::new(Delivery { subscriber, stop, inflow }, registration)
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

async fn subscribe(
    subjects: &[Subject],
    connection: &Connection,
) -> Result<Vec<Subscriber>, LinkError> {
    let mut subscribers = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let subscriber = connection.client.subscribe(subject.clone()).await;
        subscribers.push(subscriber.map_err(|_| connection.notices.lost())?);
    }
    Ok(subscribers)
}

/// Waits until all that the server had against the subscriptions so far was handled.
///
/// It asks for what every server refuses. That refusal takes the same way as the others, behind them.
async fn wait_for_refusals(connection: &Connection) -> Result<(), LinkError> {
    let mut impossible = connection.notices.impossible();
    let before = *impossible.borrow_and_update();
    subscribe(&[connection.subjects.impossible()], connection).await?;
    connection.pass_fence().await?;
    let refused = impossible.wait_for(|count| *count > before);
    match tokio::time::timeout(REFUSED_WITHIN, refused).await {
        Ok(_) => Ok(()),
        // Dropped, as too many came at once; then others may be missing too.
        Err(_) => Err(LinkError::Lost {
            reason: "too many refused subscriptions at once to tell which: asking again, with care"
                .to_owned(),
        }),
    }
}
