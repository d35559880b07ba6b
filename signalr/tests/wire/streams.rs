//! Streams that clients ask for.

use std::{
    collections::HashMap,
    future::ready,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use backplane_hub::{Aborted, ByteSize, Caller, HubBuilder, HubError, HubOptions, Policy, State};
use backplane_signalr::Options;
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    client::Client,
    server::{Probe, Server},
};

/// Streams nothing, and says so when it is given up.
async fn infinite(caller: Caller, aborted: Aborted) -> impl Stream<Item = u8> {
    let told = async move {
        aborted.wait().await;
        caller.clients().caller().send("StreamCanceled", ()).await.expect("sent");
    };
    stream::once(told).filter_map(|()| ready(None))
}

/// Tells when it is dropped.
struct Guard(tokio::runtime::Handle, Probe);

impl Drop for Guard {
    fn drop(&mut self) {
        let probe = self.1.clone();
        self.0.spawn(async move { probe.tell("dropped").await });
    }
}

/// Is not told when it is given up, and does not end by itself.
async fn endless(State(probe): State<Probe>) -> impl Stream<Item = u8> {
    let guard = Guard(tokio::runtime::Handle::current(), Probe::clone(&probe));
    stream::pending().inspect(move |_| {
        let _ = &guard;
    })
}

async fn midway(error: Option<String>) -> impl Stream<Item = Result<u8, HubError>> {
    let error = match error {
        Some(text) => HubError::client(text),
        None => HubError::named("InvalidOperationException", "secret"),
    };
    stream::iter([Ok(1), Err(error), Ok(2)])
}

fn described(hub: HubBuilder) -> HubBuilder {
    hub.stream("Stream", async || stream::iter(["a", "b", "c"]))
        .stream("EmptyStream", async || stream::empty::<u32>())
        .stream("Nulls", async |it: Option<u8>| stream::iter([it, Some(1), None]))
        .stream("InfiniteStream", infinite)
        .stream("Endless", endless)
        .stream("Midway", midway)
        .stream("Panics", async || stream::iter(0..2).inspect(|it| assert!(*it < 1, "at one")))
        .stream("UnwritableItems", async || stream::iter([HashMap::from([((1, 2), 3)])]))
        .stream("StreamThrowException", async |text: String| {
            Err::<stream::Empty<u8>, _>(HubError::named("InvalidOperationException", text))
        })
        .stream("Count", async |to: u32| stream::iter(0..to))
        .stream_with("SecretStream", async || stream::empty::<u8>(), Policy::claim("role", "admin"))
}

async fn serve(options: Options) -> Server {
    Server::with(options, described).await
}

async fn ask(client: &mut Client, id: &str, target: &str, arguments: Value) {
    client
        .send(json!({"type": 4, "invocationId": id, "target": target, "arguments": arguments}))
        .await;
}

async fn cancel(client: &mut Client, id: &str) {
    client.send(json!({"type": 5, "invocationId": id})).await;
}

async fn expect_items(client: &mut Client, id: &str, items: impl IntoIterator<Item = Value>) {
    for item in items {
        assert_eq!(client.next().await, json!({"type": 2, "invocationId": id, "item": item}));
    }
}

/// The end of a stream, to the letter.
async fn expect_end(client: &mut Client, id: &str) {
    assert_eq!(client.record().await, format!("{{\"type\":3,\"invocationId\":\"{id}\"}}"));
}

#[tokio::test]
async fn items_and_their_end() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    ask(&mut client, "1", "sTREAM", json!([])).await;
    expect_items(&mut client, "1", [json!("a"), json!("b"), json!("c")]).await;
    expect_end(&mut client, "1").await;
    ask(&mut client, "2", "EmptyStream", json!([])).await;
    expect_end(&mut client, "2").await;
    for (given, first) in [(json!(null), json!(null)), (json!(5), json!(5))] {
        ask(&mut client, "3", "Nulls", json!([given])).await;
        expect_items(&mut client, "3", [first, json!(1), json!(null)]).await;
        expect_end(&mut client, "3").await;
    }
    client.works().await;
}

#[tokio::test]
async fn errors_have_the_exact_texts() {
    let plain = serve(Options::new()).await;
    let detailed = serve(Options::new().detailed_errors(true)).await;
    let mut clients = [Client::connect(&plain).await, Client::connect(&detailed).await];
    let streaming = "An error occurred on the server while streaming results.";
    let invoking = "An unexpected error occurred invoking 'X' on the server.";
    for (target, arguments, items, text, detail) in [
        (
            "Echo",
            json!([1]),
            0,
            "The client attempted to invoke the non-streaming 'X' method with a streaming invocation.",
            "",
        ),
        ("Nope", json!([]), 0, "Unknown hub method 'X'", ""),
        ("SecretStream", json!([]), 0, "Failed to invoke 'X' because user is unauthorized", ""),
        (
            "StreamThrowException",
            json!(["An error occurred."]),
            0,
            invoking,
            " InvalidOperationException: An error occurred.",
        ),
        (
            "Count",
            json!([]),
            0,
            "Failed to invoke 'X' due to an error on the server.",
            " InvalidDataException: Invocation provides 0 argument(s) but target expects 1.",
        ),
        ("Midway", json!([null]), 1, streaming, " InvalidOperationException: secret"),
        ("Panics", json!([]), 1, streaming, " Panic: at one"),
        ("UnwritableItems", json!([]), 0, streaming, " JsonException: key must be a string"),
    ] {
        let text = text.replace('X', target);
        for (client, detail) in clients.iter_mut().zip(["", detail]) {
            ask(client, "1", target, arguments.clone()).await;
            for _ in 0..items {
                assert_eq!(client.next().await["type"], 2);
            }
            let told = client.completion("1").await;
            if target == "UnwritableItems" {
                // The rest is serde's.
                let told = told["error"].as_str().unwrap();
                assert!(
                    told.starts_with(&text)
                        && told.contains(" JsonException: ") != detail.is_empty(),
                    "{told}"
                );
            } else {
                assert_eq!(told, json!({"error": format!("{text}{detail}")}));
            }
        }
    }
    for client in &mut clients {
        ask(client, "1", "Midway", json!(["Something bad"])).await;
        expect_items(client, "1", [json!(1)]).await;
        let text = format!("{streaming} HubException: Something bad");
        assert_eq!(client.completion("1").await, json!({"error": text}));
        for target in ["Stream", "emptyStream"] {
            let text = format!(
                "The client attempted to invoke the streaming '{target}' method with a non-streaming invocation."
            );
            assert_eq!(client.invoke(target, json!([])).await, json!({"error": text}));
        }
        client.works().await;
    }
}

#[tokio::test]
async fn a_cancel_may_come_right_behind_its_stream() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let begin =
        json!({"type": 4, "invocationId": "1", "target": "InfiniteStream", "arguments": []});
    let cancelled = json!({"type": 5, "invocationId": "1"});
    client.text(&format!("{begin}\u{1e}{cancelled}\u{1e}{cancelled}\u{1e}")).await;
    assert_eq!(
        client.next().await,
        json!({"type": 1, "target": "StreamCanceled", "arguments": []})
    );
    expect_end(&mut client, "1").await;

    // One that is not told is dropped, and its id is free again.
    for _ in 0..2 {
        ask(&mut client, "1", "Endless", json!([])).await;
        client.works().await;
        cancel(&mut client, "1").await;
        expect_end(&mut client, "1").await;
        assert_eq!(server.probe.told().await, "dropped");
    }
    cancel(&mut client, "1").await;
    cancel(&mut client, "2").await;
    client.works().await;
}

#[tokio::test]
async fn an_id_has_one_stream_at_a_time() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    ask(&mut client, "1", "Endless", json!([])).await;
    ask(&mut client, "1", "Stream", json!([])).await;
    let text = "Invocation ID '1' is already in use.";
    assert_eq!(client.completion("1").await, json!({"error": text}));
    // The first one is not disturbed.
    cancel(&mut client, "1").await;
    expect_end(&mut client, "1").await;
    assert_eq!(server.probe.told().await, "dropped");
}

#[tokio::test]
async fn streams_run_beside_calls() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    client.call("1", "Block", json!(["one"])).await;
    assert_eq!(server.probe.told().await, "one begins");
    ask(&mut client, "2", "InfiniteStream", json!([])).await;
    ask(&mut client, "3", "Stream", json!([])).await;
    expect_items(&mut client, "3", [json!("a"), json!("b"), json!("c")]).await;
    expect_end(&mut client, "3").await;
    cancel(&mut client, "2").await;
    assert_eq!(client.next().await["target"], "StreamCanceled");
    expect_end(&mut client, "2").await;
    // What cannot run waits for nothing either.
    for (target, arguments) in [
        ("Nope", json!([])),
        ("Add", json!([1])),
        ("Add", json!([1, "two"])),
        ("Secret", json!([])),
    ] {
        client.call("4", target, arguments).await;
        assert!(client.completion("4").await["error"].is_string());
    }
    server.probe.release();
    assert_eq!(client.completion("1").await, json!({"result": "one"}));
}

#[tokio::test]
async fn a_client_has_so_many_streams_and_no_more() {
    let server = serve(Options::new().parallel_streams(NonZeroUsize::new(2).unwrap())).await;
    let mut client = Client::connect(&server).await;
    let refused = json!({"error": "A client may have at most 2 streams at once."});
    for _ in 0..3 {
        for id in ["1", "2", "3"] {
            ask(&mut client, id, "Endless", json!([])).await;
        }
        assert_eq!(client.completion("3").await, refused);
        client
            .send(json!({"type": 1, "invocationId": "3", "target": "Nope", "arguments": [], "streamIds": ["4", "5", "6"]}))
            .await;
        assert_eq!(client.completion("3").await, refused);
        for id in ["1", "2"] {
            cancel(&mut client, id).await;
            expect_end(&mut client, id).await;
            assert_eq!(server.probe.told().await, "dropped");
        }
    }
    // Others have their own.
    let mut other = Client::connect(&server).await;
    ask(&mut other, "1", "Stream", json!([])).await;
    expect_items(&mut other, "1", [json!("a"), json!("b"), json!("c")]).await;
}

#[tokio::test]
async fn thousands_of_cancels() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    const ROUNDS: usize = 5000;
    for round in 0..ROUNDS {
        let id = round.to_string();
        let begin =
            json!({"type": 4, "invocationId": id, "target": "InfiniteStream", "arguments": []});
        let cancels = [&*id, &id, "none"].map(|id| json!({"type": 5, "invocationId": id}));
        let [first, again, none] = cancels;
        client.text(&format!("{begin}\u{1e}{none}\u{1e}{first}\u{1e}{again}\u{1e}")).await;
        assert_eq!(client.next().await["target"], "StreamCanceled");
        expect_end(&mut client, &id).await;
    }
    client.works().await;
    assert_eq!(server.hub.stats().invocations, ROUNDS as u64 + 1);
}

/// What a fast stream was asked for.
#[derive(Debug, Clone, Default)]
struct Pulled(Arc<AtomicUsize>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_as_fast_as_its_reader() {
    const ITEMS: usize = 40_000;
    let pulled = Pulled::default();
    let mut narrow = HubOptions::default();
    narrow.outbound_messages = 64;
    narrow.outbound_bytes = ByteSize::kib(64);
    let server = Server::with(Options::new(), |hub| {
        hub.options(narrow).state(pulled.clone()).stream("Fast", async |pulled: State<Pulled>| {
            stream::iter(0..ITEMS).map(move |number| {
                pulled.0.0.fetch_add(1, Ordering::SeqCst);
                (number, "x".repeat(1000))
            })
        })
    })
    .await;
    let mut slow = Client::connect(&server).await;
    let id = slow.invoke("WhoAmI", json!([])).await["result"].as_str().unwrap().to_owned();
    // In one piece: the first would be far ahead otherwise.
    let asked = ["1", "2"].map(|id| {
        let asked = json!({"type": 4, "invocationId": id, "target": "Fast", "arguments": []});
        format!("{asked}\u{1e}")
    });
    slow.text(&asked.concat()).await;
    // It reads nothing for as long as another one reads all.
    let mut other = Client::connect(&server).await;
    ask(&mut other, "1", "Fast", json!([])).await;
    let mut numbers = 0..ITEMS;
    loop {
        let message = other.next().await;
        if message["type"] == 3 {
            break;
        }
        assert_eq!(json!(numbers.next()), message["item"][0]);
    }
    assert_eq!(numbers.next(), None);
    // The hub's own messages have their place beside streams.
    let beside = async || server.hub.clients().connection(&id).send("Beside", ()).await.unwrap();
    for _ in 0..40 {
        beside().await;
    }
    // What is on its way is bounded by what the sockets take.
    assert!(pulled.0.load(Ordering::SeqCst) < 2 * ITEMS, "{}", pulled.0.load(Ordering::SeqCst));
    let (mut next, mut ended) = ([0_usize; 2], 0);
    while ended < 2 {
        if ended == 0 && next[0] % 1000 == 0 {
            beside().await;
        }
        let message = slow.next().await;
        let index = usize::from(message["invocationId"] == "2");
        match message["type"].as_u64() {
            Some(2) => {
                assert_eq!(message["item"][0], next[index]);
                next[index] += 1;
                // Neither starves.
                let [less, more] = [next[0].min(next[1]), next[0].max(next[1])];
                assert!(more < 1000 + 2 * less || more == ITEMS, "{next:?}");
            }
            Some(3) => ended += 1,
            _ => {}
        }
    }
    assert_eq!(next, [ITEMS; 2]);
    assert_eq!(server.hub.stats().closed_slow, 0);
    // The last of the hub's own messages may come behind the streams.
    slow.call("w", "Add", json!([1, 2])).await;
    let mut message = slow.next().await;
    while message["target"] == "Beside" {
        message = slow.next().await;
    }
    assert_eq!(message, json!({"type": 3, "invocationId": "w", "result": 3}));
}

#[tokio::test]
async fn the_end_of_a_connection_is_the_end_of_its_streams() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    ask(&mut client, "1", "Endless", json!([])).await;
    ask(&mut client, "2", "InfiniteStream", json!([])).await;
    client.works().await;
    client.hang_up().await;
    let mut told = [server.probe.told().await, server.probe.told().await];
    told.sort();
    assert_eq!(told, ["disconnected: well", "dropped"]);

    // A client is not told that its streams have ended well.
    for abort in [true, false] {
        let mut client = Client::connect(&server).await;
        ask(&mut client, "1", "Endless", json!([])).await;
        client.works().await;
        if abort {
            client.send(json!({"type": 1, "target": "Abort", "arguments": []})).await;
            assert_eq!(client.next().await, json!({"type": 7}));
        } else {
            client.send(json!({"type": 7})).await;
            assert_eq!(client.next().await, json!({"type": 7, "allowReconnect": true}));
        }
        assert_eq!(client.gone().await, 1000);
        let mut told = [server.probe.told().await, server.probe.told().await];
        told.sort();
        assert_eq!(told, ["disconnected: well", "dropped"]);
    }
}
