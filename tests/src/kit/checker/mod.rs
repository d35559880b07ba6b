//! Keeps what was sent, what publish answered, and what arrived, and compares.
//!
//! ```
//! use std::sync::Arc;
//!
//! use backplane_core::{Backplane, Topic};
//! use backplane_tests::kit::Checker;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), String> {
//! let medium = backplane_memory::Medium::new();
//! let here: Arc<dyn Backplane> = Arc::new(medium.node());
//! let there: Arc<dyn Backplane> = Arc::new(medium.node());
//! # here.link().wait_for(|link| link.is_up()).await.map_err(|error| error.to_string())?;
//! let topic = Topic::group("orders", "kitchen");
//!
//! let checker = Checker::new();
//! let listener = checker.listen("there", &*there, &[topic.clone()]).await.map_err(text)?;
//! let publisher = checker.publisher(&here, &topic);
//! for _ in 0..100 {
//!     publisher.publish().await.map_err(text)?;
//! }
//! checker.settled().await.map_err(text)?;
//! checker.report().exact().map_err(text)?;
//! # drop(listener);
//! # Ok(())
//! # }
//! # fn text(stop: backplane_tests::kit::Stop) -> String { format!("{stop:?}") }
//! ```

mod book;
mod compare;
mod publisher;
mod receiver;
mod report;

#[cfg(test)]
mod tests;

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use backplane_core::{Backplane, NodeId, Sink, Subscription, Topic};

use super::{Doing, Outcome, collect::confirmed};
use book::Stream;

pub use book::Answer;
pub use publisher::Publisher;
pub use receiver::Receiver;
pub use report::{Findings, How, Lost, Place, Report};

/// What was sent and what arrived, for one scenario. Clones share it.
#[derive(Debug, Clone)]
pub struct Checker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Tells envelopes of this checker from any other's.
    run: u64,
    streams: RwLock<Vec<Arc<Stream>>>,
    receivers: Mutex<Vec<Arc<Receiver>>>,
}

/// A receiver and its subscription, which ends with it.
#[derive(Debug)]
pub struct Listener {
    /// What it heard.
    pub receiver: Arc<Receiver>,
    /// Its interest.
    pub subscription: Subscription,
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// One that knows of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        static RUNS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let run = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Another process on the same medium must not be mistaken for this one.
        let process = u64::from(std::process::id()) << 32;
        Self(Arc::new(Shared {
            run: process | run,
            streams: RwLock::default(),
            receivers: Mutex::default(),
        }))
    }

    /// A receiver on `node`; subscribe it, and then say what it [`expects`](Receiver::expects).
    #[must_use]
    pub fn receiver(&self, label: impl Display, node: NodeId) -> Arc<Receiver> {
        let receiver = Arc::new(Receiver::new(label.to_string(), node, self.0.run));
        let mut receivers = self.0.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.push(Arc::clone(&receiver));
        receiver
    }

    /// A receiver that is subscribed to these topics on `node`, confirmed, and expects everything
    /// that is published on them from now on.
    ///
    /// # Errors
    ///
    /// The subscription fails, or is not confirmed in time.
    pub async fn listen(
        &self,
        label: impl Display,
        node: &dyn Backplane,
        topics: &[Topic],
    ) -> Outcome<Listener> {
        let receiver = self.receiver(label, node.node());
        let sink =
            |topic: &Topic| (topic.clone(), Arc::<Receiver>::clone(&receiver) as Arc<dyn Sink>);
        let interest: Vec<_> = topics.iter().map(sink).collect();
        let subscription = node.subscribe(&interest).doing("subscribing")?;
        confirmed(&subscription).await?;
        receiver.expects(topics);
        Ok(Listener { receiver, subscription })
    }

    /// Publishes numbered envelopes on `topic` through `node`. Several on one topic of one node
    /// make separate streams, so a topic's order is checked for each publisher.
    #[must_use]
    pub fn publisher(&self, node: &Arc<dyn Backplane>, topic: &Topic) -> Publisher {
        Publisher::new(Arc::clone(node), self.stream(node.node(), topic))
    }

    fn stream(&self, origin: NodeId, topic: &Topic) -> Arc<Stream> {
        let mut streams = self.0.streams.write().unwrap_or_else(PoisonError::into_inner);
        let id = u32::try_from(streams.len()).unwrap_or(u32::MAX);
        let stream = Arc::new(Stream::new(self.0.run, id, origin, topic.clone()));
        streams.push(Arc::clone(&stream));
        stream
    }

    fn streams(&self) -> Vec<Arc<Stream>> {
        self.0.streams.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn receivers(&self) -> Vec<Arc<Receiver>> {
        self.0.receivers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until every receiver has the latest envelope of each stream that it expects. Call it
    /// when the links are up and nothing is published any more: what is not there afterwards is
    /// lost.
    ///
    /// # Errors
    ///
    /// A latest envelope does not arrive in time.
    pub async fn settled(&self) -> Outcome {
        let streams = self.streams();
        for receiver in self.receivers() {
            for stream in &streams {
                if let Some(latest) = stream.latest_taken()
                    && receiver.expected_since(&stream.topic).is_some()
                {
                    receiver.hears(stream, latest).await.doing(self.report())?;
                }
            }
        }
        Ok(())
    }

    /// Compares what was sent with what arrived so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let streams = self.streams();
        let findings = self.receivers().iter().map(|it| Findings::of(it, &streams)).collect();
        Report { receivers: findings }
    }
}
