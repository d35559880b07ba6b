use std::{fmt, path::PathBuf};

use backplane_core::{ConnectError, Node, NodeOptions, Server, wire::Wire};

use crate::{connection::Servers, files, from_url, pubsub::PubSubWire};

/// The longest prefix, in bytes: as long as a hub's name.
pub(crate) const LONGEST_PREFIX: usize = backplane_core::LONGEST_HUB;

/// Which servers a node connects to, as whom, and how the node behaves.
///
/// `Debug` shows no password and no token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NatsConfig {
    /// The servers of one cluster, each as `host:port`. The node uses one at a time. Default
    /// `127.0.0.1:4222`.
    pub servers: Vec<String>,
    /// How to log in. Default [`Login::Open`].
    pub login: Login,
    /// When to use TLS. Default [`Tls::IfServerRequires`].
    pub tls: Tls,
    /// The certificates of the authorities to trust (PEM), instead of the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and private key (PEM), for servers that ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The first token of every subject: applications with different prefixes never hear each
    /// other. 1 to 128 bytes; letters, digits, `_` and `-` stay readable. Default `backplane`.
    pub prefix: String,
    /// What every transport's node has in common.
    pub node: NodeOptions,
}

/// How a node logs in.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Login {
    /// Without a word.
    #[default]
    Open,
    /// With a user's name and password.
    User {
        /// The name.
        name: String,
        /// The password.
        password: String,
    },
    /// With a token.
    Token(String),
    /// With a credentials file, as `nsc` makes it. Read at each connection, so it may be replaced.
    Credentials(PathBuf),
    /// With an nkey: a file that holds a user's seed. Read at each connection.
    Nkey(PathBuf),
}

/// When a node uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Tls {
    /// Where the server asks for it.
    #[default]
    IfServerRequires,
    /// Always; a server that can't is not talked to.
    Required,
    /// Always, and from the first byte, for servers with `handshake_first`.
    First,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: vec!["127.0.0.1:4222".to_owned()],
            login: Login::default(),
            tls: Tls::default(),
            ca: None,
            certificate: None,
            prefix: "backplane".to_owned(),
            node: NodeOptions::default(),
        }
    }
}

impl NatsConfig {
    /// Reads `nats://[user:password@|token@]host[:port][,host[:port]…][?option=value&…]`,
    /// or `tls://…` for [`Tls::Required`]. The port is 4222 if left out. User, password and token are
    /// percent-encoded.
    ///
    /// | option | meaning |
    /// |---|---|
    /// | `prefix` | see [`prefix`](Self::prefix) |
    /// | `credentials` | the path of a credentials file |
    /// | `nkey` | the path of a file that holds a user's seed |
    /// | `tls` | `required`, or `first` |
    /// | `ca` | the path of the certificates to trust (PEM) |
    /// | `cert`, `key` | the paths of the client's certificate and private key (PEM) |
    /// | `name`, `repair`, `outage` | see [`NodeOptions::from_query`] |
    ///
    /// # Errors
    ///
    /// [`ConnectError::UnknownScheme`], [`ConnectError::Url`] and [`ConnectError::Option`]. None of
    /// them holds a secret.
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        from_url::parse(url)
    }

    /// Starts a node. It connects in the background, for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`] and [`ConnectError::Option`] for values that cannot be right,
    /// [`ConnectError::File`] for a file that cannot be used. A server that is away is no error:
    /// see [`Backplane::link`](backplane_core::Backplane::link).
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn start(self) -> Result<Node, ConnectError> {
        let options = self.node.clone();
        Ok(Node::start(self.wire()?, options))
    }

    /// The way to the servers, for [`Node::start`] within another wire, as
    /// [`Chaos`](backplane_core::chaos::Chaos) is. [`node`](Self::node) plays no role.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn wire(self) -> Result<impl Wire, ConnectError> {
        Ok(PubSubWire::new(self.servers()?))
    }

    /// Where and how to connect.
    pub(crate) fn servers(self) -> Result<Servers, ConnectError> {
        let named = self.check()?;
        Ok(Servers::new(self, named))
    }

    fn check(&self) -> Result<Vec<Server>, ConnectError> {
        check_prefix(&self.prefix)?;
        let servers: Vec<Server> =
            self.servers.iter().map(|it| from_url::server(it)).collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(ConnectError::url("it names no server"));
        }
        match &self.login {
            Login::Credentials(path) => files::check_credentials(path)?,
            Login::Nkey(path) => files::check_seed(path)?,
            Login::Open | Login::User { .. } | Login::Token(_) => {}
        }
        if let Some(path) = &self.ca {
            files::check_certificates(path, "the certificates to trust")?;
        }
        if let Some((certificate, key)) = &self.certificate {
            files::check_certificates(certificate, "the client's certificate")?;
            files::check_key(key)?;
        }
        Ok(servers)
    }
}

pub(crate) fn check_prefix(prefix: &str) -> Result<(), ConnectError> {
    if (1..=LONGEST_PREFIX).contains(&prefix.len()) {
        return Ok(());
    }
    let reason = format!("it has {} bytes: use 1 to {LONGEST_PREFIX}", prefix.len());
    Err(ConnectError::option("prefix", reason))
}

/// Shows who, and no secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::User { name, .. } => {
                f.debug_struct("User").field("name", name).finish_non_exhaustive()
            }
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Credentials(path) => f.debug_tuple("Credentials").field(path).finish(),
            Self::Nkey(path) => f.debug_tuple("Nkey").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: &NatsConfig) -> String {
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_a_server_on_this_machine() {
        let config = NatsConfig::default();
        assert_eq!(config.servers, ["127.0.0.1:4222"]);
        assert_eq!(config.check().unwrap().len(), 1);
    }

    #[test]
    fn a_prefix_names_somebody() {
        for prefix in [String::new(), "p".repeat(LONGEST_PREFIX + 1)] {
            let config = NatsConfig { prefix, ..NatsConfig::default() };
            assert!(refusal(&config).contains("use 1 to 128"), "{}", refusal(&config));
        }
    }

    #[test]
    fn fields_set_by_hand_are_checked_as_well() {
        let config = NatsConfig { servers: vec![], ..NatsConfig::default() };
        assert!(refusal(&config).contains("names no server"));
        let config = NatsConfig { servers: vec!["a b".to_owned()], ..NatsConfig::default() };
        assert!(matches!(config.check(), Err(ConnectError::Url { .. })));
    }

    #[test]
    fn debug_shows_no_secret() {
        let user = Login::User { name: "ann".to_owned(), password: "s3cret".to_owned() };
        for login in [user, Login::Token("s3cret".to_owned())] {
            let config = NatsConfig { login, ..NatsConfig::default() };
            let shown = format!("{config:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
