//! A connection's queue: its bounds, and what a slow client costs.

use backplane_hub::{
    ByteSize, Connection, ConnectionId, End, Hub, HubOptions, Opening, Outbound, WhenSlow,
};
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::json;

use crate::{
    one_hub,
    scenarios::{Client, Plain, soon},
};

async fn hub_with(options: impl FnOnce(&mut HubOptions)) -> Hub {
    let mut all = HubOptions::default();
    options(&mut all);
    one_hub(|hub| hub.options(all)).await
}

async fn open(hub: &Hub) -> (Connection, Outbound) {
    let opening = Opening {
        id: ConnectionId::random(),
        user: None,
        protocol: Plain::new("plain"),
        request: None,
        movable: false,
    };
    hub.open(opening).await.unwrap()
}

#[tokio::test]
async fn a_slow_client_is_closed_and_the_others_go_on() {
    let hub = hub_with(|options| options.outbound_messages = 10).await;
    let (slow, mut slow_outbound) = open(&hub).await;
    let mut quick = Client::open(&hub).await;
    for number in 0..100 {
        hub.clients().all().send("n", &number).await.unwrap();
        quick.expect("n", json!([number])).await;
    }
    assert_eq!(soon("the end", slow.ended()).await, End::TooSlow);
    // What waited is gone, and its memory with it.
    assert_eq!(slow_outbound.receive(&mut Vec::new(), 100).await, 0);
    let stats = hub.stats();
    assert_eq!((stats.closed_slow, stats.dropped_slow, stats.dropped_ending), (1, 1, 89));
    slow.disconnected(None).await;
    assert_eq!(hub.stats().connections, 1);
}

#[tokio::test]
async fn a_slow_client_can_lose_the_newest_instead() {
    let hub = hub_with(|options| {
        options.outbound_messages = 10;
        options.when_slow = WhenSlow::DropNewest;
    })
    .await;
    let mut slow = Client::open(&hub).await;
    let mut quick = Client::open(&hub).await;
    for number in 0..25 {
        hub.clients().all().send("n", &number).await.unwrap();
        quick.expect("n", json!([number])).await;
    }
    for number in 0..10 {
        slow.expect("n", json!([number])).await;
    }
    // It goes on as soon as it reads.
    hub.clients().all().send("n", &25).await.unwrap();
    slow.expect("n", json!([25])).await;
    let stats = hub.stats();
    assert_eq!((stats.closed_slow, stats.dropped_slow), (0, 15));
}

#[tokio::test]
async fn the_bound_in_bytes() {
    let hub = hub_with(|options| {
        options.outbound_bytes = ByteSize::kib(8);
        options.when_slow = WhenSlow::DropNewest;
    })
    .await;
    let mut client = Client::open(&hub).await;
    let (small, large) = ("x".repeat(3000), "x".repeat(20_000));
    for _ in 0..5 {
        hub.clients().connection(&client.id).send("small", &small).await.unwrap();
    }
    for _ in 0..2 {
        client.expect("small", json!([small])).await;
    }
    client.expect_nothing(&[&hub]).await;
    // Larger than the bound by itself: taken where nothing else waits, so that it is not lost for ever.
    for _ in 0..2 {
        hub.clients().connection(&client.id).send("large", &large).await.unwrap();
    }
    client.expect("large", json!([large])).await;
    client.expect_nothing(&[&hub]).await;
    assert_eq!(hub.stats().dropped_slow, 4);
}

#[tokio::test]
async fn replies_keep_their_place_and_are_never_dropped() {
    let hub = hub_with(|options| {
        options.outbound_messages = 3;
        options.when_slow = WhenSlow::DropNewest;
    })
    .await;
    let (connection, mut outbound) = open(&hub).await;
    let target = hub.clients().connection(connection.id());
    target.send("m", ()).await.unwrap();
    connection.reply(Bytes::from_static(b"reply"));
    target.send("m", ()).await.unwrap();
    target.send("dropped", ()).await.unwrap();
    let mut received = Vec::new();
    assert_eq!(outbound.receive(&mut received, 2).await, 2);
    assert_eq!(received[1], "reply");
    assert_eq!(outbound.receive(&mut received, 2).await, 1);
    assert_eq!((received.len(), hub.stats().dropped_slow), (3, 1));
    for _ in 0..3 {
        connection.reply(Bytes::from_static(b"reply"));
    }
    assert!(connection.ended().now_or_never().is_none());
    connection.reply(Bytes::from_static(b"one too many"));
    assert_eq!(soon("the end", connection.ended()).await, End::TooSlow);
    assert_eq!(outbound.receive(&mut received, 2).await, 0);
    assert_eq!(hub.stats().closed_slow, 1);
}

#[tokio::test]
async fn receiving_can_be_cancelled() {
    let hub = one_hub(|hub| hub).await;
    let (connection, mut outbound) = open(&hub).await;
    let mut received = Vec::new();
    for _ in 0..3 {
        assert!(outbound.receive(&mut received, 8).now_or_never().is_none());
    }
    hub.clients().all().send("m", ()).await.unwrap();
    assert_eq!(outbound.receive(&mut received, 8).now_or_never(), Some(1));
    // And so can waiting for the end.
    assert!(connection.ended().now_or_never().is_none());
    // Whoever waits is told when the connection goes.
    let waiting = tokio::spawn(async move { outbound.receive(&mut Vec::new(), 8).await });
    tokio::task::yield_now().await;
    drop(connection);
    assert_eq!(soon("the last word", waiting).await.unwrap(), 0);
}

#[tokio::test]
async fn what_waits_is_handed_over_in_portions() {
    let hub = one_hub(|hub| hub).await;
    let (_connection, mut outbound) = open(&hub).await;
    for _ in 0..100 {
        hub.clients().all().send("m", ()).await.unwrap();
    }
    let mut received = Vec::new();
    let mut portions = Vec::new();
    while let Some(count) = outbound.receive(&mut received, 64).now_or_never() {
        portions.push(count);
    }
    assert_eq!(portions, [64, 36]);
    assert_eq!(received.len(), 100);
}
