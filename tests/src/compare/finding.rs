//! What a report says that no report should say.

use std::fmt;

use super::{
    format::count,
    report::{Missing, Report},
};
use crate::faults::Run;

/// Something about one run, or about its absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The transport, with its version.
    pub transport: String,
    /// What was stacked on it.
    pub layer: String,
    /// The fault.
    pub scenario: String,
    /// What it is about: `lost`.
    pub what: String,
    /// How it was in the report that this one is checked against, if there is one.
    pub before: Option<String>,
    /// How it is.
    pub now: String,
}

impl fmt::Display for Finding {
    /// In one line, whatever a broker's log put into it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, layer, scenario, what, before, now } = self;
        let (what, now) = (one_line(what), one_line(now));
        write!(f, "{transport} {layer}, {scenario}: {what}: ")?;
        match before {
            Some(before) => write!(f, "{} before, {now} now", one_line(before)),
            None => write!(f, "{now}"),
        }
    }
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" | ")
}

impl Finding {
    pub(super) fn of_run(run: &Run, what: &str, before: Option<String>, now: String) -> Self {
        Self {
            transport: run.transport.clone(),
            layer: run.layer.clone(),
            scenario: run.scenario.clone(),
            what: what.to_owned(),
            before,
            now,
        }
    }

    pub(super) fn of_missing(missing: &Missing, what: &str, before: Option<String>) -> Self {
        Self {
            transport: missing.transport.clone(),
            layer: missing.layer.clone(),
            scenario: missing.scenario.clone(),
            what: what.to_owned(),
            before,
            now: missing.reason.clone(),
        }
    }
}

/// What is wrong with a report by itself: losses that were told to nobody, promises that were not kept,
/// runs that failed.
#[must_use]
pub fn findings(report: &Report) -> Vec<Finding> {
    let mut findings: Vec<Finding> = report.runs.iter().flat_map(of_run).collect();
    findings.extend(report.failed.iter().map(|missing| Finding::of_missing(missing, FAILED, None)));
    findings
}

pub(super) const UNREPORTED: &str = "unreported";
pub(super) const BROKEN: &str = "promised and not seen";
pub(super) const FAILED: &str = "failed";

/// What is wrong with a run by itself.
pub(super) fn of_run(run: &Run) -> Vec<Finding> {
    let mut findings = Vec::new();
    if run.unreported > 0 {
        let now = format!("{} of {} lost", count(run.unreported), count(run.lost));
        findings.push(Finding::of_run(run, UNREPORTED, None, now));
    }
    let broken = |text: &String| Finding::of_run(run, BROKEN, None, text.clone());
    findings.extend(run.broken.iter().map(broken));
    findings
}
