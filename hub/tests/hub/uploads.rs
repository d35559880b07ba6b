//! What clients stream to methods.

use std::collections::BTreeMap;

use backplane_hub::{
    Call, Caller, HubBuilder, HubError, InvocationError, Reply, State, Upload, UploadSender, upload,
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt, poll};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    one_hub,
    scenarios::{Client, call, soon},
};

/// A call and the ends of its uploads, of at most four items and 100 bytes each.
fn with_uploads(target: &str, arguments: &[Value], count: usize) -> (Call, Vec<UploadSender>) {
    let (senders, uploads) = (0..count).map(|_| upload(4, 100)).unzip();
    (Call { uploads, ..call(target, arguments) }, senders)
}

async fn send(upload: &UploadSender, item: Value) {
    soon("room", upload.send(item.to_string().into())).await;
}

/// What was answered.
fn value(outcome: Result<Reply, InvocationError>) -> Value {
    match outcome.unwrap() {
        Reply::Value(value) => serde_json::to_value(value).unwrap(),
        Reply::Items(_) => panic!("a stream"),
    }
}

fn failure(outcome: Result<Reply, InvocationError>) -> HubError {
    match outcome {
        Err(InvocationError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn concat(upload: Upload<String>) -> Result<String, HubError> {
    upload.try_collect().await
}

#[derive(Debug, Deserialize, Serialize)]
struct Reading {
    sensor: String,
    value: f64,
}

fn described(hub: HubBuilder) -> HubBuilder {
    hub.method("Concat", concat)
        .method("Mean", async |readings: Upload<Reading>| {
            let values: Vec<f64> = readings.map_ok(|it| it.value).try_collect().await?;
            Ok::<_, HubError>(values.iter().sum::<f64>() / values.len() as f64)
        })
        .method(
            "Zip",
            |a: Upload<u32>, name: String, b: Upload<String>, caller: Caller| async move {
                let pairs: Vec<_> = a.zip(b).collect().await;
                assert!(!caller.id().is_empty());
                let pairs = pairs.into_iter().map(|(a, b)| Ok((a?, b?)));
                Ok::<_, HubError>((name, pairs.collect::<Result<BTreeMap<_, _>, HubError>>()?))
            },
        )
        .stream("Double", async |numbers: Upload<u32>| numbers.map_ok(|number| 2 * number))
        .method("First", async |mut numbers: Upload<u32>| numbers.try_next().await)
        .method("Ignore", async |_: Upload<u32>| {})
}

#[tokio::test]
async fn uploads_come_beside_arguments() {
    let hub = one_hub(described).await;
    let client = Client::open(&hub).await;
    let (call, mut uploads) = with_uploads("concat", &[], 1);
    let concat = uploads.remove(0);
    for item in ["to", "get", "her"] {
        send(&concat, json!(item)).await;
    }
    let running = tokio::spawn(client.connection().call(call));
    concat.finish(None);
    assert_eq!(value(soon("the end", running).await.unwrap()), "together");

    let (call, mut uploads) = with_uploads("mean", &[], 1);
    let mean = uploads.remove(0);
    let running = tokio::spawn(client.connection().call(call));
    for value in 1..=1000 {
        send(&mean, json!({"sensor": "a", "value": value})).await;
    }
    mean.finish(None);
    assert_eq!(value(soon("the end", running).await.unwrap()), 500.5);

    // The first stream is for the first upload, wherever arguments stand.
    let (call, uploads) = with_uploads("ZIP", &[json!("pairs")], 2);
    let running = tokio::spawn(client.connection().call(call));
    for number in 0..3 {
        send(&uploads[1], json!(number.to_string())).await;
        send(&uploads[0], json!(number)).await;
    }
    uploads.into_iter().for_each(|upload| upload.finish(None));
    let answer = value(soon("the end", running).await.unwrap());
    assert_eq!(answer, json!(["pairs", {"0": "0", "1": "1", "2": "2"}]));
}

#[tokio::test]
async fn items_can_be_answered_as_they_come() {
    let hub = one_hub(described).await;
    let client = Client::open(&hub).await;
    let (call, mut uploads) = with_uploads("double", &[], 1);
    let numbers = uploads.remove(0);
    let call = Call { streaming: Some(CancellationToken::new()), ..call };
    let Reply::Items(mut doubled) = client.call(call).await.unwrap() else { panic!("a value") };
    for number in 0..10 {
        assert!(poll!(doubled.next()).is_pending());
        send(&numbers, json!(number)).await;
        let answer = soon("an item", doubled.next()).await.unwrap().unwrap();
        assert_eq!(serde_json::to_value(answer).unwrap(), json!(2 * number));
    }
    numbers.finish(None);
    assert!(soon("the end", doubled.next()).await.is_none());
}

#[tokio::test]
async fn too_many_or_too_few() {
    let hub = one_hub(described).await;
    let client = Client::open(&hub).await;
    for (target, given, wanted) in [("concat", 0, 1), ("concat", 2, 1), ("zip", 1, 2)] {
        let (call, uploads) = with_uploads(target, &[json!(1)], given);
        match client.call(call).await.err() {
            Some(InvocationError::Uploads { sent, expected }) => {
                assert_eq!((sent, expected), (given, wanted));
            }
            other => panic!("{other:?}"),
        }
        assert!(uploads.iter().all(UploadSender::is_closed));
    }
    // They don't count as arguments.
    let (call, _uploads) = with_uploads("zip", &[], 2);
    let outcome = client.call(call).await;
    assert!(matches!(outcome, Err(InvocationError::Arguments { .. })), "{outcome:?}");
}

#[tokio::test]
async fn uploads_that_go_wrong() {
    let hub = one_hub(described).await;
    let client = Client::open(&hub).await;
    let begin = || {
        let (call, mut uploads) = with_uploads("concat", &[], 1);
        (tokio::spawn(client.connection().call(call)), uploads.remove(0))
    };

    // An item of another type ends it, and what comes behind is not looked at.
    let (running, upload) = begin();
    for item in [json!("a"), json!(1), json!("b")] {
        send(&upload, item).await;
    }
    let error = failure(soon("the failure", running).await.unwrap());
    assert_eq!((error.is_public(), error.message()), (true, "Failed to bind Stream message."));
    assert!(upload.is_closed());
    for _ in 0..100 {
        assert!(upload.send("\"c\"".into()).now_or_never().is_some());
    }
    upload.finish(None);

    // The client says why.
    let (running, upload) = begin();
    send(&upload, json!("a")).await;
    upload.finish(Some("Something bad"));
    let error = failure(soon("the failure", running).await.unwrap());
    assert_eq!((error.is_public(), error.kind()), (true, "HubException"));
    assert_eq!(error.message(), "Something bad");

    // The connection ends.
    let (running, upload) = begin();
    send(&upload, json!("a")).await;
    drop(upload);
    let error = failure(soon("the failure", running).await.unwrap());
    assert_eq!((error.is_public(), error.kind()), (false, "ConnectionEnded"));
}

#[tokio::test]
async fn a_full_upload_holds_up_who_fills_it() {
    let (gate, mut gates) = mpsc::channel::<()>(1);
    let hub = one_hub(|hub| {
        hub.state(Mutex::new(Some(gate))).method(
            "Slow",
            |numbers: Upload<Value>, State(gate): State<Mutex<Option<mpsc::Sender<()>>>>| async move {
                let gate = gate.lock().await.take().unwrap();
                let mut sum = 0;
                let mut numbers = numbers;
                while gate.send(()).await.is_ok() && let Some(number) = numbers.try_next().await? {
                    sum += number.as_u64().unwrap_or_default();
                }
                Ok::<_, HubError>(sum)
            },
        )
    })
    .await;
    let client = Client::open(&hub).await;
    let (call, mut uploads) = with_uploads("slow", &[], 1);
    let upload = uploads.remove(0);
    let fits = |item: &'static str| upload.send(Bytes::from_static(item.as_bytes())).now_or_never();
    for _ in 0..4 {
        assert!(fits("1").is_some());
    }
    // A fifth is given up, and has left nothing behind.
    assert!(fits("1000").is_none());
    let mut fifth = Box::pin(upload.send("5".into()));
    assert!(poll!(&mut fifth).is_pending());
    let running = tokio::spawn(client.connection().call(call));
    soon("room", fifth).await;
    // As soon as no more than is read has room.
    for _ in 0..5 {
        soon("a read", gates.recv()).await.unwrap();
    }
    upload.finish(None);
    drop(gates);
    soon("the end", running).await.unwrap().unwrap();

    // Bytes are bounded too, but one item always fits.
    let (sender, _receiver) = upload_of_hundred_bytes();
    let large = || Bytes::from(vec![b'1'; 60]);
    assert!(sender.send(Bytes::from(vec![b'1'; 5000])).now_or_never().is_some());
    assert!(sender.send(large()).now_or_never().is_none());
    let (sender, receiver) = upload_of_hundred_bytes();
    assert!(sender.send(large()).now_or_never().is_some());
    let mut second = Box::pin(sender.send(large()));
    assert!(poll!(&mut second).is_pending());
    // Who waits for room is not left to wait.
    drop(receiver);
    assert!(poll!(&mut second).is_ready());
}

fn upload_of_hundred_bytes() -> (UploadSender, backplane_hub::UploadReceiver) {
    upload(10, 100)
}

#[tokio::test]
async fn a_methods_end_is_the_end_of_its_uploads() {
    type Kept = Mutex<Vec<Upload<u32>>>;
    let hub = one_hub(|hub| {
        described(hub)
            .state(Kept::default())
            .method("Keep", |upload: Upload<u32>, kept: State<Kept>| async move {
                kept.lock().await.push(upload);
            })
            .stream("KeepAndStream", |upload: Upload<u32>, kept: State<Kept>| async move {
                kept.lock().await.push(upload);
                futures_util::stream::iter(0..2)
            })
            .method("Kept", |kept: State<Kept>| async move {
                let upload = kept.lock().await.pop().unwrap();
                let numbers: Vec<u32> = upload.try_collect().await?;
                Ok::<_, HubError>(numbers)
            })
    })
    .await;
    let client = Client::open(&hub).await;
    for target in ["first", "ignore"] {
        let (call, uploads) = with_uploads(target, &[], 1);
        send(&uploads[0], json!(7)).await;
        client.call(call).await.unwrap();
        assert!(uploads[0].is_closed());
    }
    // It can still read what waited, wherever it is, and waits for no more.
    let (call, uploads) = with_uploads("keep", &[], 1);
    send(&uploads[0], json!(7)).await;
    client.call(call).await.unwrap();
    assert!(uploads[0].is_closed());
    send(&uploads[0], json!(8)).await;
    assert_eq!(client.invoke("kept", vec![]).await.unwrap(), json!([7]));

    // A streaming method ends with its stream, or when that is dropped.
    for read in [true, false] {
        let (call, uploads) = with_uploads("KeepAndStream", &[], 1);
        let call = Call { streaming: Some(CancellationToken::new()), ..call };
        let Reply::Items(items) = client.call(call).await.unwrap() else { panic!("a value") };
        send(&uploads[0], json!(7)).await;
        assert!(!uploads[0].is_closed());
        if read {
            assert_eq!(soon("the end", items.count()).await, 2);
        } else {
            drop(items);
        }
        assert!(uploads[0].is_closed());
        assert_eq!(client.invoke("kept", vec![]).await.unwrap(), json!([7]));
    }
}

/// The type says that it can be handed on.
fn _is_a_stream(upload: Upload<u32>) -> impl Stream<Item = Result<u32, HubError>> + Send + Unpin {
    upload
}
