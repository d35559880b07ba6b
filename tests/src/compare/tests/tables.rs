use super::made;
use crate::compare::{Missing, Report, Summary, details, overview, table::width};

#[test]
fn counts_are_summed_and_times_are_the_worst() {
    let report = made::report();
    let summary = Summary::over_scenarios(&report, "redis 7.0.15", "bare");
    let runs: Vec<_> = report
        .runs
        .iter()
        .filter(|run| run.transport == "redis 7.0.15" && run.layer == "bare")
        .collect();
    assert_eq!(summary.runs, 4);
    assert_eq!(summary.due, runs.iter().map(|run| run.due).sum::<u64>());
    assert_eq!(summary.delivered + summary.lost, summary.due);
    assert_eq!(summary.answers["unknown"], 4 * 51);
    let worst = runs.iter().max_by_key(|run| run.longest_silence_ms).unwrap();
    assert_eq!(summary.silence_ms.value, Some(worst.longest_silence_ms));
    assert_eq!(summary.silence_ms.scenario, "paused 10 s");
    assert!(summary.never_recovered.is_empty() && summary.failed.is_empty());

    let failed = Summary::over_scenarios(&report, "nats 2.15.0", "bare");
    assert_eq!((failed.runs, failed.failed.len()), (3, 1));
    let memory = Summary::over_scenarios(&report, "memory", "bare");
    assert_eq!((memory.runs, memory.not_applicable.len()), (0, 4));
    assert_eq!(Summary::all(&report).len(), 12, "a row for all that there is");
}

#[test]
fn a_remark_is_made_once_with_all_its_scenarios() {
    let mut report = made::report();
    for run in report.runs.iter_mut().filter(|run| run.layer == "bare") {
        run.broken.push("order".to_owned());
        run.notice_ms = None;
        run.recover_ms = None;
    }
    let summary = Summary::over_scenarios(&report, "valkey 9.1.0", "bare");
    assert_eq!(summary.broken.len(), 1);
    assert_eq!(summary.broken[0].scenarios.len(), 4);
    assert_eq!(summary.notice_ms.value, None);
    assert_eq!(summary.unnoticed, 4);
    assert_eq!(summary.never_recovered.len(), 4);
}

/// As large as counts and times get in a usual comparison, everywhere at once.
fn large() -> Report {
    let mut report = made::report();
    for run in &mut report.runs {
        run.due = 400_000;
        (run.delivered, run.lost) = (270_000, 130_000);
        (run.doubled, run.reordered, run.unreported) = (9_999, 9_999, 9_999);
        (run.longest_silence_ms, run.notice_ms) = (31_400, Some(10_200));
        run.recover_ms = Some(12_300);
        (run.p50_us, run.p99_us, run.p50_after_us, run.p99_after_us) =
            (12_300, 912_000, 12_300, 912_000);
        run.answers.insert("link down".to_owned(), 24_000);
        run.broken.push("an Ok proves that the broker has taken it ".repeat(5));
    }
    report
}

#[test]
fn no_line_wraps() {
    let mut single = made::report();
    single.runs.retain(|run| run.scenario == "killed 2 s");
    single.failed.clear();
    single.not_applicable.clear();
    let mut huge = large();
    huge.runs.iter_mut().for_each(|run| run.delivered *= 1_000_000);
    for report in [made::report(), large(), huge, single, made::small(), made::empty()] {
        for widest in [60, 80, 100, 120, 160, 400] {
            for line in overview(&report, widest).iter().chain(&details(&report, widest)) {
                assert!(width(line) <= widest, "{} of {widest} columns: {line}", width(line));
            }
        }
    }
}

#[test]
fn the_usual_terminal_has_a_column_for_each() {
    for report in [made::report(), large()] {
        let lines = overview(&report, 120);
        let head = lines.iter().find(|line| line.contains("delivered")).unwrap();
        assert!(head.contains("notice") && head.contains("recover"), "{}", lines.join("\n"));
    }
}

#[test]
fn a_small_table_says_all_there_is() {
    let lines = overview(&made::small(), 120).join("\n");
    let wanted = include_str!("small.txt").trim_end();
    assert_eq!(lines, wanted, "\n{lines}\n");
}

#[test]
fn what_is_missing_is_said_with_its_reason() {
    let mut report = made::report();
    report
        .runs
        .retain(|run| (run.layer.as_str(), run.scenario.as_str()) != ("counted", "slow reader"));
    report.failed.push(Missing {
        transport: "redis 7.0.15".to_owned(),
        layer: "counted".to_owned(),
        scenario: "slow reader".to_owned(),
        reason: "it did not start".to_owned(),
    });
    let lines = overview(&report, 160).join("\n");
    assert!(
        lines.contains("memory\n not applicable: the medium has no broker to make fail\nredis")
    );
    assert!(lines.contains("redis 7.0.15 counted in slow reader: it did not start"), "{lines}");
    let better =
        "\nBetter than promised:\n  redis 7.0.15 repaired: nothing was lost (killed 0.2 s, ";
    assert!(lines.contains(better), "{lines}");
    let lines = details(&report, 160).join("\n");
    assert!(lines.contains("slow reader: failed: waited 20s"), "{lines}");
}
