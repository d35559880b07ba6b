use std::{
    fmt::Debug,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

/// A client protocol, as far as a hub needs one. A front end brings it.
pub trait Protocol: Debug + Send + Sync + 'static {
    /// Its name, the same on every node: at most 255 bytes.
    fn name(&self) -> &'static str;

    /// One invocation of a client method, complete with its framing, for all clients that speak
    /// this protocol. One with an `id` wants an answer, which refers to it.
    ///
    /// # Errors
    ///
    /// An argument cannot be serialised.
    fn invocation(
        &self,
        id: Option<&str>,
        target: &str,
        arguments: &[&dyn erased_serde::Serialize],
        trace: Option<&str>,
    ) -> Result<Bytes, EncodeError>;

    /// Calls `read` with a deserializer over one raw argument, or over a client's raw result.
    ///
    /// # Errors
    ///
    /// That of `read`, or what is wrong with the raw argument.
    fn argument(
        &self,
        raw: &[u8],
        read: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), erased_serde::Error>;
}

/// An argument could not be serialised.
#[derive(Debug, thiserror::Error)]
#[error("an argument cannot be serialised")]
pub struct EncodeError {
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl EncodeError {
    /// With what the serialiser said.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: source.into() }
    }
}

/// How many protocols a hub can speak.
pub(crate) const MOST: usize = 8;

/// The longest name of a protocol, in bytes.
const LONGEST: usize = u8::MAX as usize;

/// The protocols a hub speaks, each at an index that never changes. Read without a lock.
#[derive(Debug, Default)]
pub(crate) struct Protocols([OnceLock<Arc<dyn Protocol>>; MOST]);

impl Protocols {
    /// The index of the protocol of this name, which is taken up if it is new; `None` where there
    /// is no place left, or the name is too long.
    pub(crate) fn add(&self, protocol: &Arc<dyn Protocol>) -> Option<usize> {
        if protocol.name().len() > LONGEST {
            return None;
        }
        self.0
            .iter()
            .position(|slot| slot.get_or_init(|| Arc::clone(protocol)).name() == protocol.name())
    }

    /// Those that are spoken, in the order of their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<dyn Protocol>> {
        self.0.iter().map_while(OnceLock::get)
    }

    pub(crate) fn index_of(&self, name: &[u8]) -> Option<usize> {
        self.iter().position(|protocol| protocol.name().as_bytes() == name)
    }
}
