use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backplane_core::NodeId;
use tokio::time::Instant;

use crate::{
    ClaimError, ConnectionId, Hub,
    hub::Shared,
    routing::{Asker, Errand, Outcome, Question, Silence, Whom},
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
    /// In the order of announcement, or of their end.
    order: VecDeque<ConnectionId>,
    granted: HashMap<ConnectionId, Grant>,
    /// In the order in which they were granted.
    grants: BTreeMap<u64, ConnectionId>,
    latest: u64,
}

/// A connection that nobody has, or nobody any more.
#[derive(Debug)]
struct Announced {
    until: Instant,
    ended: bool,
}

/// A connection that a node has.
#[derive(Debug)]
struct Grant {
    /// Who it was granted to, and on which question: a repeated one is granted again.
    to: Asker,
    /// Until when it can be granted anew, if it is given back.
    until: Instant,
    number: u64,
}

/// How long it is remembered that a connection has ended: longer than its client's last requests are
/// on their way.
const ENDED_KEPT: Duration = Duration::from_secs(60);

/// Where a negotiated connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    At(NodeId),
    Ended,
    /// Announced, and not granted yet.
    Nowhere,
    Unknown,
}

impl Registrar {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), book: Mutex::default() }
    }

    fn announce(&self, id: &ConnectionId, keep: Duration) {
        let mut book = self.book();
        if !book.granted.contains_key(id) && !book.announced.contains_key(id) {
            book.note(
                id.clone(),
                Announced { until: Instant::now() + keep, ended: false },
                self.most,
            );
        }
    }

    pub(crate) fn grant(&self, id: &str, asker: Asker) -> Result<(), ClaimError> {
        let mut book = self.book();
        if let Some(grant) = book.granted.get(id) {
            let owner = Some(grant.to.0);
            return if grant.to == asker {
                Ok(())
            } else {
                Err(ClaimError::AlreadyClaimed { owner })
            };
        }
        let announced = book.announced.get(id).filter(|it| it.until > Instant::now());
        match announced {
            None => Err(ClaimError::Unknown),
            Some(Announced { ended: true, .. }) => Err(ClaimError::Ended),
            Some(Announced { until, .. }) => {
                let until = *until;
                book.grant(id, asker, until, self.most);
                Ok(())
            }
        }
    }

    /// Takes back what was granted on this question.
    pub(crate) fn revoke(&self, id: &str, asker: Asker) {
        let mut book = self.book();
        if book.granted.get(id).is_some_and(|grant| grant.to == asker)
            && let Some((id, grant)) = book.take(id)
        {
            book.note(id, Announced { until: grant.until, ended: false }, self.most);
        }
    }

    /// Another node has a connection than the one that it was granted to.
    pub(crate) fn moved(&self, id: &str, asker: Asker) {
        let mut book = self.book();
        if let Some(grant) = book.granted.get_mut(id) {
            grant.to = asker;
        } else if book.announced.get(id).is_some_and(|it| it.ended) {
            // The one that had it is gone, and this is heard of late.
            book.grant(id, asker, Instant::now(), self.most);
        }
    }

    /// A connection that `owner` has is no more.
    pub(crate) fn ended(&self, id: &str, owner: NodeId) {
        let mut book = self.book();
        if book.granted.get(id).is_some_and(|grant| grant.to.0 == owner) {
            book.end(id, self.most);
        }
    }

    /// A node is no more, nor are its connections.
    pub(crate) fn gone(&self, owner: NodeId) {
        let mut book = self.book();
        let its = book.granted.iter().filter(|(_, grant)| grant.to.0 == owner);
        let its: Vec<ConnectionId> = its.map(|(id, _)| id.clone()).collect();
        its.iter().for_each(|id| book.end(id, self.most));
    }

    pub(crate) fn whereabouts(&self, id: &str) -> Whereabouts {
        let book = self.book();
        match (book.granted.get(id), book.announced.get(id)) {
            (Some(grant), _) => Whereabouts::At(grant.to.0),
            (None, Some(Announced { ended: true, .. })) => Whereabouts::Ended,
            (None, Some(Announced { ended: false, .. })) => Whereabouts::Nowhere,
            (None, None) => Whereabouts::Unknown,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Notes a connection that nobody has. What has expired makes room, or else the oldest.
    fn note(&mut self, id: ConnectionId, announced: Announced, most: usize) {
        let now = Instant::now();
        while let Some(oldest) = self.order.front() {
            let expired = self.announced.get(oldest).is_none_or(|it| it.until <= now);
            if !expired && self.order.len() < most {
                break;
            }
            if let Some(oldest) = self.order.pop_front() {
                self.announced.remove(&oldest);
            }
        }
        self.announced.insert(id.clone(), announced);
        self.order.push_back(id);
    }

    fn grant(&mut self, id: &str, to: Asker, until: Instant, most: usize) {
        let Some((id, _)) = self.announced.remove_entry(id) else { return };
        if self.grants.len() >= most
            && let Some((_, oldest)) = self.grants.pop_first()
        {
            self.granted.remove(&oldest);
        }
        self.latest += 1;
        self.grants.insert(self.latest, id.clone());
        self.granted.insert(id, Grant { to, until, number: self.latest });
    }

    fn take(&mut self, id: &str) -> Option<(ConnectionId, Grant)> {
        let (id, grant) = self.granted.remove_entry(id)?;
        self.grants.remove(&grant.number);
        Some((id, grant))
    }

    fn end(&mut self, id: &str, most: usize) {
        if let Some((id, _)) = self.take(id) {
            self.note(id, Announced { until: Instant::now() + ENDED_KEPT, ended: true }, most);
        }
    }
}

/// A negotiated connection that was granted to this node. Dropping it tells the registrar that the
/// connection has ended.
#[derive(Debug)]
#[must_use = "dropping it says that the connection has ended"]
pub struct Ownership {
    hub: Arc<Shared>,
    id: ConnectionId,
    registrar: NodeId,
    /// Another node has it.
    moved: bool,
}

impl Ownership {
    pub(super) fn new(hub: &Arc<Shared>, id: &ConnectionId, registrar: NodeId) -> Self {
        Self { hub: Arc::clone(hub), id: id.clone(), registrar, moved: false }
    }

    /// Another node has the connection now, and tells the registrar itself.
    pub fn hand_over(mut self) {
        self.moved = true;
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if self.moved {
            return;
        }
        let local = &self.hub.local;
        if self.registrar == local.node {
            self.hub.registrar.ended(&self.id, local.node);
        } else {
            // Lost, it costs who asks for the connection later a question to this node.
            let errand = Errand::TellEnded(self.registrar, self.id.as_str().into());
            local.desk.bring(errand, &local.counters);
        }
    }
}

impl Hub {
    /// This node is the registrar of a negotiated connection for `keep`: it grants it once. From then
    /// on it knows which node has it, until that says that the connection has ended, or is gone.
    ///
    /// Those that wait and those that are granted are each bounded by
    /// [`HubOptions::announcements`](crate::HubOptions::announcements).
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
    pub async fn claim(
        &self,
        id: &ConnectionId,
        registrar: NodeId,
    ) -> Result<Ownership, ClaimError> {
        let hub = &self.0;
        let granted = || Ownership::new(hub, id, registrar);
        if registrar == self.node() {
            hub.registrar.grant(id, (registrar, hub.local.asking.number()))?;
            return Ok(granted());
        }
        let question = Question::Claim(id.as_str().into());
        match hub.routing.ask(Whom::Node(registrar), question).await {
            Ok(Outcome::Done | Outcome::DoneHereOnly) => Ok(granted()),
            Ok(Outcome::AlreadyClaimed(owner)) => Err(ClaimError::AlreadyClaimed { owner }),
            Ok(Outcome::Ended) => Err(ClaimError::Ended),
            Ok(Outcome::Failed(reason) | Outcome::Refused(reason))
            | Err(Silence::Unavailable(reason)) => Err(ClaimError::Unavailable { reason }),
            Err(Silence::Closed) => {
                Err(ClaimError::Unavailable { reason: "the backplane is closed".into() })
            }
            Ok(_) | Err(Silence::Nobody | Silence::Gone | Silence::TooLarge { .. }) => {
                Err(ClaimError::Unknown)
            }
        }
    }
}
