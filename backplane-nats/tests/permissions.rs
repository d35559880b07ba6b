//! Servers that don't allow everything.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use backplane_core::{
    Backplane, Envelope, Event, Events, LinkError, Node, PublishError, Receipt, SubscribeError,
    Topic, stream,
};
use backplane_tests::brokers::{Broker, NatsFlavour, NatsOptions};
use common::{
    broker_with, down, listen, message, next, node, node_up, on_each_server, soon, users,
};

on_each_server!(
    one_topic_among_many_is_refused,
    many_topics_are_refused_at_once,
    a_publish_is_refused,
    many_publishes_are_refused_at_once,
    nothing_is_allowed,
    too_many_subscriptions,
);

fn as_shop(broker: &Broker) -> String {
    format!("nats://shop:pw@{}", broker.address())
}

fn group(number: usize) -> Topic {
    Topic::group("h", &number.to_string())
}

async fn one_topic_among_many_is_refused(flavour: NatsFlavour) {
    let options = users(
        r#"{ user: shop, password: pw, permissions: {
            subscribe: { allow: ["backplane.>"], deny: ["backplane.h.group.77"] } } }"#,
    );
    let broker = broker_with(flavour, options).await;
    let node = node_up(&as_shop(&broker)).await;
    let other = node_up(&broker.url()).await;
    let mut streams: Vec<_> =
        (0..300).map(|number| stream(&node, &[group(number)], 64).unwrap()).collect();
    for (number, events) in streams.iter().enumerate() {
        let outcome = soon("an answer", events.subscription().confirmed()).await;
        match outcome {
            Err(SubscribeError::Refused { topic, reason }) if number == 77 => {
                assert_eq!(topic, group(77));
                assert!(reason.contains("Permissions Violation"), "{reason}");
            }
            outcome => assert!(outcome.is_ok() && number != 77, "{number}: {outcome:?}"),
        }
    }
    arrives_on(&[0, 76, 78, 299], &other, &mut streams).await;
    assert_eq!(node.stats().connections, 1);
}

/// Messages on these topics arrive.
async fn arrives_on(numbers: &[usize], other: &Node, streams: &mut [Events]) {
    for number in numbers {
        other.publish(Envelope::new(group(*number), "tea")).await.unwrap();
        let envelope = loop {
            // So many refusals leave room for a doubt.
            if let Event::Message(envelope) = next(&mut streams[*number]).await {
                break envelope;
            }
        };
        assert_eq!(envelope.topic, group(*number));
    }
}

async fn many_topics_are_refused_at_once(flavour: NatsFlavour) {
    let options = users(
        r#"{ user: shop, password: pw, permissions: {
            subscribe: { allow: ["backplane.>"], deny: ["backplane.h.user.>"] } } }"#,
    );
    let broker = broker_with(flavour, options).await;
    let node = node_up(&as_shop(&broker)).await;
    let other = node_up(&broker.url()).await;
    let topics: Vec<Topic> = (0..3000)
        .map(|number| match number % 3 {
            0 => group(number),
            _ => Topic::user("h", &number.to_string()),
        })
        .collect();
    let mut streams: Vec<_> = topics
        .iter()
        .map(|topic| stream(&node, std::slice::from_ref(topic), 64).unwrap())
        .collect();
    for (number, events) in streams.iter().enumerate() {
        let outcome = soon("an answer", events.subscription().confirmed()).await;
        let is_refused = matches!(outcome, Err(SubscribeError::Refused { .. }));
        assert_eq!(is_refused, number % 3 != 0, "{number}: {outcome:?}");
    }
    arrives_on(&[0, 1500, 2997], &other, &mut streams).await;
    assert_eq!(node.stats().connections, 1);
}

async fn a_publish_is_refused(flavour: NatsFlavour) {
    let options = users(
        r#"{ user: shop, password: pw, permissions: {
            publish: { allow: ["backplane.>"], deny: ["backplane.h.group.1"] } } }"#,
    );
    let broker = broker_with(flavour, options).await;
    let node = node_up(&as_shop(&broker)).await;
    let other = node_up(&broker.url()).await;
    let mut events = listen(&other, &[group(0), group(1)]).await;
    for _ in 0..3 {
        let tickets =
            [1, 0, 1].map(|number| node.try_publish(Envelope::new(group(number), "tea")).unwrap());
        let mut outcomes = Vec::new();
        for ticket in tickets {
            outcomes.push(soon("an answer", ticket).await);
        }
        for number in [0, 2] {
            let outcome = &outcomes[number];
            let Err(PublishError::Refused { reason }) = outcome else { panic!("{outcome:?}") };
            assert!(reason.contains("Permissions Violation"), "{reason}");
        }
        assert!(matches!(outcomes[1], Ok(Receipt::Accepted)), "{:?}", outcomes[1]);
        assert_eq!(message(&mut events).await.topic, group(0));
    }
    assert_eq!(node.stats().refused, 6);
    assert_eq!(node.stats().connections, 1);
}

async fn many_publishes_are_refused_at_once(flavour: NatsFlavour) {
    let options = users(
        r#"{ user: shop, password: pw, permissions: {
            publish: { allow: ["backplane.>"], deny: ["backplane.h.group.>"] } } }"#,
    );
    let broker = broker_with(flavour, options).await;
    let node = node_up(&as_shop(&broker)).await;
    let tickets: Vec<_> = (0..5_000)
        .map(|number| node.try_publish(Envelope::new(group(number), "tea")).unwrap())
        .collect();
    for ticket in tickets {
        let outcome = soon("an answer", ticket).await;
        assert!(matches!(outcome, Err(PublishError::Refused { .. })), "{outcome:?}");
    }
    let allowed = node.publish(Envelope::new(Topic::user("h", "ann"), "tea")).await;
    assert!(matches!(allowed, Ok(Receipt::Accepted)), "{allowed:?}");
    assert_eq!(node.stats().connections, 1);
}

async fn nothing_is_allowed(flavour: NatsFlavour) {
    for kind in ["publish", "subscribe"] {
        let options = users(&format!(
            "{{ user: shop, password: pw, permissions: {{ {kind}: {{ allow: [\"other.>\"] }} }} }}"
        ));
        let broker = broker_with(flavour, options).await;
        let cause = down(&node(&as_shop(&broker))).await;
        let LinkError::Authentication { reason, .. } = &*cause else { panic!("{cause:?}") };
        assert!(reason.contains("allow publish and subscribe on backplane.>"), "{reason}");
    }
}

async fn too_many_subscriptions(flavour: NatsFlavour) {
    let options = NatsOptions::default().config_line("max_subscriptions: 100");
    let broker = broker_with(flavour, options).await;
    let node = node_up(&broker.url()).await;
    let first = listen(&node, &[group(0)]).await;
    let streams: Vec<_> =
        (1..300).map(|number| stream(&node, &[group(number)], 64).unwrap()).collect();
    let mut refused = 0;
    for events in &streams {
        match soon("an answer", events.subscription().confirmed()).await {
            Ok(()) => {}
            Err(SubscribeError::Refused { reason, .. }) => {
                assert!(reason.contains("raise max_subscriptions"), "{reason}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    // The node needs two for itself, and one is routed.
    assert!((202..300).contains(&refused), "{refused}");
    assert_eq!(node.stats().connections, 1);
    drop(first);
}
