//! Layers around methods and hooks.

use std::sync::{Arc, Mutex};

use backplane_hub::{
    Call, Caller, Disconnect, Filter, Filtered, Hub, HubBuilder, HubError, Invocation,
    InvocationError, Needs, Next, Policy, Reply, State,
};
use backplane_memory::Medium;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    one_hub,
    scenarios::{Client, call, soon},
};

/// What happened, in order.
type Log = Mutex<Vec<String>>;

fn note(log: &Log, event: impl Into<String>) {
    log.lock().unwrap().push(event.into());
}

/// Tells what it is around, before and after.
struct Tells(&'static str, Arc<Log>);

impl Tells {
    fn around<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        Box::pin(async move {
            let target = invocation.target().to_owned();
            note(&self.1, format!("{} before {target}", self.0));
            tokio::task::yield_now().await;
            let outcome = next.run(invocation).await;
            let came = if outcome.is_ok() { "well" } else { "badly" };
            note(&self.1, format!("{} after {target}: {came}", self.0));
            outcome
        })
    }
}

impl Filter for Tells {
    fn call<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        self.around(invocation, next)
    }

    fn connected<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        self.around(invocation, next)
    }

    fn disconnected<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        self.around(invocation, next)
    }
}

fn two(hub: HubBuilder, log: &Arc<Log>) -> HubBuilder {
    let logged = |event: &'static str| {
        let log = Arc::clone(log);
        move || {
            note(&log, event);
            async {}
        }
    };
    hub.filter(Tells("outer", Arc::clone(log)))
        .method("Method", logged("method"))
        .on_connected(logged("connected"))
        .on_disconnected(logged("disconnected"))
        .filter(Tells("inner", Arc::clone(log)))
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

fn nested(what: &str, target: &str) -> Vec<String> {
    vec![
        format!("outer before {target}"),
        format!("inner before {target}"),
        what.to_owned(),
        format!("inner after {target}: well"),
        format!("outer after {target}: well"),
    ]
}

#[tokio::test]
async fn filters_nest_in_the_order_of_their_registration() {
    let log = Arc::new(Log::default());
    let hub = one_hub(|hub| two(hub, &log)).await;
    let mut client = Client::open(&hub).await;
    client.connection().connected().await.unwrap();
    assert_eq!(taken(&log), nested("connected", "on_connected"));
    client.invoke("mEtHoD", vec![]).await.unwrap();
    assert_eq!(taken(&log), nested("method", "Method"));
    client.leave().await;
    assert_eq!(taken(&log), nested("disconnected", "on_disconnected"));
}

#[tokio::test]
async fn filters_run_around_hooks_that_are_not_there() {
    let log = Arc::new(Log::default());
    let hub = one_hub(|hub| hub.filter(Tells("only", Arc::clone(&log)))).await;
    let mut client = Client::open(&hub).await;
    client.connection().connected().await.unwrap();
    client.leave().await;
    let told = taken(&log);
    assert_eq!(told.len(), 4, "{told:?}");
}

async fn never() {
    unreachable!("it is skipped");
}

/// Decides by what it sees.
struct Guard;

impl Filter for Guard {
    fn call<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        Box::pin(async move {
            let State(log) = invocation.extract::<State<Arc<Log>>>()?;
            let caller = invocation.caller();
            note(&log, format!("{} {}", invocation.target(), invocation.arguments()));
            match invocation.target() {
                "Skip" => return Ok(Reply::value("skipped")),
                "Refuse" => return Err(HubError::client("not today").into()),
                "Panic" => panic!("in a filter"),
                _ => {}
            }
            caller.clients().caller().send("Before", ()).await.map_err(HubError::from)?;
            match next.run(invocation).await {
                Ok(Reply::Value(value)) => {
                    let value = serde_json::to_value(value).map_err(HubError::from)?;
                    Ok(Reply::value((value, "changed")))
                }
                Ok(Reply::Items(items)) => {
                    let more = stream::once(async { Ok(Box::new("more") as _) });
                    Ok(Reply::Items(items.chain(more).boxed()))
                }
                Err(InvocationError::Failed(error)) => {
                    Err(HubError::client(format!("changed {}", error.message())).into())
                }
                Err(error) => Err(error),
            }
        })
    }

    fn needs(&self, needs: &mut Needs) {
        needs.state::<Arc<Log>>();
    }
}

#[tokio::test]
async fn filters_skip_and_change_what_is_inside() {
    let log = Arc::new(Log::default());
    let hub = one_hub(|hub| {
        hub.filter(Guard)
            .state(Arc::clone(&log))
            .method("Skip", never)
            .method("Refuse", never)
            .method("Panic", never)
            .method("Add", async |a: u8, b: u8| a + b)
            .method("Fail", async || Err::<(), _>(HubError::named("Odd", "secret")))
            .method_with("Secret", never, Policy::authenticated())
            .stream("Count", async |to: u8| stream::iter(0..to))
            .stream("SkipStream", async || stream::empty::<u8>())
    })
    .await;
    let mut client = Client::open(&hub).await;
    assert_eq!(client.invoke("skip", vec![]).await.unwrap(), "skipped");
    assert_eq!(
        client.invoke("add", vec![json!(1), json!(2)]).await.unwrap(),
        json!([3, "changed"])
    );
    client.expect("Before", json!([])).await;
    for (target, text) in
        [("refuse", "not today"), ("fail", "changed secret"), ("panic", "in a filter")]
    {
        match client.invoke(target, vec![]).await {
            Err(InvocationError::Failed(error)) => assert_eq!(error.message(), text),
            other => panic!("{other:?}"),
        }
    }
    client.expect("Before", json!([])).await;
    // Arguments are read inside of it, everything else is settled before.
    let outcome = client.invoke("add", vec![json!("one")]).await;
    assert!(matches!(outcome, Err(InvocationError::Arguments { .. })), "{outcome:?}");
    assert_eq!(taken(&log), ["Skip 0", "Add 2", "Refuse 0", "Fail 0", "Panic 0", "Add 1"]);
    for target in ["secret", "count", "none"] {
        client.invoke(target, vec![]).await.unwrap_err();
    }
    assert_eq!(taken(&log), [""; 0]);

    let asked = Call { streaming: Some(CancellationToken::new()), ..call("count", &[json!(2)]) };
    let Reply::Items(items) = client.call(asked).await.unwrap() else { panic!("a value") };
    let items: Vec<_> = soon("the end", items.collect()).await;
    let items: Vec<_> =
        items.into_iter().map(|item| serde_json::to_value(item.unwrap()).unwrap()).collect();
    assert_eq!(items, [json!(0), json!(1), json!("more")]);
}

/// Answers in another way than it is asked.
struct Confused;

impl Filter for Confused {
    fn call<'a>(&'a self, invocation: Invocation, _: Next<'a>) -> Filtered<'a> {
        Box::pin(async move {
            Ok(match invocation.target() {
                "Stream" => Reply::value(1),
                _ => Reply::Items(stream::empty().boxed()),
            })
        })
    }
}

#[tokio::test]
async fn a_filter_cannot_answer_what_was_not_asked_for() {
    let hub = one_hub(|hub| {
        hub.filter(Confused)
            .method("Method", async || {})
            .stream("Stream", async || stream::empty::<u8>())
    })
    .await;
    let client = Client::open(&hub).await;
    let asked = Call { streaming: Some(CancellationToken::new()), ..call("stream", &[]) };
    let outcome = client.call(asked).await;
    assert!(matches!(outcome, Err(InvocationError::NotAStream)), "{outcome:?}");
    let outcome = client.call(call("method", &[])).await;
    assert!(matches!(outcome, Err(InvocationError::Failed(_))), "{outcome:?}");
}

/// Lets nobody in, or everybody.
struct Door(bool, Arc<Log>);

impl Filter for Door {
    fn connected<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        Box::pin(async move {
            if !self.0 {
                return Err(HubError::client("closed").into());
            }
            // Whatever the hook says.
            let failed = next.run(invocation).await.is_err();
            Ok(Reply::value(failed))
        })
    }

    fn disconnected<'a>(&'a self, invocation: Invocation, _: Next<'a>) -> Filtered<'a> {
        async move {
            let why: Disconnect = invocation.extract()?;
            let caller: Caller = invocation.extract()?;
            note(&self.1, format!("{}: {:?}", caller.id(), why.error()));
            Ok(Reply::value(()))
        }
        .boxed()
    }
}

#[tokio::test]
async fn filters_swallow_and_make_failures_of_hooks() {
    for open in [true, false] {
        let log = Arc::new(Log::default());
        let ran = Arc::new(Log::default());
        let counted = Arc::clone(&ran);
        let hub = one_hub(|hub| {
            hub.filter(Door(open, Arc::clone(&log)))
                .on_connected(move || {
                    note(&counted, "ran");
                    async { Err::<(), _>(HubError::client("no")) }
                })
                .on_disconnected(never)
        })
        .await;
        let mut client = Client::open(&hub).await;
        let outcome = client.connection().connected().await;
        assert_eq!(
            outcome.err().map(|error| error.message().to_owned()),
            (!open).then(|| "closed".to_owned())
        );
        assert_eq!(taken(&ran).len(), usize::from(open));
        client.take_connection().disconnected(Some("it broke")).await;
        assert_eq!(taken(&log), [format!("{}: Some(\"it broke\")", client.id)]);
    }
}

#[tokio::test]
async fn what_a_filter_needs_is_asked_for_when_the_hub_is_built() {
    let node: Arc<dyn backplane_hub::Backplane> = Arc::new(Medium::new().node());
    let hub = Hub::builder("h").backplane(node).filter(Guard);
    let told = hub.build().unwrap_err().to_string();
    assert!(told.contains("filter 1") && told.contains("Mutex"), "{told}");
}
