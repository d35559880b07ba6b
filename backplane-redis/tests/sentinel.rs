//! Sentinels that say what a test wants, before real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{net::SocketAddr, sync::Arc};

use backplane_core::{
    Backplane, Envelope, Event, LinkError, Node, NodeOptions, Position, Sink, Topic,
};
use backplane_redis::{RedisConfig, StreamsConfig};
use backplane_tests::brokers::{Broker, Redis, RedisFlavour, RedisOptions};
use common::{Server, body, down, events, on, start, up, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

on! { [redis7: Redis7]
    a_master_that_another_one_replaced_is_left
    a_reader_leaves_it_too
    what_most_sentinels_say_last_counts
    a_replica_is_not_taken_for_a_master
    a_silent_sentinel_keeps_nobody_out
    sentinels_have_a_password_of_their_own
}

/// What a sentinel says: the master's address, and how often it has changed.
type Word = Option<(SocketAddr, u64)>;

/// Serves as a sentinel, for as long as the test runs.
async fn sentinel(word: &watch::Sender<Word>, password: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let word = word.subscribe();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, word.clone(), password));
        }
    });
    address
}

async fn serve(
    mut stream: TcpStream,
    mut word: watch::Receiver<Word>,
    password: Option<&'static str>,
) -> Option<()> {
    let mut read = vec![0; 4096];
    let (mut listening, mut known) = (false, password.is_none());
    word.mark_unchanged();
    loop {
        let length = tokio::select! {
            length = stream.read(&mut read) => length.ok().filter(|length| *length > 0)?,
            changed = word.changed(), if listening => {
                changed.ok()?;
                stream.write_all(&words(&["message", "+switch-master", "main"])).await.ok()?;
                continue;
            }
        };
        let text = String::from_utf8_lossy(&read[..length]).into_owned();
        for command in text.split('*').skip(1) {
            let answer = if command.contains("AUTH") {
                known |= password.is_some_and(|password| command.contains(password));
                if known { b"+OK\r\n".to_vec() } else { b"-WRONGPASS no\r\n".to_vec() }
            } else if !known {
                b"-NOAUTH Authentication required.\r\n".to_vec()
            } else if command.contains("SUBSCRIBE") {
                listening = true;
                b"*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n".to_vec()
            } else if let (true, Some((address, epoch))) =
                (command.contains("\r\nmain\r\n"), *word.borrow())
            {
                let (host, port) = (address.ip().to_string(), address.port().to_string());
                let epoch = epoch.to_string();
                words(&["name", "main", "ip", &host, "port", &port, "config-epoch", &epoch])
            } else {
                b"-ERR No such master with that name\r\n".to_vec()
            };
            stream.write_all(&answer).await.ok()?;
        }
    }
}

fn words(words: &[&str]) -> Vec<u8> {
    let each = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    [format!("*{}\r\n", words.len()), each.collect()].concat().into_bytes()
}

async fn server(flavour: RedisFlavour, more: &str) -> Broker {
    Redis::start(flavour, RedisOptions::default().config_line(more)).await.unwrap()
}

fn url(sentinels: &[SocketAddr], more: &str) -> String {
    let sentinels: Vec<String> = sentinels.iter().map(SocketAddr::to_string).collect();
    format!("redis+sentinel://{}/main{more}", sentinels.join(","))
}

fn lost(cause: &LinkError) -> &str {
    match cause {
        LinkError::Lost { reason } => reason,
        other => panic!("{other}"),
    }
}

async fn arrives(from: &Node, to: &Node) {
    let topic = Topic::group("orders", "one");
    let mut events = events(to, std::slice::from_ref(&topic)).await;
    within(from.publish(Envelope::new(topic, "hello"))).await.unwrap();
    assert_eq!(body(&mut events).await, b"hello");
}

async fn a_master_that_another_one_replaced_is_left(flavour: RedisFlavour) {
    let (old, new) = (server(flavour, "").await, server(flavour, "").await);
    let word = watch::Sender::new(Some((old.address(), 1)));
    let url = url(&[sentinel(&word, None).await], "");
    let nodes = [start(&url), start(&url)];
    for node in &nodes {
        up(node).await;
    }
    arrives(&nodes[0], &nodes[1]).await;
    // It still answers, so that nothing but a sentinel's word makes a difference.
    word.send_replace(Some((new.address(), 2)));
    let causes = tokio::join!(down(&nodes[0]), down(&nodes[1]));
    for (node, cause) in nodes.iter().zip([causes.0, causes.1]) {
        let expected =
            format!("have made {} the master in place of {}", new.address(), old.address());
        assert!(lost(&cause).contains(&expected), "{cause}");
        up(node).await;
    }
    arrives(&nodes[0], &nodes[1]).await;
    Server::of(&old).await.alone().await;
}

async fn a_reader_leaves_it_too(flavour: RedisFlavour) {
    let (old, new) = (server(flavour, "").await, server(flavour, "").await);
    let word = watch::Sender::new(Some((old.address(), 1)));
    let url = url(&[sentinel(&word, None).await], "").replacen("sentinel:", "sentinel+streams:", 1);
    let node = StreamsConfig::from_url(&url).unwrap().start().unwrap();
    up(&node).await;
    let topic = Topic::group("orders", "one");
    let (heard, mut told) = mpsc::channel(64);
    let reading = node.subscribe_from(&topic, Arc::new(Hears(heard)), Position::Now).unwrap();
    within(reading.confirmed()).await.unwrap();
    word.send_replace(Some((new.address(), 2)));
    down(&node).await;
    up(&node).await;
    within(node.publish(Envelope::new(topic, "hello"))).await.unwrap();
    within(async { while !matches!(told.recv().await.unwrap(), Event::Message(_)) {} }).await;
    Server::of(&old).await.alone().await;
}

/// Passes on what it is told.
#[derive(Debug)]
struct Hears(mpsc::Sender<Event>);

impl Sink for Hears {
    fn accept(&self, event: &Event) {
        self.0.try_send(event.clone()).unwrap();
    }
}

async fn what_most_sentinels_say_last_counts(flavour: RedisFlavour) {
    let (old, new) = (server(flavour, "").await, server(flavour, "").await);
    let behind = watch::Sender::new(Some((old.address(), 1)));
    let newest = watch::Sender::new(Some((new.address(), 2)));
    let sentinels = [
        sentinel(&behind, None).await,
        sentinel(&newest, None).await,
        sentinel(&newest, None).await,
    ];
    let node = start(&url(&sentinels, ""));
    up(&node).await;
    Server::of(&old).await.alone().await;
    assert!(!Server::of(&new).await.connections().await.is_empty());
}

async fn a_replica_is_not_taken_for_a_master(flavour: RedisFlavour) {
    let master = server(flavour, "").await;
    let replica = server(flavour, &format!("replicaof 127.0.0.1 {}", master.port())).await;
    let word = watch::Sender::new(Some((replica.address(), 1)));
    let node = start(&url(&[sentinel(&word, None).await], ""));
    let cause = down(&node).await;
    assert!(lost(&cause).contains("it is a slave"), "{cause}");
    // Once it has become one, it is.
    Server::of(&replica).await.ask::<()>("REPLICAOF NO ONE").await;
    up(&node).await;
}

async fn a_silent_sentinel_keeps_nobody_out(flavour: RedisFlavour) {
    let broker = server(flavour, "").await;
    let word = watch::Sender::new(Some((broker.address(), 1)));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sentinels = vec![silent.local_addr().unwrap()];
    for _ in 0..2 {
        sentinels.push(sentinel(&word, None).await);
    }
    up(&start(&url(&sentinels, ""))).await;
}

async fn sentinels_have_a_password_of_their_own(flavour: RedisFlavour) {
    let options = RedisOptions::default().password("the-servers");
    let broker = Redis::start(flavour, options).await.unwrap();
    let word = watch::Sender::new(Some((broker.address(), 1)));
    let sentinels = [sentinel(&word, Some("the-sentinels")).await];
    let with = |more: &str| url(&sentinels, more).replacen("//", "//:the-servers@", 1);
    up(&start(&with("?sentinel_password=the-sentinels"))).await;
    for wrong in ["", "?sentinel_password=the-servers"] {
        let cause = down(&start(&with(wrong))).await;
        assert!(matches!(*cause, LinkError::Authentication { .. }), "{cause}");
    }
}

#[tokio::test]
async fn a_service_that_nobody_knows_is_named() {
    let word = watch::Sender::new(None);
    let sentinels = [sentinel(&word, None).await];
    let mut config = RedisConfig::from_url(&url(&sentinels, "")).unwrap();
    config.node = NodeOptions::bare();
    let cause = down(&config.start().unwrap()).await;
    let text = cause.to_string();
    assert!(text.contains("watches over nothing called \"main\""), "{text}");
    assert!(text.contains(&sentinels[0].to_string()), "{text}");
}
