//! The page, and the client bundle that it loads.
//!
//! The official `@microsoft/signalr` bundle is not part of this repository: it is fetched by name,
//! once, into a folder that git ignores.

use std::{path::PathBuf, process::Stdio};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use tokio::process::Command;

/// The package folder of the real-client tests, which pins the bundle's version.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients");

const JAVASCRIPT: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
const CSS: &str = include_str!("../page/page.css");
const SCRIPT: &str = include_str!("../page/page.js");
/// Stands in where the official bundle cannot be had.
const SMALL_CLIENT: &str = include_str!("../page/client.js");

pub(crate) fn router() -> Router {
    Router::new()
        .route("/", get(|| async { Html(include_str!("../page/index.html")) }))
        .route("/page.css", get(|| async { ([(header::CONTENT_TYPE, "text/css")], CSS) }))
        .route("/page.js", get(|| async { (JAVASCRIPT, SCRIPT) }))
        .route("/client.js", get(|| async { (JAVASCRIPT, SMALL_CLIENT) }))
        .route("/signalr.js", get(client))
}

fn bundle() -> PathBuf {
    let package = "node_modules/@microsoft/signalr/dist/browser/signalr.min.js";
    PathBuf::from(PACKAGES).join(package)
}

async fn client() -> Response {
    match tokio::fs::read(bundle()).await {
        Ok(bundle) => (JAVASCRIPT, bundle).into_response(),
        Err(_) => (StatusCode::NOT_FOUND, "run tests/fetch, or install npm").into_response(),
    }
}

/// Fetches the client bundle in the background where it is missing.
pub(crate) fn fetch_client() {
    if bundle().exists() {
        return;
    }
    println!("Fetching the @microsoft/signalr package for the page, once …");
    tokio::spawn(async {
        let fetched = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", PACKAGES])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await;
        match fetched {
            Ok(status) if status.success() => println!("… fetched: reload the page."),
            Ok(status) => eprintln!("… npm failed ({status}); the page uses its own small client."),
            Err(_) => eprintln!("… there is no npm; the page uses its own small client."),
        }
    });
}
