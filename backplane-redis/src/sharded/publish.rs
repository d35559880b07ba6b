//! `SPUBLISH`, to the master that owns the channel's slot.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backplane_core::{
    LinkError,
    wire::{Batch, Frame, Refused},
};
use futures_util::future::try_join_all;
use redis::{FromRedisValue, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    answer::Answer,
    master::Master,
    order::Order,
    pauses::Pauses,
    routes::{Routes, Shared},
    slot::slot_of,
    switchboard::{Request, gone},
};
use crate::{channel::Channels, error, pubsub::publishing};

pub(super) struct Publisher {
    shared: Arc<Shared>,
    channels: Channels,
    turns: Arc<Turns>,
    requests: mpsc::Sender<Request>,
}

#[derive(Debug, Default)]
struct Turns {
    order: Mutex<Order>,
    ended: Notify,
}

impl Turns {
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame on its way.
struct Letter {
    frame: Frame,
    channel: String,
    slot: u16,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be sent to this master, or sent and not answered.
    Sent(u64),
    /// Has to wait for its turn.
    Held,
    Answered,
}

/// What one master has answered.
struct Answers {
    master: Arc<Master>,
    /// Whether it has become a replica.
    of_replica: bool,
    /// By the letters' places.
    answers: Vec<(usize, Value)>,
}

/// A batch on its way. Its place in the order ends with it.
struct Flight {
    turns: Arc<Turns>,
    number: u64,
    letters: Vec<Letter>,
    refused: Vec<Refused<usize>>,
}

impl Publisher {
    pub(super) fn new(
        shared: Arc<Shared>,
        channels: Channels,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        Self { shared, channels, turns: Arc::default(), requests }
    }

    /// Publishes a batch: in one round trip to each master concerned, unless slots have moved.
    ///
    /// The first poll queues the batch at the client library, or notes that it has to wait. Nothing is ever
    /// sent twice: only what a server has refused is sent to another.
    pub(super) async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let mut routes = self.shared.routes();
        let mut flight = Flight::board(&self.turns, &self.channels, batch, &routes);
        let mut pauses = Pauses::default();
        loop {
            let moved = flight.send(&routes, &self.requests).await?;
            if flight.is_over() {
                break;
            }
            flight.turn().await;
            if moved {
                pauses.pause().await;
                self.refresh(routes.version).await?;
            }
            routes = self.shared.routes();
            flight.release(&routes);
        }
        let mut refused = std::mem::take(&mut flight.refused);
        refused.sort_unstable_by_key(|refused| refused.what);
        Ok(refused)
    }

    /// Waits for routes that are newer than these.
    async fn refresh(&self, seen: u64) -> Result<(), LinkError> {
        let (done, refreshed) = oneshot::channel();
        self.requests.send(Request::Refresh { seen, done }).await.map_err(|_| gone())?;
        refreshed.await.map_err(|_| gone())
    }
}

/// Whether a server that answers this to `ROLE` is none of the masters.
fn is_replica(role: Option<Value>) -> bool {
    let Some(Value::Array(facts)) = role else { return false };
    let role = facts.first().and_then(|role| String::from_redis_value_ref(role).ok());
    role.is_some_and(|role| role != "master")
}

/// Waits until what a replica has taken has arrived at the master. Otherwise what is sent to that directly
/// from now on would overtake it.
async fn fence(
    requests: &mpsc::Sender<Request>,
    replica: Arc<Master>,
    slot: u16,
) -> Result<(), LinkError> {
    let (done, fenced) = oneshot::channel();
    requests.send(Request::Fence { replica, slot, done }).await.map_err(|_| gone())?;
    fenced.await.map_err(|_| gone())
}

impl Flight {
    /// Takes a place in the order, behind all batches before.
    fn board(turns: &Arc<Turns>, channels: &Channels, batch: &Batch, routes: &Routes) -> Self {
        let mut order = turns.order();
        let number = order.begin();
        let letters = batch.frames().into_iter().map(|frame| {
            let channel = channels.of(&frame.topic);
            let slot = slot_of(&channel);
            let owner = routes.owner(slot).number;
            let passes = order.enter(slot, owner);
            let state = if passes { State::Sent(owner) } else { State::Held };
            Letter { frame, channel, slot, state }
        });
        let letters = letters.collect();
        drop(order);
        Self { turns: Arc::clone(turns), number, letters, refused: Vec::new() }
    }

    /// Sends what is due, in one go at the first poll. Returns whether slots of it have moved; that is held
    /// then.
    async fn send(
        &mut self,
        routes: &Routes,
        requests: &mpsc::Sender<Request>,
    ) -> Result<bool, LinkError> {
        let mut mail: Vec<(&Arc<Master>, Vec<usize>)> = Vec::new();
        for (place, letter) in self.letters.iter().enumerate() {
            if let State::Sent(_) = letter.state {
                let owner = routes.owner(letter.slot);
                match mail.iter_mut().find(|(master, _)| master.number == owner.number) {
                    Some((_, places)) => places.push(place),
                    None => mail.push((owner, vec![place])),
                }
            }
        }
        let sent = mail.into_iter().map(|(master, places)| self.post(master, places));
        // However many masters there are.
        let answers = tokio::task::unconstrained(try_join_all(sent)).await;
        let answers = answers.map_err(|error| error::lost(&error))?;
        let mut moved = false;
        for Answers { master, of_replica, answers } in answers {
            if let (true, Some((place, _))) = (of_replica, answers.first()) {
                fence(requests, master, self.letters[*place].slot).await?;
            }
            moved |= self.settle(answers)?;
        }
        Ok(moved)
    }

    /// Takes the answers of one master. Returns whether slots have moved.
    fn settle(&mut self, answers: Vec<(usize, Value)>) -> Result<bool, LinkError> {
        let mut order = self.turns.order();
        let mut moved = false;
        for (place, answer) in answers {
            let letter = &mut self.letters[place];
            let State::Sent(master) = letter.state else { continue };
            let refusal = match answer {
                Value::ServerError(refusal) => Some(RedisError::from(refusal)),
                _ => None,
            };
            let answer = refusal.as_ref().map(Answer::of);
            let has_moved = answer == Some(Answer::Moved);
            order.answered(letter.slot, master, has_moved);
            letter.state = if has_moved { State::Held } else { State::Answered };
            moved |= has_moved;
            let Some(refusal) = refusal else { continue };
            match answer {
                Some(Answer::Refused) => {
                    let reason: Arc<str> = error::answer(&refusal).into();
                    let each = |what: &usize| Refused { what: *what, reason: Arc::clone(&reason) };
                    self.refused.extend(letter.frame.envelopes.iter().map(each));
                }
                Some(Answer::Lost) => return Err(error::lost(&refusal)),
                _ => {}
            }
        }
        drop(order);
        Ok(moved)
    }

    /// Sends these to one master.
    ///
    /// A master that has become a replica of the owner takes them as well, and passes them on to it: so it
    /// is asked at the end what it is.
    async fn post(&self, master: &Arc<Master>, places: Vec<usize>) -> RedisResult<Answers> {
        let mut commands = Pipeline::with_capacity(places.len() + 1);
        for place in &places {
            let Letter { frame, channel, .. } = &self.letters[*place];
            commands.add_command(publishing("SPUBLISH", channel, &frame.bytes));
        }
        commands.cmd("ROLE");
        let mut connection = master.publishing.clone();
        // Otherwise one refusal would hide what became of the others.
        let mut answers =
            commands.ignore_errors().query_async::<Vec<Value>>(&mut connection).await?;
        let of_replica = is_replica(answers.pop());
        let answers = places.into_iter().zip(answers).collect();
        Ok(Answers { master: Arc::clone(master), of_replica, answers })
    }

    /// Waits until all batches before this one are over.
    async fn turn(&self) {
        loop {
            let ended = self.turns.ended.notified();
            if self.turns.order().is_first(self.number) {
                return;
            }
            ended.await;
        }
    }

    /// What is held is due, to the owners by these routes.
    fn release(&mut self, routes: &Routes) {
        let mut order = self.turns.order();
        for letter in self.letters.iter_mut().filter(|letter| letter.state == State::Held) {
            let owner = routes.owner(letter.slot).number;
            letter.state = State::Sent(owner);
            order.send(letter.slot, owner);
        }
    }

    fn is_over(&self) -> bool {
        self.letters.iter().all(|letter| letter.state == State::Answered)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut order = self.turns.order();
        for letter in &self.letters {
            match letter.state {
                State::Sent(master) => order.answered(letter.slot, master, false),
                State::Held => order.give_up(letter.slot),
                State::Answered => {}
            }
        }
        order.end(self.number);
        drop(order);
        self.turns.ended.notify_waiters();
    }
}
