//! Who is where, over two nodes.

mod many;
mod watching;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use backplane_core::{Backplane, Envelope, RouteKind, Topic};
use backplane_hub::{
    BuildError, ConnectionId, Freshness, Hub, LONGEST_NAME, Link, PresenceOff, PresenceOptions,
    Present, User,
};

use crate::{
    Memory,
    scenarios::{Client, Plain, soon, until},
};

fn build(backplane: Arc<dyn Backplane>) -> Hub {
    let hub = Hub::builder("present").backplane(backplane).presence(options()).build().unwrap();
    hub.speak(Plain::new("plain"));
    hub
}

fn options() -> PresenceOptions {
    let mut options = PresenceOptions::default();
    options.heartbeat_every = Duration::from_millis(200);
    options
}

/// Two hubs on two nodes.
async fn pair() -> (Memory, Hub, Hub) {
    let memory = Memory::start().await;
    let (one, two) = (build(backplane(&memory, 0)), build(backplane(&memory, 1)));
    for hub in [&one, &two] {
        complete(hub).await;
    }
    (memory, one, two)
}

fn backplane(memory: &Memory, node: usize) -> Arc<dyn Backplane> {
    Arc::clone(&memory.nodes.0[node])
}

async fn complete(hub: &Hub) {
    let presence = hub.presence();
    until("complete presence", || presence.freshness().unwrap().is_complete()).await;
}

fn ids(present: &[Present]) -> BTreeSet<ConnectionId> {
    let ids: BTreeSet<_> = present.iter().map(|it| it.connection().clone()).collect();
    assert!(present.len() >= ids.len());
    ids
}

/// Waits until a hub shows exactly these in a group.
async fn shows(hub: &Hub, group: &str, clients: &[&Client]) {
    let expected: BTreeSet<_> = clients.iter().map(|client| client.id.clone()).collect();
    let group = hub.presence().group(group);
    let right = || {
        let members = group.members().unwrap();
        members.len() == expected.len() && ids(&members) == expected
    };
    until("the members", right).await;
    assert_eq!(group.count().unwrap(), expected.len());
}

#[tokio::test]
async fn members_users_and_connections_of_all_nodes() {
    let (_memory, one, two) = pair().await;
    let mut ann = Client::open_as(&one, Some("ann")).await;
    let other = Client::open_as(&two, Some("ann")).await;
    let nobody = Client::open(&two).await;
    for (hub, client) in [(&one, &ann), (&two, &ann), (&two, &nobody)] {
        soon("the join", hub.groups().add(&client.id, "g")).await.unwrap();
    }
    one.groups().add(&ann.id, "h").await.unwrap();
    // What is so on this node shows at once.
    assert_eq!(ids(&one.presence().group("h").members().unwrap()), [ann.id.clone()].into());
    for hub in [&one, &two] {
        shows(hub, "g", &[&ann, &nobody]).await;
        shows(hub, "h", &[&ann]).await;
        let user = hub.presence().user("ann");
        until("her connections", || user.connections().unwrap().len() == 2).await;
        assert_eq!(ids(&user.connections().unwrap()), [ann.id.clone(), other.id.clone()].into());
        assert!(user.is_online().unwrap() && !hub.presence().user("bob").is_online().unwrap());

        let found = hub.presence().connection(&ann.id).unwrap().unwrap();
        assert_eq!((found.present.node(), found.present.user()), (one.node(), Some("ann")));
        let groups: BTreeSet<&str> = found.groups.iter().map(|name| &**name).collect();
        assert_eq!(groups, ["g", "h"].into());
        let found = hub.presence().connection(&nobody.id).unwrap().unwrap();
        assert_eq!((found.present.node(), found.present.user()), (two.node(), None));
        assert_eq!(hub.presence().connection("ghost").unwrap(), None);
    }
    soon("leaving", two.groups().remove(&ann.id, "h")).await.unwrap();
    for hub in [&one, &two] {
        shows(hub, "h", &[]).await;
    }
    ann.leave().await;
    for hub in [&one, &two] {
        shows(hub, "g", &[&nobody]).await;
        until("its end", || hub.presence().connection(&ann.id).unwrap().is_none()).await;
        assert_eq!(hub.presence().user("ann").connections().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_hub_without_presence_says_so_and_sends_nothing_for_it() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let client = Client::open_as(&one, Some("u")).await;
    soon("the join", two.groups().add(&client.id, "g")).await.unwrap();
    let presence = one.presence();
    assert_eq!(presence.group("g").count(), Err(PresenceOff));
    assert_eq!(presence.group("g").members(), Err(PresenceOff));
    assert_eq!(presence.user("u").is_online(), Err(PresenceOff));
    assert_eq!(presence.connection(&client.id), Err(PresenceOff));
    assert_eq!(presence.freshness(), Err(PresenceOff));
    let error = presence.group("g").watch().map(drop).unwrap_err();
    assert!(error.to_string().contains(".presence("), "{error}");
    assert_eq!(one.stats().presence_sent, 0);
    // All and its node, the connection, the user, the group; and nothing for presence.
    let stats = one.backplane().stats();
    assert_eq!(stats.topics_subscribed - stats.topics_unsubscribed, 5);
}

#[tokio::test]
async fn names_are_data() {
    let (_memory, one, two) = pair().await;
    let longest = "🎈".repeat(LONGEST_NAME / 4);
    let names = ["*", "a.b>c", "\0", "ü", "presence", " ", "[x]:{y}", &longest];
    let mut clients = Vec::new();
    for name in names {
        let id = ConnectionId::from(name);
        let user = Some(User::new(name));
        let client = Client::open_with(&one, id, user, Plain::new("plain")).await;
        one.groups().add(&client.id, name).await.unwrap();
        clients.push(client);
    }
    for (name, client) in names.iter().zip(&clients) {
        shows(&two, name, &[client]).await;
        let user = two.presence().user(name);
        until("the user", || user.is_online().unwrap()).await;
        let found = two.presence().connection(&client.id).unwrap().unwrap();
        assert_eq!((found.present.user(), &*found.groups[0]), (Some(*name), *name));
    }
    assert_eq!(two.stats().malformed, 0);
}

#[tokio::test]
async fn an_id_that_is_used_again_and_one_that_two_nodes_have() {
    let (_memory, one, two) = pair().await;
    let open = |hub: Hub, user: &'static str| async move {
        let (id, user) = (ConnectionId::from("same"), Some(User::new(user)));
        Client::open_with(&hub, id, user, Plain::new("plain")).await
    };
    let mut first = open(one.clone(), "a").await;
    one.groups().add("same", "g").await.unwrap();
    shows(&two, "g", &[&first]).await;
    let connection = first.take_connection();
    connection.disconnected(None).await;
    let second = open(one.clone(), "b").await;
    drop(first);
    one.groups().add("same", "h").await.unwrap();
    shows(&two, "h", &[&second]).await;
    shows(&two, "g", &[]).await;
    assert_eq!(one.presence().user("b").connections().unwrap().len(), 1);

    // As while a connection is handed over: each node has its own, and both count.
    let third = open(two.clone(), "b").await;
    two.groups().add("same", "h").await.unwrap();
    for hub in [&one, &two] {
        let group = hub.presence().group("h");
        until("both", || group.count().unwrap() == 2).await;
        let found = hub.presence().connection("same").unwrap().unwrap();
        assert_eq!(found.present.node(), hub.node());
    }
    drop(second);
    for hub in [&one, &two] {
        shows(hub, "h", &[&third]).await;
    }
}

#[tokio::test]
async fn without_a_link_a_node_shows_its_own_and_says_so() {
    let (memory, one, two) = pair().await;
    let here = Client::open_as(&one, Some("u")).await;
    let mut there = Client::open_as(&two, Some("u")).await;
    one.groups().add(&here.id, "g").await.unwrap();
    two.groups().add(&there.id, "g").await.unwrap();
    for hub in [&one, &two] {
        shows(hub, "g", &[&here, &there]).await;
    }
    memory.stop().await;
    for hub in [&one, &two] {
        let presence = hub.presence();
        until("a link that is down", || presence.freshness() == Ok(Freshness::LinkDown)).await;
    }
    let new = Client::open(&one).await;
    one.groups().add(&new.id, "g").await.unwrap();
    there.leave().await;
    // Each its own as it is, the others' as it was.
    shows(&one, "g", &[&here, &new, &there]).await;
    shows(&two, "g", &[&here]).await;
    memory.restart().await;
    for hub in [&one, &two] {
        shows(hub, "g", &[&here, &new]).await;
        complete(hub).await;
    }
}

#[tokio::test]
async fn a_hub_that_ends_takes_its_connections_along_and_a_new_one_is_another() {
    let (memory, one, two) = pair().await;
    let mut client = Client::open(&one).await;
    let stays = Client::open(&two).await;
    for (hub, client) in [(&one, &client), (&two, &stays)] {
        hub.groups().add(&client.id, "g").await.unwrap();
    }
    shows(&two, "g", &[&client, &stays]).await;
    client.leave().await;
    drop((client, one));
    shows(&two, "g", &[&stays]).await;
    let again = build(backplane(&memory, 0));
    let client = Client::open(&again).await;
    again.groups().add(&client.id, "g").await.unwrap();
    for hub in [&again, &two] {
        shows(hub, "g", &[&client, &stays]).await;
        complete(hub).await;
    }
}

#[tokio::test]
async fn strangers_are_counted_and_disturb_nobody() {
    let (memory, one, two) = pair().await;
    let client = Client::open(&one).await;
    one.groups().add(&client.id, "g").await.unwrap();
    shows(&two, "g", &[&client]).await;
    let stranger = memory.medium.node();
    soon("its link", async { drop(stranger.link().wait_for(Link::is_up).await.unwrap()) }).await;
    let topic = Topic::new("present", RouteKind::Node, "presence");
    for body in [&b""[..], b"\x01", b"\x01\x10short", b"\xFEwhat", &vec![1; 2 << 20]] {
        stranger.publish(Envelope::new(topic.clone(), body.to_vec())).await.unwrap();
    }
    let known = || (two.stats().malformed, two.stats().unknown);
    until("what cannot be read", || known() == (4, 1)).await;
    // The largest numbers there are.
    for (kind, rest) in [(1, &b""[..]), (2, &[255; 8]), (3, &[255; 9]), (4, b""), (5, b"")] {
        let mut body = vec![kind, 16 + rest.len() as u8];
        body.extend([&[255; 16], rest].concat());
        if kind == 2 {
            body[1] += 8;
            body.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        }
        for _ in 0..2 {
            stranger.publish(Envelope::new(topic.clone(), body.clone())).await.unwrap();
        }
    }
    drop(stranger);
    let stranger = memory.medium.node();
    soon("its link", async { drop(stranger.link().wait_for(Link::is_up).await.unwrap()) }).await;
    // Joins of one connection that is not there, and of one that is.
    let mut delta = vec![1, 16];
    delta.extend(7_u64.to_le_bytes());
    delta.extend(1_u64.to_le_bytes());
    delta.extend(b"\x03\x00\x05ghost\x00\x01g");
    delta.extend(b"\x01\x00\x05ghast\x00\x00\x03\x03\x02");
    stranger.publish(Envelope::new(topic, delta)).await.unwrap();
    until("the stranger's", || two.presence().connection("ghast").unwrap().is_some()).await;
    assert!(two.presence().connection("ghost").unwrap().is_none());
    assert_eq!(two.presence().group("g").count().unwrap(), 2);
    // It never says where it stands, so it is gone before its node counts as dead.
    shows(&two, "g", &[&client]).await;
}

#[tokio::test]
async fn a_transport_that_carries_too_little_is_told_at_build() {
    let layer = crate::layer::Layer::start(backplane_core::SubscriberOutage::Never).await;
    layer.carries(backplane_core::ByteSize::kib(1));
    let hub = Hub::builder("small").backplane(layer.backplane()).presence(options());
    let error = hub.build().map(drop).unwrap_err();
    assert!(matches!(error, BuildError::PresenceBody { .. }), "{error:?}");
}
