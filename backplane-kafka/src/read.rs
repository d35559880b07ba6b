//! Reading a partition from a place on, for one topic.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use backplane_core::{
    LinkError,
    wire::{Entry, Reader},
};
use bytes::Bytes;
use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer as _},
    message::BorrowedMessage,
};
use tokio::sync::mpsc;

use crate::{
    client::{self, Ear},
    config::KafkaConfig,
    error::{self, lost},
    follow::{Look, Missing, assignment, offset_of, read_again},
};

/// How soon the thread looks whether it is to end.
const POLL: Duration = Duration::from_millis(100);

/// The most records that are handed over together, and how often that may be ahead of the reader.
const MOST: usize = 512;
const AHEAD: usize = 4;

/// One client, read by a thread of its own. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct LogReader {
    found: mpsc::Receiver<Result<Vec<Entry>, LinkError>>,
    /// Whether something is gone before the first record, and that is not told yet.
    trimmed: bool,
}

struct Reading {
    consumer: BaseConsumer<Ear>,
    topic: String,
    partition: u32,
    key: String,
    /// What comes next.
    next: i64,
    missing: Missing,
    /// Why the client has lost the cluster.
    cause: Arc<Mutex<Option<LinkError>>>,
}

impl LogReader {
    /// Reads records of this key in a partition, from `next` on.
    pub(crate) fn start(
        config: &KafkaConfig,
        partition: u32,
        key: String,
        next: i64,
        trimmed: bool,
    ) -> Result<Self, LinkError> {
        let (client, topic) = (client::consumer(config), config.topic.clone());
        let cause = Arc::new(Mutex::new(None));
        let told = Arc::clone(&cause);
        let ear = Ear::new(config, move |cause| {
            told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        });
        let (find, found) = mpsc::channel(AHEAD);
        let run = move || {
            let opened = client.create_with_context(ear).and_then(|consumer: BaseConsumer<Ear>| {
                consumer.assign(&assignment(&topic, [(partition as i32, next)])?)?;
                Ok(consumer)
            });
            let outcome = match opened {
                Ok(consumer) => {
                    let missing = Missing::default();
                    Reading { consumer, topic, partition, key, next, missing, cause }.run(&find)
                }
                Err(error) => Err(lost(error)),
            };
            if let Err(cause) = outcome {
                // Whoever read may be gone.
                let _ = find.blocking_send(Err(cause));
            }
        };
        thread::Builder::new().name("backplane-kafka-read".to_owned()).spawn(run).map_err(lost)?;
        Ok(Self { found, trimmed })
    }
}

impl Reading {
    /// Reads until nobody wants it any more, or the cluster is lost.
    fn run(mut self, find: &mpsc::Sender<Result<Vec<Entry>, LinkError>>) -> Result<(), LinkError> {
        while !find.is_closed() {
            let mut entries = Vec::new();
            let mut wait = POLL;
            let mut again = false;
            while entries.len() < MOST && !again {
                match self.consumer.poll(wait) {
                    None => break,
                    Some(Ok(record)) => {
                        let look = self.missing.look(self.partition, self.next, record.offset());
                        // Wherever the log begins.
                        let begins = self.next == 0;
                        again = look == Look::Again && !begins;
                        if look == Look::Gone {
                            entries.push(Entry::Trimmed);
                        }
                        if look != Look::Passed && !again {
                            self.next = record.offset() + 1;
                            entries.extend(entry(&record, &self.key));
                        }
                    }
                    Some(Err(trouble)) => {
                        if let Some(cause) = error::of_reading(&trouble, &self.topic) {
                            return Err(cause);
                        }
                    }
                }
                wait = Duration::ZERO;
            }
            if !entries.is_empty() && find.blocking_send(Ok(entries)).is_err() {
                return Ok(());
            }
            if again {
                read_again(&self.consumer, &self.topic, self.partition, self.next).map_err(lost)?;
            }
            if let Some(cause) = self.cause.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(cause);
            }
        }
        Ok(())
    }
}

fn entry(record: &BorrowedMessage<'_>, key: &str) -> Option<Entry> {
    if record.key() != Some(key.as_bytes()) {
        return None;
    }
    let bytes = Bytes::copy_from_slice(record.payload().unwrap_or_default());
    Some(Entry::Frame { bytes, offset: offset_of(record.partition() as u32, record.offset()) })
}

#[async_trait]
impl Reader for LogReader {
    async fn next(&mut self) -> Result<Vec<Entry>, LinkError> {
        if std::mem::take(&mut self.trimmed) {
            return Ok(vec![Entry::Trimmed]);
        }
        match self.found.recv().await {
            Some(found) => found,
            None => Err(lost("the thread that reads has ended")),
        }
    }
}
