use async_trait::async_trait;
use backplane_hub::{Policy, User};
use backplane_signalr::{Authenticate, Bearer, Identity, Options, Rejection, VerificationKey};
use http::request::Parts;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use crate::{
    client::Client,
    http::request,
    server::{Server, by_query},
};

const SECRET: &[u8] = b"of the issuer and this server only";

fn token(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn good(role: &str) -> String {
    token(
        &json!({"sub": "ann", "aud": "orders", "role": role, "exp": get_current_timestamp() + 60}),
    )
}

async fn server(policy: Policy) -> Server {
    let bearer = Bearer::builder()
        .key(VerificationKey::hs256(SECRET).unwrap())
        .audience("orders")
        .build()
        .unwrap();
    Server::with(Options::new().authenticate(bearer), |hub| hub.authorize(policy)).await
}

/// The answers of both routes, which must be the same: status, challenge, body.
async fn answers(server: &Server, query: &str, header: Option<&str>) -> (String, String, String) {
    let headers: Vec<_> = header.iter().map(|&header| ("Authorization", header)).collect();
    let negotiate =
        request(server, "POST", &format!("/hub/negotiate?negotiateVersion=1{query}"), &headers)
            .await;
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let headers: Vec<_> = upgrade.into_iter().chain(headers).collect();
    let connect = request(server, "GET", &format!("/hub?a=b{query}"), &headers).await;
    assert_eq!(negotiate.status, connect.status);
    assert_eq!(negotiate.headers.get("www-authenticate"), connect.headers.get("www-authenticate"));
    assert_eq!(negotiate.body, connect.body);
    let challenge = negotiate.headers.get("www-authenticate").cloned().unwrap_or_default();
    (negotiate.status, challenge, negotiate.body)
}

fn refusal(status: &str, challenge: &str) -> (String, String, String) {
    (status.to_owned(), challenge.to_owned(), String::new())
}

#[tokio::test]
async fn bad_tokens_are_told_what_is_wrong_and_the_body_is_empty() {
    let server = server(Policy::authenticated()).await;
    let mut other =
        Client::request(&server, "", &[("Authorization", &format!("Bearer {}", good("")))])
            .await
            .unwrap();
    other.shake().await;

    let unauthorized = "401 Unauthorized";
    assert_eq!(answers(&server, "", None).await, refusal(unauthorized, "Bearer"));
    let expired = token(&json!({"aud": "orders", "exp": get_current_timestamp() - 3600}));
    let stranger = token(&json!({"aud": "stock", "exp": get_current_timestamp() + 60}));
    let forged = good("").rsplit_once('.').map(|(signed, _)| format!("{signed}.AAAA")).unwrap();
    for (token, description) in [
        (&*expired, "The token has expired"),
        (&stranger, "The audience is invalid"),
        (&forged, "The signature is invalid"),
        ("nonsense", "The token is malformed"),
    ] {
        let challenge =
            format!(r#"Bearer error="invalid_token", error_description="{description}""#);
        let expected = refusal(unauthorized, &challenge);
        assert_eq!(answers(&server, "", Some(&format!("Bearer {token}"))).await, expected);
        assert_eq!(answers(&server, &format!("&access_token={token}"), None).await, expected);
    }
    other.works().await;
}

#[tokio::test]
async fn who_may_not_is_forbidden() {
    let server = server(Policy::claim("role", "admin")).await;
    let header = format!("Bearer {}", good("cook"));
    assert_eq!(answers(&server, "", Some(&header)).await, refusal("403 Forbidden", ""));
    assert_eq!(answers(&server, "", None).await, refusal("401 Unauthorized", "Bearer"));
}

#[tokio::test]
async fn a_good_token_lets_in_by_header_and_by_query() {
    let server = server(Policy::authenticated()).await;
    let (cook, admin) = (good("cook"), good("admin"));
    let header = format!("Bearer {cook}");
    let mut client = Client::request(&server, "", &[("Authorization", &header)]).await.unwrap();
    client.shake().await;
    assert_eq!(client.invoke("User", json!([])).await, json!({"result": "ann"}));
    assert_eq!(
        client.invoke("Secret", json!([])).await,
        json!({"error": "Failed to invoke 'Secret' because user is unauthorized"})
    );

    let mut client =
        Client::request(&server, &format!("?access_token={admin}"), &[]).await.unwrap();
    client.shake().await;
    assert_eq!(client.invoke("secret", json!([])).await, json!({"result": "secret"}));

    // With a negotiation before, as clients do it.
    let answer = request(
        &server,
        "POST",
        "/hub/negotiate?negotiateVersion=1",
        &[("Authorization", &header)],
    )
    .await;
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let query = format!("?id={}&access_token={cook}", answer["connectionToken"].as_str().unwrap());
    let mut client = Client::request(&server, &query, &[]).await.unwrap();
    client.shake().await;
    client.works().await;
}

#[tokio::test]
async fn a_function_authenticates() {
    let options = Options::new().authenticate(by_query);
    let server = Server::with(options, |hub| hub.authorize(Policy::authenticated())).await;
    let mut client = Client::request(&server, "?user=ann", &[]).await.unwrap();
    client.shake().await;
    assert_eq!(client.invoke("User", json!([])).await, json!({"result": "ann"}));
    assert_eq!(answers(&server, "", None).await, refusal("401 Unauthorized", "Bearer"));
}

#[tokio::test]
async fn a_lookup_authenticates_or_says_that_it_cannot() {
    struct Sessions;

    #[async_trait]
    impl Authenticate for Sessions {
        async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Rejection> {
            tokio::task::yield_now().await;
            match request.headers.get("cookie").map(|cookie| cookie.as_bytes()) {
                Some(b"session=ann") => Ok(Some(User::new("ann").into())),
                Some(_) => Err(Rejection::status(http::StatusCode::SERVICE_UNAVAILABLE)),
                None => Ok(None),
            }
        }
    }

    let server = Server::start(Options::new().authenticate(Sessions)).await;
    let mut client = Client::request(&server, "", &[("cookie", "session=ann")]).await.unwrap();
    client.shake().await;
    assert_eq!(client.invoke("User", json!([])).await, json!({"result": "ann"}));
    match Client::request(&server, "", &[("cookie", "session=bob")]).await {
        Err(refusal) => assert_eq!(refusal, (503, String::new())),
        Ok(_) => panic!("let in"),
    }
    let mut client = Client::connect(&server).await;
    assert_eq!(client.invoke("User", json!([])).await, json!({"result": null}));
}

#[tokio::test]
async fn only_allowed_origins_open_web_sockets() {
    let options = Options::new().allowed_origins(["https://app.example"]);
    let server = Server::start(options).await;
    for (headers, let_in) in [
        (&[][..], true),
        (&[("origin", "https://app.example")], true),
        (&[("origin", "https://evil.example")], false),
        (&[("origin", "null")], false),
    ] {
        match Client::request(&server, "", headers).await {
            Ok(mut client) => {
                assert!(let_in, "{headers:?}");
                client.shake().await;
            }
            Err(refusal) => {
                assert!(!let_in, "{headers:?}");
                assert_eq!(refusal, (403, String::new()));
            }
        }
    }
}
