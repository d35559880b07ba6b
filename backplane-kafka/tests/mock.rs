//! Brokers that fail, in the cluster of several that the client library brings for tests. Each of its fetches
//! waits as long as it may, whether or not there is something: so that is short here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::future_not_send, reason = "a mock cluster stays on its thread")]

mod common;

use std::{sync::Arc, time::Duration};

use backplane_core::{Backplane, Envelope, Node, PublishError, Topic};
use backplane_kafka::KafkaConfig;
use backplane_tests::kit::Checker;
use common::{down, hear, node, publish, start, topic, up, within};
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::sync::watch;

const BROKERS: i32 = 3;
const PARTITIONS: i32 = 12;

/// How long all brokers are away: for 2,000 envelopes.
const OUTAGE: Duration = Duration::from_secs(1);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(BROKERS).unwrap();
    cluster.create_topic("backplane", PARTITIONS, BROKERS).unwrap();
    cluster
}

fn url(cluster: &Cluster) -> String {
    format!("kafka://{}?rdkafka.fetch.wait.max.ms=5", cluster.bootstrap_servers())
}

/// Nodes as users get them.
async fn nodes<const N: usize>(cluster: &Cluster) -> [Arc<dyn Backplane>; N] {
    let nodes: [Node; N] =
        [(); N].map(|()| KafkaConfig::from_url(&url(cluster)).unwrap().start().unwrap());
    for node in &nodes {
        up(node).await;
    }
    nodes.map(|node| Arc::new(node) as Arc<dyn Backplane>)
}

/// Publishes 2,000 envelopes a second on four topics while `fault` goes on, and demands that everything
/// arrives, once and in order.
async fn nothing_is_lost(cluster: &Cluster, fault: impl AsyncFnOnce(&[Arc<dyn Backplane>])) {
    let nodes: [_; 3] = nodes(cluster).await;
    let topics: Vec<Topic> = (0..4).map(|number| topic(&number.to_string())).collect();
    let checker = Checker::new();
    let mut ears = Vec::new();
    for (number, node) in nodes[1..].iter().enumerate() {
        ears.push(checker.listen(number, &**node, &topics).await.unwrap());
    }
    let (stop, stopped) = watch::channel(false);
    let publishing: Vec<_> = topics
        .iter()
        .map(|topic| {
            let publisher = checker.publisher(&nodes[0], topic);
            let stopped = stopped.clone();
            tokio::spawn(async move {
                publisher.keep_publishing(Duration::from_millis(2), stopped).await
            })
        })
        .collect();
    fault(&nodes).await;
    for node in &nodes {
        up(&**node).await;
    }
    stop.send_replace(true);
    for publishing in publishing {
        within(publishing).await.unwrap().unwrap();
    }
    checker.settled().await.unwrap();
    let report = checker.report();
    report.exact().unwrap();
    println!("{} arrived", report.arrived());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_go_and_come_five_times() {
    let cluster = cluster();
    nothing_is_lost(&cluster, async |nodes| {
        for _ in 0..5 {
            cluster.broker_down(-1).unwrap();
            for node in nodes {
                down(&**node).await;
            }
            tokio::time::sleep(OUTAGE).await;
            cluster.broker_up(-1).unwrap();
            for node in nodes {
                up(&**node).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_after_the_other_goes_and_its_partitions_move() {
    let cluster = cluster();
    nothing_is_lost(&cluster, async |nodes| {
        for broker in 1..=BROKERS {
            cluster.broker_down(broker).unwrap();
            for partition in 0..PARTITIONS {
                let leader = broker % BROKERS + 1;
                cluster.partition_leader("backplane", partition, Some(leader)).unwrap();
            }
            // Proves that every partition takes and brings envelopes again.
            for number in 0..20 {
                let topic = topic(&format!("{broker}/{number}"));
                let ear = Checker::new();
                let heard = ear.listen("proof", &*nodes[1], std::slice::from_ref(&topic)).await;
                let heard = heard.unwrap();
                ear.publisher(&nodes[0], &topic).publish().await.unwrap();
                heard.receiver.has(1).await.unwrap();
            }
            cluster.broker_up(broker).unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_brokers_are_overcome() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR__TRANSPORT as HANGS_UP, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as TOO_FEW,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as NOT_LEADER,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TIMED_OUT,
    };
    let cluster = cluster();
    nothing_is_lost(&cluster, async |nodes| {
        for errors in [[NOT_LEADER; 5], [TOO_FEW; 5], [TIMED_OUT; 5], [HANGS_UP; 5]] {
            for request in [RDKafkaApiKey::Produce, RDKafkaApiKey::Fetch] {
                cluster.request_errors(request, &errors);
            }
            let topic = topic("proof");
            for _ in 0..50 {
                let ear = Checker::new();
                let heard = ear.listen("proof", &*nodes[1], std::slice::from_ref(&topic)).await;
                let heard = heard.unwrap();
                ear.publisher(&nodes[0], &topic).publish().await.unwrap();
                heard.receiver.has(1).await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_record_refuses_its_envelope_alone() {
    let cluster = cluster();
    let (here, there) = (node(&url(&cluster)).await, node(&url(&cluster)).await);
    let (heard, _heard) = hear(&here, &topic("tea")).await;
    publish(&there, &topic("tea"), 0..1).await;
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD];
    cluster.request_errors(RDKafkaApiKey::Produce, &refusals);
    let refused = within(there.publish(Envelope::new(topic("tea"), "1"))).await.unwrap_err();
    assert!(matches!(refused, PublishError::Refused { .. }), "{refused}");
    publish(&there, &topic("tea"), 2..3).await;
    assert_eq!(heard.numbers(2).await.unwrap(), [0, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_that_cannot_be_created_is_told() {
    let cluster: Cluster = MockCluster::new(1).unwrap();
    // It knows no request to create one.
    let node = start(&url(&cluster));
    let cause = down(&node).await.to_string();
    assert!(!cause.is_empty());
    cluster.create_topic("backplane", PARTITIONS, 1).unwrap();
    up(&node).await;
}
