use std::fmt;

use backplane_core::{ConnectError, Node, NodeOptions, wire::Wire};

#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::{channel::Channels, locate::Locator, pubsub::RedisWire};

/// The port of a Redis server that names none.
pub(crate) const DEFAULT_PORT: u16 = 6379;
/// The port of a sentinel that names none.
pub(crate) const SENTINEL_PORT: u16 = 26_379;

/// The longest prefix, in bytes: as long as a hub's name.
const LONGEST_PREFIX: usize = backplane_core::LONGEST_HUB;

/// Which server a node connects to, as whom, and how it behaves.
///
/// ```
/// use backplane_redis::{Protocol, RedisConfig};
///
/// let config = RedisConfig::from_url("redis://app:p%40ss@cache.internal/?prefix=shop")?;
/// assert_eq!((config.host.as_str(), config.port), ("cache.internal", 6379));
/// assert_eq!(config.password.as_deref(), Some("p@ss"));
/// assert_eq!(config.prefix, "shop");
/// assert_eq!(config.protocol, Protocol::Auto);
/// # Ok::<(), backplane_core::ConnectError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The server's name or address. Default `127.0.0.1`.
    pub host: String,
    /// The server's port. Default 6379, as Redis has it.
    pub port: u16,
    /// Who knows which server is the master. Default nobody: the server is at `host` and `port`, which
    /// play no role otherwise.
    pub sentinels: Option<Sentinels>,
    /// The ACL user. Default none: the server's `default` user.
    pub user: Option<String>,
    /// The user's password. Default none.
    pub password: Option<String>,
    /// What the name of every channel starts with. Applications with different prefixes on one
    /// server never hear each other. Default `backplane`.
    pub prefix: String,
    /// The protocol to speak. Default [`Protocol::Auto`].
    pub protocol: Protocol,
    /// How to encrypt the connection. Default none: it is not encrypted.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// What every transport's node has in common.
    pub node: NodeOptions,
}

/// The sentinels that watch over a master and its replicas.
///
/// For each connection a node asks them which server is the master, and connects to that. It hears of a
/// failover from them, and leaves a server that is no master any more, even one that goes on answering.
#[derive(Clone)]
#[non_exhaustive]
pub struct Sentinels {
    /// What the sentinels call the master with its replicas.
    pub service: String,
    /// Host and port of each. As many as there are: a node believes the newest answer of more than half.
    pub servers: Vec<(String, u16)>,
    /// The ACL user of the sentinels. Default none.
    pub user: Option<String>,
    /// The password of the sentinels. Default none.
    pub password: Option<String>,
}

impl Sentinels {
    /// Sentinels that ask nobody who they are.
    #[must_use]
    pub fn new(service: impl Into<String>, servers: Vec<(String, u16)>) -> Self {
        Self { service: service.into(), servers, user: None, password: None }
    }
}

/// Which version of the Redis protocol to speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// RESP3, and RESP2 where the server does not know that.
    #[default]
    Auto,
    /// RESP2, which every server knows.
    Resp2,
    /// RESP3, from Redis 6 on and in every Valkey: cheaper to receive.
    Resp3,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: DEFAULT_PORT,
            sentinels: None,
            user: None,
            password: None,
            prefix: "backplane".to_owned(),
            protocol: Protocol::default(),
            #[cfg(feature = "tls")]
            tls: None,
            node: NodeOptions::default(),
        }
    }
}

impl RedisConfig {
    /// Reads `redis://[[user][:password]@]host[:port][/database][?option=value&…]`, or
    /// `redis+sentinel://[[user][:password]@]sentinel[:port][,sentinel[:port]…]/service[?option=value&…]`;
    /// or the same with `rediss:` and `rediss+sentinel:` for TLS, with servers and sentinels.
    ///
    /// User and password are those of the server. User, password and values are percent-decoded. Pub/sub knows no databases: the number is
    /// taken, so that a URL can be shared with other clients, and plays no role. Options:
    ///
    /// | option | value |
    /// |---|---|
    /// | `prefix` | see [`prefix`](Self::prefix) |
    /// | `protocol` | `auto`, `resp2` or `resp3` |
    /// | `ca`, `cert`, `key` | PEM files, with TLS only: see `Tls` |
    /// | `sentinel_user`, `sentinel_password` | with sentinels only: see [`Sentinels`] |
    /// | `name`, `repair`, `outage` | see [`NodeOptions::from_query`] |
    ///
    /// # Errors
    ///
    /// [`ConnectError::UnknownScheme`], [`ConnectError::FeatureOff`] for `rediss:` without the
    /// Cargo feature `tls`, [`ConnectError::Url`] and [`ConnectError::Option`]. None of them holds
    /// the password.
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        crate::from_url::parse(url)
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
        let options = self.node.clone();
        Ok(Node::start(self.wire()?, options))
    }

    /// The way to the server, for [`Node::start`] within another wire, as
    /// [`Chaos`](backplane_core::chaos::Chaos) is. [`node`](Self::node) plays no role.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn wire(self) -> Result<impl Wire, ConnectError> {
        self.check()?;
        let channels = Channels::new(&self.prefix);
        Ok(RedisWire::new(Locator::new(&self)?, self.protocol, channels))
    }

    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        if self.sentinels.as_ref().is_some_and(|it| it.servers.is_empty() || it.service.is_empty())
        {
            let reason = "name at least one, and what they call the service";
            return Err(ConnectError::option("sentinels", reason));
        }
        let length = self.prefix.len();
        if (1..=LONGEST_PREFIX).contains(&length) {
            return Ok(());
        }
        let reason =
            format!("it has {length} bytes; name the application in 1 to {LONGEST_PREFIX} bytes");
        Err(ConnectError::option("prefix", reason))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut config = f.debug_struct("RedisConfig");
        config
            .field("host", &self.host)
            .field("port", &self.port)
            .field("sentinels", &self.sentinels)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "(hidden)"))
            .field("prefix", &self.prefix)
            .field("protocol", &self.protocol);
        #[cfg(feature = "tls")]
        config.field("tls", &self.tls);
        config.field("node", &self.node).finish()
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels")
            .field("service", &self.service)
            .field("servers", &self.servers)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "(hidden)"))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_passwords() {
        let url =
            "redis+sentinel://ann:s3cret@localhost/main?sentinel_password=s3cret&sentinel_user=bob";
        let shown = format!("{:?}", RedisConfig::from_url(url).unwrap());
        assert!(shown.contains("ann") && shown.contains("bob"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn sentinels_are_somewhere() {
        let sentinels = Some(Sentinels::new("main", Vec::new()));
        let config = RedisConfig { sentinels, ..RedisConfig::default() };
        assert!(config.start().unwrap_err().to_string().contains("sentinels"));
    }

    #[test]
    fn a_prefix_names_somebody() {
        for prefix in [String::new(), "x".repeat(LONGEST_PREFIX + 1)] {
            let config = RedisConfig { prefix, ..RedisConfig::default() };
            let error = config.start().unwrap_err();
            assert!(
                matches!(&error, ConnectError::Option { option, .. } if option == "prefix"),
                "{error}"
            );
        }
    }
}
