//! `kafka://` URLs.

use std::{path::PathBuf, str::FromStr, time::Duration};

use backplane_core::{BrokerUrl, ConnectError, NodeOptions, Server};
use percent_encoding::percent_decode_str;

use crate::config::{Acks, KafkaConfig, Login, Mechanism};

const DEFAULT_PORT: u16 = 9092;
const OPTIONS: [&str; 10] = [
    "topic",
    "partitions",
    "replication",
    "age",
    "acks",
    "sasl",
    "ca",
    "cert",
    "key",
    "rdkafka.NAME",
];

/// What the names of the client library's properties are put behind.
const PROPERTY: &str = "rdkafka.";

/// Reads a URL. What might be a password is never repeated in an error.
pub(crate) fn parse(url: &str) -> Result<KafkaConfig, ConnectError> {
    let url = BrokerUrl::parse(url)?;
    let mut config = KafkaConfig::default();
    match url.scheme.as_str() {
        "kafka" => {}
        "kafka+ssl" => config.tls = true,
        _ => {
            let known = "kafka:, kafka+ssl:".to_owned();
            return Err(ConnectError::UnknownScheme { scheme: url.scheme, known });
        }
    }
    if !url.path.is_empty() {
        return Err(ConnectError::url("nothing but ?option=value may follow the servers"));
    }
    config.servers = url.servers(DEFAULT_PORT)?.iter().map(Server::to_string).collect();
    config.login = url.login.map(read_login).transpose()?;
    Options::read(url.query, &mut config)?.apply(&mut config)?;
    Ok(config)
}

fn read_login(text: &str) -> Result<Login, ConnectError> {
    let decode = |text| {
        let decoded = percent_decode_str(text).decode_utf8();
        let decoded = decoded.map_err(|_| ConnectError::url("user or password are not UTF-8"))?;
        Ok(decoded.into_owned())
    };
    match text.split_once(':') {
        Some((user, password)) if !user.is_empty() => {
            Ok(Login::new(decode(user)?, decode(password)?))
        }
        _ => Err(ConnectError::url("before the @ stands user:password, and here is none")),
    }
}

/// The options that say something together only.
#[derive(Default)]
struct Options {
    sasl: Option<Mechanism>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Options {
    fn read(query: &str, config: &mut KafkaConfig) -> Result<Self, ConnectError> {
        let mut options = Self::default();
        let node = NodeOptions::from_query(query, &OPTIONS, |name, value| {
            match name {
                "topic" => value.clone_into(&mut config.topic),
                "partitions" => config.partitions = number(name, value)?,
                "replication" => config.replication = Some(number(name, value)?),
                "age" => config.age = Duration::from_secs(number(name, value)?),
                "acks" => {
                    config.acks = match value {
                        "all" | "-1" => Acks::All,
                        "1" => Acks::Leader,
                        _ => return Err(ConnectError::option(name, "use all or 1")),
                    };
                }
                "sasl" => options.sasl = Some(mechanism(value)?),
                "ca" => config.ca = Some(value.into()),
                "cert" => options.cert = Some(value.into()),
                "key" => options.key = Some(value.into()),
                _ => match name.strip_prefix(PROPERTY) {
                    Some(property) if !property.is_empty() => {
                        config.properties.insert(property.to_owned(), value.to_owned());
                    }
                    _ => return Ok(false),
                },
            }
            Ok(true)
        })?;
        config.node = node;
        Ok(options)
    }

    fn apply(self, config: &mut KafkaConfig) -> Result<(), ConnectError> {
        match (&mut config.login, self.sasl) {
            (Some(login), Some(mechanism)) => login.mechanism = mechanism,
            (None, Some(_)) => {
                return Err(ConnectError::option(
                    "sasl",
                    "it needs user:password@ before the servers",
                ));
            }
            (_, None) => {}
        }
        config.certificate = match (self.cert, self.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(ConnectError::option("cert", "it needs the option key beside it"));
            }
            (None, Some(_)) => {
                return Err(ConnectError::option("key", "it needs the option cert beside it"));
            }
        };
        Ok(())
    }
}

fn mechanism(value: &str) -> Result<Mechanism, ConnectError> {
    match &*value.to_ascii_lowercase() {
        "plain" => Ok(Mechanism::Plain),
        "scram-sha-256" => Ok(Mechanism::ScramSha256),
        "scram-sha-512" => Ok(Mechanism::ScramSha512),
        _ => Err(ConnectError::option("sasl", "use plain, scram-sha-256 or scram-sha-512")),
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, ConnectError> {
    value
        .parse()
        .map_err(|_| ConnectError::option(name, format!("{value:?} is no number that fits")))
}

/// A server with its port.
pub(crate) fn check_server(text: &str) -> Result<Server, ConnectError> {
    Server::parse(text, DEFAULT_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str) -> String {
        parse(url).unwrap_err().to_string()
    }

    #[test]
    fn servers_and_ports() {
        let servers = |url| parse(url).unwrap().servers;
        assert_eq!(servers("kafka://localhost"), ["localhost:9092"]);
        assert_eq!(
            servers("KAFKA://a:1,b,[::1]:3,[::2]/"),
            ["a:1", "b:9092", "[::1]:3", "[::2]:9092"]
        );
        for wrong in [
            "kafka://",
            "kafka://a,",
            "kafka://a:x",
            "kafka://a:99999",
            "kafka://a b",
            "kafka://a:0",
        ] {
            assert!(error(wrong).contains("write host or host:port"), "{wrong}: {}", error(wrong));
        }
    }

    #[test]
    fn schemes_and_logins() {
        assert!(!parse("kafka://a").unwrap().tls && parse("kafka+ssl://a").unwrap().tls);
        for wrong in ["a:9092", "kafka:a", ""] {
            assert!(error(wrong).contains("expected scheme://"), "{wrong}");
        }
        assert!(error("http://a").contains("use one of kafka:, kafka+ssl:"));
        let login = |url| parse(url).unwrap().login.unwrap();
        let plain = login("kafka://a%40b:p%2F%3A%C3%A9@h");
        assert_eq!((&*plain.user, &*plain.password), ("a@b", "p/:é"));
        assert_eq!(plain.mechanism, Mechanism::Plain);
        let scram = login("kafka+ssl://ann:pw@h?sasl=SCRAM-SHA-512");
        assert_eq!(scram.mechanism, Mechanism::ScramSha512);
        assert!(error("kafka://h?sasl=plain").contains("needs user:password@"));
        assert!(error("kafka://a:b@h?sasl=md5").contains("scram-sha-256"));
        for wrong in ["kafka://@h", "kafka://ann@h", "kafka://:pw@h"] {
            assert!(error(wrong).contains("user:password"), "{wrong}");
        }
    }

    #[test]
    fn everything_else() {
        let config = parse(
            "kafka://a?topic=shop&partitions=3&replication=2&age=60&acks=1&ca=/ca&cert=/c&key=/k\
             &rdkafka.linger.ms=5&name=one",
        )
        .unwrap();
        assert_eq!((&*config.topic, config.partitions), ("shop", 3));
        assert_eq!((config.replication, config.age.as_secs()), (Some(2), 60));
        assert_eq!((config.acks, config.ca), (Acks::Leader, Some("/ca".into())));
        assert_eq!(config.certificate, Some(("/c".into(), "/k".into())));
        assert_eq!(config.properties["linger.ms"], "5");
        assert_eq!(config.node.name.as_deref(), Some("one"));
        assert!(error("kafka://a?cert=/c").contains("needs the option key"));
        assert!(error("kafka://a?key=/c").contains("needs the option cert"));
        assert!(error("kafka://a?partitions=many").contains("is no number"));
        assert!(error("kafka://a?acks=2").contains("use all or 1"));
        assert!(error("kafka://a?rdkafka.=5").contains("rdkafka.NAME"));
        assert!(error("kafka://a?topik=x").contains("use topic, partitions"));
        assert!(error("kafka://a/b?topic=x").contains("nothing but ?option=value"));
        assert!(error("kafka://a?topic=x#y").contains("%23"));
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "kafka://ann:s3/cret@a",
            "kafka://ann:s3?cret@a",
            "kafka://ann:s3#cret@a",
            "kafka://ann:s3cret@a:port",
            "kafka://ann:s3@cret@a:port",
            "kafka://ann:s3cret%FF@a",
            "http://ann:s3cret@a",
            "kafka://ann:s3cret@a?x=1",
            "kafka://ann:s3cret",
            "kafka://s3cret@a",
        ] {
            let error = error(url);
            assert!(!error.contains("s3") && !error.contains("cret"), "{url}: {error}");
        }
    }
}
