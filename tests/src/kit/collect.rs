//! A sink that keeps what it is told.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use backplane_core::{
    Backplane, Envelope, Event, Gap, Link, LinkError, Offset, Position, Sink, Subscription, Topic,
};
use bytes::Bytes;
use tokio::sync::watch;

use super::{Doing, Outcome, SOON, Stop, within};

/// Fences carry this and a number.
const FENCE: &[u8] = b"\0the kit's fence ";

/// Keeps every event, in order. Duplicates stay; only the kit's own fences are kept apart.
#[derive(Debug)]
pub struct Collector {
    heard: Mutex<Heard>,
    messages: AtomicUsize,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Heard {
    events: Vec<Event>,
    fences: Vec<Bytes>,
}

impl Collector {
    /// One that has heard nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            heard: Mutex::default(),
            messages: AtomicUsize::new(0),
            changed: watch::Sender::new(0),
        })
    }

    /// A new one that listens to these topics, once the medium routes them.
    ///
    /// # Errors
    ///
    /// The subscription fails, or is not confirmed in time.
    pub async fn listen(
        node: &dyn Backplane,
        topics: &[Topic],
    ) -> Outcome<(Arc<Self>, Subscription)> {
        let collector = Self::new();
        let subscription = collector.subscribe(node, topics)?;
        confirmed(&subscription).await?;
        Ok((collector, subscription))
    }

    /// A new one that reads this topic from a position of the medium's log, once that is open.
    ///
    /// # Errors
    ///
    /// The medium keeps no log, or it is not open in time.
    pub async fn read(
        node: &dyn Backplane,
        topic: &Topic,
        from: Position,
    ) -> Outcome<(Arc<Self>, Subscription)> {
        let collector = Self::new();
        let sink = Arc::<Self>::clone(&collector) as Arc<dyn Sink>;
        let subscription = node.subscribe_from(topic, sink, from).doing("reading")?;
        confirmed(&subscription).await?;
        Ok((collector, subscription))
    }

    /// Subscribes to these topics and does not wait.
    ///
    /// # Errors
    ///
    /// The subscription fails.
    pub fn subscribe(
        self: &Arc<Self>,
        node: &dyn Backplane,
        topics: &[Topic],
    ) -> Outcome<Subscription> {
        let interest: Vec<(Topic, Arc<dyn Sink>)> = topics
            .iter()
            .map(|topic| (topic.clone(), Arc::<Self>::clone(self) as Arc<dyn Sink>))
            .collect();
        node.subscribe(&interest).doing("subscribing")
    }

    /// Every event so far, without fences.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.heard().events.clone()
    }

    /// Every envelope so far, without fences.
    #[must_use]
    pub fn messages(&self) -> Vec<Envelope> {
        let heard = self.heard();
        heard.events.iter().filter_map(message).cloned().collect()
    }

    /// The bodies of every envelope so far, without fences.
    #[must_use]
    pub fn bodies(&self) -> Vec<Bytes> {
        self.messages().into_iter().map(|envelope| envelope.body).collect()
    }

    /// The numbers that are written in bodies, once there are at least so many envelopes.
    ///
    /// # Errors
    ///
    /// They do not come in time, or a body is no number.
    pub async fn numbers(&self, count: usize) -> Outcome<Vec<u32>> {
        self.has(count, "numbers").await?;
        let number = |body: Bytes| {
            let text = std::str::from_utf8(&body).ok();
            let number = text.and_then(|text| text.parse().ok());
            number.ok_or_else(|| Stop::Broken(format!("{body:?} is no number")))
        };
        self.bodies().into_iter().map(number).collect()
    }

    /// Where the envelope of this index stands in the log, if it is from one.
    #[must_use]
    pub fn offset(&self, index: usize) -> Option<Offset> {
        self.messages().get(index)?.offset
    }

    /// Every gap so far.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let gap = |event: &Event| match event {
            Event::Gap(gap) => Some(gap.clone()),
            _ => None,
        };
        self.heard().events.iter().filter_map(gap).collect()
    }

    /// How many envelopes there were so far, without fences.
    #[must_use]
    pub fn count(&self) -> usize {
        self.messages.load(Ordering::Acquire)
    }

    /// Waits for that many envelopes.
    ///
    /// # Errors
    ///
    /// They do not come in time.
    pub async fn has(&self, count: usize, what: impl Display + Send + Sync) -> Outcome {
        let mut changed = self.changed.subscribe();
        let waited =
            within(SOON, &what, changed.wait_for(|_| self.count() >= count)).await.map(drop);
        let (arrived, gaps) = (self.count(), self.gaps());
        waited.doing(match &gaps[..] {
            [] => format!("{arrived} of {count} arrived"),
            gaps => format!("{arrived} of {count} arrived, with {gaps:?}"),
        })
    }

    /// Waits until what was heard satisfies `check`.
    ///
    /// # Errors
    ///
    /// That does not happen in time.
    pub async fn until(
        &self,
        what: impl Display + Send,
        check: impl Fn(&[Event]) -> bool + Send + Sync,
    ) -> Outcome {
        let mut changed = self.changed.subscribe();
        within(SOON, what, changed.wait_for(|_| check(&self.heard().events))).await.map(drop)
    }

    /// Waits for an envelope with this body.
    ///
    /// # Errors
    ///
    /// It does not come in time.
    pub async fn body(&self, body: &[u8], what: impl Display + Send + Sync) -> Outcome {
        let has = |event: &Event| message(event).is_some_and(|envelope| envelope.body == body);
        self.until(what, |events| events.iter().any(has)).await
    }

    async fn fence(&self, fence: &Bytes) {
        let mut changed = self.changed.subscribe();
        // The sender lives in `self`.
        let _ = changed.wait_for(|_| self.heard().fences.contains(fence)).await;
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(event: &Event) -> Option<&Envelope> {
    match event {
        Event::Message(envelope) => Some(envelope),
        _ => None,
    }
}

impl Sink for Collector {
    fn accept(&self, event: &Event) {
        let fence = message(event).filter(|envelope| envelope.body.starts_with(FENCE));
        {
            let mut heard = self.heard();
            match fence {
                Some(fence) => heard.fences.push(fence.body.clone()),
                None => heard.events.push(event.clone()),
            }
        }
        if fence.is_none() && message(event).is_some() {
            self.messages.fetch_add(1, Ordering::AcqRel);
        }
        self.changed.send_modify(|count| *count += 1);
    }
}

/// Publishes a fence on `topic` and waits until each of these has heard it: what `from` published
/// there before has arrived by then, or never will.
///
/// # Errors
///
/// The fence is not published, or does not arrive in time.
pub async fn fence(from: &dyn Backplane, topic: &Topic, ears: &[&Collector]) -> Outcome {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let body = Bytes::from([FENCE, &number.to_le_bytes()].concat());
    publish(from, Envelope::new(topic.clone(), body.clone())).await.doing("publishing a fence")?;
    for ear in ears {
        within(SOON, format!("a fence on {topic:?}"), ear.fence(&body)).await?;
    }
    Ok(())
}

/// Publishes and waits for the receipt.
///
/// # Errors
///
/// It is not published, or not answered in time.
pub async fn publish(from: &dyn Backplane, envelope: Envelope) -> Outcome {
    let what = format!("the receipt of an envelope on {:?}", envelope.topic);
    within(SOON, what, from.publish(envelope)).await?.map(drop).doing("publishing")
}

/// Waits until the medium routes every topic of the subscription.
///
/// # Errors
///
/// It refuses one, or does not answer in time.
pub async fn confirmed(subscription: &Subscription) -> Outcome {
    let what = format!("the confirmation of {} topics", subscription.topics().count());
    within(SOON, what, subscription.confirmed()).await?.doing("confirming a subscription")
}

/// Waits until the node's link is up.
///
/// # Errors
///
/// It is not, in time.
pub async fn up(node: &dyn Backplane) -> Outcome {
    let mut link = node.link();
    let mut latest = link.clone();
    match within(SOON, "the link to be up", link.wait_for(Link::is_up)).await {
        Ok(state) => state.map(drop).doing("watching the link"),
        Err(error) => Err(error).doing(format!("{:?}", *latest.borrow_and_update())),
    }
}

/// Waits until the node's link is down, and says why.
///
/// # Errors
///
/// It is not, in time.
pub async fn down(node: &dyn Backplane) -> Outcome<Arc<LinkError>> {
    let mut link = node.link();
    let is_down = link.wait_for(|link| matches!(link, Link::Down { .. }));
    let state = within(SOON, "the link to be down", is_down).await?.doing("watching the link")?;
    match &*state {
        Link::Down { cause, .. } => Ok(Arc::clone(cause)),
        other => Err(Stop::Broken(format!("the link is {other:?}"))),
    }
}
