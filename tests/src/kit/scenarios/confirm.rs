//! P1: when a subscription is confirmed, the broker routes.

use std::{collections::HashSet, sync::Arc};

use backplane_core::{Backplane, Delivery, Envelope, Filter, Replay, Topic};
use futures_util::{FutureExt, future::try_join_all};

use super::HUB;
use crate::kit::{
    Collector, Doing, Outcome, SOON, Stage, Stop, confirmed, ensure, fence, publish, within,
};

/// A thousand times: another node publishes right behind the confirmation, and each envelope
/// arrives.
///
/// # Errors
///
/// One did not.
pub async fn what_follows_a_confirmation_arrives(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    for round in 0..1000 {
        right_behind(&*here, &*there, round).await.doing(format!("round {round}"))?;
    }
    Ok(())
}

/// The same from many tasks at once, so that confirmations come in batches.
///
/// # Errors
///
/// An envelope did not arrive.
pub async fn many_confirmations_at_once(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let tasks = (0..20).map(|task| {
        let (here, there) = (Arc::clone(&here), Arc::clone(&there));
        tokio::spawn(async move {
            for round in 0..50 {
                let number = task * 1000 + round;
                right_behind(&*here, &*there, number).await.doing(format!("number {number}"))?;
            }
            Outcome::Ok(())
        })
    });
    for done in within(SOON * 2, "all tasks", try_join_all(tasks)).await?? {
        done?;
    }
    Ok(())
}

async fn right_behind(here: &dyn Backplane, there: &dyn Backplane, number: usize) -> Outcome {
    let topic = Topic::connection(HUB, &format!("connection {number}"));
    let ear = Collector::new();
    let subscription = ear.subscribe(here, std::slice::from_ref(&topic))?;
    confirmed(&subscription).await?;
    let ticket = there.try_publish(Envelope::new(topic, "right behind")).doing("publishing")?;
    ear.has(1, "an envelope that was published right behind the confirmation").await?;
    within(SOON, "its receipt", ticket).await?.map(drop).doing("its receipt")
}

/// The confirmation of a subscription of many topics covers each of them.
///
/// # Errors
///
/// An envelope did not arrive, or more than once.
pub async fn a_confirmation_covers_every_topic(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topics: Vec<_> = (0..500).map(|at| Topic::user(HUB, &format!("user {at}"))).collect();
    let (ear, _subscription) = Collector::listen(&*here, &topics).await?;
    each_arrives_once(&*there, &topics, &ear).await
}

/// Publishes one envelope on each of these topics, and demands that `ear` hears each once.
pub(super) async fn each_arrives_once(
    from: &dyn Backplane,
    topics: &[Topic],
    ear: &Collector,
) -> Outcome {
    let before = ear.count();
    let send = |topic: &Topic| publish(from, Envelope::new(topic.clone(), "to each"));
    // In portions, so that any queue has room.
    for portion in topics.chunks(1000) {
        try_join_all(portion.iter().map(send)).await?;
    }
    ear.has(before + topics.len(), "one envelope on each topic").await?;
    if let Some(topic) = topics.last() {
        fence(from, topic, &[ear]).await?;
    }
    let heard: Vec<_> = ear.messages().split_off(before).into_iter().map(|it| it.topic).collect();
    let different: HashSet<_> = heard.iter().collect();
    let missing: Vec<_> = topics.iter().filter(|topic| !different.contains(topic)).collect();
    ensure!(missing.is_empty(), "nothing came on {} topics: {missing:.3?}", missing.len());
    let more = heard.len() - topics.len();
    ensure!(more == 0, "{more} envelopes came again");
    Ok(())
}

/// A confirmation can be awaited again, by several at once, and given up; nothing is confirmed at
/// once.
///
/// # Errors
///
/// It can't.
pub async fn confirmations_stay_true(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let nothing = here.subscribe(&[]).doing("subscribing to nothing")?;
    confirmed(&nothing).await?;

    let topic = Topic::group(HUB, "patient");
    let ear = Collector::new();
    let subscription = ear.subscribe(&*here, std::slice::from_ref(&topic))?;
    // Given up before it resolves, most likely; that must not matter.
    let _ = subscription.confirmed().now_or_never();
    let several = (0..5).map(|_| confirmed(&subscription));
    try_join_all(several).await?;
    confirmed(&subscription).await?;
    let again = subscription.confirmed().now_or_never();
    ensure!(matches!(again, Some(Ok(()))), "a confirmation came undone: {again:?}");
    let topics: Vec<_> = subscription.topics().collect();
    ensure!(topics == [&topic], "the subscription knows of {topics:?}");
    publish(&*there, Envelope::new(topic, "x")).await?;
    ear.has(1, "an envelope").await
}

/// A new subscriber hears nothing of what was published before it subscribed.
///
/// # Errors
///
/// It does, though no replay is promised.
pub async fn nothing_from_before_arrives(stage: &Stage) -> Outcome {
    let [here, there, witness] = stage.nodes().await?;
    let replay = here.semantics().replay;
    if replay != Replay::None {
        return Err(Stop::NotPromised(format!("it replays: {replay:?}")));
    }
    let [topic, other] = ["history", "another"].map(|name| Topic::group(HUB, name));
    // The witness has heard it, so it was routed before the other subscribed.
    let (ear, _witness) = Collector::listen(&*witness, std::slice::from_ref(&topic)).await?;
    for _ in 0..100 {
        publish(&*there, Envelope::new(topic.clone(), "old")).await?;
    }
    ear.has(100, "what was published before, at the witness").await?;
    if matches!(here.semantics().delivery, Delivery::Repaired | Delivery::Counted) {
        // It is from before for whoever has heard of its origin since, on whatever topic.
        let (guard, _guard) = Collector::listen(&*here, std::slice::from_ref(&other)).await?;
        fence(&*there, &other, &[&guard]).await?;
        stage.not_promised("that what an origin published since it was last heard of stays away");
    }
    let (late, _late) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    publish(&*there, Envelope::new(topic.clone(), "new")).await?;
    fence(&*there, &topic, &[&late]).await?;
    let bodies = late.bodies();
    if here.semantics().filter == Filter::Node && bodies.last().is_some_and(|it| it == "new") {
        // Nothing is asked of such a medium, so what is on its way to the node meets the new
        // interest.
        stage.not_promised("that what is still on its way does not arrive");
        return Ok(());
    }
    ensure!(bodies == ["new"], "a new subscriber heard {} envelopes: {bodies:.3?}", bodies.len());
    Ok(())
}
