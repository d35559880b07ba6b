//! What the cluster is asked before the first record: whether it is there, and whether it has the topic.

use std::time::{Duration, Instant};

use backplane_core::LinkError;
use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::{Client, DefaultClientContext},
    error::RDKafkaErrorCode,
    metadata::MetadataTopic,
};
use tokio::{net::TcpStream, runtime::Handle, task::JoinSet};

use crate::{
    client,
    config::KafkaConfig,
    error::{EXPECTED, lost, of_answer},
};

/// How soon what is about to be there is looked for again.
const AGAIN: Duration = Duration::from_millis(20);

/// Returns once one of the servers takes a connection. The client library is not asked to, as each attempt
/// would cost its threads, and its words tell less.
pub(crate) async fn knock(config: &KafkaConfig) -> Result<(), LinkError> {
    let mut attempts = JoinSet::new();
    for server in config.servers.clone() {
        attempts.spawn(async move {
            let outcome = TcpStream::connect(&server).await;
            outcome
                .map(drop)
                .map_err(|error| LinkError::Unreachable { address: server, source: error.into() })
        });
    }
    let mut failed = LinkError::NotYet;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}

/// Sees to it that there is a topic with enough partitions, each with a leader, and answers how many it has.
/// Blocks, for `within` at most.
pub(crate) fn prepare_topic<C: ClientContext>(
    client: &Client<C>,
    config: &KafkaConfig,
    within: Duration,
) -> Result<u32, LinkError> {
    let until = Instant::now() + within;
    let mut created = false;
    loop {
        match partitions(client, config, until.saturating_duration_since(Instant::now()))? {
            Found::Ready(count) if count >= config.partitions => return Ok(count),
            Found::Ready(count) => return Err(too_few(config, count)),
            Found::Missing if !created => {
                create(config, until.saturating_duration_since(Instant::now()))?;
                created = true;
            }
            Found::Missing | Found::NotReady => {}
        }
        if Instant::now() >= until {
            let doing = "waiting for each partition to have a leader";
            return Err(LinkError::TimedOut { doing, waited: within });
        }
        client::pause(AGAIN);
    }
}

/// The topic, as the cluster has it.
pub(crate) enum Found {
    Missing,
    /// Without a leader for each of its partitions.
    NotReady,
    /// With so many partitions.
    Ready(u32),
}

/// Looks for the topic. Blocks, for `within` at most.
pub(crate) fn partitions<C: ClientContext>(
    client: &Client<C>,
    config: &KafkaConfig,
    within: Duration,
) -> Result<Found, LinkError> {
    let address = config.servers.join(",");
    let metadata = client
        .fetch_metadata(Some(&config.topic), within.max(Duration::from_millis(1)))
        .map_err(|error| of_answer(&error, "asking for the topic", within, &address))?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == config.topic) else {
        return Ok(Found::Missing);
    };
    match topic.error().map(RDKafkaErrorCode::from) {
        None | Some(RDKafkaErrorCode::NoError) => Ok(ready(topic)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(Found::Missing),
        Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(Found::NotReady),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            let reason = format!(
                "it may not see the topic {}: allow it to Describe, Read and Write that",
                config.topic
            );
            Err(LinkError::Denied { address, reason })
        }
        Some(code) => Err(lost(format!("the cluster says of the topic {}: {code}", config.topic))),
    }
}

fn ready(topic: &MetadataTopic) -> Found {
    let partitions = topic.partitions();
    if partitions.is_empty() || partitions.iter().any(|it| it.leader() < 0) {
        return Found::NotReady;
    }
    Found::Ready(partitions.len() as u32)
}

fn too_few(config: &KafkaConfig, count: u32) -> LinkError {
    let KafkaConfig { topic, partitions, .. } = config;
    LinkError::Unsuitable {
        address: config.servers.join(","),
        reason: format!(
            "the topic {topic} has {count} partitions and not {partitions}: give it more, or all nodes partitions={count}"
        ),
    }
}

fn create(config: &KafkaConfig, within: Duration) -> Result<(), LinkError> {
    let address = config.servers.join(",");
    let said = |reason: String| LinkError::Unsuitable { address: address.clone(), reason };
    let admin: AdminClient<DefaultClientContext> =
        client::consumer(config).create().map_err(lost)?;
    let replication = config.replication.map_or(-1, i32::from);
    let age = config.age.as_millis().to_string();
    let topic = NewTopic::new(
        &config.topic,
        config.partitions as i32,
        TopicReplication::Fixed(replication),
    )
    .set("retention.ms", &age);
    let options = AdminOptions::new().operation_timeout(Some(within)).request_timeout(Some(within));
    let outcome = Handle::current().block_on(admin.create_topics([&topic], &options));
    let outcome =
        outcome.map_err(|error| of_answer(&error, "creating the topic", within, &address))?;
    let by_hand = format!(
        "the topic {} is missing and could not be created with {} partitions",
        config.topic, config.partitions
    );
    match outcome.into_iter().next() {
        Some(Ok(_)) => {
            tracing::info!(topic = config.topic, partitions = config.partitions, "created");
            Ok(())
        }
        // Another node was quicker.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((
            _,
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ))) => {
            let reason =
                format!("{by_hand}: create it, or allow the user to Create and Describe it");
            Err(LinkError::Denied { address, reason })
        }
        Some(Err((_, code))) => Err(said(format!("{by_hand}: {code}"))),
        None => Err(LinkError::Protocol {
            address,
            expected: EXPECTED,
            reason: "it does not say whether the topic was created".to_owned(),
        }),
    }
}
