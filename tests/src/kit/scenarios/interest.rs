//! Interest that comes and goes.

use std::{sync::Arc, time::Duration};

use backplane_core::{Backplane, Envelope, Filter, Topic};
use futures_util::future::try_join_all;

use super::HUB;
use crate::kit::{
    Checker, Collector, Control, Doing, Outcome, SOON, Stage, confirmed, ensure, eventually, fence,
    publish, within,
};

/// Ten thousand times, from eight tasks, one topic is subscribed and given up again. Whoever waits
/// for its confirmation hears what is published then; at the end nothing is left, and the topic
/// works as before.
///
/// # Errors
///
/// Interest got lost, or something is left.
pub async fn flips_of_one_topic_leave_the_right_interest(stage: &Stage) -> Outcome {
    const TASKS: usize = 8;
    const EACH: usize = 1250;
    let [here, there] = stage.nodes().await?;
    let counts = stage.can(Control::Census);
    let before = if counts { Some(stage.medium().census().await?) } else { None };
    let topic = Topic::group(HUB, "flip");
    let tasks = (0..TASKS).map(|task| {
        let (here, there, topic) = (Arc::clone(&here), Arc::clone(&there), topic.clone());
        tokio::spawn(async move {
            for flip in 0..EACH {
                flip_once(&*here, &*there, &topic, task * EACH + flip)
                    .await
                    .doing(format!("flip {flip} of task {task}"))?;
            }
            Outcome::Ok(())
        })
    });
    for done in within(SOON * 4, "all flips", try_join_all(tasks)).await?? {
        done?;
    }
    subscribed(&*here, 0).await?;
    if let Some(before) = before {
        census_returns(stage, before.subscriptions).await?;
    }
    let (ear, subscription) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    publish(&*there, Envelope::new(topic.clone(), "after all")).await?;
    ear.has(1, "an envelope after all flips").await?;
    drop(subscription);
    subscribed(&*here, 0).await
}

async fn flip_once(
    here: &dyn Backplane,
    there: &dyn Backplane,
    topic: &Topic,
    number: usize,
) -> Outcome {
    let ear = Collector::new();
    let subscription = ear.subscribe(here, std::slice::from_ref(topic))?;
    match number % 20 {
        // Most are given up before the broker knows of them.
        1.. => tokio::task::yield_now().await,
        0 => {
            confirmed(&subscription).await?;
            let body = number.to_string();
            publish(there, Envelope::new(topic.clone(), body.clone())).await?;
            ear.body(body.as_bytes(), "what was published behind a confirmation").await?;
        }
    }
    Ok(())
}

/// Waits until the node holds that many topics at the broker, as far as it counts. Only on its
/// first connection: what is subscribed again counts again.
pub(super) async fn subscribed(node: &dyn Backplane, count: usize) -> Outcome {
    eventually(SOON, format!("{count} topics to be subscribed"), async || {
        let stats = node.stats();
        let now = stats.topics_subscribed.saturating_sub(stats.topics_unsubscribed);
        Ok(if now == count as u64 { Ok(()) } else { Err(format!("{now} are")) })
    })
    .await
}

async fn census_returns(stage: &Stage, subscriptions: u64) -> Outcome {
    eventually(SOON, "the broker to know of no more subscriptions than before", async || {
        let now = stage.medium().census().await?.subscriptions;
        let same = now == subscriptions;
        Ok(if same { Ok(()) } else { Err(format!("{now} instead of {subscriptions}")) })
    })
    .await
}

/// While others flip the same topic, a steady subscriber misses nothing.
///
/// # Errors
///
/// It missed something.
pub async fn flips_do_not_disturb_a_steady_subscriber(stage: &Stage) -> Outcome {
    const TASKS: usize = 4;
    const ENOUGH: usize = 300;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "steady");
    let checker = Checker::new();
    let steady = checker.listen("the steady one", &*here, std::slice::from_ref(&topic)).await?;
    let publisher = checker.publisher(&there, &topic);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(async move {
        let beat = Duration::from_micros(500);
        publisher.keep_publishing(beat, stopped).await
    });
    let tasks = (0..TASKS).map(|task| {
        let (here, topic) = (Arc::clone(&here), topic.clone());
        let receiver = Arc::clone(&steady.receiver);
        tokio::spawn(async move {
            let mut flip = 0;
            // Until enough came through while there were flips.
            while flip < 500 || receiver.count() < ENOUGH {
                flip += 1;
                let ear = Collector::new();
                let subscription = ear.subscribe(&*here, std::slice::from_ref(&topic))?;
                match (task + flip) % 10 {
                    0 => tokio::time::sleep(Duration::from_millis(1)).await,
                    1..4 => confirmed(&subscription).await?,
                    _ => tokio::task::yield_now().await,
                }
            }
            Outcome::Ok(())
        })
    });
    for done in within(SOON, "all flips", try_join_all(tasks)).await?? {
        done?;
    }
    stop.send_replace(true);
    within(SOON, "the publisher to end", load).await???;
    checker.settled().await?;
    checker.report().exact()
}

/// Once a subscription is dropped, its sink hears no more, while others on the topic do.
///
/// # Errors
///
/// It does.
pub async fn a_dropped_subscription_hears_no_more(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "leaving");
    let (stays, _stays) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    for round in 1..=100 {
        let (leaves, subscription) =
            Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
        publish(&*there, Envelope::new(topic.clone(), "for both")).await?;
        leaves.has(1, "an envelope for both").await?;
        drop(subscription);
        publish(&*here, Envelope::new(topic.clone(), "for one, from here")).await?;
        publish(&*there, Envelope::new(topic.clone(), "for one")).await?;
        fence(&*there, &topic, &[&stays]).await?;
        let bodies = leaves.bodies();
        ensure!(bodies == ["for both"], "round {round}: after its end it heard {bodies:?}");
    }
    ensure!(stays.count() == 300, "who stayed heard {} of 300", stays.count());
    Ok(())
}

/// The topic stays subscribed until the last of its subscribers leaves.
///
/// # Errors
///
/// It does not, or it stays longer.
pub async fn the_last_of_several_ends_the_interest(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let (topic, fences) = (Topic::user(HUB, "several"), Topic::user(HUB, "fences"));
    let (guard, _guard) = Collector::listen(&*here, std::slice::from_ref(&fences)).await?;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(Collector::listen(&*here, std::slice::from_ref(&topic)).await?);
    }
    let subscribed = here.stats().topics_subscribed;
    ensure!(subscribed == 2, "2 topics need 2 subscriptions at the broker, not {subscribed}");
    while let Some((ear, subscription)) = all.pop() {
        let before = ear.count();
        publish(&*there, Envelope::new(topic.clone(), "x")).await?;
        ear.has(before + 1, format!("an envelope, with {} others left", all.len())).await?;
        drop(subscription);
    }
    eventually(SOON, "the topic to be given up", async || {
        let given_up = here.stats().topics_unsubscribed;
        Ok(if given_up == 1 { Ok(()) } else { Err(format!("{given_up} topics given up")) })
    })
    .await?;
    if there.semantics().filter == Filter::Broker {
        let before = here.stats().received;
        for _ in 0..10 {
            publish(&*there, Envelope::new(topic.clone(), "for nobody")).await?;
        }
        fence(&*there, &fences, &[&guard]).await?;
        let received = here.stats().received - before;
        ensure!(received == 1, "after the last has left, {} still came", received - 1);
    }
    Ok(())
}

/// A thousand topics come and go, some before they are confirmed; neither node nor broker keeps
/// anything.
///
/// # Errors
///
/// Something is left.
pub async fn subscriptions_leave_nothing_behind(stage: &Stage) -> Outcome {
    let here = stage.node().await?;
    let counts = stage.can(Control::Census);
    let before = if counts { Some(stage.medium().census().await?) } else { None };
    let topics: Vec<_> = (0..1000).map(|at| Topic::group(HUB, &format!("{at}"))).collect();
    let ear = Collector::new();
    for round in 0..4 {
        let mut subscriptions = Vec::new();
        for topics in topics.chunks(10) {
            subscriptions.push(ear.subscribe(&*here, topics)?);
        }
        if round % 2 == 0 {
            for subscription in &subscriptions {
                confirmed(subscription).await?;
            }
            if let (Some(before), true) = (before, here.semantics().filter == Filter::Broker) {
                let now = stage.medium().census().await?.subscriptions;
                let more = now.saturating_sub(before.subscriptions);
                ensure!(more == 1000, "the broker knows of {more} of 1000 subscriptions");
            }
        }
        drop(subscriptions);
    }
    subscribed(&*here, 0).await?;
    if let Some(before) = before {
        census_returns(stage, before.subscriptions).await?;
    }
    let holders = Arc::strong_count(&ear);
    ensure!(holders == 1, "{} still hold the sink", holders - 1);
    Ok(())
}
