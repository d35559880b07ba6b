//! Publishes so that the checker can tell.

use std::{sync::Arc, time::Duration};

use backplane_core::{Backplane, Envelope, PublishError, Ticket, Topic};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::watch, time::MissedTickBehavior};

use super::book::{Answer, Stream};
use crate::kit::{Doing, Outcome, SOON, Stop, within};

/// Publishes numbered envelopes on one topic. See
/// [`Checker::publisher`](super::Checker::publisher).
#[derive(Debug)]
pub struct Publisher {
    node: Arc<dyn Backplane>,
    stream: Arc<Stream>,
    padding: usize,
}

/// An envelope that was taken; its answer is still open.
#[derive(Debug)]
#[must_use = "settle it, or the checker takes its outcome for unknown"]
pub struct Posted {
    stream: Arc<Stream>,
    number: u64,
    ticket: Ticket,
}

impl Posted {
    /// Waits for the answer and notes it.
    pub async fn answer(self) -> Answer {
        let answer = Answer::of(&self.ticket.await);
        self.stream.answered(self.number, answer);
        answer
    }
}

impl Publisher {
    pub(super) const fn new(node: Arc<dyn Backplane>, stream: Arc<Stream>) -> Self {
        Self { node, stream, padding: 0 }
    }

    /// The same, with bodies that are longer by this many bytes.
    #[must_use]
    pub const fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Where it publishes.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.stream.topic
    }

    /// Publishes without waiting for anything.
    ///
    /// # Errors
    ///
    /// Those of [`Backplane::try_publish`].
    pub fn try_post(&self) -> Result<Posted, PublishError> {
        let (number, body) = self.stream.next(self.padding);
        match self.node.try_publish(Envelope::new(self.stream.topic.clone(), body)) {
            Ok(ticket) => Ok(Posted { stream: Arc::clone(&self.stream), number, ticket }),
            Err(error) => {
                self.stream.answered(number, Answer::Nothing);
                Err(error)
            }
        }
    }

    /// Publishes, waiting for room only.
    ///
    /// # Errors
    ///
    /// Those of [`Backplane::publish`], or there is no room in time.
    pub async fn post(&self) -> Outcome<Posted> {
        loop {
            match self.try_post() {
                Ok(posted) => return Ok(posted),
                Err(PublishError::Full(envelope)) => {
                    let room = self.node.room(&envelope);
                    within(SOON, "room in the outgoing queue", room).await?.doing("waiting")?;
                }
                Err(error) => return Err(error).doing("publishing"),
            }
        }
    }

    /// Publishes and waits for the answer, which may be that no other node gets it.
    ///
    /// # Errors
    ///
    /// Those of [`post`](Self::post), or there is no answer in time.
    pub async fn publish(&self) -> Outcome<Answer> {
        let posted = self.post().await?;
        within(SOON, "the outcome of an envelope", posted.answer()).await
    }

    /// Publishes that many, with many open at a time, and waits for all answers.
    ///
    /// # Errors
    ///
    /// Those of [`publish`](Self::publish).
    pub async fn publish_many(&self, count: usize) -> Outcome {
        let open = FuturesUnordered::new();
        for _ in 0..count {
            open.push(self.post().await?.answer());
        }
        within(SOON, "the outcome of many envelopes", open.for_each(async |_| ())).await
    }

    /// Publishes one at every beat until told to stop, whatever the answers are, and then waits for
    /// those that are still open. Returns how many were published for certain.
    ///
    /// # Errors
    ///
    /// The node takes none, for another reason than a full queue, or answers are missing.
    pub async fn keep_publishing(
        &self,
        beat: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Outcome<u64> {
        let mut open = FuturesUnordered::new();
        let mut beat = tokio::time::interval(beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut certain = 0;
        let mut count = |answer| certain += u64::from(matches!(answer, Answer::Ok(_)));
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(answer) = open.next() => count(answer),
                _ = beat.tick() => match self.try_post() {
                    Ok(posted) => open.push(posted.answer()),
                    Err(PublishError::Full(_)) => {}
                    Err(error) => return Err(Stop::from(error)),
                },
            }
        }
        let rest = async {
            while let Some(answer) = open.next().await {
                count(answer);
            }
        };
        within(SOON, "the outcome of envelopes after a fault", rest).await?;
        Ok(certain)
    }
}
