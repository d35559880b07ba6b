use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use backplane_hub::ByteSize;
use http::{HeaderValue, request::Parts};

use crate::{Authenticate, Identity, NegotiateVersion, Rejection, TokenKeys, Transport};

/// How a router treats its clients. The defaults are those of ASP.NET Core SignalR, which clients
/// are made for, unless a reason is given.
#[derive(Clone)]
#[must_use]
pub struct Options {
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) origins: Option<Arc<[String]>>,
    pub(crate) close_on_authentication_expiration: bool,
    pub(crate) authentication_refresh: bool,
    pub(crate) minimum_negotiate_version: NegotiateVersion,
    pub(crate) transports: Vec<Transport>,
    pub(crate) token_keys: TokenKeys,
    pub(crate) token_expiry: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) client_timeout: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) poll_timeout: Duration,
    pub(crate) disconnect_timeout: Duration,
    pub(crate) stateful_reconnect: bool,
    pub(crate) stateful_buffer: usize,
    pub(crate) largest_message: usize,
    pub(crate) parallel_invocations: NonZeroUsize,
    pub(crate) parallel_streams: NonZeroUsize,
    pub(crate) stream_capacity: NonZeroUsize,
    pub(crate) detailed_errors: bool,
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            authenticate: None,
            origins: None,
            close_on_authentication_expiration: false,
            authentication_refresh: false,
            minimum_negotiate_version: NegotiateVersion::Zero,
            transports: Transport::ALL.to_vec(),
            token_keys: TokenKeys::default(),
            token_expiry: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(15),
            client_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            poll_timeout: Duration::from_secs(90),
            disconnect_timeout: Duration::from_secs(15),
            stateful_reconnect: false,
            stateful_buffer: 100_000,
            largest_message: 32 * 1024,
            parallel_invocations: NonZeroUsize::MIN,
            parallel_streams: const { NonZeroUsize::new(100).unwrap() },
            stream_capacity: const { NonZeroUsize::new(10).unwrap() },
            detailed_errors: false,
        }
    }

    /// Finds out which user a request comes from. By default nobody does: all clients are anonymous.
    pub fn authenticate(self, authenticate: impl Authenticate) -> Self {
        Self { authenticate: Some(Arc::new(authenticate)), ..self }
    }

    /// The only origins (`https://app.example`, as browsers write them) whose pages may connect, by
    /// any transport; **also that of the application itself**, where it has pages. Set it where cookies
    /// or the network prove who a client is: pages of other origins are answered 403. Requests
    /// without an origin don't come from a page, and pass.
    ///
    /// It also answers what browsers ask before they let a page of another origin connect (CORS):
    /// these origins may send credentials, and any header. By default nothing is checked and browsers
    /// are told nothing, so only WebSockets work from pages of other origins; do that by this or, for
    /// the whole application, by a layer of it, but not by both.
    pub fn allowed_origins<O: Into<String>>(self, origins: impl IntoIterator<Item = O>) -> Self {
        Self { origins: Some(origins.into_iter().map(Into::into).collect()), ..self }
    }

    /// Closes a connection when the credentials that it began with, or was refreshed with, expire:
    /// [`Identity::expires_at`]. The client is told that it may connect again, as it does with new ones.
    /// Default off: they are looked at when a client connects, and with each of its requests.
    pub fn close_on_authentication_expiration(self, close: bool) -> Self {
        Self { close_on_authentication_expiration: close, ..self }
    }

    /// Lets clients bring new credentials for a connection that is open: by `POST refresh` with the
    /// connection's token as `id`, on any node. Whatever its transport, policies and methods see the new
    /// claims from then on, and it expires with the new credentials. Their user must be the same. Clients
    /// are told with their tokens how long their credentials are good. Default off.
    ///
    /// Clients that poll need no such request: credentials of a poll that expire later than those that
    /// there are take their place in any case.
    pub fn authentication_refresh(self, refresh: bool) -> Self {
        Self { authentication_refresh: refresh, ..self }
    }

    /// The least version of the negotiation that is served. Default [`NegotiateVersion::Zero`].
    /// Version 0 shows the secret that a client connects with as its public id.
    pub fn minimum_negotiate_version(self, minimum: NegotiateVersion) -> Self {
        Self { minimum_negotiate_version: minimum, ..self }
    }

    /// The only transports that are served, of which clients take the first that they can. By default
    /// all are.
    pub fn transports(self, transports: impl IntoIterator<Item = Transport>) -> Self {
        let served: Vec<_> = transports.into_iter().collect();
        let transports = Transport::ALL.into_iter().filter(|it| served.contains(it)).collect();
        Self { transports, ..self }
    }

    /// The keys that connection tokens are signed with: **all nodes of a hub need the same**. Default
    /// a random key of this process.
    pub fn token_keys(self, keys: TokenKeys) -> Self {
        Self { token_keys: keys, ..self }
    }

    /// How long after its negotiation a client may still connect, at most a day. Default 60 s, where the original
    /// forgets unused connections after 15 s: clocks of nodes may differ by some seconds, and an
    /// unused token costs a node next to nothing.
    pub fn token_expiry(self, expiry: Duration) -> Self {
        Self { token_expiry: expiry.min(Duration::from_secs(86_400)), ..self }
    }

    /// How long a client may take for its handshake. Default 15 s.
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        Self { handshake_timeout: timeout, ..self }
    }

    /// How long nothing may have been sent before a ping is. Default 15 s: half of what clients wait
    /// for.
    pub fn keep_alive(self, interval: Duration) -> Self {
        Self { keep_alive: interval, ..self }
    }

    /// How long nothing may have come from a client that pings before it counts as gone. Default
    /// 30 s: twice the interval in which clients ping.
    pub fn client_timeout(self, timeout: Duration) -> Self {
        Self { client_timeout: timeout, ..self }
    }

    /// How long one write to a client may take before the connection is cut. Default 10 s.
    pub fn send_timeout(self, timeout: Duration) -> Self {
        Self { send_timeout: timeout, ..self }
    }

    /// How long to wait for a client to close its side. Default 5 s.
    pub fn close_timeout(self, timeout: Duration) -> Self {
        Self { close_timeout: timeout, ..self }
    }

    /// How long a poll waits before it is answered with nothing. Default 90 s: clients wait for 100.
    pub fn poll_timeout(self, timeout: Duration) -> Self {
        Self { poll_timeout: timeout, ..self }
    }

    /// How long a client that polls may leave no poll waiting before it counts as gone, and how long one
    /// may stay away that can come back: [`stateful_reconnect`](Self::stateful_reconnect). Default 15 s.
    pub fn disconnect_timeout(self, timeout: Duration) -> Self {
        Self { disconnect_timeout: timeout, ..self }
    }

    /// Lets a client that loses its WebSocket come back with another one and go on where it was, if it asks
    /// for that (`withStatefulReconnect`): see [Stateful reconnect](crate#stateful-reconnect). Default off, as
    /// each such connection may keep [`stateful_buffer`](Self::stateful_buffer) bytes, and is open for
    /// [`disconnect_timeout`](Self::disconnect_timeout) longer than its client is there.
    pub fn stateful_reconnect(self, allow: bool) -> Self {
        Self { stateful_reconnect: allow, ..self }
    }

    /// How much of what it has sent a connection keeps until its client has acknowledged it, which clients
    /// do once a second, where they can come back. What is sent beyond that waits in the connection's queue. Default
    /// 100,000 bytes.
    pub fn stateful_buffer(self, size: ByteSize) -> Self {
        let stateful_buffer = usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        Self { stateful_buffer, ..self }
    }

    /// The largest message that a client may send. Default 32 KiB: each connection may make the
    /// server hold that much.
    pub fn largest_message(self, size: ByteSize) -> Self {
        let largest_message = usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        Self { largest_message, ..self }
    }

    /// How many calls of one client run at once; more wait, and what the client sends after them
    /// waits too. Default 1: calls run in order. Calls that return streams or send some run beside
    /// them.
    pub fn parallel_invocations(self, limit: NonZeroUsize) -> Self {
        Self { parallel_invocations: limit, ..self }
    }

    /// How many streams one client has at once, both ways together; a call with more is refused.
    /// Default 100, which is plenty for a page; the original has no limit, but each stream may make
    /// the server hold one message of the largest size.
    pub fn parallel_streams(self, limit: NonZeroUsize) -> Self {
        Self { parallel_streams: limit, ..self }
    }

    /// How many items of one stream of a client wait for the method that reads it. Where it does not
    /// read as fast as they come, all that the client sends waits. Default 10.
    pub fn stream_capacity(self, items: NonZeroUsize) -> Self {
        Self { stream_capacity: items, ..self }
    }

    /// Shows clients what went wrong on the server. Default off: errors that handlers don't mean for
    /// clients may hold secrets.
    pub fn detailed_errors(self, show: bool) -> Self {
        Self { detailed_errors: show, ..self }
    }

    /// Who a request comes from.
    pub(crate) async fn identity(&self, request: &Parts) -> Result<Option<Identity>, Rejection> {
        match &self.authenticate {
            Some(authenticate) => authenticate.authenticate(request).await,
            None => Ok(None),
        }
    }

    /// Whether pages of this origin may connect.
    pub(crate) fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.as_ref().is_none_or(|allowed| {
            allowed.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("authenticates", &self.authenticate.is_some())
            .field("origins", &self.origins)
            .field("close_on_authentication_expiration", &self.close_on_authentication_expiration)
            .field("authentication_refresh", &self.authentication_refresh)
            .field("minimum_negotiate_version", &self.minimum_negotiate_version)
            .field("transports", &self.transports)
            .field("token_keys", &self.token_keys)
            .field("token_expiry", &self.token_expiry)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("keep_alive", &self.keep_alive)
            .field("client_timeout", &self.client_timeout)
            .field("send_timeout", &self.send_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("poll_timeout", &self.poll_timeout)
            .field("disconnect_timeout", &self.disconnect_timeout)
            .field("stateful_reconnect", &self.stateful_reconnect)
            .field("stateful_buffer", &self.stateful_buffer)
            .field("largest_message", &self.largest_message)
            .field("parallel_invocations", &self.parallel_invocations)
            .field("parallel_streams", &self.parallel_streams)
            .field("stream_capacity", &self.stream_capacity)
            .field("detailed_errors", &self.detailed_errors)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let origin = HeaderValue::from_static;
        let open = Options::new();
        assert!(open.allows(&origin("https://evil.example")));
        let closed =
            Options::new().allowed_origins(["https://app.example", "http://localhost:8080"]);
        assert!(closed.allows(&origin("https://App.Example")));
        assert!(closed.allows(&origin("http://localhost:8080")));
        for other in ["http://app.example", "https://app.example.evil", "null", ""] {
            assert!(!closed.allows(&origin(other)), "{other}");
        }
    }
}
