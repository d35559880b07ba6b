//! The client library, set up so that it hides nothing and promises what this transport does.

use std::{
    fs, io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backplane_core::{ConnectError, LinkError};
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    config::{Acks, KafkaConfig, Mechanism},
    error,
};

/// Properties that this transport sets itself, or by its own options.
const OWN: [&str; 36] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "enable.sparse.connections",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "log.queue",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queueing.strategy",
    "request.required.acks",
    "retries",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "topic.blacklist",
    "transactional.id",
    "transaction.timeout.ms",
];

/// How to log in otherwise than with user and password.
const MECHANISM: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];

/// The largest record, as brokers have it by default; with one that has another `message.max.bytes`, what
/// is larger is refused there.
const LARGEST_RECORD: usize = 1_048_588;

/// How long a broker holds back an answer without records. What is assigned anew waits for it.
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// How soon the library mends a connection to one broker of several. When it was the only one, the clients are
/// gone before: what Tansu 0.6 answers, started again, to a fetch of what it had before makes librdkafka
/// 2.12 crash.
const RECONNECT: Duration = Duration::from_secs(2);

/// The most that was read ahead, of each partition and over all.
const READ_AHEAD_KIB: usize = 16 * 1024;

fn base(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    let milliseconds = |duration: Duration| duration.as_millis().clamp(1, 300_000).to_string();
    client
        .set("bootstrap.servers", config.servers.join(","))
        .set("allow.auto.create.topics", "false")
        .set("client.id", config.node.name.as_deref().unwrap_or("backplane"))
        // All partitions are used, and so all brokers. Otherwise a producer comes up a second later.
        .set("enable.sparse.connections", "false")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", milliseconds(config.node.answer_deadline))
        .set("reconnect.backoff.ms", RECONNECT.as_millis().to_string())
        .set("reconnect.backoff.max.ms", (4 * RECONNECT).as_millis().to_string())
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "500")
        .set("topic.metadata.refresh.fast.interval.ms", "50")
        .set("message.max.bytes", LARGEST_RECORD.to_string())
        .set("log.connection.close", "false");
    let logs_in = config.login.is_some()
        || MECHANISM.iter().any(|name| config.properties.contains_key(*name));
    let protocol = match (config.tls, logs_in) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(login) = &config.login {
        let mechanism = match login.mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        client
            .set("sasl.mechanisms", mechanism)
            .set("sasl.username", &*login.user)
            .set("sasl.password", &*login.password);
    }
    if let Some(path) = &config.ca {
        client.set("ssl.ca.location", path.to_string_lossy());
    }
    if let Some((certificate, key)) = &config.certificate {
        client
            .set("ssl.certificate.location", certificate.to_string_lossy())
            .set("ssl.key.location", key.to_string_lossy());
    }
    let debugged = config.properties.contains_key("debug");
    client.set_log_level(if debugged { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    client
}

fn with_properties(mut client: ClientConfig, config: &KafkaConfig) -> ClientConfig {
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    client
}

/// For a client that publishes.
pub(crate) fn producer(config: &KafkaConfig) -> ClientConfig {
    let mut client = base(config);
    // Below the node's own patience with a batch, so that it is the library that gives up.
    let timeout = config.node.answer_deadline.mul_f64(0.8).as_millis().max(1);
    client
        .set("message.timeout.ms", timeout.to_string())
        .set("linger.ms", "0")
        .set("queue.buffering.max.messages", "32768")
        .set("queue.buffering.max.kbytes", (128 * 1024).to_string());
    match config.acks {
        Acks::All => client.set("acks", "all").set("enable.idempotence", "true"),
        Acks::Leader => client.set("acks", "1").set("max.in.flight.requests.per.connection", "1"),
    };
    with_properties(client, config)
}

/// For a client that reads.
pub(crate) fn consumer(config: &KafkaConfig) -> ClientConfig {
    let mut client = base(config);
    client
        // Of no group: the library wants the property all the same.
        .set("group.id", "backplane")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_uncommitted")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", FETCH_WAIT.as_millis().to_string())
        .set("fetch.error.backoff.ms", "20")
        .set("queued.max.messages.kbytes", READ_AHEAD_KIB.to_string());
    with_properties(client, config)
}

/// Starts OpenSSL, before the client library does, so that it is not taken down when the process exits: clients
/// end on threads of their own, which may be at it still, and a process must not crash on its last step.
#[cfg(feature = "ssl")]
pub(crate) fn prepare() {
    openssl_sys::init();
}

/// Nothing here uses OpenSSL.
#[cfg(not(feature = "ssl"))]
pub(crate) const fn prepare() {}

/// Whether the client library takes this configuration.
pub(crate) fn check(config: &KafkaConfig) -> Result<(), ConnectError> {
    if cfg!(not(feature = "ssl")) && (config.tls || config.login.is_some()) {
        let name = if config.tls { "kafka+ssl:" } else { "user:password@" };
        return Err(ConnectError::option(
            name,
            "turn on the Cargo feature \"ssl\" of backplane-kafka",
        ));
    }
    let files = [
        (config.ca.as_ref(), "the certificates to trust"),
        (config.certificate.as_ref().map(|it| &it.0), "the client's certificate"),
        (config.certificate.as_ref().map(|it| &it.1), "the client's private key"),
    ];
    for (path, role) in files {
        let Some(path) = path else { continue };
        let read = fs::read(path).and_then(|bytes| {
            let is_pem = bytes.windows(11).any(|it| it == b"-----BEGIN ");
            if is_pem { Ok(()) } else { Err(io::Error::other("it holds nothing in PEM")) }
        });
        read.map_err(|error| ConnectError::File {
            path: path.display().to_string(),
            role,
            source: error.into(),
        })?;
    }
    for name in config.properties.keys() {
        if OWN.contains(&&**name) {
            let reason = "the transport sets it itself, as its promises rest upon it".to_owned();
            return Err(ConnectError::option(&format!("rdkafka.{name}"), reason));
        }
        if config.login.is_some() && MECHANISM.contains(&&**name) {
            let reason =
                "the URL has a user, who logs in as the option sasl says: leave one of them out";
            return Err(ConnectError::option(&format!("rdkafka.{name}"), reason));
        }
        // Not by the value, which may be a secret.
        let mut alone = ClientConfig::new();
        alone.set(name, &config.properties[name]);
        if alone.create_native_config().is_err() {
            let reason = "the client library knows no such property, or not this value for it";
            return Err(ConnectError::option(&format!("rdkafka.{name}"), reason));
        }
    }
    for client in [producer(config), consumer(config)] {
        if let Err(KafkaError::ClientConfig(_, what, name, _)) = client.create_native_config() {
            return Err(ConnectError::option(&name, what));
        }
    }
    Ok(())
}

/// Waits, on a thread that this crate has to itself.
#[expect(clippy::disallowed_methods, reason = "nothing else runs on such a thread")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Hears what a client says about itself, and tells when it has lost the cluster.
///
/// The library mends connections by itself for as long as it takes, and tells so by the by. Once it has lost
/// all brokers that it knows, this takes it for lost; one of several is its own affair.
pub(crate) struct Ear {
    address: String,
    /// The latest trouble with one broker.
    latest: Mutex<Option<LinkError>>,
    lost: Box<dyn Fn(LinkError) + Send + Sync>,
}

impl Ear {
    pub(crate) fn new(
        config: &KafkaConfig,
        lost: impl Fn(LinkError) + Send + Sync + 'static,
    ) -> Self {
        let address = config.servers.join(",");
        Self { address, latest: Mutex::default(), lost: Box::new(lost) }
    }
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Info};
        // The state of the link is the node's to tell, once and not at every attempt.
        match level {
            Emerg | Alert | Critical => tracing::error!(target: "librdkafka", facility, message),
            Info | Debug => tracing::trace!(target: "librdkafka", facility, message),
            _ => tracing::debug!(target: "librdkafka", facility, message),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match code {
            RDKafkaErrorCode::AllBrokersDown => {
                let cause = latest.take().unwrap_or_else(|| error::lost(reason));
                drop(latest);
                (self.lost)(cause);
            }
            RDKafkaErrorCode::Fatal => {
                drop(latest);
                (self.lost)(error::lost(reason));
            }
            code => {
                if let Some(trouble) = error::of_broker(code, reason, &self.address) {
                    *latest = Some(trouble);
                }
            }
        }
    }
}

impl ConsumerContext for Ear {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_without_user_and_password() {
        let config = |url| KafkaConfig::from_url(url).unwrap();
        let bearer = config("kafka://a?rdkafka.sasl.mechanisms=OAUTHBEARER");
        check(&bearer).unwrap();
        assert_eq!(producer(&bearer).get("security.protocol"), Some("sasl_plaintext"));
    }

    #[cfg(feature = "ssl")]
    #[test]
    fn a_user_logs_in_in_one_way() {
        let both = "kafka://ann:pw@a?rdkafka.sasl.mechanisms=OAUTHBEARER";
        let error = check(&KafkaConfig::from_url(both).unwrap()).unwrap_err().to_string();
        assert!(error.contains("leave one of them out"), "{error}");
    }
}
