//! Calls of clients that wait for a result: how long, from where, and what can go wrong between nodes.

use std::{sync::Arc, time::Duration};

use backplane_core::ByteSize;
use backplane_hub::{
    Call, Caller, Completion, Hub, HubError, HubOptions, InvokeError, Reply, State, WhenSlow,
};
use bytes::{BufMut, Bytes};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    Memory, one_hub, over_bad_links,
    questions::{ACCEPTED, CANCEL, RESULT, Stranger, known_stranger, short_lives},
    scenarios::{Client, Plain, soon, until},
    seed,
};

const INVOKE: u8 = 8;
const REMIND: u8 = 10;

fn call(hub: &Hub, client: &str) -> JoinHandle<Result<u32, InvokeError>> {
    tokio::spawn(hub.clients().connection(client).invoke("Result", ()))
}

async fn outcome(calling: JoinHandle<Result<u32, InvokeError>>) -> Result<u32, InvokeError> {
    soon("an outcome", calling).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_may_take_as_long_as_it_likes() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&one).await;
    let calls = [call(&one, &client.id), call(&two, &client.id)];
    let told = [client.next().await.unwrap(), client.next().await.unwrap()];
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(one.stats().results_owed, 2);
    assert!(calls.iter().all(|calling| !calling.is_finished()));
    // However often its node was asked meanwhile, the client was called once.
    client.expect_nothing(&[&one, &two]).await;
    told.iter().for_each(|told| client.returns(told, &json!(7)).unwrap());
    for calling in calls {
        assert_eq!(outcome(calling).await.unwrap(), 7);
    }
}

#[tokio::test]
async fn every_protocol_is_encoded_once_and_read_by_its_own() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (here, there) = (Plain::new("other"), Plain::new("other"));
    two.speak(Arc::clone(&there) as _);
    let id = backplane_hub::ConnectionId::random();
    let mut client = Client::open_with(&one, id, None, here).await;
    let calling = call(&two, &client.id);
    let told = client.next().await.unwrap();
    assert_eq!(told.protocol, "other");
    assert_eq!(there.encoded.load(std::sync::atomic::Ordering::Relaxed), 1);
    client.returns(&told, &json!(7)).unwrap();
    assert_eq!(outcome(calling).await.unwrap(), 7);
    // A hub that does not speak it cannot call the client, and says so.
    let third = Hub::builder(one.name()).backplane(Arc::new(memory.medium.node())).build().unwrap();
    third.speak(Plain::new("plain"));
    let refused = outcome(call(&third, &client.id)).await.unwrap_err();
    assert!(matches!(refused, InvokeError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("\"other\""), "{refused}");
}

#[tokio::test]
async fn nothing_can_be_a_result_too() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let mut client = Client::open(&one).await;
    for hub in [&one, &two] {
        let calling = tokio::spawn(hub.clients().connection(&client.id).invoke::<()>("m", ()));
        let told = client.next().await.unwrap();
        client.completes(&told, Completion::Nothing).unwrap();
        soon("an outcome", calling).await.unwrap().unwrap();
        let calling = call(hub, &client.id);
        let told = client.next().await.unwrap();
        client.completes(&told, Completion::Nothing).unwrap();
        let failed = outcome(calling).await.unwrap_err();
        assert!(matches!(failed, InvokeError::Result { .. }), "{failed:?}");
    }
}

#[tokio::test]
async fn hooks_cannot_wait_for_clients() {
    type Told = mpsc::Sender<String>;
    async fn connected(caller: Caller, State(told): State<Told>) -> Result<(), HubError> {
        let refused = caller.clients().caller().invoke::<u32>("Result", ()).await.unwrap_err();
        told.try_send(refused.to_string())?;
        // Any error converts, and stays private.
        Err(refused.into())
    }
    async fn disconnected(caller: Caller, State(told): State<Told>) {
        let refused = caller.clients().caller().invoke::<u32>("Result", ()).await.unwrap_err();
        told.try_send(refused.to_string()).unwrap();
    }
    let (sender, mut told): (Told, _) = mpsc::channel(8);
    let hub =
        one_hub(|hub| hub.state(sender).on_connected(connected).on_disconnected(disconnected))
            .await;
    let mut client = Client::open(&hub).await;
    let refused = soon("on_connected", client.connection().connected()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_public()), ("InvokeError", false));
    let text = "Client results inside OnConnectedAsync Hub methods are not allowed.";
    assert_eq!(told.recv().await.unwrap(), text);
    client.leave().await;
    let text = format!("Connection '{}' disconnected.", client.id);
    assert_eq!(told.recv().await.unwrap(), text);
}

#[tokio::test]
async fn a_call_that_waits_for_its_client_gives_its_place_away() {
    async fn ask(caller: Caller) -> Result<u32, HubError> {
        // Two answers in tasks of their own: still one place.
        let ask = || tokio::spawn(caller.clients().caller().invoke::<u32>("Result", ()));
        let (first, second) = (ask(), ask());
        Ok(first.await?? + second.await??)
    }
    let hub = one_hub(|hub| hub.method("Ask", ask)).await;
    let mut client = Client::open(&hub).await;
    let call = tokio::spawn(client.connection().call(Call::new("Ask", Vec::new())));
    let told = [client.next().await.unwrap(), client.next().await.unwrap()];
    assert_eq!(client.connection().waiting_calls(), 1);
    client.returns(&told[0], &json!(3)).unwrap();
    until("one answer is taken", || hub.stats().results_owed == 1).await;
    assert_eq!(client.connection().waiting_calls(), 1);
    client.returns(&told[1], &json!(4)).unwrap();
    let reply = soon("the result", call).await.unwrap().unwrap();
    let Reply::Value(returned) = reply else { panic!("a stream") };
    assert_eq!(serde_json::to_value(returned).unwrap(), json!(7));
    assert_eq!(client.connection().waiting_calls(), 0);
    // A call that is dropped, whatever its tasks still wait for.
    let call = tokio::spawn(client.connection().call(Call::new("Ask", Vec::new())));
    client.next().await.unwrap();
    client.next().await.unwrap();
    assert_eq!(client.connection().waiting_calls(), 1);
    call.abort();
    until("its end", || client.connection().waiting_calls() == 0).await;
    // What calls from elsewhere takes no part.
    let calling = self::call(&hub, &client.id);
    client.next().await.unwrap();
    assert_eq!(client.connection().waiting_calls(), 0);
    calling.abort();
}

#[tokio::test]
async fn what_cannot_be_delivered_is_told() {
    let mut options = HubOptions::default();
    options.outbound_messages = 1;
    options.when_slow = WhenSlow::DropNewest;
    let memory = Memory::start().await;
    let (_, two) = memory.hubs();
    let backplane = Arc::clone(&memory.nodes.0[0]);
    let one = Hub::builder(two.name()).backplane(backplane).options(options).build().unwrap();
    one.speak(Plain::new("plain"));
    let mut client = Client::open(&one).await;
    let first = call(&one, &client.id);
    until("it is queued", || one.stats().queued == 1).await;
    for hub in [&one, &two] {
        let failed = outcome(call(hub, &client.id)).await.unwrap_err();
        assert!(matches!(failed, InvokeError::TooSlow { .. }), "{failed:?}");
    }
    let told = client.next().await.unwrap();
    client.returns(&told, &json!(1)).unwrap();
    assert_eq!(outcome(first).await.unwrap(), 1);
    // Nothing that cannot be encoded, and nothing without a protocol.
    let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
    let failed = two.clients().connection("1").invoke::<u32>("m", &unwritable).await.unwrap_err();
    assert!(matches!(failed, InvokeError::Encode { .. }), "{failed:?}");
    let mute = Hub::builder("mute").backplane(Arc::new(memory.medium.node())).build().unwrap();
    let failed = mute.clients().connection("1").invoke::<u32>("m", ()).await.unwrap_err();
    assert!(matches!(failed, InvokeError::NoProtocol), "{failed:?}");
    mute.close(Duration::from_secs(1)).await.unwrap();
    mute.speak(Plain::new("plain"));
    let failed = mute.clients().connection("1").invoke::<u32>("m", ()).await.unwrap_err();
    assert!(matches!(failed, InvokeError::Closed), "{failed:?}");
}

#[tokio::test]
async fn calls_and_results_are_bounded_by_what_the_backplane_carries() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let limit = one.backplane().semantics().largest_body;
    let mut client = Client::open(&one).await;
    let large = |bytes: u64| "x".repeat(bytes as usize);
    let ask = |argument: &str| two.clients().connection(&client.id).invoke::<String>("m", argument);
    let failed = soon("an outcome", ask(&large(limit.as_u64()))).await.unwrap_err();
    assert!(matches!(failed, InvokeError::TooLarge { limit: it, .. } if it == limit), "{failed:?}");

    let calls = [tokio::spawn(ask("a")), tokio::spawn(ask("b"))];
    let told = [client.next().await.unwrap(), client.next().await.unwrap()];
    let fits = large((limit - ByteSize::kib(1)).as_u64());
    client.returns(&told[0], &json!(fits)).unwrap();
    client.returns(&told[1], &json!(large(limit.as_u64()))).unwrap();
    let [fitting, failing] = calls;
    assert!(soon("an outcome", fitting).await.unwrap().unwrap() == fits);
    let failed = soon("an outcome", failing).await.unwrap().unwrap_err();
    assert!(matches!(failed, InvokeError::TooLarge { limit: it, .. } if it == limit), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_link_other_nodes_clients_cannot_be_called_nor_waited_for() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let (mut here, mut there) = (Client::open(&two).await, Client::open(&one).await);
    let (waiting, waiting_here) = (call(&two, &there.id), call(&two, &here.id));
    let told = there.next().await.unwrap();
    let told_here = here.next().await.unwrap();
    memory.stop().await;
    for calling in [waiting, call(&two, &there.id)] {
        let failed = outcome(calling).await.unwrap_err();
        assert!(matches!(failed, InvokeError::Unavailable { .. }), "{failed:?}");
    }
    // This node's own need none.
    here.returns(&told_here, &json!(1)).unwrap();
    assert_eq!(outcome(waiting_here).await.unwrap(), 1);
    // Nobody reminds the other node any more: it forgets the call.
    memory.restart().await;
    assert_eq!(one.stats().results_owed, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(one.stats().results_owed, 0);
    assert!(there.returns(&told, &json!(1)).is_err());
}

/// What a client of the protocol "plain" is called with.
fn invocation(rest: &Bytes) -> String {
    String::from_utf8_lossy(rest).into_owned()
}

/// A result of the client of a stranger.
fn completed(result: &[u8]) -> Vec<u8> {
    let mut rest = vec![7, 5, 0];
    rest.extend(b"plain");
    rest.put_u32_le(result.len() as u32);
    rest.extend(result);
    rest
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_the_call_is_reminded_of_it() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    let mut stranger = known_stranger(&memory, &one, Some("ghost")).await;
    let calling = call(&one, "ghost");
    let (kind, number, rest, _) = stranger.next().await;
    assert_eq!(kind, INVOKE);
    let id = format!("s{}-{number}", one.node());
    assert!(invocation(&rest).contains(&format!("\"Result\",[],null,\"{id}\"")), "{rest:?}");
    stranger.write_to_node(one.node(), ACCEPTED, number, &[]).await;
    for _ in 0..100 {
        let (kind, reminded, ..) = stranger.next().await;
        assert_eq!((kind, reminded), (REMIND, number), "the call itself is not sent again");
        // Membership knows the node, so that its silence alone means nothing.
    }
    assert!(!calling.is_finished());
    stranger.write_to_node(one.node(), RESULT, number, &completed(b"7")).await;
    assert_eq!(outcome(calling).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_forgotten_the_call_fails_it() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    let mut stranger = known_stranger(&memory, &one, Some("ghost")).await;
    let calling = call(&one, "ghost");
    let (_, number, ..) = stranger.next().await;
    stranger.write_to_node(one.node(), ACCEPTED, number, &[]).await;
    while stranger.next().await.0 != REMIND {}
    const FORGOTTEN: &[u8] = &[15, 0, 0];
    stranger.write_to_node(one.node(), RESULT, number, FORGOTTEN).await;
    let failed = outcome(calling).await.unwrap_err();
    assert!(matches!(failed, InvokeError::Unavailable { .. }), "{failed:?}");
    // The real one answers so to whoever reminds it of what it never heard of.
    stranger.write_to_node(one.node(), REMIND, 77, &[]).await;
    let (kind, number, rest, _) = stranger.next().await;
    assert_eq!((kind, number, &rest[..]), (RESULT, 77, FORGOTTEN));
}

#[tokio::test(start_paused = true)]
async fn a_call_fails_as_soon_as_its_node_is_gone() {
    let memory = Memory::with(short_lives).await;
    let (one, _two) = memory.hubs();
    for (clean, longest) in [(true, 100), (false, 3600)] {
        let mut stranger = known_stranger(&memory, &one, Some("ghost")).await;
        let calling = call(&one, "ghost");
        let (_, number, ..) = stranger.next().await;
        stranger.write_to_node(one.node(), ACCEPTED, number, &[]).await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(!calling.is_finished());
        let gone = tokio::time::Instant::now();
        if clean {
            stranger.node.close(Duration::from_secs(1)).await.unwrap();
        }
        drop(stranger);
        let failed = outcome(calling).await.unwrap_err();
        assert!(matches!(failed, InvokeError::NodeGone { .. }), "{failed:?}");
        assert_eq!(
            failed.to_string(),
            "Connection 'ghost' disconnected, as its node has left or died."
        );
        let waited = gone.elapsed().as_millis();
        assert!(waited <= longest, "{waited} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_askers_are_gone_forgets_their_calls() {
    let memory = Memory::with(short_lives).await;
    let (one, _two) = memory.hubs();
    let mut client = Client::open(&one).await;
    let mut stranger = known_stranger(&memory, &one, None).await;
    let mut rest = vec![2, 0, b'i', b'd', 1, 5];
    rest.extend(b"plain");
    let call = json!(["plain", "m", [], null, "id"]).to_string();
    rest.put_u32_le(call.len() as u32);
    rest.extend(call.as_bytes());
    let topic = backplane_core::Topic::connection(one.name(), &client.id);
    for _ in 0..3 {
        stranger.write(topic.clone(), INVOKE, 1, &rest).await;
        let (kind, number, ..) = stranger.next().await;
        assert_eq!((kind, number), (ACCEPTED, 1));
    }
    let told = client.next().await.unwrap();
    assert_eq!(told.id.as_deref(), Some("id"));
    client.expect_nothing(&[&one]).await;
    // Withdrawn, as all that is asked can be.
    stranger.write_to_node(one.node(), CANCEL, 1, &[]).await;
    until("it is forgotten", || one.stats().results_owed == 0).await;
    stranger.write(topic, INVOKE, 2, &rest).await;
    client.next().await.unwrap();
    assert_eq!(one.stats().results_owed, 1);
    drop(stranger);
    soon("its end", async {
        while one.stats().results_owed > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_late_acceptance_is_withdrawn() {
    let memory = Memory::start().await;
    let (one, _two) = memory.hubs();
    let mut stranger = Stranger::with(&memory, &one, Some("ghost")).await;
    let calling = call(&one, "ghost");
    let (_, number, ..) = stranger.next().await;
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());
    stranger.write_to_node(one.node(), ACCEPTED, number, &[]).await;
    loop {
        let (kind, withdrawn, ..) = stranger.next().await;
        if kind != INVOKE {
            assert_eq!((kind, withdrawn), (CANCEL, number));
            break;
        }
    }
}

/// Some calls, all at once, over links that lose, double, reorder and delay: each reaches its client
/// once, and each result its caller.
#[tokio::test(start_paused = true)]
async fn calls_over_bad_links_are_made_once_and_answered() {
    const CALLS: u32 = 40;
    let seed = seed("calls_over_bad_links_are_made_once_and_answered");
    let (switch, hubs) = over_bad_links(seed).await;
    let mut clients = Vec::new();
    for hub in &hubs {
        clients.push(Client::open(hub).await);
    }
    let ids: Vec<_> = clients.iter().map(|client| client.id.clone()).collect();
    let serving = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let mut called = std::collections::BTreeSet::new();
            for _ in 0..CALLS * 3 {
                let told = client.next().await.unwrap();
                let number = told.arguments[0].as_u64().unwrap();
                assert!(called.insert(number), "{number} was called twice");
                client.returns(&told, &json!(number + 1)).unwrap();
            }
            client
        })
    });
    let serving: Vec<_> = serving.collect();
    let calls = hubs.iter().enumerate().flat_map(|(from, hub)| {
        let numbers = (0..CALLS).map(move |number| from as u32 * CALLS + number);
        ids.iter().flat_map(move |id| {
            numbers.clone().map(move |number| async move {
                let call = hub.clients().connection(id).invoke::<u32>("Next", (number,)).await;
                assert_eq!(call.unwrap(), number + 1);
            })
        })
    });
    join_all(calls).await;
    for client in join_all(serving).await {
        client.unwrap();
    }
    assert!(switch.counts().dropped > 0, "{:?}", switch.counts());
    assert!(hubs.iter().all(|hub| hub.stats().results_owed == 0));
}

#[tokio::test]
async fn what_a_call_leaves_behind_can_ask_too() {
    type Told = mpsc::Sender<u32>;
    async fn later(caller: Caller, State(told): State<Told>) {
        let told = Told::clone(&told);
        tokio::spawn(async move {
            let asked = caller.clients().caller().invoke("Result", ());
            told.send(asked.await.unwrap()).await.unwrap();
        });
    }
    let (sender, mut told): (Told, _) = mpsc::channel(1);
    let hub = one_hub(|hub| hub.state(sender).method("Later", later)).await;
    let mut client = Client::open(&hub).await;
    client.call(Call::new("later", Vec::new())).await.unwrap();
    let asked = client.next().await.unwrap();
    // The call has no place to give away any more.
    assert_eq!(client.connection().waiting_calls(), 0);
    client.returns(&asked, &json!(7)).unwrap();
    assert_eq!(soon("the answer", told.recv()).await, Some(7));
    assert_eq!(client.connection().waiting_calls(), 0);
}
