use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backplane_core::NodeId;
use tokio::time::Instant;

use crate::{
    ClaimError, ConnectionId, Hub,
    routing::{Asker, Outcome, Question, Silence},
};

/// The connections that were negotiated here. Each is granted once.
#[derive(Debug)]
pub(crate) struct Registrar {
    most: usize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    announced: HashMap<ConnectionId, Announced>,
    /// In the order of announcement.
    order: VecDeque<ConnectionId>,
}

#[derive(Debug)]
struct Announced {
    until: Instant,
    /// Who it was granted to, and on which question: a repeated one is granted again.
    granted: Option<Asker>,
}

impl Registrar {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), book: Mutex::default() }
    }

    fn announce(&self, id: &ConnectionId, keep: Duration) {
        let now = Instant::now();
        let mut book = self.book();
        while let Some(oldest) = book.order.front() {
            let expired = book.announced.get(oldest).is_none_or(|it| it.until <= now);
            if !expired && book.order.len() < self.most {
                break;
            }
            if let Some(oldest) = book.order.pop_front() {
                book.announced.remove(&oldest);
            }
        }
        if !book.announced.contains_key(id) {
            book.announced.insert(id.clone(), Announced { until: now + keep, granted: None });
            book.order.push_back(id.clone());
        }
    }

    pub(crate) fn grant(&self, id: &str, asker: Asker) -> Result<(), ClaimError> {
        let mut book = self.book();
        let announced = book.announced.get_mut(id).filter(|it| it.until > Instant::now());
        let Some(announced) = announced else { return Err(ClaimError::Unknown) };
        match *announced.granted.get_or_insert(asker) {
            granted if granted == asker => Ok(()),
            _ => Err(ClaimError::AlreadyClaimed),
        }
    }

    /// Takes back what was granted on this question.
    pub(crate) fn revoke(&self, id: &str, asker: Asker) {
        if let Some(announced) = self.book().announced.get_mut(id) {
            announced.granted.take_if(|granted| *granted == asker);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// This node is the registrar of a negotiated connection for `keep`: it grants it once.
    ///
    /// Bounded by [`HubOptions::announcements`](crate::HubOptions::announcements).
    pub fn announce(&self, id: &ConnectionId, keep: Duration) {
        self.0.registrar.announce(id, keep);
    }

    /// Asks the registrar, which is this node or another one, to grant the connection. Once only.
    ///
    /// Cancelling it leaves open whether it was granted.
    ///
    /// # Errors
    ///
    /// Those of [`ClaimError`]; `Unknown` after a second where the registrar is gone, at once where it
    /// leaves or dies meanwhile.
    pub async fn claim(&self, id: &ConnectionId, registrar: NodeId) -> Result<(), ClaimError> {
        let hub = &*self.0;
        if registrar == self.node() {
            return hub.registrar.grant(id, (registrar, hub.local.asking.number()));
        }
        let question = Question::Claim(id.as_str().into());
        match hub.routing.ask_node(registrar, question).await {
            Ok(Outcome::Done | Outcome::DoneHereOnly) => Ok(()),
            Ok(Outcome::AlreadyClaimed) => Err(ClaimError::AlreadyClaimed),
            Ok(Outcome::Failed(reason) | Outcome::Refused(reason))
            | Err(Silence::Unavailable(reason)) => Err(ClaimError::Unavailable { reason }),
            Ok(Outcome::NotFound | Outcome::NotAnnounced | Outcome::Groups(_))
            | Err(Silence::Nobody | Silence::Gone) => Err(ClaimError::Unknown),
        }
    }
}
