//! New credentials for a connection that is open.

use std::time::SystemTime;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use backplane_hub::{Hub, RefreshError};
use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE, request::Parts};
use serde::Serialize;

use crate::{
    Identity, Rejection,
    endpoint::{self, Endpoint},
    query::Query,
    refusal::{Refusal, plain},
    table::Table,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a connection keeps the credentials that it has.
#[derive(Debug)]
enum Refused {
    /// The router does not do this.
    Disabled,
    /// No connection is named.
    NoToken,
    /// There is no such connection, or it is somebody else's, or its token is no secret.
    NotFound,
    /// The node that has it cannot be asked now.
    Unavailable,
    /// Nobody has told who they are.
    Anonymous,
    /// Whoever it is may not connect.
    Rejected(Rejection),
}

impl Endpoint {
    /// Takes the credentials that a request brings in place of those of the connection that it names.
    pub(crate) async fn refresh(&self, request: &Parts) -> Response {
        if request.method != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        match self.refreshed(request).await {
            Ok(identity) => lifetime(&identity),
            Err(refused) => refused.into_response(),
        }
    }

    async fn refreshed(&self, request: &Parts) -> Result<Identity, Refused> {
        if !self.options.authentication_refresh {
            return Err(Refused::Disabled);
        }
        let query = Query::of(&request.uri);
        let token = query.get("id").filter(|id| !id.is_empty()).ok_or(Refused::NoToken)?;
        let identity = self.admit(request).await.map_err(Refused::Rejected)?;
        let ticket = self.ticket(Some(token), endpoint::user(&identity));
        let ticket = ticket.map_err(|_| Refused::NotFound)?;
        // In version 0 others are told the token too, as it is the id.
        if ticket.id.as_str() == token {
            return Err(Refused::NotFound);
        }
        let identity = identity.ok_or(Refused::Anonymous)?;
        if self.local(&ticket).is_some() {
            self.table.renew(&self.hub, &ticket.id, identity.clone())?;
        } else {
            self.renew_elsewhere(&ticket, identity.clone()).await?;
        }
        Ok(identity)
    }
}

impl Table {
    /// Takes these credentials in place of those of a connection of this node.
    pub(crate) fn renew(
        &self,
        hub: &Hub,
        connection: &str,
        identity: Identity,
    ) -> Result<(), RefreshError> {
        let standing = self.standing(connection).ok_or(RefreshError::Unknown)?;
        standing.renew(hub, connection, identity).inspect_err(|error| {
            tracing::debug!(hub = hub.name(), %error, "refused to refresh a connection");
        })
    }

    /// Takes the credentials of a request on the way, which others may have overtaken.
    pub(crate) fn renew_if_fresher(&self, hub: &Hub, connection: &str, identity: Option<Identity>) {
        let standing = self.standing(connection);
        if let (Some(standing), Some(identity)) = (standing, identity)
            && let Err(error) = standing.renew_if_fresher(hub, connection, identity)
        {
            tracing::debug!(hub = hub.name(), %error, "a connection keeps its credentials");
        }
    }
}

impl From<RefreshError> for Refused {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Unauthorized(_) => Self::Rejected(Rejection::forbidden()),
            _ => Self::NotFound,
        }
    }
}

impl From<Refusal> for Refused {
    /// Of the node that has the connection.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable => Self::Unavailable,
            _ => Self::NotFound,
        }
    }
}

/// When the client should come again.
fn lifetime(identity: &Identity) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Refreshed {
        #[serde(skip_serializing_if = "Option::is_none")]
        token_lifetime_seconds: Option<i32>,
    }

    let token_lifetime_seconds = identity.lifetime_seconds(SystemTime::now());
    axum::Json(Refreshed { token_lifetime_seconds }).into_response()
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (response, code) = match self {
            Self::Disabled => (StatusCode::NOT_FOUND.into_response(), "refresh_disabled"),
            Self::NoToken => (StatusCode::BAD_REQUEST.into_response(), "missing_connection_token"),
            Self::NotFound => (StatusCode::NOT_FOUND.into_response(), "connection_not_found"),
            Self::Unavailable => (Refusal::Unavailable.into_response(), "connection_unavailable"),
            Self::Anonymous => (Rejection::unauthenticated().into_response(), "invalid_token"),
            Self::Rejected(rejection) => {
                let response = rejection.into_response();
                if response.status() != StatusCode::UNAUTHORIZED {
                    return response;
                }
                (response, "invalid_token")
            }
        };
        told(response, code)
    }
}

/// The same with a code that clients know.
fn told(mut response: Response, code: &'static str) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    *response.body_mut() = Body::from(format!(r#"{{"error":"{code}"}}"#));
    response
}
