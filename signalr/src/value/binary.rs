use std::{borrow::Cow, fmt, ops::Deref};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

/// Bytes, as arguments, results and parts of such.
///
/// Clients of the original expect base64 text in JSON, and MessagePack's own bytes, which JavaScript
/// knows as `Uint8Array`. A plain `Vec<u8>` is a list of numbers in both, and is read from either.
///
/// ```
/// # use backplane_signalr::Binary;
/// let binary = Binary::from(vec![1, 2, 3]);
/// assert_eq!(serde_json::to_string(&binary)?, "\"AQID\"");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Binary(pub Bytes);

impl From<Vec<u8>> for Binary {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Binary {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Deref for Binary {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = Cow::<'_, str>::deserialize(deserializer)?;
            let bytes = STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)?;
            return Ok(bytes.into());
        }
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Binary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Binary, E> {
        Ok(bytes.to_vec().into())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Binary, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Binary, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_json_it_is_base64() {
        let binary = Binary::from(vec![0xff, 0, 1]);
        assert_eq!(serde_json::to_string(&binary).unwrap(), "\"/wAB\"");
        assert_eq!(serde_json::from_str::<Binary>("\"/wAB\"").unwrap(), binary);
        assert_eq!(serde_json::from_str::<Binary>("\"\\/wAB\"").unwrap(), binary);
        assert!(serde_json::from_str::<Binary>("\"/wA\"").is_err());
        assert!(serde_json::from_str::<Binary>("[1]").is_err());
    }
}
