//! Stages every fault on every transport of this project, with each layer, and demands that nothing
//! is lost in silence and every promise kept.
//!
//! `BACKPLANE_LONG=1` runs the long ones as well, under the full load; otherwise they are ignored.

use std::{process::ExitCode, sync::Arc};

use backplane_tests::{
    faults::{self, Load, Run, Scenario, Transport},
    kit::{self, Layer, Outcome, Stop},
};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// The environment variable that asks for the long ones.
const LONG: &str = "BACKPLANE_LONG";

fn main() -> ExitCode {
    if let Some(code) = faults::serve_node() {
        return code;
    }
    let long = std::env::var_os(LONG).is_some();
    let mut trials = Vec::new();
    for transport in Transport::ALL.iter().copied() {
        for scenario in Scenario::all() {
            for layer in Layer::ALL {
                trials.push(trial(transport, layer, scenario, long));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(transport: Transport, layer: Layer, scenario: Scenario, long: bool) -> Trial {
    let name = format!("{}::{}::{}", transport.label(), scenario.label(), layer.label());
    Trial::ignorable_test(name.clone(), move || {
        if scenario.is_long() && !long {
            return Ok(Completion::ignored_with(format!("it takes long: set {LONG}=1 to run it")));
        }
        let seed = kit::seed().map_err(failed)?;
        let load = if scenario.is_long() { Load::full(seed) } else { Load::light(seed) };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        match runtime.block_on(stage(transport, layer, scenario, &load)) {
            Ok(run) => judge(&name, &run),
            Err(Stop::NotApplicable(reason)) => Ok(Completion::ignored_with(reason)),
            Err(stop) => Err(failed(stop)),
        }
    })
}

async fn stage(
    transport: Transport,
    layer: Layer,
    scenario: Scenario,
    load: &Load,
) -> Outcome<Run> {
    let medium = transport.start().await?;
    faults::run(Arc::clone(&medium), layer, scenario, load, &|_| {}).await
}

fn judge(name: &str, run: &Run) -> Result<Completion, Failed> {
    let summary = format!("{name} on {}: {run}", run.transport);
    if run.broken.is_empty() && run.unreported == 0 {
        println!("{summary}");
        return Ok(Completion::Completed);
    }
    Err(summary.into())
}

fn failed(stop: Stop) -> Failed {
    match stop {
        Stop::Broken(text) | Stop::NotApplicable(text) | Stop::NotPromised(text) => text.into(),
        other => format!("{other:?}").into(),
    }
}
