//! What the tests ask for beside the hubs.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Redirect, Response},
    routing::{any, get},
};
use backplane_hub::Hub;
use serde::{Deserialize, Serialize};

use crate::{path::with_path, secrets::Secrets};

/// How often clients were sent elsewhere, by any node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redirects(Arc<AtomicU32>);

/// What the pages need.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) hub: Hub,
    pub(crate) secrets: Secrets,
    pub(crate) redirects: Redirects,
}

pub(crate) fn router(site: Site) -> Router {
    Router::new()
        .route("/generatejwttoken", get(login))
        .route("/clientresult/{connection}", get(client_result))
        .route("/deployment", get(deployment))
        .route("/lib/signalr-webworker/signalr.js", get(worker_client))
        .route("/redirect", any(elsewhere))
        .route("/redirect/{*rest}", any(elsewhere))
        .route("/echoredirect", any(to_echo))
        .route("/echoredirect/{*rest}", any(to_echo))
        .route("/bad-negotiate", any(refused))
        .route("/bad-negotiate/{*rest}", any(refused))
        .with_state(site)
}

async fn login(State(site): State<Site>) -> Response {
    match site.secrets.login() {
        Ok(token) => token.into_response(),
        Err(error) => {
            tracing::error!(%error, "no login");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Asks a client for a number, and tells what became of that.
async fn client_result(State(site): State<Site>, Path(connection): Path<String>) -> String {
    let client = site.hub.clients().connection(&connection);
    match client.invoke::<i32>("Result", ()).await {
        Ok(number) => number.to_string(),
        Err(error) => error.to_string(),
    }
}

#[derive(Serialize)]
struct Deployment {
    node: String,
}

async fn deployment(State(site): State<Site>) -> Json<Deployment> {
    Json(Deployment { node: site.hub.node().to_string() })
}

/// The package folder of the real-client tests, which pins the version of the client.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/node_modules");

/// The official client as web workers load it, where it was fetched.
async fn worker_client() -> Response {
    let client = format!("{PACKAGES}/@microsoft/signalr/dist/webworker/signalr.js");
    match tokio::fs::read(client).await {
        Ok(client) => ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], client).into_response(),
        Err(error) => {
            tracing::warn!(%error, "no client for web workers: run tests/fetch");
            (StatusCode::NOT_FOUND, "run tests/fetch").into_response()
        }
    }
}

#[derive(Deserialize)]
struct Elsewhere {
    #[serde(rename = "baseUrl")]
    base: String,
}

#[derive(Serialize)]
struct Negotiated {
    url: String,
}

/// Sends a client that negotiates to the hub, as a server that hands its clients on does.
async fn elsewhere(State(site): State<Site>, Query(query): Query<Elsewhere>) -> Json<Negotiated> {
    let number = site.redirects.0.fetch_add(1, Ordering::Relaxed) + 1;
    Json(Negotiated { url: format!("{}/testHub?numRedirects={number}", query.base) })
}

/// Sends a request to the raw connection, as a proxy may.
async fn to_echo(uri: Uri) -> Response {
    match with_path(&uri, &uri.path().replacen("echoredirect", "echo", 1)) {
        Some(echo) => Redirect::temporary(&echo.to_string()).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn refused() -> (StatusCode, &'static str) {
    (StatusCode::BAD_REQUEST, "Some response from server")
}
