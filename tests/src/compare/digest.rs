//! A report in short, for a document to show and a repository to keep.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    format::{NONE, count, micros, millis, share},
    machine::{Machine, Versions},
    report::{Report, ReportError, replace},
    summary::Summary,
};

/// The rows of a report, without the courses of its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// When it began: RFC 3339, in UTC.
    pub started: String,
    /// The command line that repeats it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// What ran.
    pub versions: Versions,
    /// The scenarios, in the order of running.
    pub scenarios: Vec<String>,
    /// By transport, then by layer.
    pub rows: Vec<Row>,
}

/// What came of one transport with one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The transport, with its version.
    pub transport: String,
    /// What was stacked on it.
    pub layer: String,
    /// Where the broker was killed: deliveries that never happened, and those that were due.
    pub killed: Option<(u64, u64)>,
    /// The same over all scenarios.
    pub lost: (u64, u64),
    /// Of those lost, told to nobody.
    pub unreported: u64,
    /// Deliveries beyond the first.
    pub doubled: u64,
    /// Deliveries after a later one.
    pub reordered: u64,
    /// The longest time to recover; none where it never came.
    pub recover_ms: Option<u64>,
    /// The longest median before a fault, and 99th percentile.
    pub p50_us: Option<u64>,
    /// See [`p50_us`](Self::p50_us).
    pub p99_us: Option<u64>,
    /// Envelopes per second at one receiver, at full speed.
    pub throughput: Option<u64>,
    /// The broker's memory at its most before the load, and at any time.
    pub broker_kib: Option<(u64, u64)>,
}

/// The scenario in which the broker is killed.
const KILLED: &str = "killed 2 s";

impl Digest {
    /// What a report comes to.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let row = |summary: Summary| {
            let killed = Summary::at(report, &summary.transport, &summary.layer, KILLED);
            Row {
                killed: (killed.runs > 0).then_some((killed.lost, killed.due)),
                lost: (summary.lost, summary.due),
                unreported: summary.unreported,
                doubled: summary.doubled,
                reordered: summary.reordered,
                recover_ms: summary.recover_ms.value.filter(|_| summary.never_recovered.is_empty()),
                p50_us: summary.p50_us.value,
                p99_us: summary.p99_us.value,
                throughput: summary.throughput,
                broker_kib: summary.broker_kib.value.zip(summary.broker_peak_kib.value),
                transport: summary.transport,
                layer: summary.layer,
            }
        };
        let rows = Summary::all(report).into_iter().filter(|summary| summary.runs > 0);
        Self {
            started: report.started.clone(),
            command: report.command.clone(),
            machine: report.machine.clone(),
            versions: report.versions.clone(),
            scenarios: report.scenario_names().into_iter().map(str::to_owned).collect(),
            rows: rows.map(row).collect(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// It can't be read, or is none.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let unreadable = |source| ReportError::Unreadable { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        serde_json::from_str(&text)
            .map_err(|source| ReportError::NoReport { path: path.to_owned(), source })
    }

    /// Writes it to that file.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub fn write(&self, path: &Path) -> Result<PathBuf, ReportError> {
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from);
        text.and_then(|text| replace(path, &(text + "\n")))
            .map_err(|source| ReportError::Unwritable { path: path.to_owned(), source })
    }

    /// As a table of a document: transports bare, and as users get them.
    #[must_use]
    pub fn markdown(&self) -> String {
        const HEADS: [&str; 9] = [
            "",
            "",
            "lost when the broker is killed",
            "lost in all",
            "doubled, reordered, told nobody",
            "recovers within",
            "p50, p99",
            "full speed",
            "broker's memory",
        ];
        let mut text = format!("| {} |\n|{}\n", HEADS.join(" | "), "---|".repeat(HEADS.len()));
        let none = || NONE.to_owned();
        let lost = |(lost, due): (u64, u64)| match lost {
            0 => format!("0 of {}", count(due)),
            _ => format!("{} of {} ({})", count(lost), count(due), share(lost, due)),
        };
        let mut before = "";
        for row in self.rows.iter().filter(|row| row.layer != "counted") {
            let transport = if row.transport == before { "" } else { &row.transport };
            before = &row.transport;
            let mebibytes = |(idle, peak): (u64, u64)| {
                format!("{} to {} MiB", idle.div_ceil(1024), peak.div_ceil(1024))
            };
            let latencies = row.p50_us.zip(row.p99_us);
            let cells = [
                transport.to_owned(),
                row.layer.clone(),
                row.killed.map_or_else(none, lost),
                lost(row.lost),
                format!(
                    "{}, {}, {}",
                    count(row.doubled),
                    count(row.reordered),
                    count(row.unreported)
                ),
                row.recover_ms.map_or_else(none, millis),
                latencies
                    .map_or_else(none, |(p50, p99)| format!("{}, {}", micros(p50), micros(p99))),
                row.throughput.map_or_else(none, |speed| format!("{}/s", count(speed))),
                row.broker_kib.map_or_else(none, mebibytes),
            ];
            text += &format!("| {} |\n", cells.join(" | "));
        }
        let Machine { cores, cpu, os } = &self.machine;
        let cpu = cpu.as_deref().unwrap_or("unknown processor");
        let Self { command, started, .. } = self;
        let day = started.split('T').next().unwrap_or(started);
        text + &format!("\n{day}, {cores} cores of {cpu}, {os}: `{command}`\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::made;

    #[test]
    fn a_digest_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(&made::report());
        let path = digest.write(&folder.path().join("digest.json")).unwrap();
        assert_eq!(Digest::read(&path).unwrap(), digest);
        assert!(digest.rows.iter().all(|row| row.transport != "memory"), "nothing ran on it");
    }

    #[test]
    fn a_table_has_a_row_for_each_layer_that_people_use() {
        let digest = Digest::of(&made::small());
        let text = digest.markdown();
        let row = "| redis 7.0.15 | bare | 10,000 of 90,000 (11.1 %) | 10,000 of 90,000 (11.1 %) | 0, 0, 0 | – | 380 µs, 1.50 ms | – | 7 to 9 MiB |";
        assert!(text.contains(row), "{text}");
        let full = Digest::of(&made::report()).markdown();
        assert!(!full.contains("counted") && full.contains("| repaired |"), "{full}");
    }
}
