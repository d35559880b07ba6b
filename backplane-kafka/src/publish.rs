//! The client that publishes.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use backplane_core::{
    LinkError,
    wire::{Batch, Frame, Refused},
};
use rdkafka::{
    ClientContext, Message,
    client::Client,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::sync::{Notify, oneshot};

use crate::{
    client::{self, Ear},
    config::KafkaConfig,
    error::{self, is_refusal, lost},
    part,
};

/// Publishes, with one thread of its own beside those of the client library. Dropping it gives up what is on
/// its way.
pub(crate) struct Publisher {
    /// There until it is dropped.
    producer: Option<ThreadedProducer<Outcomes>>,
    topic: Box<str>,
    address: Box<str>,
    partitions: u32,
    /// Whose turn it is to give records to the library. A batch takes its place at its first poll and keeps
    /// it, so that no later batch overtakes it.
    turn: tokio::sync::Mutex<()>,
    /// The library's queue may have room again.
    room: Arc<Notify>,
}

/// Hears what became of records.
pub(crate) struct Outcomes {
    ear: Ear,
}

/// One record of some that were given to the library together.
pub(crate) struct Delivery {
    together: Arc<Together>,
    index: usize,
}

/// Records that were given to the library together.
struct Together {
    /// Those that are not told yet, and one for whoever still adds some.
    left: AtomicUsize,
    told: Mutex<Told>,
    room: Arc<Notify>,
}

struct Told {
    /// Where each stands now, or why it does not.
    outcomes: Vec<Result<i64, RDKafkaErrorCode>>,
    done: Option<oneshot::Sender<Vec<Result<i64, RDKafkaErrorCode>>>>,
}

impl Together {
    fn told(&self, index: usize, outcome: Result<i64, RDKafkaErrorCode>) {
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = told.outcomes.get_mut(index) {
                *place = outcome;
            }
        }
        self.one_less();
    }

    fn one_less(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = std::mem::take(&mut told.outcomes);
        if let Some(done) = told.done.take() {
            // Whoever waited may be gone with its connection.
            let _ = done.send(outcomes);
        }
        self.room.notify_waiters();
    }
}

impl ClientContext for Outcomes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.ear.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ear.error(error, reason);
    }
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        let outcome = match result {
            Ok(record) => Ok(record.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        delivery.together.told(delivery.index, outcome);
    }
}

/// A record to be.
struct Record<'a> {
    partition: u32,
    key: &'a str,
    value: &'a [u8],
}

impl Publisher {
    /// Creates the client; it connects by itself.
    pub(crate) fn new(config: &KafkaConfig, ear: Ear) -> Result<Self, LinkError> {
        let producer = client::producer(config).create_with_context(Outcomes { ear });
        Ok(Self {
            producer: Some(producer.map_err(lost)?),
            topic: config.topic.as_str().into(),
            address: config.servers.join(",").into(),
            partitions: config.partitions,
            turn: tokio::sync::Mutex::default(),
            room: Arc::default(),
        })
    }

    /// The client, for questions.
    pub(crate) fn client(&self) -> Option<&Client<Outcomes>> {
        self.producer.as_ref().map(|producer| producer.client())
    }

    /// Stores a batch: returns when the brokers have it, as far as `acks` says.
    pub(crate) async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let frames = batch.frames();
        let keys: Vec<String> = frames.iter().map(|frame| part::key(&frame.topic)).collect();
        let records = frames.iter().zip(&keys).map(|(frame, key)| Record {
            partition: part::of(&frame.topic, self.partitions),
            key,
            value: &frame.bytes,
        });
        let outcomes = self.store(records).await?;
        refusals(&frames, outcomes)
    }

    /// Writes a record into each of these partitions that marks a place, and answers where they stand:
    /// behind all that was stored before.
    ///
    /// Not asked for instead, as brokers may: Tansu 0.6 calls the end of a partition what is the beginning
    /// of its last batch, plus one. And a record proves that the partition takes and brings some.
    pub(crate) async fn fence(&self, partitions: &[u32]) -> Result<Vec<i64>, LinkError> {
        let records = partitions.iter().map(|partition| Record {
            partition: *partition,
            key: part::FENCE,
            value: &[],
        });
        let outcomes = self.store(records).await?;
        let place = |outcome: Result<i64, RDKafkaErrorCode>| {
            outcome.map_err(|code| error::of_fence(code, &self.topic, &self.address))
        };
        outcomes.into_iter().map(place).collect()
    }

    /// Gives records to the library, in their order, and waits for what becomes of them.
    async fn store(
        &self,
        records: impl ExactSizeIterator<Item = Record<'_>>,
    ) -> Result<Vec<Result<i64, RDKafkaErrorCode>>, LinkError> {
        let (done, told) = oneshot::channel();
        let together = Arc::new(Together {
            left: AtomicUsize::new(records.len() + 1),
            told: Mutex::new(Told {
                outcomes: vec![Err(RDKafkaErrorCode::Fail); records.len()],
                done: Some(done),
            }),
            room: Arc::clone(&self.room),
        });
        // A yield for fairness before its place is taken would let the next one pass.
        let turn = tokio::task::unconstrained(self.turn.lock()).await;
        for (index, record) in records.enumerate() {
            self.send(&record, &together, index).await?;
        }
        drop(turn);
        together.one_less();
        told.await.map_err(|_| lost("the client that publishes has ended"))
    }

    async fn send(
        &self,
        record: &Record<'_>,
        together: &Arc<Together>,
        index: usize,
    ) -> Result<(), LinkError> {
        let Some(producer) = &self.producer else { return Err(lost("it has ended")) };
        let mut delivery = Box::new(Delivery { together: Arc::clone(together), index });
        loop {
            let room = self.room.notified();
            let sent = producer.send(
                BaseRecord::with_opaque_to(&self.topic, delivery)
                    .partition(record.partition as i32)
                    .key(record.key)
                    .payload(record.value),
            );
            let Err((error, unsent)) = sent else { return Ok(()) };
            match error.rdkafka_error_code() {
                // The node has less under way than the queue holds, so this is rare.
                Some(RDKafkaErrorCode::QueueFull) => {
                    delivery = unsent.delivery_opaque;
                    // Woken by whatever is stored, or else tried again.
                    let _ = tokio::time::timeout(Duration::from_millis(5), room).await;
                }
                Some(code) if is_refusal(code) => {
                    together.told(index, Err(code));
                    return Ok(());
                }
                _ => return Err(lost(error)),
            }
        }
    }
}

/// The envelopes whose record was refused; or that the connection is lost.
fn refusals(
    frames: &[Frame],
    outcomes: Vec<Result<i64, RDKafkaErrorCode>>,
) -> Result<Vec<Refused<usize>>, LinkError> {
    let mut refused = Vec::new();
    for (frame, outcome) in frames.iter().zip(outcomes) {
        match outcome {
            Ok(_) => {}
            Err(code) if is_refusal(code) => {
                let reason: Arc<str> = code.to_string().into();
                let each = |what: &usize| Refused { what: *what, reason: Arc::clone(&reason) };
                refused.extend(frame.envelopes.iter().map(each));
            }
            Err(code) => return Err(lost(format!("a record could not be stored: {code}"))),
        }
    }
    refused.sort_unstable_by_key(|refused| refused.what);
    Ok(refused)
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            // It gives up what is on its way, and waits for the library's threads.
            let ending = thread::Builder::new().name("backplane-kafka-end".to_owned());
            if let Err(error) = ending.spawn(move || drop(producer)) {
                tracing::warn!(%error, "the client that publishes was ended in place");
            }
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}
