//! Handlers: arguments, extractors, results, failures, policies, hooks.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use backplane_hub::{
    Aborted, ArgumentsError, Call, Caller, Claims, ConnectionId, Disconnect, End, Extract, Hub,
    HubError, Invocation, InvocationError, Items, Needs, Opening, Policy, Reply, State, Trace,
    User,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    one_hub,
    scenarios::{Client, Plain, soon},
};

#[derive(Debug, Default)]
struct Shop {
    orders: AtomicU64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    item: String,
    quantity: u32,
}

async fn place_order(
    caller: Caller,
    State(shop): State<Shop>,
    order: Order,
) -> Result<String, HubError> {
    if order.quantity == 0 {
        return Err(HubError::client("nothing to order"));
    }
    let number = shop.orders.fetch_add(1, Ordering::Relaxed);
    caller.clients().caller().send("Placed", &order).await?;
    Ok(format!("order {number}"))
}

#[allow(clippy::too_many_arguments, reason = "as many as a method may have")]
async fn sum(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64) -> i64 {
    a + b + c + d + e + f + g + h
}

/// Arguments and extractors in any order.
#[allow(clippy::too_many_arguments, reason = "one of each kind")]
async fn mixed(
    first: String,
    caller: Caller,
    second: Option<u8>,
    shop: State<Shop>,
    items: Items,
    Trace(trace): Trace,
    third: Vec<u8>,
    aborted: Aborted,
) -> (String, Option<u8>, Vec<u8>, Option<String>) {
    assert!(!aborted.is_aborted());
    assert_eq!(shop.orders.load(Ordering::Relaxed), 0);
    items.insert(caller.id().clone());
    (first, second, third, trace.as_deref().map(str::to_owned))
}

async fn nothing() {}

#[tokio::test]
async fn arguments_and_extractors_in_any_mix() {
    let hub = one_hub(|hub| {
        hub.state(Shop::default())
            .method("PlaceOrder", place_order)
            .method("Sum", sum)
            .method("Mixed", mixed)
            .method("Nothing", nothing)
            .method("Closure", |text: String| async move { text.len() })
    })
    .await;
    let mut client = Client::open(&hub).await;

    let returned = client.invoke("mixed", vec![json!("a"), json!(null), json!([1, 2])]).await;
    assert_eq!(returned.unwrap(), json!(["a", null, [1, 2], null]));
    let raw = [r#""a""#, "7", "[]"].map(Bytes::from).to_vec();
    let traced = Call { trace: Some("00-1-2-01".into()), ..Call::new("MIXED", raw) };
    let Reply::Value(value) = client.call(traced).await.unwrap() else { panic!("a stream") };
    assert_eq!(serde_json::to_value(value).unwrap(), json!(["a", 7, [], "00-1-2-01"]));

    let order = json!({"item": "tea", "quantity": 2});
    let returned = client.invoke("PlaceOrder", vec![order.clone()]).await;
    assert_eq!(returned.unwrap(), json!("order 0"));
    client.expect("Placed", json!([order])).await;

    let eight = (1..=8).map(Value::from).collect();
    assert_eq!(client.invoke("sum", eight).await.unwrap(), json!(36));
    assert_eq!(client.invoke("Nothing", vec![]).await.unwrap(), Value::Null);
    assert_eq!(client.invoke("closure", vec![json!("four")]).await.unwrap(), json!(4));
}

#[tokio::test]
async fn arguments_that_do_not_fit() {
    let hub = one_hub(|hub| hub.method("Sum", |a: u8, b: u8| async move { a + b })).await;
    let client = Client::open(&hub).await;
    let outcome = client.invoke("sum", vec![json!(1)]).await;
    assert!(matches!(
        outcome,
        Err(InvocationError::Arguments { detail: ArgumentsError::Count { given: 1, expected: 2 } })
    ));
    let outcome = client.invoke("sum", vec![json!(1), json!(2), json!(3)]).await;
    assert!(matches!(
        outcome,
        Err(InvocationError::Arguments { detail: ArgumentsError::Count { given: 3, expected: 2 } })
    ));
    for wrong in [json!("two"), json!(256), json!(null), json!({})] {
        let outcome = client.invoke("sum", vec![json!(1), wrong]).await;
        assert!(matches!(
            outcome,
            Err(InvocationError::Arguments { detail: ArgumentsError::Type { index: 1, .. } })
        ));
    }
    let broken = vec![Bytes::from_static(b"1"), Bytes::from_static(b"{")];
    let outcome = client.call(Call::new("sum", broken)).await;
    assert!(matches!(outcome.err(), Some(InvocationError::Arguments { .. })));
    assert!(matches!(client.invoke("none", vec![]).await, Err(InvocationError::UnknownMethod)));
}

#[derive(Debug, thiserror::Error)]
#[error("the shop burnt down")]
struct Fire;

#[tokio::test]
async fn failures_and_what_clients_may_see_of_them() {
    let hub = one_hub(|hub| {
        hub.method("Public", || async { Err::<(), _>(HubError::client("sold out")) })
            .method("Named", || async { Err::<u8, _>(HubError::named("Odd", "secret")) })
            .method("Own", || async { Err::<u8, _>(Fire) })
            .method("Converted", || async {
                let number: u8 = "many".parse()?;
                Ok::<_, HubError>(number)
            })
            .method("Fine", || async { Ok::<_, HubError>(5) })
    })
    .await;
    let client = Client::open(&hub).await;
    let fail = async |method| match client.invoke(method, vec![]).await {
        Err(InvocationError::Failed(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = fail("public").await;
    assert!(error.is_public());
    assert_eq!((error.kind(), error.message()), ("HubException", "sold out"));
    let error = fail("named").await;
    assert_eq!((error.is_public(), error.kind(), error.message()), (false, "Odd", "secret"));
    let error = fail("own").await;
    assert_eq!((error.is_public(), error.kind()), (false, "Fire"));
    assert!(error.source().is_some_and(|source| source.is::<Fire>()));
    let error = fail("converted").await;
    assert_eq!((error.is_public(), error.kind()), (false, "ParseIntError"));
    assert_eq!(client.invoke("fine", vec![]).await.unwrap(), json!(5));
}

#[tokio::test]
async fn a_panic_is_one_calls_failure() {
    let hub = one_hub(|hub| {
        hub.method("Now", |fine: Option<bool>| {
            // Before there is a future.
            assert!(fine.is_some(), "at once");
            async {}
        })
        .method("Later", || async {
            tokio::task::yield_now().await;
            "none".parse::<u8>().unwrap()
        })
        .method("Fine", || async { 1 })
        .method_with("Policy", nothing, Policy::new(|_| panic!("in a policy")))
        .on_connected(|items: Items| async move {
            if items.insert(1u8).is_none() {
                panic!("in a hook {}", 1);
            }
        })
    })
    .await;
    let client = Client::open(&hub).await;
    assert!(client.connection().connected().await.is_err_and(|error| error.kind() == "Panic"));
    for (method, arguments) in [("now", vec![Value::Null]), ("later", vec![]), ("policy", vec![])] {
        match client.invoke(method, arguments).await {
            Err(InvocationError::Failed(error)) => {
                assert_eq!((error.is_public(), error.kind()), (false, "Panic"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.invoke("fine", vec![]).await.unwrap(), json!(1));
    client.connection().connected().await.unwrap();
}

#[tokio::test]
async fn a_dropped_call_stops_where_it_stands() {
    let hub = one_hub(|hub| hub.method("Forever", pending::<()>)).await;
    let client = Client::open(&hub).await;
    let calls: Vec<_> =
        (0..100).map(|_| client.connection().call(Call::new("forever", vec![]))).collect();
    let mut calls = futures_util::future::join_all(calls.into_iter().map(Box::pin));
    assert!(futures_util::poll!(&mut calls).is_pending());
    drop(calls);
    assert_eq!(hub.stats().invocations, 100);
}

#[tokio::test]
async fn items_live_as_long_as_the_connection() {
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Count(u64);
    let alive = Arc::new(());
    let hub = one_hub(|hub| {
        hub.method("Count", |items: Items| async move {
            items.update(|count: &mut Count| {
                count.0 += 1;
                count.0
            })
        })
        .method("Get", |caller: Caller| async move { caller.items().get::<Count>().map(|it| it.0) })
        .method("Take", |items: Items| async move { items.remove::<Count>().map(|it| it.0) })
        // A caller in its own items must not keep itself alive.
        .method("Knot", |caller: Caller, State(alive): State<Arc<()>>| async move {
            caller.items().insert((caller.clone(), Arc::<()>::clone(&alive)));
        })
        .state(Arc::clone(&alive))
    })
    .await;
    let (mut a, b) = (Client::open(&hub).await, Client::open(&hub).await);
    for expected in 1..=3 {
        assert_eq!(a.invoke("count", vec![]).await.unwrap(), json!(expected));
    }
    assert_eq!(b.invoke("get", vec![]).await.unwrap(), Value::Null);
    assert_eq!(a.invoke("get", vec![]).await.unwrap(), json!(3));
    assert_eq!(a.invoke("take", vec![]).await.unwrap(), json!(3));
    assert_eq!(a.invoke("get", vec![]).await.unwrap(), Value::Null);
    let before = Arc::strong_count(&alive);
    a.invoke("knot", vec![]).await.unwrap();
    assert_eq!(Arc::strong_count(&alive), before + 1);
    a.leave().await;
    assert_eq!(Arc::strong_count(&alive), before);
}

#[tokio::test]
async fn policies() {
    let user = |claims: &[(&str, &str)]| {
        Some(User::new("u").with_claims(claims.iter().copied().collect::<Claims>()))
    };
    let hub = one_hub(|hub| {
        hub.authorize(Policy::authenticated())
            .method("Open", nothing)
            .method_with("Admin", nothing, Policy::claim("role", "admin"))
            .method_with(
                "Even",
                nothing,
                Policy::new(|user| user.is_some_and(|user| user.claims.get("even").len() == 2)),
            )
    })
    .await;
    let denied = hub.authorize(None).unwrap_err();
    assert!(denied.anonymous);
    let opening = |user| backplane_hub::Opening {
        id: ConnectionId::random(),
        user,
        protocol: Plain::new("plain"),
        request: None,
        movable: false,
    };
    assert!(matches!(
        hub.open(opening(None)).await,
        Err(backplane_hub::OpenError::Unauthorized(_))
    ));
    let open = async |claims| {
        Client::open_with(&hub, ConnectionId::random(), user(claims), Plain::new("plain")).await
    };
    let plain = open(&[("role", "cook")]).await;
    plain.invoke("open", vec![]).await.unwrap();
    for method in ["admin", "even"] {
        let outcome = plain.invoke(method, vec![]).await;
        assert!(matches!(outcome, Err(InvocationError::Unauthorized)), "{outcome:?}");
    }
    let admin = open(&[("role", "cook"), ("role", "admin"), ("even", "1"), ("even", "2")]).await;
    for method in ["open", "ADMIN", "even"] {
        admin.invoke(method, vec![]).await.unwrap();
    }
    assert_eq!(hub.stats().connections, 2);
}

#[tokio::test]
async fn hooks_run_around_the_calls() {
    type Log = Mutex<Vec<String>>;
    async fn joined(caller: Caller, State(log): State<Log>) -> Result<(), HubError> {
        log.lock().unwrap().push(format!("connected {:?}", caller.user().map(|user| &user.id)));
        caller.clients().caller().send("Welcome", ()).await?;
        caller.groups().add(caller.id(), "everyone").await?;
        Ok(())
    }
    async fn left(disconnect: Disconnect, caller: Caller, log: State<Log>) {
        // It is gone already, for others and for itself.
        assert!(caller.clients().caller().try_send("Bye", ()).is_ok());
        assert!(caller.groups().add(caller.id(), "everyone").await.is_err());
        caller.groups().remove(caller.id(), "everyone").await.unwrap();
        log.lock().unwrap().push(format!("disconnected {:?}", disconnect.error()));
    }
    let hub = one_hub(|hub| {
        hub.state(Log::default())
            .on_connected(joined)
            .on_disconnected(left)
            .method("Log", |State(log): State<Log>| async move {
                std::mem::take(&mut *log.lock().unwrap())
            })
    })
    .await;
    let watcher = Client::open(&hub).await;
    let mut client = Client::open_as(&hub, Some("u")).await;
    client.connection().connected().await.unwrap();
    client.expect("Welcome", json!([])).await;
    assert_eq!(hub.stats().groups, 1);
    client.take_connection().disconnected(Some("it broke")).await;
    assert_eq!(client.next().await, None);
    assert_eq!(hub.stats().groups, 0);
    // A connection that is dropped has no last word.
    drop(Client::open(&hub).await);
    assert_eq!(
        watcher.invoke("log", vec![]).await.unwrap(),
        json!([r#"connected Some(Some("u"))"#, r#"disconnected Some("it broke")"#])
    );
}

#[tokio::test]
async fn a_hook_that_fails_says_so() {
    let hub = one_hub(|hub| {
        hub.on_connected(|| async { Err::<(), _>(HubError::client("not today")) })
            .on_disconnected(|| async { Err::<(), _>(Fire) })
    })
    .await;
    let mut client = Client::open(&hub).await;
    let error = client.connection().connected().await.unwrap_err();
    assert_eq!(error.message(), "not today");
    client.leave().await;
    assert_eq!(hub.stats().connections, 0);
}

#[tokio::test]
async fn abort_ends_the_connection() {
    let hub = one_hub(|hub| {
        hub.method("Abort", |caller: Caller| async move { caller.abort() })
            .method("Wait", |aborted: Aborted| async move { aborted.wait().await })
    })
    .await;
    let mut client = Client::open(&hub).await;
    let waiting = tokio::spawn(client.connection().call(Call::new("wait", vec![])));
    client.connection().reply(r#"["plain","before",[],null,null]"#.into());
    client.invoke("abort", vec![]).await.unwrap();
    assert_eq!(client.ended().await, End::Aborted);
    soon("the waiting call", waiting).await.unwrap().unwrap();
    hub.clients().all().send("TooLate", ()).await.unwrap();
    // What was queued before, and what the front end says last, still goes out.
    client.connection().reply(r#"["plain","last",[],null,null]"#.into());
    client.leave().await;
    client.expect("before", json!([])).await;
    client.expect("last", json!([])).await;
    assert_eq!(client.next().await, None);
    assert_eq!(hub.stats().dropped_ending, 1);
}

struct Tenant(String);

impl Extract for Tenant {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        let shop = invocation.state::<Shop>().map_or(0, |shop| shop.orders.load(Ordering::Relaxed));
        match invocation.caller().claims().first("tenant") {
            Some(tenant) => Ok(Self(format!("{tenant} {shop}"))),
            None => Err(HubError::client("no tenant")),
        }
    }

    fn needs(needs: &mut Needs) {
        needs.state::<Shop>();
    }
}

#[tokio::test]
async fn an_application_has_extractors_of_its_own() {
    let hub = one_hub(|hub| {
        hub.state(Shop::default()).method("Who", |tenant: Tenant| async move { tenant.0 })
    })
    .await;
    let user = User::new("u").with_claims([("tenant", "acme")].into_iter().collect::<Claims>());
    let client =
        Client::open_with(&hub, ConnectionId::random(), Some(user), Plain::new("plain")).await;
    assert_eq!(client.invoke("who", vec![]).await.unwrap(), json!("acme 0"));
    let outcome = Client::open(&hub).await.invoke("who", vec![]).await;
    assert!(matches!(outcome, Err(InvocationError::Failed(error)) if error.is_public()));
}

#[tokio::test]
async fn what_is_wrong_with_a_description_is_told_when_it_is_built() {
    let describe = |name: &str| {
        let node: Arc<dyn backplane_hub::Backplane> =
            Arc::new(backplane_memory::Medium::new().node());
        Hub::builder(name).backplane(node)
    };
    let text = |builder: backplane_hub::HubBuilder| builder.build().unwrap_err().to_string();
    let shop = || async {};

    assert!(text(describe("")).contains("1 to 128 bytes"));
    assert!(text(describe(&"x".repeat(129))).contains("129"));
    describe(&"x".repeat(128)).build().unwrap();
    assert!(text(Hub::builder("h")).contains("needs a backplane"));
    assert!(text(describe("h").method("", shop)).contains("needs a name"));
    let twice = describe("h").method("Größe", shop).method("GRÖSSE", shop).method("grÖßE", shop);
    let told = text(twice);
    assert!(told.contains("grÖßE") && told.contains("Größe"), "{told}");
    assert!(text(describe("h").on_connected(shop).on_connected(shop)).contains("twice"));
    let hook = |_: u8, _: u8| async {};
    assert!(text(describe("h").on_disconnected(hook)).contains("2 arguments"));
    let disconnect = |_: Disconnect| async {};
    assert!(text(describe("h").on_connected(disconnect)).contains("only on_disconnected"));
    assert!(text(describe("h").method("M", disconnect)).contains("only on_disconnected"));
    assert!(text(describe("h").state(1u8).state(2u8)).contains("u8"));
    let told = text(describe("h").method("PlaceOrder", place_order).state(1u8));
    assert!(told.contains("PlaceOrder") && told.contains("Shop"), "{told}");
    let told = text(describe("h").method("Who", |_: Tenant| async {}));
    assert!(told.contains("Who") && told.contains("Shop"), "{told}");
    let told = text(describe("h").on_connected(|_: State<Shop>| async {}));
    assert!(told.contains("on_connected"), "{told}");
}

/// What a front end keeps of the request that a connection began with.
struct Address(u16);

struct Port(Option<u16>);

impl Extract for Port {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        assert!(invocation.request::<String>().is_none(), "another type");
        Ok(Self(invocation.request::<Address>().map(|address| address.0)))
    }

    fn needs(needs: &mut Needs) {
        needs.request();
    }
}

#[tokio::test]
async fn extractors_of_a_front_end_see_what_it_keeps() {
    let hub = one_hub(|hub| hub.method("Port", async |Port(port): Port| port)).await;
    assert!(hub.wants_request());
    for port in [Some(80), None] {
        let request = port.map(|port| Arc::new(Address(port)) as _);
        let protocol = Plain::new("plain");
        let opening =
            Opening { id: ConnectionId::random(), user: None, protocol, request, movable: false };
        let (connection, _outbound) = hub.open(opening).await.unwrap();
        let reply = connection.call(Call::new("Port", vec![])).await.unwrap();
        let Reply::Value(returned) = reply else { panic!("a stream") };
        assert_eq!(serde_json::to_value(&returned).unwrap(), json!(port));
    }
    // Even a hook is reason enough to keep it, and nothing else is.
    assert!(one_hub(|hub| hub.on_connected(async |_: Port| {})).await.wants_request());
    assert!(!one_hub(|hub| hub.method("Caller", async |_: Caller| {})).await.wants_request());
}
