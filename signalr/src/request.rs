use std::{fmt, sync::Arc};

use backplane_hub::{Extract, HubError, Invocation, Needs};
use http::{
    HeaderMap,
    header::{AsHeaderName, COOKIE},
    request::Parts,
};

use crate::{Transport, query::Query};

/// The request that a connection began with: that for the WebSocket or the server-sent events, or the
/// first poll. A parameter of handlers:
///
/// ```
/// # use backplane_signalr::ConnectionRequest;
/// async fn language(request: ConnectionRequest) -> Option<String> {
///     request.header("accept-language").map(str::to_owned)
/// }
/// # fn described(hub: backplane_hub::HubBuilder) -> backplane_hub::HubBuilder {
/// hub.method("Language", language)
/// # }
/// ```
///
/// A hub of which no handler takes it keeps no requests. It holds what clients prove with who they are,
/// so it shows none of it in `Debug`.
#[derive(Clone)]
pub struct ConnectionRequest(Arc<Kept>);

/// What is kept of it.
pub(crate) struct Kept {
    transport: Transport,
    headers: HeaderMap,
    query: Query,
}

impl Kept {
    pub(crate) fn of(request: &Parts, transport: Transport) -> Self {
        Self { transport, headers: request.headers.clone(), query: Query::of(&request.uri) }
    }
}

impl ConnectionRequest {
    pub(crate) const fn new(kept: Arc<Kept>) -> Self {
        Self(kept)
    }

    /// How the connection travels.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// All of its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The first header of this name, if it is text.
    #[must_use]
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.0.headers.get(name)?.to_str().ok()
    }

    /// The first value of this key of the query; keys have no case.
    #[must_use]
    pub fn query(&self, key: &str) -> Option<&str> {
        self.0.query.get(key)
    }

    /// The first cookie of this name, as the client sent it.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let headers = self.0.headers.get_all(COOKIE);
        let mut cookies =
            headers.iter().filter_map(|header| header.to_str().ok()).flat_map(|it| it.split(';'));
        cookies.find_map(|cookie| {
            let (found, value) = cookie.trim().split_once('=')?;
            (found == name).then_some(value)
        })
    }
}

impl fmt::Debug for ConnectionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionRequest")
            .field("transport", &self.transport())
            .finish_non_exhaustive()
    }
}

impl Extract for ConnectionRequest {
    fn extract(invocation: &Invocation) -> Result<Self, HubError> {
        let missing = || HubError::named("MissingRequest", "not a SignalR connection");
        invocation.request().map(Self).ok_or_else(missing)
    }

    fn needs(needs: &mut Needs) {
        needs.request();
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request() -> ConnectionRequest {
        let request = Request::get("/hub?numRedirects=2&access_token=secret")
            .header("Content-Type", "text/plain")
            .header("Cookie", "a=1; testCookie=testValue")
            .header("Cookie", "b=x=y;c")
            .header("Authorization", "Bearer secret")
            .body(())
            .unwrap();
        ConnectionRequest(Arc::new(Kept::of(&request.into_parts().0, Transport::LongPolling)))
    }

    #[test]
    fn what_handlers_ask() {
        let request = request();
        assert_eq!(request.transport().name(), "LongPolling");
        assert_eq!(request.header("content-TYPE"), Some("text/plain"));
        assert_eq!(request.header("x-other"), None);
        assert_eq!(request.query("numredirects"), Some("2"));
        assert_eq!(request.cookie("a"), Some("1"));
        assert_eq!(request.cookie("testCookie"), Some("testValue"));
        assert_eq!(request.cookie("b"), Some("x=y"));
        assert_eq!(request.cookie("c"), None);
        assert_eq!(request.cookie("TestCookie"), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", request()), "ConnectionRequest { transport: LongPolling, .. }");
    }
}
