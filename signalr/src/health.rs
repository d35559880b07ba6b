//! How a node stands, over HTTP: for load balancers, and for people who look.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use backplane_hub::{Health, Hub, Link, RouteKind, Traffic};
use http::{
    StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use serde_json::{Value, json};

/// Routes that say how the node of `hub` stands.
///
/// | request | answer |
/// |---|---|
/// | `GET /health/live` | 200 for as long as the process serves |
/// | `GET /health/ready` | 200 while the link to the other nodes is proven to deliver; 503 otherwise, with `{"status":"degraded","reason":"…","since_ms":1234}` |
/// | `GET /health` | the status of `/health/ready`, with the node's id, the state of its link, the other nodes, and what hub and backplane have counted |
///
/// A node that is degraded serves its own connections, so do not restart it for that: ask `live`.
/// `since_ms` is how long ago, in milliseconds, the link was last proven to deliver. Hubs that share a
/// backplane share its link: one router is enough.
///
/// The answers hold no secrets, but `/health` tells the nodes' ids and names, and both it and
/// `/health/ready` where the broker is. Nobody outside needs that: serve them where only the operators
/// and the load balancer come.
///
/// ```
/// # use backplane_signalr::{Options, health_router, router};
/// # fn app(orders: &backplane_hub::Hub) -> axum::Router {
/// axum::Router::new()
///     .merge(health_router(orders))
///     .nest("/hubs/orders", router(orders, Options::new()))
/// # }
/// ```
pub fn health_router<S>(hub: &Hub) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/health", get(details))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(Arc::new(hub.clone()))
}

async fn live() -> Response {
    answer(StatusCode::OK, &json!({ "status": "live" }))
}

async fn ready(State(hub): State<Arc<Hub>>) -> Response {
    let health = hub.health();
    answer(code(&health), &Brief::of(&health))
}

async fn details(State(hub): State<Arc<Hub>>) -> Response {
    let health = hub.health();
    let details = Details {
        brief: Brief::of(&health),
        hub: hub.name(),
        node: hub.node().to_string(),
        link: link(&hub.backplane().link().borrow()),
        members: members(&hub),
        name_is_shared: hub.backplane().members().borrow().name_is_shared,
        counted: Counted { hub: hub_stats(&hub), backplane: backplane_stats(&hub) },
    };
    answer(code(&health), &details)
}

fn code(health: &Health) -> StatusCode {
    if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => {
            let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
            (status, headers, body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the node's health cannot be told");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Debug, Serialize)]
struct Brief {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<u64>,
}

impl Brief {
    fn of(health: &Health) -> Self {
        let (reason, since_ms) = match health {
            Health::Degraded { reason, since } => (Some(reason.clone()), Some(ago(*since))),
            Health::Closed => (Some("the node takes its leave".to_owned()), None),
            _ => (None, None),
        };
        Self { status: health.as_str(), reason, since_ms }
    }
}

/// How many milliseconds ago that was.
fn ago(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    brief: Brief,
    hub: &'a str,
    node: String,
    link: Value,
    members: Vec<Value>,
    name_is_shared: bool,
    counted: Counted,
}

#[derive(Debug, Serialize)]
struct Counted {
    hub: Value,
    backplane: Value,
}

fn link(link: &Link) -> Value {
    match link {
        Link::Connecting => json!({ "state": "connecting" }),
        Link::Up { epoch } => json!({ "state": "up", "epoch": epoch }),
        Link::Muted { since } => json!({ "state": "muted", "since_ms": ago(*since) }),
        Link::Down { since, cause } => {
            json!({ "state": "down", "since_ms": ago(*since), "cause": cause.to_string() })
        }
        _ => json!({ "state": "closed" }),
    }
}

fn members(hub: &Hub) -> Vec<Value> {
    let members = hub.backplane().members();
    let members = members.borrow();
    let told = members
        .nodes
        .iter()
        .map(|member| json!({ "node": member.node.to_string(), "name": member.name.as_deref() }));
    told.collect()
}

fn hub_stats(hub: &Hub) -> Value {
    let stats = hub.stats();
    json!({
        "connections": stats.connections,
        "groups": stats.groups,
        "users": stats.users,
        "invocations": stats.invocations,
        "sends": stats.sends,
        "queued": stats.queued,
        "dropped_slow": stats.dropped_slow,
        "closed_slow": stats.closed_slow,
        "requests": stats.requests,
        "answered": stats.answered,
        "interruptions": stats.interruptions,
        "gaps": stats.gaps,
        "origins_lost": stats.origins_lost,
        "notices": stats.notices,
        "dropped_events": stats.dropped_events,
    })
}

fn backplane_stats(hub: &Hub) -> Value {
    let stats = hub.backplane().stats();
    let mut told = json!({
        "accepted": stats.accepted,
        "sent": stats.sent,
        "buffered": stats.buffered,
        "link_down": stats.link_down,
        "refused": stats.refused,
        "unknown": stats.unknown,
        "dropped_full": stats.dropped_full,
        "dropped_old": stats.dropped_old,
        "received": stats.received,
        "delivered": stats.delivered,
        "repaired": stats.repaired,
        "doubled": stats.doubled,
        "lost": stats.lost,
        "uncounted_gaps": stats.uncounted_gaps,
        "full": stats.full,
        "connections": stats.connections,
        "asked": stats.asked,
        "resent": stats.resent,
        "retained": stats.retained,
        "retained_bytes": stats.retained_bytes,
    });
    for kind in RouteKind::ALL {
        told["by_kind"][kind.as_str()] = traffic(stats.kind(kind));
    }
    told
}

fn traffic(traffic: &Traffic) -> Value {
    json!({
        "accepted": traffic.accepted,
        "sent": traffic.sent,
        "received": traffic.received,
        "delivered": traffic.delivered,
        "repaired": traffic.repaired,
        "doubled": traffic.doubled,
        "lost": traffic.lost,
    })
}
