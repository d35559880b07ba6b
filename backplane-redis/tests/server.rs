//! On real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use backplane_core::{
    Backplane, Envelope, Event, LinkError, PublishError, Receipt, SubscribeError, Topic,
};
use backplane_tests::brokers::{Broker, Redis, RedisFlavour, RedisOptions};
use common::{Server, body, down, event, events, node, on, start, within};

on! { [redis7: Redis7, valkey9: Valkey9, redis6: Redis6]
    each_protocol_delivers
    an_old_server_gets_the_old_protocol
    credentials_that_are_wrong_are_said_to_be
    killed_connections_are_reported_and_replaced
    prefixes_do_not_hear_each_other
    ten_thousand_topics_take_few_round_trips
    dropping_a_node_ends_its_connections
    closing_sends_what_is_queued
}

// Redis 6 has access rules for channels from 6.2 on, as this one is, with the same words.
on! { [redis7rules: Redis7, valkey9rules: Valkey9, redis6rules: Redis6]
    a_refused_topic_holds_up_no_other
    a_refused_publish_refuses_no_other
    missing_rules_are_named
    a_server_that_hides_its_version_is_trusted
}

async fn server(flavour: RedisFlavour) -> Broker {
    Redis::start(flavour, RedisOptions::default()).await.unwrap()
}

/// A server with the user `app`, password `secret`, and these rules.
async fn ruled(flavour: RedisFlavour, rules: &str, more: &str) -> (Broker, String) {
    let options = RedisOptions::default()
        .config_line(format!("user app on >secret resetchannels {rules}"))
        .config_line(more);
    let broker = Redis::start(flavour, options).await.unwrap();
    let url = format!("redis://app:secret@{}?prefix=app", broker.address());
    (broker, url)
}

async fn each_protocol_delivers(flavour: RedisFlavour) {
    let broker = server(flavour).await;
    let admin = Server::of(&broker).await;
    let topics = [
        Topic::all("orders"),
        Topic::group("or*/d%\u{e9}rs", "a*b [c]\r\n/\u{fc}\0"),
        Topic::user("orders", &"u".repeat(1024)),
    ];
    let every_byte: Vec<u8> = (0..=255).collect();
    let largest = vec![7; 8 << 20];
    for (protocol, resp) in [("auto", "resp=3"), ("resp3", "resp=3"), ("resp2", "resp=2")] {
        let url = format!("{}?protocol={protocol}", broker.url());
        let (ours, theirs) = (node(&url).await, node(&url).await);
        let mut events = events(&ours, &topics).await;
        for topic in &topics {
            for sent in [&every_byte, &Vec::new(), &largest] {
                let envelope = Envelope::new(topic.clone(), sent.clone());
                assert_eq!(within(theirs.publish(envelope)).await.unwrap(), Receipt::Accepted);
                assert!(body(&mut events).await == *sent, "{protocol} {topic}");
            }
        }
        let connections = admin.connections().await;
        if flavour != RedisFlavour::Redis6 {
            let speaking = connections.iter().filter(|line| line.contains(resp)).count();
            assert_eq!(speaking, 4, "{connections:#?}");
        }
        drop((ours, theirs));
        admin.alone().await;
    }
}

async fn an_old_server_gets_the_old_protocol(flavour: RedisFlavour) {
    let options = RedisOptions::default().config_line("rename-command HELLO \"\"");
    let broker = Redis::start(flavour, options).await.unwrap();
    let (ours, theirs) = (node(&broker.url()).await, node(&broker.url()).await);
    let topic = Topic::group("orders", "kitchen");
    let mut events = events(&ours, std::slice::from_ref(&topic)).await;
    within(theirs.publish(Envelope::new(topic, "tea"))).await.unwrap();
    assert_eq!(body(&mut events).await, b"tea");

    let insisting = start(&format!("{}?protocol=resp3", broker.url()));
    let cause = down(&insisting).await;
    assert!(cause.to_string().contains("protocol=auto"), "{cause}");
}

async fn credentials_that_are_wrong_are_said_to_be(flavour: RedisFlavour) {
    let options = RedisOptions::default().password("right");
    let broker = Redis::start(flavour, options).await.unwrap();
    for protocol in ["resp2", "resp3"] {
        for login in ["", ":wr0ng@", "ann:wr0ng@"] {
            let url = format!("redis://{login}{}?protocol={protocol}", broker.address());
            let cause = down(&start(&url)).await;
            assert!(matches!(*cause, LinkError::Authentication { .. }), "{cause:?}");
            assert!(!format!("{cause:?}{cause}").contains("wr0ng"), "{cause:?}");
        }
        node(&format!("{}?protocol={protocol}", broker.url())).await;
    }
}

async fn killed_connections_are_reported_and_replaced(flavour: RedisFlavour) {
    let broker = server(flavour).await;
    let admin = Server::of(&broker).await;
    for protocol in ["resp2", "resp3"] {
        let url = format!("{}?protocol={protocol}", broker.url());
        let (ours, theirs) = (node(&url).await, node(&broker.url()).await);
        let topic = Topic::group("orders", "kitchen");
        let mut events = events(&ours, std::slice::from_ref(&topic)).await;
        for (kind, count) in [("pubsub", 2), ("normal", 2)] {
            let killed: usize = admin.ask(&format!("CLIENT KILL TYPE {kind}")).await;
            assert_eq!(killed, count, "{kind}");
            assert!(matches!(event(&mut events).await, Event::Interrupted { .. }));
            assert!(matches!(event(&mut events).await, Event::Restored));
            let sent = within(async {
                loop {
                    let envelope = Envelope::new(topic.clone(), "tea");
                    match theirs.publish(envelope).await {
                        Ok(receipt) => break receipt,
                        Err(PublishError::LinkDown(_) | PublishError::Unknown) => {
                            tokio::task::yield_now().await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            assert_eq!(sent.await, Receipt::Accepted);
            assert_eq!(body(&mut events).await, b"tea");
        }
        assert_eq!(ours.stats().connections, 3);
        drop((ours, theirs));
        admin.alone().await;
    }
}

async fn prefixes_do_not_hear_each_other(flavour: RedisFlavour) {
    let broker = server(flavour).await;
    let at = |prefix| format!("{}?prefix={prefix}", broker.url());
    let places = [("a", "b/c"), ("a%2Fb", "c"), ("a%252Fb", "c"), ("A", "b/c")];
    let mut nodes = Vec::new();
    for (prefix, hub) in places {
        let topic = Topic::group(hub, "kitchen");
        let ours = node(&at(prefix)).await;
        let events = events(&ours, std::slice::from_ref(&topic)).await;
        nodes.push((node(&at(prefix)).await, topic, ours, events));
    }
    // The server takes these in order, so whatever crossed over would come before one's own.
    for (index, (publisher, topic, ..)) in nodes.iter().enumerate() {
        let envelope = Envelope::new(topic.clone(), vec![u8::try_from(index).unwrap()]);
        within(publisher.publish(envelope)).await.unwrap();
    }
    for (publisher, topic, ..) in &nodes {
        within(publisher.publish(Envelope::new(topic.clone(), "fence"))).await.unwrap();
    }
    for (index, (.., events)) in nodes.iter_mut().enumerate() {
        assert_eq!(body(events).await, [u8::try_from(index).unwrap()]);
        assert_eq!(body(events).await, b"fence");
    }
}

async fn ten_thousand_topics_take_few_round_trips(flavour: RedisFlavour) {
    let broker = server(flavour).await;
    let admin = Server::of(&broker).await;
    for protocol in ["resp2", "resp3"] {
        let ours = node(&format!("{}?protocol={protocol}", broker.url())).await;
        let before = ours.stats().interest_round_trips;
        let topics: Vec<Topic> =
            (0..10_000).map(|number| Topic::group("orders", &format!("table {number}"))).collect();
        let events = events(&ours, &topics).await;
        let round_trips = ours.stats().interest_round_trips - before;
        assert!(round_trips <= 4, "{round_trips}");
        let channels: Vec<String> = admin.ask("PUBSUB CHANNELS backplane/orders/*").await;
        assert_eq!(channels.len(), 10_000);
        drop(events);
        let gone = async {
            let left = || admin.ask::<Vec<String>>("PUBSUB CHANNELS backplane/orders/*");
            while !left().await.is_empty() {}
        };
        within(gone).await;
        let round_trips = ours.stats().interest_round_trips - before;
        assert!(round_trips <= 8, "{round_trips}");
    }
}

async fn dropping_a_node_ends_its_connections(flavour: RedisFlavour) {
    let broker = server(flavour).await;
    let admin = Server::of(&broker).await;
    for protocol in ["resp2", "resp3"] {
        let node = node(&format!("{}?protocol={protocol}", broker.url())).await;
        let events = events(&node, &[Topic::all("orders")]).await;
        assert_eq!(admin.connections().await.len(), 2);
        drop((node, events));
        admin.alone().await;
    }
}

async fn closing_sends_what_is_queued(flavour: RedisFlavour) {
    let broker = server(flavour).await;
    let (ours, theirs) = (node(&broker.url()).await, node(&broker.url()).await);
    let topic = Topic::group("orders", "kitchen");
    let mut events = events(&ours, std::slice::from_ref(&topic)).await;
    let tickets: Vec<_> = (0..5_000u32)
        .map(|number| {
            let envelope = Envelope::new(topic.clone(), number.to_le_bytes().to_vec());
            theirs.try_publish(envelope).unwrap()
        })
        .collect();
    theirs.close(std::time::Duration::from_secs(30)).await.unwrap();
    for ticket in tickets {
        assert_eq!(ticket.await.unwrap(), Receipt::Accepted);
    }
    for number in 0..5_000u32 {
        assert_eq!(body(&mut events).await, number.to_le_bytes());
    }
}

async fn a_refused_topic_holds_up_no_other(flavour: RedisFlavour) {
    let rules = "+subscribe +unsubscribe +publish &app//node/* &app/orders/group/table*";
    let (_broker, url) = ruled(flavour, rules, "").await;
    for protocol in ["resp2", "resp3"] {
        let (ours, theirs) = (node(&format!("{url}&protocol={protocol}")).await, node(&url).await);
        let before = ours.stats().interest_round_trips;
        let allowed: Vec<Topic> =
            (0..2_000).map(|number| Topic::group("orders", &format!("table {number}"))).collect();
        let forbidden = [Topic::group("orders", "kitchen"), Topic::group("orders", "cellar")];
        // One registration is one step, and these two stand in the middle of it.
        let (some, others) = allowed.split_at(700);
        let all = [some, &forbidden, others].concat();
        let all = backplane_core::stream(&ours, &all, 16).unwrap();
        assert!(within(all.subscription().confirmed()).await.is_err());
        let mut allowed_events = events(&ours, &allowed).await;
        for forbidden in &forbidden {
            let events =
                backplane_core::stream(&ours, std::slice::from_ref(forbidden), 16).unwrap();
            match within(events.subscription().confirmed()).await {
                Err(SubscribeError::Refused { topic, reason }) => {
                    assert_eq!(topic, *forbidden);
                    assert!(reason.starts_with("NOPERM"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ours.stats().interest_round_trips - before, 1);
        let topic = allowed.last().unwrap();
        within(theirs.publish(Envelope::new(topic.clone(), "tea"))).await.unwrap();
        assert_eq!(body(&mut allowed_events).await, b"tea");
        assert_eq!(ours.stats().connections, 1, "the link stayed up");
    }
}

async fn a_refused_publish_refuses_no_other(flavour: RedisFlavour) {
    let rules = "+subscribe +unsubscribe +publish &app//node/* &app/orders/group/table*";
    let (_broker, url) = ruled(flavour, rules, "").await;
    let (ours, theirs) = (node(&url).await, node(&url).await);
    let (allowed, forbidden) = (Topic::group("orders", "table"), Topic::group("orders", "kitchen"));
    let mut events = events(&ours, std::slice::from_ref(&allowed)).await;
    let tickets: Vec<_> = (0..100u8)
        .map(|number| {
            let topic = if number % 3 == 0 { &forbidden } else { &allowed };
            theirs.try_publish(Envelope::new(topic.clone(), vec![number])).unwrap()
        })
        .collect();
    for (number, ticket) in tickets.into_iter().enumerate() {
        match within(ticket).await {
            Ok(Receipt::Accepted) if number % 3 != 0 => {}
            Err(PublishError::Refused { reason }) if number % 3 == 0 => {
                assert!(reason.starts_with("NOPERM"), "{reason}");
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    for number in (0..100u8).filter(|number| number % 3 != 0) {
        assert_eq!(body(&mut events).await, [number]);
    }
}

async fn missing_rules_are_named(flavour: RedisFlavour) {
    for (rules, missing) in [
        ("+subscribe +publish allchannels", "unsubscribe"),
        ("+subscribe +unsubscribe allchannels", "publish"),
        ("+publish +unsubscribe allchannels", "subscribe"),
        ("+subscribe +unsubscribe +publish &other/*", "channel"),
    ] {
        let (_broker, url) = ruled(flavour, rules, "").await;
        for protocol in ["resp2", "resp3"] {
            let cause = down(&start(&format!("{url}&protocol={protocol}"))).await;
            let text = cause.to_string();
            assert!(text.contains("NOPERM") && text.contains(missing), "{rules}: {text}");
        }
    }
}

async fn a_server_that_hides_its_version_is_trusted(flavour: RedisFlavour) {
    let rules = "+subscribe +unsubscribe +publish &app/*";
    let (_broker, url) = ruled(flavour, rules, "rename-command HELLO \"\"").await;
    node(&url).await;
}
