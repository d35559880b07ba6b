//! Whom a message goes to, what it carries, and what a send tells.

use std::sync::{Arc, atomic::Ordering};

use backplane_hub::{
    Backplane, Call, Caller, ConnectionId, Hub, HubError, LONGEST_NAME, Protocol, SendError, State,
    User,
};
use backplane_memory::Medium;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    Memory, one_hub,
    scenarios::{Client, Plain},
};

#[tokio::test]
async fn arguments_by_reference_by_tuple_and_none() {
    let hub = one_hub(|hub| hub).await;
    let mut client = Client::open(&hub).await;
    let target = hub.clients().connection(&client.id);
    let pair = &(1, "two");
    target.send("none", ()).await.unwrap();
    target.send("one", pair).await.unwrap();
    target.send("two", *pair).await.unwrap();
    target.send("text", "by reference").await.unwrap();
    target.send("eight", (1, 2, 3, 4, 5, 6, 7, &json!({"8": null}))).await.unwrap();
    target.send("list", &vec![1, 2]).await.unwrap();
    target.send("slice", &["a", "b"][..]).await.unwrap();
    target.send("lists", (vec![1, 2], [3])).await.unwrap();
    client.expect("none", json!([])).await;
    client.expect("one", json!([[1, "two"]])).await;
    client.expect("two", json!([1, "two"])).await;
    client.expect("text", json!(["by reference"])).await;
    client.expect("eight", json!([1, 2, 3, 4, 5, 6, 7, {"8": null}])).await;
    // However long it is, a list is one argument.
    client.expect("list", json!([[1, 2]])).await;
    client.expect("slice", json!([["a", "b"]])).await;
    client.expect("lists", json!([[1, 2], [3]])).await;
}

#[tokio::test]
async fn a_callers_own_targets() {
    async fn say(caller: Caller, what: String) -> Result<(), HubError> {
        let clients = caller.clients();
        clients.caller().send("caller", &what).await?;
        clients.others().send("others", &what).await?;
        clients.others_in_group("g").send("others in group", &what).await?;
        clients.all().send("all", &what).await?;
        Ok(())
    }
    let memory = Memory::start().await;
    let hub = |node: usize| {
        let hub = Hub::builder("h").backplane(Arc::clone(&memory.nodes.0[node]));
        hub.method("Say", say).build().unwrap()
    };
    let (one, two) = (hub(0), hub(1));
    let mut caller = Client::open(&one).await;
    let (mut here, mut there) = (Client::open(&one).await, Client::open(&two).await);
    for client in [&caller, &there] {
        client.hub.groups().add(&client.id, "g").await.unwrap();
    }
    let raw = vec![json!("hi").to_string().into()];
    let trace = Some(Arc::from("00-aa-bb-01"));
    caller.call(Call { trace, ..Call::new("say", raw) }).await.unwrap();
    for (client, targets) in [
        (&mut caller, &["caller", "all"][..]),
        (&mut here, &["others", "all"]),
        (&mut there, &["others", "others in group", "all"]),
    ] {
        for target in targets {
            let told = client.next().await.unwrap();
            assert_eq!((&*told.target, told.trace.as_deref()), (*target, Some("00-aa-bb-01")));
        }
        client.expect_nothing(&[&one]).await;
    }
}

#[tokio::test]
async fn a_caller_is_good_for_longer_than_its_call() {
    type Kept = mpsc::Sender<Caller>;
    async fn keep(caller: Caller, State(kept): State<Kept>) -> bool {
        kept.try_send(caller).is_ok()
    }
    let (kept, mut callers): (Kept, _) = mpsc::channel(1);
    let hub = one_hub(|hub| hub.state(kept).method("Keep", keep)).await;
    let (mut client, mut other) = (Client::open(&hub).await, Client::open(&hub).await);
    assert_eq!(client.invoke("keep", vec![]).await.unwrap(), json!(true));
    let caller = callers.recv().await.unwrap();
    caller.groups().add(caller.id(), "g").await.unwrap();
    caller.clients().caller().send("caller", ()).await.unwrap();
    caller.clients().others().send("others", ()).await.unwrap();
    caller.clients().group("g").send("group", ()).await.unwrap();
    client.expect("caller", json!([])).await;
    client.expect("group", json!([])).await;
    client.expect_nothing(&[&hub]).await;
    other.expect("others", json!([])).await;
    // Also than its connection.
    client.leave().await;
    caller.clients().caller().send("late", ()).await.unwrap();
    caller.clients().others().send("others", ()).await.unwrap();
    other.expect("others", json!([])).await;
}

#[tokio::test]
async fn each_message_is_encoded_once_per_protocol_at_its_origin() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (json, pack) = (Plain::new("json"), Plain::new("pack"));
    for hub in [&one, &two] {
        hub.speak(Arc::<Plain>::clone(&json));
        hub.speak(Arc::<Plain>::clone(&pack));
        hub.speak(Plain::new("pack"));
    }
    let mut clients = Vec::new();
    for (number, hub) in [&one, &two].into_iter().cycle().take(20).enumerate() {
        let protocol: Arc<dyn Protocol> =
            Arc::<Plain>::clone(if number % 3 == 0 { &json } else { &pack });
        let id = ConnectionId::random();
        clients.push(Client::open_with(hub, id, Some(User::new("u")), protocol).await);
    }
    one.clients().user("u").send("m", &1).await.unwrap();
    two.clients().all().send("m", &2).await.unwrap();
    for (number, client) in clients.iter_mut().enumerate() {
        for argument in 1..=2 {
            let told = client.next().await.unwrap();
            assert_eq!(told.arguments, [json!(argument)]);
            assert_eq!(told.protocol, if number % 3 == 0 { "json" } else { "pack" });
        }
    }
    let encoded = [&json, &pack].map(|protocol| protocol.encoded.load(Ordering::Relaxed));
    assert_eq!(encoded, [2, 2]);

    // A connection of this node needs no protocol but its own.
    let target = one.clients().connection(&clients[0].id);
    target.send("m", &3).await.unwrap();
    clients[0].expect("m", json!([3])).await;
    let encoded = [&json, &pack].map(|protocol| protocol.encoded.load(Ordering::Relaxed));
    assert_eq!(encoded, [3, 2]);
}

#[tokio::test]
async fn connections_share_the_bytes_of_a_message() {
    let hub = one_hub(|hub| hub).await;
    let mut outbounds = Vec::new();
    for _ in 0..3 {
        let opening = backplane_hub::Opening {
            id: ConnectionId::random(),
            user: None,
            protocol: Plain::new("plain"),
            request: None,
            movable: false,
        };
        outbounds.push(hub.open(opening).await.unwrap());
    }
    hub.clients().all().send("m", "shared").await.unwrap();
    let mut received = Vec::new();
    for (_, outbound) in &mut outbounds {
        assert_eq!(outbound.receive(&mut received, 8).await, 1);
    }
    assert!(received.iter().all(|bytes| bytes.as_ptr() == received[0].as_ptr()));
}

#[tokio::test]
async fn a_protocol_that_the_origin_does_not_speak_is_counted() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let pack = Plain::new("pack");
    let mut reads_plain = Client::open(&two).await;
    let _reads_pack = Client::open_with(&two, ConnectionId::random(), None, pack).await;
    one.clients().all().send("m", ()).await.unwrap();
    reads_plain.expect("m", json!([])).await;
    assert_eq!((two.stats().queued, two.stats().dropped_protocol), (1, 1));
}

#[tokio::test]
async fn sending_to_nobody_succeeds_and_costs_nothing() {
    let hub = one_hub(|hub| hub).await;
    let _client = Client::open(&hub).await;
    let clients = hub.clients();
    let none: [&str; 0] = [];
    let before = hub.backplane().stats().accepted;
    for target in [
        clients.group(""),
        clients.user(""),
        clients.connection("").into(),
        clients.groups(none),
        clients.users(["", ""]),
        clients.connections(none),
        clients.group_except("", ["x"]),
    ] {
        target.send("m", ()).await.unwrap();
        target.try_send("m", ()).unwrap();
    }
    assert_eq!(hub.backplane().stats().accepted, before);
    for target in
        [clients.group("nobody"), clients.user("nobody"), clients.connection("nobody").into()]
    {
        target.send("m", ()).await.unwrap();
        target.try_send("m", ()).unwrap();
    }
    hub.groups().add(&_client.id, "").await.unwrap();
    hub.groups().remove(&_client.id, "").await.unwrap();
    assert_eq!(hub.stats().groups, 0);
}

#[tokio::test]
async fn what_a_send_tells() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("on purpose"))
        }
    }
    let hub = one_hub(|hub| hub).await;
    let mut client = Client::open(&hub).await;
    let clients = hub.clients();

    let error = clients.all().send("m", &Broken).await.unwrap_err();
    assert!(matches!(error, SendError::Encode { protocol: "plain", .. }), "{error:?}");
    let large = "x".repeat(17 * 1024 * 1024);
    let error = clients.all().send("m", &large).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge { .. }), "{error:?}");
    let long = "x".repeat(LONGEST_NAME + 1);
    for target in [clients.group(&long), clients.user(&long), clients.connection(&long).into()] {
        assert!(matches!(target.send("m", ()).await, Err(SendError::NameTooLong)));
        assert!(matches!(target.try_send("m", ()), Err(SendError::NameTooLong)));
    }
    let many: Vec<String> =
        (0..10_000).map(|n| format!("a connection of this number {n}")).collect();
    let error = clients.all_except(&many).send("m", ()).await.unwrap_err();
    assert!(matches!(error, SendError::TooManyExceptions { count: 10_000 }), "{error:?}");
    client.expect_nothing(&[&hub]).await;

    // One bad name does not keep the message from the others.
    hub.groups().add(&client.id, "g").await.unwrap();
    let error = clients.groups([&long, "g"]).send("m", ()).await.unwrap_err();
    assert!(matches!(error, SendError::NameTooLong), "{error:?}");
    client.expect("m", json!([])).await;

    hub.backplane().close(std::time::Duration::from_secs(5)).await.unwrap();
    assert!(matches!(clients.all().send("m", ()).await, Err(SendError::Closed)));
    // What needs no backplane goes on.
    clients.connection(&client.id).send("m", ()).await.unwrap();
    client.expect("m", json!([])).await;
}

#[tokio::test]
async fn a_hub_that_speaks_nothing_says_so() {
    let node: Arc<dyn Backplane> = Arc::new(Medium::new().node());
    let hub = Hub::builder("mute").backplane(node).build().unwrap();
    let error = hub.clients().all().send("m", ()).await.unwrap_err();
    assert!(matches!(error, SendError::NoProtocol), "{error:?}");
}

#[tokio::test]
async fn a_send_can_be_spawned() {
    let hub = one_hub(|hub| hub).await;
    let mut client = Client::open(&hub).await;
    let sending = {
        let text = String::from("borrowed only while send is called");
        hub.clients().all().send("m", text.as_str())
    };
    tokio::spawn(sending).await.unwrap().unwrap();
    client.expect("m", json!(["borrowed only while send is called"])).await;
}
