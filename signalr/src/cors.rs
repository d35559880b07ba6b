//! Pages of other origins: which may connect, and what their browsers want to be told.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

use crate::{Rejection, endpoint::Endpoint};

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const TRUE: HeaderValue = HeaderValue::from_static("true");
/// Answers differ by these, for caches.
const VARIES: HeaderValue = HeaderValue::from_static("Origin, Access-Control-Request-Headers");
/// How many seconds a browser may remember a preflight; none of them remembers longer.
const REMEMBERED: HeaderValue = HeaderValue::from_static("7200");

/// Lets requests pass that come from no page, or from one that may connect, and tells browsers so.
///
/// Others end here: a browser would keep only the answer from its page, and of a WebSocket not even
/// that.
pub(crate) async fn guard(
    State(endpoint): State<Arc<Endpoint>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        return vary(next.run(request).await);
    };
    if !endpoint.options.allows(&origin) {
        tracing::warn!(
            hub = endpoint.hub.name(),
            ?origin,
            "refused a request of an origin that is not allowed"
        );
        return vary(Rejection::forbidden().into_response());
    }
    let mut response =
        if is_preflight(&request) { preflight(request.headers()) } else { next.run(request).await };
    let headers = response.headers_mut();
    // The very origin, as browsers take no wildcard with credentials.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    vary(response)
}

fn is_preflight(request: &Request<Body>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// A page that may connect may send what headers it likes.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

fn vary(mut response: Response) -> Response {
    response.headers_mut().append(VARY, VARIES);
    response
}
