//! The routes of a hub: which request gets which answer.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::any,
};
use backplane_hub::{ClaimError, ConnectionId, Hub, Ownership, Protocol, User};
use http::{
    HeaderMap, Method, Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, ORIGIN},
    request::Parts,
};

use crate::{
    NegotiateVersion, Options, Rejection,
    json::Json,
    negotiate,
    query::Query,
    session::{self, Admission},
    texts,
    token::{self, TokenError},
    websocket::Upgrade,
};

/// What all requests to one hub share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) hub: Hub,
    pub(crate) options: Options,
    pub(crate) protocol: Arc<dyn Protocol>,
}

/// The routes of `hub`, to be nested under its path.
///
/// ```
/// # use backplane_signalr::{Options, router};
/// # fn app(orders: &backplane_hub::Hub) -> axum::Router {
/// axum::Router::new().nest("/hubs/orders", router(orders, Options::new()))
/// # }
/// ```
///
/// The hub speaks JSON from now on. Routers of several hubs, and several of one hub, can be part of
/// one application.
pub fn router<S>(hub: &Hub, options: Options) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let protocol: Arc<dyn Protocol> = Arc::new(Json);
    hub.speak(Arc::clone(&protocol));
    Router::new()
        .route("/", any(connect))
        .route("/negotiate", any(negotiate))
        .with_state(Arc::new(Endpoint { hub: hub.clone(), options, protocol }))
}

async fn negotiate(
    State(endpoint): State<Arc<Endpoint>>,
    request: Request<axum::body::Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let user = match endpoint.admit(&parts).await {
        Ok(user) => user,
        Err(rejection) => return rejection.into_response(),
    };
    if parts.method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let body = endpoint.negotiate(&Query::of(&parts.uri), user.as_ref());
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn connect(
    State(endpoint): State<Arc<Endpoint>>,
    request: Request<axum::body::Body>,
) -> Response {
    let (mut parts, _) = request.into_parts();
    let user = match endpoint.admit(&parts).await {
        Ok(user) => user,
        Err(rejection) => return rejection.into_response(),
    };
    let query = Query::of(&parts.uri);
    let id = query.get("id").filter(|id| !id.is_empty());
    match parts.method {
        Method::GET if accepts_events(&parts.headers) => endpoint.unserved(
            id,
            user.as_ref(),
            StatusCode::NOT_FOUND,
            &texts::no_transport("ServerSentEvents"),
        ),
        Method::GET if Upgrade::is_wanted(&parts) => match Upgrade::of(&mut parts) {
            Ok(upgrade) => endpoint.open(upgrade, &parts.headers, id, user).await,
            Err(error) => error.into_response(),
        },
        Method::GET => endpoint.unserved(
            id,
            user.as_ref(),
            StatusCode::NOT_FOUND,
            &texts::no_transport("LongPolling"),
        ),
        Method::POST => endpoint.unserved(
            id,
            user.as_ref(),
            StatusCode::METHOD_NOT_ALLOWED,
            texts::POST_NOT_ALLOWED,
        ),
        Method::DELETE => {
            endpoint.unserved(id, user.as_ref(), StatusCode::BAD_REQUEST, texts::DELETE_NOT_ALLOWED)
        }
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
    }
}

impl Endpoint {
    /// The user that a request comes from, if the hub lets it pass.
    async fn admit(&self, request: &Parts) -> Result<Option<User>, Rejection> {
        let user = self.options.user(request).await;
        let admitted = user.and_then(|user| match self.hub.authorize(user.as_ref()) {
            Ok(()) => Ok(user),
            Err(denied) if denied.anonymous => Err(Rejection::unauthenticated()),
            Err(_) => Err(Rejection::forbidden()),
        });
        admitted.inspect_err(|rejection| {
            tracing::debug!(hub = self.hub.name(), ?rejection, "refused a request");
        })
    }

    fn negotiate(&self, query: &Query, user: Option<&User>) -> Vec<u8> {
        let version = match NegotiateVersion::of(query, self.options.minimum_negotiate_version) {
            Ok(version) => version,
            Err(text) => return negotiate::refused(&text),
        };
        let keep = self.options.token_expiry;
        let (id, token) = token::issue(
            &self.options.token_keys,
            self.hub.name(),
            user,
            version,
            self.hub.node(),
            SystemTime::now() + keep,
        );
        // Nodes whose clocks are behind still take the token for a while.
        self.hub.announce(&id, keep + CLOCKS);
        negotiate::granted(version, &id, &token)
    }

    /// Opens a WebSocket: of a negotiated connection, or of a new one.
    async fn open(
        self: Arc<Self>,
        upgrade: Upgrade,
        headers: &HeaderMap,
        token: Option<&str>,
        user: Option<User>,
    ) -> Response {
        if !self.options.allows(headers.get(ORIGIN)) {
            tracing::warn!(hub = self.hub.name(), origin = ?headers.get(ORIGIN), "refused a WebSocket of an origin that is not allowed");
            return Rejection::forbidden().into_response();
        }
        let (id, ownership) = match token {
            None => (ConnectionId::random(), None),
            Some(token) => match self.claim(token, user.as_ref()).await {
                Ok((id, ownership)) => (id, Some(ownership)),
                Err(response) => return response,
            },
        };
        upgrade.accept(async move |socket| {
            session::run(socket, Admission { endpoint: self, id, user }).await;
            drop(ownership);
        })
    }

    /// The connection that a token stands for, which is granted once.
    async fn claim(
        &self,
        token: &str,
        user: Option<&User>,
    ) -> Result<(ConnectionId, Ownership), Response> {
        let ticket = self.verify(token, user).map_err(|_| unknown())?;
        match self.hub.claim(&ticket.id, ticket.registrar).await {
            Ok(ownership) => Ok((ticket.id, ownership)),
            Err(error) => {
                tracing::debug!(hub = self.hub.name(), %error, "refused a connection token");
                Err(match error {
                    ClaimError::AlreadyClaimed { .. } => plain(StatusCode::CONFLICT, ""),
                    ClaimError::Unavailable { .. } => plain(StatusCode::SERVICE_UNAVAILABLE, ""),
                    _ => unknown(),
                })
            }
        }
    }

    /// The answer to a request of a transport that is not served.
    fn unserved(
        &self,
        token: Option<&str>,
        user: Option<&User>,
        status: StatusCode,
        text: &str,
    ) -> Response {
        match token.map(|token| self.verify(token, user)) {
            None => plain(StatusCode::BAD_REQUEST, texts::ID_REQUIRED),
            Some(Err(_)) => unknown(),
            Some(Ok(_)) => plain(status, text),
        }
    }

    fn verify(&self, token: &str, user: Option<&User>) -> Result<token::Ticket, TokenError> {
        let keys = &self.options.token_keys;
        token::verify(keys, self.hub.name(), user, token, SystemTime::now()).inspect_err(|error| {
            tracing::debug!(hub = self.hub.name(), %error, "refused a connection token");
        })
    }
}

/// How far the clocks of nodes may differ.
const CLOCKS: Duration = Duration::from_secs(30);

fn accepts_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|header| header.to_str().ok());
    accepted
        .flat_map(|header| header.split(','))
        .any(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn unknown() -> Response {
    plain(StatusCode::NOT_FOUND, texts::UNKNOWN_ID)
}

fn plain(status: StatusCode, text: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain")], text.to_owned()).into_response()
}
