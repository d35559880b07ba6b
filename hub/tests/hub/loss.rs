//! What the backplane loses, as the application and its clients are told.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use backplane_core::{Event, NodeId, NodeOptions, Sequencing, SubscriberOutage};
use backplane_hub::{
    BuildError, ClientNotices, ConnectionId, Hub, HubBuilder, LinkChange, LinkEvent, Missed,
    SendError, Topic,
};
use backplane_memory::Medium;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    Memory,
    layer::Layer,
    scenarios::{Client, Plain, soon},
};

const NOTICE: &str = "Backplane.Missed";

/// What the listeners of a hub were told.
struct Told {
    missed: mpsc::Receiver<Missed>,
    link: mpsc::Receiver<LinkChange>,
}

impl Told {
    async fn missed(&mut self) -> Missed {
        soon("a gap", self.missed.recv()).await.unwrap()
    }

    async fn link(&mut self) -> LinkChange {
        soon("news of the link", self.link.recv()).await.unwrap()
    }

    fn nothing_more(&mut self) {
        assert!(self.missed.try_recv().is_err());
        assert!(self.link.try_recv().is_err());
    }
}

/// Adds listeners: an async one for gaps, a plain one for the link.
fn listening(hub: HubBuilder) -> (HubBuilder, Told) {
    let (gaps, missed) = mpsc::channel(64);
    let (changes, link) = mpsc::channel(64);
    let hub = hub
        .on_gap(move |gap: Missed| {
            let gaps = gaps.clone();
            async move { gaps.try_send(gap).unwrap() }
        })
        .on_link(move |event: LinkEvent| changes.try_send(event.change).unwrap());
    (hub, Told { missed, link })
}

async fn lossy(outage: SubscriberOutage, notices: bool) -> (Arc<Layer>, Hub, Told) {
    let layer = Layer::start(outage).await;
    let (mut hub, told) = listening(Hub::builder("lossy").backplane(layer.backplane()));
    if notices {
        hub = hub.notify_clients(ClientNotices::default());
    }
    let hub = hub.build().unwrap();
    hub.speak(Plain::new("plain"));
    (layer, hub, told)
}

fn gap(count: Option<u64>, scope: &str, name: Option<&str>) -> Value {
    json!([{"reason": "gap", "count": count, "scope": scope, "name": name}])
}

#[tokio::test]
async fn a_gap_reaches_the_listener_and_the_members_of_its_topic_and_nobody_else() {
    let (layer, hub, mut told) = lossy(SubscriberOutage::Repaired, true).await;
    let mut cook = Client::open_as(&hub, Some("ann")).await;
    let mut waiter = Client::open_as(&hub, Some("bob")).await;
    hub.groups().add(&cook.id, "kitchen").await.unwrap();
    hub.groups().add(&waiter.id, "hall").await.unwrap();
    let origin = NodeId::random();

    let kitchen = Topic::group("lossy", "kitchen");
    layer.lose(&kitchen, origin, Some(3));
    let missed = told.missed().await;
    assert_eq!(
        (missed.hub.name(), &missed.topic, missed.origin),
        ("lossy", &kitchen, Some(origin))
    );
    assert_eq!((missed.count, missed.skipped), (Some(3), 0));
    cook.expect(NOTICE, gap(Some(3), "group", Some("kitchen"))).await;
    waiter.expect_nothing(&[&hub]).await;

    layer.lose(&Topic::user("lossy", "bob"), origin, None);
    assert_eq!(told.missed().await.count, None);
    waiter.expect(NOTICE, gap(None, "user", Some("bob"))).await;
    layer.lose(&Topic::connection("lossy", &cook.id), origin, Some(1));
    told.missed().await;
    cook.expect(NOTICE, gap(Some(1), "connection", Some(&cook.id))).await;
    waiter.expect_nothing(&[&hub]).await;
    layer.lose(&Topic::all("lossy"), origin, Some(2));
    told.missed().await;
    for client in [&mut cook, &mut waiter] {
        client.expect(NOTICE, gap(Some(2), "all", None)).await;
        client.expect_nothing(&[&hub]).await;
    }
    told.nothing_more();
    assert_eq!((hub.stats().gaps, hub.stats().notices), (4, 4));
}

#[tokio::test]
async fn clients_are_told_nothing_unless_the_application_wants_it() {
    let (layer, hub, mut told) = lossy(SubscriberOutage::LostAndReported, false).await;
    let mut client = Client::open(&hub).await;
    layer.lose(&Topic::all("lossy"), NodeId::random(), Some(2));
    told.missed().await;
    layer.tell_all(&Event::Interrupted { since: Instant::now() });
    layer.tell_all(&Event::Restored);
    layer.tell_all(&Event::OriginLost { origin: NodeId::random() });
    for _ in 0..3 {
        told.link().await;
    }
    client.expect_nothing(&[&hub]).await;
    assert_eq!(hub.stats().notices, 0);
}

#[tokio::test]
async fn a_notice_is_encoded_once_for_each_protocol() {
    let layer = Layer::start(SubscriberOutage::Repaired).await;
    let notices = ClientNotices::new("Reload");
    let hub = Hub::builder("lossy").backplane(layer.backplane()).notify_clients(notices).build();
    let hub = hub.unwrap();
    let protocols = [Plain::new("plain"), Plain::new("other")];
    let mut clients = Vec::new();
    for number in 0..10 {
        let protocol = Arc::clone(&protocols[number % 2]);
        let client = Client::open_with(&hub, ConnectionId::random(), None, protocol).await;
        hub.groups().add(&client.id, "g").await.unwrap();
        clients.push(client);
    }
    layer.lose(&Topic::group("lossy", "g"), NodeId::random(), Some(7));
    for (number, client) in clients.iter_mut().enumerate() {
        let told = client.next().await.unwrap();
        assert_eq!((&*told.target, &*told.protocol), ("Reload", ["plain", "other"][number % 2]));
    }
    for protocol in &protocols {
        assert_eq!(protocol.encoded.load(Ordering::Relaxed), 1);
    }
}

/// Connections, users and groups: many sinks, and each event of the link still comes once.
async fn crowd(hub: &Hub) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..5 {
        let client = Client::open_as(hub, Some(&format!("user {number}"))).await;
        for group in ["a", "b", "c"] {
            hub.groups().add(&client.id, group).await.unwrap();
        }
        clients.push(client);
    }
    clients
}

/// What a node on a medium that is stopped and started tells.
async fn interrupted(change: impl Fn(&mut NodeOptions)) -> (Hub, Vec<Client>, Told, bool) {
    let memory = Memory::with(change).await;
    let backplane = Arc::clone(&memory.nodes.0[0]);
    let (hub, mut told) = listening(Hub::builder("h").backplane(backplane));
    let hub = hub.notify_clients(ClientNotices::default()).build().unwrap();
    hub.speak(Plain::new("plain"));
    let clients = crowd(&hub).await;
    memory.stop().await;
    assert!(matches!(told.link().await, LinkChange::Interrupted { .. }));
    memory.restart().await;
    let LinkChange::Restored { complete } = told.link().await else { panic!("not restored") };
    told.nothing_more();
    assert_eq!(hub.stats().interruptions, 1);
    (hub, clients, told, complete)
}

#[tokio::test]
async fn an_interruption_without_repair_reaches_every_client_once() {
    let (hub, clients, _told, complete) =
        interrupted(|options| options.sequencing = Sequencing::Off).await;
    assert!(!complete);
    for mut client in clients {
        client.expect(NOTICE, json!([{"reason": "interrupted"}])).await;
        client.expect_nothing(&[&hub]).await;
    }
}

#[tokio::test]
async fn an_interruption_that_is_repaired_or_counted_is_no_news_for_clients() {
    for sequencing in [Sequencing::Repaired, Sequencing::Counted] {
        let (hub, clients, _told, complete) =
            interrupted(|options| options.sequencing = sequencing).await;
        assert!(complete);
        for mut client in clients {
            client.expect_nothing(&[&hub]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_is_told_once_and_one_that_leaves_is_not() {
    let medium = Medium::new();
    let short = || {
        let mut options = NodeOptions::default();
        options.dead_after = Duration::from_millis(2500);
        medium.node_with(options)
    };
    let (hub, mut told) = listening(Hub::builder("h").backplane(Arc::new(short())));
    let hub = hub.notify_clients(ClientNotices::default()).build().unwrap();
    hub.speak(Plain::new("plain"));
    let clients = crowd(&hub).await;
    let (leaves, dies) = (short(), short());
    let mut members = hub.backplane().members();
    soon("the members", members.wait_for(|members| members.nodes.len() == 2)).await.unwrap();
    let origin = backplane_core::Backplane::node(&dies);
    backplane_core::Backplane::close(&leaves, Duration::from_secs(5)).await.unwrap();
    drop(dies);
    assert_eq!(told.link().await, LinkChange::OriginLost { origin });
    for mut client in clients {
        client.expect(NOTICE, json!([{"reason": "originLost"}])).await;
        client.expect_nothing(&[&hub]).await;
    }
    assert!(members.borrow().nodes.is_empty());
    told.nothing_more();
    assert_eq!(hub.stats().origins_lost, 1);
}

#[tokio::test]
async fn what_is_lost_between_nodes_is_counted_to_the_last_message() {
    // Nothing is retained, and the sender is back before the receiver.
    let medium = Medium::new();
    let node = |pause: u64| {
        let mut options = NodeOptions::default();
        options.sequencing = Sequencing::Counted;
        options.shortest_pause = Duration::from_millis(pause);
        options.longest_pause = Duration::from_millis(pause);
        Arc::new(medium.node_with(options))
    };
    let (sender, receiver) = (node(5), node(3000));
    let one = Hub::builder("h").backplane(sender).build().unwrap();
    let (two, mut told) = listening(Hub::builder("h").backplane(receiver));
    let two = two.notify_clients(ClientNotices::default()).build().unwrap();
    one.speak(Plain::new("plain"));
    two.speak(Plain::new("plain"));
    for hub in [&one, &two] {
        let mut link = hub.backplane().link();
        soon("the link", link.wait_for(backplane_hub::Link::is_up)).await.unwrap();
    }
    let mut client = Client::open(&two).await;
    two.groups().add(&client.id, "g").await.unwrap();
    one.clients().group("g").send("m", &0).await.unwrap();
    client.expect("m", json!([0])).await;

    medium.stop();
    for hub in [&one, &two] {
        let mut link = hub.backplane().link();
        soon("the end", link.wait_for(|link| !link.is_up())).await.unwrap();
    }
    medium.start();
    let mut link = one.backplane().link();
    soon("the sender's link", link.wait_for(backplane_hub::Link::is_up)).await.unwrap();
    for number in 1..=5 {
        one.clients().group("g").send("m", &number).await.unwrap();
    }
    assert!(matches!(told.link().await, LinkChange::Interrupted { .. }));
    let missed = told.missed().await;
    assert_eq!((missed.topic, missed.origin), (Topic::group("h", "g"), Some(one.node())));
    assert_eq!(missed.count, Some(5));
    assert_eq!(told.link().await, LinkChange::Restored { complete: true });
    one.clients().group("g").send("m", &6).await.unwrap();
    // In the place of what is missing.
    client.expect(NOTICE, gap(Some(5), "group", Some("g"))).await;
    client.expect("m", json!([6])).await;
    told.nothing_more();
}

#[tokio::test]
async fn a_listener_can_send_and_one_that_fails_or_panics_disturbs_nobody() {
    let layer = Layer::start(SubscriberOutage::Repaired).await;
    let hub = Hub::builder("lossy")
        .backplane(layer.backplane())
        .on_gap(async |missed: Missed| -> Result<(), SendError> {
            match missed.count {
                Some(1) => panic!("on purpose"),
                Some(2) => Err(SendError::Closed),
                _ => {
                    missed.hub.clients().all().send("reload", missed.topic.name()).await?;
                    Ok(())
                }
            }
        })
        .build()
        .unwrap();
    let mut client = Client::open(&hub).await;
    hub.groups().add(&client.id, "g").await.unwrap();
    for count in [1, 2, 3] {
        layer.lose(&Topic::group("lossy", "g"), NodeId::random(), Some(count));
    }
    client.expect("reload", json!(["g"])).await;
    client.expect_nothing(&[&hub]).await;
}

#[test]
fn what_is_wrong_with_a_description() {
    let twice = Hub::builder("h").on_gap(|_: Missed| {}).on_gap(async |_: Missed| {});
    let outcome = twice.build();
    assert!(matches!(outcome, Err(BuildError::DuplicateHook { hook: "on_gap" })), "{outcome:?}");
    let twice = Hub::builder("h").on_link(|_: LinkEvent| {}).on_link(async |_: LinkEvent| {});
    let outcome = twice.build();
    assert!(matches!(outcome, Err(BuildError::DuplicateHook { hook: "on_link" })), "{outcome:?}");
    let outcome = Hub::builder("h").notify_clients(ClientNotices::new("")).build();
    assert!(matches!(outcome, Err(BuildError::EmptyMethodName)), "{outcome:?}");
}
