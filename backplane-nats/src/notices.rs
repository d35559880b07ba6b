//! What the server and the client library say besides messages.
//!
//! `async-nats` hands events over through a queue of 128 and drops what does not fit. They run
//! beside the messages, so an event may be handled after a message that came behind it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_nats::{Event, ServerError};
use backplane_core::{LinkError, wire::Inbound};
use tokio::sync::{Notify, watch};

use crate::subject::Subjects;

/// The client library's queue of events.
const QUEUE: u64 = 128;

/// The most subjects that are remembered as not to be published on.
const UNPUBLISHABLE: usize = 4096;

const SUBSCRIPTION: &str = "Permissions Violation for Subscription to \"";
const PUBLISH: &str = "Permissions Violation for Publish to \"";
const IMPOSSIBLE: &str = "invalid subject";
const TOO_MANY: &str = "maximum subscriptions exceeded";

/// What any connection of a node was told.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Whether a subscription was ever refused: then they are asked for with care.
    subscriptions: AtomicBool,
    /// Whether a publish was ever refused: then refusals are waited for a little longer.
    publishes: AtomicBool,
}

/// What one connection was told.
#[derive(Debug)]
pub(crate) struct Notices {
    address: String,
    subjects: Subjects,
    inbound: Inbound,
    history: Arc<History>,
    events: AtomicU64,
    /// How many refusals of the impossible subject have come.
    impossible: watch::Sender<u64>,
    /// The client library dropped a message, or may have.
    pub(crate) doubt: Notify,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// What may be the reason when the connection ends.
    latest: Option<String>,
    /// The subjects whose subscription is under way, and what the server has against them.
    asked: HashMap<Box<str>, Option<Arc<str>>>,
    unpublishable: HashMap<Box<str>, Arc<str>>,
}

impl Notices {
    pub(crate) fn new(
        address: String,
        subjects: Subjects,
        inbound: Inbound,
        history: Arc<History>,
    ) -> Self {
        Self {
            address,
            subjects,
            inbound,
            history,
            events: AtomicU64::new(0),
            impossible: watch::Sender::new(0),
            doubt: Notify::new(),
            book: Mutex::default(),
        }
    }

    /// Takes an event. Never waits: the queue behind it is short.
    pub(crate) fn take(&self, event: Event) {
        // Where the queue overflowed, this many events come after what was dropped.
        if self.events.fetch_add(1, Ordering::Relaxed) % QUEUE == QUEUE - 1 {
            self.doubt.notify_one();
        }
        match event {
            Event::SlowConsumer(_) => self.doubt.notify_one(),
            Event::Disconnected | Event::Closed => self.inbound.lost(self.lost()),
            // The server goes on serving, and will close the connection in its own time. Leaving at
            // once would only make the interruption come earlier.
            Event::LameDuckMode => {
                self.book().latest = Some("the server is being shut down".to_owned());
            }
            Event::ServerError(ServerError::Other(text)) => self.server_says(&text),
            Event::ServerError(error) => self.book().latest = Some(error.to_string()),
            Event::Connected | Event::Draining | Event::ClientError(_) => {}
        }
    }

    /// Why the connection is lost, as far as the server told.
    pub(crate) fn lost(&self) -> LinkError {
        let latest = self.book().latest.clone();
        let reason = latest.unwrap_or_else(|| "the server closed it, or is gone".to_owned());
        LinkError::Lost { reason }
    }

    fn server_says(&self, text: &str) {
        let lower = text.to_lowercase();
        if let Some(subject) = quoted(text, SUBSCRIPTION) {
            self.refuses_subscription(subject, text);
        } else if let Some(subject) = quoted(text, PUBLISH) {
            self.refuses_publish(subject, text);
        } else if lower.starts_with(IMPOSSIBLE) {
            self.impossible.send_modify(|count| *count += 1);
        } else if lower.starts_with(TOO_MANY) {
            self.refuses_some_subscription(text);
        } else {
            self.book().latest = Some(text.to_owned());
        }
    }

    fn refuses_subscription(&self, subject: &str, text: &str) {
        if *subject == *self.subjects.impossible() {
            self.impossible.send_modify(|count| *count += 1);
            return;
        }
        if self.subjects.is_fence(subject) {
            return self.refuses_node(text);
        }
        self.history.subscriptions.store(true, Ordering::Release);
        let is_asked = match self.book().asked.get_mut(subject) {
            Some(refusal) => {
                *refusal = Some(text.into());
                true
            }
            None => false,
        };
        if !is_asked {
            // It came after its fence, so the topic is taken to be routed.
            self.must_ask_again(text);
        }
    }

    /// The server does not say which one.
    fn refuses_some_subscription(&self, text: &str) {
        let has_care = self.history.subscriptions.swap(true, Ordering::AcqRel);
        if !has_care {
            return self.must_ask_again(text);
        }
        // Few are under way. It is held against all of them, and may be the answer to the impossible.
        let reason: Arc<str> = format!("{text}: raise max_subscriptions").into();
        let mut book = self.book();
        book.asked.values_mut().for_each(|refusal| *refusal = Some(Arc::clone(&reason)));
        drop(book);
        self.impossible.send_modify(|count| *count += 1);
    }

    /// Some topic may be taken to be routed that is not. That must not stay so: the next connection
    /// asks for all of them, with care.
    fn must_ask_again(&self, text: &str) {
        let reason = format!("{text}: connecting again, to learn which topics this concerns");
        self.inbound.lost(LinkError::Lost { reason });
    }

    fn refuses_publish(&self, subject: &str, text: &str) {
        if self.subjects.is_fence(subject) {
            return self.refuses_node(text);
        }
        tracing::warn!(
            server = self.address,
            reason = text,
            "the broker refuses what is published"
        );
        let mut book = self.book();
        if book.unpublishable.len() >= UNPUBLISHABLE {
            // They will be learnt again.
            book.unpublishable.clear();
        }
        book.unpublishable.insert(subject.into(), text.into());
        drop(book);
        self.history.publishes.store(true, Ordering::Release);
    }

    /// Without its fences a node cannot work at all.
    fn refuses_node(&self, text: &str) {
        let all = self.subjects.all();
        self.inbound.lost(LinkError::Authentication {
            address: self.address.clone(),
            reason: format!("{text}; allow publish and subscribe on {all}"),
        });
    }

    /// Whether subscriptions were refused before.
    pub(crate) fn refuses_subscriptions(&self) -> bool {
        self.history.subscriptions.load(Ordering::Acquire)
    }

    /// Whether publishes were refused before.
    pub(crate) fn refuses_publishes(&self) -> bool {
        self.history.publishes.load(Ordering::Acquire)
    }

    /// Counts the refusals of the impossible subject.
    pub(crate) fn impossible(&self) -> watch::Receiver<u64> {
        self.impossible.subscribe()
    }

    /// From now on, refusals of these subjects are expected.
    pub(crate) fn ask<'a>(&self, subjects: impl Iterator<Item = &'a str>) {
        self.book().asked = subjects.map(|subject| (subject.into(), None)).collect();
    }

    /// What the server has against a subject that was asked for.
    pub(crate) fn refusal(&self, subject: &str) -> Option<Arc<str>> {
        self.book().asked.get(subject).cloned().flatten()
    }

    /// From now on, no refusal is expected.
    pub(crate) fn settled(&self) {
        self.book().asked = HashMap::new();
    }

    /// What the server has against publishing on a subject, as far as it told on this connection.
    pub(crate) fn unpublishable(&self, subject: &str) -> Option<Arc<str>> {
        if !self.refuses_publishes() {
            return None;
        }
        self.book().unpublishable.get(subject).cloned()
    }

    /// The connection has ended, whether or not an event said so.
    pub(crate) fn ended(&self) {
        self.inbound.lost(self.lost());
    }

    /// Tells the sinks that messages may have been dropped.
    pub(crate) fn doubted(&self) {
        self.inbound.doubt();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text between `start`, which ends with a quotation mark, and the next one.
fn quoted<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_found_in_what_the_server_says() {
        let text = r#"Permissions Violation for Subscription to "a.b.c", too many tokens"#;
        assert_eq!(quoted(text, SUBSCRIPTION), Some("a.b.c"));
        assert_eq!(quoted(text, PUBLISH), None);
    }
}
