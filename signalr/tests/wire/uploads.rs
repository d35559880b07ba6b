//! Streams that clients send.

use std::num::NonZeroUsize;

use backplane_hub::{HubBuilder, HubError, State, Upload};
use backplane_signalr::Options;
use futures_util::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    client::Client,
    server::{Probe, Server},
};

#[derive(Debug, Deserialize)]
struct Reading {
    value: u32,
}

/// Reads when it is let, and tells of what it reads.
async fn slow(mut items: Upload<u32>, State(probe): State<Probe>) -> Result<u32, HubError> {
    let mut sum = 0;
    loop {
        probe.pass().await;
        probe.tell("reads").await;
        match items.try_next().await {
            Ok(Some(number)) => sum += number,
            Ok(None) => return Ok(sum),
            Err(error) => {
                probe.tell(error.message()).await;
                return Err(error);
            }
        }
    }
}

fn described(hub: HubBuilder) -> HubBuilder {
    hub.method("StreamingConcat", async |text: Upload<String>| -> Result<String, HubError> {
        text.try_collect().await
    })
    .method("Sum", async |readings: Upload<Reading>| -> Result<u32, HubError> {
        readings.try_fold(0, async |sum, it| Ok(sum + it.value)).await
    })
    .method("Zip", async |a: Upload<u32>, name: String, b: Upload<String>| {
        let pairs: Vec<_> = a.zip(b).map(|(a, b)| Ok::<_, HubError>((a?, b?))).collect().await;
        Ok::<_, HubError>((name, pairs.into_iter().collect::<Result<Vec<_>, _>>()?))
    })
    .stream("Double", async |numbers: Upload<u32>| numbers.map_ok(|number| 2 * number))
    .method("Slow", slow)
    .method("First", async |mut items: Upload<u32>| items.try_next().await)
    .method("Tell", async |text: String, State(probe): State<Probe>| probe.tell(text).await)
    .method("TellAll", async |text: Upload<String>, State(probe): State<Probe>| {
        let told: Result<String, _> = text.try_collect().await;
        probe.tell(told.unwrap_or_else(|error| error.to_string())).await;
    })
}

async fn serve(options: Options) -> Server {
    Server::with(options, described).await
}

async fn begin(client: &mut Client, target: &str, arguments: Value, streams: &[&str]) {
    client
        .send(json!({"type": 1, "invocationId": "c", "target": target, "arguments": arguments, "streamIds": streams}))
        .await;
}

async fn item(client: &mut Client, id: &str, item: Value) {
    client.send(json!({"type": 2, "invocationId": id, "item": item})).await;
}

async fn end(client: &mut Client, id: &str) {
    client.send(json!({"type": 3, "invocationId": id})).await;
}

#[tokio::test]
async fn items_come_beside_arguments() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    begin(&mut client, "streamingConcat", json!([]), &["1"]).await;
    for text in ["to", "get", "her"] {
        item(&mut client, "1", json!(text)).await;
        // Neither the call nor its stream waits for a place.
        client.works().await;
    }
    end(&mut client, "1").await;
    assert_eq!(client.completion("c").await, json!({"result": "together"}));

    begin(&mut client, "Sum", json!([]), &["1"]).await;
    for value in 1..=100 {
        item(&mut client, "1", json!({"value": value, "sensor": "a"})).await;
    }
    // A stream has no result, but some clients write one.
    client.send(json!({"type": 3, "invocationId": "1", "result": null})).await;
    assert_eq!(client.completion("c").await, json!({"result": 5050}));

    begin(&mut client, "Zip", json!(["pairs"]), &["a", "b"]).await;
    for number in 0..3 {
        item(&mut client, "b", json!(number.to_string())).await;
        item(&mut client, "a", json!(number)).await;
    }
    end(&mut client, "b").await;
    end(&mut client, "a").await;
    let pairs = json!(["pairs", [[0, "0"], [1, "1"], [2, "2"]]]);
    assert_eq!(client.completion("c").await, json!({"result": pairs}));
}

#[tokio::test]
async fn streams_both_ways() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    client
        .send(json!({"type": 4, "invocationId": "c", "target": "Double", "arguments": [], "streamIds": ["1"]}))
        .await;
    for number in 0..20 {
        item(&mut client, "1", json!(number)).await;
        assert_eq!(
            client.next().await,
            json!({"type": 2, "invocationId": "c", "item": 2 * number})
        );
    }
    end(&mut client, "1").await;
    assert_eq!(client.completion("c").await, json!({}));
    // What fails on the way in is what fails on the way out.
    client
        .send(json!({"type": 4, "invocationId": "c", "target": "Double", "arguments": [], "streamIds": ["1"]}))
        .await;
    client.send(json!({"type": 3, "invocationId": "1", "error": "no more"})).await;
    let text = "An error occurred on the server while streaming results. HubException: no more";
    assert_eq!(client.completion("c").await, json!({"error": text}));
}

#[tokio::test]
async fn uploads_without_an_answer() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    client.send(json!({"type": 1, "target": "TellAll", "arguments": [], "streamIds": ["1"]})).await;
    for text in ["to", "get", "her"] {
        item(&mut client, "1", json!(text)).await;
    }
    end(&mut client, "1").await;
    assert_eq!(server.probe.told().await, "together");
    for (target, streams) in
        [("TellAll", json!(["1", "2"])), ("Nope", json!(["1"])), ("First", json!(["1", "1"]))]
    {
        client
            .send(json!({"type": 1, "target": target, "arguments": [], "streamIds": streams}))
            .await;
    }
    client.works().await;
}

#[tokio::test]
async fn uploads_that_go_wrong() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let failed = |target: &str, detail: &str| {
        let text = format!(
            "An unexpected error occurred invoking '{target}' on the server. HubException: {detail}"
        );
        json!({"error": text})
    };
    begin(&mut client, "StreamingConcat", json!([]), &["1"]).await;
    for wrong in [json!("a"), json!({"b": 1}), json!("c")] {
        item(&mut client, "1", wrong).await;
    }
    assert_eq!(
        client.completion("c").await,
        failed("StreamingConcat", "Failed to bind Stream message.")
    );
    // What comes late is ignored.
    item(&mut client, "1", json!("d")).await;
    end(&mut client, "1").await;
    client.works().await;

    begin(&mut client, "StreamingConcat", json!([]), &["1"]).await;
    item(&mut client, "1", json!("a")).await;
    item(&mut client, "2", json!("b")).await;
    client.send(json!({"type": 3, "invocationId": "1", "error": "Something bad"})).await;
    assert_eq!(client.completion("c").await, failed("StreamingConcat", "Something bad"));

    for (streams, sent) in [(&["1", "2"][..], 2), (&["1", "2", "3"], 3)] {
        begin(&mut client, "StreamingConcat", json!([]), streams).await;
        let text = format!("Client sent {sent} stream(s), Hub method expects 1.");
        assert_eq!(client.completion("c").await, failed("StreamingConcat", &text));
    }
    begin(&mut client, "Add", json!([1, 2]), &["1"]).await;
    assert_eq!(
        client.completion("c").await,
        failed("Add", "Client sent 1 stream(s), Hub method expects 0.")
    );
    assert_eq!(
        client.invoke("StreamingConcat", json!([])).await,
        failed("StreamingConcat", "Client sent 0 stream(s), Hub method expects 1.")
    );
    // Nothing of them is left: the ids are free.
    begin(&mut client, "First", json!([]), &["1"]).await;
    item(&mut client, "1", json!(7)).await;
    assert_eq!(client.completion("c").await, json!({"result": 7}));
}

#[tokio::test]
async fn what_comes_behind_a_methods_end_is_ignored() {
    let capacity = NonZeroUsize::new(1).unwrap();
    let server = serve(Options::new().stream_capacity(capacity)).await;
    let mut client = Client::connect(&server).await;
    // While nothing runs, nothing is kept that could be wrong.
    let target = "StreamingConcat";
    client
        .send(json!({
            "type": 1, "invocationId": "beside", "target": target, "arguments": [], "streamIds": ["beside"],
        }))
        .await;
    for round in 0..3 {
        // Its id is free though the client has not ended the stream before.
        begin(&mut client, "First", json!([]), &["1"]).await;
        item(&mut client, "1", json!(round)).await;
        assert_eq!(client.completion("c").await, json!({"result": round}));
        for late in [json!(8), json!("of another type"), json!(9)] {
            item(&mut client, "1", late).await;
        }
        client.works().await;
    }
    end(&mut client, "1").await;
    client.works().await;
}

#[tokio::test]
async fn ids_that_are_in_use() {
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    begin(&mut client, "StreamingConcat", json!([]), &["1"]).await;
    for (streams, id) in [(&["1"][..], "1"), (&["2", "2"], "2"), (&["3", "1"], "1")] {
        client
            .send(json!({"type": 4, "invocationId": "d", "target": "Double", "arguments": [], "streamIds": streams}))
            .await;
        let text = format!("Invocation ID '{id}' is already in use.");
        assert_eq!(client.completion("d").await, json!({"error": text}));
    }
    item(&mut client, "1", json!("fine")).await;
    end(&mut client, "1").await;
    assert_eq!(client.completion("c").await, json!({"result": "fine"}));
}

#[tokio::test]
async fn a_method_that_does_not_read_holds_up_its_client() {
    let capacity = NonZeroUsize::new(3).unwrap();
    let server = serve(Options::new().stream_capacity(capacity)).await;
    let mut client = Client::connect(&server).await;
    begin(&mut client, "Slow", json!([]), &["1"]).await;
    for number in 1..=3 {
        item(&mut client, "1", json!(number)).await;
    }
    client.works().await;
    item(&mut client, "1", json!(4)).await;
    client.call("t", "Tell", json!(["behind"])).await;
    // Others are not held up.
    let mut other = Client::connect(&server).await;
    other.works().await;
    server.probe.release();
    assert_eq!(server.probe.told().await, "reads");
    assert_eq!(server.probe.told().await, "behind");
    assert_eq!(client.completion("t").await, json!({"result": null}));
    end(&mut client, "1").await;
    for _ in 0..4 {
        server.probe.release();
        assert_eq!(server.probe.told().await, "reads");
    }
    assert_eq!(client.completion("c").await, json!({"result": 10}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_items_waits_in_the_network() {
    const ITEMS: u32 = 30_000;
    let server = serve(Options::new()).await;
    let mut client = Client::connect(&server).await;
    begin(&mut client, "Slow", json!([]), &["1"]).await;
    let flood = tokio::spawn(async move {
        for number in 0..ITEMS {
            // For a type that does not look at what else is there.
            let padding = "x".repeat(1000);
            let message = json!({"type": 2, "invocationId": "1", "item": number, "more": padding});
            client.send(message).await;
        }
        end(&mut client, "1").await;
        client.completion("c").await
    });
    let mut other = Client::connect(&server).await;
    for _ in 0..1000 {
        other.works().await;
    }
    // More than sockets hold.
    assert!(!flood.is_finished());
    for _ in 0..=ITEMS {
        server.probe.release();
        assert_eq!(server.probe.told().await, "reads");
    }
    let sum = ITEMS * (ITEMS - 1) / 2;
    assert_eq!(flood.await.unwrap(), json!({"result": sum}));
}

#[tokio::test]
async fn the_end_of_a_connection_fails_what_it_sends() {
    let server = serve(Options::new()).await;
    for full in [false, true] {
        let mut client = Client::connect(&server).await;
        begin(&mut client, "Slow", json!([]), &["1"]).await;
        item(&mut client, "1", json!(1)).await;
        client.works().await;
        if full {
            for _ in 0..20 {
                item(&mut client, "1", json!(1)).await;
            }
            // The server does not read, and sees the end when it writes.
            drop(client);
            for _ in 0..12 {
                server.probe.release();
            }
        } else {
            client.hang_up().await;
            server.probe.release();
            server.probe.release();
        }
        let mut told = Vec::new();
        while !told.iter().any(|told: &String| told.contains("has ended")) {
            told.push(server.probe.told().await);
            if full {
                server.probe.release();
            }
        }
        let reads = told.iter().filter(|it| *it == "reads").count();
        assert!(if full { reads > 10 } else { reads == 2 }, "{told:?}");
    }
}
