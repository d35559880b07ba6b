//! The ends of hubs and connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backplane_hub::{
    Backplane, Connection, ConnectionId, End, Hub, OpenError, Opening, Outbound, Protocol, State,
};
use backplane_memory::Medium;
use serde_json::json;

use crate::{
    Memory, one_hub,
    scenarios::{Client, Plain, soon, until},
};

fn opening(id: &ConnectionId, protocol: &'static str) -> Opening {
    Opening {
        id: id.clone(),
        user: None,
        protocol: Plain::new(protocol),
        request: None,
        movable: false,
    }
}

async fn open(hub: &Hub) -> (Connection, Outbound) {
    hub.open(opening(&ConnectionId::random(), "plain")).await.unwrap()
}

#[tokio::test]
async fn closing_ends_all_connections_and_waits_for_them() {
    let hub = one_hub(|hub| hub).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(open(&hub).await);
    }
    let front_ends: Vec<_> = connections
        .into_iter()
        .map(|(connection, mut outbound)| {
            tokio::spawn(async move {
                assert_eq!(connection.ended().await, End::ShuttingDown);
                connection.reply("bye".into());
                connection.disconnected(None).await;
                let mut last = Vec::new();
                while outbound.receive(&mut last, 8).await > 0 {}
                last
            })
        })
        .collect();
    hub.close(Duration::from_secs(10)).await.unwrap();
    for front_end in front_ends {
        assert_eq!(front_end.await.unwrap(), ["bye"]);
    }
    let refused = hub.open(opening(&ConnectionId::random(), "plain")).await;
    assert!(matches!(refused, Err(OpenError::Closed)), "{refused:?}");
    assert_eq!(hub.stats().connections, 0);
    // The backplane is the application's.
    assert!(hub.backplane().link().borrow().is_up());
    hub.close(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn closing_waits_for_the_last_hooks() {
    let ran = Arc::new(AtomicUsize::new(0));
    let hub = one_hub(|hub| {
        hub.state(Arc::clone(&ran)).on_disconnected(|ran: State<Arc<AtomicUsize>>| async move {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            ran.fetch_add(1, Ordering::Relaxed);
        })
    })
    .await;
    for _ in 0..10 {
        let (connection, _) = open(&hub).await;
        tokio::spawn(async move {
            connection.ended().await;
            connection.disconnected(None).await;
        });
    }
    hub.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 10);
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_ever() {
    let hub = one_hub(|hub| hub).await;
    let (connection, _outbound) = open(&hub).await;
    let error = hub.close(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(error.connections, 1);
    assert_eq!(connection.ended().await, End::ShuttingDown);
}

#[tokio::test]
async fn openings_that_are_refused() {
    let hub = one_hub(|hub| hub).await;
    let id = ConnectionId::random();
    let first = hub.open(opening(&id, "plain")).await.unwrap();
    let again = hub.open(opening(&id, "plain")).await;
    assert!(matches!(again, Err(OpenError::Duplicate)), "{again:?}");
    // The first is not disturbed by it.
    assert_eq!(hub.stats().connections, 1);
    drop(first);
    drop(hub.open(opening(&id, "plain")).await.unwrap());

    let long = "x".repeat(backplane_hub::LONGEST_NAME + 1);
    for id in ["", &long] {
        let refused = hub.open(opening(&id.into(), "plain")).await;
        assert!(matches!(refused, Err(OpenError::NameTooLong)), "{refused:?}");
    }
    let user = Some(backplane_hub::User::new(&long));
    let refused = hub.open(Opening { user, ..opening(&id, "plain") }).await;
    assert!(matches!(refused, Err(OpenError::NameTooLong)), "{refused:?}");
    for name in ["1", "2", "3", "4", "5", "6", "7"] {
        drop(hub.open(opening(&id, name)).await.unwrap());
    }
    let refused = hub.open(opening(&id, "8")).await;
    assert!(matches!(refused, Err(OpenError::TooManyProtocols)), "{refused:?}");
    assert_eq!((hub.stats().connections, hub.stats().users), (0, 0));
}

#[tokio::test]
async fn an_opening_that_is_cancelled_leaves_nothing_behind() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    for _ in 0..50 {
        let opening = opening(&ConnectionId::random(), "plain");
        // Polled once: registered, not confirmed.
        assert!(futures_util::poll!(Box::pin(one.open(opening))).is_pending());
    }
    assert_eq!(one.stats().connections, 0);
    let stats = || one.backplane().stats();
    until("settled topics", || stats().topics_subscribed == stats().topics_unsubscribed + 2).await;
    drop(two);
}

#[tokio::test]
async fn nothing_is_left_of_a_hub_that_is_dropped() {
    let alive = Arc::new(());
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let medium = Medium::new();
    let nodes = [(); 2].map(|()| Arc::new(medium.node()) as Arc<dyn Backplane>);
    {
        let hubs = nodes.each_ref().map(|node| {
            let hub = Hub::builder("h").backplane(Arc::clone(node)).state(Arc::clone(&alive));
            let hub = hub.method("Alive", |_: State<Arc<()>>| async {}).build().unwrap();
            hub.speak(Plain::new("plain"));
            hub
        });
        let client = Client::open_as(&hubs[0], Some("u")).await;
        soon("joining", hubs[1].groups().add(&client.id, "g")).await.unwrap();
        client.invoke("alive", vec![]).await.unwrap();
        // Connections outlive the handles of their hub.
        drop(hubs);
        client.invoke("alive", vec![]).await.unwrap();
    }
    until("the end of the hubs", || Arc::strong_count(&alive) == 1).await;
    until("the end of their tasks", || tasks() == before + 2).await;
    for node in &nodes {
        let left = || node.stats().topics_subscribed - node.stats().topics_unsubscribed;
        until("the end of their topics", || left() == 0).await;
    }
    drop(nodes);
    until("the end of the nodes", || tasks() == before).await;
}

#[tokio::test]
async fn several_hubs_share_one_backplane() {
    let node: Arc<dyn Backplane> = Arc::new(Medium::new().node());
    let protocol: Arc<dyn Protocol> = Plain::new("plain");
    let hubs = ["orders", "orders/all", "Orders", "chat"].map(|name| {
        let hub = Hub::builder(name).backplane(Arc::clone(&node)).build().unwrap();
        hub.speak(Arc::clone(&protocol));
        hub
    });
    node.link().wait_for(backplane_hub::Link::is_up).await.unwrap();
    let id = ConnectionId::random();
    let mut clients = Vec::new();
    for hub in &hubs {
        let client = Client::open_with(hub, id.clone(), None, Arc::clone(&protocol)).await;
        hub.groups().add(&id, "g").await.unwrap();
        clients.push(client);
    }
    for hub in &hubs {
        hub.clients().all().send("all", hub.name()).await.unwrap();
        hub.clients().group("g").send("group", hub.name()).await.unwrap();
    }
    for client in &mut clients {
        let hub = client.hub.clone();
        client.expect("all", json!([hub.name()])).await;
        client.expect("group", json!([hub.name()])).await;
        client.expect_nothing(&[&hub]).await;
    }
    // The end of one is not the end of the others.
    hubs[0].close(Duration::ZERO).await.unwrap_err();
    hubs[3].clients().all().send("m", ()).await.unwrap();
    clients[3].expect("m", json!([])).await;
}
