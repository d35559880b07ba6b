//! Reading a part from a position on, for one topic.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backplane_core::{
    LinkError,
    wire::{Entry, Reader},
};
use redis::{Value, aio::MultiplexedConnection, cmd};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::{
    part::{Id, Parts},
    reply::{self, Found},
};
use crate::error;

/// How long the server holds back an empty answer.
const BLOCK: Duration = Duration::from_secs(5);

/// How much later than that an answer counts as none.
const SLACK: Duration = Duration::from_secs(3);

/// The most entries in one answer.
const MOST: usize = 512;

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
            read.arg("COUNT").arg(MOST).arg("BLOCK").arg(BLOCK.as_millis() as u64);
            read.arg("STREAMS").arg(self.parts.key(self.part)).arg(self.read.to_string());
            // Cancelled, the answer is dropped by the client library, and the same is read again.
            let answer = read.query_async::<Value>(&mut self.connection);
            let waited = BLOCK + SLACK;
            let answer = tokio::select! {
                biased;
                answer = tokio::time::timeout(waited, answer) => answer,
                moved = moved(&mut self.moved) => return Err(moved),
            };
            let Ok(answer) = answer else {
                return Err(LinkError::TimedOut { doing: "reading a stream", waited });
            };
            let answer = answer.map_err(|error| error::lost(&error))?;
            let mut entries = Vec::new();
            for Found { id, frames, .. } in reply::read(&self.parts, answer) {
                self.read = id;
                for (number, (channel, frame)) in frames.into_iter().enumerate() {
                    if channel == self.channel.as_bytes() {
                        let offset = id.offset(self.part, number);
                        entries.push(Entry::Frame { bytes: frame.into(), offset });
                    }
                }
            }
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
