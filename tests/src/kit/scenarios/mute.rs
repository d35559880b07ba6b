//! P7: a link that takes envelopes but delivers nothing is noticed.

use std::time::{Duration, Instant};

use backplane_core::{Envelope, Link, NodeOptions, Topic};
use futures_util::future::try_join_all;

use super::{
    HUB,
    restart::{Load, judge_short},
};
use crate::kit::{Checker, Collector, Control, Doing, Outcome, SOON, Stage, ensure, up, within};

/// A pause that is shorter than the probe's deadline loses nothing, and nobody is told of anything.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_short_pause_loses_nothing(stage: &Stage) -> Outcome {
    stage.needs(Control::Pause)?;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "paused");
    let checker = Checker::new();
    let listener = checker.listen("here", &*here, std::slice::from_ref(&topic)).await?;
    let publisher = checker.publisher(&there, &topic);
    publisher.publish_many(50).await?;
    stage.medium().pause().await?;
    let posted: Vec<_> = (0..200).map(|_| publisher.try_post()).collect::<Result<_, _>>()?;
    // The pause is what is tested.
    tokio::time::sleep(NodeOptions::default().probe_deadline / 3).await;
    stage.medium().resume().await?;
    let answers = posted.into_iter().map(|posted| async { Outcome::Ok(posted.answer().await) });
    within(SOON, "the answers after a short pause", try_join_all(answers)).await??;
    publisher.publish_many(50).await?;
    checker.settled().await?;
    checker.report().exact()?;
    let told = listener.receiver.interruptions();
    ensure!(told == (0, 0), "Interrupted and Restored were told {told:?} times");
    for node in [&here, &there] {
        let link = node.link().borrow().clone();
        ensure!(matches!(link, Link::Up { epoch: 1 }), "the link is {link:?}");
    }
    Ok(())
}

/// The medium is frozen under load, for longer than it takes to try another connection in vain.
/// Within the probe's deadline the link says that it is not up, and sinks are told; local sinks are
/// served meanwhile. Afterwards the link is up again, sinks are told, and whatever was lost lies in
/// between.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_mute_link_is_noticed_and_replaced(stage: &Stage) -> Outcome {
    const SLACK: Duration = Duration::from_secs(2);
    stage.needs(Control::Pause)?;
    let setup =
        || stage.setup().options(|options| options.connect_deadline = Duration::from_secs(1));
    let options = setup().options;
    let (here, there) = (stage.node_with(setup()).await?, stage.node_with(setup()).await?);
    let semantics = here.semantics();
    let topics: Vec<_> = (0..3).map(|at| Topic::group(HUB, &format!("muted {at}"))).collect();
    let checker = Checker::new();
    let listener = checker.listen("the listening node", &*here, &topics).await?;
    let load = Load::start(&checker, &[&there], &topics);
    let local_topic = Topic::group(HUB, "local");
    let (local, _local) = Collector::listen(&*here, std::slice::from_ref(&local_topic)).await?;
    listener.receiver.has(200).await?;

    let (mut here_link, mut there_link) = (here.link(), there.link());
    let begun = Instant::now();
    stage.medium().pause().await?;
    let deadline = options.probe_every + options.probe_deadline + SLACK;
    let noticed = async {
        let down = |link: &Link| matches!(link, Link::Muted { .. } | Link::Down { .. });
        let first = here_link.wait_for(down).await?.clone();
        there_link.wait_for(down).await?;
        Outcome::Ok(first)
    };
    let link = within(deadline, "both links to notice that nothing comes back", noticed).await??;
    let after = begun.elapsed();
    let kind = if matches!(link, Link::Muted { .. }) { "muted" } else { "down" };
    stage.note(format_args!("seen to be {kind} after {after:.1?}"));
    let told = listener.receiver.interruptions();
    ensure!(told.1 == 0, "Restored was told while the medium was frozen");
    drop(here.try_publish(Envelope::new(local_topic.clone(), "still here")).doing("publishing")?);
    ensure!(local.count() == 1, "a local sink was not served meanwhile");

    // The pause is what is tested.
    tokio::time::sleep(options.connect_deadline * 2).await;
    let up_meanwhile = here.link().borrow().is_up() || there.link().borrow().is_up();
    ensure!(!up_meanwhile, "a link was up while the medium was frozen");
    stage.medium().resume().await?;
    let resumed = Instant::now();
    up(&*here).await?;
    up(&*there).await?;
    listener.receiver.restored(1).await?;
    stage.note(format_args!("up again {:.1?} after the pause", resumed.elapsed()));
    let before = listener.receiver.count();
    listener.receiver.has(before + 200).await.doing("after the pause")?;
    let report = load.end().await?;
    judge_short(stage, semantics, &report)?;
    let told = listener.receiver.interruptions();
    ensure!(told == (1, 1), "Interrupted and Restored were told {told:?} times");
    Ok(())
}
