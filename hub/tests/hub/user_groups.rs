//! All groups of a connection, and all connections of a user, on whichever nodes they are.

use std::{collections::BTreeSet, sync::Arc};

use backplane_core::Backplane;
use backplane_hub::{GroupError, Hub, Joined, LONGEST_NAME};
use serde_json::json;

use crate::{
    Memory,
    scenarios::{Client, Plain, soon},
};

async fn groups_of(hub: &Hub, client: &Client) -> BTreeSet<String> {
    let groups = soon("its groups", hub.groups().of(&client.id)).await.unwrap();
    groups.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_groups_of_a_connection_are_named_on_every_node() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let client = Client::open(&one).await;
    assert!(groups_of(&two, &client).await.is_empty());
    let mut expected = BTreeSet::new();
    // More than one answer holds, and names that are the longest, or are like others' beginnings.
    for number in 0..150 {
        let long = format!("{number:03}").repeat(LONGEST_NAME / 3);
        for name in [format!("{number:03}"), long, format!("*.>{number}:ü")] {
            one.groups().add(&client.id, &name).await.unwrap();
            expected.insert(name);
        }
    }
    for hub in [&one, &two] {
        assert_eq!(groups_of(hub, &client).await, expected);
    }
    let outcome = soon("an outcome", two.groups().of("nobody")).await;
    assert!(matches!(outcome, Err(GroupError::NotFound)), "{outcome:?}");
}

#[tokio::test]
async fn a_connection_leaves_all_its_groups_at_once() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&one).await;
    let stays = Client::open(&one).await;
    for hub in [&two, &one] {
        for group in ["a", "b", "c"] {
            one.groups().add(&client.id, group).await.unwrap();
        }
        one.groups().add(&stays.id, "a").await.unwrap();
        soon("leaving", hub.groups().leave_all(&client.id)).await.unwrap();
        assert!(groups_of(&two, &client).await.is_empty());
        assert_eq!(groups_of(&two, &stays).await, ["a".to_owned()].into());
        assert_eq!(one.stats().groups, 1);
        for group in ["a", "b", "c"] {
            two.clients().group(group).send("m", ()).await.unwrap();
        }
        client.expect_nothing(&[&one, &two]).await;
    }
    let outcome = soon("an outcome", two.groups().leave_all("nobody")).await;
    assert!(matches!(outcome, Err(GroupError::NotFound)), "{outcome:?}");
}

#[tokio::test]
async fn a_users_connections_join_and_leave_on_all_nodes() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    for hub in [&one, &two] {
        let others = |members: &backplane_hub::Members| members.nodes.len() == 1;
        let mut members = hub.backplane().members();
        soon("the other node", async { drop(members.wait_for(others).await.unwrap()) }).await;
    }
    let mut his = vec![
        Client::open_as(&one, Some("u")).await,
        Client::open_as(&one, Some("u")).await,
        Client::open_as(&two, Some("u")).await,
    ];
    let mut other = Client::open_as(&two, Some("v")).await;
    for round in 0..20 {
        let (asks, sends) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let group = format!("g{round}");
        let joined = soon("the join", asks.groups().add_user("u", &group)).await.unwrap();
        assert_eq!(joined, Joined::Everywhere);
        sends.clients().group(&group).send("in", &round).await.unwrap();
        for client in &mut his {
            client.expect("in", json!([round])).await;
        }
        soon("leaving", sends.groups().remove_user("u", &group)).await.unwrap();
        asks.clients().group(&group).send("out", ()).await.unwrap();
        for client in &mut his {
            client.expect_nothing(&[&one, &two]).await;
        }
    }
    other.expect_nothing(&[&one, &two]).await;

    // Who comes later is no member, and doing it twice is as doing it once.
    for hub in [&one, &two] {
        soon("the join", hub.groups().add_user("u", "g")).await.unwrap();
    }
    let mut late = Client::open_as(&two, Some("u")).await;
    two.clients().group("g").send("m", ()).await.unwrap();
    for client in &mut his {
        client.expect("m", json!([])).await;
        client.expect_nothing(&[&one, &two]).await;
    }
    late.expect_nothing(&[&one, &two]).await;
    // Nobody there, and names that nobody has.
    assert_eq!(one.groups().add_user("nobody", "g").await.unwrap(), Joined::Everywhere);
    assert_eq!(one.groups().add_user("", "g").await.unwrap(), Joined::Everywhere);
    let long = "x".repeat(LONGEST_NAME + 1);
    for (user, group) in [("u", &*long), (&*long, "g")] {
        let outcome = one.groups().add_user(user, group).await;
        assert!(matches!(outcome, Err(GroupError::NameTooLong)), "{outcome:?}");
        let outcome = one.groups().remove_user(user, group).await;
        assert!(matches!(outcome, Err(GroupError::NameTooLong)), "{outcome:?}");
    }
}

#[tokio::test]
async fn nodes_that_cannot_be_asked_are_named() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let others = |members: &backplane_hub::Members| members.nodes.len() == 1;
    let mut members = one.backplane().members();
    soon("the other node", async { drop(members.wait_for(others).await.unwrap()) }).await;
    let mut client = Client::open_as(&one, Some("u")).await;
    memory.stop().await;
    let outcome = soon("an outcome", one.groups().add_user("u", "g")).await;
    let Err(GroupError::Partly { nodes, reason }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(nodes, [two.node()]);
    assert!(reason.contains("link"), "{reason}");
    // Here it was done all the same.
    drop(one.clients().group("g").send("m", ()).await);
    client.expect("m", json!([])).await;
    let outcome = soon("an outcome", one.groups().remove_user("u", "g")).await;
    assert!(matches!(outcome, Err(GroupError::Partly { .. })), "{outcome:?}");
    assert_eq!(one.stats().groups, 0);
}

/// One that lives and has no hub of this name.
#[tokio::test(start_paused = true)]
async fn a_node_without_the_hub_has_no_connections() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let third: Arc<dyn Backplane> = Arc::new(memory.medium.node());
    let strange = Hub::builder("another").backplane(third).build().unwrap();
    strange.speak(Plain::new("plain"));
    let mut members = one.backplane().members();
    let all = |members: &backplane_hub::Members| members.nodes.len() == 2;
    soon("the other nodes", async { drop(members.wait_for(all).await.unwrap()) }).await;
    let mut client = Client::open_as(&two, Some("u")).await;
    assert_eq!(one.groups().add_user("u", "g").await.unwrap(), Joined::Everywhere);
    one.clients().group("g").send("m", ()).await.unwrap();
    client.expect("m", json!([])).await;
    assert_eq!(strange.stats().answered, 0);
}
