use backplane_core::{ConnectError, Node, wire::Wire};

use super::{address::Address, wire::ShardedWire};
use crate::{Protocol, RedisConfig, channel::Channels, endpoint::Endpoint};

/// Which cluster a node connects to.
///
/// ```
/// use backplane_redis::ShardedConfig;
///
/// let url = "redis+sharded://app:secret@one:7000,two:7000,three:7000?prefix=shop";
/// let config = ShardedConfig::from_url(url)?;
/// assert_eq!((config.server.host.as_str(), config.server.port), ("one", 7000));
/// assert_eq!(config.more_servers, [("two".to_owned(), 7000), ("three".to_owned(), 7000)]);
/// # Ok::<(), backplane_core::ConnectError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ShardedConfig {
    /// One server of the cluster, a master or a replica, and how the node behaves. The user, the password
    /// and TLS are the same for all servers.
    ///
    /// [`protocol`](RedisConfig::protocol) cannot be [`Resp2`](Protocol::Resp2): sharded Pub/Sub is
    /// spoken in RESP3.
    pub server: RedisConfig,
    /// Hosts and ports of more servers, for when that one is down while the node starts. Default none. A
    /// node that has been connected also knows the servers that the cluster named last.
    pub more_servers: Vec<(String, u16)>,
}

impl ShardedConfig {
    /// Reads `redis+sharded://…`, or the same with `rediss+sharded:` for TLS, otherwise as
    /// [`RedisConfig::from_url`] does. It may name several servers: `host:port,host:port,…`.
    ///
    /// # Errors
    ///
    /// Those of [`RedisConfig::from_url`].
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        crate::from_url::parse_sharded(url)
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

    /// The way to the cluster, for [`Node::start`] within another wire. The server's
    /// [`node`](RedisConfig::node) plays no role.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn wire(self) -> Result<impl Wire, ConnectError> {
        self.server.check()?;
        if self.server.protocol == Protocol::Resp2 {
            let reason = "sharded Pub/Sub is spoken in RESP3: use auto or resp3";
            return Err(ConnectError::option("protocol", reason));
        }
        if self.server.sentinels.is_some() {
            let reason = "a cluster has none: its servers watch over each other";
            return Err(ConnectError::option("sentinels", reason));
        }
        let endpoint = Endpoint::new(&self.server)?;
        let first = Address::new(&self.server.host, self.server.port);
        let more = self.more_servers.iter().map(|(host, port)| Address::new(host, *port));
        let seeds = std::iter::once(first).chain(more).collect();
        Ok(ShardedWire::new(endpoint, seeds, Channels::without_hash_tags(&self.server.prefix)))
    }
}
