//! Closing, and dropping.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backplane_core::{CloseError, Envelope, Link, PublishError, Sink, SubscribeError, Topic};
use futures_util::future::{join_all, try_join_all};
use tokio::{runtime::Handle, sync::oneshot};

use super::{HUB, restart::Load};
use crate::kit::{
    Checker, Collector, Control, Doing, Outcome, SOON, Stage, Stop, confirmed, ensure, eventually,
    fence, publish, within,
};

/// What was accepted before `close` is sent; its tickets say so.
///
/// # Errors
///
/// Something was lost.
pub async fn closing_flushes(stage: &Stage) -> Outcome {
    const COUNT: usize = 5000;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "flushed");
    let checker = Checker::new();
    let _listener = checker.listen("elsewhere", &*there, std::slice::from_ref(&topic)).await?;
    let publisher = checker.publisher(&here, &topic).padding(200);
    let posted: Vec<_> =
        (0..COUNT).map(|_| publisher.try_post()).collect::<Result<_, _>>().doing("publishing")?;
    let flushed = here.close(SOON).await.doing("closing")?;
    ensure!(flushed.sent <= COUNT as u64, "{} flushed of {COUNT}", flushed.sent);
    let answers = posted.into_iter().map(|posted| posted.answer());
    let answers = within(SOON, "all answers", join_all(answers)).await?;
    let bad = answers.iter().find(|answer| !matches!(answer, crate::kit::checker::Answer::Ok(_)));
    ensure!(bad.is_none(), "an envelope was answered {bad:?}");
    checker.settled().await?;
    checker.report().exact()?;
    stage.note(format_args!("{} of {COUNT} were still to be sent", flushed.sent));
    Ok(())
}

/// Whatever is asked of a closed node is answered with `Closed`; what was confirmed stays so.
///
/// # Errors
///
/// It is not.
pub async fn a_closed_node_says_so(stage: &Stage) -> Outcome {
    let here = stage.node().await?;
    let topic = Topic::group(HUB, "closed");
    let (ear, subscription) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let mut link = here.link();
    here.close(SOON).await.doing("closing")?;

    let closed = within(SOON, "Link::Closed", link.wait_for(|it| matches!(it, Link::Closed)));
    drop(closed.await??);
    let envelope = Envelope::new(topic.clone(), "x");
    let answers = [
        here.try_publish(envelope.clone()).map(drop),
        within(SOON, "publish on a closed node", here.publish(envelope.clone())).await?.map(drop),
        within(SOON, "room on a closed node", here.room(&envelope)).await?,
    ];
    for answer in answers {
        ensure!(matches!(answer, Err(PublishError::Closed)), "publishing was answered {answer:?}");
    }
    let sink = Arc::<Collector>::clone(&ear) as Arc<dyn Sink>;
    match here.subscribe(&[(topic, sink)]) {
        Err(SubscribeError::Closed) => {}
        other => return Err(Stop::Broken(format!("subscribing was answered {other:?}"))),
    }
    match within(SOON, "closing again", here.close(SOON)).await? {
        Err(CloseError::AlreadyClosed) => {}
        other => return Err(Stop::Broken(format!("closing again was answered {other:?}"))),
    }
    confirmed(&subscription).await.doing("after closing")?;
    ensure!(ear.count() == 0, "a closed node delivered {:?}", ear.bodies());
    Ok(())
}

/// Of two that close at the same instant, one does it, and the other is told.
///
/// # Errors
///
/// It is otherwise.
pub async fn closing_is_done_once(stage: &Stage) -> Outcome {
    for round in 0..200 {
        let node = stage.node().await?;
        let started = Arc::new(AtomicUsize::new(0));
        let closing = [(); 2].map(|()| {
            let (node, started) = (Arc::clone(&node), Arc::clone(&started));
            let (runtime, (tell, told)) = (Handle::current(), oneshot::channel());
            // Threads that start as one: tasks would be woken one after the other.
            std::thread::spawn(move || {
                started.fetch_add(1, Ordering::AcqRel);
                while started.load(Ordering::Acquire) < 2 {
                    std::hint::spin_loop();
                }
                // Nobody listens any more if the scenario was given up.
                let _ = tell.send(runtime.block_on(node.close(SOON)));
            });
            told
        });
        let answers = within(SOON, "closing twice", try_join_all(closing)).await??;
        let done = answers.iter().filter(|answer| answer.is_ok()).count();
        let told = answers.iter().filter(|it| matches!(it, Err(CloseError::AlreadyClosed))).count();
        ensure!((done, told) == (1, 1), "round {round}: {answers:?}");
    }
    Ok(())
}

/// After `close` its sinks hear nothing more, and the other nodes go on.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_closed_node_hears_nothing(stage: &Stage) -> Outcome {
    let [here, there, from] = stage.nodes().await?;
    let topic = Topic::all(HUB);
    let (closed, _closed) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let (open, _open) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    publish(&*from, Envelope::new(topic.clone(), "before")).await?;
    closed.has(1, "what came before").await?;
    here.close(SOON).await.doing("closing")?;
    publish(&*from, Envelope::new(topic.clone(), "after")).await?;
    fence(&*from, &topic, &[&open]).await?;
    let bodies = open.bodies();
    ensure!(bodies == ["before", "after"], "another node heard {bodies:?}");
    let bodies = closed.bodies();
    ensure!(bodies == ["before"], "the closed node heard {bodies:?}");
    Ok(())
}

/// Nodes that are dropped without being closed leave nothing: no connection, no subscription, no
/// sink.
///
/// # Errors
///
/// Something is left.
pub async fn dropping_a_node_frees_it(stage: &Stage) -> Outcome {
    let stays = stage.node().await?;
    let counts = stage.can(Control::Census);
    let before = if counts { Some(stage.medium().census().await?) } else { None };
    let sink = Collector::new();
    let topics: Vec<_> = (0..10).map(|at| Topic::group(HUB, &format!("{at}"))).collect();
    for _ in 0..10 {
        let node = stage.node().await?;
        let subscription = sink.subscribe(&*node, &topics)?;
        confirmed(&subscription).await?;
        publish(&*node, Envelope::new(topics[0].clone(), "x")).await?;
        // Also with envelopes that are still to be sent.
        for _ in 0..10 {
            drop(node.try_publish(Envelope::new(topics[1].clone(), "x")));
        }
        drop(node);
        drop(subscription);
    }
    eventually(SOON, "the sink to be let go", async || {
        let holders = Arc::strong_count(&sink) - 1;
        Ok(if holders == 0 { Ok(()) } else { Err(format!("{holders} still hold it")) })
    })
    .await?;
    if let Some(before) = before {
        eventually(SOON, "the broker to forget the nodes", async || {
            let now = stage.medium().census().await?;
            // Fewer may be left: the first node may just have asked a server whether it is the master.
            let gone =
                now.connections <= before.connections && now.subscriptions == before.subscriptions;
            Ok(if gone { Ok(()) } else { Err(format!("{now:?}, not {before:?}")) })
        })
        .await?;
    }
    // A ticket of a dropped node is answered.
    let node = stage.node().await?;
    let ticket = node.try_publish(Envelope::new(topics[0].clone(), "x")).doing("publishing")?;
    drop(node);
    let _either = within(Duration::from_secs(5), "the ticket of a dropped node", ticket).await?;
    publish(&*stays, Envelope::new(topics[0].clone(), "x")).await
}

/// While two nodes publish to each other, others join, hear what follows their confirmation,
/// publish, and leave, closed or dropped. Nobody who stays misses anything, not even of those who
/// have left.
///
/// # Errors
///
/// Somebody does.
pub async fn nodes_come_and_go(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let topic = Topic::all(HUB);
    let topics = std::slice::from_ref(&topic);
    let checker = Checker::new();
    let _here = checker.listen("the first that stays", &*here, topics).await?;
    let _there = checker.listen("the second that stays", &*there, topics).await?;
    let load = Load::start(&checker, &[&here, &there], topics);
    for round in 0..10 {
        let guest = stage.node().await?;
        let (ear, subscription) = Collector::listen(&*guest, topics).await?;
        ear.has(20, "what is published while a guest is there").await?;
        let publisher = checker.publisher(&guest, &topic);
        publisher.publish_many(50).await?;
        if round % 2 == 0 {
            guest.close(SOON).await.doing("closing a guest")?;
        }
        drop(subscription);
        drop(guest);
    }
    load.end().await?.exact()
}
