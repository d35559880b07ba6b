//! One node of a run, in this process or in one of its own.

use std::sync::{Arc, OnceLock};

use backplane_core::{Backplane, Sink, Subscription};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    FaultProxy, Load, Pace,
    journal::Journal,
    process::{NodeProcess, Task},
    publish::publish,
};
use crate::kit::{Doing, Outcome, SOON, Stop, within};

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It publishes and receives.
    Both,
    /// It only publishes.
    Publishes,
    /// It only receives.
    Receives,
}

impl Role {
    pub(super) const fn publishes(self) -> bool {
        matches!(self, Self::Both | Self::Publishes)
    }

    pub(super) const fn receives(self) -> bool {
        matches!(self, Self::Both | Self::Receives)
    }
}

/// Where a node runs.
#[derive(Debug)]
pub(super) enum Place {
    Here { node: Arc<dyn Backplane>, _watching: Watching },
    Process(Box<Elsewhere>),
}

/// A process, which may be started later.
#[derive(Debug)]
pub(super) struct Elsewhere {
    task: Task,
    tell_confirmed: watch::Sender<Option<u64>>,
    started: OnceLock<NodeProcess>,
}

/// One node of a run.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) place: Place,
    pub(super) journal: Arc<Journal>,
    pub(super) proxy: Option<FaultProxy>,
    /// When its interest was confirmed.
    pub(super) confirmed: watch::Receiver<Option<u64>>,
}

/// Ends a task with its owner.
#[derive(Debug)]
pub(super) struct Watching(Vec<JoinHandle<()>>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Notes how the node's link changes, from now on.
fn watch_link(node: &dyn Backplane, journal: &Arc<Journal>) -> JoinHandle<()> {
    let (mut link, journal) = (node.link(), Arc::clone(journal));
    tokio::spawn(async move {
        loop {
            let now = link.borrow_and_update().clone();
            journal.link(&now);
            if link.changed().await.is_err() {
                return;
            }
        }
    })
}

/// A node that is subscribed to all topics of its journal, and notes when that is confirmed.
pub(super) fn listen(
    node: &Arc<dyn Backplane>,
    journal: &Arc<Journal>,
    role: Role,
) -> Outcome<(Watching, watch::Receiver<Option<u64>>)> {
    let mut tasks = vec![watch_link(&**node, journal)];
    let (tell, confirmed) = watch::channel(None);
    let clock = journal.clock;
    if role.receives() {
        let sink = Arc::clone(journal) as Arc<dyn Sink>;
        let interest: Vec<_> =
            journal.topics.iter().map(|topic| (topic.clone(), Arc::clone(&sink))).collect();
        let subscription: Subscription = node.subscribe(&interest).doing("subscribing")?;
        tasks.push(tokio::spawn(async move {
            if subscription.confirmed().await.is_ok() {
                tell.send_replace(Some(clock.now()));
            }
            // The interest ends with this task.
            std::future::pending::<()>().await;
        }));
    } else {
        let mut link = node.link();
        tasks.push(tokio::spawn(async move {
            if link.wait_for(backplane_core::Link::is_up).await.is_ok() {
                tell.send_replace(Some(clock.now()));
            }
        }));
    }
    Ok((Watching(tasks), confirmed))
}

impl Member {
    /// A node in this process.
    pub(super) fn here(
        node: Arc<dyn Backplane>,
        journal: Arc<Journal>,
        role: Role,
        proxy: Option<FaultProxy>,
    ) -> Outcome<Self> {
        let (watching, confirmed) = listen(&node, &journal, role)?;
        let place = Place::Here { node, _watching: watching };
        Ok(Self { role, place, journal, proxy, confirmed })
    }

    /// A node that will be a process of its own.
    pub(super) fn elsewhere(
        task: Task,
        journal: Arc<Journal>,
        role: Role,
        proxy: Option<FaultProxy>,
    ) -> Self {
        let (tell_confirmed, confirmed) = watch::channel(None);
        let place = Elsewhere { task, tell_confirmed, started: OnceLock::new() };
        Self { role, place: Place::Process(Box::new(place)), journal, proxy, confirmed }
    }

    /// Waits until it is ready: connected, and confirmed if it receives.
    pub(super) async fn ready(&self) -> Outcome<u64> {
        let mut confirmed = self.confirmed.clone();
        let ready = within(SOON, "a node to be confirmed", confirmed.wait_for(Option::is_some));
        let at = match ready.await {
            Ok(at) => at.doing("waiting for a node")?.unwrap_or_default(),
            Err(stop) => return Err(stop).doing(format!("{:?}", self.journal.link_changes().1)),
        };
        Ok(at)
    }

    /// The node's id, in words.
    pub(super) fn id(&self) -> String {
        match &self.place {
            Place::Here { node, .. } => node.node().to_string(),
            Place::Process(_) => self.process().map(NodeProcess::id).unwrap_or_default(),
        }
    }

    /// The node, if it is in this process.
    pub(super) fn node(&self) -> Outcome<&Arc<dyn Backplane>> {
        match &self.place {
            Place::Here { node, .. } => Ok(node),
            Place::Process(_) => Err(Stop::Broken("that node is another process".to_owned())),
        }
    }

    /// The node's process, if it has one of its own.
    pub(super) fn process(&self) -> Outcome<&NodeProcess> {
        match &self.place {
            Place::Process(it) => {
                let process = it.started.get();
                process.ok_or_else(|| Stop::Broken("that node is not started yet".to_owned()))
            }
            Place::Here { .. } => Err(Stop::Broken("that node has no process".to_owned())),
        }
    }

    /// Starts the node's process, which has not been started yet.
    pub(super) async fn start(&self) -> Outcome {
        let Place::Process(it) = &self.place else { return Ok(()) };
        let (journal, tell) = (Arc::clone(&self.journal), it.tell_confirmed.clone());
        let process = NodeProcess::start(&it.task, journal, tell).await?;
        let again = "that node's process runs already";
        it.started.set(process).map_err(|_| Stop::Broken(again.to_owned()))
    }

    /// Begins to publish its share; the answer is the task to wait for, if it is in this process.
    pub(super) fn begin(
        &self,
        share: f64,
        load: &Load,
        pace: watch::Receiver<Pace>,
    ) -> Outcome<Option<JoinHandle<()>>> {
        match &self.place {
            _ if !self.role.publishes() => Ok(None),
            Place::Here { node, .. } => {
                let (node, journal) = (Arc::clone(node), Arc::clone(&self.journal));
                Ok(Some(tokio::spawn(publish(node, journal, share, load.size, pace))))
            }
            Place::Process(_) if self.is_dead() => Ok(None),
            Place::Process(_) => self.process()?.say("start").map(|()| None),
        }
    }

    /// Whether it was killed, or is not started yet.
    pub(super) fn is_dead(&self) -> bool {
        match &self.place {
            Place::Here { .. } => false,
            Place::Process(it) => it.started.get().is_none_or(NodeProcess::is_dead),
        }
    }
}
