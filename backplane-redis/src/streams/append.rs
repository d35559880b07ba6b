//! The connection that appends, and keeps the log within its age.

use std::{collections::HashMap, sync::Arc, time::Duration};

use backplane_core::{
    LinkError,
    wire::{Batch, Frame, Refused},
};
use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection, cmd};

use super::part::Parts;
use crate::{error, pubsub::refusals};

/// Room in a command for its fixed words, and for those of each frame.
const WORDS: usize = 64;

/// The most frames in one entry, and the most bytes unless one frame alone is larger: what a reader
/// without interest in them has to take all the same.
const MOST: usize = 64;
const LARGEST: usize = 64 * 1024;

/// How often what is too old is removed, as a part of the age.
const SWEEPS: u32 = 16;
/// How long replicas may take.
const REPLICATED_WITHIN: Duration = Duration::from_secs(1);

const SHORTEST_SWEEP: Duration = Duration::from_secs(1);
const LONGEST_SWEEP: Duration = Duration::from_secs(60);

/// Appends, and nothing else: what is read never delays an answer.
#[derive(Debug)]
pub(super) struct Appender {
    connection: MultiplexedConnection,
    parts: Arc<Parts>,
    bounds: Bounds,
}

/// How much is kept, and how well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) entries: u64,
    pub(super) age: Duration,
    /// How many replicas must have an entry before it counts as stored.
    pub(super) replicas: u32,
}

impl Appender {
    pub(super) const fn new(
        connection: MultiplexedConnection,
        parts: Arc<Parts>,
        bounds: Bounds,
    ) -> Self {
        Self { connection, parts, bounds }
    }

    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Appends a batch in one round trip. Frames of one part share an entry: what an entry costs the server,
    /// and whoever reads it, is paid once for all of them.
    ///
    /// The first poll queues the whole batch at the client library, whose queue is first in, first out.
    pub(super) async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let entries = self.entries(batch.frames());
        let mut commands = Pipeline::with_capacity(entries.len() + 1);
        for Entry { part, frames, size } in &entries {
            let key = self.parts.key(*part);
            let size = WORDS * (1 + frames.len()) + key.len() + size;
            let mut command = Cmd::with_capacity(6 + 2 * frames.len(), size);
            command.arg("XADD").arg(key).arg("MAXLEN").arg("~").arg(self.bounds.entries).arg("*");
            for (channel, frame) in frames {
                command.arg(channel).arg(&*frame.bytes);
            }
            commands.add_command(command);
        }
        let wanted = self.bounds.replicas;
        if wanted > 0 {
            let mut wait = cmd("WAIT");
            commands.add_command(wait.arg(wanted).arg(REPLICATED_WITHIN.as_millis() as u64).take());
        }
        let envelopes_of = |entry: Entry| {
            entry.frames.into_iter().flat_map(|(_, frame)| frame.envelopes).collect()
        };
        let envelopes: Vec<Vec<usize>> = entries.into_iter().map(envelopes_of).collect();
        let mut connection = self.connection.clone();
        // Otherwise one refusal would hide what became of the others.
        let answers = commands.ignore_errors().query_async::<Vec<Value>>(&mut connection).await;
        let mut answers = answers.map_err(|error| error::lost(&error))?;
        if wanted > 0 {
            replicated(answers.pop(), wanted)?;
        }
        Ok(refusals(envelopes, answers))
    }
}

/// Frames that are stored together, in their order.
struct Entry {
    part: u32,
    /// Each with its channel.
    frames: Vec<(String, Frame)>,
    size: usize,
}

impl Appender {
    fn entries(&self, frames: Vec<Frame>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        // The entry of each part that still has room.
        let mut open: HashMap<u32, usize> = HashMap::new();
        for frame in frames {
            let part = self.parts.of(&frame.topic);
            let channel = self.parts.channels.of(&frame.topic);
            let size = channel.len() + frame.bytes.len();
            let last = open.get(&part).and_then(|at| entries.get_mut(*at));
            match last.filter(|it| it.frames.len() < MOST && it.size + size <= LARGEST) {
                Some(entry) => {
                    entry.frames.push((channel, frame));
                    entry.size += size;
                }
                None => {
                    open.insert(part, entries.len());
                    entries.push(Entry { part, frames: vec![(channel, frame)], size });
                }
            }
        }
        entries
    }
}

/// Whether enough replicas have what was appended. Where not, what became of it is unknown: it may be gone
/// with the server.
fn replicated(answer: Option<Value>, wanted: u32) -> Result<(), LinkError> {
    let reason = match answer {
        Some(Value::Int(have)) if have >= i64::from(wanted) => return Ok(()),
        Some(Value::Int(have)) => format!(
            "{have} replicas had the entries after {REPLICATED_WITHIN:?}, wanted are {wanted}: see that they run, or ask for fewer with replicas="
        ),
        Some(Value::ServerError(error)) => format!("WAIT was refused: {error}"),
        other => format!("WAIT was answered with {other:?}"),
    };
    Err(LinkError::Lost { reason })
}

/// Removes what is older than `age`, by the server's clock, again and again, for as long as the connection
/// lives. A server that refuses is asked again: it may be busy, or out of room.
pub(super) async fn sweep(mut connection: MultiplexedConnection, parts: Arc<Parts>, age: Duration) {
    let mut told = false;
    loop {
        tokio::time::sleep((age / SWEEPS).clamp(SHORTEST_SWEEP, LONGEST_SWEEP)).await;
        match sweep_once(&mut connection, &parts, age).await {
            Ok(()) => told = false,
            // The session ends, too.
            Err(error) if error.is_unrecoverable_error() => return,
            Err(error) if !std::mem::replace(&mut told, true) => {
                let reason = error::answer(&error);
                tracing::warn!(%reason, "what is too old stays in the streams");
            }
            Err(_) => {}
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
