//! Envelopes go where they are addressed, and nowhere else.

use backplane_core::{Backplane, Envelope, Filter, RouteKind, Topic};

use futures_util::future::try_join_all;

use super::{HUB, interest::subscribed};
use crate::kit::{
    Checker, Collector, Doing, Outcome, SOON, Stage, Stop, confirmed, ensure, eventually, fence,
    publish,
};

/// P12: topics that differ in nothing but their kind get each their own envelope.
///
/// # Errors
///
/// An envelope went missing or astray.
pub async fn each_route_kind_reaches_its_topic_and_no_other(stage: &Stage) -> Outcome {
    let topics = RouteKind::ALL.map(|kind| match kind {
        RouteKind::All => Topic::all(HUB),
        kind => Topic::new(HUB, kind, "42"),
    });
    each_hears_its_own(stage, &topics).await
}

/// Demands that no two of these topics have to do with each other. Each has a sink on one node;
/// another node publishes one envelope on each, and each sink must hear its own alone. Then half of
/// the topics are given up, a different half each time until every two have been separated: the
/// others must still be heard, and what is published on the ones given up must not bother the node.
pub(super) async fn each_hears_its_own(stage: &Stage, topics: &[Topic]) -> Outcome {
    let [here, there] = stage.nodes().await?;
    own_alone(&*here, &*there, topics).await?;
    for bit in 0..usize::BITS - topics.len().leading_zeros() {
        half_given_up(&*here, &*there, topics, |at| at >> bit & 1 == 0)
            .await
            .doing(format!("with some topics given up, by bit {bit}"))?;
    }
    Ok(())
}

async fn own_alone(here: &dyn Backplane, there: &dyn Backplane, topics: &[Topic]) -> Outcome {
    let mut ears = Vec::new();
    for topic in topics {
        let ear = Collector::new();
        let subscription = ear.subscribe(here, std::slice::from_ref(topic))?;
        ears.push((ear, subscription));
    }
    for (_, subscription) in &ears {
        confirmed(subscription).await?;
    }
    for (number, topic) in topics.iter().enumerate() {
        publish(there, Envelope::new(topic.clone(), number.to_string())).await?;
    }
    // Every envelope has been routed when each sink has its own; a fence behind that on each topic
    // finds whatever went astray.
    for ((ear, _), topic) in ears.iter().zip(topics) {
        ear.has(1, format!("the envelope on {topic:?}")).await?;
    }
    for ((ear, _), topic) in ears.iter().zip(topics) {
        fence(there, topic, &[ear]).await?;
    }
    for (number, ((ear, _), topic)) in ears.iter().zip(topics).enumerate() {
        let heard = ear.messages();
        let own = heard.len() == 1
            && heard.iter().all(|it| it.topic == *topic && it.body == number.to_string());
        ensure!(own, "{topic:?} should have heard {number:?} alone, not {heard:?}");
        let origin = heard.first().and_then(|it| it.origin);
        ensure!(origin == Some(there.node()), "{topic:?} heard it from {origin:?}");
    }
    drop(ears);
    subscribed(here, 0).await
}

async fn half_given_up(
    here: &dyn Backplane,
    there: &dyn Backplane,
    topics: &[Topic],
    keeps: impl Fn(usize) -> bool,
) -> Outcome {
    let (mut kept, mut given_up) = (Vec::new(), Vec::new());
    for (at, topic) in topics.iter().enumerate() {
        if keeps(at) { kept.push(topic.clone()) } else { given_up.push(topic.clone()) }
    }
    let (ear, kept_subscription) = Collector::listen(here, &kept).await?;
    let (gone, subscription) = Collector::listen(here, &given_up).await?;
    drop(subscription);
    subscribed(here, kept.len()).await?;
    let before = here.stats().received;
    let send = |topic: &Topic| publish(there, Envelope::new(topic.clone(), topic.to_string()));
    try_join_all(topics.iter().map(send)).await?;
    ear.has(kept.len(), "an envelope on each topic that was kept").await?;
    let last = kept.last().ok_or(Stop::Broken("no topic was kept".to_owned()))?;
    fence(there, last, &[&ear]).await?;
    let (heard, astray) = (ear.count(), gone.count());
    ensure!(heard == kept.len(), "{heard} envelopes came for {} topics", kept.len());
    ensure!(astray == 0, "{astray} envelopes came on topics that were given up");
    // The fence is one more.
    let received = here.stats().received - before - 1;
    if there.semantics().filter == Filter::Broker {
        let expected = kept.len() as u64;
        ensure!(received == expected, "{received} came to the node, for {expected} topics");
    }
    drop(kept_subscription);
    subscribed(here, 0).await
}

/// Four nodes, two sinks on each, all publish: everybody hears everything, once and in order.
///
/// # Errors
///
/// They do not.
pub async fn every_sink_of_every_node_gets_each_envelope_once(stage: &Stage) -> Outcome {
    const EACH: usize = 100;
    let nodes = stage.nodes::<4>().await?;
    let topic = Topic::all(HUB);
    let checker = Checker::new();
    let mut listeners = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        for sink in ["first", "second"] {
            let label = format!("the {sink} sink of node {number}");
            listeners.push(checker.listen(label, &**node, std::slice::from_ref(&topic)).await?);
        }
    }
    let publishers = nodes.iter().map(|node| checker.publisher(node, &topic));
    let publishers: Vec<_> = publishers.collect();
    try_join_all(publishers.iter().map(|it| it.publish_many(EACH))).await?;
    checker.settled().await?;
    let report = checker.report();
    report.exact()?;
    let expected = EACH * nodes.len() * listeners.len();
    ensure!(report.arrived() == expected, "{} of {expected} arrived", report.arrived());
    Ok(())
}

/// Each node's own topic reaches that node and no other.
///
/// # Errors
///
/// An envelope went missing or astray.
pub async fn a_node_topic_reaches_that_node_alone(stage: &Stage) -> Outcome {
    let nodes = stage.nodes::<3>().await?;
    let topics = nodes.each_ref().map(|node| Topic::node(HUB, node.node()));
    let mut ears = Vec::new();
    for (node, topic) in nodes.iter().zip(&topics) {
        ears.push(Collector::listen(&**node, std::slice::from_ref(topic)).await?);
    }
    for from in &nodes {
        for topic in &topics {
            publish(&**from, Envelope::new(topic.clone(), topic.name().to_owned())).await?;
        }
    }
    for ((ear, _), topic) in ears.iter().zip(&topics) {
        for from in &nodes {
            fence(&**from, topic, &[ear]).await?;
        }
        let bodies = ear.bodies();
        let own = bodies.len() == nodes.len() && bodies.iter().all(|body| *body == topic.name());
        ensure!(own, "{topic:?} heard {bodies:?}");
    }
    Ok(())
}

/// P12: an envelope costs a node without interest nothing, where the broker filters.
///
/// # Errors
///
/// The node was bothered.
pub async fn without_interest_nothing_arrives(stage: &Stage) -> Outcome {
    const COUNT: u64 = 100;
    let [here, there, from] = stage.nodes().await?;
    let (near, far) = (Topic::group(HUB, "near"), Topic::group(HUB, "far"));
    let (ear, _near) = Collector::listen(&*here, std::slice::from_ref(&near)).await?;
    let (other, _far) = Collector::listen(&*there, std::slice::from_ref(&far)).await?;
    let before = here.stats();
    for _ in 0..COUNT {
        publish(&*from, Envelope::new(far.clone(), "for others")).await?;
    }
    other.has(COUNT as usize, "the envelopes for the other node").await?;
    fence(&*from, &near, &[&ear]).await?;
    ensure!(ear.count() == 0, "a sink heard {:?}, for others", ear.bodies());
    let after = here.stats();
    let (received, dropped) =
        (after.received - before.received, after.uninterested - before.uninterested);
    match from.semantics().filter {
        Filter::Broker => {
            ensure!(received <= 1, "the broker should have filtered, but {received} came");
        }
        _ => {
            stage.not_promised("that the broker filters");
            // A wire that knows by itself what nobody wants does not hand it over, or does not read it.
            let vain = received.saturating_sub(1);
            ensure!(vain <= dropped, "{vain} came in vain, but {dropped} were counted");
            ensure!(dropped <= COUNT, "{dropped} were counted, but {COUNT} published");
        }
    }
    Ok(())
}

/// Publishing what nobody wants succeeds, and is forgotten.
///
/// # Errors
///
/// It does not.
pub async fn nobody_listening_is_no_error(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::user(HUB, "nobody");
    for _ in 0..10 {
        publish(&*there, Envelope::new(topic.clone(), "lost in space")).await?;
    }
    let delivered = there.stats().delivered;
    ensure!(delivered == 0, "{delivered} deliveries to nobody");
    eventually(SOON, "all receipts to be counted", async || {
        let sent = there.stats().sent;
        Ok(if sent == 10 { Ok(()) } else { Err(format!("{sent} of 10")) })
    })
    .await?;
    drop(here);
    Ok(())
}
