//! What an author gives the kit: nodes on one medium, and what can be done to that medium.

use std::{fmt::Debug, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use backplane_core::{
    Backplane, Node, NodeOptions, Topic,
    chaos::{Chaos, ChaosHandle, ChaosOptions},
    wire::Wire,
};
use futures_util::future::try_join_all;

use super::{Doing, Outcome, Stop};
use crate::brokers::Broker;

/// A medium of one transport, for one scenario: its nodes share it with nobody else.
///
/// Only [`name`](Self::name) and [`node`](Self::node) must be written. Whatever else a fixture can
/// do it names in [`controls`](Self::controls); a scenario that needs more is reported as *not
/// applicable*.
///
/// Dropping the fixture ends the medium.
#[async_trait]
pub trait Fixture: Debug + Send + Sync + 'static {
    /// What it is, with its version: `redis 7.0.15`.
    fn name(&self) -> String;

    /// Starts a new node on the medium, whether or not that can be reached, and does not wait for
    /// it.
    ///
    /// # Errors
    ///
    /// What no amount of waiting heals.
    async fn node(&self, setup: Setup) -> Outcome<Arc<dyn Backplane>>;

    /// What can be done to the medium. Default: nothing.
    fn controls(&self) -> &[Control] {
        &[]
    }

    /// The servers that the medium consists of. Default: none. Whoever has some is provided with all that is
    /// done to all of them at once.
    fn brokers(&self) -> Vec<&Broker> {
        Vec::new()
    }

    /// Waits until the servers, which all answer, serve together. Default: they do.
    ///
    /// # Errors
    ///
    /// They do not, in time.
    async fn well(&self) -> Outcome {
        Ok(())
    }

    /// [`Control::Stop`]: ends the medium; returns when it is gone. Provided for [`brokers`](Self::brokers).
    ///
    /// # Errors
    ///
    /// It could not be ended.
    async fn stop(&self) -> Outcome {
        let brokers = some(self.brokers(), Control::Stop)?;
        try_join_all(brokers.into_iter().map(Broker::stop)).await.map(drop).doing("stopping it")
    }

    /// [`Control::Stop`]: starts it again at the same address, empty unless it keeps its data; returns when it
    /// answers. Provided for [`brokers`](Self::brokers), when they are [`well`](Self::well).
    ///
    /// # Errors
    ///
    /// It did not start.
    async fn start(&self) -> Outcome {
        let brokers = some(self.brokers(), Control::Stop)?;
        try_join_all(brokers.into_iter().map(Broker::start)).await.doing("starting it again")?;
        self.well().await
    }

    /// [`Control::Stop`]: ends the medium without a warning. Provided for [`brokers`](Self::brokers), and
    /// otherwise [`stop`](Self::stop).
    ///
    /// # Errors
    ///
    /// It could not be ended.
    async fn kill(&self) -> Outcome {
        match self.brokers() {
            none if none.is_empty() => self.stop().await,
            brokers => try_join_all(brokers.into_iter().map(Broker::kill))
                .await
                .map(drop)
                .doing("killing it"),
        }
    }

    /// [`Control::Stop`]: whether the log of a medium that keeps one ends with its process. What was stored
    /// and not read may be lost then, and has to be reported. Default: no.
    fn forgets(&self) -> bool {
        false
    }

    /// [`Control::Cut`]: ends all connections of this kind while the medium goes on.
    ///
    /// # Errors
    ///
    /// They could not be ended.
    async fn cut(&self, connections: Connections) -> Outcome {
        let _ = connections;
        Err(unable(Control::Cut))
    }

    /// [`Control::Pause`]: freezes the medium: connections stay, nothing is answered. Provided for
    /// [`brokers`](Self::brokers).
    ///
    /// # Errors
    ///
    /// It could not be frozen.
    async fn pause(&self) -> Outcome {
        let brokers = some(self.brokers(), Control::Pause)?;
        try_join_all(brokers.into_iter().map(Broker::pause)).await.map(drop).doing("pausing it")
    }

    /// [`Control::Pause`]: lets it go on. Provided for [`brokers`](Self::brokers).
    ///
    /// # Errors
    ///
    /// It does not go on.
    async fn resume(&self) -> Outcome {
        let brokers = some(self.brokers(), Control::Pause)?;
        brokers.into_iter().try_for_each(Broker::resume).doing("resuming it")
    }

    /// [`Control::Inject`]: sends bytes to the nodes that are interested in `topic`, as any
    /// stranger with access to the medium could; returns when the medium has taken them.
    ///
    /// # Errors
    ///
    /// The medium did not take them.
    async fn inject(&self, topic: &Topic, bytes: &[u8]) -> Outcome {
        let _ = (topic, bytes);
        Err(unable(Control::Inject))
    }

    /// [`Control::Census`]: asks the medium whom it knows.
    ///
    /// # Errors
    ///
    /// The medium did not answer.
    async fn census(&self) -> Outcome<Census> {
        Err(unable(Control::Census))
    }

    /// [`Control::Through`]: where the medium's servers listen, for a proxy in front of them. Provided for
    /// [`brokers`](Self::brokers).
    ///
    /// # Errors
    ///
    /// It listens nowhere.
    fn addresses(&self) -> Outcome<Vec<SocketAddr>> {
        let brokers = some(self.brokers(), Control::Through)?;
        Ok(brokers.into_iter().map(Broker::address).collect())
    }

    /// [`Control::Process`]: the URL by which a node of another process joins the medium; through these
    /// doors, one for each of [`addresses`](Self::addresses), or directly if there are none.
    ///
    /// # Errors
    ///
    /// No other process can.
    fn url(&self, through: &[SocketAddr]) -> Outcome<String> {
        let _ = through;
        Err(unable(Control::Process))
    }

    /// The processes that the medium consists of and that run now, for whoever measures them. Provided: those
    /// of [`brokers`](Self::brokers).
    fn processes(&self) -> Vec<u32> {
        self.brokers().into_iter().filter_map(Broker::pid).collect()
    }

    /// [`Control::Password`]: from now on the medium wants another password, also from nodes that
    /// are connected; returns when it does.
    ///
    /// # Errors
    ///
    /// It could not be changed.
    async fn change_password(&self) -> Outcome {
        Err(unable(Control::Password))
    }

    /// [`Control::Password`]: the password that nodes have is right again.
    ///
    /// # Errors
    ///
    /// It could not be changed.
    async fn restore_password(&self) -> Outcome {
        Err(unable(Control::Password))
    }

    /// [`Control::FailOver`]: kills, without a warning, the one server that serves; returns when another one
    /// serves in its place, and the old one was started again and has joined.
    ///
    /// # Errors
    ///
    /// Nobody took over, or the old one did not come back.
    async fn fail_over(&self) -> Outcome {
        Err(unable(Control::FailOver))
    }

    /// [`Control::Roll`]: restarts every server in an orderly way, one after the other, each when all are
    /// well.
    ///
    /// # Errors
    ///
    /// One did not come back.
    async fn roll(&self) -> Outcome {
        Err(unable(Control::Roll))
    }

    /// [`Control::LameDuck`]: tells the server that nodes are connected to, to send them away and end;
    /// returns when it has ended and was started again.
    ///
    /// # Errors
    ///
    /// It did not end, or did not come back.
    async fn lame_duck(&self) -> Outcome {
        Err(unable(Control::LameDuck))
    }

    /// [`Control::MoveTopics`]: moves topics from one server to another, while all of them live.
    ///
    /// # Errors
    ///
    /// They were not moved.
    async fn move_topics(&self) -> Outcome {
        Err(unable(Control::MoveTopics))
    }

    /// [`Control::Limit`]: ends connections made from now on when so many bytes wait to be read by
    /// their node.
    ///
    /// # Errors
    ///
    /// The limit could not be set.
    async fn limit_readers(&self, bytes: u32) -> Outcome {
        let _ = bytes;
        Err(unable(Control::Limit))
    }
}

/// Something that can be done to a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Control {
    /// [`Setup::prefix`] is followed.
    Prefix,
    /// [`Fixture::stop`] and [`Fixture::start`].
    Stop,
    /// [`Fixture::cut`].
    Cut,
    /// [`Fixture::pause`] and [`Fixture::resume`].
    Pause,
    /// [`Fixture::inject`].
    Inject,
    /// [`Fixture::census`].
    Census,
    /// [`Setup::through`] is followed, and [`Fixture::addresses`].
    Through,
    /// [`Fixture::url`].
    Process,
    /// [`Fixture::change_password`] and [`Fixture::restore_password`].
    Password,
    /// [`Fixture::limit_readers`].
    Limit,
    /// [`Setup::chaos`] is followed.
    Chaos,
    /// [`Fixture::fail_over`].
    FailOver,
    /// [`Fixture::roll`].
    Roll,
    /// [`Fixture::lame_duck`].
    LameDuck,
    /// [`Fixture::move_topics`].
    MoveTopics,
}

impl Control {
    /// What the fixture would have to do, in words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Prefix => "keep applications with different prefixes apart",
            Self::Stop => "stop and start the medium",
            Self::Cut => "cut connections",
            Self::Pause => "pause the medium",
            Self::Inject => "inject bytes",
            Self::Census => "ask the medium whom it knows",
            Self::Through => "put a proxy before the medium",
            Self::Process => "let nodes of other processes join",
            Self::Password => "change the medium's password",
            Self::Limit => "limit how far behind a reader may be",
            Self::Chaos => "put chaos before a node",
            Self::FailOver => "let one server fail and another one take over",
            Self::Roll => "restart one server after the other",
            Self::LameDuck => "tell a server to send its clients away",
            Self::MoveTopics => "move topics from one server to another",
        }
    }
}

/// These brokers, or that it can't be done as there are none.
fn some(brokers: Vec<&Broker>, control: Control) -> Outcome<Vec<&Broker>> {
    if brokers.is_empty() { Err(unable(control)) } else { Ok(brokers) }
}

pub(super) fn unable(control: Control) -> Stop {
    Stop::NotApplicable(format!("the fixture cannot {}", control.what()))
}

/// Which of the nodes' connections; where a node has only one, that is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connections {
    /// Those on which nodes receive.
    Receiving,
    /// Those on which nodes publish.
    Publishing,
}

/// How a node is to be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setup {
    /// The application's prefix; `None` is the transport's own default.
    pub prefix: Option<String>,
    /// Where to connect instead of to the medium itself: the doors of a proxy before it, one for each of
    /// [`Fixture::addresses`]. None: to the medium.
    pub through: Vec<SocketAddr>,
    /// What every transport's node has in common.
    pub options: NodeOptions,
    /// What is done to what arrives at the node, and the switch for it. [`Setup::start`] sees to it.
    pub chaos: Option<(ChaosOptions, ChaosHandle)>,
}

impl Setup {
    /// A node with these options, otherwise as its transport has it. In a scenario, take
    /// [`Stage::setup`](super::Stage::setup).
    #[must_use]
    pub const fn new(options: NodeOptions) -> Self {
        Self { prefix: None, through: Vec::new(), options, chaos: None }
    }

    /// Starts a node with these options on `wire`, behind chaos where there is to be some.
    ///
    /// # Errors
    ///
    /// The chaos contradicts itself.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn start(self, wire: impl Wire) -> Outcome<Arc<dyn Backplane>> {
        Ok(match self.chaos {
            None => Arc::new(Node::start(wire, self.options)),
            Some((chaos, switch)) => {
                let wire = Chaos::new(wire, chaos)?.switched_by(&switch);
                Arc::new(Node::start(wire, self.options))
            }
        })
    }

    /// The same, with this prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// The same, connecting through these doors of a proxy.
    #[must_use]
    pub fn through(mut self, doors: Vec<SocketAddr>) -> Self {
        self.through = doors;
        self
    }

    /// The same, with options changed.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(&mut NodeOptions)) -> Self {
        change(&mut self.options);
        self
    }
}

/// Whom a medium knows. The absolute numbers mean nothing (the one who asks may be among them);
/// scenarios compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Open connections.
    pub connections: u64,
    /// Subscriptions, over all connections.
    pub subscriptions: u64,
    /// Requests to subscribe or unsubscribe that it has got since it started, if it counts them.
    /// One request may name many topics.
    pub requests: Option<u64>,
}
