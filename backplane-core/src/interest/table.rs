use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use hashbrown::HashTable;
use tokio::sync::Notify;

use super::{Confirmation, Subscription};
use crate::{Event, Sink, SubscribeError, Topic, event::Telling, topic::TopicParts};

const SHARDS: usize = 64;

/// The table topic → sinks, and how far the broker follows it.
#[derive(Debug)]
pub(crate) struct Interest {
    shards: Box<[RwLock<HashTable<Entry>>]>,
    next: AtomicU64,
    /// Topics whose actual state may differ from the desired one, each at most once.
    dirty: Mutex<Vec<Topic>>,
    changed: Notify,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    /// Replaced as a whole, so that a delivery takes one reference count and no lock.
    sinks: Arc<[Registration]>,
    /// Which subscription of the topic this is: renewed when its first sink comes.
    stamp: u64,
    actual: Actual,
    queued: bool,
    /// Who waits for the topic to be routed, by registration.
    waiters: Vec<(u64, Arc<Confirmation>)>,
}

/// What the broker does for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Actual {
    Unrouted,
    Subscribing,
    Routed,
    Unsubscribing,
    Refused(Arc<str>),
}

/// One sink's place in a topic.
#[derive(Clone)]
pub(crate) struct Registration {
    id: u64,
    pub(crate) sink: Arc<dyn Sink>,
    /// Whether the sink was told `Interrupted` and not yet `Restored`.
    interrupted: Arc<AtomicBool>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A topic that somebody here is interested in.
#[derive(Debug)]
pub(crate) struct Interested {
    pub(crate) topic: Topic,
    pub(crate) sinks: Arc<[Registration]>,
    pub(crate) stamp: u64,
}

/// The next step towards what is desired. The topics are marked as being worked on.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) subscribe: Vec<Topic>,
    pub(crate) unsubscribe: Vec<Topic>,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.subscribe.is_empty() && self.unsubscribe.is_empty()
    }
}

impl Interest {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            next: AtomicU64::new(0),
            dirty: Mutex::default(),
            changed: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// A number below `count` for this topic: the same at every call.
    pub(crate) fn lane(topic: &Topic, count: usize) -> usize {
        (topic.hashed() >> 48) as usize % count
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<Entry>> {
        // hashbrown takes the top and the lowest bits; these are in between.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// The topic's sinks, or `None` where nobody here is interested.
    pub(crate) fn sinks(&self, parts: TopicParts<'_>) -> Option<Interested> {
        let hash = parts.hashed();
        let table = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        let entry = table.find(hash, |entry| entry.topic.as_parts() == parts)?;
        (!entry.sinks.is_empty()).then(|| Interested {
            topic: entry.topic.clone(),
            sinks: Arc::clone(&entry.sinks),
            stamp: entry.stamp,
        })
    }

    /// The topics of interest for which this is true.
    pub(crate) fn matching(&self, concerns: impl Fn(&Topic) -> bool) -> Vec<Interested> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let table = shard.read().unwrap_or_else(PoisonError::into_inner);
            let entries = table.iter().filter(|it| !it.sinks.is_empty() && concerns(&it.topic));
            found.extend(entries.map(|entry| Interested {
                topic: entry.topic.clone(),
                sinks: Arc::clone(&entry.sinks),
                stamp: entry.stamp,
            }));
        }
        found
    }

    /// Registers sinks; the confirmation counts the topics that are not routed yet. Topics that had none
    /// get this stamp.
    pub(crate) fn add(
        self: &Arc<Self>,
        interest: &[(Topic, Arc<dyn Sink>)],
        stamp: u64,
    ) -> Result<Subscription, SubscribeError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(SubscribeError::Closed);
        }
        if let Some((topic, _)) = interest.iter().find(|(topic, _)| !topic.fits()) {
            return Err(SubscribeError::NameTooLong { topic: topic.clone() });
        }
        let confirmation = Arc::new(Confirmation::new(interest.len()));
        let mut registered = Vec::with_capacity(interest.len());
        let mut dirty = Vec::new();
        for (topic, sink) in interest {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let registration =
                Registration { id, sink: Arc::clone(sink), interrupted: Arc::default() };
            self.update(topic, |entry| {
                if entry.sinks.is_empty() {
                    entry.stamp = stamp;
                }
                entry.sinks = entry.sinks.iter().cloned().chain([registration]).collect();
                match &entry.actual {
                    Actual::Routed => confirmation.confirm(),
                    Actual::Refused(reason) => {
                        confirmation.refuse(SubscribeError::Refused {
                            topic: topic.clone(),
                            reason: Arc::clone(reason),
                        });
                    }
                    _ => entry.waiters.push((id, Arc::clone(&confirmation))),
                }
                entry.mark(&mut dirty);
            });
            registered.push((topic.clone(), id));
        }
        self.queue(dirty);
        if self.closed.load(Ordering::Acquire) {
            confirmation.close();
        }
        Ok(Subscription::new(Arc::clone(self), registered, confirmation))
    }

    pub(super) fn remove(&self, registered: &[(Topic, u64)]) {
        let mut dirty = Vec::new();
        for (topic, id) in registered {
            self.update(topic, |entry| {
                entry.sinks = entry.sinks.iter().filter(|it| it.id != *id).cloned().collect();
                entry.waiters.retain(|(waiting, _)| waiting != id);
                entry.mark(&mut dirty);
            });
        }
        self.queue(dirty);
    }

    /// Runs `change` on the topic's entry, making it first where there is none, and forgets it
    /// afterwards where nothing is left to remember.
    fn update(&self, topic: &Topic, change: impl FnOnce(&mut Entry)) {
        let parts = topic.as_parts();
        let hash = topic.hashed();
        let mut table = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        let mut entry = table
            .entry(hash, |entry| entry.topic.as_parts() == parts, |entry| entry.topic.hashed())
            .or_insert_with(|| Entry::new(topic.clone()));
        change(entry.get_mut());
        if entry.get().is_idle() {
            entry.remove();
        }
    }

    fn queue(&self, topics: Vec<Topic>) {
        if !topics.is_empty() {
            self.dirty().extend(topics);
            self.changed.notify_one();
        }
    }

    fn dirty(&self) -> MutexGuard<'_, Vec<Topic>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there may be work. Cancel-safe.
    pub(crate) async fn changed(&self) {
        while self.dirty().is_empty() {
            self.changed.notified().await;
        }
    }

    /// Takes up to `most` topics that need a step.
    pub(crate) fn work(&self, most: usize) -> Work {
        let topics: Vec<Topic> = {
            let mut dirty = self.dirty();
            let count = dirty.len().min(most);
            dirty.drain(..count).collect()
        };
        let mut work = Work::default();
        for topic in topics {
            self.update(&topic, |entry| {
                entry.queued = false;
                match (entry.sinks.is_empty(), &entry.actual) {
                    (false, Actual::Unrouted) => {
                        entry.actual = Actual::Subscribing;
                        work.subscribe.push(topic.clone());
                    }
                    (true, Actual::Routed) => {
                        entry.actual = Actual::Unsubscribing;
                        work.unsubscribe.push(topic.clone());
                    }
                    (true, Actual::Refused(_)) => entry.actual = Actual::Unrouted,
                    _ => {}
                }
            });
        }
        work
    }

    /// How many topics wait for a step.
    pub(crate) fn waiting(&self) -> usize {
        self.dirty().len()
    }

    /// The broker routes this topic.
    pub(crate) fn routed(&self, topic: &Topic) {
        self.settle(topic, |entry| {
            entry.actual = Actual::Routed;
            entry.waiters.drain(..).for_each(|(_, waiter)| waiter.confirm());
        });
    }

    /// The broker refuses this topic on the present connection.
    pub(crate) fn refused(&self, topic: &Topic, reason: &Arc<str>) {
        self.settle(topic, |entry| {
            entry.actual = Actual::Refused(Arc::clone(reason));
            let error =
                SubscribeError::Refused { topic: topic.clone(), reason: Arc::clone(reason) };
            entry.waiters.drain(..).for_each(|(_, waiter)| waiter.refuse(error.clone()));
        });
    }

    /// The broker routes this topic no longer.
    pub(crate) fn unrouted(&self, topic: &Topic) {
        self.settle(topic, |entry| entry.actual = Actual::Unrouted);
    }

    fn settle(&self, topic: &Topic, change: impl FnOnce(&mut Entry)) {
        let mut dirty = Vec::new();
        self.update(topic, |entry| {
            change(entry);
            entry.mark(&mut dirty);
        });
        self.queue(dirty);
    }

    /// The connection is gone: nothing is routed, everything desired needs a step, and sinks that
    /// could rely on their topic are told.
    pub(crate) fn interrupted(&self, since: Instant) {
        let mut dirty = Vec::new();
        let mut doubts = Doubts::default();
        self.each(|entry| {
            if entry.actual == Actual::Routed {
                entry.sinks.iter().for_each(|it| doubts.add(it));
            }
            entry.actual = Actual::Unrouted;
            entry.mark(&mut dirty);
        });
        self.queue(dirty);
        doubts.tell(since);
    }

    /// The connection is up and every desired topic confirmed or refused.
    pub(crate) fn restored(&self) {
        let mut told = Vec::new();
        self.each(|entry| {
            // The new connection does not route it: its sinks stay in doubt.
            if matches!(entry.actual, Actual::Refused(_)) {
                return;
            }
            let marked =
                entry.sinks.iter().filter(|it| it.interrupted.swap(false, Ordering::AcqRel));
            told.extend(marked.map(|it| Arc::clone(&it.sink)));
        });
        tell(told, &Event::Restored);
    }

    /// The connection may have lost something on these topics but goes on: sinks of routed topics are told,
    /// once until [`restored`](Self::restored).
    pub(crate) fn doubted(&self, concerns: impl Fn(&Topic) -> bool, since: Instant) {
        let mut concerned = HashSet::new();
        self.each(|entry| {
            if entry.actual == Actual::Routed && concerns(&entry.topic) {
                concerned.extend(entry.sinks.iter().map(|it| address(&it.sink)));
            }
        });
        // All topics of such a sink are in doubt for it: the event names none.
        let mut doubts = Doubts::default();
        self.each(|entry| {
            if entry.actual == Actual::Routed {
                let concerned =
                    entry.sinks.iter().filter(|it| concerned.contains(&address(&it.sink)));
                concerned.for_each(|it| doubts.add(it));
            }
        });
        doubts.tell(since);
    }

    /// Tells every sink.
    pub(crate) fn tell_all(&self, event: &Event) {
        let mut told = Vec::new();
        self.each(|entry| told.extend(entry.sinks.iter().map(|it| Arc::clone(&it.sink))));
        tell(told, event);
    }

    fn each(&self, mut visit: impl FnMut(&mut Entry)) {
        for shard in &self.shards {
            let mut table = shard.write().unwrap_or_else(PoisonError::into_inner);
            table.iter_mut().for_each(&mut visit);
            table.retain(|entry| !entry.is_idle());
        }
    }

    /// Nothing is added any more; whoever waits for a confirmation is told.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.each(|entry| entry.waiters.drain(..).for_each(|(_, waiter)| waiter.close()));
    }

    #[cfg(test)]
    pub(crate) fn waiters(&self, topic: &Topic) -> usize {
        let mut count = 0;
        self.update(topic, |entry| count = entry.waiters.len());
        count
    }

    #[cfg(test)]
    pub(crate) fn topics(&self) -> usize {
        let count = |shard: &RwLock<HashTable<Entry>>| {
            shard.read().unwrap_or_else(PoisonError::into_inner).len()
        };
        self.shards.iter().map(count).sum()
    }
}

impl Entry {
    fn new(topic: Topic) -> Self {
        Self {
            topic,
            sinks: Arc::default(),
            stamp: 0,
            actual: Actual::Unrouted,
            queued: false,
            waiters: Vec::new(),
        }
    }

    /// Puts the topic among the dirty ones if a step is due and it is not there yet.
    fn mark(&mut self, dirty: &mut Vec<Topic>) {
        let due = match self.actual {
            Actual::Unrouted => !self.sinks.is_empty(),
            Actual::Routed | Actual::Refused(_) => self.sinks.is_empty(),
            Actual::Subscribing | Actual::Unsubscribing => false,
        };
        if due && !self.queued {
            self.queued = true;
            dirty.push(self.topic.clone());
        }
    }

    /// Whether forgetting the entry loses nothing.
    fn is_idle(&self) -> bool {
        self.sinks.is_empty() && self.actual == Actual::Unrouted && !self.queued
    }
}

/// Sinks that are to hear of an interruption.
#[derive(Default)]
struct Doubts {
    fresh: Vec<Arc<dyn Sink>>,
    /// Those that were told of one before, and not yet `Restored`.
    told: HashSet<usize>,
}

impl Doubts {
    fn add(&mut self, registration: &Registration) {
        if registration.interrupted.swap(true, Ordering::AcqRel) {
            self.told.insert(address(&registration.sink));
        } else {
            self.fresh.push(Arc::clone(&registration.sink));
        }
    }

    fn tell(mut self, since: Instant) {
        self.fresh.retain(|sink| !self.told.contains(&address(sink)));
        tell(self.fresh, &Event::Interrupted { since });
    }
}

fn address(sink: &Arc<dyn Sink>) -> usize {
    Arc::as_ptr(sink).cast::<()>().addr()
}

/// Tells each sink once, however many topics it has.
fn tell(mut sinks: Vec<Arc<dyn Sink>>, event: &Event) {
    sinks.sort_unstable_by_key(address);
    sinks.dedup_by_key(|sink| address(sink));
    let _telling = Telling::begin();
    sinks.iter().for_each(|sink| sink.accept(event));
}
