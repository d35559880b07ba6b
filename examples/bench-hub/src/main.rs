//! A bare hub for outside load generators: `/hub`, without a login. The user is the query parameter
//! `user`, and a client may connect with or without negotiation.
//!
//! ```text
//! cargo run --release -p bench-hub -- --port 8090 --backplane redis://127.0.0.1:6379
//! ```
//!
//! `Broadcast(payload)`, `SendToUser(user, payload)`, `Join(group)` and `SendToGroup(group, payload)` send
//! the client event `message` with the payload as its one argument.

use std::{error::Error, process::ExitCode};

use axum::{Router, serve::ListenerExt};
use backplane_hub::{Caller, Hub, HubError, User, connect};
use backplane_signalr::{Options, Rejection, TokenKey, TokenKeys, router};
use clap::Parser;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

/// A bare SignalR hub at /hub, for load generators.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8090)]
    port: u16,

    /// What connects the processes: memory:, redis://…, or nats://…
    #[arg(long, default_value = "memory:")]
    backplane: String,
}

/// Anyone may come in here, so the key that all processes share need not be secret.
const KEY: &[u8] = b"bench-hub: not a secret, as there is nothing to protect";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-hub: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let hub = Hub::builder("bench")
        .backplane(connect(arguments.backplane).await?)
        .method("Broadcast", broadcast)
        .method("SendToUser", send_to_user)
        .method("Join", join)
        .method("SendToGroup", send_to_group)
        .build()?;
    let options = Options::new()
        .token_keys(TokenKeys::new(TokenKey::new(KEY)?))
        .authenticate(|request: &axum::http::request::Parts| Ok::<_, Rejection>(user(request)));
    let app = Router::new().nest("/hub", router(&hub, options));
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    println!("listens on http://{}/hub", listener.local_addr()?);
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::warn!(%error, "a connection without TCP_NODELAY");
        }
    });
    axum::serve(listener, app).await?;
    Ok(())
}

fn user(request: &axum::http::request::Parts) -> Option<User> {
    let query: Vec<(String, String)> =
        axum::extract::Query::try_from_uri(&request.uri).ok().map(|query| query.0)?;
    query.iter().find(|(name, _)| name == "user").map(|(_, user)| User::new(user))
}

/// A payload is passed on as it came.
type Payload = Box<RawValue>;

async fn broadcast(caller: Caller, payload: Payload) -> Result<(), HubError> {
    caller.clients().all().send("message", &payload).await?;
    Ok(())
}

async fn send_to_user(caller: Caller, user: String, payload: Payload) -> Result<(), HubError> {
    caller.clients().user(&user).send("message", &payload).await?;
    Ok(())
}

async fn join(caller: Caller, group: String) -> Result<(), HubError> {
    caller.groups().add(caller.id(), &group).await?;
    Ok(())
}

async fn send_to_group(caller: Caller, group: String, payload: Payload) -> Result<(), HubError> {
    caller.clients().group(&group).send("message", &payload).await?;
    Ok(())
}
