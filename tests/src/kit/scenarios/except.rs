//! What travels beside the body.

use std::sync::Arc;

use backplane_core::{Envelope, PublishError, Topic};

use super::HUB;
use crate::kit::{Collector, Doing, Outcome, Stage, Stop, ensure, publish};

/// The list of excluded connections arrives as it was sent, here and elsewhere.
///
/// # Errors
///
/// It does not.
pub async fn excluded_connections_travel_along(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::all(HUB);
    let (local, _local) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    let (remote, _remote) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let mut random = stage.random();
    let lists: Vec<Vec<String>> = vec![
        vec![],
        vec!["a".to_owned()],
        vec![String::new()],
        vec!["twice".to_owned(), "twice".to_owned()],
        vec!["*".to_owned(), "a\0b".to_owned(), "a,b".to_owned(), "🦀".to_owned()],
        (0..2000).map(|number| format!("connection {number}")).collect(),
        (0..100).map(|_| random.text(100)).collect(),
    ];
    for list in &lists {
        let envelope = Envelope::new(topic.clone(), "for most").except(list.iter().map(|it| &**it));
        publish(&*there, envelope).await?;
    }
    remote.has(lists.len(), "envelopes with lists").await?;
    for (ear, place) in [(local, "here"), (remote, "elsewhere")] {
        let heard = ear.messages();
        ensure!(heard.len() == lists.len(), "{} envelopes {place}", heard.len());
        for (envelope, list) in heard.iter().zip(&lists) {
            let same = envelope.except.iter().map(|it| &**it).eq(list.iter().map(|it| &**it));
            ensure!(same, "{place}, {list:.5?} became {:.5?}", envelope.except);
            ensure!(envelope.body == "for most", "{place}, the body became {:?}", envelope.body);
        }
    }
    Ok(())
}

/// A list that can't travel is refused; no sink has heard of it.
///
/// # Errors
///
/// It is not.
pub async fn too_many_are_refused_before_anything_happens(stage: &Stage) -> Outcome {
    let here = stage.node().await?;
    let topic = Topic::all(HUB);
    let (ear, _subscription) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let id = "c".repeat(1000);
    let envelope = Envelope::new(topic.clone(), "x").except(vec![&*id; 10_000]);
    match here.try_publish(envelope) {
        Err(PublishError::TooManyExceptions { count: 10_000 }) => {}
        other => return Err(Stop::Broken(format!("10,000 exceptions of 1 kB: {other:?}"))),
    }
    publish(&*here, Envelope::new(topic, "good")).await?;
    let (bodies, accepted) = (ear.bodies(), here.stats().accepted);
    ensure!(bodies == ["good"], "the sink heard {bodies:?}");
    ensure!(accepted == 1, "{accepted} envelopes were counted as accepted");
    Ok(())
}

/// The trace context arrives as it was sent.
///
/// # Errors
///
/// It does not.
pub async fn traces_travel_along(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::user(HUB, "traced");
    let (ear, _subscription) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let trace: Arc<str> = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
    let traces = [Some(trace), None, Some("".into()), Some("not W3C: ü*\0".into())];
    for trace in &traces {
        let envelope = Envelope::new(topic.clone(), "traced").trace(trace.clone());
        publish(&*there, envelope).await.doing("with a trace")?;
    }
    ear.has(traces.len(), "traced envelopes").await?;
    let heard: Vec<_> = ear.messages().into_iter().map(|envelope| envelope.trace).collect();
    ensure!(heard == traces, "{traces:?} became {heard:?}");
    Ok(())
}
