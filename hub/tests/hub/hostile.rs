//! Anything may arrive on a broker's channel.

use std::sync::Arc;

use backplane_core::{Backplane, Envelope, Topic};
use backplane_tests::kit::Random;
use serde_json::json;

use crate::{
    Memory,
    scenarios::{Client, soon},
    seed,
};

/// Bodies like those of a hub, to be damaged.
fn templates() -> Vec<Vec<u8>> {
    let mut invocation = vec![1, 8, 9, 9, 9, 9, 9, 9, 9, 9, 1, 5];
    invocation.extend(b"plain\x1c\0\0\0[\"plain\",\"hostile\",[],null]");
    let letter = |kind: u8, rest: &[u8]| [&[kind, 1, 0, 0, 0, 0, 0, 0, 0], rest].concat();
    vec![
        invocation,
        vec![1, 0, 2, 5],
        letter(2, b"\x01\0g"),
        letter(3, b"\x01\0g"),
        letter(4, b"\x01\0c"),
        letter(5, b""),
        letter(6, b""),
        letter(7, b"\x05\x03\0why"),
        vec![],
        vec![0],
        vec![255; 64],
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_is_trusted() {
    const ROUNDS: usize = 20_000;
    let mut random = Random::new(seed("bodies"));
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut client = Client::open_as(&one, Some("u")).await;
    one.groups().add(&client.id, "g").await.unwrap();
    let stranger: Arc<dyn Backplane> = Arc::new(memory.medium.node());
    stranger.link().wait_for(backplane_hub::Link::is_up).await.unwrap();
    let name = one.name();
    let topics = [
        Topic::all(name),
        Topic::group(name, "g"),
        Topic::user(name, "u"),
        Topic::connection(name, &client.id),
        Topic::node(name, one.node()),
    ];
    let templates = templates();
    for _ in 0..ROUNDS {
        let mut body = templates[random.below(templates.len())].clone();
        for _ in 0..random.below(4) {
            if body.is_empty() {
                break;
            }
            let at = random.below(body.len());
            match random.below(3) {
                0 => body.truncate(at),
                1 => body.insert(at, random.next() as u8),
                _ => body[at] = random.next() as u8,
            }
        }
        let topic = topics[random.below(topics.len())].clone();
        stranger.publish(Envelope::new(topic, body)).await.unwrap();
    }
    let stats = one.stats();
    assert!(stats.malformed > 1000 && stats.unknown > 1000, "{stats:?}");

    soon("joining", two.groups().add(&client.id, "h")).await.unwrap();
    two.clients().group("h").send("m", &1).await.unwrap();
    loop {
        // What happened to be well formed, if anything, and then the real thing.
        let told = client.next_raw().await.unwrap();
        if told == json!(["plain", "m", [1], null, null]).to_string() {
            break;
        }
    }
}

#[tokio::test]
async fn nothing_is_allocated_for_what_is_only_claimed() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&one).await;
    let stranger: Arc<dyn Backplane> = Arc::new(memory.medium.node());
    stranger.link().wait_for(backplane_hub::Link::is_up).await.unwrap();
    let huge = [
        // One payload of 4 GiB, 255 payloads of nothing, a head that is longer than the body.
        vec![1, 0, 1, 5, b'p', b'l', b'a', b'i', b'n', 255, 255, 255, 255],
        vec![1, 0, 255],
        vec![1, 255, 0],
        // A name of 64 KiB.
        vec![2, 1, 0, 0, 0, 0, 0, 0, 0, 255, 255],
    ];
    for body in huge {
        for topic in [Topic::all(one.name()), Topic::connection(one.name(), &client.id)] {
            stranger.publish(Envelope::new(topic, body.clone())).await.unwrap();
        }
    }
    let stats = one.stats();
    // A question to everybody is a kind that is not known there.
    assert_eq!((stats.malformed, stats.unknown, stats.queued), (7, 1, 0));
    memory.medium.inject(&Topic::all(one.name()), b"not even an envelope");
    client.expect_nothing(&[&two]).await;
}
