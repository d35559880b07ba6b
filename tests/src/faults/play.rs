//! Runs one scenario and accounts for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backplane_core::{NodeOptions, Semantics, Topic, chaos::ChaosHandle};
use tokio::sync::watch;

use super::{
    Clock, FaultProxy, HUB, Load, Pace, Run, Scenario, Scene,
    account::{Account, Known, Streams, View, streams},
    bounds::exceeded,
    journal::Journal,
    judge::{Judgement, judge},
    measure::{self, STEP_US, Times},
    member::Member,
    process::Task,
    progress::{Marks, Phase, Progress, miscounted},
};
use crate::kit::{Doing, Fixture, Layer, Outcome, Setup, Stop, eventually};

/// How long recovery may take after a fault.
const RECOVERY_WITHIN: Duration = Duration::from_secs(40);
/// How long what is still on its way may take after the last envelope.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// The same where an interruption is not the last word: longer than a node gives a hole.
const COUNTED_WITHIN: Duration = Duration::from_secs(25);
/// After so long without an arrival nothing more is on its way.
const QUIET: Duration = Duration::from_millis(300);

/// Stages `scenario` on a fresh `medium` under this load, and says what came of it.
///
/// `progress` is called ten times per second. The medium is the run's own: it may be down or changed
/// afterwards.
///
/// # Errors
///
/// [`Stop::NotApplicable`] where the fixture can't stage the scenario. [`Stop::Broken`] where the
/// fault could not be staged. A promise that was broken is no error: see [`Run::broken`].
pub async fn run(
    medium: Arc<dyn Fixture>,
    layer: Layer,
    scenario: Scenario,
    load: &Load,
    progress: &(dyn Fn(&Progress) + Send + Sync),
) -> Outcome<Run> {
    let plan = scenario.plan;
    for control in plan.needs {
        if !medium.controls().contains(control) {
            let reason = format!("the fixture cannot {}", control.what());
            return Err(Stop::NotApplicable(reason));
        }
    }
    if plan.chaos.is_some() && layer == Layer::Bare {
        let reason = "without numbers nobody is told of what chaos drops".to_owned();
        return Err(Stop::NotApplicable(reason));
    }
    let mut load = load.clone();
    load.nodes = load.nodes.max(2);
    load.topics = load.topics.max(1);
    load.least = load.least.max(plan.least);
    let least = (plan.bytes_per_second / load.rate.max(1)) as usize;
    load.size = load.size.max(Load::SMALLEST).max(least);
    if let Some(bytes) = plan.limit {
        medium.limit_readers(bytes).await?;
    }
    if plan.begins_down {
        medium.stop().await?;
    }
    let clock = Clock::start();
    let (scene, semantics, options) = set_up(medium, layer, &scenario, load, clock).await?;
    if !plan.begins_down {
        for member in scene.members.iter().take(scene.nodes()) {
            member.ready().await?;
        }
    }
    let marks = Marks::default();
    let begun = clock.now();
    let expected = scene.load.before + scenario.duration + scene.load.after;
    let expected = expected.max(scene.load.least) + QUIET * 2;
    let show = || {
        let Some(phase) = *marks.phase.lock().unwrap_or_else(PoisonError::into_inner) else {
            return;
        };
        let journals = scene.members.iter().map(|member| &member.journal);
        let passed = Duration::from_micros(clock.now() - begun);
        let (sent, delivered) = journals.fold((0, 0), |(sent, delivered), journal| {
            (sent + journal.posted_in_all(), delivered + journal.heard_in_all())
        });
        progress(&Progress { phase, passed, expected: expected.max(passed), sent, delivered });
    };
    let look = async {
        let mut step = tokio::time::interval(Duration::from_micros(STEP_US));
        loop {
            step.tick().await;
            marks.look(&scene, clock.now());
            show();
        }
    };
    let times = tokio::select! {
        times = script(&scene, &scenario, &marks, semantics, begun) => times?,
        () = look => return Err(Stop::Broken("the look-out ended".to_owned())),
    };
    show();
    let mut dropped = 0;
    for (number, member) in scene.members.iter().enumerate() {
        if let Ok(node) = member.node() {
            let stats = node.stats();
            dropped += stats.dropped_full + stats.dropped_old;
            marks.miscounted(number, miscounted(&stats, member.journal.posted_in_all()));
        }
    }
    let views = views(&scene);
    let topics = scene.load.topics;
    let name = scene.medium.name();
    let forgets = scene.medium.forgets();
    let load = scene.load.clone();
    let Marks { buffered, miscounted, memory, .. } = marks;
    let memory = memory.into_inner().unwrap_or_else(PoisonError::into_inner);
    let buffered = buffered.into_inner().unwrap_or_else(PoisonError::into_inner);
    let miscounted = miscounted.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Nodes and processes end before the figures are made.
    drop(scene);
    let streams = streams(&views, topics);
    let account = Account::of(&views, &streams);
    let mut excuses = plan.excuses;
    excuses.log_ends = excuses.medium_ends && forgets;
    excuses.exceeds_retention = exceeded(&options, &views, &streams, load.size);
    let mut judgement = judge(&semantics, &account, &views, &streams, excuses);
    judgement.broken.extend(miscounted.into_values());
    if measure::recovery(&views, &times).is_none() {
        judgement.broken.push(format!("not everybody had recovered after {RECOVERY_WITHIN:?}"));
    }
    let mut run = figures(&account, &views, &streams, &times, &buffered, judgement);
    if dropped > 0 {
        run.answers.insert("dropped".to_owned(), dropped);
    }
    if plan.flat_out {
        run.throughput = Some(measure::throughput(&views, &times));
    }
    (run.broker_kib, run.broker_peak_kib) = (memory.first, memory.peak);
    run.transport = name;
    run.layer = layer.label().to_owned();
    run.outlives = semantics.durability.to_string();
    run.scenario = scenario.name.to_owned();
    (run.seed, run.nodes, run.rate, run.size) = (load.seed, load.nodes, load.rate, load.size);
    Ok(run)
}

async fn set_up(
    medium: Arc<dyn Fixture>,
    layer: Layer,
    scenario: &Scenario,
    load: Load,
    clock: Clock,
) -> Outcome<(Scene, Semantics, NodeOptions)> {
    let plan = scenario.plan;
    let topics: Vec<String> = (0..load.topics).map(|at| format!("loaded-{at}")).collect();
    let run = getrandom::u64().doing("drawing a number for the run")?;
    let mut members: Vec<Member> = Vec::with_capacity(load.nodes + 1);
    let publishers = (0..load.nodes).filter(|at| (plan.roles)(*at, load.nodes).publishes()).count();
    let mut promised = None;
    let slots = load.nodes + usize::from(plan.spare);
    let chaos = ChaosHandle::new();
    chaos.stop();
    for index in 0..slots {
        let role = (plan.roles)(index.min(load.nodes - 1), load.nodes);
        let journal = Arc::new(Journal::new(
            run,
            index,
            slots,
            topics.iter().map(|name| Topic::group(HUB, name)).collect(),
            clock,
        ));
        let proxy = match plan.wants_proxies() {
            true => Some(FaultProxy::start(&medium.addresses()?, load.seed ^ index as u64).await?),
            false => None,
        };
        let through = proxy.as_ref().map(FaultProxy::addresses).unwrap_or_default();
        let member = if plan.process && index + 1 >= load.nodes {
            let mut task = Task::of(&load, layer, role, (run, clock), index);
            task.url = medium.url(&through)?;
            task.nodes = slots;
            task.topics.clone_from(&topics);
            task.rate = f64::from(load.rate) / publishers.max(1) as f64;
            let member = Member::elsewhere(task, journal, role, proxy);
            if index < load.nodes {
                member.start().await?;
            }
            member
        } else {
            let mut setup = Setup { through, ..Setup::new(layer.options()) };
            (plan.options)(&mut setup.options);
            let seed = load.seed ^ index as u64;
            setup.chaos = plan.chaos.map(|options| (options(seed), chaos.clone()));
            let options = setup.options.clone();
            let node = medium.node(setup).await?;
            promised = Some((node.semantics(), options));
            Member::here(node, journal, role, proxy)?
        };
        members.push(member);
    }
    let (semantics, options) =
        promised.ok_or_else(|| Stop::Broken("there is no node here".to_owned()))?;
    let (changes, kept) = (Mutex::default(), Mutex::default());
    let scene = Scene { medium, members, load, changes, kept, chaos };
    Ok((scene, semantics, options))
}

/// Publishes, stages the fault, waits for recovery, and ends the load.
async fn script(
    scene: &Scene,
    scenario: &Scenario,
    marks: &Marks,
    semantics: Semantics,
    begun: u64,
) -> Outcome<Times> {
    let (load, members) = (&scene.load, &scene.members);
    let nodes = members.iter().take(scene.nodes());
    let publishers = nodes.filter(|member| member.role.publishes()).count();
    let share = f64::from(load.rate) / publishers.max(1) as f64;
    let (pace, paced) = watch::channel(Pace::Steady);
    let mut publishing = Vec::new();
    for member in members {
        publishing.extend(member.begin(share, load, paced.clone())?);
    }
    let clock = members.first().map_or_else(Clock::start, |member| member.journal.clock);
    marks.enter(Phase::Before);
    if !scenario.plan.begins_down {
        scene.lasts(load.before).await;
    }
    marks.enter(Phase::Fault);
    scene.forget_what_was_noticed();
    let from = clock.now();
    if scenario.plan.flat_out {
        pace.send_replace(Pace::FlatOut);
    }
    (scenario.stage)(scene).await.doing(format!("staging {}", scenario.name))?;
    let to = clock.now();
    pace.send_replace(Pace::Steady);
    marks.enter(Phase::Recovery);
    recovered(scene, to).await;
    marks.enter(Phase::After);
    let published = Duration::from_micros(clock.now() - begun);
    scene.lasts(load.after.max(load.least.saturating_sub(published))).await;
    let ended = clock.now();
    pace.send_replace(Pace::Stop);
    marks.enter(Phase::Settling);
    for task in publishing {
        task.await.doing("publishing")?;
    }
    for member in members {
        if !member.is_dead()
            && let Ok(process) = member.process()
        {
            process.finish().await?;
        }
    }
    settled(scene, semantics).await?;
    Ok(Times { begun, ended, fault: (from, to) })
}

/// Waits until every receiver hears each publisher again. That it does not is found later.
async fn recovered(scene: &Scene, since: u64) {
    let hears = |member: &Member, at: usize| {
        let mut origins = scene
            .members
            .iter()
            .enumerate()
            .filter(|(origin, from)| *origin != at && from.role.publishes() && !from.is_dead());
        origins.all(|(origin, _)| member.journal.freshest(origin) >= since)
    };
    let check = async || {
        let well = scene.members.iter().enumerate().all(|(at, member)| {
            let receives = member.role.receives() && !member.is_dead();
            !receives || (hears(member, at) && member.journal.is_restored())
        });
        Ok(if well { Ok(()) } else { Err(String::new()) })
    };
    // The figures will tell.
    let _ = eventually(RECOVERY_WITHIN, "recovery", check).await;
}

/// Waits until nothing is on its way any more and every loss is reported as promised, or it is late
/// enough to say that it is not.
async fn settled(scene: &Scene, semantics: Semantics) -> Outcome {
    use backplane_core::Delivery::{Counted, Kept, Repaired};
    // An interruption is not the last word then: what is missing is counted, or still on its way.
    let goes_on = matches!(semantics.delivery, Counted | Repaired | Kept);
    let heard = || scene.members.iter().map(|member| member.journal.heard_in_all()).sum::<u64>();
    let limit = if goes_on { COUNTED_WITHIN } else { SETTLED_WITHIN };
    let deadline = tokio::time::Instant::now() + limit;
    let mut before = heard();
    loop {
        tokio::time::sleep(QUIET).await;
        let now = heard();
        let quiet = now == before;
        before = now;
        let answered = |member: &Member| member.is_dead() || member.journal.all_answered();
        if quiet && scene.members.iter().all(answered) {
            let views = views(scene);
            let account = Account::of(&views, &streams(&views, scene.load.topics));
            let open = account.lost_by(Known::Unreported);
            let interrupted = if goes_on { account.lost_by(Known::Interruption) } else { 0 };
            if open + interrupted == 0 {
                return Ok(());
            }
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(());
        }
    }
}

fn views(scene: &Scene) -> Vec<View> {
    scene
        .members
        .iter()
        .map(|member| View {
            id: member.id(),
            role: member.role,
            confirmed: *member.confirmed.borrow(),
            killed: member.is_dead(),
            pages: member.journal.read(),
        })
        .collect()
}

fn figures(
    account: &Account,
    views: &[View],
    streams: &Streams,
    times: &Times,
    buffered: &[(u64, u64)],
    judgement: Judgement,
) -> Run {
    let recover = measure::recovery(views, times);
    let well_again = recover.map_or(u64::MAX, |recover| times.fault.1 + recover);
    let (p50_us, p99_us) = measure::latencies(views, 0, times.fault.0);
    let (p50_after_us, p99_after_us) = measure::latencies(views, well_again, u64::MAX);
    Run {
        transport: String::new(),
        layer: String::new(),
        scenario: String::new(),
        seed: 0,
        nodes: 0,
        rate: 0,
        size: 0,
        duration_ms: (times.ended - times.begun) / 1_000,
        sent: streams.iter().flatten().map(|stream| stream.len() as u64).sum(),
        due: account.due,
        delivered: account.delivered,
        lost: account.lost(),
        lost_prefix: account.prefix,
        lost_middle: account.middle,
        lost_suffix: account.suffix,
        doubled: account.doubled,
        reordered: account.reordered,
        late: account.late,
        unreported: account.lost_by(Known::Unreported),
        in_gaps: account.lost_by(Known::Gap),
        longest_silence_ms: measure::longest_silence(views, times) / 1_000,
        notice_ms: measure::notice(views, times).map(|us| us / 1_000),
        recover_ms: recover.map(|us| us / 1_000),
        answers: measure::answers(views, streams, times),
        throughput: None,
        broker_kib: None,
        broker_peak_kib: None,
        p50_us,
        p99_us,
        p50_after_us,
        p99_after_us,
        outlives: String::new(),
        broken: judgement.broken,
        better: judgement.better,
        fault_from_ms: (times.fault.0 - times.begun) / 1_000,
        fault_to_ms: (times.fault.1 - times.begun) / 1_000,
        course: measure::course(views, streams, times, buffered),
    }
}
