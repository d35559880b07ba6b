//! Sentinels, who know the master.

use std::{collections::HashMap, time::Duration};

use backplane_core::LinkError;
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{ProtocolVersion, PushInfo, RedisResult, Value, aio::PubSub, aio::SendError, cmd};

use crate::{Sentinels, endpoint::Endpoint, error, locate::Found};

/// How long one sentinel may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often sentinels are asked, besides when one says that something has changed.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// The pause before another sentinel is listened to.
const AGAIN: Duration = Duration::from_secs(1);
/// Where sentinels say that a replica has become the master.
const NOTICES: &str = "+switch-master";

/// The sentinels of one service, and how to log in to its servers.
#[derive(Debug)]
pub(crate) struct Observers {
    service: String,
    sentinels: Vec<Endpoint>,
    /// At no address of its own.
    server: Endpoint,
}

/// Whom a sentinel takes for the master.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Master {
    host: String,
    port: u16,
    /// Grows with each failover.
    epoch: u64,
}

impl Observers {
    pub(crate) fn new(sentinels: &Sentinels, server: Endpoint) -> Self {
        let Sentinels { service, servers, user, password } = sentinels;
        let login = server.with_login(user.as_deref(), password.as_deref());
        let sentinels = servers.iter().map(|(host, port)| login.at(host, *port)).collect();
        Self { service: service.clone(), sentinels, server }
    }

    /// The master, by the newest answer of more than half of the sentinels, or of all that answer.
    pub(crate) async fn locate(&self) -> Result<Found, LinkError> {
        let Master { host, port, epoch } = self.ask_all().await?;
        let endpoint = self.server.at(&host, port);
        match within(&endpoint, "asking a master for its role", role(&endpoint)).await? {
            Some(role) if role != "master" => Err(LinkError::Lost {
                reason: format!(
                    "the sentinels name {} as the master of {:?}, and it is a {role}: a failover may be under way",
                    endpoint.address(),
                    self.service
                ),
            }),
            _ => Ok(Found { endpoint, epoch }),
        }
    }

    /// Returns once another server has become the master in the place of this one.
    pub(crate) async fn moved(&self, from: &Found) -> LinkError {
        for sentinel in self.sentinels.iter().cycle() {
            let mut notices = listen(sentinel).await;
            loop {
                // Asked behind the subscription: what happened before that is not told again.
                if let Ok(now) = self.locate().await
                    && now.epoch > from.epoch
                    && now.endpoint.address() != from.endpoint.address()
                {
                    let reason = format!(
                        "the sentinels have made {} the master in place of {}",
                        now.endpoint.address(),
                        from.endpoint.address()
                    );
                    return LinkError::Lost { reason };
                }
                let Some(listening) = &mut notices else { break };
                let mut messages = listening.on_message();
                tokio::select! {
                    message = messages.next() => if message.is_none() { break },
                    () = tokio::time::sleep(ASK_EVERY) => {}
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        std::future::pending().await // without sentinels, nobody knows
    }

    async fn ask_all(&self) -> Result<Master, LinkError> {
        let asked = self
            .sentinels
            .iter()
            .map(|sentinel| within(sentinel, "asking a sentinel", ask(sentinel, &self.service)));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let (mut known, mut answers) = (None::<Master>, 0);
        let mut failure = LinkError::NotYet;
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(Some(master)) => {
                    answers += 1;
                    if known.as_ref().is_none_or(|known| known.epoch < master.epoch) {
                        known = Some(master);
                    }
                }
                Ok(None) => failure = self.unknown(),
                Err(error) => failure = error,
            }
            if answers * 2 > self.sentinels.len() {
                break;
            }
        }
        known.ok_or(failure)
    }

    fn unknown(&self) -> LinkError {
        let addresses: Vec<&str> = self.sentinels.iter().map(Endpoint::address).collect();
        LinkError::Protocol {
            address: addresses.join(", "),
            expected: "sentinel",
            reason: format!("it watches over nothing called {:?}", self.service),
        }
    }
}

/// Bounds what is asked of a server.
async fn within<T>(
    endpoint: &Endpoint,
    doing: &'static str,
    asked: impl Future<Output = RedisResult<T>>,
) -> Result<T, LinkError> {
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(answer) => answer.map_err(|error| endpoint.failed(&error)),
        Err(_) => Err(LinkError::TimedOut { doing, waited: ANSWER_WITHIN }),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as the client library calls it")]
fn ignore(_: PushInfo) -> Result<(), SendError> {
    Ok(())
}

/// Whom this sentinel takes for the master of the service, if it knows that.
async fn ask(sentinel: &Endpoint, service: &str) -> RedisResult<Option<Master>> {
    let mut connection = sentinel.open(ProtocolVersion::RESP2, ignore).await?;
    let answer: RedisResult<HashMap<String, Value>> =
        cmd("SENTINEL").arg("MASTER").arg(service).query_async(&mut connection).await;
    match answer {
        Ok(facts) => Ok(master(&facts)),
        Err(error) if error.detail().is_some_and(|detail| detail.contains("No such master")) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn master(facts: &HashMap<String, Value>) -> Option<Master> {
    let fact = |name: &str| redis::from_redis_value::<String>(facts.get(name)?.clone()).ok();
    Some(Master {
        host: fact("ip")?,
        port: fact("port")?.parse().ok()?,
        epoch: fact("config-epoch")?.parse().ok()?,
    })
}

/// What a server is, unless it does not say.
async fn role(server: &Endpoint) -> RedisResult<Option<String>> {
    let mut connection = server.open(ProtocolVersion::RESP2, ignore).await?;
    match cmd("ROLE").query_async::<Value>(&mut connection).await {
        Ok(Value::Array(answer)) => {
            Ok(answer.into_iter().next().and_then(|role| redis::from_redis_value(role).ok()))
        }
        Ok(_) => Ok(None),
        // An access rule may forbid the question.
        Err(error) if error::is_refusal(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Listens to a sentinel, if that can be reached.
async fn listen(sentinel: &Endpoint) -> Option<PubSub> {
    let listening = async {
        let mut notices = sentinel.open_pubsub().await?;
        notices.subscribe(NOTICES).await?;
        Ok(notices)
    };
    within(sentinel, "listening to a sentinel", listening).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinels_answer_is_read() {
        let text = |text: &str| Value::BulkString(text.into());
        let mut facts: HashMap<String, Value> = [
            ("name", "main"),
            ("ip", "10.0.0.7"),
            ("port", "6380"),
            ("flags", "master"),
            ("config-epoch", "3"),
        ]
        .map(|(name, value)| (name.to_owned(), text(value)))
        .into();
        let expected = Master { host: "10.0.0.7".to_owned(), port: 6380, epoch: 3 };
        assert_eq!(master(&facts), Some(expected));
        facts.insert("port".to_owned(), text("many"));
        assert_eq!(master(&facts), None);
    }
}
