//! The task that knows where every channel is subscribed, and moves it when its slot moves.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use backplane_core::{LinkError, Topic, wire::Refused};
use futures_util::future::try_join_all;
use redis::{RedisError, RedisResult, Value};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, timeout},
};

use super::{
    answer::Answer,
    master::Master,
    pauses::Pauses,
    receive::Change,
    routes::Shared,
    slot::slot_of,
    survey::{Found, Survey},
    view::Epochs,
};
use crate::{channel::Channels, error, pubsub::publishing};

/// How often every master is asked whether it is there, and whether slots have moved.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How long a master may take to answer that: above any pause that a healthy one makes.
const CHECK_WITHIN: Duration = Duration::from_secs(3);

/// How long slots may take to get from one master to another, or a group of subscriptions to be confirmed.
const WORK_WITHIN: Duration = Duration::from_secs(5);

/// How long a slot may be nobody's.
const ORPHANED_FOR: Duration = Duration::from_secs(2);

/// What the session wants, with the way back.
pub(super) enum Request {
    Subscribe(Vec<Topic>, oneshot::Sender<Vec<Refused<Topic>>>),
    Unsubscribe(Vec<Topic>, oneshot::Sender<()>),
    /// Routes that are newer than those seen.
    Refresh {
        seen: u64,
        done: oneshot::Sender<()>,
    },
    /// That all that a replica was given for this slot's master has arrived there.
    Fence {
        replica: Arc<Master>,
        slot: u16,
        done: oneshot::Sender<()>,
    },
}

pub(super) struct Switchboard {
    channels: Channels,
    shared: Arc<Shared>,
    survey: Survey,
    epochs: Vec<(u64, Epochs)>,
    /// Where each channel is subscribed.
    places: HashMap<String, Place>,
    /// Whether there are new routes since the last check.
    changed: bool,
    proven: Arc<Proven>,
}

/// When all masters were last seen to be there, and to own what they own by the routes.
#[derive(Debug)]
pub(super) struct Proven(Mutex<[Instant; 2]>);

impl Proven {
    pub(super) fn new() -> Self {
        Self(Mutex::new([Instant::now(); 2]))
    }

    /// The check that was begun then has found nothing.
    fn passed(&self, begun: Instant) {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *checks = [begun, checks[0]];
    }

    /// The check before the last one: a new owner takes a slot a moment before the old one knows.
    pub(super) fn at(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[1]
    }
}

struct Place {
    topic: Topic,
    master: u64,
}

/// What is to be subscribed at one master.
struct Group {
    master: Arc<Master>,
    channels: Vec<String>,
    topics: Vec<Topic>,
}

impl Group {
    fn at(master: &Arc<Master>) -> Self {
        Self { master: Arc::clone(master), channels: Vec::new(), topics: Vec::new() }
    }

    /// Returns what was refused, by place.
    async fn subscribe(&self) -> RedisResult<Vec<(usize, RedisError)>> {
        self.master.receiving.change(Change::Subscribe, &self.channels).await
    }
}

impl Switchboard {
    pub(super) fn new(
        channels: Channels,
        survey: Survey,
        epochs: Vec<(u64, Epochs)>,
        shared: Arc<Shared>,
        proven: Arc<Proven>,
    ) -> Self {
        let places = HashMap::new();
        Self { channels, shared, survey, epochs, places, changed: false, proven }
    }

    /// Serves until something fails that only a new connection heals.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let lost = Arc::clone(&self.survey.lost);
        let mut checks = tokio::time::interval(CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cause = loop {
            let done = tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => within(self.serve(request)).await,
                    None => return,
                },
                () = lost.some() => within(self.follow()).await,
                _ = checks.tick() => within(self.check()).await,
            };
            if let Err(cause) = done {
                break cause;
            }
        };
        self.survey.inbound.lost(cause);
    }

    async fn serve(&mut self, request: Request) -> Result<(), LinkError> {
        // Whoever does not wait any more has given the connection up.
        match request {
            Request::Subscribe(topics, done) => {
                let _ = done.send(self.subscribe(topics).await?);
            }
            Request::Unsubscribe(topics, done) => {
                self.unsubscribe(&topics).await?;
                let _ = done.send(());
            }
            Request::Refresh { seen, done } => {
                if self.shared.routes().version == seen {
                    self.refresh().await?;
                }
                let _ = done.send(());
            }
            Request::Fence { replica, slot, done } => {
                self.fence(&replica, slot).await?;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    /// Sends a token the same way and waits for it at the other end: servers pass on in order.
    async fn fence(&mut self, replica: &Arc<Master>, slot: u16) -> Result<(), LinkError> {
        if self.shared.routes().owner(slot).number == replica.number {
            self.refresh().await?;
        }
        let routes = self.shared.routes();
        let owner = routes.owner(slot);
        if owner.number == replica.number {
            return Ok(()); // it is a master again
        }
        let is_owners = |channel: &String| routes.owner(slot_of(channel)).number == owner.number;
        // No topic's channel has so few parts.
        let mut channels =
            (0_u32..).map(|number| format!("{}fence/{number}", self.channels.spare()));
        let Some(channel) = channels.find(is_owners) else { return Ok(()) };
        let channel = [channel];
        let token = format!("fence {:x}", RandomState::new().hash_one(slot));
        let arrived = owner.receiving.arrival(token.clone());
        let round_trip = async {
            let refused = owner.receiving.change(Change::Subscribe, &channel).await?;
            if let Some((_, error)) = refused.into_iter().next() {
                return Err(error);
            }
            publishing("SPUBLISH", &channel[0], token.as_bytes())
                .query_async::<Value>(&mut replica.publishing.clone())
                .await?;
            // The sender lives as long as the connection.
            let _ = arrived.await;
            owner.receiving.change(Change::Unsubscribe, &channel).await.map(drop)
        };
        round_trip.await.map_err(|error| error::lost(&error))
    }

    /// Subscribes with the owners: in one round trip to each, unless slots have moved.
    async fn subscribe(&mut self, topics: Vec<Topic>) -> Result<Vec<Refused<Topic>>, LinkError> {
        let mut left: Vec<(String, Topic)> =
            topics.into_iter().map(|topic| (self.channels.of(&topic), topic)).collect();
        let mut refused = Vec::new();
        let mut pauses = Pauses::default();
        while !left.is_empty() {
            let routes = self.shared.routes();
            let mut groups: HashMap<u64, Group> = HashMap::new();
            for (channel, topic) in left.drain(..) {
                let owner = routes.owner(slot_of(&channel));
                let group = groups.entry(owner.number).or_insert_with(|| Group::at(owner));
                group.channels.push(channel);
                group.topics.push(topic);
            }
            let answers = try_join_all(groups.values().map(Group::subscribe)).await;
            let answers = answers.map_err(|error| error::lost(&error))?;
            for (Group { master, channels, topics }, refusals) in groups.into_values().zip(answers)
            {
                let mut refusals = refusals.into_iter().peekable();
                for (number, (channel, topic)) in channels.into_iter().zip(topics).enumerate() {
                    let Some((_, error)) = refusals.next_if(|(place, _)| *place == number) else {
                        self.places.insert(channel, Place { topic, master: master.number });
                        continue;
                    };
                    match Answer::of(&error) {
                        Answer::Moved => left.push((channel, topic)),
                        Answer::Refused => {
                            let reason = error::answer(&error).into();
                            refused.push(Refused { what: topic, reason });
                        }
                        Answer::Lost => return Err(error::lost(&error)),
                    }
                }
            }
            if !left.is_empty() {
                pauses.pause().await;
                self.refresh().await?;
            }
        }
        Ok(refused)
    }

    async fn unsubscribe(&mut self, topics: &[Topic]) -> Result<(), LinkError> {
        let places = topics.iter().filter_map(|topic| {
            let channel = self.channels.of(topic);
            let place = self.places.remove(&channel)?;
            Some((channel, place.master))
        });
        let places = places.collect();
        self.leave(places).await
    }

    /// Unsubscribes where the channels are subscribed. A server that does not own the slot any more has done so
    /// by itself.
    async fn leave(&self, places: Vec<(String, u64)>) -> Result<(), LinkError> {
        let mut groups: HashMap<u64, Vec<String>> = HashMap::new();
        for (channel, master) in places {
            groups.entry(master).or_default().push(channel);
        }
        let groups = groups
            .iter()
            .filter_map(|(number, channels)| Some((self.survey.master(*number)?, channels)));
        let asked =
            groups.map(|(master, channels)| master.receiving.change(Change::Unsubscribe, channels));
        let refusals = try_join_all(asked).await.map_err(|error| error::lost(&error))?;
        for (_, error) in refusals.into_iter().flatten() {
            if Answer::of(&error) != Answer::Moved {
                return Err(error::lost(&error));
            }
        }
        Ok(())
    }

    /// Moves what servers have given up by themselves to the new owners.
    async fn follow(&mut self) -> Result<(), LinkError> {
        let mut moved = Vec::new();
        let mut stale = false;
        let routes = self.shared.routes();
        for (channel, by) in self.survey.lost.take() {
            // Otherwise it was given up here too, or has moved since.
            if let Some(place) = self.places.remove(&channel) {
                if self.survey.master(place.master).is_some_and(|it| it.address != by) {
                    self.places.insert(channel, place);
                    continue;
                }
                stale |= routes.owner(slot_of(&channel)).number == place.master;
                moved.push(place.topic);
            }
        }
        if stale {
            self.refresh().await?;
        }
        self.resume(moved).await
    }

    /// Subscribes again, and says that something may have been lost meanwhile.
    async fn resume(&mut self, topics: Vec<Topic>) -> Result<(), LinkError> {
        if topics.is_empty() {
            return Ok(());
        }
        let since = self.proven.at();
        let refused = self.subscribe(topics.clone()).await?;
        if let Some(Refused { what, reason }) = refused.into_iter().next() {
            let reason = format!("the new master of {what} refuses it: {reason}");
            return Err(LinkError::Lost { reason });
        }
        tracing::info!(topics = topics.len(), "followed slots to their new masters");
        let topics: HashSet<Topic> = topics.into_iter().collect();
        self.survey.inbound.doubt_about(|topic| topics.contains(topic), since);
        Ok(())
    }

    /// Looks whether every master is there, and whether any has heard of a change.
    async fn check(&mut self) -> Result<(), LinkError> {
        let sent = Instant::now();
        let asked = self.survey.masters().iter().map(async |master| {
            let both = async {
                tokio::try_join!(Epochs::ask(&master.publishing), master.receiving.ping())
            };
            match timeout(CHECK_WITHIN, both).await {
                Ok(Ok((epochs, ()))) => Ok((master.number, epochs)),
                Ok(Err(error)) => Err(error::lost(&error)),
                Err(_) => Err(LinkError::Lost {
                    reason: format!(
                        "the master at {} has not answered for {CHECK_WITHIN:?}",
                        master.address
                    ),
                }),
            }
        });
        let epochs = try_join_all(asked).await?;
        let is_known = |seen: &(u64, Epochs)| self.epochs.contains(seen);
        if !epochs.iter().all(is_known) {
            self.refresh().await?;
        }
        if std::mem::take(&mut self.changed) {
            self.part().await?;
        }
        self.proven.passed(sent);
        Ok(())
    }

    /// Leaves masters that do not own any more what is subscribed there: those that have become replicas do
    /// not say so.
    async fn part(&mut self) -> Result<(), LinkError> {
        let routes = self.shared.routes();
        let owns =
            |channel: &str, place: &Place| routes.owner(slot_of(channel)).number == place.master;
        let parted = self.places.extract_if(|channel, place| !owns(channel, place));
        let (mut places, mut topics) = (Vec::new(), Vec::new());
        for (channel, Place { topic, master }) in parted {
            places.push((channel, master));
            topics.push(topic);
        }
        self.leave(places).await?;
        self.resume(topics).await?;
        self.let_go();
        Ok(())
    }

    /// Finds out who owns what.
    async fn refresh(&mut self) -> Result<(), LinkError> {
        let version = self.shared.routes().version + 1;
        let until = Instant::now() + ORPHANED_FOR;
        let mut pauses = Pauses::default();
        let Found { routes, epochs, .. } = loop {
            match self.survey.run(version, []).await {
                Ok(found) => break found,
                Err(cause) if Instant::now() > until => return Err(cause),
                Err(_) => pauses.pause().await,
            }
        };
        tracing::debug!(?routes, "the cluster has changed");
        self.shared.replace(routes);
        self.epochs = epochs;
        self.changed = true;
        self.let_go();
        Ok(())
    }

    /// Ends the connections to masters that own nothing, and at which nothing is subscribed.
    fn let_go(&mut self) {
        let routes = self.shared.routes();
        let mut needed: HashSet<u64> = routes.masters.iter().map(|it| it.number).collect();
        needed.extend(self.places.values().map(|place| place.master));
        self.survey.keep(|master| needed.contains(&master.number));
    }
}

async fn within(work: impl Future<Output = Result<(), LinkError>>) -> Result<(), LinkError> {
    match timeout(WORK_WITHIN, work).await {
        Ok(done) => done,
        Err(_) => {
            let doing = "following the slots of the cluster";
            Err(LinkError::TimedOut { doing, waited: WORK_WITHIN })
        }
    }
}

/// The switchboard has ended, and said why.
pub(super) fn gone() -> LinkError {
    LinkError::Lost { reason: "the connections to the cluster have ended".to_owned() }
}
