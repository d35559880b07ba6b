//! One node: an ordinary axum application with a hub in it.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use backplane_hub::{Hub, connect};
use backplane_signalr::{Options, health_router};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::{
    hub,
    kitchen::{Kitchen, NewOrder, NotTaken},
    login::Login,
    page,
};

#[derive(Clone)]
struct Node {
    kitchen: Kitchen,
    login: Login,
}

/// A node that runs.
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    hub: Hub,
    kitchen: Kitchen,
    work: JoinHandle<()>,
}

impl Running {
    /// Takes leave of the customers: those that can go on at other nodes do, if there are such, which are given
    /// notice. Orders that were taken are delivered.
    pub(crate) async fn stop(self, notice: Option<Duration>) {
        const PATIENCE: Duration = Duration::from_secs(60);
        const SHORT: Duration = Duration::from_secs(1);
        let left = match notice {
            Some(notice) => {
                self.hub.announce_drain();
                tokio::time::sleep(notice).await;
                self.hub.drain(PATIENCE).await
            }
            None => self.hub.close(SHORT).await,
        };
        if let Err(error) = left {
            tracing::warn!(%error, "not all customers have left");
        }
        self.kitchen.close();
        if notice.is_some()
            && let Err(error) = self.work.await
        {
            tracing::error!(%error, "the kitchen has failed");
        }
        if let Err(error) = self.hub.backplane().close(SHORT).await {
            tracing::warn!(%error, "not all was sent");
        }
    }
}

/// Starts a node.
pub(crate) async fn start(
    name: &str,
    address: SocketAddr,
    backplane: &str,
    login: &Login,
    step: Duration,
) -> Result<Running, Box<dyn Error>> {
    let backplane = connect(backplane).await?;
    let (kitchen, work) = Kitchen::new(name, step);
    let orders = hub::build(backplane, kitchen.clone())?;
    let options = Options::new()
        .authenticate(login.bearer().clone())
        .token_keys(login.token_keys().clone())
        // A node can be replaced without its customers' noticing.
        .stateful_reconnect(true);
    let node = Node { kitchen: kitchen.clone(), login: login.clone() };
    let app = Router::new()
        .route("/login", post(log_in))
        .route("/orders", post(place_order))
        .with_state(node)
        // Ready only while the link to the other nodes is proven; own connections are served regardless.
        .merge(health_router(&orders))
        .nest("/hubs/orders", backplane_signalr::router(&orders, options))
        .merge(page::router());

    let address = front_door::serve(address, app).await?;
    let work = tokio::spawn(work.run(orders.clone()));
    Ok(Running { address, hub: orders, kitchen, work })
}

#[derive(Deserialize)]
struct LogIn {
    user: String,
}

#[derive(Serialize)]
struct Token {
    token: String,
}

async fn log_in(State(node): State<Node>, Json(log_in): Json<LogIn>) -> Response {
    if log_in.user.trim().is_empty() {
        return (StatusCode::BAD_REQUEST, "Name yourself: {\"user\":\"ann\"}").into_response();
    }
    match node.login.token(&log_in.user) {
        Ok(token) => Json(Token { token }).into_response(),
        Err(error) => {
            tracing::error!(%error, "no token");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Placed<'a> {
    order_id: String,
    node: &'a str,
}

async fn place_order(
    State(node): State<Node>,
    headers: HeaderMap,
    Json(order): Json<NewOrder>,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let user = match node.login.bearer().verify(token) {
        Ok(identity) => identity.user,
        Err(rejection) => return rejection.into_response(),
    };
    match node.kitchen.place(user.id.as_deref().unwrap_or_default(), &order) {
        Ok(order_id) => {
            let placed = Placed { order_id, node: node.kitchen.node() };
            (StatusCode::CREATED, Json(placed)).into_response()
        }
        Err(NotTaken::Wrong(reason)) => (StatusCode::BAD_REQUEST, reason).into_response(),
        Err(NotTaken::Busy(reason)) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}
