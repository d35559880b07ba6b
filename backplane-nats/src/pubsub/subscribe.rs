use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::{Subject, Subscriber};
use backplane_core::{LinkError, Topic, wire::Refused};
use futures_util::future::{AbortHandle, Abortable};
use tokio::sync::mpsc;

use super::receive::{Delivery, Inflow, Reader};
use crate::{connection::Connection, notices::Since};

/// Where much is refused, this many topics are asked for at once: the client library's queue of
/// events holds all that the server may say to that.
const PORTION: usize = 64;

/// The subscriptions of one connection.
#[derive(Debug)]
pub(super) struct Routes {
    active: Mutex<HashMap<Topic, AbortHandle>>,
    reader: mpsc::Sender<Vec<Abortable<Delivery>>>,
    inflow: Arc<Inflow>,
}

impl Routes {
    /// An empty table, and what reads for it.
    pub(super) fn new(inflow: Arc<Inflow>) -> (Self, Reader) {
        let (reader, added) = mpsc::channel(1);
        let routes = Self { active: Mutex::default(), reader, inflow: Arc::clone(&inflow) };
        (routes, Reader { added, inflow })
    }

    /// Subscribes, and waits until the server routes each topic or has refused it.
    pub(super) async fn subscribe(
        &self,
        topics: &[Topic],
        connection: &Connection,
    ) -> Result<Vec<Refused<Topic>>, LinkError> {
        let topics: Vec<(Topic, Subject)> =
            topics.iter().map(|topic| (topic.clone(), connection.subjects.of(topic))).collect();
        let mut refused = Vec::new();
        let asked = connection.notices.ask();
        let subscribers = ask_for(&topics, connection).await?;
        if asked.heard_all() && !asked.refused_one() {
            self.add(&topics, subscribers, asked, &mut refused).await;
            return Ok(refused);
        }
        // Nobody knows which of them are routed. They are given up, and asked for again.
        drop(subscribers);
        for topics in topics.chunks(PORTION) {
            let mut asked = connection.notices.ask();
            let mut subscribers = ask_for(topics, connection).await?;
            // Something else fills the queue of events. The node's deadline bounds this.
            while !asked.heard_all() {
                drop(subscribers);
                asked = connection.notices.ask();
                subscribers = ask_for(topics, connection).await?;
            }
            self.add(topics, subscribers, asked, &mut refused).await;
        }
        Ok(refused)
    }

    /// Hands those that were not refused to the reader.
    async fn add(
        &self,
        topics: &[(Topic, Subject)],
        subscribers: Vec<Subscriber>,
        asked: Since<'_>,
        refused: &mut Vec<Refused<Topic>>,
    ) {
        let mut deliveries = Vec::with_capacity(topics.len());
        for ((topic, subject), subscriber) in topics.iter().zip(subscribers) {
            if let Some(reason) = asked.refusal(subject) {
                refused.push(Refused { what: topic.clone(), reason });
                continue;
            }
            let (stop, registration) = AbortHandle::new_pair();
            self.active().insert(topic.clone(), stop.clone());
            let inflow = Arc::clone(&self.inflow);
            deliveries.push(Abortable::new(Delivery::new(subscriber, stop, inflow), registration));
        }
        // It ends only with the session.
        let _ = self.reader.send(deliveries).await;
    }

    /// Gives topics up. Nothing is delivered for them any more; the server is told in due course.
    pub(super) fn unsubscribe(&self, topics: &[Topic]) {
        let mut active = self.active();
        topics.iter().filter_map(|topic| active.remove(topic)).for_each(|stop| stop.abort());
    }

    fn active(&self) -> MutexGuard<'_, HashMap<Topic, AbortHandle>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subscribes, and waits for the server.
async fn ask_for(
    topics: &[(Topic, Subject)],
    connection: &Connection,
) -> Result<Vec<Subscriber>, LinkError> {
    let mut subscribers = Vec::with_capacity(topics.len());
    for (_, subject) in topics {
        let subscriber = connection.client.subscribe(subject.clone()).await;
        subscribers.push(subscriber.map_err(|_| connection.notices.lost())?);
    }
    connection.pass_fence().await?;
    Ok(subscribers)
}
