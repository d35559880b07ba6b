use std::{sync::Arc, time::Duration};

use super::{Shared, conversation::everyone};
use crate::{
    LinkError, Topic,
    interest::Work,
    wire::{Refused, Session},
};

/// The most topics in one step: one round trip, and a bound on what a lost one repeats.
const STEP: usize = 4096;

/// So many topics that change at once are a crowd. One that joins topic after topic never is.
const CROWD: usize = 8;

/// How long nobody must have come for a crowd to be complete: little beside the round trip to a broker
/// that is not nearby.
const GATHERING: Duration = Duration::from_millis(5);

/// For how many times as long it is gathered at most, where more keep coming.
const PATIENCE: u32 = 10;

impl Shared {
    /// Makes the broker route what other nodes say to this one, and to all.
    pub(super) async fn subscribe_own(
        &self,
        session: &impl Session,
        deadline: Duration,
    ) -> Result<(), LinkError> {
        let own = [self.probe_topic(), everyone()];
        let refused = answered(session.subscribe(&own), deadline).await?;
        self.counters.interest_round_trips.add(1);
        if let Some(Refused { what, reason }) = refused.into_iter().next() {
            let reason = format!("the broker refuses {what}, which every node needs: {reason}");
            return Err(LinkError::Lost { reason });
        }
        Ok(())
    }

    /// Makes the broker route everything desired so far; returns when each topic is confirmed or
    /// refused.
    pub(super) async fn subscribe_desired(
        &self,
        session: &impl Session,
        deadline: Duration,
    ) -> Result<(), LinkError> {
        let mut left = self.interest.waiting();
        while left > 0 {
            let work = self.interest.work(STEP.min(left));
            left -= STEP.min(left);
            self.step(session, &work, deadline).await?;
        }
        Ok(())
    }

    /// Makes the broker follow what is desired, for as long as the connection lives.
    pub(super) async fn follow_interest(
        &self,
        session: &impl Session,
        deadline: Duration,
    ) -> LinkError {
        loop {
            self.interest.changed().await;
            // Whoever is about to change something too joins this round trip. Where many do, more are
            // coming: a nearby broker would otherwise get a command for every few of them.
            tokio::task::yield_now().await;
            self.gather().await;
            let work = self.interest.work(STEP);
            if let Err(error) = self.step(session, &work, deadline).await {
                return error;
            }
        }
    }

    /// Waits while a crowd of changes grows.
    async fn gather(&self) {
        let mut crowd = self.interest.waiting();
        for _ in 0..PATIENCE {
            if !(CROWD..STEP).contains(&crowd) {
                return;
            }
            tokio::time::sleep(GATHERING).await;
            let grown = self.interest.waiting();
            if grown == crowd {
                return;
            }
            crowd = grown;
        }
    }

    async fn step(
        &self,
        session: &impl Session,
        work: &Work,
        deadline: Duration,
    ) -> Result<(), LinkError> {
        if work.is_empty() {
            return Ok(());
        }
        self.counters.interest_round_trips.add(1);
        let subscribe = async {
            if work.subscribe.is_empty() {
                return Ok(Vec::new());
            }
            session.subscribe(&work.subscribe).await
        };
        let unsubscribe = async {
            if work.unsubscribe.is_empty() {
                return Ok(());
            }
            session.unsubscribe(&work.unsubscribe).await
        };
        let both = async { tokio::try_join!(subscribe, unsubscribe) };
        let (refused, ()) = answered(both, deadline).await?;
        self.counters.topics_subscribed.add((work.subscribe.len() - refused.len()) as u64);
        self.counters.topics_unsubscribed.add(work.unsubscribe.len() as u64);
        work.unsubscribe.iter().for_each(|topic| self.interest.unrouted(topic));
        self.confirm(&work.subscribe, &refused);
        Ok(())
    }

    fn confirm(&self, topics: &[Topic], refused: &[Refused<Topic>]) {
        for topic in topics {
            match refused.iter().find(|refusal| refusal.what == *topic) {
                Some(refusal) => {
                    tracing::warn!(%topic, reason = %refusal.reason, "the broker refuses a topic");
                    self.interest.refused(topic, &Arc::clone(&refusal.reason));
                }
                None => self.interest.routed(topic),
            }
        }
    }
}

async fn answered<T>(
    work: impl Future<Output = Result<T, LinkError>>,
    waited: Duration,
) -> Result<T, LinkError> {
    match tokio::time::timeout(waited, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LinkError::TimedOut { doing: "changing subscriptions", waited }),
    }
}
