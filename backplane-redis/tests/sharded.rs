//! Sharded Pub/Sub on clusters of real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use backplane_core::{Backplane, Envelope, Event, Node, NodeOptions, Topic};
use backplane_redis::ShardedConfig;
use backplane_tests::brokers::{Broker, RedisCluster, RedisFlavour, RedisOptions};
use common::{events, on, up, within};

on! { [redis7: Redis7, valkey9: Valkey9]
    order_is_kept_when_a_master_hands_over
}

async fn cluster(flavour: RedisFlavour) -> RedisCluster {
    let cluster = RedisCluster::start(flavour, RedisOptions::default()).await.unwrap();
    cluster.well().await.unwrap();
    cluster
}

fn url(cluster: &RedisCluster) -> String {
    let places: Vec<String> = cluster.brokers().map(|it| it.address().to_string()).collect();
    format!("redis+sharded://{}", places.join(","))
}

fn start(url: &str) -> Node {
    let mut config = ShardedConfig::from_url(url).unwrap();
    config.server.node = NodeOptions::bare();
    config.start().unwrap()
}

async fn node(url: &str) -> Node {
    let node = start(url);
    up(&node).await;
    node
}

async fn order_is_kept_when_a_master_hands_over(flavour: RedisFlavour) {
    let cluster = cluster(flavour).await;
    let (ours, theirs) = (node(&url(&cluster)).await, node(&url(&cluster)).await);
    let topics: Vec<Topic> = (0..16).map(|it| Topic::group("orders", &it.to_string())).collect();
    let mut events = events(&ours, &topics).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let publish = {
        let (stop, topics) = (stop.clone(), topics.clone());
        tokio::spawn(async move {
            let mut number = 0_u64;
            let mut failures = 0;
            while !stop.is_cancelled() {
                for topic in &topics {
                    let envelope = Envelope::new(topic.clone(), number.to_le_bytes().to_vec());
                    if let Ok(ticket) = theirs.try_publish(envelope) {
                        let _ = ticket;
                    } else {
                        failures += 1
                    }
                }
                number += 1;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            println!("{number} rounds, {failures} refused; {:?}", theirs.link().borrow());
        })
    };
    let reading = tokio::spawn(async move {
        let mut last = std::collections::HashMap::new();
        let begun = std::time::Instant::now();
        loop {
            match events_next(&mut events).await {
                Some(Event::Message(envelope)) => {
                    let number = u64::from_le_bytes(*envelope.body.first_chunk().unwrap());
                    if number == u64::MAX {
                        break;
                    }
                    let last = last.entry(envelope.topic.clone()).or_insert(0);
                    if number < *last || number > *last + 1 {
                        eprintln!(
                            "{:?} {} {number} after {last}",
                            std::time::SystemTime::now()
                                .duration_since(std::time::UNIX_EPOCH)
                                .unwrap()
                                .as_millis()
                                % 100000,
                            envelope.topic
                        );
                    }
                    *last = number;
                }
                Some(other) => println!("{:?} {other:?}", begun.elapsed()),
                None => break,
            }
        }
    });
    for master in 0..1 {
        cluster.hand_over(master).await.unwrap();
        println!("handed over");
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    }
    stop.cancel();
    publish.await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    reading.abort();
    let _ = (within(async {}), Broker::port);
}

async fn events_next(events: &mut backplane_core::Events) -> Option<Event> {
    use futures_util::StreamExt;
    match events.next().await {
        Some(backplane_core::Next::Event(event)) => Some(event),
        _ => None,
    }
}
