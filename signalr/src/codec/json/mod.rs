//! The JSON hub protocol: one JSON object per message, each ended by a record separator.

mod depth;
mod parse;
#[cfg(test)]
mod tests;
mod write;

use backplane_hub::{EncodeError, Protocol};
use bytes::Bytes;

pub(crate) use parse::{ParseError, parse};
pub(crate) use write::{PING, item, result, write};

/// Ends each record.
pub(crate) const SEPARATOR: u8 = 0x1e;

/// Its name in the handshake.
pub(crate) const NAME: &str = "json";

/// What the hub needs of it.
#[derive(Debug)]
pub(crate) struct Json;

impl Protocol for Json {
    fn name(&self) -> &'static str {
        NAME
    }

    fn invocation(
        &self,
        id: Option<&str>,
        target: &str,
        arguments: &[&dyn erased_serde::Serialize],
        trace: Option<&str>,
    ) -> Result<Bytes, EncodeError> {
        write::invocation(id, target, arguments, trace).map_err(EncodeError::new)
    }

    fn argument(
        &self,
        raw: &[u8],
        read: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), erased_serde::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(raw);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut deserializer))
    }
}
