//! P3 and P4: the medium ends and comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backplane_core::{Backplane, Delivery, Event, Link, Semantics, Topic};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    HUB,
    confirm::each_arrives_once,
    outage::down,
    storm::{RoundTrips, groups},
};
use crate::kit::{
    Checker, Collector, Connections, Control, Doing, Outcome, SOON, Stage, Stop,
    checker::{How, Report},
    ensure, up, within,
};

/// Publishers that go on whatever happens.
pub(super) struct Load {
    checker: Checker,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Outcome<u64>>>,
}

impl Load {
    /// Each of these nodes publishes on each topic, an envelope every few milliseconds.
    pub(super) fn start(
        checker: &Checker,
        nodes: &[&Arc<dyn Backplane>],
        topics: &[Topic],
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for node in nodes {
            for topic in topics {
                let (publisher, stopped) = (checker.publisher(node, topic), stopped.clone());
                tasks.push(tokio::spawn(async move {
                    publisher.keep_publishing(Duration::from_millis(3), stopped).await
                }));
            }
        }
        Self { checker: checker.clone(), stop, tasks }
    }

    /// Ends it when all links are up; everything that still can arrives before the report is made.
    pub(super) async fn end(self) -> Outcome<Report> {
        self.stop.send_replace(true);
        for task in self.tasks {
            within(SOON, "a publisher to end", task).await???;
        }
        self.checker.settled().await?;
        Ok(self.checker.report())
    }
}

/// Judges what became of a load over an outage, and notes the figures.
pub(super) fn judge(stage: &Stage, semantics: Semantics, report: &Report) -> Outcome {
    report.accounted(semantics.delivery)?;
    let lost = [How::Ticket, How::Interruption, How::Gap].map(|how| report.lost_by(how));
    let (arrived, doubled) = (report.arrived(), report.doubled());
    stage.note(format_args!(
        "{arrived} arrived, {doubled} doubled; lost: {} told by their ticket, {} between \
         Interrupted and Restored, {} in gaps, 0 unreported",
        lost[0], lost[1], lost[2]
    ));
    if lost == [0; 3] {
        stage.better("nothing was lost over the outage");
    }
    Ok(())
}

/// The same over an outage in which less is published than a node keeps: where losses are repaired,
/// there are none.
pub(super) fn judge_short(stage: &Stage, semantics: Semantics, report: &Report) -> Outcome {
    judge(stage, semantics, report)?;
    match semantics.delivery {
        Delivery::Repaired => report.exact(),
        _ => Ok(()),
    }
}

/// Waits until the link is up for the n-th time or more often.
async fn up_again(node: &dyn Backplane, least: u64) -> Outcome {
    let mut link = node.link();
    let again = link.wait_for(|link| matches!(link, Link::Up { epoch } if *epoch >= least));
    within(SOON, "the link to be up again", again).await?.map(drop).doing("watching the link")
}

async fn restarts(stage: &Stage, times: u64) -> Outcome {
    stage.needs(Control::Stop)?;
    let [here, there, other] = stage.nodes().await?;
    let semantics = here.semantics();
    let topics: Vec<_> = (0..4).map(|at| Topic::group(HUB, &format!("loaded {at}"))).collect();
    let checker = Checker::new();
    let listener = checker.listen("a node that only listens", &*here, &topics).await?;
    let both = checker.listen("a node that publishes too", &*there, &topics).await?;
    let load = Load::start(&checker, &[&there, &other], &topics);
    for time in 1..=times {
        let before = listener.receiver.count();
        listener.receiver.has(before + 200).await.doing("before the restart")?;
        // The end comes with and without a warning.
        match time {
            2 => stage.medium().kill().await?,
            _ => stage.medium().stop().await?,
        }
        for node in [&here, &there, &other] {
            down(&**node).await?;
        }
        stage.medium().start().await?;
        for node in [&here, &there, &other] {
            up_again(&**node, time + 1).await?;
        }
        for receiver in [&listener.receiver, &both.receiver] {
            receiver.restored(time as usize).await?;
        }
        let before = listener.receiver.count();
        listener.receiver.has(before + 200).await.doing("after the restart")?;
    }
    let report = load.end().await?;
    judge_short(stage, semantics, &report)?;
    for receiver in [&listener.receiver, &both.receiver] {
        let told = receiver.interruptions();
        let once = (times as usize, times as usize);
        ensure!(told == once, "Interrupted and Restored came {told:?} times, for {times} restarts");
    }
    Ok(())
}

/// The medium is stopped and started while two nodes publish and two listen. Whatever is lost is
/// told; what is published after `Restored` arrives; nothing is doubled or out of order.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_restart_under_load_is_accounted_for(stage: &Stage) -> Outcome {
    restarts(stage, 1).await
}

/// The same three times in a row.
///
/// # Errors
///
/// It is otherwise.
pub async fn three_restarts_in_a_row(stage: &Stage) -> Outcome {
    restarts(stage, 3).await
}

async fn cut(stage: &Stage, connections: Connections) -> Outcome {
    stage.needs(Control::Cut)?;
    let [here, there] = stage.nodes().await?;
    let semantics = here.semantics();
    let topics: Vec<_> = (0..4).map(|at| Topic::group(HUB, &format!("cut {at}"))).collect();
    let checker = Checker::new();
    let listener = checker.listen("a node that only listens", &*here, &topics).await?;
    let load = Load::start(&checker, &[&there], &topics);
    for time in 1..=3 {
        let before = listener.receiver.count();
        listener.receiver.has(before + 200).await.doing("before the cut")?;
        stage.medium().cut(connections).await?;
        for node in [&here, &there] {
            up_again(&**node, time + 1).await?;
        }
        listener.receiver.restored(time as usize).await?;
    }
    let before = listener.receiver.count();
    listener.receiver.has(before + 200).await.doing("after the cuts")?;
    let report = load.end().await?;
    judge_short(stage, semantics, &report)?;
    let told = listener.receiver.interruptions();
    ensure!(told == (3, 3), "Interrupted and Restored came {told:?} times, for 3 cuts");
    Ok(())
}

/// Three times, the connections on which nodes receive are cut, and the medium goes on. Whatever is
/// lost is told.
///
/// # Errors
///
/// It is otherwise.
pub async fn cut_receiving_connections_are_accounted_for(stage: &Stage) -> Outcome {
    cut(stage, Connections::Receiving).await
}

/// The same for the connections on which nodes publish.
///
/// # Errors
///
/// It is otherwise.
pub async fn cut_publishing_connections_are_accounted_for(stage: &Stage) -> Outcome {
    cut(stage, Connections::Publishing).await
}

/// After a restart each of 500 topics is routed again by the time that `Restored` is told.
///
/// # Errors
///
/// One is not, or arrives more than once.
pub async fn interest_is_restored_whole(stage: &Stage) -> Outcome {
    stage.needs(Control::Stop)?;
    let [here, there] = stage.nodes().await?;
    let topics: Vec<_> = (0..500).map(|at| Topic::user(HUB, &format!("user {at}"))).collect();
    let (ear, _subscription) = Collector::listen(&*here, &topics).await?;
    each_arrives_once(&*there, &topics, &ear).await?;
    restart(stage, &[&here, &there]).await?;
    ear.until("Restored", |events| matches!(events.last(), Some(Event::Restored))).await?;
    each_arrives_once(&*there, &topics, &ear).await
}

/// Stops and starts the medium and waits until all these have seen it.
async fn restart(stage: &Stage, nodes: &[&Arc<dyn Backplane>]) -> Outcome {
    stage.medium().stop().await?;
    for node in nodes {
        down(&***node).await?;
    }
    stage.medium().start().await?;
    for node in nodes {
        up(&***node).await?;
    }
    Ok(())
}

/// At a restart each sink hears `Interrupted` and then `Restored`, once, however many topics it
/// has; one that came in between hears neither. `since` is a time at which the link still worked.
///
/// # Errors
///
/// It is otherwise.
pub async fn every_sink_hears_of_it_once(stage: &Stage) -> Outcome {
    stage.needs(Control::Stop)?;
    let started = Instant::now();
    let here = stage.node().await?;
    let mut ears = Vec::new();
    for number in 0..20 {
        let topics: Vec<_> =
            (0..=number % 5).map(|at| Topic::group(HUB, &format!("{number}/{at}"))).collect();
        ears.push(Collector::listen(&*here, &topics).await?);
    }
    // One more on a topic that another has.
    ears.push(Collector::listen(&*here, &[Topic::group(HUB, "0/0")]).await?);
    stage.medium().stop().await?;
    let gone = Instant::now();
    for (ear, _) in &ears {
        ear.until("Interrupted", |events| !events.is_empty()).await?;
    }
    let late = Collector::new();
    let _late = late.subscribe(&*here, &[Topic::group(HUB, "late"), Topic::group(HUB, "0/0")])?;
    stage.medium().start().await?;
    up(&*here).await?;
    for (number, (ear, _)) in ears.iter().enumerate() {
        let restored = |events: &[Event]| matches!(events.last(), Some(Event::Restored));
        ear.until(format!("Restored at sink {number}"), restored).await?;
        let events = told(stage, ear);
        match events.as_slice() {
            [Event::Interrupted { since }, Event::Restored] => {
                let plausible = *since >= started && *since <= gone;
                let ago = gone.saturating_duration_since(*since);
                ensure!(plausible, "`since` lies {ago:?} before the end of the medium");
            }
            other => return Err(Stop::Broken(format!("sink {number} heard {other:?}"))),
        }
    }
    let late = told(stage, &late);
    ensure!(late.is_empty(), "a sink that came during the outage heard {late:?}");
    Ok(())
}

/// What a sink heard, but that a log was lost with its medium's memory.
fn told(stage: &Stage, ear: &Collector) -> Vec<Event> {
    let mut events = ear.events();
    if stage.medium().forgets() {
        events.retain(|event| !matches!(event, Event::Gap(gap) if gap.count.is_none()));
    }
    events
}

/// Ten thousand topics are restored in few round trips.
///
/// # Errors
///
/// It takes more than 1 % of the topics, or one is not restored.
pub async fn a_restart_restores_many_topics_in_few_round_trips(stage: &Stage) -> Outcome {
    stage.needs(Control::Stop)?;
    let [here, there] = stage.nodes().await?;
    let topics = groups();
    let (ear, _subscription) = Collector::listen(&*here, &topics).await?;
    let mut round_trips = RoundTrips::so_far(stage, &*here).await?;
    restart(stage, &[&here, &there]).await?;
    round_trips.restarted();
    ear.until("Restored", |events| matches!(events.last(), Some(Event::Restored))).await?;
    round_trips.few(stage, &*here, "restoring").await?;
    each_arrives_once(&*there, &topics, &ear).await
}
