//! Compares a report with an earlier one: has any promise got worse?

use super::{
    finding::{self, BROKEN, FAILED, Finding, UNREPORTED},
    format::{count, micros, millis},
    report::{Found, Missing, Report, place_of},
};
use crate::faults::Run;

/// What an earlier report and a new one differ in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// What got worse, and what is wrong anyway.
    pub findings: Vec<Finding>,
    /// Times that are far longer than they were. They depend on the machine, and fail nothing.
    pub warnings: Vec<Finding>,
    /// What makes the two less comparable: other versions, another load.
    pub notes: Vec<String>,
}

/// A time counts as longer from this many times what it was…
const FACTOR: u64 = 3;

/// … and this much more, in microseconds.
const MARGIN_US: u64 = 1_000_000;

/// Compares what `new` says about each transport, layer and scenario with what `old` says. Transports
/// are matched by family: another version of the same server takes the place of the old one.
#[must_use]
pub fn check(old: &Report, new: &Report) -> Checked {
    let mut checked = Checked::default();
    let matches = matched(&old.transport_names(), &new.transport_names());
    for (was, is) in &matches {
        if was != is {
            checked.notes.push(format!("{is} is compared with {was}"));
        }
    }
    let now_of = |transport: &str| matches.iter().find(|(was, _)| *was == transport).map(|m| m.1);

    for before in &old.runs {
        let (transport, layer, scenario) = place_of(before);
        let found = now_of(transport).and_then(|now| new.at(now, layer, scenario));
        match found {
            Some(Found::Run(now)) => checked.compare(before, now),
            Some(Found::Failed(missing)) => checked.findings.push(Finding::of_missing(
                missing,
                FAILED,
                Some("was measured".to_owned()),
            )),
            Some(Found::NotApplicable(missing)) => checked.findings.push(Finding::of_missing(
                missing,
                "is gone",
                Some("was measured".to_owned()),
            )),
            None => checked.findings.push(gone(before, now_of(transport))),
        }
    }

    // What is new has nothing to be compared with, and is held to what holds for every run.
    let measured_before = |transport: &str, layer: &str, scenario: &str| {
        matches.iter().any(|(was, is)| {
            *is == transport && matches!(old.at(was, layer, scenario), Some(Found::Run(_)))
        })
    };
    let is_new = |place: (&str, &str, &str)| !measured_before(place.0, place.1, place.2);
    for run in new.runs.iter().filter(|run| is_new(place_of(run))) {
        checked.findings.extend(finding::of_run(run));
    }
    for missing in new.failed.iter().filter(|missing| is_new(missing.place())) {
        let before = old_state(old, &matches, missing);
        checked.findings.push(Finding::of_missing(missing, FAILED, before));
    }
    checked.loads(old, new);
    checked
}

fn gone(before: &Run, now_named: Option<&str>) -> Finding {
    let mut finding = Finding::of_run(
        before,
        "is gone",
        Some("was measured".to_owned()),
        "was not asked for".to_owned(),
    );
    if let Some(name) = now_named {
        name.clone_into(&mut finding.transport);
    }
    finding
}

fn old_state(old: &Report, matches: &[(&str, &str)], missing: &Missing) -> Option<String> {
    let (was, _) = matches.iter().find(|(_, is)| *is == missing.transport)?;
    match old.at(was, &missing.layer, &missing.scenario)? {
        Found::Failed(before) => Some(format!("failed ({})", before.reason)),
        Found::NotApplicable(_) => Some("not applicable".to_owned()),
        Found::Run(_) => None,
    }
}

impl Checked {
    fn compare(&mut self, before: &Run, now: &Run) {
        if now.unreported > 0 {
            self.found(now, UNREPORTED, count(before.unreported), count(now.unreported));
        }
        let counts = [
            ("lost", before.lost, now.lost),
            ("doubled", before.doubled, now.doubled),
            ("reordered", before.reordered, now.reordered),
        ];
        for (what, was, is) in counts {
            if was == 0 && is > 0 {
                self.found(now, what, count(was), count(is));
            }
        }
        for text in &now.broken {
            let was = if before.broken.contains(text) { "broken" } else { "kept" };
            self.found(now, BROKEN, was.to_owned(), text.clone());
        }
        if let (Some(was), None) = (before.recover_ms, now.recover_ms) {
            self.found(now, "time to recover", millis(was), "never".to_owned());
        }
        if let (Some(was), None) = (before.notice_ms, now.notice_ms) {
            self.warn(now, "time to notice", millis(was), "not noticed".to_owned());
        }
        // A report that lacks one of these times has 0 there.
        let known = |time: u64| (time > 0).then_some(time);
        let time = |of: fn(&Run) -> u64| (known(of(before)), known(of(now)));
        let times_us = [
            ("longest gap", time(|run| run.longest_silence_ms), 1_000),
            ("time to notice", (before.notice_ms, now.notice_ms), 1_000),
            ("time to recover", (before.recover_ms, now.recover_ms), 1_000),
            ("p50 before the fault", time(|run| run.p50_us), 1),
            ("p99 before the fault", time(|run| run.p99_us), 1),
            ("p50 after the fault", time(|run| run.p50_after_us), 1),
            ("p99 after the fault", time(|run| run.p99_after_us), 1),
        ];
        for (what, (was, is), factor) in times_us {
            let (Some(was), Some(is)) = (was, is) else { continue };
            let [was, is] = [was, is].map(|time| time.saturating_mul(factor));
            if is >= was.saturating_mul(FACTOR) && is >= was.saturating_add(MARGIN_US) {
                self.warn(now, what, micros(was), micros(is));
            }
        }
    }

    fn found(&mut self, run: &Run, what: &str, before: String, now: String) {
        self.findings.push(Finding::of_run(run, what, Some(before), now));
    }

    fn warn(&mut self, run: &Run, what: &str, before: String, now: String) {
        self.warnings.push(Finding::of_run(run, what, Some(before), now));
    }

    /// Notes another load, once.
    fn loads(&mut self, old: &Report, new: &Report) {
        let load = |report: &Report| {
            report.runs.first().map(|run| {
                let rate = count(run.rate.into());
                format!("{rate} envelopes/s of {} bytes over {} nodes", run.size, run.nodes)
            })
        };
        if let (Some(was), Some(is)) = (load(old), load(new))
            && was != is
        {
            self.notes.push(format!("the load is another: {was} before, {is} now"));
        }
    }
}

/// Pairs of an old transport and the new one that takes its place, in the order of the old ones.
fn matched<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let mut pairs = Vec::new();
    for was in old {
        for is in new.iter().filter(|is| family(is) == family(was)) {
            let closeness = if was == is { usize::MAX } else { common(was, is) };
            pairs.push((closeness, *was, *is));
        }
    }
    // The closest first; the sort is stable, so that of equally close ones the earlier wins.
    pairs.sort_by_key(|(closeness, ..)| std::cmp::Reverse(*closeness));
    let mut matched: Vec<(&str, &str)> = Vec::new();
    for (_, was, is) in pairs {
        if matched.iter().all(|(w, i)| *w != was && *i != is) {
            matched.push((was, is));
        }
    }
    matched.sort_by_key(|(was, _)| old.iter().position(|name| name == was));
    matched
}

/// What a transport is, without its version: `redis` of `redis 7.0.15` and of `redis7`.
fn family(transport: &str) -> String {
    transport.chars().take_while(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

/// How many parts of two versions are the same, from the left.
fn common(one: &str, other: &str) -> usize {
    let parts = |name: &'_ str| -> Vec<String> {
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        numbers.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    parts(one).iter().zip(&parts(other)).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_is_matched_by_family_and_closest_version() {
        let old = ["memory", "nats 2.9.10", "nats 2.15.0", "redis 7.0.15", "valkey 9.1.0"];
        let new = ["memory", "nats 2.15.3", "nats2_9", "redis 8.0.0"];
        let wanted = [
            ("memory", "memory"),
            ("nats 2.9.10", "nats2_9"),
            ("nats 2.15.0", "nats 2.15.3"),
            ("redis 7.0.15", "redis 8.0.0"),
        ];
        assert_eq!(matched(&old, &new), wanted);
        // An exact match is not taken away by a closer name that comes first.
        let pairs = matched(&["redis 7.0.14", "redis 7.0.15"], &["redis 7.0.15"]);
        assert_eq!(pairs, [("redis 7.0.15", "redis 7.0.15")]);
    }
}
