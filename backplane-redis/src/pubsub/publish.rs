use std::sync::Arc;

use backplane_core::{
    LinkError,
    wire::{Batch, Refused},
};
use redis::{Cmd, Pipeline, RedisError, Value, aio::MultiplexedConnection};

use crate::{channel::Channels, error};

/// Room in a command for its fixed words.
const WORDS: usize = 16;

/// The connection that publishes, and nothing else: what arrives for a subscriber never delays an
/// answer.
#[derive(Debug)]
pub(crate) struct Publisher {
    connection: MultiplexedConnection,
    channels: Channels,
}

impl Publisher {
    pub(crate) const fn new(connection: MultiplexedConnection, channels: Channels) -> Self {
        Self { connection, channels }
    }

    /// Publishes a batch in one round trip.
    ///
    /// The first poll queues the whole batch at the client library, whose queue is first in, first
    /// out, and far longer than the few batches a node has on their way. Nothing is ever sent twice.
    pub(crate) async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let frames = batch.frames();
        let mut commands = Pipeline::with_capacity(frames.len());
        for frame in &frames {
            let channel = self.channels.of(&frame.topic);
            commands.add_command(publishing("PUBLISH", &channel, &frame.bytes));
        }
        let envelopes: Vec<Vec<usize>> = frames.into_iter().map(|frame| frame.envelopes).collect();
        let mut connection = self.connection.clone();
        // Otherwise one refusal would hide what became of the others.
        let answers = commands.ignore_errors().query_async::<Vec<Value>>(&mut connection).await;
        let answers = answers.map_err(|error| error::lost(&error))?;
        Ok(refusals(envelopes, answers))
    }
}

/// A command that publishes.
pub(crate) fn publishing(word: &str, channel: &str, bytes: &[u8]) -> Cmd {
    let mut command = Cmd::with_capacity(3, WORDS + channel.len() + bytes.len());
    command.arg(word).arg(channel).arg(bytes);
    command
}

/// The envelopes whose frame was answered with an error, by their index.
pub(crate) fn refusals(envelopes: Vec<Vec<usize>>, answers: Vec<Value>) -> Vec<Refused<usize>> {
    let mut refused = Vec::new();
    for (envelopes, answer) in envelopes.into_iter().zip(answers) {
        if let Value::ServerError(server) = answer {
            let reason: Arc<str> = error::answer(&RedisError::from(server)).into();
            let each = |what| Refused { what, reason: Arc::clone(&reason) };
            refused.extend(envelopes.into_iter().map(each));
        }
    }
    refused.sort_unstable_by_key(|refused| refused.what);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server answers to a command is only to be had from its bytes.
    fn parsed(answer: &str) -> Value {
        redis::parse_redis_value(answer.as_bytes()).unwrap()
    }

    #[test]
    fn a_refused_frame_refuses_each_of_its_envelopes() {
        let envelopes = vec![vec![0, 3], vec![1], vec![2, 4]];
        let answers = ["-NOPERM not you\r\n", ":1\r\n", "-OOM full\r\n"].map(parsed).into();
        let refused = refusals(envelopes, answers);
        let refused: Vec<_> = refused.iter().map(|it| (it.what, &*it.reason)).collect();
        assert_eq!(
            refused,
            [(0, "NOPERM not you"), (2, "OOM full"), (3, "NOPERM not you"), (4, "OOM full")]
        );
    }
}
