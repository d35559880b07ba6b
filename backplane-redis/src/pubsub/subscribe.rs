use std::{ops::Range, sync::Arc};

use backplane_core::{
    LinkError, Topic,
    wire::{Inbound, Refused},
};
use futures_util::{StreamExt, future::try_join_all};
use redis::{
    ProtocolVersion, PushInfo, PushKind, RedisResult, Value,
    aio::{MultiplexedConnection, PubSubSink, PubSubStream, SendError},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{channel::Channels, endpoint::Endpoint, error};

/// The most channels in one command: enough to make commands few, small enough that the server,
/// which serves nobody else meanwhile, is soon done with each.
const CHUNK: usize = 512;

/// Into how many parts a refused command is split. A refusal names no channel, so the search for
/// it takes one round trip per power of this: three at most.
const PARTS: usize = 8;

/// The connection that is subscribed, and receives.
pub(crate) struct Subscriber {
    receiving: Receiving,
    channels: Channels,
}

/// How what arrives gets to the node.
enum Receiving {
    /// RESP3: the connection's own task hands over what it reads.
    Pushes(MultiplexedConnection),
    /// RESP2: a task of ours reads a stream. The queues of the stream and of the sink have no bound
    /// in the client library; the reader does nothing but hand over, so it keeps up with the socket.
    Stream { sink: PubSubSink, _reader: AbortOnDropHandle<()> },
}

#[derive(Clone, Copy)]
enum Change {
    Subscribe,
    Unsubscribe,
}

impl Subscriber {
    /// Connects, and proves that the user may give channels up again: an access rule that forbids
    /// it would be noticed much later otherwise.
    pub(crate) async fn connect(
        endpoint: &Endpoint,
        protocol: ProtocolVersion,
        channels: Channels,
        inbound: Inbound,
    ) -> Result<Self, LinkError> {
        let receiving = Receiving::connect(endpoint, protocol, inbound).await;
        let subscriber =
            Self { receiving: receiving.map_err(|error| endpoint.failed(&error))?, channels };
        let spare = [subscriber.channels.spare().to_owned()];
        match subscriber.receiving.change(Change::Unsubscribe, &spare).await {
            Ok(()) => Ok(subscriber),
            Err(error) if error::is_refusal(&error) => Err(LinkError::Denied {
                address: endpoint.address().to_owned(),
                reason: format!(
                    "{}; its access rules need +subscribe +unsubscribe +publish",
                    error::answer(&error)
                ),
            }),
            Err(error) => Err(endpoint.failed(&error)),
        }
    }

    /// Subscribes in one round trip, unless something is refused. The refusal of one channel holds
    /// up no other: the others of its command are asked for again, in smaller commands.
    pub(crate) async fn subscribe(
        &self,
        topics: &[Topic],
    ) -> Result<Vec<Refused<Topic>>, LinkError> {
        let channels = self.names(topics);
        let mut refused = Vec::new();
        let mut round = split(0..channels.len(), channels.len().div_ceil(CHUNK));
        while !round.is_empty() {
            let asked = round.iter().map(|range| self.ask(&channels[range.clone()]));
            let answers = try_join_all(asked).await?;
            let mut next = Vec::new();
            for (range, answer) in round.into_iter().zip(answers) {
                match (answer, &topics[range.clone()]) {
                    (None, _) => {}
                    (Some(reason), [topic]) => {
                        refused.push(Refused { what: topic.clone(), reason });
                    }
                    (Some(_), _) => next.extend(split(range, PARTS)),
                }
            }
            round = next;
        }
        Ok(refused)
    }

    /// Gives channels up in one round trip.
    pub(crate) async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        let channels = self.names(topics);
        let chunks = channels.chunks(CHUNK);
        let asked = chunks.map(|chunk| self.receiving.change(Change::Unsubscribe, chunk));
        try_join_all(asked).await.map_err(|error| error::lost(&error))?;
        Ok(())
    }

    /// One command. Returns when the server has confirmed every channel, or why it refuses all of
    /// them.
    async fn ask(&self, channels: &[String]) -> Result<Option<Arc<str>>, LinkError> {
        match self.receiving.change(Change::Subscribe, channels).await {
            Ok(()) => Ok(None),
            Err(error) if error::is_refusal(&error) => Ok(Some(error::answer(&error).into())),
            // A refusal for a reason that passes must not outlive it: a new connection asks again.
            Err(error) => Err(error::lost(&error)),
        }
    }

    fn names(&self, topics: &[Topic]) -> Vec<String> {
        topics.iter().map(|topic| self.channels.of(topic)).collect()
    }
}

impl Receiving {
    async fn connect(
        endpoint: &Endpoint,
        protocol: ProtocolVersion,
        inbound: Inbound,
    ) -> RedisResult<Self> {
        if protocol == ProtocolVersion::RESP2 {
            let (sink, messages) = endpoint.open_pubsub().await?.split();
            let reader = AbortOnDropHandle::new(tokio::spawn(read(messages, inbound)));
            return Ok(Self::Stream { sink, _reader: reader });
        }
        let on_push = move |push| {
            take(&inbound, push);
            Ok::<(), SendError>(())
        };
        endpoint.open(protocol, on_push).await.map(Self::Pushes)
    }

    /// One command. The client library completes it with the confirmation of its last channel, so
    /// that commands can follow each other without waiting.
    async fn change(&self, change: Change, channels: &[String]) -> RedisResult<()> {
        match (self, change) {
            (Self::Pushes(connection), Change::Subscribe) => {
                connection.clone().subscribe(channels).await
            }
            (Self::Pushes(connection), Change::Unsubscribe) => {
                connection.clone().unsubscribe(channels).await
            }
            (Self::Stream { sink, .. }, Change::Subscribe) => {
                sink.clone().subscribe(channels).await
            }
            (Self::Stream { sink, .. }, Change::Unsubscribe) => {
                sink.clone().unsubscribe(channels).await
            }
        }
    }
}

/// Takes what the server sends unasked. Runs in the task that reads the socket.
fn take(inbound: &Inbound, mut push: PushInfo) {
    match push.kind {
        PushKind::Message => {
            if let Some(Value::BulkString(payload)) = push.data.pop() {
                inbound.frame(payload);
            }
        }
        PushKind::Disconnection => inbound.lost(ended()),
        // Confirmations: whoever asked is told.
        _ => {}
    }
}

async fn read(mut messages: PubSubStream, inbound: Inbound) {
    while let Some(message) = messages.next().await {
        match message.get_payload::<Vec<u8>>() {
            Ok(payload) => inbound.frame(payload),
            Err(error) => tracing::debug!(%error, "dropped what is no message"),
        }
    }
    inbound.lost(ended());
}

fn ended() -> LinkError {
    LinkError::Lost {
        reason: "the server ended the subscribed connection; if it goes on running, see whether \
                 its client-output-buffer-limit for pubsub is large enough"
            .to_owned(),
    }
}

/// Splits a range into so many parts of nearly one size, none of them empty.
fn split(range: Range<usize>, parts: usize) -> Vec<Range<usize>> {
    let size = range.len().div_ceil(parts.max(1)).max(1);
    range.clone().step_by(size).map(|start| start..(start + size).min(range.end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_range_and_are_never_empty() {
        for length in 0..100 {
            for parts in 1..12 {
                let split = split(7..7 + length, parts);
                assert!(split.len() <= parts && split.iter().all(|part| !part.is_empty()));
                assert_eq!(
                    split.into_iter().flatten().collect::<Vec<_>>(),
                    (7..7 + length).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn a_refused_channel_is_found_in_three_more_steps() {
        let (mut size, mut steps) = (CHUNK, 0);
        while size > 1 {
            size = split(0..size, PARTS)[0].len();
            steps += 1;
        }
        assert_eq!(steps, 3);
    }
}
