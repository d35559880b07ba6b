//! How the link comes up, stays away, ends and returns.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, time::Duration};

use backplane_core::{Backplane, Envelope, Event, Link, LinkError, PublishError, Topic};
use backplane_nats::NatsConfig;
use backplane_tests::brokers::{NatsFlavour, NatsOptions};
use common::{
    Monitor, broker, broker_with, down, listen, message, next, node, node_up, on_each_server, soon,
    up, users,
};
use nkeys::KeyPair;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

on_each_server!(
    a_user_and_a_password,
    a_token,
    a_credentials_file,
    an_nkey,
    tls,
    tls_where_there_is_none,
    another_server_when_one_is_away,
    a_killed_server_comes_back,
    a_frozen_server_goes_on,
    a_frozen_server_at_the_start,
    a_dropped_node_leaves_nothing_behind,
);

/// An envelope crosses from a node to another one on the same servers.
async fn crosses(url: &str) {
    let (one, two) = (node_up(url).await, node_up(url).await);
    let topic = Topic::all("orders");
    let mut events = listen(&two, std::slice::from_ref(&topic)).await;
    one.publish(Envelope::new(topic, "tea")).await.unwrap();
    assert_eq!(message(&mut events).await.body, "tea");
}

/// The server's answer to a node with this URL, which shows nothing secret.
async fn denied(url: &str, secret: &str) -> String {
    let node = node(url);
    let cause = down(&node).await;
    assert!(matches!(*cause, LinkError::Authentication { .. }), "{cause:?}");
    assert!(!format!("{cause} {cause:?} {node:?}").contains(secret));
    cause.to_string()
}

async fn a_user_and_a_password(flavour: NatsFlavour) {
    let options = NatsOptions::default().user("ann:@/", "p/w? é");
    let broker = broker_with(flavour, options).await;
    crosses(&broker.url()).await;
    let address = broker.address().to_string();
    let wrong = denied(&format!("nats://ann:wrong-pw@{address}"), "wrong-pw").await;
    assert!(wrong.contains(&address) && wrong.contains("check user, password or token"), "{wrong}");
    denied(&format!("nats://{address}"), "nothing to hide").await;
}

async fn a_token(flavour: NatsFlavour) {
    let broker = broker_with(flavour, NatsOptions::default().token("t/0:k@en")).await;
    crosses(&broker.url()).await;
    denied(&format!("nats://wrong-token@{}", broker.address()), "wrong-token").await;
}

async fn a_credentials_file(flavour: NatsFlavour) {
    let broker = broker_with(flavour, NatsOptions::default().credentials()).await;
    let file = broker.credentials_file().unwrap();
    crosses(&format!("{}?credentials={}", broker.url(), file.display())).await;

    let stranger = broker_with(flavour, NatsOptions::default().credentials()).await;
    let file = stranger.credentials_file().unwrap();
    denied(&format!("{}?credentials={}", broker.url(), file.display()), "SEED").await;
}

async fn an_nkey(flavour: NatsFlavour) {
    let key = KeyPair::new_user();
    let broker = broker_with(flavour, users(&format!("{{ nkey: {} }}", key.public_key()))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seed");
    fs::write(&file, key.seed().unwrap() + "\n").unwrap();
    let url = format!("nats://{}?nkey={}", broker.address(), file.display());
    crosses(&url).await;

    let stranger = KeyPair::new_user().seed().unwrap();
    fs::write(&file, &stranger).unwrap();
    denied(&url, &stranger).await;
}

async fn tls(flavour: NatsFlavour) {
    let broker = broker_with(flavour, NatsOptions::default().tls()).await;
    let ca = broker.ca_certificate().unwrap();
    crosses(&format!("nats://{}?ca={}", broker.address(), ca.display())).await;
    crosses(&format!("tls://{}?ca={}", broker.address(), ca.display())).await;

    let cause = down(&node(&format!("tls://{}", broker.address()))).await;
    assert!(matches!(*cause, LinkError::Tls { .. }), "{cause:?}");
    let cause = down(&node(&format!("nats://localhost:{}", broker.port()))).await;
    assert!(matches!(*cause, LinkError::Tls { .. }), "{cause:?}");
}

async fn tls_where_there_is_none(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    for option in ["required", "first"] {
        let cause = down(&node(&format!("{}?tls={option}", broker.url()))).await;
        assert!(matches!(*cause, LinkError::Tls { .. }), "{option}: {cause:?}");
    }
}

async fn another_server_when_one_is_away(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let (free, _) = closed_port().await;
    let url = format!("nats://{free},{},{free}", broker.address());
    for _ in 0..10 {
        node_up(&url).await;
    }
}

async fn a_killed_server_comes_back(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topics = [Topic::all("orders"), Topic::group("orders", "kitchen")];
    let mut events = listen(&two, &topics).await;
    for _ in 0..2 {
        broker.kill().await.unwrap();
        assert!(matches!(next(&mut events).await, Event::Interrupted { .. }));
        let cause = down(&two).await;
        assert!(
            matches!(*cause, LinkError::Lost { .. } | LinkError::Unreachable { .. }),
            "{cause}"
        );
        down(&one).await;
        let outcome = one.publish(Envelope::new(topics[0].clone(), "lost")).await;
        assert!(matches!(outcome, Err(PublishError::LinkDown(_))), "{outcome:?}");

        broker.start().await.unwrap();
        assert!(matches!(next(&mut events).await, Event::Restored));
        up(&one).await;
        for topic in &topics {
            one.publish(Envelope::new(topic.clone(), "tea")).await.unwrap();
            let envelope = message(&mut events).await;
            assert_eq!((&envelope.topic, &*envelope.body), (topic, &b"tea"[..]));
        }
    }
    assert_eq!((one.stats().connections, two.stats().connections), (3, 3));
}

async fn a_frozen_server_goes_on(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topic = Topic::all("orders");
    let mut events = listen(&two, std::slice::from_ref(&topic)).await;
    broker.pause().await.unwrap();
    // Far more than the client library and the sockets take.
    let body = vec![7; 64 * 1024];
    let tickets: Vec<_> = (0..200)
        .map(|_| one.try_publish(Envelope::new(topic.clone(), body.clone())).unwrap())
        .collect();
    for node in [&one, &two] {
        let mut link = node.link();
        soon("the link is mute", link.wait_for(|link| matches!(link, Link::Muted { .. })))
            .await
            .unwrap();
    }
    for ticket in tickets {
        let outcome = soon("the outcome", ticket).await;
        assert!(matches!(outcome, Err(PublishError::Unknown | PublishError::LinkDown(_))));
    }
    broker.resume().unwrap();
    up(&one).await;
    up(&two).await;
    one.publish(Envelope::new(topic.clone(), "fresh")).await.unwrap();
    one.publish(Envelope::new(topic, "fence")).await.unwrap();
    let mut seen = Vec::new();
    // The sinks are told `Restored` beside the first messages of the new connection.
    while !(seen.contains(&"fence") && seen.contains(&"restored")) {
        seen.push(match next(&mut events).await {
            // Those on their way may have arrived, or not.
            Event::Message(envelope) if envelope.body == body => continue,
            Event::Message(envelope) if envelope.body == "fresh" => "fresh",
            Event::Message(envelope) if envelope.body == "fence" => "fence",
            Event::Interrupted { .. } => "interrupted",
            Event::Restored => "restored",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    seen.retain(|word| *word != "restored");
    assert_eq!(seen, ["interrupted", "fresh", "fence"]);
}

async fn a_frozen_server_at_the_start(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    broker.pause().await.unwrap();
    let node = node(&broker.url());
    let cause = down(&node).await;
    assert!(matches!(*cause, LinkError::TimedOut { .. }), "{cause:?}");
    broker.resume().unwrap();
    up(&node).await;
}

async fn a_dropped_node_leaves_nothing_behind(flavour: NatsFlavour) {
    let broker = broker_with(flavour, Monitor::option(NatsOptions::default())).await;
    let monitor = Monitor::of(&broker);
    let before = monitor.number("/subsz", "num_subscriptions").await;
    let nodes = [node_up(&broker.url()).await, node_up(&broker.url()).await];
    let topics: Vec<Topic> = (0..100).map(|i| Topic::group("g", &i.to_string())).collect();
    let mut streams = Vec::new();
    for node in &nodes {
        streams.push(listen(node, &topics).await);
    }
    monitor.until("/connz", "num_connections", 2).await;
    let [closed, dropped] = nodes;
    closed.close(Duration::from_secs(5)).await.unwrap();
    monitor.until("/connz", "num_connections", 1).await;
    drop(dropped);
    monitor.until("/connz", "num_connections", 0).await;
    monitor.until("/subsz", "num_subscriptions", before).await;
}

/// An address where nothing listens, and what keeps others from it.
async fn closed_port() -> (String, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().to_string(), socket)
}

#[tokio::test]
async fn nothing_listens() {
    let (address, _held) = closed_port().await;
    let cause = down(&node(&format!("nats://{address}"))).await;
    assert!(matches!(*cause, LinkError::Unreachable { .. }), "{cause:?}");
    assert!(cause.to_string().contains(&address), "{cause}");
}

/// What a node says of a server that greets and answers like this.
async fn stranger(greeting: &'static str, answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.write_all(greeting.as_bytes()).await;
                if answer.is_empty() {
                    return;
                }
                let mut question = [0; 512];
                while stream.read(&mut question).await.is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    let node = node(&format!("nats://{address}"));
    let cause = down(&node).await;
    server.abort();
    assert!(matches!(*cause, LinkError::Protocol { .. }), "{cause:?}");
    assert!(cause.to_string().contains(&address.to_string()), "{cause}");
    cause.to_string()
}

#[tokio::test]
async fn something_else_listens() {
    let (redis, http, ssh, mute) = tokio::join!(
        stranger("", "+PONG\r\n"),
        stranger("", "HTTP/1.1 400 Bad Request\r\n\r\n"),
        stranger("SSH-2.0-OpenSSH_9.2\r\n", "x"),
        stranger("", ""),
    );
    assert!(redis.contains("+PONG"), "{redis}");
    assert!(http.contains("HTTP/1.1 400"), "{http}");
    assert!(ssh.contains("SSH-2.0"), "{ssh}");
    assert!(mute.contains("not a usable NATS server"), "{mute}");
}

#[tokio::test]
async fn files_are_looked_at_before() {
    for option in ["credentials", "nkey", "ca"] {
        let config = NatsConfig::from_url(&format!("nats://a?{option}=/nowhere/x")).unwrap();
        let error = config.start().unwrap_err();
        assert!(error.to_string().contains("/nowhere/x"), "{error}");
    }
}
