//! Joining and leaving: consistent whatever happens at once, and cheap for the broker.

use std::sync::Arc;

use backplane_core::{Backplane, Topic};
use backplane_hub::{GroupError, Hub, Joined, LONGEST_NAME};
use backplane_tests::kit::Random;
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    Memory, one_hub,
    scenarios::{Client, soon, until},
    seed,
};

/// A hub's own: all, and its node.
const OWN: u64 = 2;

/// How many topics a node has at its broker.
fn topics(hub: &Hub) -> u64 {
    let stats = hub.backplane().stats();
    stats.topics_subscribed - stats.topics_unsubscribed
}

#[tokio::test]
async fn names_that_no_group_has() {
    let hub = one_hub(|hub| hub).await;
    let client = Client::open(&hub).await;
    let long = "x".repeat(LONGEST_NAME + 1);
    let outcome = hub.groups().add(&client.id, &long).await;
    assert!(matches!(outcome, Err(GroupError::NameTooLong)), "{outcome:?}");
    let outcome = hub.groups().remove("nobody", &long).await;
    assert!(matches!(outcome, Err(GroupError::NameTooLong)), "{outcome:?}");
    for nobody in ["", &long] {
        let outcome = hub.groups().add(nobody, "g").await;
        assert!(matches!(outcome, Err(GroupError::NotFound)), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_last_to_leave_takes_the_subscription_along() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = Client::open_as(&one, Some("u")).await;
        for group in ["a", "b"] {
            one.groups().add(&client.id, group).await.unwrap();
        }
        clients.push(client);
    }
    // Their own, their user's, and two groups'.
    assert_eq!(topics(&one), OWN + 3 + 1 + 2);
    assert_eq!((one.stats().groups, one.stats().users, one.stats().connections), (2, 1, 3));
    for client in &clients {
        soon("leaving", two.groups().remove(&client.id, "a")).await.unwrap();
    }
    until("the end of a", || topics(&one) == OWN + 3 + 1 + 1).await;
    for client in &mut clients {
        client.leave().await;
    }
    until("the end of all", || topics(&one) == OWN).await;
    assert_eq!((one.stats().groups, one.stats().users, one.stats().connections), (0, 0, 0));
}

/// Joins and leaves of one connection and few groups, from both nodes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_flips_end_consistently() {
    const GROUPS: [&str; 4] = ["a", "b", "c", "d"];
    let seed = seed("flips");
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&one).await;
    let flippers = (0..16).map(|number| {
        let mut random = Random::new(seed ^ number);
        let hub = if number % 2 == 0 { one.clone() } else { two.clone() };
        let id = client.id.clone();
        tokio::spawn(async move {
            for _ in 0..10_000 / 16 {
                let group = GROUPS[random.below(GROUPS.len())];
                if random.below(2) == 0 {
                    assert_eq!(hub.groups().add(&id, group).await.unwrap(), Joined::Everywhere);
                } else {
                    hub.groups().remove(&id, group).await.unwrap();
                }
            }
        })
    });
    for flipper in join_all(flippers).await {
        flipper.unwrap();
    }
    let stats = one.stats();
    assert!(stats.answered >= 5_000, "{stats:?}");

    // Here and elsewhere agree on who is in.
    let mut members = 0;
    for group in GROUPS {
        let mut heard = Vec::new();
        for (number, hub) in [&one, &two].into_iter().enumerate() {
            hub.clients().group(group).send("m", &number).await.unwrap();
            hub.clients().connection(&client.id).send("end", ()).await.unwrap();
            while let Some(told) = client.next().await.filter(|told| told.target != "end") {
                heard.push(told.arguments[0].clone());
            }
        }
        assert!(heard.is_empty() || heard == [0, 1], "{group}: {heard:?}");
        members += heard.len() / 2;
    }
    assert_eq!(one.stats().groups, members);
    until("settled topics", || topics(&one) == OWN + 1 + members as u64).await;

    // And the last word counts.
    for (group, hub) in GROUPS.into_iter().zip([&one, &two].into_iter().cycle()) {
        soon("joining", hub.groups().add(&client.id, group)).await.unwrap();
        two.clients().group(group).send("in", ()).await.unwrap();
        client.expect("in", json!([])).await;
        soon("leaving", hub.groups().remove(&client.id, group)).await.unwrap();
        two.clients().group(group).send("out", ()).await.unwrap();
        client.expect_nothing(&[&two]).await;
    }
    client.leave().await;
    until("settled topics", || topics(&one) == OWN).await;
}

/// Joins that race with the end of their connection leave nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_ghosts_of_connections_that_end_while_they_join() {
    const GROUPS: [&str; 4] = ["a", "b", "c", "d"];
    let seed = seed("ghosts");
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let rounds = (0..500).map(|number| {
        let mut random = Random::new(seed ^ number);
        let (one, two) = (one.clone(), two.clone());
        tokio::spawn(async move {
            let mut client = Client::open_as(&one, Some("u")).await;
            let joins: Vec<_> = (0..20)
                .map(|_| {
                    let hub = if random.below(10) == 0 { two.clone() } else { one.clone() };
                    let (id, group) = (client.id.clone(), GROUPS[random.below(GROUPS.len())]);
                    let joins = random.below(4) == 0;
                    tokio::spawn(async move {
                        // Any outcome will do.
                        if joins {
                            drop(hub.groups().remove(&id, group).await);
                        } else {
                            drop(hub.groups().add(&id, group).await);
                        }
                    })
                })
                .collect();
            for _ in 0..random.below(4) {
                tokio::task::yield_now().await;
            }
            if random.below(2) == 0 {
                client.leave().await;
            } else {
                drop(client);
            }
            for join in joins {
                join.await.unwrap();
            }
        })
    });
    for round in join_all(rounds).await {
        round.unwrap();
    }
    let stats = one.stats();
    assert_eq!((stats.connections, stats.groups, stats.users), (0, 0, 0), "{stats:?}");
    until("settled topics", || topics(&one) == OWN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_storm_costs_few_round_trips() {
    const MEMBERS: usize = 10_000;
    let hub = one_hub(|hub| hub).await;
    let round_trips = || hub.backplane().stats().interest_round_trips;
    let start = round_trips();
    let opening = (0..MEMBERS).map(|_| {
        let hub = hub.clone();
        tokio::spawn(async move { Client::open(&hub).await })
    });
    let clients: Vec<Client> =
        join_all(opening).await.into_iter().map(|client| client.unwrap()).collect();
    let opened = round_trips();
    let joins = clients.iter().enumerate().map(|(number, client)| {
        let (hub, id) = (hub.clone(), client.id.clone());
        tokio::spawn(async move { hub.groups().add(&id, &format!("group {number}")).await })
    });
    for join in soon("all joins", join_all(joins)).await {
        assert_eq!(join.unwrap().unwrap(), Joined::Everywhere);
    }
    let joined = round_trips();
    assert_eq!(hub.stats().groups, MEMBERS);
    println!(
        "{MEMBERS} opened in {} round trips, {MEMBERS} joins in {}",
        opened - start,
        joined - opened
    );
    // A round trip takes no time here, so that few can gather for the next one: any broker sees less.
    assert!(joined - opened < MEMBERS as u64 / 20);
    assert!(opened - start < MEMBERS as u64 / 20);
    drop(clients);
    until("settled topics", || topics(&hub) == OWN).await;
    println!("all left in {} round trips", round_trips() - joined);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_joins_from_the_other_node() {
    const MEMBERS: usize = 5_000;
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let client = Client::open(&one).await;
    let joins = (0..MEMBERS).map(|number| {
        let (two, id) = (two.clone(), client.id.clone());
        tokio::spawn(async move { two.groups().add(&id, &format!("group {number}")).await })
    });
    for join in soon("all joins", join_all(joins)).await {
        assert_eq!(join.unwrap().unwrap(), Joined::Everywhere);
    }
    let stats = one.stats();
    assert_eq!(stats.groups, MEMBERS);
    println!("{MEMBERS} joins from elsewhere: {stats:?}");
}

#[tokio::test]
async fn a_group_costs_work_only_where_it_has_members() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let client = Client::open(&one).await;
    one.groups().add(&client.id, "g").await.unwrap();
    let third: Arc<dyn Backplane> = Arc::new(memory.medium.node());
    third.link().wait_for(|link| link.is_up()).await.unwrap();
    let before = two.backplane().stats().received;
    for _ in 0..10 {
        let envelope = backplane_core::Envelope::new(Topic::group(one.name(), "g"), "x");
        third.publish(envelope).await.unwrap();
    }
    assert_eq!(two.backplane().stats().received, before);
    assert_eq!(one.stats().unknown, 10);
}
