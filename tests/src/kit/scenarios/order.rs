//! P2: per origin and topic, order is kept, always.

use std::sync::Arc;

use backplane_core::{Envelope, Topic};
use futures_util::future::try_join_all;

use super::HUB;
use crate::kit::{Checker, Collector, Doing, Outcome, SOON, Stage, ensure, within};

fn groups(count: usize) -> Vec<Topic> {
    (0..count).map(|number| Topic::group(HUB, &format!("group {number}"))).collect()
}

/// Three nodes publish on each of eight topics, each from a task of its own; two nodes listen.
///
/// # Errors
///
/// Something is missing, doubled or out of order.
pub async fn many_publishers_keep_the_order_of_each(stage: &Stage) -> Outcome {
    const EACH: usize = 400;
    let nodes = stage.nodes::<3>().await?;
    let topics = groups(8);
    let checker = Checker::new();
    let mut listeners = Vec::new();
    for (number, node) in nodes.iter().take(2).enumerate() {
        listeners.push(checker.listen(format!("node {number}"), &**node, &topics).await?);
    }
    let mut tasks = Vec::new();
    for node in &nodes {
        for topic in &topics {
            let publisher = checker.publisher(node, topic);
            tasks.push(tokio::spawn(async move { publisher.publish_many(EACH).await }));
        }
    }
    for done in within(SOON, "all publishers", try_join_all(tasks)).await?? {
        done?;
    }
    checker.settled().await?;
    checker.report().exact()
}

/// One task takes turns between topics, as fast as it can; three nodes listen.
///
/// # Errors
///
/// Something is missing, doubled or out of order.
pub async fn all_nodes_see_one_publishers_order(stage: &Stage) -> Outcome {
    const ROUNDS: usize = 1000;
    let nodes = stage.nodes::<3>().await?;
    let topics = groups(4);
    let checker = Checker::new();
    let mut listeners = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        listeners.push(checker.listen(format!("node {number}"), &**node, &topics).await?);
    }
    let publishers: Vec<_> = topics.iter().map(|it| checker.publisher(&nodes[0], it)).collect();
    let mut answers = Vec::new();
    for _ in 0..ROUNDS {
        for publisher in &publishers {
            answers.push(publisher.post().await?.answer());
        }
    }
    within(SOON, "all answers", futures_util::future::join_all(answers)).await?;
    checker.settled().await?;
    checker.report().exact()
}

/// Many tasks of one node publish on one topic at once. Which of them is first is open, but all
/// sinks, here and elsewhere, see the same order.
///
/// # Errors
///
/// They do not.
pub async fn tasks_that_share_a_topic_agree_with_the_local_order(stage: &Stage) -> Outcome {
    const TASKS: usize = 8;
    const EACH: usize = 500;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "shared");
    let (local, _local) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let (remote, _remote) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    let tasks = (0..TASKS).map(|task| {
        let (here, topic) = (Arc::clone(&here), topic.clone());
        tokio::spawn(async move {
            for number in 0..EACH {
                let envelope = Envelope::new(topic.clone(), format!("{task}/{number}"));
                here.publish(envelope).await.doing("publishing")?;
            }
            Outcome::Ok(())
        })
    });
    for done in within(SOON, "all publishers", try_join_all(tasks)).await?? {
        done?;
    }
    remote.has(TASKS * EACH, "all envelopes, elsewhere").await?;
    let (local, remote) = (local.bodies(), remote.bodies());
    let first = local.iter().zip(&remote).position(|(local, remote)| local != remote);
    ensure!(first.is_none(), "the orders here and elsewhere differ from number {first:?} on");
    ensure!(local.len() == remote.len(), "{} here, {} elsewhere", local.len(), remote.len());
    Ok(())
}

/// Small bodies do not overtake large ones, whatever is bundled on the way.
///
/// # Errors
///
/// Something is missing, doubled or out of order.
pub async fn bodies_of_all_sizes_keep_their_order(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "sizes");
    let (ear, _subscription) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    let mut random = stage.random();
    let largest = here.semantics().largest_body.as_u64().min(300_000) as usize;
    let mut sizes = Vec::new();
    let mut tickets = Vec::new();
    for _ in 0..300 {
        let size = match random.below(10) {
            0 => random.below(largest),
            1 => 65_536 - random.below(600),
            _ => random.below(300),
        };
        sizes.push(size.min(largest));
        let mut envelope = Envelope::new(topic.clone(), vec![b'.'; size.min(largest)]);
        loop {
            match here.try_publish(envelope) {
                Ok(ticket) => break tickets.push(ticket),
                Err(backplane_core::PublishError::Full(returned)) => {
                    within(SOON, "room", here.room(&returned)).await??;
                    envelope = *returned;
                }
                Err(error) => return Err(error).doing("publishing"),
            }
        }
    }
    within(SOON, "all receipts", try_join_all(tickets)).await??;
    ear.has(sizes.len(), "all bodies").await?;
    let heard: Vec<_> = ear.bodies().iter().map(bytes::Bytes::len).collect();
    let first = heard.iter().zip(&sizes).position(|(heard, sent)| heard != sent);
    ensure!(heard == sizes, "the sizes differ from number {first:?} on");
    Ok(())
}

/// With a tiny queue, publishers that wait for room keep their order.
///
/// # Errors
///
/// Something is missing, doubled or out of order.
pub async fn waiting_for_room_keeps_the_order(stage: &Stage) -> Outcome {
    let setup = stage.setup().options(|options| options.queue_envelopes = 4);
    let here = stage.node_with(setup).await?;
    let there = stage.node().await?;
    let topics = groups(6);
    let checker = Checker::new();
    let _listener = checker.listen("elsewhere", &*there, &topics).await?;
    let tasks = topics.iter().map(|topic| {
        let publisher = checker.publisher(&here, topic);
        tokio::spawn(async move { publisher.publish_many(300).await })
    });
    for done in within(SOON, "all publishers", try_join_all(tasks)).await?? {
        done?;
    }
    checker.settled().await?;
    // What was turned away has numbers of its own, which must not arrive.
    checker.report().exact()
}
