use std::{fs, future::pending, path::Path};

use clap::Parser as _;

use super::made::Made;
use crate::compare::{
    Arguments, CompareError, INTERRUPTED, Plan, PlanError, Report, Selection, Verdict, perform,
};

fn names(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn plan(transports: &str, layers: &str, scenarios: &str) -> Result<Plan, PlanError> {
    let selection = Selection {
        transports: names(transports),
        layers: names(layers),
        scenarios: names(scenarios),
    };
    Plan::new(&Made::default(), &selection)
}

#[test]
fn a_plan_goes_scenario_by_scenario() {
    let plan = plan("", "", "").unwrap();
    let cases: Vec<String> = plan
        .runs
        .iter()
        .map(|run| format!("{} {} {}", run.case.scenario, run.case.transport, run.case.layer))
        .collect();
    assert_eq!(cases.len(), 2 * 3 * 2, "the usual, and nothing else");
    assert_eq!(cases[0], "killed 0.2 s memory bare");
    assert_eq!(cases[1], "killed 0.2 s memory repaired");
    assert_eq!(cases[2], "killed 0.2 s redis7 bare");
    assert_eq!(cases[6], "killed 2 s memory bare");
    assert_eq!(plan.lasts().as_secs(), 6 * 8 + 6 * 10);
}

#[test]
fn names_may_be_short_and_written_differently() {
    let chosen = |transports: &str, scenarios: &str| {
        let plan = plan(transports, "bare", scenarios).unwrap();
        (plan.names(|case| &case.transport), plan.names(|case| &case.scenario))
    };
    let (transports, scenarios) = chosen("nats,redis", "KILLED-2-s,paused");
    assert_eq!(transports, ["redis7", "nats2_15"], "in the menu's order");
    assert_eq!(scenarios, ["killed 2 s", "paused 10 s"]);
    assert_eq!(chosen("nats2.9", "killed").1, ["killed 0.2 s", "killed 2 s"]);
    assert_eq!(chosen("memory", "20 s").1, ["killed 20 s"], "part of a name, if none starts so");
    assert_eq!(chosen("memory", "all").1.len(), 4);
}

#[test]
fn what_cannot_be_run_is_said_with_what_to_do() {
    let text = plan("", "", "drowned").unwrap_err().to_string();
    let wanted = "there is no scenario \"drowned\": there are killed 0.2 s, killed 2 s, killed 20 s, \
                  paused 10 s, and all";
    assert_eq!(text, wanted);
    assert!(plan("", "!", "").unwrap_err().to_string().starts_with("there is no layer \"!\""));
    let text = plan("redis6", "", "").unwrap_err().to_string();
    let wanted = "redis6 cannot run here: no program for Redis 6.2: run `tests/run --fetch`; or leave it \
                  out with --transports";
    assert_eq!(text, wanted);
}

fn arguments(folder: &Path, more: &[&str]) -> Arguments {
    let out = folder.to_str().unwrap();
    let words = [&["compare", "--seed", "7", "--out", out], more].concat();
    Arguments::try_parse_from(words).unwrap()
}

async fn performed(folder: &Path, more: &[&str]) -> (Result<Verdict, CompareError>, String) {
    let mut printed = Vec::new();
    let arguments = arguments(folder, more);
    let verdict = perform(&arguments, &Made::default(), pending(), &mut printed).await;
    (verdict, String::from_utf8(printed).unwrap())
}

#[tokio::test]
async fn a_comparison_prints_and_writes_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--scenarios", "killed-2-s", "--transports", "memory,redis", "--details"];
    let (verdict, printed) = performed(folder.path(), &more).await;
    assert_eq!(verdict.unwrap(), Verdict::Fine, "{printed}");
    assert!(printed.starts_with("4 runs, about 40 s, seed 7; "), "{printed}");
    assert!(printed.contains("\nredis 7.0.15\n bare "), "{printed}");
    assert!(printed.contains("\nredis 7.0.15 · repaired\n killed 2 s "), "{printed}");
    assert!(printed.contains("\nEvery loss was reported, and every promise kept.\n"), "{printed}");

    let report = Report::read(&folder.path().join("report.json")).unwrap();
    assert_eq!(report.transport_names(), ["memory", "redis 7.0.15"]);
    assert_eq!((report.runs.len(), report.not_applicable.len(), report.failed.len()), (2, 2, 0));
    assert_eq!(report.versions.brokers["redis7"], "redis 7.0.15");
    let wanted = "compare --transports memory,redis --scenarios killed-2-s --rate 5000 --size 256 \
                  --nodes 3 --seed 7";
    assert_eq!(report.command, wanted);
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("redis 7.0.15"));
}

#[tokio::test]
async fn a_failed_run_is_a_finding_and_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--scenarios", "killed 2 s", "--transports", "nats2_9,redis", "--layers", "bare"];
    let (verdict, printed) = performed(folder.path(), &more).await;
    assert_eq!(verdict.unwrap().code(), 1);
    assert!(
        printed.contains("finding: nats2_9 bare, killed 2 s: failed: it did not start\n1 finding.")
    );
    assert!(printed.contains("\nnats2_9\n failed: it did not start\n"), "{printed}");
}

#[tokio::test]
async fn a_report_is_checked_against_the_one_it_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("report.json");
    let old = old.to_str().unwrap();
    let both = ["--scenarios", "killed", "--transports", "redis"];
    performed(folder.path(), &both).await.0.unwrap();
    let again = [&both[..], &["--check", old]].concat();
    let (verdict, printed) = performed(folder.path(), &again).await;
    assert_eq!(verdict.unwrap(), Verdict::Fine);
    assert!(printed.contains(&format!("none got worse since {old}.")), "{printed}");

    let one = ["--scenarios", "killed-2-s", "--transports", "redis", "--check", old];
    let (verdict, printed) = performed(folder.path(), &one).await;
    assert_eq!(verdict.unwrap(), Verdict::Findings);
    let finding = "finding: redis 7.0.15 bare, killed 0.2 s: is gone: was measured before, was not asked \
                   for now\n";
    assert!(printed.contains(finding), "{printed}");
}

#[tokio::test]
async fn what_was_not_asked_well_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.json");
    let (refused, _) = performed(folder.path(), &["--check", missing.to_str().unwrap()]).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.starts_with("cannot read the report ") && text.contains("name the report.json"));

    fs::write(&missing, "{}").unwrap();
    let (refused, _) = performed(folder.path(), &["--check", missing.to_str().unwrap()]).await;
    assert!(refused.unwrap_err().to_string().contains("as a report of compare"));

    let (refused, printed) = performed(&missing.join("below"), &[]).await;
    assert!(refused.unwrap_err().to_string().contains("name another folder with --out"));
    assert_eq!(printed, "");

    let (listed, printed) = performed(folder.path(), &["--list"]).await;
    assert_eq!(listed.unwrap(), Verdict::Fine);
    assert!(printed.contains("  * killed 2 s    what killed 2 s is (10 s)\n"), "{printed}");
    assert!(printed.ends_with("With these arguments: 12 runs, about 1 min 48 s.\n"), "{printed}");
    assert!(!folder.path().join("report.json").exists());
}

#[tokio::test]
async fn what_was_measured_before_an_interruption_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Made { endless: Some("nats2_15"), ..Made::default() };
    let more = ["--scenarios", "killed", "--transports", "redis,nats", "--layers", "bare"];
    let mut printed = Vec::new();
    let arguments = arguments(folder.path(), &more);
    // The first run ends by itself.
    let interrupted = bench.begun.notified();
    let verdict = perform(&arguments, &bench, interrupted, &mut printed).await.unwrap();
    assert_eq!(verdict, Verdict::Findings);
    let report = Report::read(&folder.path().join("report.json")).unwrap();
    assert_eq!(report.runs.len(), 1);
    assert_eq!(report.failed.len(), 3);
    assert!(report.failed.iter().all(|missing| missing.reason == INTERRUPTED));
    assert!(folder.path().join("report.html").exists());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_never_ends_is_called_off() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Made { endless: Some("redis7"), ..Made::default() };
    let more = ["--scenarios", "killed-2-s", "--transports", "redis,nats", "--layers", "bare"];
    let arguments = arguments(folder.path(), &more);
    perform(&arguments, &bench, pending(), &mut Vec::new()).await.unwrap();
    let report = Report::read(&folder.path().join("report.json")).unwrap();
    assert_eq!(report.runs.len(), 1, "the next one is made");
    assert_eq!(report.failed[0].reason, "the run did not end within 90 s");
}
