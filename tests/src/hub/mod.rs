//! What a hub does across nodes: each scenario of SignalR's own scale-out suite that applies, and some
//! that it lacks. Plain functions over any two nodes that are connected.
//!
//! "Nothing arrives" is proven by a message that is sent afterwards and arrives first.
#![expect(clippy::unwrap_used, reason = "a scenario fails by panicking, as a test does")]

mod client;
mod crowd;
mod process;
mod results;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backplane_hub::{Backplane, ConnectionId, GroupError, Hub, Joined, User};
use serde_json::json;

pub use client::{Client, Plain, call, soon, until};
pub use crowd::{Crowd, USERS};
pub use process::{HubProcess, serve_hub};
pub use results::*;

/// Nodes that are connected.
pub trait HubFixture: Send + Sync {
    /// The backplane of node 0 or 1, whose link is up.
    fn backplane(&self, node: usize) -> Arc<dyn Backplane>;
}

/// Two hubs of one name, which no other scenario has, on two nodes.
pub fn two_hubs(fixture: &dyn HubFixture) -> (Hub, Hub) {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let name = format!("scenario {}", NAMES.fetch_add(1, Ordering::Relaxed));
    let hub = |node| Hub::builder(&name).backplane(fixture.backplane(node)).build().unwrap();
    let (one, two) = (hub(0), hub(1));
    one.speak(Plain::new("plain"));
    two.speak(Plain::new("plain"));
    (one, two)
}

async fn hello(target: impl Into<backplane_hub::Target>) {
    soon("a send", target.into().send("Hello", ("World",))).await.unwrap();
}

async fn expect_hello(client: &mut Client) {
    client.expect("Hello", json!(["World"])).await;
}

/// One node: everybody gets what goes to all.
pub async fn send_all_writes_to_all_connections(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let (mut c1, mut c2) = (Client::open(&hub).await, Client::open(&hub).await);
    hello(hub.clients().all()).await;
    expect_hello(&mut c1).await;
    expect_hello(&mut c2).await;
}

/// One node: who has left gets nothing.
pub async fn send_all_does_not_write_to_disconnected_connections(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let (mut c1, mut c2) = (Client::open(&hub).await, Client::open(&hub).await);
    c2.leave().await;
    hello(hub.clients().all()).await;
    expect_hello(&mut c1).await;
    assert_eq!(c2.next().await, None);
}

/// One node: a group's message is for its members.
pub async fn send_group_writes_to_all_members(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let (mut c1, mut c2) = (Client::open(&hub).await, Client::open(&hub).await);
    hub.groups().add(&c1.id, "group").await.unwrap();
    hello(hub.clients().group("group")).await;
    expect_hello(&mut c1).await;
    c2.expect_nothing(&[&hub]).await;
}

/// One node: an excluded member gets nothing.
pub async fn send_group_except_does_not_write_to_excluded(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let (mut c1, mut c2) = (Client::open(&hub).await, Client::open(&hub).await);
    for client in [&c1, &c2] {
        hub.groups().add(&client.id, "group").await.unwrap();
    }
    hello(hub.clients().group_except("group", [&c2.id])).await;
    expect_hello(&mut c1).await;
    c2.expect_nothing(&[&hub]).await;
}

/// One node: a connection gets what goes to it.
pub async fn send_connection_writes_to_it(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let mut client = Client::open(&hub).await;
    hello(hub.clients().connection(&client.id)).await;
    expect_hello(&mut client).await;
}

/// 1: all, over two nodes.
pub async fn all_over_two_nodes(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let (mut c1, mut c2) = (Client::open(&one).await, Client::open(&two).await);
    hello(one.clients().all()).await;
    expect_hello(&mut c1).await;
    expect_hello(&mut c2).await;
}

/// 2: all, after one has left.
pub async fn all_over_two_nodes_after_one_left(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let (mut c1, mut c2) = (Client::open(&one).await, Client::open(&two).await);
    c2.leave().await;
    hello(two.clients().all()).await;
    expect_hello(&mut c1).await;
    assert_eq!(c2.next().await, None);
}

/// 3: a connection of the other node.
pub async fn connection_of_the_other_node(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    hello(two.clients().connection(&client.id)).await;
    expect_hello(&mut client).await;
}

/// 4: a group whose member is on the other node.
pub async fn group_of_the_other_node(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    one.groups().add(&client.id, "group").await.unwrap();
    hello(two.clients().group("group")).await;
    expect_hello(&mut client).await;
}

/// 5: who disconnects leaves its groups.
pub async fn disconnecting_leaves_groups(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    let mut stays = Client::open(&one).await;
    for client in [&client, &stays] {
        one.groups().add(&client.id, "group").await.unwrap();
    }
    client.leave().await;
    hello(two.clients().group("group")).await;
    expect_hello(&mut stays).await;
    assert_eq!(client.next().await, None);
    stays.leave().await;
    assert_eq!(one.stats().groups, 0);
}

/// 6: leaving a group without being in it.
pub async fn leaving_a_group_of_others_here(fixture: &dyn HubFixture) {
    let (one, _) = two_hubs(fixture);
    let client = Client::open(&one).await;
    one.groups().remove(&client.id, "group").await.unwrap();
}

/// 7: the same for a connection of the other node.
pub async fn leaving_a_group_of_others_elsewhere(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let client = Client::open(&one).await;
    soon("the answer", two.groups().remove(&client.id, "group")).await.unwrap();
}

/// 8: a join by the other node is effective when it returns.
pub async fn joining_from_the_other_node(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    for round in 0..50 {
        let group = format!("group {round}");
        let joined = soon("the answer", two.groups().add(&client.id, &group)).await;
        assert_eq!(joined.unwrap(), Joined::Everywhere);
        hello(two.clients().group(&group)).await;
        expect_hello(&mut client).await;
    }
}

/// 9: joining twice, one delivery.
pub async fn joining_twice_here(fixture: &dyn HubFixture) {
    let (one, _) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    for _ in 0..2 {
        one.groups().add(&client.id, "group").await.unwrap();
    }
    hello(one.clients().group("group")).await;
    expect_hello(&mut client).await;
    client.expect_nothing(&[&one]).await;
}

/// 10: joining here and from elsewhere, one delivery.
pub async fn joining_here_and_elsewhere(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    for hub in [&one, &two] {
        soon("the answer", hub.groups().add(&client.id, "group")).await.unwrap();
    }
    hello(two.clients().group("group")).await;
    expect_hello(&mut client).await;
    client.expect_nothing(&[&one, &two]).await;
}

/// 11: leaving from the other node is effective when it returns.
pub async fn leaving_from_the_other_node(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    one.groups().add(&client.id, "group").await.unwrap();
    hello(two.clients().group("group")).await;
    expect_hello(&mut client).await;
    soon("the answer", two.groups().remove(&client.id, "group")).await.unwrap();
    hello(two.clients().group("group")).await;
    client.expect_nothing(&[&two]).await;
}

/// 12: a connection of this node is served without the backplane.
pub async fn a_connection_of_this_node_is_served_without_publishing(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let id = ConnectionId::random();
    let mut here = Client::open_with(&one, id.clone(), None, Plain::new("plain")).await;
    let mut there = Client::open_with(&two, id.clone(), None, Plain::new("plain")).await;
    let before = one.backplane().stats().accepted;
    hello(one.clients().connection(&id)).await;
    assert_eq!(one.backplane().stats().accepted, before);
    expect_hello(&mut here).await;
    here.expect_nothing(&[&one]).await;
    there.expect_nothing(&[&two]).await;
}

/// 13: a connection elsewhere that cannot be written to does not disturb the sender.
pub async fn a_broken_connection_elsewhere_does_not_disturb_the_sender(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&two).await;
    client.break_off();
    hello(one.clients().connection(&client.id)).await;
}

/// 14: a member that cannot be written to does not disturb the other.
pub async fn a_broken_member_does_not_disturb_the_other(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let (mut c1, mut c2) = (Client::open(&two).await, Client::open(&two).await);
    for client in [&c1, &c2] {
        two.groups().add(&client.id, "group").await.unwrap();
    }
    c2.break_off();
    for _ in 0..2 {
        hello(one.clients().group("group")).await;
        expect_hello(&mut c1).await;
    }
}

/// 15: a user's message is for all his connections, and for nobody else.
pub async fn a_user_has_several_connections(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut a1 = Client::open_as(&one, Some("userA")).await;
    let mut a2 = Client::open_as(&two, Some("userA")).await;
    let mut b = Client::open_as(&two, Some("userB")).await;
    hello(one.clients().user("userA")).await;
    expect_hello(&mut a1).await;
    expect_hello(&mut a2).await;
    b.expect_nothing(&[&one]).await;
}

/// 16: a user's other connections go on when one leaves.
pub async fn a_user_is_reached_after_one_connection_left(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut first = Client::open_as(&one, Some("userA")).await;
    let mut second = Client::open_as(&one, Some("userA")).await;
    first.leave().await;
    hello(two.clients().user("userA")).await;
    expect_hello(&mut second).await;
    assert_eq!(first.next().await, None);
}

/// A connection that no node has is reported promptly.
pub async fn an_unknown_connection_is_not_found_promptly(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let _client = Client::open(&two).await;
    let started = tokio::time::Instant::now();
    let add = soon("the answer", one.groups().add("nobody", "group")).await;
    assert!(matches!(add, Err(GroupError::NotFound)), "{add:?}");
    let remove = soon("the answer", one.groups().remove("nobody", "group")).await;
    assert!(matches!(remove, Err(GroupError::NotFound)), "{remove:?}");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

/// A connection that is in several of the groups gets the message once, wherever it is.
pub async fn several_groups_reach_a_connection_once(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut in_both = Client::open(&one).await;
    let mut in_both_there = Client::open(&two).await;
    let mut in_one = Client::open(&two).await;
    let mut in_none = Client::open(&two).await;
    for (client, groups) in
        [(&in_both, &["a", "b"][..]), (&in_both_there, &["b", "a", "c"]), (&in_one, &["c"])]
    {
        for group in groups {
            client.hub.groups().add(&client.id, group).await.unwrap();
        }
    }
    for _ in 0..20 {
        hello(one.clients().groups(["a", "b", "c", "a", "none"])).await;
    }
    for client in [&mut in_both, &mut in_both_there, &mut in_one] {
        for _ in 0..20 {
            expect_hello(client).await;
        }
    }
    for client in [&mut in_both, &mut in_both_there, &mut in_one, &mut in_none] {
        client.expect_nothing(&[&one]).await;
    }
}

/// Users and connections that are named twice are reached once; exclusions hold on every node.
pub async fn lists_of_names(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut here = Client::open_as(&one, Some("u1")).await;
    let mut there = Client::open_as(&two, Some("u2")).await;
    hello(one.clients().users(["u1", "u2", "u1", "", "nobody"])).await;
    hello(one.clients().connections([&*here.id, &there.id, &here.id, "", "nobody"])).await;
    for client in [&mut here, &mut there] {
        expect_hello(client).await;
        expect_hello(client).await;
        client.expect_nothing(&[&one]).await;
    }
    hello(one.clients().all_except([&there.id])).await;
    expect_hello(&mut here).await;
    there.expect_nothing(&[&one]).await;
    let strangers = (0..100).map(|n| n.to_string());
    let excluded: Vec<String> = strangers.chain([here.id.to_string()]).collect();
    hello(two.clients().all_except(&excluded)).await;
    expect_hello(&mut there).await;
    here.expect_nothing(&[&two]).await;
    for client in [&here, &there] {
        client.hub.groups().add(&client.id, "group").await.unwrap();
    }
    for hub in [&one, &two] {
        hello(hub.clients().group_except("group", [&there.id])).await;
        expect_hello(&mut here).await;
        there.expect_nothing(&[hub]).await;
    }
}

/// Whatever a name looks like, it is a name.
pub async fn hostile_names(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let long = "x".repeat(backplane_hub::LONGEST_NAME);
    let names = [
        "*", ">", "a.b", "a", "A", "[ab]", "a*", "a:b", "a b", "?", "\u{0}", "\r\n", "é",
        "e\u{301}", "{a}", "%2A", "$SYS", "_INBOX.x", &long,
    ];
    let mut members = Vec::new();
    for name in names {
        let user = Some(User::new(name));
        let client =
            Client::open_with(&one, ConnectionId::random(), user, Plain::new("plain")).await;
        soon("the answer", two.groups().add(&client.id, name)).await.unwrap();
        members.push(client);
    }
    for (index, name) in names.iter().enumerate() {
        two.clients().group(name).send("Group", &index).await.unwrap();
        two.clients().user(name).send("User", &index).await.unwrap();
    }
    for (index, client) in members.iter_mut().enumerate() {
        let mut told = [client.next().await.unwrap(), client.next().await.unwrap()];
        told.sort_by(|a, b| a.target.cmp(&b.target));
        assert!(told.iter().all(|told| told.arguments == [json!(index)]), "{told:?} at {index}");
        assert_eq!([&*told[0].target, &told[1].target], ["Group", "User"]);
        client.expect_nothing(&[&two]).await;
    }
}

/// Messages of one sender to one target keep their order.
pub async fn one_sender_is_heard_in_order(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open_as(&two, Some("u")).await;
    const COUNT: u64 = 2000;
    let sender = one.clone();
    let sending = tokio::spawn(async move {
        for number in 0..COUNT {
            let target = sender.clients().user("u");
            while target.try_send("n", &number).is_err() {
                tokio::task::yield_now().await;
            }
        }
    });
    for number in 0..COUNT {
        client.expect("n", json!([number])).await;
    }
    sending.await.unwrap();
}

/// Hubs of different names never hear each other, whatever they have in common.
pub async fn hubs_do_not_hear_each_other(fixture: &dyn HubFixture) {
    let ((one, _), (_, other)) = (two_hubs(fixture), two_hubs(fixture));
    let id = ConnectionId::random();
    let user = || Some(User::new("u"));
    let mut mine = Client::open_with(&one, id.clone(), user(), Plain::new("plain")).await;
    let mut theirs = Client::open_with(&other, id.clone(), user(), Plain::new("plain")).await;
    for (hub, client) in [(&one, &mine), (&other, &theirs)] {
        hub.groups().add(&client.id, "g").await.unwrap();
    }
    let clients = one.clients();
    let own = clients.connection(&id).into();
    for target in [clients.all(), clients.group("g"), clients.user("u"), own] {
        hello(target).await;
        expect_hello(&mut mine).await;
    }
    theirs.expect_nothing(&[&other]).await;
}
