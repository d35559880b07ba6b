//! Paths without case, as the original has them.

use axum::{
    extract::Request,
    http::{Uri, uri::PathAndQuery},
};

/// Writes a request's path in lower case; what a client is called keeps its own.
pub(crate) async fn without_case(mut request: Request) -> Request {
    let path = request.uri().path();
    let lower = match path.rsplit_once('/') {
        Some((folder, id)) if folder.eq_ignore_ascii_case("/clientresult") => {
            format!("/clientresult/{id}")
        }
        _ => path.to_ascii_lowercase(),
    };
    if lower != path
        && let Some(uri) = with_path(request.uri(), &lower)
    {
        *request.uri_mut() = uri;
    }
    request
}

/// The URI with another path; nothing where that is no path.
pub(crate) fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query: PathAndQuery = match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok()?,
        None => path.parse().ok()?,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[tokio::test]
    async fn only_the_path_and_no_id() {
        for (given, expected) in [
            ("/testHub/Negotiate?ID=aB", "/testhub/negotiate?ID=aB"),
            ("/ClientResult/aBc", "/clientresult/aBc"),
            ("/echo", "/echo"),
        ] {
            let request = Request::get(given).body(Body::empty()).unwrap();
            assert_eq!(without_case(request).await.uri(), expected);
        }
    }
}
