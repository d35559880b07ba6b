use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use backplane_core::{ConnectError, Node, NodeOptions, Topic, wire::Wire};

use crate::{client, connection::KafkaWire, from_url, part};

/// The longest name of a topic, by Kafka's rules.
const LONGEST_TOPIC: usize = 249;

/// The most partitions: each is a place in every request, and a record at each connection.
const MOST_PARTITIONS: u32 = 1024;

/// Which cluster a node connects to, as whom, where in it the backplane's log stands, and how the node
/// behaves.
///
/// `Debug` shows no password, and of further properties the names only.
#[derive(Clone)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// Some brokers of one cluster, each as `host:port`, from which a node learns of the others. Default
    /// `127.0.0.1:9092`.
    pub servers: Vec<String>,
    /// How to log in, by SASL; `None`, the default, does not. Needs the feature `ssl`.
    pub login: Option<Login>,
    /// Whether to use TLS. Needs the feature `ssl`.
    pub tls: bool,
    /// The certificates of the authorities to trust (PEM), instead of the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and private key (PEM), for brokers that ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The Kafka topic that holds everything: applications with different ones never hear each other.
    /// Letters, digits, `.`, `_` and `-`. Default `backplane`. Created if it is missing.
    pub topic: String,
    /// Into how many partitions the Kafka topic is divided: the first for what nodes say to each other,
    /// the others for everything else. Default 12. The same on every node of an application: see
    /// [the crate](crate#more-partitions) for how to change it. A Kafka topic with fewer is not used.
    pub partitions: u32,
    /// How many brokers hold a copy, if the Kafka topic has to be created. Default: as the cluster has it.
    pub replication: Option<u16>,
    /// How long a record is kept, at least, if the Kafka topic has to be created; and what
    /// [`Semantics::replay`](backplane_core::Semantics::replay) says in any case. Default 1 hour.
    pub age: Duration,
    /// Which brokers have to have a record before a receipt says that it is stored. Default [`Acks::All`].
    pub acks: Acks,
    /// Further properties of the client library, librdkafka, by its names. Those that this transport's
    /// promises rest upon can't be set.
    pub properties: BTreeMap<String, String>,
    /// What every transport's node has in common.
    pub node: NodeOptions,
}

/// How a node logs in, by SASL.
#[derive(Clone)]
#[non_exhaustive]
pub struct Login {
    /// The way to prove it.
    pub mechanism: Mechanism,
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
}

impl Login {
    /// With a user's name and password, by [`Mechanism::Plain`].
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { mechanism: Mechanism::default(), user: user.into(), password: password.into() }
    }
}

/// A mechanism of SASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mechanism {
    /// The password as it is: only over TLS, unless the network is trusted.
    #[default]
    Plain,
    /// A proof of it, with SHA-256.
    ScramSha256,
    /// A proof of it, with SHA-512.
    ScramSha512,
}

/// Which brokers have to have a record before it counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Acks {
    /// All replicas in sync; with the cluster's `min.insync.replicas`, at least so many. The producer is
    /// idempotent: what it sends again is not stored twice.
    #[default]
    All,
    /// The partition's leader alone: what it has told nobody yet is lost with it. One request at a time,
    /// so that the order stays; what is sent again may be stored twice.
    Leader,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            servers: vec!["127.0.0.1:9092".to_owned()],
            login: None,
            tls: false,
            ca: None,
            certificate: None,
            topic: "backplane".to_owned(),
            partitions: 12,
            replication: None,
            age: Duration::from_secs(3600),
            acks: Acks::default(),
            properties: BTreeMap::new(),
            node: NodeOptions::default(),
        }
    }
}

impl KafkaConfig {
    /// Reads `kafka://[user:password@]host[:port][,host[:port]…][?option=value&…]`, or `kafka+ssl://…` for
    /// TLS. The port is 9092 if left out. User and password are percent-encoded.
    ///
    /// | option | value |
    /// |---|---|
    /// | `topic`, `partitions`, `replication` | see the fields of these names |
    /// | `age` | see [`age`](Self::age), in seconds |
    /// | `acks` | `all`, or `1` for [`Acks::Leader`] |
    /// | `sasl` | how user and password are proven: `plain` (the default), `scram-sha-256` or `scram-sha-512` |
    /// | `ca` | the path of the certificates to trust (PEM) |
    /// | `cert`, `key` | the paths of the client's certificate and private key (PEM) |
    /// | `rdkafka.NAME` | the property `NAME` of the client library, as in `rdkafka.linger.ms=5`: see [`properties`](Self::properties) |
    /// | `name`, `repair`, `outage` | see [`NodeOptions::from_query`] |
    ///
    /// # Errors
    ///
    /// [`ConnectError::UnknownScheme`], [`ConnectError::Url`] and [`ConnectError::Option`]. None of them
    /// holds a secret.
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        from_url::parse(url)
    }

    /// The partition that holds a topic, for whoever looks at the cluster.
    #[must_use]
    pub fn partition_of(&self, topic: &Topic) -> u32 {
        part::of(topic, self.partitions)
    }

    /// The key of a topic's records, for whoever looks at the cluster.
    #[must_use]
    pub fn key_of(&self, topic: &Topic) -> String {
        part::key(topic)
    }

    /// Starts a node. It connects in the background, for as long as it takes; its
    /// [`link`](backplane_core::Backplane::link) says how that goes.
    ///
    /// # Errors
    ///
    /// What waiting does not heal: [`ConnectError::Url`] and [`ConnectError::Option`] for values that
    /// cannot be right, [`ConnectError::File`] for a file that cannot be read.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn start(self) -> Result<Node, ConnectError> {
        let options = self.node.clone();
        Ok(Node::start(self.wire()?, options))
    }

    /// The way to the cluster, for [`Node::start`] within another wire, as
    /// [`Chaos`](backplane_core::chaos::Chaos) is. Of [`node`](Self::node), only the deadlines play a role.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn wire(self) -> Result<impl Wire, ConnectError> {
        client::prepare();
        self.check()?;
        Ok(KafkaWire::new(self))
    }

    fn check(&self) -> Result<(), ConnectError> {
        if self.servers.is_empty() {
            return Err(ConnectError::url("it names no server"));
        }
        for server in &self.servers {
            from_url::check_server(server)?;
        }
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let name = &self.topic;
        if !(1..=LONGEST_TOPIC).contains(&name.len())
            || !name.bytes().all(named)
            || matches!(&**name, "." | "..")
        {
            let reason = format!(
                "{name:?} is no Kafka topic: use 1 to {LONGEST_TOPIC} letters, digits, '.', '_' and '-'"
            );
            return Err(ConnectError::option("topic", reason));
        }
        if !(1..=MOST_PARTITIONS).contains(&self.partitions) {
            let reason = format!("it is {}: use 1 to {MOST_PARTITIONS}", self.partitions);
            return Err(ConnectError::option("partitions", reason));
        }
        if self.replication.is_some_and(|count| count == 0 || count > 1 << 14) {
            return Err(ConnectError::option(
                "replication",
                "use the number of brokers that hold a copy",
            ));
        }
        if self.age < Duration::from_secs(1) {
            return Err(ConnectError::option("age", "it is below a second: keep at least that"));
        }
        client::check(self)
    }
}

/// Shows who, and no secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mechanism, user, .. } = self;
        f.debug_struct("Login")
            .field("mechanism", mechanism)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<&str> = self.properties.keys().map(String::as_str).collect();
        f.debug_struct("KafkaConfig")
            .field("servers", &self.servers)
            .field("login", &self.login)
            .field("tls", &self.tls)
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .field("acks", &self.acks)
            .field("properties", &properties)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut KafkaConfig)) -> String {
        let mut config = KafkaConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_a_broker_on_this_machine() {
        KafkaConfig::default().check().unwrap();
        assert_eq!(KafkaConfig::default().servers, ["127.0.0.1:9092"]);
    }

    #[test]
    fn values_that_cannot_be_right_are_refused() {
        assert!(refusal(|it| it.servers.clear()).contains("names no server"));
        assert!(refusal(|it| it.servers = vec!["a b".to_owned()]).contains("host:port"));
        for topic in ["", "a/b", "ä", ".", "..", &"t".repeat(250)] {
            assert!(refusal(|it| it.topic = topic.to_owned()).contains("is no Kafka topic"));
        }
        assert!(refusal(|it| it.partitions = 0).contains("use 1 to 1024"));
        assert!(refusal(|it| it.partitions = 1025).contains("use 1 to 1024"));
        assert!(refusal(|it| it.replication = Some(0)).contains("hold a copy"));
        assert!(refusal(|it| it.age = Duration::ZERO).contains("keep at least that"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let config = KafkaConfig {
            login: Some(Login::new("ann", "s3cret")),
            properties: [("ssl.key.password".to_owned(), "s3cret".to_owned())].into(),
            ..KafkaConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("ann") && shown.contains("ssl.key.password"), "{shown}");
    }
}
