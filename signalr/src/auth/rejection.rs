use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

/// Why a request is not served: it is answered with this, and an empty body, as clients make an
/// error's text from the body where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    status: StatusCode,
    challenge: Option<Cow<'static, str>>,
}

impl Rejection {
    /// 401: there are no credentials.
    #[must_use]
    pub const fn unauthenticated() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, challenge: Some(Cow::Borrowed("Bearer")) }
    }

    /// 401: the credentials are no good, for this reason. The client sees it, in the header
    /// `WWW-Authenticate`.
    #[must_use]
    pub fn invalid_token(reason: &str) -> Self {
        // A quoted string of RFC 6750: printable ASCII without quotes and backslashes.
        let reason: String = reason
            .chars()
            .map(|letter| match letter {
                '"' => '\'',
                '\\' => '/',
                ' '..='~' => letter,
                _ => '?',
            })
            .collect();
        Self {
            status: StatusCode::UNAUTHORIZED,
            challenge: Some(
                format!(r#"Bearer error="invalid_token", error_description="{reason}""#).into(),
            ),
        }
    }

    /// 403: the credentials are good, but not for this.
    #[must_use]
    pub const fn forbidden() -> Self {
        Self::status(StatusCode::FORBIDDEN)
    }

    /// Any other status, for example 503 when nobody can be asked.
    #[must_use]
    pub const fn status(status: StatusCode) -> Self {
        Self { status, challenge: None }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let challenge = self.challenge.map(|challenge| HeaderValue::from_str(&challenge));
        if let Some(Ok(challenge)) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_always_a_quoted_string() {
        let response = Rejection::invalid_token("bad \"key\" \\ \n ü").into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(
            response.headers()[WWW_AUTHENTICATE],
            r#"Bearer error="invalid_token", error_description="bad 'key' / ? ?""#
        );
    }
}
