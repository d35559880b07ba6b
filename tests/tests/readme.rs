//! The README's table of semantics is what the transports say, and its figures are what `compare` saw last.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt::Write as _, path::Path};

use backplane_core::{
    Backplane, Delivery, Filter, Order, PublisherOutage, Receipt, Replay, Semantics,
    SubscriberOutage,
};
use backplane_memory::MemoryConfig;
use backplane_nats::{JetStreamConfig, NatsConfig};
use backplane_redis::{RedisConfig, ShardedConfig, StreamsConfig};
use backplane_tests::compare::Digest;

/// All columns, so with all features.
#[cfg_attr(not(feature = "kafka"), ignore = "the table has a column for Kafka")]
#[tokio::test]
async fn the_table_of_semantics_is_current() {
    let columns: Vec<(&str, Semantics)> = vec![
        ("memory", MemoryConfig::default().start().semantics()),
        ("Redis Pub/Sub", RedisConfig::default().start().unwrap().semantics()),
        ("Redis Streams", StreamsConfig::default().start().unwrap().semantics()),
        ("Redis sharded Pub/Sub", ShardedConfig::default().start().unwrap().semantics()),
        ("core NATS", NatsConfig::default().start().unwrap().semantics()),
        ("JetStream", JetStreamConfig::default().start().unwrap().semantics()),
        #[cfg(feature = "kafka")]
        ("Kafka", backplane_kafka::KafkaConfig::default().start().unwrap().semantics()),
    ];
    stands_in_the_readme("semantics", &table(&columns));
}

/// `compare … --digest tests/digest.json` writes them anew.
#[test]
fn the_table_of_figures_is_that_of_the_last_report() {
    let digest = Path::new(env!("CARGO_MANIFEST_DIR")).join("digest.json");
    stands_in_the_readme("figures", &Digest::read(&digest).unwrap().markdown());
}

fn stands_in_the_readme(name: &str, expected: &str) {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, rest) = readme.split_once(&format!("<!-- {name}: ")).expect("the marker");
    let (_, rest) = rest.split_once("-->\n").expect("the marker's end");
    let (found, _) = rest.split_once(&format!("<!-- /{name} -->")).expect("the end marker");
    assert_eq!(found, expected, "put this into README.md:\n{expected}");
}

fn table(columns: &[(&str, Semantics)]) -> String {
    type Row = (&'static str, fn(&Semantics) -> String);
    let rows: [Row; 9] = [
        ("delivery", |it| delivery(it.delivery).to_owned()),
        ("order", |it| order(it.order).to_owned()),
        ("an `Ok` proves", |it| receipt(it.receipt).to_owned()),
        ("what is stored outlives", |it| it.durability.to_string()),
        ("a publisher during an outage", |it| publisher(it.publisher_outage).to_owned()),
        ("a subscriber during an outage", |it| subscriber(it.subscriber_outage).to_owned()),
        ("replay", |it| replay(it.replay)),
        ("filtered by", |it| filter(it.filter).to_owned()),
        ("largest body", |it| it.largest_body.to_string()),
    ];
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut table = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (name, cell) in rows {
        let cells: Vec<String> = columns.iter().map(|(_, semantics)| cell(semantics)).collect();
        writeln!(table, "| {name} | {} |", cells.join(" | ")).unwrap();
    }
    table
}

fn delivery(it: Delivery) -> &'static str {
    match it {
        Delivery::BestEffort => "as it may",
        Delivery::AtMostOnce => "at most once",
        Delivery::AtLeastOnce => "at least once",
        Delivery::Repaired => "once; what is lost is repaired, or counted",
        Delivery::Counted => "at most once; what is lost is counted",
        Delivery::Kept => "once, for as long as the broker keeps it",
        _ => "new here",
    }
}

fn order(it: Order) -> &'static str {
    match it {
        Order::None => "none",
        Order::PerOriginAndTopic => "per node and topic",
        _ => "new here",
    }
}

fn receipt(it: Receipt) -> &'static str {
    match it {
        Receipt::Queued => "queued here",
        Receipt::Sent => "sent",
        Receipt::Accepted => "the broker has taken it",
        Receipt::Stored => "the broker has stored it",
        _ => "new here",
    }
}

fn publisher(it: PublisherOutage) -> &'static str {
    match it {
        PublisherOutage::Refuses => "is told at once, own connections get it",
        PublisherOutage::Waits => "waits, up to a deadline",
        PublisherOutage::Buffers => "is buffered: 16,384 envelopes, 60 s",
        PublisherOutage::Never => "has none",
        _ => "new here",
    }
}

fn subscriber(it: SubscriberOutage) -> &'static str {
    match it {
        SubscriberOutage::LostAndReported => "loses, and hears of it",
        SubscriberOutage::Repaired => "gets what it missed, or its count",
        SubscriberOutage::Counted => "loses, and hears how many",
        SubscriberOutage::CatchesUp => "reads on from where it was",
        SubscriberOutage::Never => "has none",
        _ => "new here",
    }
}

fn replay(it: Replay) -> String {
    match it {
        Replay::None => "none".to_owned(),
        Replay::Kept { age, entries } => {
            let age = age.map(|age| format!("{} min", age.as_secs() / 60));
            let entries = entries.map(|entries| format!("{entries} entries of a part"));
            let bounds: Vec<String> = [age, entries].into_iter().flatten().collect();
            format!("from any position: {}", bounds.join(", "))
        }
        _ => "new here".to_owned(),
    }
}

fn filter(it: Filter) -> &'static str {
    match it {
        Filter::Broker => "the broker",
        Filter::Node => "the node",
        _ => "new here",
    }
}
