//! From the read path to whoever is to know: clients at once, the application by a bounded queue and
//! a task of its own.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use backplane_core::{Backplane, Event, Gap, SubscriberOutage};
use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::{ClientNotices, LinkChange, LinkEvent, Listeners, Listening, Missed, notices::Notice};
use crate::{
    Hub, HubError, HubOptions,
    hub::Shared,
    members::{Local, Message},
};

/// Places for news of the link that no flood of gaps takes.
const RESERVED: usize = 64;

/// What is done about losses on this node.
#[derive(Debug)]
pub(crate) struct Losses {
    pub(super) notices: Option<ClientNotices>,
    /// Whether what an interruption has cost is told as gaps, if it is not repaired.
    complete: bool,
    gaps: bool,
    link: bool,
    /// `None` where nobody listens.
    news: Option<mpsc::Sender<News>>,
    /// News dropped since some was queued.
    skipped: AtomicU64,
}

/// Something a listener is to be told.
#[derive(Debug)]
pub(crate) struct News {
    what: What,
    skipped: u64,
}

#[derive(Debug)]
enum What {
    Missed(Gap),
    Link(LinkChange),
}

impl Losses {
    /// And what the task that tells the listeners reads, if there are any.
    pub(crate) fn new(
        backplane: &dyn Backplane,
        options: &HubOptions,
        notices: Option<ClientNotices>,
        listeners: &Listeners,
    ) -> (Self, Option<mpsc::Receiver<News>>) {
        let (gaps, link) = (listeners.gap.is_some(), listeners.link.is_some());
        let queue = options.loss_events.max(1).saturating_add(RESERVED);
        let queue = queue.min(tokio::sync::Semaphore::MAX_PERMITS);
        let (news, told) = (gaps || link).then(|| mpsc::channel(queue)).unzip();
        let outage = backplane.semantics().subscriber_outage;
        let complete = matches!(
            outage,
            SubscriberOutage::Repaired | SubscriberOutage::Counted | SubscriberOutage::CatchesUp
        );
        (Self { notices, complete, gaps, link, news, skipped: AtomicU64::new(0) }, told)
    }

    /// Whether there was room, or nobody to be told.
    fn queue(&self, what: What) -> bool {
        let (heard, spare) = match &what {
            What::Missed(_) => (self.gaps, RESERVED),
            What::Link(_) => (self.link, 0),
        };
        let Some(news) = self.news.as_ref().filter(|_| heard) else { return true };
        if news.capacity() <= spare {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        match news.try_reserve() {
            Ok(place) => {
                place.send(News { what, skipped: self.skipped.swap(0, Ordering::Relaxed) });
                true
            }
            Err(_) => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

impl Local {
    /// Messages on a topic are lost; `deliver` gives a message to the topic's members here.
    pub(crate) fn missed(&self, gap: &Gap, deliver: impl FnOnce(&mut Message<'_>)) {
        self.counters.gaps.add(1);
        self.report(What::Missed(gap.clone()));
        self.notify(&Notice::gap(gap), deliver);
    }

    /// Something has happened to the link; `deliver` gives a message to every connection here. To be
    /// called once for each event.
    pub(crate) fn link(&self, event: &Event, deliver: impl FnOnce(&mut Message<'_>)) {
        let complete = self.losses.complete;
        match event {
            Event::Interrupted { since } => {
                self.counters.interruptions.add(1);
                self.report(What::Link(LinkChange::Interrupted { since: *since }));
            }
            Event::Restored => {
                self.report(What::Link(LinkChange::Restored { complete }));
                if !complete {
                    self.notify(&Notice::Interrupted, deliver);
                }
            }
            Event::OriginLost { origin } => {
                self.counters.origins_lost.add(1);
                self.report(What::Link(LinkChange::OriginLost { origin: *origin }));
                self.notify(&Notice::OriginLost, deliver);
            }
            _ => {}
        }
    }

    fn report(&self, what: What) {
        if !self.losses.queue(what) {
            self.counters.dropped_events.add(1);
        }
    }
}

/// Tells the listeners, one event after the other, until the hub is gone.
pub(crate) async fn run(hub: Weak<Shared>, listeners: Listeners, mut news: mpsc::Receiver<News>) {
    while let Some(News { what, skipped }) = news.recv().await {
        let Some(hub) = hub.upgrade().map(Hub) else { return };
        let name = Arc::clone(&hub.0.name);
        let (listener, outcome) = match what {
            What::Missed(Gap { topic, origin, count, .. }) => {
                let Some(hear) = &listeners.gap else { continue };
                let missed = Missed { hub, topic, origin, count, skipped };
                ("on_gap", alone(|| hear(missed)).await)
            }
            What::Link(change) => {
                let Some(hear) = &listeners.link else { continue };
                let event = LinkEvent { hub, change, skipped };
                ("on_link", alone(|| hear(event)).await)
            }
        };
        if let Err(error) = outcome {
            tracing::error!(hub = %name, listener, %error, "a listener failed");
        }
    }
}

/// A listener that panics fails alone.
async fn alone(start: impl FnOnce() -> Listening + Send) -> Result<(), HubError> {
    let heard = AssertUnwindSafe(async { start().await }).catch_unwind().await;
    heard.unwrap_or_else(|panic| Err(HubError::panicked(&*panic)))
}
