//! What one fault scenario on one transport came to, as `report.json` holds it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One run. A *delivery* is one envelope at one receiver: with `n` receivers of other nodes, each
/// envelope that was sent is due `n` times, and everything below counts deliveries unless it says
/// otherwise.
///
/// Whoever reads one from a file needs its place, its load, and what a comparison is about: the counts
/// of what was sent, arrived and did not, and `broken`. An older version may have known less of the
/// rest, which is then 0, none or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The transport with its version: `redis 7.0.15`.
    pub transport: String,
    /// What is stacked on it: `bare`, `counted` or `repaired`.
    pub layer: String,
    /// The fault: `killed 2 s`.
    pub scenario: String,
    /// What all randomness follows from.
    #[serde(default)]
    pub seed: u64,
    /// Nodes, each of which publishes and receives.
    pub nodes: usize,
    /// Envelopes per second that were asked for, over all publishers.
    pub rate: u32,
    /// Bytes per body.
    pub size: usize,
    /// How long it was published for.
    #[serde(default)]
    pub duration_ms: u64,
    /// Envelopes that were published, whatever the answer.
    pub sent: u64,
    /// Deliveries that were due.
    pub due: u64,
    /// Deliveries that happened, each envelope counted once per receiver.
    pub delivered: u64,
    /// Deliveries that did not happen.
    pub lost: u64,
    /// Of those lost: before the first that arrived of their stream, between others, after the last.
    #[serde(default)]
    pub lost_prefix: u64,
    /// See [`lost_prefix`](Self::lost_prefix).
    #[serde(default)]
    pub lost_middle: u64,
    /// See [`lost_prefix`](Self::lost_prefix).
    #[serde(default)]
    pub lost_suffix: u64,
    /// Deliveries beyond the first.
    pub doubled: u64,
    /// Deliveries after a later one of their stream.
    pub reordered: u64,
    /// Deliveries more than a second after their publishing.
    #[serde(default)]
    pub late: u64,
    /// Of those lost: neither in a `Gap`, nor between `Interrupted` and `Restored`, nor under an
    /// `OriginLost`, nor told by the ticket. Must be zero.
    pub unreported: u64,
    /// Of those lost: counted by `Gap`s.
    #[serde(default)]
    pub in_gaps: u64,
    /// The longest time in which a receiver got nothing from another node.
    #[serde(default)]
    pub longest_silence_ms: u64,
    /// From the fault to the first link that is not up; `None` where none noticed.
    pub notice_ms: Option<u64>,
    /// From the end of the fault until every receiver got something that was published after it, and
    /// was told `Restored` if it had been told `Interrupted`.
    pub recover_ms: Option<u64>,
    /// What publishers were answered while the fault lasted, by answer: `accepted`, `queued`,
    /// `link down`, `unknown`, `dropped`, `full`, `open`.
    #[serde(default)]
    pub answers: std::collections::BTreeMap<String, u64>,
    /// Envelopes per second at one receiver, where publishers were as fast as they could be.
    #[serde(default)]
    pub throughput: Option<u64>,
    /// Resident memory of all the broker's processes before the load, in KiB, where it has any.
    #[serde(default)]
    pub broker_kib: Option<u64>,
    /// The most of it at any time.
    #[serde(default)]
    pub broker_peak_kib: Option<u64>,
    /// Time from publish to delivery before the fault.
    #[serde(default)]
    pub p50_us: u64,
    /// See [`p50_us`](Self::p50_us).
    #[serde(default)]
    pub p99_us: u64,
    /// Time from publish to delivery after recovery.
    #[serde(default)]
    pub p50_after_us: u64,
    /// See [`p50_after_us`](Self::p50_after_us).
    #[serde(default)]
    pub p99_after_us: u64,
    /// What is stored outlives, by `semantics()`: with the settings of the server that decide.
    #[serde(default)]
    pub outlives: String,
    /// What `semantics()` promises that was not seen. Must be empty.
    pub broken: Vec<String>,
    /// What was seen and is not promised.
    #[serde(default)]
    pub better: Vec<String>,
    /// When the fault began, from the start of publishing.
    #[serde(default)]
    pub fault_from_ms: u64,
    /// When it ended.
    #[serde(default)]
    pub fault_to_ms: u64,
    /// The course of the run, one point each 100 ms.
    #[serde(default)]
    pub course: Vec<Point>,
}

/// 100 ms of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// From the start of publishing.
    pub at_ms: u64,
    /// Envelopes published.
    pub sent: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Median time from publish to delivery; 0 without any.
    #[serde(default)]
    pub p50_us: u64,
    /// The longest.
    #[serde(default)]
    pub max_us: u64,
    /// Envelopes that waited in the nodes' buffers at the end of it.
    #[serde(default)]
    pub buffered: u64,
}

impl fmt::Display for Run {
    /// A few lines for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, due, delivered, lost, doubled, reordered, late, unreported, .. } = self;
        write!(f, "{sent} sent, {delivered} of {due} delivered, {lost} lost")?;
        if *lost > 0 {
            let (prefix, middle, suffix) = (self.lost_prefix, self.lost_middle, self.lost_suffix);
            write!(
                f,
                " ({prefix} first, {middle} between, {suffix} last; {} in gaps",
                self.in_gaps
            )?;
            write!(f, ", {unreported} unreported)")?;
        }
        write!(f, ", {doubled} doubled, {reordered} reordered, {late} late")?;
        let ms = |ms: Option<u64>| ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"));
        let (notice, recover) = (ms(self.notice_ms), ms(self.recover_ms));
        write!(f, "\n  noticed after {notice}, recovered after {recover}")?;
        write!(f, ", longest silence {} ms", self.longest_silence_ms)?;
        write!(f, "; p50 {} µs, p99 {} µs before", self.p50_us, self.p99_us)?;
        write!(f, ", {} µs and {} µs after", self.p50_after_us, self.p99_after_us)?;
        let answers = self.answers.iter().map(|(answer, count)| format!("{count} {answer}"));
        write!(f, "\n  answers during the fault: {}", answers.collect::<Vec<_>>().join(", "))?;
        write!(f, " ({}={})", crate::kit::SEED, self.seed)?;
        self.broken.iter().try_for_each(|what| write!(f, "\n  broken: {what}"))?;
        self.better.iter().try_for_each(|what| write!(f, "\n  better than promised: {what}"))
    }
}
