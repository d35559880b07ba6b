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

/// How long an answer is waited for before the same is asked again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// How soon the same is tried again while the servers agree on a leader.
pub(super) const AGAIN: Duration = Duration::from_millis(50);

/// A connection, and what the client library knows of JetStream.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) connection: Arc<Connection>,
    pub(super) context: Context,
    patience: Duration,
}

impl Api {
    /// What takes longer than `patience` has failed.
    pub(super) async fn new(connection: Connection, patience: Duration) -> Result<Self, LinkError> {
        let client = connection.client.clone();
        let build = async move { ContextBuilder::new().timeout(patience).build(client) };
        // It has a task of its own, which is to end with the client's.
        let context = connection.thread.spawn(build).await;
        let context = context.map_err(|_| connection.notices.lost())?;
        Ok(Self { connection: Arc::new(connection), context, patience })
    }

    /// Asks, and returns what the servers answer, or what they have against it.
    ///
    /// Asks again where no answer comes, as while the servers have no leader: what is asked here may be asked
    /// more than once.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        operation: &str,
        question: &(impl Serialize + Sync),
    ) -> Result<Result<T, Error>, LinkError> {
        let notices = &self.connection.notices;
        let subject = format!("$JS.API.{operation}");
        let answered = async {
            loop {
                let request = self.context.request(operation.to_owned(), question);
                match tokio::time::timeout(ANSWERED_WITHIN, request).await {
                    Err(_) => {}
                    Ok(Ok(Response::Ok(answer))) => return Ok(Ok(answer)),
                    Ok(Ok(Response::Err { error })) if passes(&error) => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    Ok(Ok(Response::Err { error })) => return Ok(Err(error)),
                    Ok(Err(error)) => match error.kind() {
                        RequestErrorKind::TimedOut => {}
                        RequestErrorKind::NoResponders => {
                            let reason =
                                "JetStream is off: turn it on in the server's configuration";
                            return Err(self.unsuitable(reason));
                        }
                        _ => return Err(notices.lost()),
                    },
                }
            }
        };
        tokio::select! {
            biased;
            answer = tokio::time::timeout(self.patience, answered) => {
                answer.unwrap_or_else(|_| Err(self.timed_out()))
            }
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
        let reason = format!("{doing}: {error}");
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
