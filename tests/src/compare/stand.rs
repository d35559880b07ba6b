//! The bench that the runs of [`faults`](crate::faults) are made on. This file alone knows them.

use std::{process::ExitCode, time::Duration};

use futures_util::future::BoxFuture;

use super::bench::{Bench, Case, Choice, Load, Menu};
use crate::{
    brokers::Program,
    faults::{self, Run, Scenario, Transport},
    kit::{Layer, Outcome, Stop},
};

/// The transports of this workspace, on brokers of their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stand;

/// Name, what it is, whether it is usual, and the program that it needs.
const TRANSPORTS: &[(&str, &str, bool, Option<Program>)] = &[
    ("memory", "within this process", true, None),
    ("redis7", "Redis 7 Pub/Sub", true, Some(Program::REDIS_7)),
    ("valkey9", "Valkey 9 Pub/Sub", true, Some(Program::VALKEY_9)),
    ("nats2_15", "core NATS 2.15", true, Some(Program::NATS_2_15)),
    ("nats2_15_jetstream", "JetStream, NATS 2.15", false, Some(Program::NATS_2_15)),
    ("nats2_15_cluster", "core NATS 2.15, three servers", false, Some(Program::NATS_2_15)),
    ("nats2_15_jetstream_cluster", "JetStream, three servers", false, Some(Program::NATS_2_15)),
    ("nats2_9", "core NATS 2.9", false, Some(Program::NATS_2_9)),
    ("redis7_streams", "Redis 7 Streams", false, Some(Program::REDIS_7)),
    ("valkey9_streams", "Valkey 9 Streams", false, Some(Program::VALKEY_9)),
    (
        "valkey9_sentinel",
        "Valkey 9 Pub/Sub, one of two servers, with sentinels",
        false,
        Some(Program::VALKEY_9),
    ),
    (
        "valkey9_sentinel_streams",
        "Valkey 9 Streams, one of three servers, with sentinels",
        false,
        Some(Program::VALKEY_9),
    ),
    (
        "valkey9_sharded",
        "Valkey 9 sharded Pub/Sub, three masters with replicas",
        false,
        Some(Program::VALKEY_9),
    ),
    (
        "valkey9_cluster",
        "Valkey 9 Pub/Sub on one of six servers of a cluster",
        false,
        Some(Program::VALKEY_9),
    ),
    ("redis6", "Redis 6.2 Pub/Sub", false, Some(Program::REDIS_6)),
    #[cfg(feature = "kafka")]
    (crate::brokers::Tansu::LABEL, "Kafka's protocol on Tansu 0.6", false, Some(Program::TANSU)),
];

const LAYERS: [(&str, &str); 3] = [
    ("bare", "the transport as it is: what is published during an outage is refused"),
    ("counted", "losses are counted"),
    ("repaired", "losses are repaired, and what is published during an outage is buffered"),
];

impl Stand {
    /// Call it first in `main`: some scenarios run this program again as a node. Then this serves as
    /// that node, and answers the exit code.
    #[must_use]
    pub fn serves() -> Option<ExitCode> {
        faults::serve_node()
    }
}

impl Bench for Stand {
    fn menu(&self) -> Menu {
        let choice = |name: &str, about: &str, usual, lasts| Choice {
            name: name.to_owned(),
            about: about.to_owned(),
            usual,
            lasts,
        };
        let transports = TRANSPORTS
            .iter()
            .map(|(name, about, usual, _)| choice(name, about, *usual, Duration::ZERO))
            .collect();
        let layers =
            LAYERS.iter().map(|(name, about)| choice(name, about, true, Duration::ZERO)).collect();
        Menu { transports, layers, scenarios: scenarios() }
    }

    fn look(&self, transport: &str) -> Result<(), String> {
        let program = TRANSPORTS.iter().find(|(name, ..)| *name == transport);
        match program.and_then(|(.., program)| *program) {
            Some(program) => program.find().map(drop).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    fn run(&self, case: Case, load: Load) -> BoxFuture<'static, Outcome<Run>> {
        Box::pin(run(case, load))
    }
}

/// The scenarios of a comparison that names none: one of each kind, so that four transports with three
/// layers take less than ten minutes.
const USUAL: [&str; 5] = [
    "killed 2 s",
    "paused 2 s",
    "link of a receiver cut 2 s",
    "nothing reaches the node",
    "full speed",
];

/// What a run takes beside its fault: the start of the broker, the load before and after, recovery.
const BESIDE: Duration = Duration::from_secs(8);

fn scenarios() -> Vec<Choice> {
    let choice = |scenario: Scenario| Choice {
        name: scenario.name.to_owned(),
        about: scenario.description.to_owned(),
        usual: USUAL.contains(&scenario.name),
        lasts: scenario.duration + BESIDE,
    };
    Scenario::all().into_iter().map(choice).collect()
}

/// One run, on a medium of its own.
async fn run(case: Case, load: Load) -> Outcome<Run> {
    let unknown = |what: &str| Stop::Broken(format!("there is no {what} in {case:?}"));
    let transport = Transport::named(&case.transport).ok_or_else(|| unknown("transport"))?;
    let layer = Layer::named(&case.layer).ok_or_else(|| unknown("layer"))?;
    let scenario = Scenario::named(&case.scenario).ok_or_else(|| unknown("scenario"))?;
    let Load { rate, size, nodes, seed } = load;
    let load = faults::Load { rate, size, nodes, ..faults::Load::full(seed) };
    let medium = transport.start().await?;
    faults::run(medium, layer, scenario, &load, &|_| {}).await
}
