//! What the server and the client library say besides messages.
//!
//! `async-nats` hands events over through a queue of 128 and drops what does not fit. What is not
//! dropped is handled before a fence that came behind it ([`Thread`](crate::thread::Thread)).

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{Event, ServerError};
use backplane_core::{LinkError, wire::Inbound};
use tokio::sync::Notify;

use crate::subject::Subjects;

/// The client library's queue of events: if one was dropped, as many come behind it.
const QUEUE: u64 = 128;

/// The most subjects that are remembered as not to be published on: more than two batches hold.
const UNPUBLISHABLE: usize = 4096;

const SUBSCRIPTION: &str = "Permissions Violation for Subscription to \"";
const PUBLISH: &str = "Permissions Violation for Publish to \"";
const TOO_MANY: &str = "maximum subscriptions exceeded";

/// How long ago what is dropped may have been published: its subscription's queue was full, and the server
/// held more. A probe since then proves nothing, as it has a queue of its own; but were it further behind, the
/// probe would not have come back in time.
const BEHIND: Duration = Duration::from_secs(5);

/// What one connection was told.
#[derive(Debug)]
pub(crate) struct Notices {
    address: String,
    subjects: Subjects,
    /// Who is told; nobody where it carries no node's traffic.
    inbound: Option<Inbound>,
    events: AtomicU64,
    /// How many publishes were refused.
    refused_publishes: AtomicU64,
    /// A publish was refused.
    refusal: Notify,
    /// The client library dropped a message, or may have.
    pub(crate) doubt: Notify,
    /// Of that the sinks were not told yet.
    untold: AtomicBool,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// What may be the reason when the connection ends.
    latest: Option<String>,
    /// What the server has against the subscriptions under way, by subject.
    refused: HashMap<Box<str>, Arc<str>>,
    /// What it has against one of them without saying which.
    refused_one: Option<Arc<str>>,
    unpublishable: HashMap<Arc<str>, Arc<str>>,
    /// Their subjects, the oldest first.
    ages: VecDeque<Arc<str>>,
}

impl Notices {
    pub(crate) fn new(address: String, subjects: Subjects, inbound: Option<Inbound>) -> Self {
        Self {
            address,
            subjects,
            inbound,
            events: AtomicU64::new(0),
            refused_publishes: AtomicU64::new(0),
            refusal: Notify::new(),
            doubt: Notify::new(),
            untold: AtomicBool::new(false),
            book: Mutex::default(),
        }
    }

    /// Takes an event. Never waits: the queue behind it is short.
    pub(crate) fn take(&self, event: Event) {
        if self.events.fetch_add(1, Ordering::Relaxed) % QUEUE == QUEUE - 1 {
            // One that told of a dropped message may be among those dropped.
            self.dropped();
        }
        match event {
            Event::SlowConsumer(_) => self.dropped(),
            Event::Disconnected | Event::Closed => self.ended(),
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

    fn dropped(&self) {
        self.untold.store(true, Ordering::Release);
        self.doubt.notify_one();
    }

    fn server_says(&self, text: &str) {
        let (subscription, publish) = (quoted(text, SUBSCRIPTION), quoted(text, PUBLISH));
        match (subscription, publish) {
            (Some(subject), _) | (_, Some(subject)) if self.subjects.is_fence(subject) => {
                self.refuses_node(text);
            }
            (Some(subject), _) => {
                self.book().refused.insert(subject.into(), text.into());
            }
            (_, Some(subject)) => self.refuses_publish(subject, text),
            _ if text.to_lowercase().starts_with(TOO_MANY) => {
                self.book().refused_one = Some(format!("{text}: raise max_subscriptions").into());
            }
            _ => self.book().latest = Some(text.to_owned()),
        }
    }

    /// Without its fences a node cannot work at all.
    fn refuses_node(&self, text: &str) {
        let all = self.subjects.all();
        self.end(LinkError::Authentication {
            address: self.address.clone(),
            reason: format!("{text}; allow publish and subscribe on {all}"),
        });
    }

    fn refuses_publish(&self, subject: &str, text: &str) {
        tracing::warn!(server = self.address, reason = text, "a publish is refused");
        let mut book = self.book();
        let subject: Arc<str> = subject.into();
        if book.unpublishable.insert(Arc::clone(&subject), text.into()).is_none() {
            book.ages.push_back(subject);
        }
        if book.ages.len() > UNPUBLISHABLE {
            // It will be learnt again.
            let oldest = book.ages.pop_front();
            oldest.and_then(|oldest| book.unpublishable.remove(&oldest));
        }
        drop(book);
        self.refused_publishes.fetch_add(1, Ordering::Release);
        self.refusal.notify_waiters();
    }

    /// Why the connection is lost, as far as the server told.
    pub(crate) fn lost(&self) -> LinkError {
        let latest = self.book().latest.clone();
        let reason = latest.unwrap_or_else(|| "the server closed it, or is gone".to_owned());
        LinkError::Lost { reason }
    }

    /// The connection has ended, whether or not an event said so.
    pub(crate) fn ended(&self) {
        self.end(self.lost());
    }

    /// The connection is worth nothing any more.
    pub(crate) fn end(&self, cause: LinkError) {
        if let Some(inbound) = &self.inbound {
            inbound.lost(cause);
        }
    }

    /// Tells the sinks that messages may have been dropped.
    pub(crate) fn doubted(&self) {
        self.untold.store(false, Ordering::Release);
        if let Some(inbound) = &self.inbound {
            inbound.doubt_about(|_| true, before_what_is_dropped());
        }
    }

    /// Since when what was dropped is in doubt, if the sinks were not told of it yet.
    pub(crate) fn untold(&self) -> Option<Instant> {
        self.untold.load(Ordering::Acquire).then(before_what_is_dropped)
    }

    /// From now on, what is refused belongs to the subscriptions that are asked for next.
    pub(crate) fn ask(&self) -> Since<'_> {
        let mut book = self.book();
        book.refused.clear();
        book.refused_one = None;
        drop(book);
        self.since_now()
    }

    pub(crate) fn since_now(&self) -> Since<'_> {
        Since {
            notices: self,
            events: self.events.load(Ordering::Relaxed),
            refused_publishes: self.refused_publishes.load(Ordering::Acquire),
        }
    }

    /// What the server has against publishing on a subject, as far as it told on this connection.
    pub(crate) fn unpublishable(&self, subject: &str) -> Option<Arc<str>> {
        if self.refused_publishes.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.book().unpublishable.get(subject).cloned()
    }

    /// Waits until the server says what it has against publishing on a subject, if it ever does.
    pub(crate) async fn refuses(&self, subject: &str) -> Arc<str> {
        loop {
            let mut told = pin!(self.refusal.notified());
            told.as_mut().enable();
            if let Some(reason) = self.unpublishable(subject) {
                return reason;
            }
            told.await;
        }
    }

    /// The server at the other end, as configured.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is dropped now was published later than that.
fn before_what_is_dropped() -> Instant {
    let now = Instant::now();
    now.checked_sub(BEHIND).unwrap_or(now)
}

/// What was told from some moment on. Asked for behind a fence, it is all there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since<'a> {
    notices: &'a Notices,
    events: u64,
    refused_publishes: u64,
}

impl Since<'_> {
    /// Whether nothing that was told was dropped.
    pub(crate) fn heard_all(&self) -> bool {
        self.notices.events.load(Ordering::Relaxed) - self.events < QUEUE
    }

    /// Whether the server refused a subscription without saying which.
    pub(crate) fn refused_one(&self) -> bool {
        self.notices.book().refused_one.is_some()
    }

    /// What the server has against a subscription; where it does not say which, against all of
    /// them.
    pub(crate) fn refusal(&self, subject: &str) -> Option<Arc<str>> {
        let book = self.notices.book();
        book.refused.get(subject).or(book.refused_one.as_ref()).cloned()
    }

    /// Whether a publish was refused.
    pub(crate) fn refused_publish(&self) -> bool {
        self.notices.refused_publishes.load(Ordering::Acquire) > self.refused_publishes
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
