//! Streaming methods: items, failures, and what gives them up.

use std::{
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use backplane_hub::{
    Aborted, ByteSize, Call, Caller, HubBuilder, HubError, HubOptions, InvocationError, Policy,
    Reply, Returned, State,
};
use futures_util::{
    FutureExt, Stream, StreamExt, poll,
    stream::{self, BoxStream},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    one_hub,
    scenarios::{Client, call, soon},
};

type Items = BoxStream<'static, Result<Returned, HubError>>;

/// Asks for a stream.
async fn ask(
    client: &Client,
    target: &str,
    arguments: &[Value],
) -> Result<(Items, CancellationToken), InvocationError> {
    let cancel = CancellationToken::new();
    let asked = Call { streaming: Some(cancel.clone()), ..call(target, arguments) };
    match client.call(asked).await? {
        Reply::Items(items) => Ok((items, cancel)),
        Reply::Value(_) => panic!("{target} returned a value"),
    }
}

async fn stream(client: &Client, target: &str, arguments: &[Value]) -> (Items, CancellationToken) {
    ask(client, target, arguments).await.unwrap()
}

/// The next item; `None` behind the last one.
async fn next(items: &mut Items) -> Option<Value> {
    soon("an item", items.next()).await.map(|item| serde_json::to_value(item.unwrap()).unwrap())
}

async fn all(client: &Client, target: &str, arguments: &[Value]) -> Vec<Value> {
    let (mut items, _) = stream(client, target, arguments).await;
    let mut all = Vec::new();
    while let Some(item) = next(&mut items).await {
        all.push(item);
    }
    all
}

/// Counts the streams that were dropped.
#[derive(Debug, Clone, Default)]
struct Dropped(Arc<AtomicUsize>);

struct Guard(Dropped);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A stream that tells when it is dropped.
fn guarded<S: Stream + Send + 'static>(
    items: S,
    dropped: &Dropped,
) -> impl Stream<Item = S::Item> + use<S> {
    let guard = Guard(dropped.clone());
    items.map(move |item| {
        let _ = &guard;
        item
    })
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("the well is dry")]
struct Dry;

async fn count(from: u32, to: u32) -> impl Stream<Item = u32> {
    stream::iter(from..to)
}

async fn evens(to: i32) -> Result<impl Stream<Item = Result<i32, Dry>>, HubError> {
    if to < 0 {
        return Err(HubError::client("not that way"));
    }
    Ok(stream::iter((0..to).map(|number| if number % 2 == 0 { Ok(number) } else { Err(Dry) })))
}

#[tokio::test]
async fn streams_of_every_shape() {
    let hub = one_hub(|hub| {
        hub.stream("Count", count)
            .stream("Evens", evens)
            .stream("Empty", async || stream::empty::<u8>())
            .stream("Nullable", async |it: Option<u8>| stream::iter([it, None]))
            .stream("Later", |caller: Caller| async move {
                let id = caller.id().to_string();
                stream::once(async move {
                    tokio::task::yield_now().await;
                    id
                })
            })
    })
    .await;
    let client = Client::open(&hub).await;
    assert_eq!(all(&client, "count", &[json!(2), json!(5)]).await, [2, 3, 4]);
    assert_eq!(all(&client, "EVENS", &[json!(1)]).await, [0]);
    assert_eq!(all(&client, "empty", &[]).await, Vec::<Value>::new());
    assert_eq!(all(&client, "nullable", &[json!(null)]).await, [Value::Null, Value::Null]);
    assert_eq!(all(&client, "nullable", &[json!(1)]).await, [json!(1), Value::Null]);
    assert_eq!(all(&client, "later", &[]).await, [json!(&*client.id)]);
    assert_eq!(hub.stats().invocations, 6);
}

#[tokio::test]
async fn what_is_asked_for_in_the_wrong_way_does_not_run() {
    let ran = Dropped::default();
    let hub = one_hub(|hub| {
        let runs = |ran: State<Dropped>| async move {
            ran.0.0.fetch_add(1, Ordering::SeqCst);
        };
        hub.state(ran.clone())
            .method("Plain", runs)
            .stream("Stream", move |ran: State<Dropped>| async move {
                runs(ran).await;
                stream::empty::<u8>()
            })
            .stream_with("Secret", count, Policy::authenticated())
    })
    .await;
    let client = Client::open(&hub).await;
    let outcome = client.invoke("stream", vec![]).await;
    assert!(matches!(outcome, Err(InvocationError::Streaming)), "{outcome:?}");
    let refused = async |target| ask(&client, target, &[]).await.err().unwrap();
    assert!(matches!(refused("plain").await, InvocationError::NotStreaming));
    assert!(matches!(refused("none").await, InvocationError::UnknownMethod));
    // Who may not call it is not told what it is.
    assert!(matches!(refused("secret").await, InvocationError::Unauthorized));
    let outcome = client.invoke("secret", vec![]).await;
    assert!(matches!(outcome, Err(InvocationError::Unauthorized)), "{outcome:?}");
    assert_eq!(ran.0.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn failures_before_and_within_a_stream() {
    let dropped = Dropped::default();
    let hub = one_hub(|hub| {
        hub.stream("Evens", evens).state(dropped.clone()).stream(
            "Panic",
            |dropped: State<Dropped>| async move {
                guarded(stream::iter(0..3).inspect(|it| assert!(*it < 1, "at {it}")), &dropped)
            },
        )
    })
    .await;
    let client = Client::open(&hub).await;
    match ask(&client, "evens", &[json!(-1)]).await.err() {
        Some(InvocationError::Failed(error)) => {
            assert_eq!((error.is_public(), error.message()), (true, "not that way"));
        }
        other => panic!("{other:?}"),
    }
    let outcome = ask(&client, "evens", &[json!("many")]).await.err();
    assert!(matches!(outcome, Some(InvocationError::Arguments { .. })), "{outcome:?}");

    let (mut items, _) = stream(&client, "evens", &[json!(9)]).await;
    assert_eq!(next(&mut items).await, Some(json!(0)));
    let error = items.next().await.unwrap().err().unwrap();
    assert_eq!((error.kind(), error.message()), ("Dry", "the well is dry"));
    // Behind its first error it has ended.
    assert!(items.next().await.is_none());

    let (mut items, _) = stream(&client, "panic", &[]).await;
    assert_eq!(next(&mut items).await, Some(json!(0)));
    let error = items.next().await.unwrap().err().unwrap();
    assert_eq!((error.is_public(), error.kind(), error.message()), (false, "Panic", "at 1"));
    assert!(items.next().await.is_none());
    assert_eq!(dropped.0.load(Ordering::SeqCst), 1);
}

fn streams_that_do_not_end(hub: HubBuilder) -> HubBuilder {
    hub.stream("Silent", |dropped: State<Dropped>| async move {
        guarded(stream::pending::<u8>(), &dropped)
    })
    .stream("Loud", |dropped: State<Dropped>| async move { guarded(stream::repeat(1), &dropped) })
    .stream("Never", |State(dropped): State<Dropped>| async move {
        let _guard = Guard(Dropped::clone(&dropped));
        pending::<()>().await;
        stream::empty::<u8>()
    })
}

#[tokio::test]
async fn a_stream_that_is_given_up_is_dropped_where_it_stands() {
    let dropped = Dropped::default();
    let hub = one_hub(|hub| streams_that_do_not_end(hub.state(dropped.clone()))).await;
    let client = Client::open(&hub).await;
    for (done, target) in ["silent", "loud"].into_iter().enumerate() {
        let (mut items, cancel) = stream(&client, target, &[]).await;
        let first = items.next().now_or_never();
        assert_eq!(first.is_some(), target == "loud");
        assert_eq!(dropped.0.load(Ordering::SeqCst), done);
        cancel.cancel();
        assert_eq!(next(&mut items).await, None);
        // Before the front end drops what it holds.
        assert_eq!(dropped.0.load(Ordering::SeqCst), done + 1);
    }
    // Where there is no stream yet, the method is dropped.
    let cancel = CancellationToken::new();
    let asked = Call { streaming: Some(cancel.clone()), ..call("never", &[]) };
    let mut running = Box::pin(client.connection().call(asked));
    assert!(poll!(&mut running).is_pending());
    cancel.cancel();
    let Reply::Items(mut items) = running.await.unwrap() else { panic!("a value") };
    assert_eq!(next(&mut items).await, None);
    assert_eq!(dropped.0.load(Ordering::SeqCst), 3);
    // What was given up before it began does not begin.
    let asked = Call { streaming: Some(cancel), ..call("never", &[]) };
    let Reply::Items(mut items) = client.call(asked).await.unwrap() else { panic!("a value") };
    assert_eq!(next(&mut items).await, None);
    assert_eq!(dropped.0.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_end_of_a_connection_ends_its_streams() {
    let dropped = Dropped::default();
    let hub = one_hub(|hub| streams_that_do_not_end(hub.state(dropped.clone()))).await;
    let mut client = Client::open(&hub).await;
    let mut open = Vec::new();
    for target in ["silent", "loud"] {
        open.push(stream(&client, target, &[]).await);
    }
    let asked = Call { streaming: Some(CancellationToken::new()), ..call("never", &[]) };
    let running = tokio::spawn(client.connection().call(asked));
    tokio::task::yield_now().await;
    client.leave().await;
    for (mut items, _) in open {
        assert_eq!(next(&mut items).await, None);
    }
    let Reply::Items(mut items) = soon("the end", running).await.unwrap().unwrap() else {
        panic!("a value")
    };
    assert_eq!(next(&mut items).await, None);
    assert_eq!(dropped.0.load(Ordering::SeqCst), 3);
}

/// Streams nothing, and says so when it is given up.
async fn infinite(caller: Caller, aborted: Aborted) -> impl Stream<Item = u8> {
    let told = async move {
        aborted.wait().await;
        caller.clients().caller().send("StreamCanceled", ()).await.unwrap();
    };
    stream::once(told).filter_map(|()| ready(None))
}

#[tokio::test]
async fn a_stream_that_is_told_ends_by_itself() {
    let dropped = Dropped::default();
    let hub = one_hub(|hub| {
        hub.state(dropped.clone())
            .stream("Infinite", infinite)
            // Goes on for a while, which nobody hears, and fails, which nobody hears either.
            .stream("Goes", |aborted: Aborted, dropped: State<Dropped>| async move {
                let before = stream::repeat(Ok(1)).take_while({
                    let aborted = aborted.clone();
                    move |_| ready(!aborted.is_aborted())
                });
                let after = stream::iter(0..1000).map(|number| match number {
                    999 => Err(Dry),
                    number => Ok(number),
                });
                guarded(before.chain(after), &dropped)
            })
            .stream("Deaf", |_: Aborted, dropped: State<Dropped>| async move {
                guarded(stream::repeat(1), &dropped)
            })
    })
    .await;
    let mut client = Client::open(&hub).await;

    let (mut items, cancel) = stream(&client, "infinite", &[]).await;
    assert!(poll!(items.next()).is_pending());
    cancel.cancel();
    assert_eq!(next(&mut items).await, None);
    client.expect("StreamCanceled", json!([])).await;
    // Given up right behind the call.
    let cancel = CancellationToken::new();
    cancel.cancel();
    let asked = Call { streaming: Some(cancel), ..call("infinite", &[]) };
    let Reply::Items(mut items) = client.call(asked).await.unwrap() else { panic!("a value") };
    assert_eq!(next(&mut items).await, None);
    client.expect("StreamCanceled", json!([])).await;

    let (mut items, cancel) = stream(&client, "goes", &[]).await;
    assert_eq!(next(&mut items).await, Some(json!(1)));
    cancel.cancel();
    assert_eq!(next(&mut items).await, None);
    assert_eq!(dropped.0.load(Ordering::SeqCst), 1);

    // One that does not listen does not keep others from their turn either.
    let (mut items, cancel) = stream(&client, "deaf", &[]).await;
    cancel.cancel();
    for _ in 0..100 {
        assert!(poll!(items.next()).is_pending());
    }
    drop(items);
    assert_eq!(dropped.0.load(Ordering::SeqCst), 2);

    // The end of the connection is told of as well.
    let (mut items, _) = stream(&client, "goes", &[]).await;
    assert_eq!(next(&mut items).await, Some(json!(1)));
    client.leave().await;
    assert_eq!(next(&mut items).await, None);
}

fn narrow(messages: usize, bytes: u64) -> impl FnOnce(HubBuilder) -> HubBuilder {
    move |hub| {
        let mut options = HubOptions::default();
        options.outbound_messages = messages;
        options.outbound_bytes = ByteSize::b(bytes);
        hub.options(options)
    }
}

#[tokio::test]
async fn replies_that_wait_for_room_leave_room_for_others() {
    let hub = one_hub(narrow(8, 1000)).await;
    let mut client = Client::open(&hub).await;
    let replies = client.connection().replies();
    let told = |name: &str, size: usize| {
        let text = json!(["plain", name, ["x".repeat(size)], null, null]).to_string();
        bytes::Bytes::from(text)
    };
    // Two of eight messages.
    for _ in 0..2 {
        assert!(poll!(Box::pin(replies.room(1))).is_ready());
        replies.send(told("item", 1));
    }
    let mut room = Box::pin(replies.room(1));
    assert!(poll!(&mut room).is_pending());
    // The hub's own messages have the rest.
    for number in 0..6 {
        hub.clients().connection(&client.id).send("own", &number).await.unwrap();
    }
    assert_eq!(hub.stats().closed_slow, 0);
    client.next().await.unwrap();
    soon("room", room).await;

    // A quarter of the bytes, or whatever there is alone.
    while client.has_waiting() {
        client.next().await.unwrap();
    }
    assert!(poll!(Box::pin(replies.room(5000))).is_ready());
    replies.send(told("large", 100));
    assert!(poll!(Box::pin(replies.room(100))).is_ready());
    assert!(poll!(Box::pin(replies.room(300))).is_pending());
    client.next().await.unwrap();
    assert!(poll!(Box::pin(replies.room(300))).is_ready());
    replies.send(told("large", 5000));
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let replies = replies.clone();
            tokio::spawn(async move { replies.room(1).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    client.break_off();
    for waiting in waiting {
        soon("the end", waiting).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_waits_for_room_behind_the_end() {
    let hub = one_hub(narrow(8, 1000)).await;
    for abort in [true, false] {
        let mut client = Client::open(&hub).await;
        let replies = client.connection().replies();
        (0..2).for_each(|_| replies.send("x".into()));
        let mut room = Box::pin(replies.room(1));
        assert!(poll!(&mut room).is_pending());
        if abort {
            for _ in 0..9 {
                hub.clients().connection(&client.id).send("own", ()).await.unwrap();
            }
            client.ended().await;
        } else {
            client.leave().await;
        }
        soon("room", room).await;
        replies.send("x".into());
    }
}
