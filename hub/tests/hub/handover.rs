//! Connections that move from one node to another.

use backplane_hub::{
    Adopted, Caller, Connection, ConnectionId, HandoverError, Health, Hub, HubBuilder, HubError,
    InvokeError, Items, Left, Opening, Outbound, PresenceEvent, PresenceOptions, User,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Duration;

use crate::{
    Memory,
    scenarios::{Plain, soon, until},
};

const MOST: usize = 64 * 1024;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Cart(Vec<String>);

fn described(hub: HubBuilder) -> HubBuilder {
    hub.presence(PresenceOptions::default())
        .portable::<Cart>("cart")
        .method("Put", async |items: Items, what: String| {
            items.update(|Cart(cart)| cart.push(what));
            items.insert(7_u32);
        })
        .method("Enter", async |caller: Caller, group: String| -> Result<(), HubError> {
            caller.groups().add(caller.id(), &group).await?;
            caller.groups().remove(caller.id(), "left").await?;
            Ok(())
        })
        .method("Has", async |items: Items| (items.get::<Cart>(), items.get::<u32>()))
        .on_connected(async |caller: Caller| assert!(caller.id().is_empty(), "it is not new"))
        .on_disconnected(async |caller: Caller| assert!(caller.id().is_empty(), "it is not gone"))
}

fn hubs(memory: &Memory) -> [Hub; 2] {
    memory.nodes.0.clone().map(|node| {
        let hub = described(Hub::builder("test")).backplane(node);
        let hub = hub.build().unwrap();
        hub.speak(Plain::new("plain"));
        hub
    })
}

fn opening(id: &ConnectionId) -> Opening {
    Opening {
        id: id.clone(),
        user: Some(User::new("ann")),
        protocol: Plain::new("plain"),
        request: None,
        movable: true,
    }
}

async fn open(hub: &Hub) -> (Connection, Outbound) {
    hub.open(opening(&ConnectionId::random())).await.unwrap()
}

/// One that is in both groups of [`send_all`].
async fn open_in_groups(hub: &Hub) -> (Connection, Outbound) {
    let opened = open(hub).await;
    for group in ["kitchen", "bar"] {
        hub.groups().add(opened.0.id(), group).await.unwrap();
    }
    opened
}

async fn adopt(hub: &Hub, connection: &Connection) -> Adopted {
    hub.adopt(opening(connection.id()), &connection.preview()).await.unwrap()
}

/// What waits in a queue: the first argument of each.
async fn waiting(outbound: &mut Outbound, count: usize) -> Vec<Value> {
    let mut messages: Vec<Bytes> = Vec::new();
    while messages.len() < count {
        soon("a message", outbound.receive(&mut messages, MOST)).await;
    }
    messages.iter().map(argument).collect()
}

fn argument(message: &Bytes) -> Value {
    let message: Value = serde_json::from_slice(message).unwrap();
    message[2][0].clone()
}

/// Sends to the connection in every way from both nodes, each time another number.
async fn send_all(hubs: &[Hub; 2], id: &ConnectionId, numbers: &mut u64) -> Vec<Value> {
    let mut sent = Vec::new();
    for hub in hubs {
        let clients = hub.clients();
        let targets = [
            clients.all(),
            clients.group("kitchen"),
            clients.groups(["kitchen", "bar"]),
            clients.user("ann"),
            clients.connection(id).into(),
        ];
        for target in targets {
            *numbers += 1;
            target.send("n", (*numbers,)).await.unwrap();
            sent.push(Value::from(*numbers));
        }
    }
    sent
}

/// All that has come so far, behind which nothing is on its way.
async fn fenced(hubs: &[Hub; 2], outbound: &mut Outbound) -> Vec<Value> {
    let mut come = Vec::new();
    for hub in hubs {
        hub.clients().user("ann").send("n", ("fence",)).await.unwrap();
        while come.last() != Some(&Value::from("fence")) {
            come.extend(waiting(outbound, 1).await);
        }
        come.pop();
    }
    come
}

fn sorted(mut numbers: Vec<Value>) -> Vec<Value> {
    numbers.sort_by_key(Value::as_u64);
    numbers
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_in_any_phase() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, mut outbound) = open_in_groups(&hubs[0]).await;
    let id = connection.id().clone();
    let mut numbers = 0;
    let mut sent = send_all(&hubs, &id, &mut numbers).await;
    let preview = connection.preview();
    sent.extend(send_all(&hubs, &id, &mut numbers).await);
    let adopted = hubs[1].adopt(opening(&id), &preview).await.unwrap();
    sent.extend(send_all(&hubs, &id, &mut numbers).await);
    // Both nodes have some of it: the old one in its queue, the new one held back.
    let mut come = fenced(&hubs, &mut outbound).await;
    let state = connection.freeze();
    sent.extend(send_all(&hubs, &id, &mut numbers).await);
    let (new, mut outbound) = adopted.take_over(state).await.unwrap();
    sent.extend(send_all(&hubs, &id, &mut numbers).await);
    let left: Left = connection.leave();
    sent.extend(send_all(&hubs, &id, &mut numbers).await);
    // What the old node has heard meanwhile, the new one has heard too.
    let arrived = soon("what has arrived late", left.arrived(MOST)).await;
    let before = fenced(&hubs, &mut outbound).await;
    new.arrivals().take(arrived).await.unwrap();
    come.extend(before);
    come.extend(fenced(&hubs, &mut outbound).await);
    assert_eq!(sorted(come.clone()), sent);
    drop(left);
    // By one path each, they keep their order.
    let by_user: Vec<Value> =
        come.into_iter().filter(|it| it.as_u64().unwrap() % 10 == 4).collect();
    assert_eq!(by_user, sorted(by_user.clone()));
    assert_eq!(hubs[0].stats().connections, 0);
    assert_eq!(hubs[1].stats().connections, 1);
}

#[tokio::test]
async fn what_only_the_old_node_hears_is_sent_on() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, _outbound) = open(&hubs[0]).await;
    let adopted = adopt(&hubs[1], &connection).await;
    let state = connection.freeze();
    let (new, mut outbound) = adopted.take_over(state).await.unwrap();
    // A front end's own message, such as the answer of a call that still runs.
    connection.reply(Bytes::from_static(b"[0,0,[\"answer\"]]"));
    let left = connection.leave();
    left.connection().reply(Bytes::from_static(b"[0,0,[\"late\"]]"));
    let arrived = left.arrived(1).await;
    new.arrivals().take(arrived).await.unwrap();
    new.arrivals().take(left.arrived(1).await).await.unwrap();
    assert_eq!(waiting(&mut outbound, 2).await, ["answer", "late"]);
    assert!(matches!(
        new.arrivals().take(Bytes::from_static(b"\0")).await,
        Err(HandoverError::Unreadable)
    ));
}

#[tokio::test]
async fn a_connection_that_is_not_taken_over_goes_on() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, mut outbound) = open_in_groups(&hubs[0]).await;
    let id = connection.id().clone();
    let adopted = adopt(&hubs[1], &connection).await;
    let _ = connection.freeze();
    let mut numbers = 0;
    let sent = send_all(&hubs, &id, &mut numbers).await;
    // It must not be found by its id on either node now, nor is it lost.
    drop(adopted);
    connection.thaw();
    assert_eq!(sorted(fenced(&hubs, &mut outbound).await), sent);
    let sent = send_all(&hubs, &id, &mut numbers).await;
    assert_eq!(sorted(fenced(&hubs, &mut outbound).await), sent);
    assert_eq!((hubs[0].stats().connections, hubs[1].stats().connections), (1, 0));
    let kitchen = hubs[1].presence().group("kitchen");
    until("presence is told", || kitchen.count() == Ok(1)).await;
    drop(connection);
    until("presence is told", || kitchen.count() == Ok(0)).await;
}

#[tokio::test]
async fn groups_items_and_presence_move() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, _outbound) = open(&hubs[0]).await;
    let id = connection.id().clone();
    for group in ["kept", "left"] {
        hubs[0].groups().add(&id, group).await.unwrap();
    }
    let put = backplane_hub::Call::new("Put", vec![Bytes::from_static(b"\"tea\"")]);
    connection.call(put).await.unwrap();
    let adopted = adopt(&hubs[1], &connection).await;
    // Its groups change after the new node has looked.
    hubs[0].groups().add(&id, "joined").await.unwrap();
    hubs[0].groups().remove(&id, "left").await.unwrap();
    let state = connection.freeze();
    let (new, _outbound) = adopted.take_over(state).await.unwrap();
    drop(connection.leave());

    for hub in &hubs {
        let mut groups = hub.groups().of(&id).await.unwrap();
        groups.sort();
        assert_eq!(groups, ["joined".into(), "kept".into()] as [std::sync::Arc<str>; 2]);
    }
    let has = new.call(backplane_hub::Call::new("Has", Vec::new())).await.unwrap();
    let backplane_hub::Reply::Value(has) = has else { panic!("a value") };
    let has = serde_json::to_value(&*has).unwrap();
    assert_eq!(has, serde_json::json!([["tea"], null]), "what is not portable stays behind");
    for hub in &hubs {
        let presence = hub.presence();
        let node = || presence.group("kept").members().unwrap().first().map(|it| it.node());
        until("presence is told", || node() == Some(hubs[1].node())).await;
        assert_eq!(presence.group("kept").count(), Ok(1));
        assert_eq!(presence.group("left").count(), Ok(0));
    }
}

#[tokio::test]
async fn whoever_watches_sees_a_connection_come_and_leave_once_each() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, _outbound) = open_in_groups(&hubs[0]).await;
    let kitchen = hubs.each_ref().map(|hub| hub.presence().group("kitchen"));
    until("presence is told", || kitchen.iter().all(|it| it.count() == Ok(1))).await;
    let mut watches = kitchen.map(|kitchen| kitchen.watch().unwrap());
    for watch in &mut watches {
        let Some(PresenceEvent::Snapshot { present, .. }) =
            soon("who is there", watch.next()).await
        else {
            panic!("no snapshot")
        };
        assert_eq!(present.len(), 1);
    }
    let adopted = adopt(&hubs[1], &connection).await;
    let (new, _outbound) = adopted.take_over(connection.freeze()).await.unwrap();
    drop(connection.leave());
    hubs[1].groups().remove(new.id(), "kitchen").await.unwrap();
    // Leaving the group is the fence: all that the move says comes before it.
    for watch in &mut watches {
        let mut told = Vec::new();
        while told.len() < 3 {
            told.push(match soon("an event", watch.next()).await {
                Some(PresenceEvent::Joined(who)) => (true, who.node()),
                Some(PresenceEvent::Left(who)) => (false, who.node()),
                other => panic!("{other:?}"),
            });
        }
        let (old, new) = (hubs[0].node(), hubs[1].node());
        let at = |event| told.iter().position(|it| *it == event).unwrap();
        assert!(at((true, new)) < at((false, new)) && at((false, old)) < 3, "{told:?}");
    }
}

#[tokio::test]
async fn a_result_that_is_owed_where_the_connection_was_fails_at_once() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, mut outbound) = open(&hubs[0]).await;
    let asking = hubs[0].clients().connection(connection.id()).invoke::<u32>("Eta", ());
    let asked = tokio::spawn(asking);
    soon("the question", outbound.receive(&mut Vec::new(), 1)).await;
    let adopted = adopt(&hubs[1], &connection).await;
    let state = connection.freeze();
    let _new = adopted.take_over(state).await.unwrap();
    let _left = connection.leave();
    let failed = soon("the failure", asked).await.unwrap();
    assert!(matches!(failed, Err(InvokeError::Disconnected { .. })), "{failed:?}");
}

#[tokio::test]
async fn a_node_adopts_only_what_it_could_reach() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, _outbound) = open(&hubs[0]).await;
    let unreadable = hubs[1].adopt(opening(connection.id()), &Bytes::from_static(b"\x01")).await;
    assert!(matches!(unreadable, Err(HandoverError::Unreadable)));
    let adopted = adopt(&hubs[1], &connection).await;
    let again = hubs[1].adopt(opening(connection.id()), &connection.preview()).await;
    assert!(matches!(again, Err(HandoverError::Open(_))), "it is on its way here already");
    drop(adopted);
    let preview = connection.preview();
    memory.stop().await;
    let down = hubs[1].adopt(opening(connection.id()), &preview).await;
    assert!(matches!(down, Err(HandoverError::LinkDown)));
    assert_eq!(hubs[1].stats().connections, 0);
}

#[tokio::test]
async fn a_hub_drains_before_it_closes() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    hubs[0].announce_drain();
    assert_eq!(hubs[0].health(), Health::Draining);
    // Whoever has not heard of that may still send somebody here.
    let (connection, _outbound) = open(&hubs[0]).await;
    let mut drained = Box::pin(hubs[0].drain(Duration::from_secs(60)));
    tokio::select! {
        biased;
        end = &mut drained => panic!("{end:?}"),
        () = async {} => {}
    }
    assert!(hubs[0].open(opening(&ConnectionId::random())).await.is_err());
    let adopted = adopt(&hubs[1], &connection).await;
    let (_new, _outbound) = adopted.take_over(connection.freeze()).await.unwrap();
    tokio::select! {
        biased;
        end = &mut drained => panic!("{end:?}"),
        () = async {} => {}
    }
    drop(connection.leave());
    soon("the end", drained).await.unwrap();
    assert_eq!(hubs[0].health(), Health::Closed);
}

/// While it is decided who has it, and after.
#[tokio::test]
async fn a_call_that_runs_on_where_it_was_joins_and_leaves_where_it_is() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    for decided in [false, true] {
        let (connection, _outbound) = open(&hubs[0]).await;
        let id = connection.id().clone();
        hubs[0].groups().add(&id, "left").await.unwrap();
        let enter = backplane_hub::Call::new("Enter", vec![Bytes::from_static(b"\"joined\"")]);
        let running = connection.call(enter);
        let adopted = adopt(&hubs[1], &connection).await;
        let state = connection.freeze();
        let ends = if decided {
            let ends = (adopted.take_over(state).await.unwrap(), connection.leave());
            soon("the end", running).await.unwrap();
            ends
        } else {
            let call = tokio::spawn(running);
            until("the call asks", || hubs[0].stats().requests > 0).await;
            let ends = (adopted.take_over(state).await.unwrap(), connection.leave());
            soon("the end", call).await.unwrap().unwrap();
            ends
        };
        assert_eq!(
            hubs[1].groups().of(&id).await.unwrap(),
            ["joined".into()] as [std::sync::Arc<str>; 1]
        );
        drop(ends);
    }
}

/// From one node to the other and back before the first has forgotten it.
#[tokio::test]
async fn what_comes_by_several_groups_comes_where_the_connection_is() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    // Each is as likely to be reached before its namesake as behind it.
    for _ in 0..10 {
        there_and_back(&hubs).await;
    }
}

async fn there_and_back(hubs: &[Hub; 2]) {
    let (first, _first_outbound) = open(&hubs[0]).await;
    let id = first.id().clone();
    for group in ["kitchen", "bar"] {
        hubs[0].groups().add(&id, group).await.unwrap();
    }
    let adopted = adopt(&hubs[1], &first).await;
    let (second, _second_outbound) = adopted.take_over(first.freeze()).await.unwrap();
    let _first_left = first.leave();
    let adopted = adopt(&hubs[0], &second).await;
    let (_third, mut outbound) = adopted.take_over(second.freeze()).await.unwrap();
    let _second_left = second.leave();
    for number in 0..20 {
        let groups = hubs[number % 2].clients().groups(["kitchen", "bar"]);
        groups.send("n", (number,)).await.unwrap();
    }
    let come = fenced(hubs, &mut outbound).await;
    assert_eq!(sorted(come), (0..20).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_came_to_both_needs_no_room() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, _outbound) = open(&hubs[0]).await;
    let adopted = adopt(&hubs[1], &connection).await;
    let (new, mut outbound) = adopted.take_over(connection.freeze()).await.unwrap();
    let left = connection.leave();
    // More than what is sent on may take of the queue.
    for part in 0..20 {
        for number in 0..100 {
            // Over the backplane, so that both hear it.
            let to = hubs[1].clients().user("ann");
            to.send("n", (100 * part + number,)).await.unwrap();
        }
        until("it is queued", || hubs[1].stats().queued >= 100 * (part + 1)).await;
        let arrived = soon("what has arrived", left.arrived(usize::MAX)).await;
        soon("there is nothing to wait for", new.arrivals().take(arrived)).await.unwrap();
    }
    let numbers = waiting(&mut outbound, 2000).await;
    assert_eq!(numbers, (0..2000).map(Value::from).collect::<Vec<_>>());
}

/// What was held is for the groups that it was in then; it goes to those that it is in.
#[tokio::test]
async fn what_is_for_a_group_that_was_left_meanwhile_does_not_come() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, mut before) = open(&hubs[0]).await;
    let id = connection.id().clone();
    for group in ["kept", "left", "left later"] {
        hubs[0].groups().add(&id, group).await.unwrap();
    }
    let adopted = adopt(&hubs[1], &connection).await;
    hubs[0].groups().remove(&id, "left").await.unwrap();
    // The new node hears it all the same.
    hubs[1].clients().group("left").send("n", (1,)).await.unwrap();
    hubs[1].clients().group("kept").send("n", (2,)).await.unwrap();
    let state = connection.freeze();
    let (new, mut outbound) = adopted.take_over(state).await.unwrap();
    let left = connection.leave();
    let mut come = fenced(&hubs, &mut outbound).await;
    let mut queued = Vec::new();
    before.receive(&mut queued, MOST).now_or_never();
    come.extend(queued.iter().map(argument));
    assert_eq!(come, [2]);
    hubs[0].groups().remove(&id, "left later").await.unwrap();
    hubs[0].clients().group("left later").send("n", (3,)).await.unwrap();
    hubs[0].clients().user("ann").send("n", (4,)).await.unwrap();
    assert_eq!(fenced(&hubs, &mut outbound).await, [4]);
    new.arrivals().take(left.arrived(MOST).await).await.unwrap();
    assert!(fenced(&hubs, &mut outbound).await.is_empty());
}

#[tokio::test]
async fn a_connection_moves_only_with_groups_that_it_can_join() {
    let memory = Memory::start().await;
    let hubs = hubs(&memory);
    let (connection, _outbound) = open(&hubs[0]).await;
    let adopted = adopt(&hubs[1], &connection).await;
    hubs[0].groups().add(connection.id(), "new").await.unwrap();
    let state = connection.freeze();
    memory.stop().await;
    let down = adopted.take_over(state).await;
    assert!(matches!(down, Err(HandoverError::LinkDown)), "{down:?}");
    connection.thaw();
    assert_eq!((hubs[0].stats().connections, hubs[1].stats().connections), (1, 0));
}
