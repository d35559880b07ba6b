use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use backplane_hub::Policy;
use backplane_signalr::{Bearer, Options, VerificationKey};
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::{client::Client, http::request, server::Server};

/// Keeps all that this crate and the hub log, at any level.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("backplane")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}: {value:?}").unwrap();
    }
}

#[tokio::test]
async fn credentials_and_tokens_are_never_logged() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let secret = b"of the issuer and this server only";
    let bearer = Bearer::builder().key(VerificationKey::hs256(secret).unwrap()).build().unwrap();
    let options = Options::new().authenticate(bearer);
    println!("{options:?}");
    let server = Server::with(options, |hub| hub.authorize(Policy::authenticated())).await;

    let sign = |expiry: u64| {
        let claims = json!({"sub": "ann", "exp": expiry});
        encode(&Header::default(), &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let (good, bad) = (sign(get_current_timestamp() + 60), sign(1));
    let path = format!("/hub/negotiate?negotiateVersion=1&access_token={good}");
    let answer = request(&server, "POST", &path, &[]).await;
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let token = answer["connectionToken"].as_str().unwrap();
    let query = format!("?id={token}&access_token={good}");
    let mut client = Client::request(&server, &query, &[]).await.unwrap();
    client.shake().await;
    client.call("1", "Fail", json!(["told"])).await;
    client.completion("1").await;
    for query in [
        query.clone(),
        format!("?id=f{}&access_token={good}", &token[1..]),
        format!("?id={token}&access_token={bad}"),
        format!("?id={token}"),
    ] {
        assert!(Client::request(&server, &query, &[]).await.is_err());
    }
    client.text("no message\u{1e}").await;
    server.probe.told().await;

    let log = log.text();
    for told in ["told", "Error reading JSON.", "not signed with a key", "expired"] {
        assert!(log.contains(told), "{told} in {log}");
    }
    for secret in [&*good, &bad, token, "access_token", std::str::from_utf8(secret).unwrap()] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}
