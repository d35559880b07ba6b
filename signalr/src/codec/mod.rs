//! The hub protocols: how messages are written and read. A client chooses one in its handshake.

#[cfg(test)]
mod any;
mod json;
mod messagepack;

use std::sync::{Arc, LazyLock};

use backplane_hub::{EncodeError, Protocol};
use bytes::Bytes;

pub(crate) use self::{json::SEPARATOR, messagepack::prefix};
use crate::message::Message;

/// A hub protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Json,
    MessagePack,
}

/// Why a record is not a message. Such a connection ends: what follows cannot be trusted.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) enum ParseError {
    Json(#[from] json::ParseError),
    MessagePack(#[from] messagepack::ParseError),
}

impl Codec {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// That of this name, in any case.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Its name in the handshake.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => json::NAME,
            Self::MessagePack => messagepack::NAME,
        }
    }

    /// What the hub needs of it, the same for all connections.
    pub(crate) fn protocol(self) -> Arc<dyn Protocol> {
        static JSON: LazyLock<Arc<dyn Protocol>> = LazyLock::new(|| Arc::new(json::Json));
        static MESSAGE_PACK: LazyLock<Arc<dyn Protocol>> =
            LazyLock::new(|| Arc::new(messagepack::MessagePack));

        Arc::clone(match self {
            Self::Json => &JSON,
            Self::MessagePack => &MESSAGE_PACK,
        })
    }

    /// Whether its messages are no text.
    pub(crate) const fn is_binary(self) -> bool {
        match self {
            Self::Json => false,
            Self::MessagePack => true,
        }
    }

    /// Reads one record without its framing; `None` is a message of a type that is not known here,
    /// which is to be ignored. Arguments, items and results are slices of `record`.
    pub(crate) fn parse(self, record: &Bytes) -> Result<Option<Message>, ParseError> {
        Ok(match self {
            Self::Json => json::parse(record)?,
            Self::MessagePack => messagepack::parse(record)?,
        })
    }

    /// One message with its framing.
    pub(crate) fn write(self, message: &Message) -> Bytes {
        match self {
            Self::Json => json::write(message),
            Self::MessagePack => messagepack::write(message),
        }
    }

    /// A ping with its framing, for all connections.
    pub(crate) fn ping(self) -> Bytes {
        match self {
            Self::Json => json::PING.clone(),
            Self::MessagePack => messagepack::PING.clone(),
        }
    }

    /// The completion of a call that returned `value`; `()` is null.
    pub(crate) fn result(
        self,
        id: &str,
        value: &dyn erased_serde::Serialize,
    ) -> Result<Bytes, EncodeError> {
        match self {
            Self::Json => json::result(id, value).map_err(EncodeError::new),
            Self::MessagePack => messagepack::result(id, value).map_err(EncodeError::new),
        }
    }

    /// One item of a stream.
    pub(crate) fn item(
        self,
        id: &str,
        value: &dyn erased_serde::Serialize,
    ) -> Result<Bytes, EncodeError> {
        match self {
            Self::Json => json::item(id, value).map_err(EncodeError::new),
            Self::MessagePack => messagepack::item(id, value).map_err(EncodeError::new),
        }
    }

    /// The name of the exception that the original has for values that cannot be written.
    pub(crate) const fn write_failure(self) -> &'static str {
        match self {
            Self::Json => "JsonException",
            Self::MessagePack => "MessagePackSerializationException",
        }
    }
}
