//! The exchange as the hub's parts share it: one lock, which nobody holds while anything is sent.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use backplane_core::{ByteSize, Members, NodeId};
use tokio::{sync::Notify, time::Instant};

use super::{
    Moment, PresenceOptions, Present,
    directory::Index,
    exchange::{Action, Done, Exchange, Settings},
    message::{Change, Message, Unreadable},
    rules::Rules,
    watch::{Subject, Watching, index},
};
use crate::{ConnectionId, members::Member};

/// The largest body, where the transport carries as much: large enough for thousands of changes, and
/// soon through.
const LARGEST: u64 = 64 * 1024;

/// Who is where, as this node knows it.
#[derive(Debug)]
pub(crate) struct Register {
    exchange: RwLock<Exchange>,
    /// There is something to be told.
    stirred: Notify,
    ended: AtomicBool,
    started: Instant,
    pub(super) watched_events: usize,
}

/// The hub's own hold on its register, which ends with the hub.
#[derive(Debug)]
pub(crate) struct Book(Arc<Register>);

impl Register {
    pub(crate) fn new(
        node: NodeId,
        largest_body: ByteSize,
        options: &PresenceOptions,
    ) -> Arc<Self> {
        // A node's id is new with its process, so this orders all hubs of one name on one node.
        static EPOCHS: AtomicU64 = AtomicU64::new(1);
        let settings = Settings {
            heartbeat: options.heartbeat_every.max(Duration::from_millis(10)),
            limit: largest_body.as_u64().min(LARGEST) as usize,
            most_pending: 65_536,
            kept: 256 * 1024,
            rules: Rules::ALL,
        };
        let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            exchange: RwLock::new(Exchange::new(node, epoch, settings)),
            stirred: Notify::new(),
            ended: AtomicBool::new(false),
            started: Instant::now(),
            watched_events: options.watched_events,
        })
    }

    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    fn read(&self) -> RwLockReadGuard<'_, Exchange> {
        self.exchange.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Exchange> {
        self.exchange.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens to connections of this node. To be called with the connection's memberships locked, so
/// that everything is told in the order in which it happened.
impl Book {
    pub(crate) const fn new(register: Arc<Register>) -> Self {
        Self(register)
    }

    pub(crate) const fn register(&self) -> &Arc<Register> {
        &self.0
    }

    pub(crate) fn opened(&self, member: &Member) {
        let user = member.user_id().map(Arc::clone);
        self.changed(Change::Opened { connection: shared(&member.id), user });
    }

    pub(crate) fn closed(&self, member: &Member) {
        self.changed(Change::Closed { connection: shared(&member.id) });
    }

    pub(crate) fn joined(&self, member: &Member, group: &Arc<str>) {
        self.changed(Change::Joined { connection: shared(&member.id), group: Arc::clone(group) });
    }

    pub(crate) fn left(&self, member: &Member, group: &Arc<str>) {
        self.changed(Change::Left { connection: shared(&member.id), group: Arc::clone(group) });
    }

    fn changed(&self, change: Change) {
        let is_first = self.0.write().changed(change);
        if is_first {
            self.0.stirred.notify_one();
        }
    }
}

fn shared(id: &ConnectionId) -> Arc<str> {
    Arc::clone(id.shared())
}

impl Drop for Book {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.stirred.notify_one();
        let exchange = self.0.read();
        let directory = &exchange.directory;
        let watching = directory.groups.watching().chain(directory.users.watching());
        watching.for_each(|watching| watching.end());
    }
}

/// What the task that speaks with the other nodes does.
impl Register {
    pub(crate) fn link(&self, up: bool) {
        self.write().link(up, self.now());
    }

    pub(crate) fn members(&self, members: &Members) {
        let nodes: BTreeSet<NodeId> = members.nodes.iter().map(|member| member.node).collect();
        self.write().members(nodes, self.now());
    }

    pub(crate) fn heard(&self, node: NodeId, body: &[u8]) -> Result<(), Unreadable> {
        let message = Message::decode(body)?;
        self.write().heard(node, message, self.now());
        Ok(())
    }

    /// What is to be sent by now, and what was done since the last call.
    pub(crate) fn tick(&self) -> (Vec<Action>, Done) {
        let mut exchange = self.write();
        let actions = exchange.tick(self.now());
        (actions, exchange.done())
    }

    /// When [`tick`](Self::tick) is to be called, if nothing happens before.
    pub(crate) fn wake(&self) -> Instant {
        self.started + self.read().wake()
    }

    /// Waits until a connection of this node has changed, or the hub has ended.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn farewell(&self) -> Vec<Action> {
        self.write().farewell()
    }
}

/// What is asked about it.
impl Register {
    pub(super) fn indexed<T>(&self, subject: &Subject, ask: impl FnOnce(&Index, &str) -> T) -> T {
        let exchange = self.read();
        let directory = &exchange.directory;
        ask(index(subject, &directory.groups, &directory.users), subject.name())
    }

    pub(super) fn find(&self, connection: &str) -> Option<(Present, Vec<Arc<str>>)> {
        let exchange = self.read();
        exchange.directory.find(exchange.own(), connection)
    }

    /// Whether the link is up, and how many nodes are behind, as far as that can be told.
    pub(super) fn standing(&self) -> (bool, Option<usize>) {
        let exchange = self.read();
        (exchange.is_up(), exchange.behind(self.now()))
    }

    pub(super) fn watch(&self, subject: &Subject, watching: Arc<Watching>) {
        let mut exchange = self.write();
        if self.has_ended() {
            watching.end();
        }
        let directory = &mut exchange.directory;
        match subject {
            Subject::Group(name) => directory.groups.watch(name, watching),
            Subject::User(name) => directory.users.watch(name, watching),
        }
    }

    pub(super) fn unwatch(&self, subject: &Subject, watching: &Arc<Watching>) {
        let directory = &mut self.write().directory;
        match subject {
            Subject::Group(name) => directory.groups.unwatch(name, watching),
            Subject::User(name) => directory.users.unwatch(name, watching),
        }
    }
}
