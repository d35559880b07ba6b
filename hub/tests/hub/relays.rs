//! Requests that have landed on the wrong node: found, in order, once, and their answers kept until they
//! are written.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backplane_core::Topic;
use backplane_hub::{
    Backplane, ClaimError, ConnectionId, Hub, NodeId, Relay, RelayAnswer, RelayError, RelayRequest,
};
use bytes::{BufMut, Bytes};
use futures_util::future::{BoxFuture, join_all};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    Memory, over_bad_links,
    questions::{CANCEL, RESULT, Stranger, short_lives},
    scenarios::{Client, Plain, soon, until},
    seed,
};

const RELAY: u8 = 9;
const MINUTE: Duration = Duration::from_secs(60);

/// A front end that has some connections, and answers as a request says.
#[derive(Debug)]
struct Front {
    connections: Mutex<Vec<ConnectionId>>,
    /// What has come, in its order.
    served: Mutex<Vec<Bytes>>,
    /// What became of the answers.
    settled: mpsc::Sender<bool>,
}

/// What a front end tells: `true` for an answer that was written.
type Settled = mpsc::Receiver<bool>;

impl Front {
    fn on(hub: &Hub) -> (Arc<Self>, Settled) {
        let (settled, told) = mpsc::channel(1000);
        let front = Self { connections: Mutex::default(), served: Mutex::default(), settled };
        let front = Arc::new(front);
        hub.on_relay(Arc::clone(&front) as _);
        (front, told)
    }

    fn has(&self, id: &ConnectionId) {
        self.connections.lock().unwrap().push(id.clone());
    }

    /// A connection that it has.
    fn one(&self) -> ConnectionId {
        let id = ConnectionId::random();
        self.has(&id);
        id
    }

    fn served(&self) -> Vec<Bytes> {
        self.served.lock().unwrap().clone()
    }
}

impl Relay for Front {
    fn relay(&self, request: RelayRequest) -> Option<BoxFuture<'static, RelayAnswer>> {
        let known = self.connections.lock().unwrap().iter().any(|id| **id == *request.connection);
        if !known {
            return None;
        }
        self.served.lock().unwrap().push(request.body.clone());
        let settled = self.settled.clone();
        Some(Box::pin(async move {
            let mut answer = request.body.to_vec();
            match &answer[..] {
                b"panic" => panic!("as asked for"),
                // As a long poll that nothing comes for.
                b"poll" => tokio::time::sleep(MINUTE + MINUTE / 2).await,
                b"for ever" => {
                    let _dropped = Told(settled);
                    return std::future::pending().await;
                }
                b"large" => answer = vec![0; 17 << 20],
                _ => {}
            }
            answer.extend(b"!");
            RelayAnswer::new(answer).when_settled(move |written| tell(&settled, written))
        }))
    }
}

/// Tells that it was dropped.
struct Told(mpsc::Sender<bool>);

impl Drop for Told {
    fn drop(&mut self) {
        tell(&self.0, false);
    }
}

/// A test that is over does not listen any more, and some do not count what they hear.
fn tell(settled: &mpsc::Sender<bool>, written: bool) {
    let _ = settled.try_send(written);
}

async fn relay(hub: &Hub, id: &ConnectionId, via: NodeId, body: &str) -> Result<Bytes, RelayError> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let answer = soon("an answer", hub.relay(id, via, body)).await?;
    let bytes = answer.body().clone();
    soon("the note", answer.written()).await?;
    Ok(bytes)
}

/// A request that waits for ever at the node that serves it.
async fn waits(
    hub: &Hub,
    id: &ConnectionId,
    via: NodeId,
    front: &Front,
) -> JoinHandle<Result<(), RelayError>> {
    let (hub, id) = (hub.clone(), id.clone());
    let waiting = tokio::spawn(async move {
        hub.relay(&id, via, Bytes::from_static(b"for ever")).await.map(drop)
    });
    until("it is served", || front.served().len() == 1).await;
    waiting
}

#[tokio::test]
async fn a_request_finds_the_node_that_has_the_connection() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let third = Hub::builder(one.name()).backplane(Arc::new(memory.medium.node())).build().unwrap();
    let mut members = third.backplane().members();
    soon("the nodes", members.wait_for(|members| members.nodes.len() == 2)).await.unwrap();
    let (front, mut settled) = Front::on(&one);
    let (_other, _) = Front::on(&two);
    // Negotiated on the second node, claimed by the first, and not open yet.
    let id = ConnectionId::random();
    two.announce(&id, MINUTE);
    assert_eq!(relay(&third, &id, two.node(), "early").await, Err(RelayError::NotFound));
    let owned = soon("a claim", one.claim(&id, two.node())).await.unwrap();
    front.has(&id);
    for (from, via) in [(&third, one.node()), (&third, two.node()), (&two, two.node())] {
        assert_eq!(relay(from, &id, via, "hello").await.unwrap(), "hello!");
        assert_eq!(settled.recv().await, Some(true));
    }
    // Open, it is found without anybody's help.
    let client = Client::open_with(&one, id.clone(), None, Plain::new("plain")).await;
    for via in [NodeId::random(), third.node()] {
        assert_eq!(relay(&third, &id, via, "open").await.unwrap(), "open!");
    }
    // Who claims it hears who has it, and later that it has ended.
    for hub in [&two, &third] {
        match soon("a claim", hub.claim(&id, two.node())).await {
            Err(ClaimError::AlreadyClaimed { owner }) => assert_eq!(owner, Some(one.node())),
            other => panic!("{other:?}"),
        }
    }
    drop((owned, client));
    front.connections.lock().unwrap().clear();
    soon("the end", async {
        while !matches!(third.claim(&id, two.node()).await, Err(ClaimError::Ended)) {}
    })
    .await;
    for hub in [&two, &third] {
        assert_eq!(relay(hub, &id, two.node(), "late").await, Err(RelayError::Ended));
    }
}

#[tokio::test(start_paused = true)]
async fn a_registrar_that_is_gone_is_not_needed() {
    let memory = Memory::with(short_lives).await;
    let (one, two) = memory.hubs();
    let registrar: Arc<dyn Backplane> = Arc::new(memory.medium.node());
    let node = registrar.node();
    let third = Hub::builder(one.name()).backplane(Arc::clone(&registrar)).build().unwrap();
    let (front, _settled) = Front::on(&one);
    let client = Client::open(&one).await;
    front.has(&client.id);
    third.announce(&client.id, MINUTE);
    let _owned = soon("a claim", one.claim(&client.id, node)).await.unwrap();
    let mut members = two.backplane().members();
    soon("the registrar", members.wait_for(|members| members.contains(node))).await.unwrap();
    assert_eq!(relay(&two, &client.id, node, "before").await.unwrap(), "before!");
    drop((third, registrar));
    // Before and after membership has noticed.
    assert_eq!(relay(&two, &client.id, node, "during").await.unwrap(), "during!");
    soon("its end", members.wait_for(|members| !members.contains(node))).await.unwrap();
    assert_eq!(relay(&two, &client.id, node, "after").await.unwrap(), "after!");
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_node() {
    let memory = Memory::with(short_lives).await;
    let (one, two) = memory.hubs();
    let owner: Arc<dyn Backplane> = Arc::new(memory.medium.node());
    let node = owner.node();
    let third = Hub::builder(one.name()).backplane(Arc::clone(&owner)).build().unwrap();
    let (front, _settled) = Front::on(&third);
    let id = front.one();
    one.announce(&id, MINUTE);
    let owned = soon("a claim", third.claim(&id, one.node())).await.unwrap();
    for hub in [&one, &two] {
        let mut members = hub.backplane().members();
        soon("the owner", members.wait_for(|members| members.contains(node))).await.unwrap();
    }
    let waiting = waits(&two, &id, one.node(), &front).await;
    // As a process that is killed: it says nothing any more.
    let killed = tokio::time::Instant::now();
    drop((owned, third, owner));
    let outcome = soon("an outcome", waiting).await.unwrap();
    assert_eq!(outcome, Err(RelayError::NodeGone));
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    soon("the news", async {
        while !matches!(two.claim(&id, one.node()).await, Err(ClaimError::Ended)) {}
    })
    .await;
    assert_eq!(relay(&two, &id, one.node(), "late").await, Err(RelayError::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_poll_may_take_long_and_its_answer_is_kept_until_it_is_written() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (front, mut settled) = Front::on(&one);
    let id = front.one();
    let poll = |body: &'static [u8]| two.relay(&id, one.node(), Bytes::from_static(body));
    let started = tokio::time::Instant::now();
    // Others pass it meanwhile.
    let (answer, other) = tokio::join!(poll(b"poll"), async {
        tokio::time::sleep(MINUTE).await;
        relay(&two, &id, one.node(), "other").await
    });
    let answer = answer.unwrap();
    assert_eq!(other.unwrap(), "other!");
    assert_eq!(settled.recv().await, Some(true));
    assert_eq!(started.elapsed().as_secs(), 90);
    assert_eq!((&**answer.body(), answer.owner()), (&b"poll!"[..], one.node()));
    // Not written yet, and in the end not at all.
    assert!(settled.try_recv().is_err());
    drop(answer);
    assert_eq!(settled.recv().await, Some(false));
    // Nobody says anything: after a while it counts as not written, and it is too late to say it was.
    let answer = poll(b"silent").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(settled.recv().await, Some(false));
    let late = answer.written().await;
    assert!(matches!(late, Err(RelayError::Unavailable { .. })), "{late:?}");
    assert_eq!(front.served(), ["poll", "other", "silent"]);
}

#[tokio::test]
async fn who_waits_no_more_ends_the_work() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (front, mut settled) = Front::on(&one);
    let id = front.one();
    let waiting = waits(&two, &id, one.node(), &front).await;
    waiting.abort();
    assert_eq!(soon("its end", settled.recv()).await, Some(false));
}

#[tokio::test]
async fn what_goes_wrong_at_a_front_end_is_told() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let id = ConnectionId::random();
    // No front end, then one that does not have it.
    assert_eq!(relay(&two, &id, one.node(), "a").await, Err(RelayError::NotFound));
    let (front, mut settled) = Front::on(&one);
    assert_eq!(relay(&two, &id, one.node(), "a").await, Err(RelayError::NotFound));
    front.has(&id);
    let panicked = relay(&two, &id, one.node(), "panic").await;
    assert!(matches!(panicked, Err(RelayError::Refused { .. })), "{panicked:?}");
    let large = relay(&two, &id, one.node(), "large").await;
    assert!(matches!(large, Err(RelayError::TooLarge { .. })), "{large:?}");
    assert_eq!(settled.recv().await, Some(false));
    let large = relay(&two, &id, one.node(), &"x".repeat(17 << 20)).await;
    assert!(matches!(large, Err(RelayError::TooLarge { .. })), "{large:?}");
    // And nothing of it lasts.
    assert_eq!(relay(&two, &id, one.node(), "b").await.unwrap(), "b!");
    assert_eq!(settled.recv().await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn without_a_link_nothing_is_relayed() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (front, mut settled) = Front::on(&one);
    let id = front.one();
    let waiting = waits(&two, &id, one.node(), &front).await;
    memory.stop().await;
    let cut = soon("an outcome", waiting).await.unwrap();
    assert!(matches!(cut, Err(RelayError::Unavailable { .. })), "{cut:?}");
    let down = relay(&two, &id, one.node(), "a").await;
    assert!(matches!(down, Err(RelayError::Unavailable { .. })), "{down:?}");
    // The other node cannot know, and finds out.
    assert!(settled.try_recv().is_err());
    tokio::time::sleep(MINUTE).await;
    assert_eq!(settled.recv().await, Some(false));
    memory.restart().await;
    assert_eq!(relay(&two, &id, one.node(), "b").await.unwrap(), "b!");
}

#[tokio::test(start_paused = true)]
async fn nobody_has_it_is_said_promptly() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let started = tokio::time::Instant::now();
    let unknown = ConnectionId::random();
    assert_eq!(relay(&two, &unknown, one.node(), "a").await, Err(RelayError::NotFound));
    let waited = started.elapsed().as_millis();
    assert!((1000..1600).contains(&waited), "{waited} ms");
    // The registrar knows that nobody has it yet.
    let announced = ConnectionId::random();
    one.announce(&announced, MINUTE);
    let started = tokio::time::Instant::now();
    for hub in [&one, &two] {
        assert_eq!(relay(hub, &announced, one.node(), "a").await, Err(RelayError::NotFound));
    }
    let waited = started.elapsed().as_millis();
    assert!(waited < 500, "{waited} ms");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_without_a_link_ends_when_it_is_back() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (front, mut settled) = Front::on(&one);
    let id = front.one();
    let waiting = waits(&two, &id, one.node(), &front).await;
    memory.stop().await;
    let cut = soon("an outcome", waiting).await.unwrap();
    assert!(matches!(cut, Err(RelayError::Unavailable { .. })), "{cut:?}");
    memory.restart().await;
    let back = tokio::time::Instant::now();
    assert_eq!(settled.recv().await, Some(false));
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn that_an_answer_was_written_is_said_again_when_the_link_is_back() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (front, mut settled) = Front::on(&one);
    let id = front.one();
    let answer = two.relay(&id, one.node(), Bytes::from_static(b"a")).await.unwrap();
    memory.stop().await;
    let written = tokio::spawn(answer.written());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(settled.try_recv().is_err() && !written.is_finished());
    memory.restart().await;
    soon("the note", written).await.unwrap().unwrap();
    assert_eq!(settled.recv().await, Some(true));
}

#[tokio::test]
async fn each_front_end_of_a_hub_serves_its_own() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let fronts = [Front::on(&one).0, Front::on(&one).0];
    for front in &fronts {
        let id = front.one();
        let answer = two.relay(&id, one.node(), Bytes::from_static(b"a")).await.unwrap();
        assert_eq!(answer.into_body(), "a!");
        assert_eq!(front.served(), ["a"]);
    }
}

#[tokio::test]
async fn repeated_and_late_requests_are_served_once_and_in_order() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    let (front, mut settled) = Front::on(&one);
    let id = front.one();
    let mut stranger = Stranger::with(&memory, &one, None).await;
    let topic = Topic::node(one.name(), one.node());
    let mut put = async |number: u64, body: &str| {
        let mut rest = (id.len() as u16).to_le_bytes().to_vec();
        rest.extend(id.as_bytes());
        rest.put_u32_le(body.len() as u32);
        rest.extend(body.as_bytes());
        stranger.write(topic.clone(), RELAY, number, &rest).await;
        let (kind, answered, rest, _) = stranger.next().await;
        assert_eq!((kind, answered), (RESULT, number));
        rest
    };
    for _ in 0..3 {
        assert_eq!(&put(5, "five").await[..], b"\x0c\0\0\x05\0\0\0five!");
    }
    // It was withdrawn, and something else sent in its place; then it comes after all.
    assert_eq!(&put(4, "four").await[..], b"\x0f\0\0");
    assert_eq!(&put(6, "six").await[..], b"\x0c\0\0\x04\0\0\0six!");
    assert_eq!(front.served(), ["five", "six"]);
    stranger.write_to_node(one.node(), CANCEL, 5, &[]).await;
    assert_eq!(soon("what became of it", settled.recv()).await, Some(false));
}

/// Requests of many connections from several nodes, over links that lose, double, reorder and delay.
#[tokio::test(start_paused = true)]
async fn over_bad_links_each_request_is_served_once_and_in_order() {
    const REQUESTS: usize = 30;
    let seed = seed("over_bad_links_each_request_is_served_once_and_in_order");
    let (switch, hubs) = over_bad_links(seed).await;
    let (front, _settled) = Front::on(&hubs[0]);
    let ids: Vec<ConnectionId> = (0..5).map(|_| front.one()).collect();
    let owner = hubs[0].node();
    for hub in &hubs[1..] {
        let mut members = hub.backplane().members();
        soon("the owner", members.wait_for(|members| members.contains(owner))).await.unwrap();
    }
    // All at once, in the order of these calls.
    let requests = hubs[1..].iter().enumerate().flat_map(|(from, hub)| {
        ids.iter().enumerate().flat_map(move |(connection, id)| {
            (0..REQUESTS).map(move |number| async move {
                let body = format!("{from} {connection} {number:04}");
                let answer = hub.relay(id, owner, body.clone().into()).await.unwrap();
                assert_eq!(**answer.body(), *format!("{body}!").as_bytes());
                answer.written().await.unwrap();
            })
        })
    });
    join_all(requests).await;
    let served = front.served();
    for from in 0..2 {
        for connection in 0..ids.len() {
            let prefix = format!("{from} {connection} ");
            let own: Vec<_> =
                served.iter().filter(|it| it.starts_with(prefix.as_bytes())).collect();
            assert_eq!(own.len(), REQUESTS, "each once");
            assert!(own.is_sorted(), "{own:?}");
        }
    }
    assert!(switch.counts().dropped > 0, "{:?}", switch.counts());
}

/// A front end whose broker fails in the very moment in which it hears that its answer has arrived.
#[derive(Debug)]
struct Unlucky(backplane_memory::Medium, mpsc::Sender<bool>);

impl Relay for Unlucky {
    fn relay(&self, request: RelayRequest) -> Option<BoxFuture<'static, RelayAnswer>> {
        let (medium, settled) = (self.0.clone(), self.1.clone());
        let answer = RelayAnswer::new(request.body).when_settled(move |written| {
            medium.stop();
            tell(&settled, written);
        });
        Some(Box::pin(async { answer }))
    }
}

#[tokio::test]
async fn what_was_heard_but_not_confirmed_is_confirmed_later() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (settled, mut told) = mpsc::channel(10);
    two.on_relay(Arc::new(Unlucky(memory.medium.clone(), settled)));
    let relayed = one.relay(&ConnectionId::random(), two.node(), Bytes::from_static(b"x")).await;
    let written = tokio::spawn(relayed.unwrap().written());
    assert_eq!(soon("the news", told.recv()).await, Some(true));
    let mut link = one.backplane().link();
    soon("the end of the link", async { drop(link.wait_for(|link| !link.is_up()).await) }).await;
    memory.restart().await;
    soon("the confirmation", written).await.unwrap().unwrap();
    assert!(told.try_recv().is_err(), "it is told once");
}
