//! What the client library says, in this project's words.

use std::time::Duration;

use backplane_core::LinkError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

pub(crate) const EXPECTED: &str = "Kafka cluster";

/// The connection is lost, in the library's words.
#[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
pub(crate) fn lost(reason: impl ToString) -> LinkError {
    LinkError::Lost { reason: reason.to_string() }
}

/// A trouble with one broker; none where it says nothing about the connection.
pub(crate) fn of_broker(code: RDKafkaErrorCode, reason: &str, address: &str) -> Option<LinkError> {
    let (address, reason) = (address.to_owned(), reason.to_owned());
    Some(match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            LinkError::Authentication { address, reason }
        }
        RDKafkaErrorCode::SSL => LinkError::Tls { address, source: reason.into() },
        RDKafkaErrorCode::Resolve => LinkError::Unreachable { address, source: reason.into() },
        RDKafkaErrorCode::BrokerTransportFailure => {
            // The library tells these apart by its words only: a handshake that fails, and another side that
            // hangs up on the first request.
            if reason.contains("SSL_HANDSHAKE") {
                LinkError::Tls { address, source: reason.into() }
            } else if reason.contains("ApiVersion") || reason.contains("security.protocol") {
                LinkError::Protocol { address, expected: EXPECTED, reason }
            } else {
                LinkError::Lost { reason }
            }
        }
        RDKafkaErrorCode::UnsupportedFeature => {
            LinkError::Protocol { address, expected: EXPECTED, reason }
        }
        _ => return None,
    })
}

/// Why the broker did not answer a question.
pub(crate) fn of_answer(
    error: &KafkaError,
    doing: &'static str,
    waited: Duration,
    address: &str,
) -> LinkError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::OperationTimedOut) => LinkError::TimedOut { doing, waited },
        Some(code) => of_broker(code, &code.to_string(), address).unwrap_or_else(|| lost(code)),
        None => lost(error),
    }
}

/// Why reading cannot go on; none where it can.
pub(crate) fn of_reading(error: &KafkaError, topic: &str) -> Option<LinkError> {
    let code = error.rdkafka_error_code()?;
    Some(match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
            lost(format!("the topic {topic} does not hold any more what comes next"))
        }
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition => lost(format!("the topic {topic} is gone")),
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            let reason = format!("it may not read the topic {topic}: allow it to Read that");
            LinkError::Denied { address: topic.to_owned(), reason }
        }
        code if matches!(error, KafkaError::MessageConsumptionFatal(_)) => lost(code),
        // What the library mends, or tells in another way too.
        _ => return None,
    })
}

/// Why a partition does not take the record that marks a place.
pub(crate) fn of_fence(code: RDKafkaErrorCode, topic: &str, address: &str) -> LinkError {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => LinkError::Denied {
            address: address.to_owned(),
            reason: format!(
                "it may not write the topic {topic}: allow it to Write that, and on brokers before 2.8 IdempotentWrite on the cluster"
            ),
        },
        code => lost(format!("a partition of the topic {topic} does not take a record: {code}")),
    }
}

/// Whether a broker has refused a record, and would refuse it again, while it takes others.
pub(crate) const fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}
