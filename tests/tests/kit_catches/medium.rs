//! A small medium in this process that is honest, or has one fault.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use backplane_core::{
    Backplane, ByteSize, Delivery, Durability, Filter, LinkError, Node, Order, Position,
    PublisherOutage, Receipt, Replay, Semantics, SubscriberOutage, Topic,
    wire::{Batch, Inbound, Reader, Refused, Session, Wire},
};
use backplane_tests::kit::{Census, Connections, Control, Fixture, Outcome, Setup};
use tokio::sync::watch;

use crate::{fault::Fault, layer::Layer, log::Log};

/// What a change of subscriptions takes: enough for more changes to come together meanwhile.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// The fixture: every node of it is on the same medium.
#[derive(Debug, Clone)]
pub(crate) struct Medium {
    fault: Fault,
    /// What it keeps, if it keeps anything.
    log: Option<Log>,
    state: Arc<Mutex<State>>,
    count: Arc<AtomicU64>,
    paused: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    cuts: u64,
    next: u64,
    sessions: HashMap<u64, Inbound>,
    routes: HashMap<String, Vec<u64>>,
    requests: u64,
    /// The latest frame of each channel.
    latest: HashMap<String, Vec<u8>>,
    /// What waits to be overtaken.
    held: Option<(Inbound, Vec<u8>)>,
}

impl Medium {
    pub(crate) fn with(fault: Fault) -> Self {
        Self {
            fault,
            log: None,
            state: Arc::default(),
            count: Arc::default(),
            paused: watch::Sender::new(false),
        }
    }

    /// The same, and it keeps what is written for whoever wants to read it.
    pub(crate) fn that_keeps(fault: Fault) -> Self {
        Self { log: Some(Log::default()), ..Self::with(fault) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn every(&self, times: u64) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) % times == 1
    }

    fn channel(&self, prefix: &str, topic: &Topic) -> String {
        let (hub, kind, name) = (topic.hub(), topic.kind().as_str(), topic.name());
        let honest = |prefix: &str| format!("{prefix:?} {hub:?} {kind} {name:?}");
        match self.fault {
            Fault::IgnoresPrefixes => honest(""),
            Fault::IgnoresHubs if !hub.is_empty() => format!("{kind} {name:?}"),
            Fault::IgnoresKinds if !hub.is_empty() => format!("{prefix:?} {hub:?} {name:?}"),
            Fault::JoinsNames if !hub.is_empty() => format!("{prefix}.{hub}.{kind}.{name}"),
            Fault::CutsNames if name.len() > 255 => {
                let cut: String = name.chars().take(60).collect();
                format!("{prefix:?} {hub:?} {kind} {cut}")
            }
            _ => honest(prefix),
        }
    }

    fn receivers(&self, channel: &str) -> Vec<Inbound> {
        let state = self.state();
        if self.fault == Fault::Broadcasts {
            return state.sessions.values().cloned().collect();
        }
        let matches = |pattern: &String| {
            let pattern = pattern.trim_end_matches('"');
            let glob = self.fault == Fault::MatchesPatterns && pattern.ends_with('*');
            glob && channel.starts_with(pattern.trim_end_matches('*'))
        };
        let mut ids: Vec<u64> = state.routes.get(channel).cloned().unwrap_or_default();
        for (pattern, more) in state.routes.iter().filter(|(pattern, _)| matches(pattern)) {
            ids.extend(more.iter().filter(|_| pattern != channel));
        }
        ids.iter().filter_map(|id| state.sessions.get(id).cloned()).collect()
    }

    fn route(&self, channel: &str, probe: bool, bytes: &[u8]) {
        for inbound in self.receivers(channel) {
            let deliver = || inbound.frame(bytes.to_vec());
            match self.fault {
                _ if probe => deliver(),
                Fault::Loses if self.every(50) => {}
                Fault::Doubles if self.every(20) => {
                    deliver();
                    deliver();
                }
                Fault::LosesLarge if bytes.len() > 100_000 => {}
                Fault::CutsBodies if bytes.len() > 1000 => inbound.frame(bytes[..1000].to_vec()),
                _ => deliver(),
            }
        }
        if !probe && let Some((inbound, bytes)) = self.state().held.take() {
            inbound.frame(bytes);
        }
    }
}

#[async_trait]
impl Fixture for Medium {
    fn name(&self) -> String {
        format!("a medium with {:?}", self.fault)
    }

    async fn node(&self, setup: Setup) -> Outcome<Arc<dyn Backplane>> {
        let prefix = setup.prefix.unwrap_or_default();
        let wire = || ToMedium { medium: self.clone(), prefix: prefix.clone() };
        let ghost =
            (self.fault == Fault::HearsOn).then(|| Node::start(wire(), setup.options.clone()));
        Ok(Arc::new(Layer::new(Node::start(wire(), setup.options), ghost, self.fault)))
    }

    fn controls(&self) -> &[Control] {
        const ALL: &[Control] = &[
            Control::Prefix,
            Control::Stop,
            Control::Cut,
            Control::Pause,
            Control::Inject,
            Control::Census,
        ];
        ALL
    }

    async fn stop(&self) -> Outcome {
        self.state().stopped = true;
        self.cut(Connections::Receiving).await
    }

    async fn start(&self) -> Outcome {
        let mut state = self.state();
        state.stopped = false;
        state.requests = 0;
        Ok(())
    }

    async fn cut(&self, _: Connections) -> Outcome {
        let sessions: Vec<Inbound> = {
            let mut state = self.state();
            state.cuts += 1;
            state.routes.clear();
            state.sessions.drain().map(|(_, inbound)| inbound).collect()
        };
        sessions.iter().for_each(|inbound| inbound.lost(gone()));
        Ok(())
    }

    async fn pause(&self) -> Outcome {
        self.paused.send_replace(true);
        Ok(())
    }

    async fn resume(&self) -> Outcome {
        self.paused.send_replace(false);
        Ok(())
    }

    async fn inject(&self, topic: &Topic, bytes: &[u8]) -> Outcome {
        let channel = self.channel("", topic);
        let hangs_up = self.fault == Fault::HangsUpOnGarbage;
        for inbound in self.receivers(&channel) {
            inbound.frame(bytes.to_vec());
            if hangs_up {
                inbound.lost(gone());
            }
        }
        Ok(())
    }

    async fn census(&self) -> Outcome<Census> {
        let state = self.state();
        let subscriptions = state.routes.values().map(Vec::len).sum::<usize>() as u64;
        let (connections, requests) = (state.sessions.len() as u64, Some(state.requests));
        Ok(Census { connections, subscriptions, requests })
    }
}

fn gone() -> LinkError {
    LinkError::Lost { reason: "the medium is gone".to_owned() }
}

#[derive(Debug)]
struct ToMedium {
    medium: Medium,
    prefix: String,
}

#[derive(Debug)]
struct OnMedium {
    medium: Medium,
    prefix: String,
    id: u64,
    /// Fair, so that batches are written in the order of their first poll.
    turn: tokio::sync::Mutex<()>,
}

#[async_trait]
impl Wire for ToMedium {
    type Session = OnMedium;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtMostOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Accepted,
            durability: Durability::Nothing,
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::LostAndReported,
            replay: match self.medium.log {
                Some(_) => Replay::Kept { age: None, entries: None },
                None => Replay::None,
            },
            filter: Filter::Broker,
            largest_body: ByteSize::mib(1),
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<OnMedium, LinkError> {
        let mut state = self.medium.state();
        if state.stopped {
            return Err(gone());
        }
        state.next += 1;
        let id = state.next;
        state.sessions.insert(id, inbound);
        let (medium, prefix) = (self.medium.clone(), self.prefix.clone());
        Ok(OnMedium { medium, prefix, id, turn: tokio::sync::Mutex::default() })
    }

    async fn read(
        &self,
        _: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError> {
        let skip = usize::from(self.medium.fault == Fault::SkipsInLog);
        self.medium.log.as_ref().map(|log| log.read(from, skip)).ok_or_else(gone)
    }
}

impl OnMedium {
    /// A paused medium answers when it goes on; whether it was paused.
    async fn answered(&self) -> Result<bool, LinkError> {
        let mut paused = self.medium.paused.subscribe();
        let waited = *paused.borrow_and_update();
        // The sender lives in the medium.
        let _ = paused.wait_for(|paused| !*paused).await;
        let connected = self.medium.state().sessions.contains_key(&self.id);
        if connected { Ok(waited) } else { Err(gone()) }
    }

    fn asked(&self, topics: &[Topic]) {
        self.medium.state().requests += match self.medium.fault {
            Fault::AsksOneByOne => topics.len() as u64,
            _ => 1,
        };
    }

    fn add(medium: &Medium, id: u64, channel: String) {
        let mut state = medium.state();
        if medium.fault == Fault::Replays
            && let Some((frame, inbound)) = state.latest.get(&channel).zip(state.sessions.get(&id))
        {
            let (frame, inbound) = (frame.clone(), inbound.clone());
            tokio::spawn(async move { inbound.frame(frame) });
        }
        let ids = state.routes.entry(channel).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}

#[async_trait]
impl Session for OnMedium {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let _turn = self.turn.lock().await;
        let waited = self.answered().await?;
        let frames = batch.frames().into_iter().map(|frame| {
            let channel = self.medium.channel(&self.prefix, &frame.topic);
            (channel, frame.topic.hub().is_empty(), frame.bytes)
        });
        let frames: Vec<_> = frames.collect();
        if self.medium.fault == Fault::Reorders
            && let [(channel, false, bytes)] = frames.as_slice()
            && self.medium.every(10)
            && let Some(inbound) = self.medium.receivers(channel).pop()
        {
            self.medium.state().held = Some((inbound, bytes.to_vec()));
            return Ok(Vec::new());
        }
        if self.medium.fault == Fault::AnswersEarly {
            let medium = self.medium.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                for (channel, probe, bytes) in frames {
                    // Whoever closed meanwhile has lost it.
                    if medium.every(3) || probe {
                        medium.route(&channel, probe, &bytes);
                    }
                }
            });
            return Ok(Vec::new());
        }
        if self.medium.fault == Fault::LosesWhilePaused && waited && !frames[0].1 {
            return Ok(Vec::new());
        }
        for (channel, probe, bytes) in frames {
            if self.medium.fault == Fault::RefusesUnheard
                && self.medium.receivers(&channel).is_empty()
            {
                let reason = "nobody listens".into();
                return Ok(vec![Refused { what: 0, reason }]);
            }
            if let Some(log) = self.medium.log.as_ref().filter(|_| !probe) {
                log.append(&bytes);
            }
            self.medium.route(&channel, probe, &bytes);
            self.medium.state().latest.insert(channel, bytes.to_vec());
        }
        Ok(Vec::new())
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        tokio::time::sleep(ROUND_TRIP).await;
        self.answered().await?;
        self.asked(topics);
        let again = self.medium.state().cuts > 0;
        for topic in topics {
            let channel = self.medium.channel(&self.prefix, topic);
            let probe = topic.hub().is_empty();
            match self.medium.fault {
                Fault::RestoresPartly if again && !probe && self.medium.every(7) => {}
                Fault::ConfirmsEarly if !probe => {
                    let (medium, id) = (self.medium.clone(), self.id);
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        Self::add(&medium, id, channel);
                    });
                }
                _ => Self::add(&self.medium, self.id, channel),
            }
        }
        Ok(Vec::new())
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        tokio::time::sleep(ROUND_TRIP).await;
        self.answered().await?;
        self.asked(topics);
        if self.medium.fault == Fault::KeepsSubscriptions {
            return Ok(());
        }
        for topic in topics {
            let channel = self.medium.channel(&self.prefix, topic);
            let mut state = self.medium.state();
            if let Some(ids) = state.routes.get_mut(&channel) {
                ids.retain(|id| *id != self.id);
                if ids.is_empty() {
                    state.routes.remove(&channel);
                }
            }
        }
        Ok(())
    }
}

impl Drop for OnMedium {
    fn drop(&mut self) {
        if self.medium.fault == Fault::KeepsConnections {
            return;
        }
        let mut state = self.medium.state();
        state.sessions.remove(&self.id);
        state.routes.retain(|_, ids| {
            ids.retain(|id| *id != self.id);
            !ids.is_empty()
        });
    }
}
