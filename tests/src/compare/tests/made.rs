//! Runs as they could be, made by a small model of a broker that is away for a while.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::{
    compare::{Bench, Case, Choice, Described, Load, Machine, Menu, Missing, Report, Versions},
    faults::{Point, Run},
    kit::{Outcome, Random, Stop},
};

/// A run in which the link is away for `away_ms`, 3 s after the start.
pub(super) fn run(transport: &str, layer: &str, scenario: &str, away_ms: u64) -> Run {
    let seed = (transport.len() * 31 + layer.len() * 7 + scenario.len()) as u64;
    let mut random = Random::new(seed);
    let mut noise = |part: u64| random.below(2 * part as usize + 1) as u64 + 100 - part;
    let repaired = layer == "repaired";
    let (from, to, recover) = (3_000, 3_000 + away_ms, if repaired { 900 } else { 420 });
    let base = if transport.starts_with("memory") { 60 } else { 380 };
    let (mut sent, mut delivered, mut waiting) = (0, 0, 0);
    let mut course = Vec::new();
    for at_ms in (0..to + 4_000).step_by(100) {
        let now = 500 * noise(3) / 100;
        let down = (from..to + 200).contains(&at_ms);
        let mut point = Point { at_ms, sent: now, ..Point::default() };
        sent += now;
        if down {
            waiting += if repaired { now } else { 0 };
        } else {
            let flushed = waiting.min(9_000);
            waiting -= flushed;
            point.delivered = (now + flushed) * 2;
            let late = if flushed > 0 { to - from } else { 0 } * 1_000;
            point.p50_us = base * noise(12) / 100 + late / 2;
            point.max_us = point.p50_us * (300 + noise(90)) / 100 + late;
        }
        point.buffered = waiting;
        delivered += point.delivered;
        course.push(point);
    }
    let due = sent * 2;
    let refused = course.iter().filter(|point| (from..to).contains(&point.at_ms));
    let refused = refused.map(|point| point.sent).sum();
    let answer = if repaired { "queued" } else { "link down" };
    Run {
        transport: transport.to_owned(),
        layer: layer.to_owned(),
        scenario: scenario.to_owned(),
        seed: 7,
        nodes: 3,
        rate: 5_000,
        size: 256,
        duration_ms: to + 4_000,
        sent,
        due,
        delivered,
        lost: due - delivered,
        lost_prefix: 0,
        lost_middle: due - delivered,
        lost_suffix: 0,
        doubled: 0,
        reordered: 0,
        late: if repaired { due / 10 } else { 0 },
        unreported: 0,
        in_gaps: if layer == "counted" { due - delivered } else { 0 },
        longest_silence_ms: away_ms + 200 + noise(40),
        notice_ms: Some(noise(60) / 10),
        recover_ms: Some(recover * noise(20) / 100),
        answers: BTreeMap::from([
            (answer.to_owned(), refused),
            ("accepted".to_owned(), 12),
            ("unknown".to_owned(), 51),
        ]),
        throughput: (scenario == "slow reader").then_some(base * 500),
        broker_kib: Some(7_168),
        broker_peak_kib: Some(7_168 + away_ms),
        p50_us: base,
        p99_us: base * 4 * noise(20) / 100,
        p50_after_us: base * noise(10) / 100,
        p99_after_us: base * 5 * noise(20) / 100,
        outlives: "nothing is kept".to_owned(),
        broken: Vec::new(),
        better: if repaired { vec!["nothing was lost".to_owned()] } else { Vec::new() },
        fault_from_ms: from,
        fault_to_ms: to,
        course,
    }
}

/// Four transports, three layers, four scenarios; something of everything that can come out.
pub(in crate::compare) fn report() -> Report {
    let mut report = empty();
    for (scenario, away_ms) in SCENARIOS {
        for transport in ["memory", "redis 7.0.15", "valkey 9.1.0", "nats 2.15.0"] {
            for layer in ["bare", "counted", "repaired"] {
                let missing = |reason: &str| Missing {
                    transport: transport.to_owned(),
                    layer: layer.to_owned(),
                    scenario: scenario.to_owned(),
                    reason: reason.to_owned(),
                };
                if transport == "memory" {
                    report.not_applicable.push(missing("the medium has no broker to make fail"));
                } else if (transport, layer, scenario) == ("nats 2.15.0", "bare", "slow reader") {
                    report.failed.push(missing("waited 20s for the broker to cut it off, in vain"));
                } else {
                    report.runs.push(run(transport, layer, scenario, away_ms));
                }
            }
        }
        report.scenarios.push(Described {
            name: scenario.to_owned(),
            about: format!("What happens is {scenario}"),
        });
    }
    report
}

const SCENARIOS: [(&str, u64); 4] =
    [("killed 0.2 s", 200), ("killed 2 s", 2_000), ("paused 10 s", 10_000), ("slow reader", 1_000)];

/// One without runs.
pub(super) fn empty() -> Report {
    Report {
        started: "2026-11-24T16:02:00Z".to_owned(),
        seed: 7,
        command: "compare --rate 5000 --size 256 --nodes 3 --seed 7".to_owned(),
        machine: Machine {
            cores: 2,
            cpu: Some("Some CPU @ 2.50 GHz".to_owned()),
            os: "Debian GNU/Linux 12 (bookworm), x86_64".to_owned(),
        },
        versions: Versions {
            backplane: "0.1.0".to_owned(),
            rustc: Some("rustc 1.95.0".to_owned()),
            brokers: BTreeMap::from([("redis7".to_owned(), "redis 7.0.15".to_owned())]),
        },
        runs: Vec::new(),
        failed: Vec::new(),
        not_applicable: Vec::new(),
        transports: ["memory", "redis 7.0.15"].map(str::to_owned).to_vec(),
        layers: Vec::new(),
        scenarios: Vec::new(),
    }
}

/// A report of one small run, all of whose values are chosen.
pub(in crate::compare) fn small() -> Report {
    let mut run = run("redis 7.0.15", "bare", "killed 2 s", 2_000);
    run.course.truncate(1);
    run.course[0] =
        Point { at_ms: 0, sent: 500, delivered: 998, p50_us: 380, max_us: 900, buffered: 0 };
    run.sent = 45_000;
    run.due = 90_000;
    run.delivered = 80_000;
    (run.lost, run.lost_middle) = (10_000, 10_000);
    run.longest_silence_ms = 2_310;
    (run.notice_ms, run.recover_ms) = (Some(9), None);
    run.answers = BTreeMap::from([("link down".to_owned(), 10_000)]);
    (run.p50_us, run.p99_us, run.p50_after_us, run.p99_after_us) = (380, 1_500, 390, 1_600);
    Report { runs: vec![run], ..empty() }
}

/// A bench whose runs take no time.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The transport of which no run ever ends.
    pub(super) endless: Option<&'static str>,
    /// Told once such a run has begun.
    pub(super) begun: Arc<Notify>,
}

impl Bench for Made {
    fn menu(&self) -> Menu {
        let choice = |(name, usual, seconds): (&str, bool, u64)| Choice {
            name: name.to_owned(),
            about: format!("what {name} is"),
            usual,
            lasts: Duration::from_secs(seconds),
        };
        let choices = |all: &[(&'static str, bool, u64)]| all.iter().copied().map(choice).collect();
        Menu {
            transports: choices(&[
                ("memory", true, 0),
                ("redis7", true, 0),
                ("redis6", false, 0),
                ("nats2_9", false, 0),
                ("nats2_15", true, 0),
            ]),
            layers: choices(&[("bare", true, 0), ("repaired", true, 0)]),
            scenarios: choices(&[
                ("killed 0.2 s", true, 8),
                ("killed 2 s", true, 10),
                ("killed 20 s", false, 30),
                ("paused 10 s", false, 20),
            ]),
        }
    }

    fn look(&self, transport: &str) -> Result<(), String> {
        match transport {
            "redis6" => Err("no program for Redis 6.2: run `tests/run --fetch`".to_owned()),
            _ => Ok(()),
        }
    }

    fn run(&self, case: Case, _load: Load) -> BoxFuture<'static, Outcome<Run>> {
        let endless = self.endless == Some(&case.transport);
        let begun = Arc::clone(&self.begun);
        Box::pin(async move {
            if endless {
                begun.notify_one();
                std::future::pending::<()>().await;
            }
            match case.transport.as_str() {
                "memory" => Err(Stop::NotApplicable("there is no broker".to_owned())),
                "nats2_9" => Err(Stop::Broken("it did not start".to_owned())),
                "redis7" => Ok(run("redis 7.0.15", &case.layer, &case.scenario, 2_000)),
                other => Ok(run(other, &case.layer, &case.scenario, 2_000)),
            }
        })
    }
}
