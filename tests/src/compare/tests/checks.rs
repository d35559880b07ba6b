use super::made;
use crate::compare::{Missing, Report, check, findings};

/// What `check` says after `change` was made to the report.
fn after(change: impl FnOnce(&mut Report)) -> (Vec<String>, Vec<String>, Vec<String>) {
    let old = made::report();
    let mut new = made::report();
    change(&mut new);
    let checked = check(&old, &new);
    let texts = |found: &[crate::compare::Finding]| found.iter().map(ToString::to_string).collect();
    (texts(&checked.findings), texts(&checked.warnings), checked.notes)
}

const OLD_FAILURE: &str = "nats 2.15.0 bare, slow reader: failed: failed (waited 20s for the broker to cut \
                           it off, in vain) before, waited 20s for the broker to cut it off, in vain now";

#[test]
fn the_same_report_is_no_worse() {
    let (mut found, warnings, notes) = after(|_| {});
    assert_eq!(found.pop().unwrap(), OLD_FAILURE, "a failure is a finding, however old");
    assert!(found.is_empty() && warnings.is_empty() && notes.is_empty());
}

#[test]
fn each_promise_that_got_worse_is_found() {
    let (found, warnings, _) = after(|report| {
        report.failed.clear();
        let repaired = report.runs.iter_mut().find(|run| run.layer == "repaired").unwrap();
        repaired.lost = 1_200;
        repaired.doubled = 3;
        repaired.reordered = 4;
        repaired.unreported = 1;
        repaired.recover_ms = None;
        repaired.broken.push("order".to_owned());
        // It lost before: more is no broken promise.
        let bare = report.runs.iter_mut().find(|run| run.layer == "bare").unwrap();
        assert!(bare.lost > 0);
        bare.lost *= 2;
    });
    let place = "redis 7.0.15 repaired, killed 0.2 s:";
    let [recovery, others @ ..] = {
        let (recovery, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|text| text.contains("recover"));
        let mut all = recovery;
        all.extend(others);
        <[String; 6]>::try_from(all).unwrap()
    };
    assert!(recovery.starts_with(&format!("{place} time to recover: ")));
    assert!(recovery.ends_with(" before, never now"));
    let wanted = [
        "unreported: 0 before, 1 now",
        "lost: 0 before, 1,200 now",
        "doubled: 0 before, 3 now",
        "reordered: 0 before, 4 now",
        "promised and not seen: kept before, order now",
    ];
    assert_eq!(others, wanted.map(|text| format!("{place} {text}")));
    assert!(warnings.is_empty());
}

#[test]
fn a_run_that_is_gone_or_fails_is_found() {
    let (found, ..) = after(|report| {
        report.failed.clear();
        report.runs.remove(0);
        let failing = report.runs.remove(0);
        report.failed.push(Missing {
            transport: failing.transport,
            layer: failing.layer,
            scenario: failing.scenario,
            reason: "it did not start".to_owned(),
        });
        let senseless = report.runs.remove(0);
        report.not_applicable.push(Missing {
            transport: senseless.transport,
            layer: senseless.layer,
            scenario: senseless.scenario,
            reason: "no broker".to_owned(),
        });
    });
    let wanted = [
        "redis 7.0.15 bare, killed 0.2 s: is gone: was measured before, was not asked for now",
        "redis 7.0.15 counted, killed 0.2 s: failed: was measured before, it did not start now",
        "redis 7.0.15 repaired, killed 0.2 s: is gone: was measured before, no broker now",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn a_finding_is_one_line() {
    let (found, ..) =
        after(|report| report.failed[0].reason = "it ended:\n  a log\r\n\nof it\n".into());
    assert!(found[0].ends_with(" before, it ended: | a log | of it now"), "{found:?}");
}

#[test]
fn times_only_warn_and_only_far_beyond() {
    let (found, warnings, _) = after(|report| {
        report.failed.clear();
        let run = &mut report.runs[0];
        run.p99_us *= 50; // less than a second more
        run.longest_silence_ms = run.longest_silence_ms * 3 + 1_000;
        run.recover_ms = run.recover_ms.map(|ms| ms + 900); // more than 3 times, less than a second
        run.notice_ms = None;
    });
    assert!(found.is_empty(), "{found:?}");
    let [notice, gap] = <[String; 2]>::try_from(warnings).unwrap();
    assert!(notice.contains("time to notice: ") && notice.ends_with(" before, not noticed now"));
    assert!(gap.contains("longest gap: ") && gap.ends_with(" s now"), "{gap}");
}

#[test]
fn another_version_takes_the_place_of_the_old_one() {
    let (found, _, notes) = after(|report| {
        report.failed.clear();
        for run in &mut report.runs {
            if run.transport.starts_with("redis") {
                run.transport = "redis 8.2.0".to_owned();
                run.rate = 1_000;
            }
        }
        report.runs[0].unreported = 5;
    });
    assert_eq!(found, ["redis 8.2.0 bare, killed 0.2 s: unreported: 0 before, 5 now"]);
    let load = "the load is another: 5,000 envelopes/s of 256 bytes over 3 nodes before, 1,000 \
                envelopes/s of 256 bytes over 3 nodes now";
    assert_eq!(notes, ["redis 8.2.0 is compared with redis 7.0.15", load]);
}

#[test]
fn what_is_new_is_held_to_what_holds_for_all() {
    let mut new = made::report();
    new.runs[0].unreported = 2;
    new.runs[1].broken.push("order".to_owned());
    let mut old = made::report();
    old.runs.clear();
    let checked = check(&old, &new);
    assert_eq!(checked.findings.len(), findings(&new).len());
    let texts: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
    let lost = crate::compare::format::count(new.runs[0].lost);
    let unreported = format!("redis 7.0.15 bare, killed 0.2 s: unreported: 2 of {lost} lost");
    assert_eq!(texts[0], unreported);
    assert_eq!(texts[1], "redis 7.0.15 counted, killed 0.2 s: promised and not seen: order");
}
