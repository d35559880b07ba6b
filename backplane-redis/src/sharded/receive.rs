//! The connection to one master that is subscribed, and receives.
//!
//! A server that gives a slot away says so by a `sunsubscribe` that nobody asked for, which the client library
//! takes for the answer to whatever command waits. So one group of commands is under way at a time, answers
//! are told apart by their channels, and a confirmation counts when it is read from the connection, whatever
//! the library makes of it.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use backplane_core::wire::Inbound;
use redis::{
    Cmd, FromRedisValue, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult,
    Value,
    aio::{MultiplexedConnection, SendError},
    cmd,
};
use tokio::sync::{Notify, oneshot};

use super::{address::Address, lost::Lost, master::ended};
use crate::endpoint::Endpoint;

/// Room in a command for its fixed words.
const WORDS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Subscribe,
    Unsubscribe,
}

impl Change {
    const fn command(self) -> &'static str {
        match self {
            Self::Subscribe => "SSUBSCRIBE",
            Self::Unsubscribe => "SUNSUBSCRIBE",
        }
    }

    const fn confirmation(self) -> PushKind {
        match self {
            Self::Subscribe => PushKind::SSubscribe,
            Self::Unsubscribe => PushKind::SUnsubscribe,
        }
    }
}

pub(super) struct Receiver {
    connection: MultiplexedConnection,
    ear: Arc<Ear>,
}

/// What the connection has said.
struct Ear {
    address: Address,
    inbound: Inbound,
    lost: Arc<Lost>,
    awaited: Mutex<Awaited>,
    confirmed: Notify,
    /// Whether a token is waited for.
    fenced: AtomicBool,
    fence: Mutex<Option<(String, oneshot::Sender<()>)>>,
}

/// The channels of the commands that are under way and not confirmed yet.
struct Awaited {
    change: Change,
    channels: HashSet<Box<str>>,
}

impl Receiver {
    pub(super) async fn open(
        endpoint: &Endpoint,
        address: &Address,
        inbound: Inbound,
        lost: Arc<Lost>,
    ) -> RedisResult<Self> {
        let ear = Arc::new(Ear {
            address: address.clone(),
            inbound,
            lost,
            awaited: Mutex::new(Awaited { change: Change::Subscribe, channels: HashSet::new() }),
            confirmed: Notify::new(),
            fenced: AtomicBool::new(false),
            fence: Mutex::default(),
        });
        let hears = Arc::clone(&ear);
        let on_push = move |push| {
            hears.hear(push);
            Ok::<(), SendError>(())
        };
        let connection = endpoint.open(ProtocolVersion::RESP3, on_push).await?;
        Ok(Self { connection, ear })
    }

    /// Subscribes or unsubscribes in one round trip. Returns what was refused, by place in `channels`.
    ///
    /// Not to be called again before it has returned; once it was cancelled, not at all.
    pub(super) async fn change(
        &self,
        change: Change,
        channels: &[String],
    ) -> RedisResult<Vec<(usize, RedisError)>> {
        let mut commands = Pipeline::with_capacity(channels.len());
        for channel in channels {
            let mut command = Cmd::with_capacity(2, WORDS + channel.len());
            command.arg(change.command()).arg(channel);
            commands.add_command(command);
        }
        *self.ear.awaited() =
            Awaited { change, channels: channels.iter().map(|it| it.as_str().into()).collect() };
        let mut connection = self.connection.clone();
        let answers = commands.ignore_errors().query_async::<Vec<Value>>(&mut connection).await?;
        let refused = refusals(change, channels, answers);
        for (place, _) in &refused {
            self.ear.give_up(&channels[*place]);
        }
        // What nobody asked for has taken the place of as many confirmations, which follow.
        self.ear.all_confirmed().await;
        Ok(refused)
    }

    /// Resolves when these bytes arrive on any channel. Only the latest such wait goes on.
    pub(super) fn arrival(&self, token: String) -> oneshot::Receiver<()> {
        let (arrives, arrived) = oneshot::channel();
        *self.ear.fence() = Some((token, arrives));
        self.ear.fenced.store(true, Ordering::Release);
        arrived
    }

    /// Proves that the connection is alive: everything sent before has arrived.
    pub(super) async fn ping(&self) -> RedisResult<()> {
        cmd("PING").query_async::<Value>(&mut self.connection.clone()).await.map(drop)
    }
}

impl Ear {
    /// Takes what the server sends unasked, and its confirmations. Runs in the task that reads the socket.
    fn hear(&self, mut push: PushInfo) {
        match push.kind {
            PushKind::SMessage => {
                if let Some(Value::BulkString(payload)) = push.data.pop()
                    && !self.is_token(&payload)
                {
                    self.inbound.frame(payload);
                }
            }
            PushKind::SSubscribe | PushKind::SUnsubscribe => {
                let Some(channel) = channel(&push.data) else { return };
                if !self.confirm(&push.kind, &channel) && push.kind == PushKind::SUnsubscribe {
                    self.lost.add(channel, &self.address);
                }
            }
            PushKind::Disconnection => self.inbound.lost(ended(
                &self.address,
                "the subscribed connection; if it goes on running, see whether its \
                 client-output-buffer-limit for pubsub is large enough",
            )),
            _ => {}
        }
    }

    fn is_token(&self, payload: &[u8]) -> bool {
        if !self.fenced.load(Ordering::Acquire) {
            return false;
        }
        let mut fence = self.fence();
        let Some((_, arrives)) = fence.take_if(|(token, _)| token.as_bytes() == payload) else {
            return false;
        };
        self.fenced.store(false, Ordering::Release);
        // Whoever waited may have given up.
        let _ = arrives.send(());
        true
    }

    fn fence(&self) -> MutexGuard<'_, Option<(String, oneshot::Sender<()>)>> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this was asked for.
    fn confirm(&self, kind: &PushKind, channel: &str) -> bool {
        let mut awaited = self.awaited();
        if awaited.change.confirmation() != *kind || !awaited.channels.remove(channel) {
            return false;
        }
        if awaited.channels.is_empty() {
            self.confirmed.notify_one();
        }
        true
    }

    fn give_up(&self, channel: &str) {
        self.awaited().channels.remove(channel);
    }

    async fn all_confirmed(&self) {
        while !self.awaited().channels.is_empty() {
            self.confirmed.notified().await;
        }
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The channel that a confirmation is about.
fn channel(data: &[Value]) -> Option<String> {
    data.first().and_then(|channel| String::from_redis_value_ref(channel).ok())
}

/// The refusals among the answers to these commands. What nobody asked for is left out, so that there may be
/// fewer answers than commands.
fn refusals(change: Change, channels: &[String], answers: Vec<Value>) -> Vec<(usize, RedisError)> {
    let mut refused = Vec::new();
    let mut place = 0;
    for answer in answers {
        match answer {
            Value::ServerError(error) => refused.push((place, error.into())),
            Value::Push { kind, data }
                if kind == change.confirmation()
                    && channel(&data).as_ref() == channels.get(place) => {}
            _ => continue,
        }
        place += 1;
        if place == channels.len() {
            break;
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(kind: PushKind, channel: &str) -> Value {
        let data = vec![Value::BulkString(channel.into()), Value::Int(1)];
        Value::Push { kind, data }
    }

    fn error(answer: &str) -> Value {
        redis::parse_redis_value(answer.as_bytes()).unwrap()
    }

    #[test]
    fn refusals_are_told_apart_whatever_comes_between() {
        let channels = ["a", "b", "c", "d"].map(str::to_owned);
        let refused = |answers| {
            let refused = refusals(Change::Subscribe, &channels, answers);
            refused
                .into_iter()
                .map(|(place, error)| (place, error.code().map(str::to_owned)))
                .collect::<Vec<_>>()
        };
        let code = |code: &str| Some(code.to_owned());
        let in_step = vec![
            push(PushKind::SSubscribe, "a"),
            error("-NOPERM no\r\n"),
            push(PushKind::SSubscribe, "c"),
            error("-MOVED 7 10.0.0.1:7000\r\n"),
        ];
        assert_eq!(refused(in_step), [(1, code("NOPERM")), (3, code("MOVED"))]);
        let out_of_step = vec![
            push(PushKind::SUnsubscribe, "z"),
            push(PushKind::SSubscribe, "a"),
            push(PushKind::SUnsubscribe, "a"),
            error("-MOVED 7 10.0.0.1:7000\r\n"),
        ];
        assert_eq!(refused(out_of_step), [(1, code("MOVED"))]);
    }
}
