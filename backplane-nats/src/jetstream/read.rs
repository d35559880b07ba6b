//! Reading a part from a position on, for one topic.

use std::sync::Arc;

use async_trait::async_trait;
use backplane_core::{
    LinkError,
    wire::{Entry, Reader},
};

use super::{
    api::Api,
    consumer::{Consumer, Ended},
    entry,
    stream::Stream,
};

#[derive(Debug)]
pub(super) struct StreamReader {
    pub(super) api: Api,
    pub(super) stream: Arc<Stream>,
    /// When the stream was made.
    pub(super) created: u64,
    pub(super) part: u32,
    pub(super) channel: String,
    /// Up to this sequence it was read.
    pub(super) read: u64,
    /// Whether something behind it is gone, and that is not told yet.
    pub(super) trimmed: bool,
    pub(super) consumer: Option<Consumer>,
    /// How many consumers there were.
    pub(super) consumers: u64,
}

#[async_trait]
impl Reader for StreamReader {
    async fn next(&mut self) -> Result<Vec<Entry>, LinkError> {
        if std::mem::take(&mut self.trimmed) {
            return Ok(vec![Entry::Trimmed]);
        }
        loop {
            let Some(consumer) = &mut self.consumer else {
                self.consumers += 1;
                let (number, from) = (self.consumers, self.read + 1);
                let opened =
                    Consumer::open(&self.api, &self.stream, number, &[self.part], from).await?;
                self.stream.standing(&self.api, self.created).await?;
                self.consumer = Some(opened);
                continue;
            };
            let found = match consumer.next(&self.stream).await {
                Ok(found) => found,
                Err(Ended::Broken(reason)) => {
                    tracing::debug!(reason, "the consumer is made anew");
                    self.consumer = None;
                    continue;
                }
                Err(Ended::Lost(cause)) => return Err(cause),
            };
            let mut entries = Vec::new();
            let log = (&self.api, &*self.stream, self.created);
            if consumer.overtaken.look(log, self.read, &found).await? {
                entries.push(Entry::Trimmed);
            }
            for found in found {
                let sequence = found.at.sequence;
                let is_new = sequence > self.read;
                self.read = self.read.max(sequence);
                if !is_new {
                    continue;
                }
                let frames = (0..).zip(entry::read(&found.payload).unwrap_or_default());
                for (number, (_, place)) in frames.filter(|(_, (it, _))| *it == self.channel) {
                    let offset = Stream::offset(self.part, self.created, sequence, number);
                    entries.push(Entry::Frame { bytes: found.payload.slice(place), offset });
                }
            }
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }
}
