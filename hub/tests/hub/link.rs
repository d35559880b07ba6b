//! While the link to the broker is down, and when it returns.

use std::time::Duration;

use backplane_core::{NodeOptions, Outage, Sequencing};
use backplane_hub::{ClaimError, ConnectionId, GroupError, Hub, Joined, SendError, Sent, User};
use serde_json::json;

use crate::{
    Memory,
    scenarios::{Client, Plain, soon, until},
};

/// What nobody else hears now, nobody hears later.
fn refusing(options: &mut NodeOptions) {
    options.outage = Outage::Refuse;
}

#[tokio::test]
async fn a_node_serves_its_own_connections_and_says_what_it_could_not_do() {
    let memory = Memory::with(refusing).await;
    let (one, two) = memory.hubs();
    let mut here = Client::open_as(&one, Some("u")).await;
    let mut there = Client::open_as(&two, Some("u")).await;
    one.groups().add(&here.id, "g").await.unwrap();
    two.groups().add(&there.id, "g").await.unwrap();
    memory.stop().await;

    let clients = one.clients();
    for target in [clients.all(), clients.group("g"), clients.user("u")] {
        let outcome = soon("an outcome", target.send("m", ())).await;
        assert!(matches!(outcome, Err(SendError::HereOnly(_))), "{outcome:?}");
        assert!(matches!(target.try_send("m", ()), Err(SendError::HereOnly(_))));
        here.expect("m", json!([])).await;
        here.expect("m", json!([])).await;
    }
    // One of this node's own needs no link, one of another node does.
    clients.connection(&here.id).send("m", ()).await.unwrap();
    here.expect("m", json!([])).await;
    let outcome = clients.connection(&there.id).send("m", ()).await;
    assert!(matches!(outcome, Err(SendError::HereOnly(_))), "{outcome:?}");

    memory.restart().await;
    clients.all().send("again", ()).await.unwrap();
    here.expect("again", json!([])).await;
    there.expect("again", json!([])).await;
    assert_eq!(one.stats().interruptions, 1);
}

#[tokio::test]
async fn what_is_sent_without_a_link_is_queued_for_the_others_and_says_so() {
    let memory = Memory::with(|options| options.sequencing = Sequencing::Repaired).await;
    let (one, two) = memory.hubs();
    let mut here = Client::open_as(&one, Some("u")).await;
    let mut there = Client::open_as(&two, Some("u")).await;
    one.groups().add(&here.id, "g").await.unwrap();
    two.groups().add(&there.id, "g").await.unwrap();
    let outcome = one.clients().all().send("m", &0).await;
    assert!(matches!(outcome, Ok(Sent::Everywhere)), "{outcome:?}");
    memory.stop().await;

    let clients = one.clients();
    for number in 1..=3 {
        let outcome = soon("an outcome", clients.group("g").send("m", &number)).await;
        assert!(matches!(outcome, Ok(Sent::Queued)), "{outcome:?}");
        clients.user("u").try_send("u", &number).unwrap();
    }
    // Several names: the weakest outcome. And one of this node's own needs no link.
    let both = clients.connections([&here.id, &there.id]).send("both", ()).await;
    assert!(matches!(both, Ok(Sent::Queued)), "{both:?}");
    let own = clients.connection(&here.id).send("own", ()).await;
    assert!(matches!(own, Ok(Sent::Everywhere)), "{own:?}");
    // This node's connections have it all by now.
    here.expect("m", json!([0])).await;
    for number in 1..=3 {
        here.expect("m", json!([number])).await;
        here.expect("u", json!([number])).await;
    }
    here.expect("both", json!([])).await;
    here.expect("own", json!([])).await;

    memory.restart().await;
    // Each target keeps its order; there is none between them.
    let mut heard = Vec::new();
    for _ in 0..8 {
        heard.push(there.next().await.unwrap());
    }
    for target in ["m", "u", "both"] {
        let arguments = heard.iter().filter(|told| told.target == target);
        let arguments: Vec<_> = arguments.map(|told| json!(told.arguments)).collect();
        let expected = match target {
            "m" => vec![json!([0]), json!([1]), json!([2]), json!([3])],
            "u" => vec![json!([1]), json!([2]), json!([3])],
            _ => vec![json!([])],
        };
        assert_eq!(arguments, expected, "{target}");
    }
    there.expect_nothing(&[&one]).await;
    here.expect_nothing(&[&two]).await;
}

#[tokio::test]
async fn what_nodes_ask_each_other_is_not_kept_for_later() {
    let memory = Memory::with(|options| options.sequencing = Sequencing::Repaired).await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&two).await;
    memory.stop().await;
    for _ in 0..10 {
        let outcome = soon("an outcome", one.groups().add(&client.id, "g")).await;
        assert!(matches!(outcome, Err(GroupError::Unavailable { .. })), "{outcome:?}");
    }
    assert_eq!(one.backplane().stats().buffered, 0);
    memory.restart().await;
    client.expect_nothing(&[&one]).await;
    assert_eq!((two.stats().answered, two.stats().groups), (0, 0));

    // Nor are they numbered or retained, so none of them is ever missed or repaired.
    let numbered = |hub: &Hub| {
        let stats = hub.backplane().stats();
        (stats.numbered_topics, stats.retained)
    };
    let before = [numbered(&one), numbered(&two)];
    for _ in 0..10 {
        soon("the join", one.groups().add(&client.id, "g")).await.unwrap();
        soon("leaving", one.groups().remove(&client.id, "g")).await.unwrap();
    }
    assert_eq!(two.stats().answered, 20);
    assert_eq!([numbered(&one), numbered(&two)], before);
}

#[tokio::test]
async fn a_join_without_a_link_is_effective_here_and_later_everywhere() {
    let memory = Memory::with(refusing).await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&one).await;
    memory.stop().await;
    let joined = soon("the join", one.groups().add(&client.id, "g")).await.unwrap();
    assert_eq!(joined, Joined::HereOnly);
    let outcome = one.clients().group("g").send("m", &1).await;
    assert!(matches!(outcome, Err(SendError::HereOnly(_))));
    client.expect("m", json!([1])).await;

    memory.restart().await;
    let joined = soon("the join", one.groups().add(&client.id, "g")).await.unwrap();
    assert_eq!(joined, Joined::Everywhere);
    two.clients().group("g").send("m", &2).await.unwrap();
    client.expect("m", json!([2])).await;
}

#[tokio::test]
async fn a_connection_opens_without_a_link_and_is_found_later() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    memory.stop().await;
    let mut client =
        Client::open_with(&one, ConnectionId::random(), Some(User::new("u")), Plain::new("plain"))
            .await;
    memory.restart().await;
    two.clients().user("u").send("m", &1).await.unwrap();
    two.clients().connection(&client.id).send("m", &2).await.unwrap();
    let mut told = [client.next().await.unwrap(), client.next().await.unwrap()];
    told.sort_by_key(|told| told.arguments[0].as_u64());
    assert_eq!(told.map(|told| told.arguments), [[json!(1)], [json!(2)]]);
}

#[tokio::test]
async fn a_question_without_a_link_is_unavailable_at_once() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let client = Client::open(&two).await;
    memory.stop().await;
    let asked = tokio::time::Instant::now();
    let outcome = one.groups().add(&client.id, "g").await;
    assert!(matches!(outcome, Err(GroupError::Unavailable { .. })), "{outcome:?}");
    let outcome = one.groups().remove(&client.id, "g").await;
    assert!(matches!(outcome, Err(GroupError::Unavailable { .. })), "{outcome:?}");
    let outcome = one.claim(&client.id, two.node()).await;
    assert!(matches!(outcome, Err(ClaimError::Unavailable { .. })), "{outcome:?}");
    assert!(asked.elapsed() < Duration::from_millis(900), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_question_whose_link_fails_meanwhile_is_unavailable_and_not_unknown() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let _client = Client::open(&two).await;
    for comes_back in [true, false] {
        let before = one.backplane().stats().sent;
        let asking = {
            let one = one.clone();
            tokio::spawn(async move { one.groups().add("nobody", "g").await })
        };
        until("the question", || one.backplane().stats().sent > before).await;
        memory.stop().await;
        if comes_back {
            // Before the question would be repeated: it alone knows that an answer may be lost.
            memory.restart().await;
        }
        let outcome = soon("the outcome", asking).await.unwrap();
        assert!(matches!(outcome, Err(GroupError::Unavailable { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_connection_that_opens_while_the_link_fails_does_not_hang() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    for _ in 0..20 {
        let opening = tokio::spawn({
            let one = one.clone();
            async move { drop(Client::open_as(&one, Some("u")).await) }
        });
        tokio::task::yield_now().await;
        memory.medium.stop();
        soon("opening", opening).await.unwrap();
        memory.restart().await;
    }
    assert_eq!(one.stats().connections, 0);
    assert_eq!(one.stats().users, 0);
}
