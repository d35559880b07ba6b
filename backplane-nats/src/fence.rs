use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_nats::{Client, Subject};
use tokio::sync::oneshot;

/// Messages of a session to itself.
///
/// A server handles what comes over one connection in order. So once a fence is back, the server
/// has handled all that was sent before it.
#[derive(Debug)]
pub(crate) struct Fences {
    subject: Subject,
    waiting: Mutex<Waiting>,
}

/// Who waits for a fence. One entry per call that is under way, and a node makes few at a time.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    ended: bool,
    fences: HashMap<u64, oneshot::Sender<()>>,
}

impl Fences {
    /// Fences on `subject`, to which the session is subscribed.
    pub(crate) fn new(subject: Subject) -> Self {
        Self { subject, waiting: Mutex::default() }
    }

    /// Sends a fence behind everything given to `client` so far; the answer comes with its return.
    /// `None` where the connection has ended.
    pub(crate) async fn send(&self, client: &Client) -> Option<oneshot::Receiver<()>> {
        let (returned, answer) = oneshot::channel();
        let number = {
            let mut waiting = self.waiting();
            if waiting.ended {
                return None;
            }
            waiting.next += 1;
            let number = waiting.next;
            waiting.fences.insert(number, returned);
            number
        };
        let bytes = number.to_le_bytes().to_vec();
        // It fails only where the client has ended, and then so has the connection.
        client.publish(self.subject.clone(), bytes.into()).await.ok()?;
        Some(answer)
    }

    /// A message arrived on the subject.
    pub(crate) fn returned(&self, payload: &[u8]) {
        let number = payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let waiting = number.and_then(|number| self.waiting().fences.remove(&number));
        if let Some(waiting) = waiting {
            // Nobody may wait any more.
            let _ = waiting.send(());
        }
    }

    /// The connection has ended: no fence returns any more.
    pub(crate) fn end(&self) {
        let mut waiting = self.waiting();
        waiting.ended = true;
        waiting.fences.clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
