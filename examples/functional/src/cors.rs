//! Pages of every origin may use this server, with their credentials: it is there for tests only.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

/// What a browser asks for, and where it is granted.
const ECHOED: [(HeaderName, HeaderName); 3] = [
    (ORIGIN, ACCESS_CONTROL_ALLOW_ORIGIN),
    (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
    (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
];

/// Grants what the request's page asks for. What a browser asks beforehand goes no further.
pub(crate) async fn allow_all(request: Request, next: Next) -> Response {
    if !request.headers().contains_key(ORIGIN) {
        return next.run(request).await;
    }
    let granted = granted(request.headers());
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().extend(granted);
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    response
}

fn granted(asked: &HeaderMap) -> HeaderMap {
    let echoed = ECHOED.into_iter().filter_map(|(asks, grants)| {
        let value = asked.get(asks)?.clone();
        Some((grants, value))
    });
    let mut granted: HeaderMap = echoed.collect();
    granted.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    granted
}
