use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};

use crate::{ArgumentsError, InvocationError, Protocol};

/// Reads one raw argument, or result, as a `T`.
pub(crate) fn read<T: DeserializeOwned>(
    protocol: &dyn Protocol,
    raw: &[u8],
) -> Result<T, erased_serde::Error> {
    let mut value = None;
    protocol.argument(raw, &mut |deserializer| {
        value = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    })?;
    value.ok_or_else(|| erased_serde::Error::custom("the protocol handed over no argument"))
}

/// Reads the argument of a call at this place.
pub(super) fn read_at<T: DeserializeOwned>(
    protocol: &dyn Protocol,
    arguments: &[Bytes],
    index: usize,
) -> Result<T, InvocationError> {
    let raw = arguments.get(index).map_or(&[][..], |raw| raw);
    read(protocol, raw).map_err(|source| InvocationError::Arguments {
        detail: ArgumentsError::Type { index, source },
    })
}

/// The arguments of a call that has not begun, to be looked at one after another.
#[derive(Debug)]
pub struct Unread<'a> {
    protocol: &'a dyn Protocol,
    arguments: &'a [Bytes],
    next: usize,
}

impl<'a> Unread<'a> {
    pub(super) fn new(protocol: &'a dyn Protocol, arguments: &'a [Bytes]) -> Self {
        Self { protocol, arguments, next: 0 }
    }

    pub(super) fn fits<T: DeserializeOwned>(&mut self) -> Result<(), InvocationError> {
        let index = self.next;
        self.next += 1;
        read_at::<T>(self.protocol, self.arguments, index).map(drop)
    }
}
