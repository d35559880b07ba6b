//! Makes the runs of a plan, one after the other.

use std::{pin::pin, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{interval, sleep, timeout},
};

use super::{
    bench::{Bench, Load},
    format::{count, share},
    plan::{Plan, Planned},
    progress::Progress,
    report::{Missing, Report},
};
use crate::{
    faults::Run,
    kit::{Outcome, Stop},
};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

/// How long a run that was called off may take to put its broker away.
const TIDY: Duration = Duration::from_secs(10);

/// Why runs are missing after [`measure`] was interrupted.
pub const INTERRUPTED: &str = "not measured: the comparison was interrupted";

/// Makes the runs and adds what comes of each to the report, until all are made or `interrupted` is
/// ready; then the others are reported as failed, with the reason [`INTERRUPTED`].
pub async fn measure(
    bench: &dyn Bench,
    plan: &Plan,
    load: Load,
    interrupted: impl Future<Output = ()> + Send,
    report: &mut Report,
) {
    let mut interrupted = pin!(interrupted);
    let mut progress = Progress::new(plan);
    let mut called_off = false;
    for (index, planned) in plan.runs.iter().enumerate() {
        let outcome = if called_off {
            None
        } else {
            progress.begins(index, plan);
            let mut running = Running(tokio::spawn(bench.run(planned.case.clone(), load)));
            let outcome = tokio::select! {
                outcome = ends(&mut running, planned, &progress) => Some(outcome),
                () = &mut interrupted => None,
            };
            if outcome.is_none() {
                running.call_off().await;
            }
            outcome
        };
        called_off |= outcome.is_none();
        let outcome = outcome.unwrap_or_else(|| Err(Stop::Broken(INTERRUPTED.to_owned())));
        let senseless = matches!(outcome, Err(Stop::NotApplicable(_) | Stop::NotPromised(_)));
        progress.ended(&came(&outcome), !senseless);
        keep(outcome, planned, report);
    }
    progress.finish();
    name_by_version(report);
}

/// A run that ends with its owner.
struct Running(JoinHandle<Outcome<Run>>);

impl Running {
    /// True if the run is gone, with its broker.
    async fn call_off(&mut self) -> bool {
        self.0.abort();
        self.0.is_finished() || timeout(TIDY, &mut self.0).await.is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ends(running: &mut Running, planned: &Planned, progress: &Progress) -> Outcome<Run> {
    let mut ticks = interval(TICK);
    let mut limit = pin!(sleep(planned.limit()));
    loop {
        tokio::select! {
            ended = &mut running.0 => return ended.unwrap_or_else(|error| {
                Err(Stop::Broken(format!("the run panicked: {error}")))
            }),
            _ = ticks.tick() => progress.moves(),
            () = &mut limit => break,
        }
    }
    let text = format!("the run did not end within {} s", planned.limit().as_secs());
    Err(Stop::Broken(match running.call_off().await {
        true => text,
        false => format!("{text}, and could not be called off"),
    }))
}

/// What came of a run, in one line.
fn came(outcome: &Outcome<Run>) -> String {
    match outcome {
        Ok(run) => {
            let mut text = format!(
                "{} of {} delivered ({}), {} lost, {} unreported",
                count(run.delivered),
                count(run.due),
                share(run.delivered, run.due),
                count(run.lost),
                count(run.unreported),
            );
            if !run.broken.is_empty() {
                text += &format!("; broken: {}", run.broken.join("; "));
            }
            text
        }
        Err(Stop::Broken(reason)) => format!("failed: {reason}"),
        Err(Stop::NotApplicable(reason) | Stop::NotPromised(reason)) => {
            format!("not applicable: {reason}")
        }
    }
}

fn keep(outcome: Outcome<Run>, planned: &Planned, report: &mut Report) {
    let case = &planned.case;
    let missing = |reason| Missing {
        transport: case.transport.clone(),
        layer: case.layer.clone(),
        scenario: case.scenario.clone(),
        reason,
    };
    match outcome {
        Ok(mut run) => {
            // The report is searched by these.
            run.layer.clone_from(&case.layer);
            run.scenario.clone_from(&case.scenario);
            report.versions.brokers.insert(case.transport.clone(), run.transport.clone());
            report.runs.push(run);
        }
        Err(Stop::Broken(reason)) => report.failed.push(missing(reason)),
        Err(Stop::NotApplicable(reason) | Stop::NotPromised(reason)) => {
            report.not_applicable.push(missing(reason));
        }
    }
}

/// What was not measured gets the name that the transport's other runs have.
fn name_by_version(report: &mut Report) {
    let missing = report.failed.iter_mut().chain(&mut report.not_applicable);
    let names = missing.map(|missing| &mut missing.transport).chain(&mut report.transports);
    for name in names {
        if let Some(version) = report.versions.brokers.get(name) {
            name.clone_from(version);
        }
    }
}
