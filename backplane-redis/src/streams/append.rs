//! The connection that appends, and keeps the log within its age.

use std::{sync::Arc, time::Duration};

use backplane_core::{
    LinkError,
    wire::{Batch, Refused},
};
use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection, cmd};

use super::{
    part::Parts,
    reply::{CHANNEL, FRAME},
};
use crate::{error, pubsub::refusals};

/// Room in a command for its fixed words.
const WORDS: usize = 64;

/// How often what is too old is removed, as a part of the age.
const SWEEPS: u32 = 16;
const SHORTEST_SWEEP: Duration = Duration::from_secs(1);
const LONGEST_SWEEP: Duration = Duration::from_secs(60);

/// Appends, and nothing else: what is read never delays an answer.
#[derive(Debug)]
pub(super) struct Appender {
    connection: MultiplexedConnection,
    parts: Arc<Parts>,
    entries: u64,
}

impl Appender {
    pub(super) const fn new(
        connection: MultiplexedConnection,
        parts: Arc<Parts>,
        entries: u64,
    ) -> Self {
        Self { connection, parts, entries }
    }

    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Appends a batch in one round trip.
    ///
    /// The first poll queues the whole batch at the client library, whose queue is first in, first out.
    pub(super) async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let frames = batch.frames();
        let mut commands = Pipeline::with_capacity(frames.len());
        for frame in &frames {
            let key = self.parts.key(self.parts.of(&frame.topic));
            let channel = self.parts.channels.of(&frame.topic);
            let size = WORDS + key.len() + channel.len() + frame.bytes.len();
            let mut command = Cmd::with_capacity(10, size);
            command.arg("XADD").arg(key).arg("MAXLEN").arg("~").arg(self.entries).arg("*");
            command.arg(CHANNEL).arg(channel).arg(FRAME).arg(&*frame.bytes);
            commands.add_command(command);
        }
        let envelopes: Vec<Vec<usize>> = frames.into_iter().map(|frame| frame.envelopes).collect();
        let mut connection = self.connection.clone();
        // Otherwise one refusal would hide what became of the others.
        let answers = commands.ignore_errors().query_async::<Vec<Value>>(&mut connection).await;
        let answers = answers.map_err(|error| error::lost(&error))?;
        Ok(refusals(envelopes, answers))
    }
}

/// Removes what is older than `age`, by the server's clock, again and again; for as long as the
/// connection lives, and the server lets it.
pub(super) async fn sweep(mut connection: MultiplexedConnection, parts: Arc<Parts>, age: Duration) {
    loop {
        tokio::time::sleep((age / SWEEPS).clamp(SHORTEST_SWEEP, LONGEST_SWEEP)).await;
        if let Err(error) = sweep_once(&mut connection, &parts, age).await {
            let reason = error::answer(&error);
            tracing::debug!(%reason, "what is too old stays in the streams");
            return;
        }
    }
}

async fn sweep_once(
    connection: &mut MultiplexedConnection,
    parts: &Parts,
    age: Duration,
) -> redis::RedisResult<()> {
    let (seconds, _): (u64, u64) = cmd("TIME").query_async(connection).await?;
    let oldest = seconds.saturating_sub(age.as_secs()) * 1000;
    let mut commands = Pipeline::with_capacity(parts.count());
    for part in 0..parts.count() {
        let mut command = cmd("XTRIM");
        command.arg(parts.key(part as u32)).arg("MINID").arg("~").arg(oldest);
        commands.add_command(command).ignore();
    }
    commands.query_async(connection).await
}
