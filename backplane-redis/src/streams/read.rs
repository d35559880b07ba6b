//! Reading a part from a position on, for one topic.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backplane_core::{
    LinkError,
    wire::{Entry, Reader},
};
use redis::{Pipeline, Value, aio::MultiplexedConnection, cmd};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::{
    part::{Id, Parts},
    portion::Portion,
    reply::{self, Found},
};
use crate::error;

/// How long the server holds back an empty answer.
const BLOCK: Duration = Duration::from_secs(5);

/// How much later than that an answer counts as none.
const SLACK: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct StreamReader {
    pub(super) connection: MultiplexedConnection,
    pub(super) parts: Arc<Parts>,
    pub(super) part: u32,
    pub(super) channel: String,
    /// Up to here it was read.
    pub(super) read: Id,
    /// Whether something behind it is gone, and that is not told yet.
    pub(super) trimmed: bool,
    pub(super) portion: Portion,
    /// Whether there was more than the last answer held.
    pub(super) behind: bool,
    /// Says when the log is at another server, if it can be.
    pub(super) moved: Option<oneshot::Receiver<LinkError>>,
    pub(super) _watch: Option<AbortOnDropHandle<()>>,
}

#[async_trait]
impl Reader for StreamReader {
    async fn next(&mut self) -> Result<Vec<Entry>, LinkError> {
        if std::mem::take(&mut self.trimmed) {
            return Ok(vec![Entry::Trimmed]);
        }
        loop {
            let mut read = cmd("XREAD");
            let (key, entries) = (self.parts.key(self.part), self.portion.entries());
            read.arg("COUNT").arg(entries).arg("BLOCK").arg(BLOCK.as_millis() as u64);
            read.arg("STREAMS").arg(key).arg(self.read.to_string());
            let mut commands = Pipeline::with_capacity(2);
            commands.add_command(read);
            if self.behind {
                commands.add_command(reply::entry_at(key, self.read));
            }
            // Cancelled, the answer is dropped by the client library, and the same is read again.
            let answer = commands.query_async::<Vec<Value>>(&mut self.connection);
            let waited = BLOCK + SLACK;
            let answer = tokio::select! {
                biased;
                answer = tokio::time::timeout(waited, answer) => answer,
                moved = moved(&mut self.moved) => return Err(moved),
            };
            let Ok(answer) = answer else {
                return Err(LinkError::TimedOut { doing: "reading a stream", waited });
            };
            let mut answers = answer.map_err(|error| error::lost(&error))?.into_iter();
            let found = reply::read(&self.parts, answers.next().unwrap_or(Value::Nil));
            let mut entries = Vec::new();
            if answers.next().is_some_and(|answer| reply::ids(answer).next().is_none()) {
                // It is trimmed faster than it is read.
                entries.push(Entry::Trimmed);
            }
            self.behind = found.len() == self.portion.entries();
            let mut bytes = 0;
            for Found { id, frames, .. } in found {
                self.read = id;
                for (number, (channel, frame)) in frames.into_iter().enumerate() {
                    bytes += channel.len() + frame.len();
                    if channel == self.channel.as_bytes() {
                        let offset = id.offset(self.part, number);
                        entries.push(Entry::Frame { bytes: frame.into(), offset });
                    }
                }
            }
            self.portion.learn(bytes, self.behind);
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }
}

async fn moved(moved: &mut Option<oneshot::Receiver<LinkError>>) -> LinkError {
    if let Some(told) = moved
        && let Ok(error) = told.await
    {
        return error;
    }
    *moved = None;
    std::future::pending().await
}
