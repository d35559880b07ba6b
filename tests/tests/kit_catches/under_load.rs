//! The fault kit finds what is wrong under load, and nothing where nothing is.

use std::sync::Arc;

use backplane_tests::{
    faults::{self, Load, Run, Scenario},
    kit::Layer,
};

use crate::{SEED, fault::Fault, medium::Medium};

/// What must be caught, and a word of what is said of it.
const CAUGHT: &[(Fault, &str)] = &[
    (Fault::Loses, "nothing reports it"),
    (Fault::Doubles, "came twice"),
    (Fault::SwallowsErrors, "nothing reports it"),
    (Fault::HidesInterruptions, "nothing reports it"),
    (Fault::RepeatsInterruptions, "Interrupted twice"),
    (Fault::LocalNever, "of its own"),
    (Fault::Echoes, "of its own"),
    (Fault::RestoresPartly, "nothing reports it"),
];

async fn stage(fault: Fault) -> (Fault, Run) {
    let scenario = Scenario::named("killed 0.2 s").unwrap_or_else(|| panic!("no such scenario"));
    let medium = Arc::new(Medium::with(fault));
    let run = faults::run(medium, Layer::Bare, scenario, &Load::light(SEED), &|_| {}).await;
    (fault, run.unwrap_or_else(|stop| panic!("{fault:?}: {stop:?}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_wrong_under_load_is_found() {
    let runs = CAUGHT.iter().map(|(fault, _)| stage(*fault));
    for ((fault, run), (_, word)) in futures_util::future::join_all(runs).await.iter().zip(CAUGHT) {
        let found = run.broken.iter().any(|what| what.contains(word));
        assert!(found, "{fault:?} should say {word:?}: {run}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_found_under_load_where_nothing_is_wrong() {
    let (_, run) = stage(Fault::None).await;
    assert!(run.broken.is_empty() && run.lost > 0, "{run}");
    assert_eq!(run.due, run.delivered + run.lost);
    assert_eq!(run.lost, run.lost_prefix + run.lost_middle + run.lost_suffix);
    let course: u64 = run.course.iter().map(|point| point.sent).sum();
    assert_eq!(course, run.sent);
}
