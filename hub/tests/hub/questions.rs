//! What nodes ask each other, seen from a node that speaks their language by hand: late, repeated,
//! withdrawn.

use std::{sync::Arc, time::Duration};

use backplane_core::{
    Backplane, Envelope, Event, Events, Next, NodeId, NodeOptions, SubscriberOutage, Topic, stream,
};
use backplane_hub::{ClaimError, ConnectionId, GroupError, Hub, Joined};
use bytes::{BufMut, Bytes};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;

use crate::{
    Memory,
    layer::Layer,
    scenarios::{Client, soon, until},
};

const JOIN: u8 = 2;
const LEAVE: u8 = 3;
pub(crate) const CANCEL: u8 = 5;
pub(crate) const ACCEPTED: u8 = 6;
pub(crate) const RESULT: u8 = 7;

const DONE: u8 = 0;

/// A third node, without a hub.
pub(crate) struct Stranger {
    pub(crate) node: Arc<dyn Backplane>,
    hub: String,
    letters: Events,
}

impl Stranger {
    /// One that has this connection, or none.
    pub(crate) async fn with(memory: &Memory, hub: &Hub, connection: Option<&str>) -> Self {
        let node: Arc<dyn Backplane> = Arc::new(memory.medium.node());
        node.link().wait_for(backplane_hub::Link::is_up).await.unwrap();
        let mut topics = vec![Topic::node(hub.name(), node.node())];
        topics.extend(connection.map(|id| Topic::connection(hub.name(), id)));
        let letters = stream(&*node, &topics, 1024).unwrap();
        letters.subscription().confirmed().await.unwrap();
        Self { node, hub: hub.name().to_owned(), letters }
    }

    /// The next letter: its kind, its number, the rest, and who wrote it.
    pub(crate) async fn next(&mut self) -> (u8, u64, Bytes, NodeId) {
        loop {
            let next = soon("a letter", self.letters.next()).await;
            if let Some(Next::Event(Event::Message(envelope))) = next {
                let number = u64::from_le_bytes(envelope.body[1..9].try_into().unwrap());
                return (
                    envelope.body[0],
                    number,
                    envelope.body.slice(9..),
                    envelope.origin.unwrap(),
                );
            }
        }
    }

    pub(crate) async fn write(&self, topic: Topic, kind: u8, number: u64, rest: &[u8]) {
        let mut body = vec![kind];
        body.put_u64_le(number);
        body.put_slice(rest);
        self.node.publish(Envelope::new(topic, body)).await.unwrap();
    }

    pub(crate) async fn write_to_node(&self, node: NodeId, kind: u8, number: u64, rest: &[u8]) {
        self.write(Topic::node(&self.hub, node), kind, number, rest).await;
    }

    async fn write_to_connection(&self, id: &str, kind: u8, number: u64, group: &str) {
        let mut rest = (group.len() as u16).to_le_bytes().to_vec();
        rest.extend(group.as_bytes());
        // What a later version appends is skipped.
        rest.extend(b"more");
        self.write(Topic::connection(&self.hub, id), kind, number, &rest).await;
    }

    async fn join(&mut self, id: &str, number: u64, group: &str) {
        self.write_to_connection(id, JOIN, number, group).await;
        while self.next().await.0 != RESULT {}
    }
}

fn add(hub: &Hub, id: &str) -> tokio::task::JoinHandle<Result<Joined, GroupError>> {
    let (hub, id) = (hub.clone(), id.to_owned());
    tokio::spawn(async move { hub.groups().add(&id, "g").await })
}

const RESULT_DONE: &[u8] = &[DONE, 0, 0];

#[tokio::test(start_paused = true)]
async fn a_question_is_repeated_until_it_is_accepted() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    let mut stranger = Stranger::with(&memory, &one, Some("ghost")).await;
    let asking = add(&one, "ghost");
    let mut numbers = Vec::new();
    for _ in 0..4 {
        let (kind, number, rest, asker) = stranger.next().await;
        assert_eq!((kind, &rest[..], asker), (JOIN, &b"\x01\0g"[..], one.node()));
        numbers.push(number);
    }
    numbers.dedup();
    assert_eq!(numbers.len(), 1, "a repetition is recognised by its number");
    // In time, though barely: the work may take longer then.
    stranger.write_to_node(one.node(), ACCEPTED, numbers[0], &[]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!asking.is_finished());
    stranger.write_to_node(one.node(), RESULT, numbers[0], RESULT_DONE).await;
    assert_eq!(asking.await.unwrap().unwrap(), Joined::Everywhere);
}

#[tokio::test(start_paused = true)]
async fn silence_is_not_found_and_a_late_answer_is_withdrawn() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    let mut stranger = Stranger::with(&memory, &one, Some("ghost")).await;
    let started = tokio::time::Instant::now();
    let outcome = add(&one, "ghost").await.unwrap();
    assert!(matches!(outcome, Err(GroupError::NotFound)), "{outcome:?}");
    // One second, and until the next probe has proven that an answer would have been heard.
    let waited = started.elapsed().as_millis();
    assert!((1000..1600).contains(&waited), "{waited} ms");
    let (_, number, ..) = stranger.next().await;
    for answer in [ACCEPTED, RESULT] {
        stranger.write_to_node(one.node(), answer, number, RESULT_DONE).await;
        let (mut kind, mut withdrawn, ..) = stranger.next().await;
        while kind == JOIN {
            (kind, withdrawn, ..) = stranger.next().await;
        }
        assert_eq!((kind, withdrawn), (CANCEL, number));
    }
    // Answers to questions that were never asked are nobody's.
    stranger.write_to_node(one.node(), RESULT, number + 1000, RESULT_DONE).await;
}

#[tokio::test(start_paused = true)]
async fn work_without_an_outcome_is_given_up() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    let mut stranger = Stranger::with(&memory, &one, Some("ghost")).await;
    let asking = add(&one, "ghost");
    let (_, number, ..) = stranger.next().await;
    let started = tokio::time::Instant::now();
    stranger.write_to_node(one.node(), ACCEPTED, number, &[]).await;
    let outcome = asking.await.unwrap();
    assert!(matches!(outcome, Err(GroupError::Unavailable { .. })), "{outcome:?}");
    assert_eq!(started.elapsed().as_secs(), 10);
    // It asked again in between, in case the outcome was lost on its way.
    let mut asked_again = 0;
    while let Some(Some(_)) = stranger.letters.next().now_or_never() {
        asked_again += 1;
    }
    assert_eq!(asked_again, 10);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_did_not_run_does_not_take_silence_for_an_answer() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    let mut stranger = Stranger::with(&memory, &one, Some("ghost")).await;
    let asking = add(&one, "ghost");
    for _ in 0..4 {
        stranger.next().await;
    }
    // The last of its four tries is out, and now the process stands still for a while.
    tokio::time::advance(Duration::from_millis(900)).await;
    let (kind, number, ..) = stranger.next().await;
    assert_eq!(kind, JOIN, "it asks again");
    stranger.write_to_node(one.node(), RESULT, number, RESULT_DONE).await;
    assert_eq!(asking.await.unwrap().unwrap(), Joined::Everywhere);
}

#[tokio::test]
async fn a_question_is_answered_and_its_repetition_is_recognised() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&one).await;
    let mut stranger = Stranger::with(&memory, &one, None).await;
    let mut ask = async |kind, number| {
        stranger.write_to_connection(&client.id, kind, number, "g").await;
        loop {
            let (kind, answered, rest, _) = stranger.next().await;
            assert_eq!(answered, number);
            if kind == RESULT {
                return rest[0];
            }
            assert_eq!(kind, ACCEPTED);
        }
    };
    assert_eq!(ask(JOIN, 1).await, DONE);
    assert_eq!(one.stats().groups, 1);
    assert_eq!(ask(LEAVE, 2).await, DONE);
    assert_eq!(one.stats().groups, 0);
    // A straggler of the first question must not undo the second.
    assert_eq!(ask(JOIN, 1).await, DONE);
    assert_eq!((one.stats().groups, one.stats().answered), (0, 2));
    two.clients().group("g").send("m", ()).await.unwrap();
    client.expect_nothing(&[&two]).await;
}

#[tokio::test]
async fn what_is_withdrawn_is_undone_unless_somebody_else_asked_for_it_too() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&one).await;
    let mut stranger = Stranger::with(&memory, &one, None).await;
    stranger.join(&client.id, 1, "mine").await;
    stranger.join(&client.id, 2, "ours").await;
    one.groups().add(&client.id, "theirs").await.unwrap();
    stranger.join(&client.id, 3, "theirs").await;
    two.groups().add(&client.id, "ours").await.unwrap();
    for number in 1..=4 {
        stranger.write_to_node(one.node(), CANCEL, number, &[]).await;
    }
    until("the end of a membership", || one.stats().groups == 2).await;
    // Behind the cancellations, on their way.
    stranger.join(&client.id, 5, "fence").await;
    assert_eq!(one.stats().groups, 3);
    two.clients().groups(["mine"]).send("m", &1).await.unwrap();
    for group in ["ours", "theirs"] {
        two.clients().group(group).send(group, ()).await.unwrap();
    }
    let mut told = [client.next().await.unwrap().target, client.next().await.unwrap().target];
    told.sort();
    assert_eq!(told, ["ours", "theirs"]);
    client.expect_nothing(&[&two]).await;
    two.clients().group("fence").send("m", &2).await.unwrap();
    client.expect("m", json!([2])).await;
}

#[tokio::test]
async fn a_claim_that_is_withdrawn_can_be_granted_again() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let id = backplane_hub::ConnectionId::random();
    one.announce(&id, Duration::from_secs(60));
    let mut stranger = Stranger::with(&memory, &one, None).await;
    let mut rest = 22u16.to_le_bytes().to_vec();
    rest.extend(id.as_bytes());
    for _ in 0..2 {
        stranger.write_to_node(one.node(), 4, 1, &rest).await;
        let (kind, _, rest, _) = stranger.next().await;
        assert_eq!((kind, rest[0]), (RESULT, DONE));
    }
    assert!(two.claim(&id, one.node()).await.is_err());
    stranger.write_to_node(one.node(), CANCEL, 1, &[]).await;
    let _owned = soon("a grant", two.claim(&id, one.node())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn silence_proves_nothing_where_messages_were_lost_meanwhile() {
    let layer = Layer::start(SubscriberOutage::LostAndReported).await;
    let hub = Hub::builder("h").backplane(layer.backplane()).build().unwrap();
    let asking = add(&hub, "ghost");
    until("the question", || hub.stats().requests == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The link stays up: the client library has dropped something, and says so.
    layer.tell_all(&Event::Interrupted { since: std::time::Instant::now() });
    layer.tell_all(&Event::Restored);
    let outcome = asking.await.unwrap();
    assert!(matches!(outcome, Err(GroupError::Unavailable { .. })), "{outcome:?}");
    let outcome = add(&hub, "ghost").await.unwrap();
    assert!(matches!(outcome, Err(GroupError::NotFound)), "{outcome:?}");
}

/// A stranger that `one` knows as a member, and that is soon missed.
pub(crate) async fn known_stranger(
    memory: &Memory,
    one: &Hub,
    connection: Option<&str>,
) -> Stranger {
    let stranger = Stranger::with(memory, one, connection).await;
    let node = stranger.node.node();
    let mut members = one.backplane().members();
    soon("the stranger", members.wait_for(|members| members.contains(node))).await.unwrap();
    stranger
}

pub(crate) fn short_lives(options: &mut NodeOptions) {
    options.dead_after = Duration::from_millis(2500);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_in_work_fails_as_soon_as_its_node_is_gone() {
    let memory = Memory::with(short_lives).await;
    let (one, _two) = memory.hubs();
    for (clean, longest) in [(true, 100), (false, 3600)] {
        let mut stranger = known_stranger(&memory, &one, Some("ghost")).await;
        let asking = add(&one, "ghost");
        let (_, number, ..) = stranger.next().await;
        stranger.write_to_node(one.node(), ACCEPTED, number, &[]).await;
        // Accepted: it would wait for ten seconds by now.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!asking.is_finished());
        let gone = tokio::time::Instant::now();
        if clean {
            stranger.node.close(Duration::from_secs(1)).await.unwrap();
        }
        drop(stranger);
        let outcome = soon("the outcome", asking).await.unwrap();
        assert!(matches!(outcome, Err(GroupError::NodeGone)), "{outcome:?}");
        let waited = gone.elapsed().as_millis();
        assert!(waited <= longest, "{waited} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_is_not_waited_for_even_if_it_never_said_a_word() {
    let memory = Memory::with(short_lives).await;
    let (one, _two) = memory.hubs();
    let mut stranger = known_stranger(&memory, &one, None).await;
    let registrar = stranger.node.node();
    let asking = tokio::spawn({
        let one = one.clone();
        async move { one.claim(&ConnectionId::random(), registrar).await }
    });
    stranger.next().await;
    let gone = tokio::time::Instant::now();
    stranger.node.close(Duration::from_secs(1)).await.unwrap();
    let outcome = soon("the outcome", asking).await.unwrap();
    assert!(matches!(outcome, Err(ClaimError::Unknown)), "{outcome:?}");
    assert!(gone.elapsed() < Duration::from_millis(100), "{:?}", gone.elapsed());
}

#[tokio::test(start_paused = true)]
async fn others_that_go_disturb_nobody() {
    let memory = Memory::with(short_lives).await;
    let (one, _two) = memory.hubs();
    let mut owner = known_stranger(&memory, &one, Some("ghost")).await;
    let other = known_stranger(&memory, &one, None).await;
    let asking = add(&one, "ghost");
    let (_, number, ..) = owner.next().await;
    owner.write_to_node(one.node(), ACCEPTED, number, &[]).await;
    other.node.close(Duration::from_secs(1)).await.unwrap();
    let mut members = one.backplane().members();
    let gone = other.node.node();
    soon("its absence", members.wait_for(|members| !members.contains(gone))).await.unwrap();
    owner.write_to_node(one.node(), RESULT, number, RESULT_DONE).await;
    assert_eq!(asking.await.unwrap().unwrap(), Joined::Everywhere);
}
