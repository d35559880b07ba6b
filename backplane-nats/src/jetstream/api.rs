//! Asking the servers about streams and consumers.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    Context, Error, ErrorCode,
    context::{ContextBuilder, RequestErrorKind},
    response::Response,
};
use backplane_core::LinkError;
use serde::{Serialize, de::DeserializeOwned};

use crate::connection::Connection;

/// A connection, and what the client library knows of JetStream.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) connection: Arc<Connection>,
    pub(super) context: Context,
    patience: Duration,
}

impl Api {
    /// An answer that takes longer than `patience` is none.
    pub(super) async fn new(connection: Connection, patience: Duration) -> Result<Self, LinkError> {
        let client = connection.client.clone();
        let build = async move { ContextBuilder::new().timeout(patience).build(client) };
        // It has a task of its own, which is to end with the client's.
        let context = connection.thread.spawn(build).await;
        let context = context.map_err(|_| connection.notices.lost())?;
        Ok(Self { connection: Arc::new(connection), context, patience })
    }

    /// Asks, and returns what the servers answer, or what they have against it.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        operation: &str,
        question: &(impl Serialize + Sync),
    ) -> Result<Result<T, Error>, LinkError> {
        let notices = &self.connection.notices;
        let subject = format!("$JS.API.{operation}");
        tokio::select! {
            biased;
            answer = self.context.request(operation.to_owned(), question) => match answer {
                Ok(Response::Ok(answer)) => Ok(Ok(answer)),
                Ok(Response::Err { error }) => Ok(Err(error)),
                Err(error) => Err(match error.kind() {
                    RequestErrorKind::TimedOut => self.timed_out(),
                    RequestErrorKind::NoResponders => self.unsuitable(
                        "JetStream is off: turn it on in the server's configuration",
                    ),
                    _ => notices.lost(),
                }),
            },
            // A question that is not allowed is never answered.
            reason = notices.refuses(&subject) => Err(LinkError::Denied {
                address: notices.address().to_owned(),
                reason: format!("{reason}; what a node needs is in the documentation of backplane-nats"),
            }),
        }
    }

    pub(super) const fn timed_out(&self) -> LinkError {
        LinkError::TimedOut { doing: "asking JetStream", waited: self.patience }
    }

    pub(super) fn unsuitable(&self, reason: impl Into<String>) -> LinkError {
        let address = self.connection.notices.address().to_owned();
        LinkError::Unsuitable { address, reason: reason.into() }
    }

    /// What the servers have against something that every node does.
    pub(super) fn failed(&self, doing: &str, error: &Error) -> LinkError {
        let reason = format!("{doing}: {}", said(error));
        if passes(error) { LinkError::Lost { reason } } else { self.unsuitable(reason) }
    }
}

/// Whether it is over when the servers have agreed on a leader.
pub(super) fn passes(error: &Error) -> bool {
    let passing = [
        ErrorCode::CLUSTER_NOT_AVAILABLE,
        ErrorCode::CLUSTER_NOT_ASSIGNED,
        ErrorCode::CLUSTER_NOT_LEADER,
        ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT,
    ];
    passing.contains(&error.error_code())
}

/// In the servers' words.
pub(super) fn said(error: &Error) -> String {
    format!("{error}")
}
