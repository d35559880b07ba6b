//! The routes of a hub: which request gets which answer.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::any,
};
use backplane_hub::Hub;
use http::{
    HeaderMap, Method, Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};

use crate::{
    Options,
    codec::Codec,
    cors,
    endpoint::{Endpoint, user},
    query::Query,
    refusal::{Refusal, plain},
    websocket::Upgrade,
};

/// The routes of `hub`, to be nested under its path.
///
/// ```
/// # use backplane_signalr::{Options, router};
/// # fn app(orders: &backplane_hub::Hub) -> axum::Router {
/// axum::Router::new().nest("/hubs/orders", router(orders, Options::new()))
/// # }
/// ```
///
/// The hub speaks JSON and MessagePack from now on. Routers of several hubs, and several of one hub,
/// can be part of one application.
pub fn router<S>(hub: &Hub, options: Options) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Codec::ALL.into_iter().for_each(|codec| hub.speak(codec.protocol()));
    routes(Endpoint::new(hub.clone(), options))
}

/// The routes of an endpoint.
pub(crate) fn routes<S>(endpoint: Endpoint) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let endpoint = Arc::new(endpoint);
    let routes = Router::new()
        .route("/", any(connect))
        .route("/negotiate", any(negotiate))
        .route("/refresh", any(refresh))
        .with_state(Arc::clone(&endpoint));
    if endpoint.options.origins.is_some() {
        routes.layer(from_fn_with_state(endpoint, cors::guard))
    } else {
        routes
    }
}

async fn negotiate(State(endpoint): State<Arc<Endpoint>>, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    let identity = match endpoint.admit(&parts).await {
        Ok(identity) => identity,
        Err(rejection) => return rejection.into_response(),
    };
    if parts.method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    if endpoint.table.is_draining() {
        return Refusal::Unavailable.into_response();
    }
    let body = endpoint.negotiate(&Query::of(&parts.uri), identity.as_ref());
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn refresh(State(endpoint): State<Arc<Endpoint>>, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    endpoint.refresh(&parts).await
}

async fn connect(State(endpoint): State<Arc<Endpoint>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let identity = match endpoint.admit(&parts).await {
        Ok(identity) => identity,
        Err(rejection) => return rejection.into_response(),
    };
    let query = Query::of(&parts.uri);
    let id = query.get("id").filter(|id| !id.is_empty());
    // A poll waits for long, so that it is not to be as large as what any of the others needs.
    let answered = match parts.method {
        Method::GET if accepts_events(&parts.headers) => {
            Box::pin(endpoint.events(&parts, id, identity)).await
        }
        Method::GET | Method::CONNECT if Upgrade::is_wanted(&parts) => {
            Box::pin(endpoint.websocket(parts, id, identity)).await
        }
        Method::GET => endpoint.poll(parts, id, identity).await,
        Method::POST => Box::pin(endpoint.post(&parts, id, identity, body)).await,
        Method::DELETE => Box::pin(endpoint.delete(id, user(&identity))).await,
        _ => Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "")),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|header| header.to_str().ok());
    accepted.flat_map(|header| header.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("text/event-stream")
    })
}
