use serde::de::{DeserializeOwned, Error as _};

use crate::Protocol;

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
