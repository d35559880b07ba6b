//! What a fault is staged with.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backplane_core::{
    Backplane, NodeOptions, Subscription,
    chaos::{ChaosHandle, ChaosOptions},
};

use super::{
    FaultProxy, Load,
    judge::Excuses,
    member::{Member, Role},
    process::NodeProcess,
};
use crate::kit::{Control, Fixture, Outcome, Random, SOON, Stop, eventually};

/// How a scenario wants its nodes and its medium.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// What the fixture must be able to do.
    pub(super) needs: &'static [Control],
    /// Whether the medium is down when the nodes start.
    pub(super) begins_down: bool,
    /// Whether the last node is a process of its own.
    pub(super) process: bool,
    /// Whether there is one more process, of the same role, that is not started yet.
    pub(super) spare: bool,
    /// What each of so many nodes does.
    pub(super) roles: fn(usize, usize) -> Role,
    /// Changes the options of the nodes of this process.
    pub(super) options: fn(&mut NodeOptions),
    /// While the fault lasts, nodes publish as fast as they may.
    pub(super) flat_out: bool,
    /// Connections end when so many bytes wait for their reader.
    pub(super) limit: Option<u32>,
    /// Bodies are made larger, so that at least so much is published.
    pub(super) bytes_per_second: u32,
    /// How long it is published for at least.
    pub(super) least: Duration,
    /// What is done to what arrives at a node, by its seed, while the chaos is switched on. Only with a
    /// layer that numbers: without, it loses in silence.
    pub(super) chaos: Option<fn(u64) -> ChaosOptions>,
    pub(super) excuses: Excuses,
}

impl Plan {
    pub(super) const PLAIN: Self = Self {
        needs: &[],
        begins_down: false,
        process: false,
        spare: false,
        roles: |_, _| Role::Both,
        options: |_| {},
        flat_out: false,
        limit: None,
        bytes_per_second: 0,
        least: Duration::ZERO,
        chaos: None,
        excuses: Excuses::NONE,
    };

    pub(super) fn wants_proxies(&self) -> bool {
        self.needs.contains(&Control::Through)
    }
}

/// A run that is under way: the medium, the nodes under load, and the proxies before them.
#[derive(Debug)]
pub struct Scene {
    pub(super) medium: Arc<dyn Fixture>,
    pub(super) members: Vec<Member>,
    pub(super) load: Load,
    /// How often each link had changed when the fault began.
    pub(super) changes: Mutex<Vec<usize>>,
    /// Interest that a scenario adds; it ends with the run.
    pub(super) kept: Mutex<Vec<Subscription>>,
    /// Switches the chaos of all nodes.
    pub(super) chaos: ChaosHandle,
}

impl Scene {
    /// The medium.
    #[must_use]
    pub fn medium(&self) -> &dyn Fixture {
        &*self.medium
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.load.nodes
    }

    /// Starts the spare node, as the next incarnation of the one before it: it publishes what that
    /// did.
    ///
    /// # Errors
    ///
    /// There is none, or it does not start.
    pub async fn start_spare(&self) -> Outcome {
        let spare = self.member(self.load.nodes)?;
        spare.start().await?;
        spare.ready().await?;
        if spare.role.publishes() { spare.process()?.say("start") } else { Ok(()) }
    }

    /// Randomness that follows from the run's seed.
    #[must_use]
    pub const fn random(&self) -> Random {
        Random::new(self.load.seed)
    }

    /// The proxy before that node.
    ///
    /// # Errors
    ///
    /// It has none.
    pub fn proxy(&self, node: usize) -> Outcome<&FaultProxy> {
        let proxy = self.member(node)?.proxy.as_ref();
        proxy.ok_or_else(|| Stop::Broken(format!("node {node} has no proxy")))
    }

    /// All proxies.
    pub fn proxies(&self) -> impl Iterator<Item = &FaultProxy> {
        self.members.iter().filter_map(|member| member.proxy.as_ref())
    }

    /// That node.
    ///
    /// # Errors
    ///
    /// It is another process.
    pub fn node(&self, node: usize) -> Outcome<&Arc<dyn Backplane>> {
        self.member(node)?.node()
    }

    /// That node's process.
    ///
    /// # Errors
    ///
    /// It has none of its own.
    pub fn process(&self, node: usize) -> Outcome<&NodeProcess> {
        self.member(node)?.process()
    }

    /// The switch for the chaos before all nodes; off until a scenario switches it on.
    #[must_use]
    pub const fn chaos(&self) -> &ChaosHandle {
        &self.chaos
    }

    /// Lets the fault last, and the load go on, for this long.
    pub async fn lasts(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until the link of that node was not up at some time since the fault began.
    ///
    /// # Errors
    ///
    /// It notices nothing in time.
    pub async fn noticed(&self, node: usize) -> Outcome {
        let before = self.changes_before(node);
        let journal = &self.member(node)?.journal;
        let check = async || match journal.was_down_since(before) {
            true => Ok(Ok(())),
            false => Ok(Err("it is up".to_owned())),
        };
        eventually(SOON * 2, format!("node {node} to notice"), check).await
    }

    fn changes_before(&self, node: usize) -> usize {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.get(node).copied().unwrap_or_default()
    }

    /// Waits until the link of that node is up.
    ///
    /// # Errors
    ///
    /// It is not, in time.
    pub async fn up(&self, node: usize) -> Outcome {
        self.link(node, "to be up again", |cause| cause.is_empty()).await
    }

    /// Waits until the link of that node is down for a cause that holds this word.
    ///
    /// # Errors
    ///
    /// It is not, in time.
    pub async fn down_for(&self, node: usize, word: &str) -> Outcome {
        self.link(node, &format!("to be down for {word}"), |cause| cause.contains(word)).await
    }

    async fn link(
        &self,
        node: usize,
        what: &str,
        wanted: impl Fn(&str) -> bool + Send + Sync,
    ) -> Outcome {
        let journal = &self.member(node)?.journal;
        let check = async || {
            let (_, last) = journal.link_changes();
            let cause = last.map_or_else(|| "unknown".to_owned(), |change| change.cause);
            Ok(if wanted(&cause) { Ok(()) } else { Err(cause) })
        };
        eventually(SOON, format!("the link of node {node} {what}"), check).await
    }

    /// Starts anew to look whether links notice.
    pub fn forget_what_was_noticed(&self) {
        let now = self.members.iter().map(|member| member.journal.link_changes().0).collect();
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Keeps this interest until the run is over.
    pub fn keep(&self, subscription: Subscription) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(subscription);
    }

    fn member(&self, node: usize) -> Outcome<&Member> {
        self.members.get(node).ok_or_else(|| Stop::Broken(format!("there is no node {node}")))
    }
}
