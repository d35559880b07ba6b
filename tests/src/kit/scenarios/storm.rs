//! P12: mass changes of interest are batches.

use std::sync::Arc;

use backplane_core::{Backplane, PublisherOutage, Topic};
use futures_util::future::try_join_all;

use super::{HUB, confirm::each_arrives_once};
use crate::kit::{Collector, Control, Outcome, SOON, Stage, confirmed, ensure, eventually, within};

/// How many topics make a storm.
pub(super) const TOPICS: usize = 10_000;
/// The most round trips per hundred topics.
const PERCENT: usize = 1;

pub(super) fn groups() -> Vec<Topic> {
    (0..TOPICS).map(|number| Topic::group(HUB, &format!("group {number}"))).collect()
}

/// Counts the round trips for one node's interest: what the node says, and what the medium has
/// seen.
pub(super) struct RoundTrips {
    node: u64,
    medium: Option<u64>,
}

impl RoundTrips {
    pub(super) async fn so_far(stage: &Stage, node: &dyn Backplane) -> Outcome<Self> {
        let medium = match stage.can(Control::Census) {
            true => stage.medium().census().await?.requests,
            false => None,
        };
        Ok(Self { node: node.stats().interest_round_trips, medium })
    }

    /// The medium was restarted, and counts from nothing.
    pub(super) fn restarted(&mut self) {
        self.medium = self.medium.map(|_| 0);
    }

    /// Notes how many there were since the last time, and demands that they are below 1 % of the
    /// topics.
    ///
    /// Within one process a round trip takes no time, so there is nothing to gain by waiting for
    /// more to send along; there the figure says nothing, and is only noted.
    pub(super) async fn few(&mut self, stage: &Stage, node: &dyn Backplane, what: &str) -> Outcome {
        let now = Self::so_far(stage, node).await?;
        let trips = now.node - self.node;
        let share = trips as f64 * 100.0 / TOPICS as f64;
        let seen = match now.medium.zip(self.medium) {
            Some((now, before)) => format!("; the broker has seen {} requests", now - before),
            None => String::new(),
        };
        stage.note(format_args!(
            "{what}: {TOPICS} topics in {trips} round trips ({share:.2} %){seen}"
        ));
        let requests = now.medium.zip(self.medium).map_or(0, |(now, before)| now - before);
        let most = trips.max(requests);
        if node.semantics().publisher_outage != PublisherOutage::Never {
            ensure!(most < (TOPICS * PERCENT / 100) as u64, "{what} took {most} round trips{seen}");
        }
        *self = now;
        Ok(())
    }
}

/// Ten thousand topics are subscribed in one call, and given up again.
///
/// # Errors
///
/// That takes more round trips than 1 % of the topics, or an envelope does not arrive.
pub async fn many_topics_at_once_take_few_round_trips(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topics = groups();
    let mut round_trips = RoundTrips::so_far(stage, &*here).await?;
    let ear = Collector::new();
    let subscription = ear.subscribe(&*here, &topics)?;
    confirmed(&subscription).await?;
    round_trips.few(stage, &*here, "subscribing at once").await?;
    each_arrives_once(&*there, &topics, &ear).await?;
    drop(subscription);
    eventually(SOON, "all topics to be given up", async || {
        let given_up = here.stats().topics_unsubscribed;
        let done = given_up == TOPICS as u64;
        Ok(if done { Ok(()) } else { Err(format!("{given_up} are")) })
    })
    .await?;
    round_trips.few(stage, &*here, "giving them up").await
}

/// A join storm: ten thousand connections join a group each, every one for itself, all at once, and
/// leave.
///
/// # Errors
///
/// That takes more round trips than 1 % of the joins, or an envelope does not arrive.
pub async fn many_joins_at_once_take_few_round_trips(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topics = groups();
    let mut round_trips = RoundTrips::so_far(stage, &*here).await?;
    let ear = Collector::new();
    let begun = std::time::Instant::now();
    let tasks = topics.chunks(TOPICS / 8).map(|topics| {
        let (here, ear, topics) = (Arc::clone(&here), Arc::clone(&ear), topics.to_vec());
        tokio::spawn(async move {
            let joins = topics.iter().map(async |topic| {
                let subscription = ear.subscribe(&*here, std::slice::from_ref(topic))?;
                confirmed(&subscription).await?;
                Outcome::Ok(subscription)
            });
            try_join_all(joins).await
        })
    });
    let mut joined = Vec::new();
    for subscriptions in within(SOON, "all joins", try_join_all(tasks)).await?? {
        joined.extend(subscriptions?);
    }
    stage.note(format_args!("all joined within {:.1?}", begun.elapsed()));
    round_trips.few(stage, &*here, "joining").await?;
    each_arrives_once(&*there, &topics, &ear).await?;
    drop(joined);
    eventually(SOON, "all groups to be left", async || {
        let given_up = here.stats().topics_unsubscribed;
        let done = given_up == TOPICS as u64;
        Ok(if done { Ok(()) } else { Err(format!("{given_up} are")) })
    })
    .await?;
    round_trips.few(stage, &*here, "leaving").await
}
