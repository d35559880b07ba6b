use std::time::Duration;

use backplane_core::{ConnectError, Node, Topic, wire::Wire};

use super::{append::Bounds, part::Parts, wire::StreamsWire};
use crate::{RedisConfig, channel::Channels, locate::Locator};

/// The most parts: each is one more key in every read.
const MOST_PARTS: u32 = 1024;

/// Which server a node connects to, and what that keeps of what is published.
///
/// ```
/// use backplane_redis::StreamsConfig;
///
/// let config = StreamsConfig::from_url("redis+streams://cache.internal?prefix=shop&age=600")?;
/// assert_eq!(config.server.prefix, "shop");
/// assert_eq!((config.parts, config.age.as_secs()), (16, 600));
/// # Ok::<(), backplane_core::ConnectError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamsConfig {
    /// The server, and how the node behaves.
    pub server: RedisConfig,
    /// Into how many streams topics are divided. Default 16: more spread the reading better over nodes of
    /// different interest, fewer are cheaper to read. The same on every node of an application: a topic
    /// stands elsewhere under another number.
    pub parts: u32,
    /// How many entries each stream keeps, roughly. Default 65,536. An entry holds one envelope, or
    /// several that were published close together.
    pub entries: u64,
    /// How long an entry is kept, roughly, from Redis 6.2 on. Default 1 hour.
    pub age: Duration,
    /// How many replicas must have an entry, besides the server, before it counts as stored. Default 0. With
    /// as many as there are, what was answered as stored outlives the server, whichever replica takes its
    /// place. While there are fewer, nothing can be published.
    pub replicas: u32,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            server: RedisConfig::default(),
            parts: 16,
            entries: 65_536,
            age: Duration::from_secs(3600),
            replicas: 0,
        }
    }
}

impl StreamsConfig {
    /// Reads `redis+streams://…`, `redis+sentinel+streams://…`, or the same with `rediss+…` for TLS, otherwise
    /// as [`RedisConfig::from_url`] does. More options:
    ///
    /// | option | value |
    /// |---|---|
    /// | `parts` | see [`parts`](Self::parts) |
    /// | `entries` | see [`entries`](Self::entries) |
    /// | `age` | see [`age`](Self::age), in seconds |
    /// | `replicas` | see [`replicas`](Self::replicas) |
    ///
    /// # Errors
    ///
    /// Those of [`RedisConfig::from_url`].
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        crate::from_url::parse_streams(url)
    }

    /// The key of the stream that holds a topic, for whoever looks at the server.
    #[must_use]
    pub fn stream_of(&self, topic: &Topic) -> String {
        let parts = self.layout();
        parts.key(parts.of(topic)).to_owned()
    }

    fn layout(&self) -> Parts {
        Parts::new(Channels::new(&self.server.prefix), self.parts)
    }

    /// Starts a node. It connects in the background, for as long as it takes; its
    /// [`link`](backplane_core::Backplane::link) says how that goes.
    ///
    /// # Errors
    ///
    /// What waiting does not heal: [`ConnectError::Option`], and [`ConnectError::File`] for a
    /// certificate or key that cannot be used.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn start(self) -> Result<Node, ConnectError> {
        let options = self.server.node.clone();
        Ok(Node::start(self.wire()?, options))
    }

    /// The way to the server, for [`Node::start`] within another wire. The server's
    /// [`node`](RedisConfig::node) plays no role.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn wire(self) -> Result<impl Wire, ConnectError> {
        self.server.check()?;
        self.check()?;
        let parts = self.layout();
        let locator = Locator::new(&self.server)?;
        let Self { entries, age, replicas, .. } = self;
        let bounds = Bounds { entries, age, replicas };
        Ok(StreamsWire::new(locator, self.server.protocol, parts, bounds))
    }

    fn check(&self) -> Result<(), ConnectError> {
        let wrong = |option: &str, reason: String| Err(ConnectError::option(option, reason));
        if !(1..=MOST_PARTS).contains(&self.parts) {
            return wrong("parts", format!("it is {}: use 1 to {MOST_PARTS}", self.parts));
        }
        if self.entries == 0 {
            return wrong("entries", "it is 0: keep at least some".to_owned());
        }
        if self.age < Duration::from_secs(1) {
            return wrong("age", "it is below a second: keep at least that".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_keep_nothing_are_refused() {
        let refused = |change: fn(&mut StreamsConfig)| {
            let mut config = StreamsConfig::default();
            change(&mut config);
            match config.check().unwrap_err() {
                ConnectError::Option { option, .. } => option,
                other => panic!("{other}"),
            }
        };
        assert_eq!(refused(|it| it.parts = 0), "parts");
        assert_eq!(refused(|it| it.parts = 1025), "parts");
        assert_eq!(refused(|it| it.entries = 0), "entries");
        assert_eq!(refused(|it| it.age = Duration::ZERO), "age");
        StreamsConfig::default().check().unwrap();
    }
}
