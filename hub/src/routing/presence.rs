//! Presence on the backplane: one task per hub that keeps it.

use std::sync::Arc;

use backplane_core::{
    Backplane, Envelope, Event, NodeId, RouteKind, Sink, SubscribeError, Subscription, Topic,
};
use bytes::Bytes;
use tokio::{sync::mpsc, time::sleep_until};

use super::offer;
use crate::{
    members::Local,
    presence::{Action, Register, Unreadable},
};

/// The most that waits to be read. What comes on top is lost, which is seen at the next heartbeat.
const QUEUE: usize = 4096;

/// The largest body that is read: sixteen times what this version sends.
const LARGEST: usize = 1024 * 1024;

/// So many messages are read before something is sent.
const BATCH: usize = 64;

/// Where presence arrives.
#[derive(Debug)]
struct Ear {
    local: Arc<Local>,
    heard: mpsc::Sender<Heard>,
}

#[derive(Debug)]
enum Heard {
    Word(NodeId, Bytes),
    /// Something may have been lost, and the link is good again.
    Restored,
}

impl Sink for Ear {
    fn accept(&self, event: &Event) {
        let heard = match event {
            Event::Message(envelope) => {
                let Some(origin) = envelope.origin.filter(|_| envelope.body.len() <= LARGEST)
                else {
                    return self.local.counters.malformed.add(1);
                };
                if origin == self.local.node {
                    return;
                }
                Heard::Word(origin, envelope.body.clone())
            }
            Event::Restored => Heard::Restored,
            _ => return,
        };
        if self.heard.try_send(heard).is_err() {
            self.local.counters.dropped_presence.add(1);
        }
    }
}

/// What the task needs.
#[derive(Debug)]
pub(crate) struct Gossip {
    hub: Arc<str>,
    backplane: Arc<dyn Backplane>,
    local: Arc<Local>,
    register: Arc<Register>,
    heard: mpsc::Receiver<Heard>,
    everyone: Topic,
    /// Ends with the task.
    _subscription: Subscription,
}

/// The topic of those that keep presence for the hub, as no node is called; with a node, its own.
fn topic(hub: &str, node: Option<NodeId>) -> Topic {
    match node {
        Some(node) => Topic::new(hub, RouteKind::Node, &format!("presence {node}")),
        None => Topic::new(hub, RouteKind::Node, "presence"),
    }
}

impl Gossip {
    pub(crate) fn new(
        hub: &Arc<str>,
        backplane: &Arc<dyn Backplane>,
        local: &Arc<Local>,
        register: &Arc<Register>,
    ) -> Result<Self, SubscribeError> {
        let (sender, heard) = mpsc::channel(QUEUE);
        let ear: Arc<dyn Sink> = Arc::new(Ear { local: Arc::clone(local), heard: sender });
        let everyone = topic(hub, None);
        let own = topic(hub, Some(local.node));
        let subscription =
            backplane.subscribe(&[(everyone.clone(), Arc::clone(&ear)), (own, ear)])?;
        Ok(Self {
            hub: Arc::clone(hub),
            backplane: Arc::clone(backplane),
            local: Arc::clone(local),
            register: Arc::clone(register),
            heard,
            everyone,
            _subscription: subscription,
        })
    }

    /// Runs until the hub has ended, and tells the others.
    pub(crate) async fn run(mut self) {
        let register = Arc::clone(&self.register);
        let (mut link, mut members) = (self.backplane.link(), self.backplane.members());
        register.members(&members.borrow_and_update());
        register.link(link.borrow_and_update().is_up());
        while !register.has_ended() {
            tokio::select! {
                biased;
                Ok(()) = link.changed() => register.link(link.borrow_and_update().is_up()),
                Ok(()) = members.changed() => register.members(&members.borrow_and_update()),
                Some(heard) = self.heard.recv() => self.hear(heard),
                () = register.stirred() => {}
                () = sleep_until(register.wake()) => {}
            }
            self.speak().await;
        }
        self.speak().await;
        for action in register.farewell() {
            self.send(action).await;
        }
    }

    fn hear(&mut self, first: Heard) {
        let more = std::iter::from_fn(|| self.heard.try_recv().ok()).take(BATCH);
        for heard in [first].into_iter().chain(more) {
            match heard {
                Heard::Restored => self.register.link(self.backplane.link().borrow().is_up()),
                Heard::Word(node, body) => match self.register.heard(node, &body) {
                    Ok(()) => {}
                    Err(Unreadable::Malformed) => self.local.counters.malformed.add(1),
                    Err(Unreadable::UnknownKind) => self.local.counters.unknown.add(1),
                },
            }
        }
    }

    async fn speak(&self) {
        let (actions, done) = self.register.tick();
        let counters = &self.local.counters;
        counters.presence_asked.add(done.asked);
        counters.presence_snapshots.add(done.snapshots);
        counters.dropped_presence.add(done.refused);
        for action in actions {
            self.send(action).await;
        }
    }

    /// What does not arrive is asked for.
    async fn send(&self, action: Action) {
        let (topic, body) = match action {
            Action::Tell(body) => (self.everyone.clone(), body),
            Action::Send(node, body) => (topic(&self.hub, Some(node)), body),
        };
        let bytes = body.len() as u64;
        match offer(&*self.backplane, Envelope::new(topic, body).transient()).await {
            Ok(ticket) => {
                drop(ticket);
                self.local.counters.presence_sent.add(1);
                self.local.counters.presence_bytes.add(bytes);
            }
            Err(error) => tracing::debug!(hub = %self.hub, %error, "presence was not sent"),
        }
    }
}
