//! The MessagePack hub protocol: one array per message, each after its length.

mod frame;
mod parse;
mod read;
#[cfg(test)]
mod tests;
mod write;

use backplane_hub::{EncodeError, Protocol};
use bytes::Bytes;

pub(crate) use self::{
    frame::prefix,
    parse::{ParseError, parse},
    write::{PING, item, result, write},
};

/// Its name in the handshake.
pub(crate) const NAME: &str = "messagepack";

/// What the hub needs of it.
#[derive(Debug)]
pub(crate) struct MessagePack;

impl Protocol for MessagePack {
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
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(raw);
        deserializer.set_max_depth(read::DEEPEST + 1);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut deserializer))
    }
}
