//! The cookies that clients are to send with all that follows their negotiation.

use std::time::{Duration, SystemTime};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, header::SET_COOKIE},
    middleware::Next,
    response::Response,
};

/// How long ago the last one has expired.
const AGO: Duration = Duration::from_secs(3600);

/// What browsers want of the cookies of another site, which they take by HTTPS only.
const ACROSS_SITES: &str = "; SameSite=None; Secure; Partitioned";

/// Sets the cookies where clients negotiate.
pub(crate) async fn set(request: Request, next: Next) -> Response {
    let sets = request.uri().path().contains("/negotiate");
    let secure = by_https(request.headers());
    let mut response = next.run(request).await;
    if sets {
        for cookie in cookies(secure, SystemTime::now()) {
            // Names and dates are such values.
            if let Ok(cookie) = HeaderValue::try_from(cookie) {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
        }
    }
    response
}

/// Whether the client came by HTTPS. That ends in front of this server, at a proxy that says so.
fn by_https(headers: &HeaderMap) -> bool {
    let scheme = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

fn cookies(secure: bool, now: SystemTime) -> [String; 3] {
    let expired = httpdate::fmt_http_date(now - AGO);
    [
        "testCookie=testValue".to_owned(),
        "testCookie2=testValue2".to_owned(),
        format!("expiredCookie=doesntmatter; expires={expired}"),
    ]
    .map(|cookie| format!("{cookie}; path=/{}", if secure { ACROSS_SITES } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_of_a_site() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800);
        let expected = [
            "testCookie=testValue; path=/",
            "testCookie2=testValue2; path=/",
            "expiredCookie=doesntmatter; expires=Fri, 31 Dec 1999 23:00:00 GMT; path=/",
        ];
        assert_eq!(cookies(false, now), expected);
        let expected = expected.map(|it| format!("{it}; SameSite=None; Secure; Partitioned"));
        assert_eq!(cookies(true, now), expected);
    }
}
