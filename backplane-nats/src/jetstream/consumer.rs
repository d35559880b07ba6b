//! Reading some parts of the log, in its order, from a sequence on.

use std::time::Duration;

use async_nats::{
    Message, StatusCode, Subject, Subscriber,
    jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info},
};
use backplane_core::LinkError;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;

use super::{
    api::Api,
    overtaken::Overtaken,
    stream::{At, Stream},
};
use crate::pubsub::kept;

/// How often the server says that it has nothing.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a consumer may be silent: several heartbeats, and less than a probe may take.
const SILENCE: Duration = Duration::from_millis(2_000);

/// How soon the server forgets a consumer that nobody reads any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

/// The most messages that are taken at once.
const MOST: usize = 512;

/// A consumer of the server's. Dropping it leaves it to the server, which forgets it.
#[derive(Debug)]
pub(super) struct Consumer {
    api: Api,
    subscriber: Subscriber,
    /// How many messages it has sent.
    sent: u64,
    /// Where the server waits for an answer before it sends more.
    asks: Option<Subject>,
    /// How many entries it had to send when it was made.
    pub(super) pending: u64,
    pub(super) overtaken: Overtaken,
}

/// An entry that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// None where somebody else has written beside the parts.
    pub(super) part: Option<u32>,
    pub(super) at: At,
    pub(super) payload: Bytes,
    /// How many more the server had then.
    pub(super) pending: u64,
}

/// Why nothing more comes.
#[derive(Debug)]
pub(super) enum Ended {
    /// Something is missing, or the server has lost the consumer: another one is to be made.
    Broken(&'static str),
    Lost(LinkError),
}

#[derive(Serialize)]
struct Create<'a> {
    stream_name: &'a str,
    config: Config,
}

impl Consumer {
    /// Makes the `number`th consumer on this connection: of these parts, from that sequence on.
    pub(super) async fn open(
        api: &Api,
        stream: &Stream,
        number: u64,
        parts: &[u32],
        from: u64,
    ) -> Result<Self, LinkError> {
        let connection = &api.connection;
        let inbox = format!("{}.{number}", connection.inbox);
        let subscriber = connection.client.subscribe(inbox.clone()).await;
        let subscriber = subscriber.map_err(|_| connection.notices.lost())?;
        let token = connection.inbox.rsplit('.').next().unwrap_or_default();
        let name = format!("{token}-{number}");
        let subjects = &stream.subjects;
        let all = parts.len() == stream.count();
        let config = Config {
            name: Some(name.clone()),
            deliver_subject: Some(inbox),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            filter_subjects: match all {
                true => vec![subjects.parts()],
                false => parts.iter().map(|part| subjects.part(*part)).collect(),
            },
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: FORGOTTEN_AFTER,
            // It is worth nothing without this connection.
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let stream_name = stream.name();
        let operation = format!("CONSUMER.CREATE.{stream_name}.{name}");
        let made = api.ask::<Info>(&operation, &Create { stream_name, config }).await?;
        let made = made.map_err(|error| api.failed("the stream cannot be read", &error))?;
        let pending = made.num_pending;
        let overtaken = Overtaken::new(pending);
        Ok(Self { api: api.clone(), subscriber, sent: 0, asks: None, pending, overtaken })
    }

    /// Waits for the next entries, at most as many as are taken at once; none where the server says that it
    /// has none. Cancel-safe.
    pub(super) async fn next(&mut self, stream: &Stream) -> Result<Vec<Found>, Ended> {
        let mut found = Vec::new();
        loop {
            self.answer().await?;
            let message = match tokio::time::timeout(SILENCE, self.subscriber.next()).await {
                Ok(message) => message,
                Err(_) => return Err(Ended::Broken("it is silent")),
            };
            if !self.take(message, stream, &mut found)? {
                return Ok(found);
            }
            while found.len() < MOST
                && let Some(message) = self.subscriber.next().now_or_never()
            {
                self.take(message, stream, &mut found)?;
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Returns false at a heartbeat.
    fn take(
        &mut self,
        message: Option<Message>,
        stream: &Stream,
        found: &mut Vec<Found>,
    ) -> Result<bool, Ended> {
        let Some(message) = message else {
            return Err(Ended::Lost(self.api.connection.notices.lost()));
        };
        // Looked at first: what is stored may look like anything, also like a word of the server's own.
        if let Some(delivered) = message.reply.as_deref().and_then(Delivered::read) {
            found.push(self.entry(message, delivered, stream)?);
            return Ok(true);
        }
        match message.status {
            None => Ok(true),
            Some(StatusCode::IDLE_HEARTBEAT) => self.control(message, found.is_empty()),
            Some(_) => Err(Ended::Broken("the server has ended it")),
        }
    }

    fn entry(
        &mut self,
        message: Message,
        Delivered { at, sent, pending }: Delivered,
        stream: &Stream,
    ) -> Result<Found, Ended> {
        if sent != self.sent + 1 {
            return Err(Ended::Broken("something is missing"));
        }
        self.sent = sent;
        let part = stream.subjects.part_of(&message.subject);
        Ok(Found { part, at, payload: kept(message.payload), pending })
    }

    /// A heartbeat, or a request to say that everything before it has been taken.
    fn control(&mut self, message: Message, nothing: bool) -> Result<bool, Ended> {
        let header = |name: &str| message.headers.as_ref()?.get(name).map(ToString::to_string);
        if let Some(reply) = message.reply {
            self.asks = Some(reply);
            return Ok(true);
        }
        if let Some(stalled) = header("Nats-Consumer-Stalled") {
            self.asks = Some(stalled.into());
            return Ok(true);
        }
        let sent = header("Nats-Last-Consumer").and_then(|sent| sent.parse::<u64>().ok());
        if sent.is_some_and(|sent| sent != self.sent) {
            return Err(Ended::Broken("something is missing"));
        }
        Ok(!nothing)
    }

    /// Lets the server send more: what it has sent before has been taken.
    async fn answer(&mut self) -> Result<(), Ended> {
        if let Some(subject) = self.asks.clone() {
            let client = &self.api.connection.client;
            let answered = client.publish(subject, Bytes::new()).await;
            answered.map_err(|_| Ended::Lost(self.api.connection.notices.lost()))?;
            self.asks = None;
        }
        Ok(())
    }
}

/// What the server says of a message, in the subject for acknowledging it.
#[derive(Debug, PartialEq, Eq)]
struct Delivered {
    at: At,
    /// Which one of this consumer's it is.
    sent: u64,
    pending: u64,
}

impl Delivered {
    /// `$JS.ACK.[domain.account.]stream.consumer.deliveries.sequence.sent.time.pending[.…]`.
    fn read(subject: &str) -> Option<Self> {
        const WITHOUT_DOMAIN: usize = 7;
        let rest = subject.strip_prefix("$JS.ACK.")?;
        let names = if rest.split('.').count() > WITHOUT_DOMAIN { 4 } else { 2 };
        let mut figures = rest.split('.').skip(names + 1);
        let sequence = figures.next()?.parse().ok()?;
        let sent = figures.next()?.parse().ok()?;
        let time = figures.next()?.parse().ok()?;
        let pending = figures.next()?.parse().ok()?;
        Some(Self { at: At { sequence, time }, sent, pending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_a_message_is_read() {
        let at = At { sequence: 77, time: 1_700_000_000_000_000_001 };
        let expected = Some(Delivered { at, sent: 5, pending: 9 });
        let short = "$JS.ACK.shop.one-1.1.77.5.1700000000000000001.9";
        let long = "$JS.ACK._.hash.shop.one-1.1.77.5.1700000000000000001.9.token";
        assert_eq!(Delivered::read(short), expected);
        assert_eq!(Delivered::read(long), expected);
        for other in ["", "$JS.ACK.", "$JS.ACK.a.b.c.d.e.f.g", "$JS.FC.shop.one-1.x", "_INBOX.a.b"]
        {
            assert_eq!(Delivered::read(other), None, "{other}");
        }
    }
}
