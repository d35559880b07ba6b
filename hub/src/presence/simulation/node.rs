//! A node of the simulation: an exchange, what is really so, and somebody who watches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use backplane_core::NodeId;

use super::world::WATCHED;
use crate::presence::{
    Moment, PresenceEvent,
    exchange::{Exchange, Settings},
    message::Change,
    watch::{Watching, drained},
};

/// What is so: each connection with its user and its groups.
pub(super) type Truth = BTreeMap<String, (Option<String>, BTreeSet<String>)>;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) exchange: Exchange,
    pub(super) truth: Truth,
    pub(super) up: bool,
    /// Whether its process runs.
    pub(super) lives: bool,
    /// Whether it has the hub.
    pub(super) serves: bool,
    pub(super) killed: Moment,
    pub(super) cut: Moment,
    pub(super) next_tick: u64,
    watching: Arc<Watching>,
    /// What somebody knows who has followed one group from the start.
    pub(super) watched: BTreeSet<(String, NodeId)>,
    pub(super) lagged: u64,
}

impl Node {
    pub(super) fn new(id: NodeId, epoch: u64, settings: Settings, capacity: usize) -> Self {
        let mut exchange = Exchange::new(id, epoch, settings);
        let watching = Watching::new(capacity);
        exchange.directory.groups.watch(WATCHED, Arc::clone(&watching));
        Self {
            id,
            exchange,
            truth: Truth::new(),
            up: false,
            lives: true,
            serves: true,
            killed: Moment::ZERO,
            cut: Moment::ZERO,
            next_tick: 0,
            watching,
            watched: BTreeSet::new(),
            lagged: 0,
        }
    }

    pub(super) fn open(&mut self, connection: &str, user: Option<&str>) {
        let opened = (user.map(str::to_owned), BTreeSet::new());
        self.truth.insert(connection.to_owned(), opened);
        let user = user.map(Arc::from);
        self.exchange.changed(Change::Opened { connection: connection.into(), user });
    }

    pub(super) fn close(&mut self, connection: &str) {
        if self.truth.remove(connection).is_some() {
            self.exchange.changed(Change::Closed { connection: connection.into() });
        }
    }

    pub(super) fn join(&mut self, connection: &str, group: &str) {
        if let Some((_, groups)) = self.truth.get_mut(connection)
            && groups.insert(group.to_owned())
        {
            let (connection, group) = (connection.into(), group.into());
            self.exchange.changed(Change::Joined { connection, group });
        }
    }

    pub(super) fn leave(&mut self, connection: &str, group: &str) {
        if let Some((_, groups)) = self.truth.get_mut(connection)
            && groups.remove(group)
        {
            let (connection, group) = (connection.into(), group.into());
            self.exchange.changed(Change::Left { connection, group });
        }
    }

    pub(super) fn members(&mut self, members: BTreeSet<NodeId>, now: Moment) {
        self.exchange.members(members, now);
    }

    /// The watcher reads what there is.
    pub(super) fn follow(&mut self) {
        for event in drained(&self.watching, &self.exchange.directory.groups, WATCHED) {
            match event {
                PresenceEvent::Snapshot { present, skipped } => {
                    self.lagged += u64::from(skipped > 0);
                    self.watched =
                        present.iter().map(|it| (it.connection().to_string(), it.node())).collect();
                }
                PresenceEvent::Joined(it) => {
                    let new = self.watched.insert((it.connection().to_string(), it.node()));
                    assert!(new, "{it:?} joined twice");
                }
                PresenceEvent::Left(it) => {
                    let was = self.watched.remove(&(it.connection().to_string(), it.node()));
                    assert!(was, "{it:?} left without having joined");
                }
            }
        }
    }

    /// What it shows of a node.
    pub(super) fn shows(&self, node: NodeId) -> Truth {
        let mut shown = Truth::new();
        for change in self.exchange.directory.described(node) {
            match change {
                Change::Opened { connection, user } => {
                    let user = user.map(|user| user.to_string());
                    shown.insert(connection.to_string(), (user, BTreeSet::new()));
                }
                Change::Joined { connection, group } => {
                    let (_, groups) = shown.get_mut(&*connection).unwrap();
                    groups.insert(group.to_string());
                }
                other => panic!("{other:?} describes nothing"),
            }
        }
        shown
    }
}
