use std::time::Duration;

use backplane_core::{ByteSize, ConnectError, Node, wire::Wire};

use super::wire::JetStreamWire;
use crate::{NatsConfig, from_url};

/// The most parts: each is one more subject in a consumer's filter.
const MOST_PARTS: u32 = 256;

/// The most replicas that the server allows.
const MOST_REPLICAS: u32 = 5;

/// Which servers a node connects to, and what these keep of what is published.
///
/// ```
/// use backplane_nats::{JetStreamConfig, Storage};
///
/// let url = "nats+jetstream://nats.internal?prefix=shop&storage=memory&age=600";
/// let config = JetStreamConfig::from_url(url)?;
/// assert_eq!(config.servers.prefix, "shop");
/// assert_eq!((config.storage, config.age.as_secs()), (Storage::Memory, 600));
/// # Ok::<(), backplane_core::ConnectError>(())
/// ```
///
/// The stream is called as the prefix. The first node makes it. Where it is there, it may keep more than is
/// configured here, but not less: a node does not connect then
/// ([`LinkError::Unsuitable`](backplane_core::LinkError::Unsuitable)). No node ever changes it, so change
/// the stream before the configuration to keep more, and the configuration before the stream to keep less.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JetStreamConfig {
    /// The servers, and how the node behaves.
    pub servers: NatsConfig,
    /// Into how many subjects topics are divided. Default 16: more spread the reading better over nodes of
    /// different interest, fewer make the server's work easier. The same on every node of an application: a
    /// topic stands elsewhere under another number.
    pub parts: u32,
    /// Where the servers keep the stream. Default [`Storage::File`].
    pub storage: Storage,
    /// How many servers keep it. Default 1; more, an odd number, need a cluster.
    pub replicas: u32,
    /// How long an entry is kept. Default 1 hour.
    pub age: Duration,
    /// How many entries the stream keeps. Default 1,000,000. An entry holds one envelope, or several of
    /// topics of one part that were published close together; what nodes say to each other takes some three a
    /// second for each node.
    pub entries: u64,
    /// How many bytes the stream keeps. Default 1 GiB.
    pub bytes: ByteSize,
}

/// Where the servers keep a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory.
    Memory,
}

impl Default for JetStreamConfig {
    fn default() -> Self {
        Self {
            servers: NatsConfig::default(),
            parts: 16,
            storage: Storage::default(),
            replicas: 1,
            age: Duration::from_secs(3600),
            entries: 1_000_000,
            bytes: ByteSize::gib(1),
        }
    }
}

impl JetStreamConfig {
    /// Reads `nats+jetstream://…`, otherwise as [`NatsConfig::from_url`] does. More options:
    ///
    /// | option | value |
    /// |---|---|
    /// | `parts` | see [`parts`](Self::parts) |
    /// | `storage` | `file`, or `memory` |
    /// | `replicas` | see [`replicas`](Self::replicas) |
    /// | `age` | see [`age`](Self::age), in seconds |
    /// | `entries` | see [`entries`](Self::entries) |
    /// | `bytes` | see [`bytes`](Self::bytes), as `512MiB` |
    ///
    /// # Errors
    ///
    /// Those of [`NatsConfig::from_url`].
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        from_url::parse_jetstream(url)
    }

    /// Starts a node. It connects in the background, for as long as it takes; its
    /// [`link`](backplane_core::Backplane::link) says how that goes.
    ///
    /// # Errors
    ///
    /// What waiting does not heal: those of [`NatsConfig::start`].
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn start(self) -> Result<Node, ConnectError> {
        let options = self.servers.node.clone();
        Ok(Node::start(self.wire()?, options))
    }

    /// The way to the servers, for [`Node::start`] within another wire. The servers'
    /// [`node`](NatsConfig::node) says how long they may take to answer, and nothing else.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn wire(self) -> Result<impl Wire, ConnectError> {
        self.check()?;
        let servers = self.servers.clone().servers()?;
        Ok(JetStreamWire::new(servers, &self))
    }

    fn check(&self) -> Result<(), ConnectError> {
        let wrong = |option: &str, reason: String| Err(ConnectError::option(option, reason));
        if !(1..=MOST_PARTS).contains(&self.parts) {
            return wrong("parts", format!("it is {}: use 1 to {MOST_PARTS}", self.parts));
        }
        if !(1..=MOST_REPLICAS).contains(&self.replicas) {
            return wrong("replicas", format!("it is {}: use 1 to {MOST_REPLICAS}", self.replicas));
        }
        if self.age < Duration::from_secs(1) {
            return wrong("age", "it is below a second: keep at least that".to_owned());
        }
        if self.entries == 0 {
            return wrong("entries", "it is 0: keep at least some".to_owned());
        }
        if self.bytes < ByteSize::mib(1) {
            return wrong("bytes", format!("it is {}: keep at least 1 MiB", self.bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_keep_nothing_are_refused() {
        let refused = |change: fn(&mut JetStreamConfig)| {
            let mut config = JetStreamConfig::default();
            change(&mut config);
            match config.check().unwrap_err() {
                ConnectError::Option { option, .. } => option,
                other => panic!("{other}"),
            }
        };
        assert_eq!(refused(|it| it.parts = 0), "parts");
        assert_eq!(refused(|it| it.parts = 257), "parts");
        assert_eq!(refused(|it| it.replicas = 0), "replicas");
        assert_eq!(refused(|it| it.age = Duration::ZERO), "age");
        assert_eq!(refused(|it| it.entries = 0), "entries");
        assert_eq!(refused(|it| it.bytes = ByteSize::kib(1)), "bytes");
        JetStreamConfig::default().check().unwrap();
    }
}
