//! P12: mass changes of interest are batches.

use std::sync::Arc;

use backplane_core::{PublisherOutage, Semantics, Topic};
use futures_util::future::try_join_all;

use super::{HUB, confirm::each_arrives_once};
use crate::kit::{Collector, Outcome, SOON, Stage, confirmed, ensure, eventually, within};

/// How many topics make a storm.
pub(super) const TOPICS: usize = 10_000;
/// The most round trips per hundred topics.
const PERCENT: usize = 1;

pub(super) fn groups() -> Vec<Topic> {
    (0..TOPICS).map(|number| Topic::group(HUB, &format!("group {number}"))).collect()
}

/// Notes the figure, and demands that it stays below 1 % of the topics.
///
/// Within one process a round trip takes no time, so there is nothing to gain by waiting for more to send along;
/// there the figure says nothing, and is only noted.
pub(super) fn few(stage: &Stage, semantics: Semantics, what: &str, round_trips: u64) -> Outcome {
    let share = round_trips as f64 * 100.0 / TOPICS as f64;
    stage.note(format_args!("{what}: {TOPICS} topics in {round_trips} round trips ({share:.2} %)"));
    let most = (TOPICS * PERCENT / 100) as u64;
    let judged = semantics.publisher_outage != PublisherOutage::Never;
    ensure!(round_trips < most || !judged, "{what} took {round_trips} round trips");
    Ok(())
}

/// Ten thousand topics are subscribed in one call, and given up again.
///
/// # Errors
///
/// That takes more round trips than 1 % of the topics, or an envelope does not arrive.
pub async fn many_topics_at_once_take_few_round_trips(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topics = groups();
    let before = here.stats().interest_round_trips;
    let ear = Collector::new();
    let subscription = ear.subscribe(&*here, &topics)?;
    confirmed(&subscription).await?;
    let subscribed = here.stats().interest_round_trips;
    few(stage, here.semantics(), "subscribing at once", subscribed - before)?;
    each_arrives_once(&*there, &topics, &ear).await?;
    drop(subscription);
    eventually(SOON, "all topics to be given up", async || {
        let given_up = here.stats().topics_unsubscribed;
        let done = given_up == TOPICS as u64;
        Ok(if done { Ok(()) } else { Err(format!("{given_up} are")) })
    })
    .await?;
    few(stage, here.semantics(), "giving them up", here.stats().interest_round_trips - subscribed)
}

/// A join storm: ten thousand connections join a group each, every one for itself, all at once, and leave.
///
/// # Errors
///
/// That takes more round trips than 1 % of the joins, or an envelope does not arrive.
pub async fn many_joins_at_once_take_few_round_trips(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topics = groups();
    let before = here.stats().interest_round_trips;
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
    let round_trips = here.stats().interest_round_trips;
    few(stage, here.semantics(), "joining", round_trips - before)?;
    each_arrives_once(&*there, &topics, &ear).await?;
    drop(joined);
    eventually(SOON, "all groups to be left", async || {
        let given_up = here.stats().topics_unsubscribed;
        let done = given_up == TOPICS as u64;
        Ok(if done { Ok(()) } else { Err(format!("{given_up} are")) })
    })
    .await?;
    few(stage, here.semantics(), "leaving", here.stats().interest_round_trips - round_trips)
}
