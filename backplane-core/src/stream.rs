use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::sync::mpsc;

use crate::{Backplane, Event, Sink, SubscribeError, Subscription, Topic};

/// Subscribes to `topics` and reads their events as a [`Stream`].
///
/// At most `capacity` events wait to be read; what comes on top is dropped and counted, and the
/// stream says so in its place ([`Next::Dropped`]). Dropping the stream ends the subscription.
///
/// # Errors
///
/// Those of [`Backplane::subscribe`].
pub fn stream(
    backplane: &dyn Backplane,
    topics: &[Topic],
    capacity: usize,
) -> Result<Events, SubscribeError> {
    let (queue, queued) = mpsc::channel(capacity.max(1));
    let bounded = Arc::new(Bounded { queue, dropped: AtomicU64::new(0) });
    let interest: Vec<(Topic, Arc<dyn Sink>)> = topics
        .iter()
        .map(|topic| (topic.clone(), Arc::<Bounded>::clone(&bounded) as Arc<dyn Sink>))
        .collect();
    let subscription = backplane.subscribe(&interest)?;
    Ok(Events { queued, bounded, told: 0, held: None, subscription })
}

/// The events of some topics, in order. See [`stream`].
#[derive(Debug)]
pub struct Events {
    queued: mpsc::Receiver<(Event, u64)>,
    bounded: Arc<Bounded>,
    /// How many dropped events the reader knows of.
    told: u64,
    /// An event that comes after the report of those dropped before it.
    held: Option<Event>,
    subscription: Subscription,
}

/// What an [`Events`] stream yields.
#[derive(Debug, Clone)]
pub enum Next {
    /// An event.
    Event(Event),
    /// This many events were dropped here, as nobody read fast enough.
    Dropped(u64),
}

#[derive(Debug)]
struct Bounded {
    /// Each event goes with the number of those dropped before it.
    queue: mpsc::Sender<(Event, u64)>,
    dropped: AtomicU64,
}

impl Sink for Bounded {
    fn accept(&self, event: &Event) {
        let dropped = self.dropped.load(Ordering::Acquire);
        if self.queue.try_send((event.clone(), dropped)).is_err() {
            self.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Events {
    /// The subscription underneath, for [`confirmed`](Subscription::confirmed).
    pub const fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// How many events were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.bounded.dropped.load(Ordering::Acquire)
    }

    fn tell(&mut self, dropped: u64) -> Next {
        let new = dropped - self.told;
        self.told = dropped;
        Next::Dropped(new)
    }
}

impl Stream for Events {
    type Item = Next;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(event) = this.held.take() {
            return Poll::Ready(Some(Next::Event(event)));
        }
        match this.queued.poll_recv(context) {
            Poll::Ready(Some((event, dropped_before))) if dropped_before > this.told => {
                this.held = Some(event);
                Poll::Ready(Some(this.tell(dropped_before)))
            }
            Poll::Ready(Some((event, _))) => Poll::Ready(Some(Next::Event(event))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.dropped() {
                dropped if dropped > this.told => Poll::Ready(Some(this.tell(dropped))),
                _ => Poll::Pending,
            },
        }
    }
}
