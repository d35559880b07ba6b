//! Several runs as one row: counts are added up, of times the worst stands.

use std::collections::BTreeMap;

use super::report::{Found, Missing, Report};
use crate::faults::Run;

/// What the runs of one transport and layer came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The transport, with its version.
    pub transport: String,
    /// What was stacked on it.
    pub layer: String,
    /// Runs that are added up here.
    pub runs: u64,
    /// Envelopes published.
    pub sent: u64,
    /// Deliveries that were due.
    pub due: u64,
    /// Deliveries that happened.
    pub delivered: u64,
    /// Deliveries that did not happen.
    pub lost: u64,
    /// Deliveries beyond the first.
    pub doubled: u64,
    /// Deliveries after a later one of their stream.
    pub reordered: u64,
    /// Of those lost: told to nobody.
    pub unreported: u64,
    /// The longest time without a delivery.
    pub silence_ms: Worst,
    /// The longest time until a node noticed the fault, of those runs in which one did.
    pub notice_ms: Worst,
    /// Runs in which no node noticed a fault.
    pub unnoticed: u64,
    /// The longest time until all was well again, of those runs in which that came.
    pub recover_ms: Worst,
    /// The scenarios of the runs in which it never came.
    pub never_recovered: Vec<String>,
    /// What publishers were answered while the fault lasted.
    pub answers: BTreeMap<String, u64>,
    /// Envelopes per second at one receiver, at full speed.
    pub throughput: Option<u64>,
    /// The most memory that the broker had before the load, in KiB.
    pub broker_kib: Worst,
    /// The most memory that it ever had.
    pub broker_peak_kib: Worst,
    /// The longest median time to delivery before the fault, in microseconds.
    pub p50_us: Worst,
    /// The longest 99th percentile before the fault.
    pub p99_us: Worst,
    /// The longest median after recovery.
    pub p50_after_us: Worst,
    /// The longest 99th percentile after recovery.
    pub p99_after_us: Worst,
    /// What is stored outlives.
    pub outlives: String,
    /// Promises that were not kept, with the scenario.
    pub broken: Vec<Remark>,
    /// What was better than promised, with the scenarios in which it was.
    pub better: Vec<Remark>,
    /// What could not be measured.
    pub failed: Vec<Missing>,
    /// What makes no sense.
    pub not_applicable: Vec<Missing>,
}

/// The largest of several values, and where it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Worst {
    /// The value; `None` where there is none at all.
    pub value: Option<u64>,
    /// The scenario.
    pub scenario: String,
}

impl Worst {
    fn add(&mut self, value: Option<u64>, scenario: &str) {
        if value > self.value {
            self.value = value;
            scenario.clone_into(&mut self.scenario);
        }
    }
}

/// What the kit said about some scenarios.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// What it said.
    pub text: String,
    /// Where.
    pub scenarios: Vec<String>,
}

impl Summary {
    /// The row for one transport and layer, over all scenarios of a report.
    #[must_use]
    pub fn over_scenarios(report: &Report, transport: &str, layer: &str) -> Self {
        let mut summary = Self::of(transport, layer);
        for scenario in report.scenario_names() {
            summary.add(report.at(transport, layer, scenario));
        }
        summary
    }

    /// The row for one transport, layer and scenario.
    #[must_use]
    pub fn at(report: &Report, transport: &str, layer: &str, scenario: &str) -> Self {
        let mut summary = Self::of(transport, layer);
        summary.add(report.at(transport, layer, scenario));
        summary
    }

    /// All rows of a report: by transport, then by layer. A pair that nobody asked for has none.
    #[must_use]
    pub fn all(report: &Report) -> Vec<Self> {
        let layers = report.layer_names();
        let mut all = Vec::new();
        for transport in report.transport_names() {
            let rows = layers.iter().map(|layer| Self::over_scenarios(report, transport, layer));
            all.extend(rows.filter(|row| !row.is_empty()));
        }
        all
    }

    /// True if nothing is known, not even why.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs == 0 && self.failed.is_empty() && self.not_applicable.is_empty()
    }

    fn of(transport: &str, layer: &str) -> Self {
        Self { transport: transport.to_owned(), layer: layer.to_owned(), ..Self::default() }
    }

    fn add(&mut self, found: Option<Found<'_>>) {
        match found {
            Some(Found::Run(run)) => self.add_run(run),
            Some(Found::Failed(missing)) => self.failed.push(missing.clone()),
            Some(Found::NotApplicable(missing)) => self.not_applicable.push(missing.clone()),
            None => {}
        }
    }

    fn add_run(&mut self, run: &Run) {
        let scenario = &run.scenario;
        self.runs += 1;
        self.sent += run.sent;
        self.due += run.due;
        self.delivered += run.delivered;
        self.lost += run.lost;
        self.doubled += run.doubled;
        self.reordered += run.reordered;
        self.unreported += run.unreported;
        self.silence_ms.add(Some(run.longest_silence_ms), scenario);
        self.notice_ms.add(run.notice_ms, scenario);
        self.unnoticed += u64::from(run.notice_ms.is_none());
        self.recover_ms.add(run.recover_ms, scenario);
        if run.recover_ms.is_none() {
            self.never_recovered.push(scenario.clone());
        }
        for (answer, count) in &run.answers {
            *self.answers.entry(answer.clone()).or_default() += count;
        }
        self.throughput = self.throughput.max(run.throughput);
        self.broker_kib.add(run.broker_kib, scenario);
        self.broker_peak_kib.add(run.broker_peak_kib, scenario);
        // A latency of zero means that nothing was delivered.
        let measured = |us: u64| (us > 0).then_some(us);
        self.p50_us.add(measured(run.p50_us), scenario);
        self.p99_us.add(measured(run.p99_us), scenario);
        self.p50_after_us.add(measured(run.p50_after_us), scenario);
        self.p99_after_us.add(measured(run.p99_after_us), scenario);
        self.outlives.clone_from(&run.outlives);
        remark(&mut self.broken, &run.broken, scenario);
        remark(&mut self.better, &run.better, scenario);
    }
}

fn remark(remarks: &mut Vec<Remark>, texts: &[String], scenario: &str) {
    for text in texts {
        match remarks.iter_mut().find(|remark| remark.text == *text) {
            Some(remark) => remark.scenarios.push(scenario.to_owned()),
            None => {
                remarks.push(Remark { text: text.clone(), scenarios: vec![scenario.to_owned()] })
            }
        }
    }
}
