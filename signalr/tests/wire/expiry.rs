//! Credentials that expire while a connection is open.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backplane_hub::{Claims, User};
use backplane_signalr::{Identity, Options, Rejection};
use http::request::Parts;
use serde_json::json;

use crate::{
    client::Client, events::Listener, negotiation::negotiated, polling::Poller, server::Server,
};

/// Who is in the query, and until when: `user=ann&role=cook&until=` and milliseconds since 1970.
pub(crate) fn by_query(request: &Parts) -> Result<Option<Identity>, Rejection> {
    let query = request.uri.query().unwrap_or_default();
    let value = |name| query.split('&').filter_map(|it| it.split_once('=')).find(|it| it.0 == name);
    let Some((_, user)) = value("user") else { return Ok(None) };
    if user == "nobody" {
        return Err(Rejection::invalid_token("The user is nobody"));
    }
    let claims: Claims = value("role").into_iter().collect();
    let until =
        value("until").map(|(_, until)| UNIX_EPOCH + Duration::from_millis(until.parse().unwrap()));
    Ok(Some(Identity { user: User::new(user).with_claims(claims), expires_at: until }))
}

/// The part of a query that says until when: from now on for so long.
pub(crate) fn until(from_now: Duration) -> String {
    let until = SystemTime::now() + from_now;
    format!("&until={}", until.duration_since(UNIX_EPOCH).unwrap().as_millis())
}

pub(crate) const SOON: Duration = Duration::from_millis(500);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn connections_end_with_the_credentials_and_may_come_back() {
    let options = Options::new().authenticate(by_query).close_on_authentication_expiration(true);
    let server = Server::start(options).await;
    let query = format!("&user=ann{}", until(SOON));
    let (_, token) = negotiated(&server, &query).await;
    let mut socket = Client::request(&server, &format!("?id={token}{query}"), &[]).await.unwrap();
    socket.shake().await;
    let mut without = Client::request(&server, &format!("?{query}"), &[]).await.unwrap();
    without.shake().await;
    let mut listener = Listener::connect_with(&server, &query).await;
    let mut poller = Poller::connect_with(&server, &query).await;
    let mut lasting =
        Client::request(&server, &format!("?user=ann{}", until(HOUR)), &[]).await.unwrap();
    lasting.shake().await;
    let mut endless = Client::request(&server, "?user=ann", &[]).await.unwrap();
    endless.shake().await;
    let mut anonymous = Client::connect(&server).await;

    let close = json!({"type": 7, "allowReconnect": true});
    assert_eq!(socket.next().await, close);
    assert_eq!(socket.closed().await, 1000);
    assert_eq!(without.next().await, close);
    assert_eq!(without.closed().await, 1000);
    assert_eq!(listener.next().await, close);
    assert_eq!(poller.next().await, close);
    assert_eq!(poller.poll().await.status, "204 No Content");
    for _ in 0..4 {
        assert_eq!(server.probe.told().await, "disconnected: well");
    }
    for client in [&mut lasting, &mut endless, &mut anonymous] {
        client.works().await;
    }
}

#[tokio::test]
async fn expired_credentials_let_nobody_stay_even_if_they_let_in() {
    let options = Options::new().authenticate(by_query).close_on_authentication_expiration(true);
    let server = Server::start(options).await;
    let mut late = Client::request(&server, "?user=ann&until=1000", &[]).await.unwrap();
    late.shake().await;
    assert_eq!(late.next().await, json!({"type": 7, "allowReconnect": true}));
}

#[tokio::test]
async fn connections_outlive_the_credentials_by_default() {
    let options = || Options::new().authenticate(by_query);
    let (server, closing) = (
        Server::start(options()).await,
        Server::start(options().close_on_authentication_expiration(true)).await,
    );
    let expired = "?user=ann&until=1000";
    let mut client = Client::request(&server, expired, &[]).await.unwrap();
    client.shake().await;
    // One that came later has been closed by the time that this would have been.
    let mut later = Client::request(&closing, expired, &[]).await.unwrap();
    later.shake().await;
    assert_eq!(later.next().await, json!({"type": 7, "allowReconnect": true}));
    client.works().await;
}
