//! P6: local first, once, and no echo.

use std::sync::{Arc, Mutex, PoisonError};

use backplane_core::{Backplane, Envelope, Event, PublishError, Sink, Topic};

use super::HUB;
use crate::kit::{
    Collector, Control, Outcome, SOON, Stage, Stop, confirmed, ensure, eventually, fence, publish,
};

/// A node's own sinks have its envelope when `try_publish` returns, and never hear it again.
///
/// # Errors
///
/// They don't, or do.
pub async fn local_sinks_come_first_and_only_once(stage: &Stage) -> Outcome {
    const COUNT: usize = 200;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "local");
    let (first, _first) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    // Not confirmed: local envelopes need no broker.
    let second = Collector::new();
    let subscription = second.subscribe(&*here, std::slice::from_ref(&topic))?;
    let (remote, _remote) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    for number in 1..=COUNT {
        let ticket = here.try_publish(Envelope::new(topic.clone(), number.to_string()))?;
        for ear in [&first, &second] {
            let count = ear.count();
            ensure!(count == number, "after try_publish {number}, a local sink has {count}");
        }
        let origin = first.messages().last().and_then(|envelope| envelope.origin);
        ensure!(origin == Some(here.node()), "a local sink heard it from {origin:?}");
        drop(ticket);
    }
    remote.has(COUNT, "the envelopes elsewhere").await?;
    confirmed(&subscription).await?;
    // What comes from elsewhere, behind them all, comes behind any echo, too.
    fence(&*here, &topic, &[&remote]).await?;
    fence(&*there, &topic, &[&first, &second]).await?;
    for ear in [&first, &second] {
        let count = ear.count();
        ensure!(count == COUNT, "a local sink heard {count} of {COUNT}");
    }
    Ok(())
}

/// The same on three nodes that all publish at once.
///
/// # Errors
///
/// An envelope came again, or not at all.
pub async fn no_echo_over_several_nodes(stage: &Stage) -> Outcome {
    const EACH: usize = 100;
    let nodes = stage.nodes::<3>().await?;
    let topic = Topic::all(HUB);
    let mut ears = Vec::new();
    for node in &nodes {
        ears.push(Collector::listen(&**node, std::slice::from_ref(&topic)).await?);
    }
    let publishers = nodes.iter().map(async |node| {
        for number in 0..EACH {
            publish(&**node, Envelope::new(topic.clone(), number.to_string())).await?;
        }
        Outcome::Ok(())
    });
    futures_util::future::try_join_all(publishers).await?;
    for (ear, _) in &ears {
        ear.has(EACH * nodes.len(), "what all nodes published").await?;
    }
    for node in &nodes {
        let others: Vec<&Collector> = ears.iter().map(|(ear, _)| &**ear).collect();
        fence(&**node, &topic, &others).await?;
    }
    for ((ear, _), node) in ears.iter().zip(&nodes) {
        let heard = ear.messages();
        for from in &nodes {
            let count = heard.iter().filter(|it| it.origin == Some(from.node())).count();
            let own = if from.node() == node.node() { "its own" } else { "another's" };
            ensure!(count == EACH, "a node heard {count} of {EACH} of {own} envelopes");
        }
    }
    Ok(())
}

/// Publishes from within `accept`, and keeps the answers.
#[derive(Debug)]
struct Publishes {
    node: Arc<dyn Backplane>,
    answers: Mutex<Vec<(&'static str, String)>>,
}

impl Publishes {
    fn answers(&self) -> Vec<(&'static str, String)> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Publishes {
    fn accept(&self, event: &Event) {
        let envelope = Envelope::new(Topic::group(HUB, "from a sink"), "no");
        let answer = match self.node.try_publish(envelope) {
            Err(PublishError::InsideSink) => "InsideSink".to_owned(),
            other => format!("{other:?}"),
        };
        let occasion = match event {
            Event::Message(_) => "a message",
            Event::Interrupted { .. } => "Interrupted",
            Event::Restored => "Restored",
            _ => "another event",
        };
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((occasion, answer));
    }
}

/// A sink that publishes from within `accept`, at whatever event, is told that it must not, and
/// nothing is published.
///
/// # Errors
///
/// It is not told.
pub async fn a_sink_must_not_publish(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "busy");
    let sink = Arc::new(Publishes { node: Arc::clone(&here), answers: Mutex::default() });
    let registered: Arc<dyn Sink> = Arc::<Publishes>::clone(&sink);
    let subscription = here.subscribe(&[(topic.clone(), registered)])?;
    confirmed(&subscription).await?;
    let forbidden = Topic::group(HUB, "from a sink");
    let (ear, _subscription) = Collector::listen(&*there, std::slice::from_ref(&forbidden)).await?;

    publish(&*here, Envelope::new(topic.clone(), "from here")).await?;
    publish(&*there, Envelope::new(topic, "from there")).await?;
    let mut expected = 2;
    let hears = async |count: usize| {
        eventually(SOON, format!("the sink to hear {count} events"), async || {
            let answers = sink.answers();
            Ok(if answers.len() >= count { Ok(()) } else { Err(format!("{answers:?}")) })
        })
        .await
    };
    hears(expected).await?;
    if stage.can(Control::Stop) {
        stage.medium().stop().await?;
        stage.medium().start().await?;
        expected += 2;
        hears(expected).await?;
        crate::kit::up(&*here).await?;
        crate::kit::up(&*there).await?;
    }
    for (occasion, answer) in sink.answers() {
        if answer != "InsideSink" {
            return Err(Stop::Broken(format!("publishing at {occasion} was answered {answer}")));
        }
    }
    // Outside of a sink, the same node publishes as ever.
    publish(&*here, Envelope::new(forbidden.clone(), "yes")).await?;
    fence(&*here, &forbidden, &[&ear]).await?;
    let bodies = ear.bodies();
    ensure!(bodies == ["yes"], "a sink published: {bodies:?}");
    Ok(())
}
