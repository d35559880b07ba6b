//! What becomes known of a connection's user while it is open.

use backplane_hub::{Caller, ConnectionId, InvocationError, Policy, RefreshError, State, User};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    one_hub,
    scenarios::{Client, Plain, soon},
};

fn user(id: &str, role: &str) -> User {
    User::new(id).with_claims([("role", role)].into_iter().collect::<backplane_hub::Claims>())
}

async fn role(caller: Caller) -> Option<String> {
    caller.claims().first("role").map(str::to_owned)
}

#[tokio::test]
async fn policies_and_handlers_see_the_new_claims() {
    let hub = one_hub(|hub| {
        hub.method("Role", role).method_with("Admin", || async {}, Policy::claim("role", "admin"))
    })
    .await;
    let client = Client::open_with(
        &hub,
        ConnectionId::random(),
        Some(user("ann", "cook")),
        Plain::new("plain"),
    )
    .await;
    let admin = async || client.invoke("admin", vec![]).await;
    assert!(matches!(admin().await, Err(InvocationError::Unauthorized)));

    hub.refresh(client.connection().id(), user("ann", "admin")).unwrap();
    admin().await.unwrap();
    assert_eq!(client.invoke("role", vec![]).await.unwrap(), json!("admin"));
    assert_eq!(client.connection().user(), Some(user("ann", "admin")));

    hub.refresh(client.connection().id(), user("ann", "cook")).unwrap();
    assert!(matches!(admin().await, Err(InvocationError::Unauthorized)));
}

#[tokio::test]
async fn a_call_goes_on_with_the_claims_it_began_with() {
    let hub = one_hub(|hub| {
        hub.state(Semaphore::new(0))
            .method("Later", async |caller: Caller, State(gate): State<Semaphore>| {
                gate.acquire()
                    .await
                    .map(drop)
                    .map_err(|_| backplane_hub::HubError::client("closed"))?;
                Ok::<_, backplane_hub::HubError>(role(caller).await)
            })
            .method("Open", async |State(gate): State<Semaphore>| gate.add_permits(1))
    })
    .await;
    let client = Client::open_with(
        &hub,
        ConnectionId::random(),
        Some(user("ann", "cook")),
        Plain::new("plain"),
    )
    .await;
    let later = client.invoke("later", vec![]);
    let refreshed = async {
        tokio::task::yield_now().await;
        hub.refresh(client.connection().id(), user("ann", "admin")).unwrap();
        client.invoke("open", vec![]).await.unwrap();
    };
    let (later, ()) = soon("both", futures_util::future::join(later, refreshed)).await;
    assert_eq!(later.unwrap(), json!("cook"));
}

#[tokio::test]
async fn nobody_becomes_another_or_one_who_may_not() {
    let hub = one_hub(|hub| {
        hub.authorize(Policy::new(|user| {
            user.is_none_or(|user| !user.claims.has("role", "banned"))
        }))
        .method("Role", role)
    })
    .await;
    let open = async |user| {
        Client::open_with(&hub, ConnectionId::random(), user, Plain::new("plain")).await
    };
    let ann = open(Some(user("ann", "cook"))).await;
    let nameless = open(Some(User { id: None, ..user("", "cook") })).await;
    let anonymous = open(None).await;
    let refresh = |client: &Client, user| hub.refresh(client.connection().id(), user);
    for (client, user) in [
        (&ann, user("bob", "admin")),
        (&ann, User { id: None, ..user("", "admin") }),
        (&nameless, user("ann", "admin")),
        (&anonymous, user("ann", "admin")),
    ] {
        assert_eq!(refresh(client, user), Err(RefreshError::OtherUser));
    }
    assert!(matches!(refresh(&ann, user("ann", "banned")), Err(RefreshError::Unauthorized(_))));
    assert_eq!(hub.refresh("nobody", user("ann", "admin")), Err(RefreshError::Unknown));
    assert_eq!(ann.invoke("role", vec![]).await.unwrap(), json!("cook"));
    assert_eq!(anonymous.invoke("role", vec![]).await.unwrap(), json!(null));

    refresh(&nameless, User { id: None, ..user("", "admin") }).unwrap();
    assert_eq!(nameless.invoke("role", vec![]).await.unwrap(), json!("admin"));
}
