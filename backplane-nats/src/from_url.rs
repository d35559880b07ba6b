//! `nats://` URLs.

use std::{path::PathBuf, str::FromStr, time::Duration};

use backplane_core::{BrokerUrl, ByteSize, ConnectError, NodeOptions, Server};
use percent_encoding::percent_decode_str;

use crate::{
    JetStreamConfig, Storage,
    config::{Login, NatsConfig, Tls, check_prefix},
};

const DEFAULT_PORT: u16 = 4222;
const OPTIONS: [&str; 7] = ["prefix", "credentials", "nkey", "tls", "ca", "cert", "key"];
const LOG_OPTIONS: [&str; 6] = ["parts", "storage", "replicas", "age", "entries", "bytes"];

/// Reads a URL. What might be a password is never repeated in an error.
pub(crate) fn parse(url: &str) -> Result<NatsConfig, ConnectError> {
    let url = BrokerUrl::parse(url)?;
    let mut config = NatsConfig::default();
    match url.scheme.as_str() {
        "nats" => {}
        "tls" => config.tls = Tls::Required,
        _ => return Err(unknown(url.scheme, "nats:, tls:")),
    }
    read(&url, &OPTIONS)?.apply(&mut config)?;
    Ok(config)
}

/// Reads a URL of a stream.
pub(crate) fn parse_jetstream(url: &str) -> Result<JetStreamConfig, ConnectError> {
    let url = BrokerUrl::parse(url)?;
    if url.scheme != "nats+jetstream" {
        return Err(unknown(url.scheme, "nats+jetstream:"));
    }
    let mut parsed = read(&url, &[&OPTIONS[..], &LOG_OPTIONS[..]].concat())?;
    let log = std::mem::take(&mut parsed.options.log);
    let mut config = JetStreamConfig::default();
    parsed.apply(&mut config.servers)?;
    log.apply(&mut config)?;
    Ok(config)
}

fn unknown(scheme: String, known: &str) -> ConnectError {
    ConnectError::UnknownScheme { scheme, known: known.to_owned() }
}

/// What stands behind the scheme.
struct Parsed {
    servers: Vec<Server>,
    login: Option<Login>,
    options: Options,
}

impl Parsed {
    fn apply(self, config: &mut NatsConfig) -> Result<(), ConnectError> {
        config.servers = self.servers.iter().map(Server::to_string).collect();
        config.login = self.login.unwrap_or_default();
        self.options.apply(config)
    }
}

fn read(url: &BrokerUrl<'_>, known: &[&'static str]) -> Result<Parsed, ConnectError> {
    if !url.path.is_empty() {
        return Err(ConnectError::url("nothing but ?option=value may follow the servers"));
    }
    let login = url.login.map(read_login).transpose()?;
    let options = Options::read(url.query, known)?;
    Ok(Parsed { servers: url.servers(DEFAULT_PORT)?, login, options })
}

fn read_login(text: &str) -> Result<Login, ConnectError> {
    let decode = |text| {
        let decoded = percent_decode_str(text).decode_utf8();
        let decoded =
            decoded.map_err(|_| ConnectError::url("user, password or token are not UTF-8"))?;
        Ok(decoded.into_owned())
    };
    match text.split_once(':') {
        Some((name, password)) => {
            Ok(Login::User { name: decode(name)?, password: decode(password)? })
        }
        None if text.is_empty() => Err(ConnectError::url("nothing stands before the @")),
        None => Ok(Login::Token(decode(text)?)),
    }
}

/// The options as they stand in a URL.
#[derive(Default)]
struct Options {
    prefix: Option<String>,
    credentials: Option<String>,
    nkey: Option<String>,
    tls: Option<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    log: LogOptions,
    node: NodeOptions,
}

/// Those of a stream.
#[derive(Default)]
struct LogOptions {
    parts: Option<String>,
    storage: Option<String>,
    replicas: Option<String>,
    age: Option<String>,
    entries: Option<String>,
    bytes: Option<String>,
}

impl LogOptions {
    fn apply(self, config: &mut JetStreamConfig) -> Result<(), ConnectError> {
        number("parts", self.parts, &mut config.parts)?;
        number("replicas", self.replicas, &mut config.replicas)?;
        number("entries", self.entries, &mut config.entries)?;
        let mut age = config.age.as_secs();
        number("age", self.age, &mut age)?;
        config.age = Duration::from_secs(age);
        if let Some(bytes) = self.bytes {
            let size = bytes.parse::<ByteSize>();
            config.bytes =
                size.map_err(|_| ConnectError::option("bytes", "write a size, as 512MiB"))?;
        }
        match self.storage.as_deref() {
            None => {}
            Some("file") => config.storage = Storage::File,
            Some("memory") => config.storage = Storage::Memory,
            Some(_) => return Err(ConnectError::option("storage", "use file or memory")),
        }
        Ok(())
    }
}

fn number<T: FromStr>(
    name: &str,
    value: Option<String>,
    place: &mut T,
) -> Result<(), ConnectError> {
    if let Some(value) = value {
        *place = value.parse().map_err(|_| ConnectError::option(name, "write a whole number"))?;
    }
    Ok(())
}

impl Options {
    fn read(query: &str, known: &[&'static str]) -> Result<Self, ConnectError> {
        let mut options = Self::default();
        options.node = NodeOptions::from_query(query, known, |option, value| {
            if !known.contains(&option) {
                return Ok(false);
            }
            let place = match option {
                "prefix" => &mut options.prefix,
                "credentials" => &mut options.credentials,
                "nkey" => &mut options.nkey,
                "tls" => &mut options.tls,
                "ca" => &mut options.ca,
                "cert" => &mut options.cert,
                "key" => &mut options.key,
                "parts" => &mut options.log.parts,
                "storage" => &mut options.log.storage,
                "replicas" => &mut options.log.replicas,
                "age" => &mut options.log.age,
                "entries" => &mut options.log.entries,
                "bytes" => &mut options.log.bytes,
                _ => return Ok(false),
            };
            *place = Some(value.to_owned());
            Ok(true)
        })?;
        Ok(options)
    }

    fn apply(self, config: &mut NatsConfig) -> Result<(), ConnectError> {
        config.node = self.node;
        if let Some(prefix) = self.prefix {
            check_prefix(&prefix)?;
            config.prefix = prefix;
        }
        let files = [
            self.credentials.map(|path| ("credentials", Login::Credentials(path.into()))),
            self.nkey.map(|path| ("nkey", Login::Nkey(path.into()))),
        ];
        for (name, login) in files.into_iter().flatten() {
            if !matches!(config.login, Login::Open) {
                return Err(ConnectError::option(
                    name,
                    "there is another way to log in beside it: keep one",
                ));
            }
            config.login = login;
        }
        match self.tls.as_deref() {
            None => {}
            Some("required") => config.tls = Tls::Required,
            Some("first") => config.tls = Tls::First,
            Some(_) => {
                return Err(ConnectError::option("tls", "use required or first, or leave it out"));
            }
        }
        config.ca = self.ca.map(PathBuf::from);
        config.certificate = match (self.cert, self.key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
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

/// A server, with the port of NATS where it names none.
pub(crate) fn server(text: &str) -> Result<Server, ConnectError> {
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
        assert_eq!(servers("nats://localhost"), ["localhost:4222"]);
        assert_eq!(
            servers("NATS://a:1,b,[::1]:3,[::2]/"),
            ["a:1", "b:4222", "[::1]:3", "[::2]:4222"]
        );
        for wrong in
            ["nats://", "nats://a,", "nats://a:x", "nats://a:99999", "nats://a b", "nats://a:0"]
        {
            assert!(error(wrong).contains("write host or host:port"), "{wrong}: {}", error(wrong));
        }
    }

    #[test]
    fn schemes() {
        assert_eq!(parse("nats://a").unwrap().tls, Tls::IfServerRequires);
        assert_eq!(parse("tls://a").unwrap().tls, Tls::Required);
        assert_eq!(parse("nats://a?tls=required").unwrap().tls, Tls::Required);
        assert_eq!(parse("tls://a?tls=first").unwrap().tls, Tls::First);
        for wrong in ["a:4222", "nats:a", ""] {
            assert!(error(wrong).contains("expected scheme://"), "{wrong}");
        }
        assert!(error("http://a").contains("use one of nats:, tls:"), "{}", error("http://a"));
    }

    #[test]
    fn logins() {
        let login = |url| format!("{:?}", parse(url).unwrap().login);
        assert_eq!(login("nats://a"), "Open");
        assert_eq!(login("nats://t0ken@a"), "Token(..)");
        assert_eq!(login("nats://ann:pw@a"), r#"User { name: "ann", .. }"#);
        assert_eq!(login("nats://a?credentials=/x/y.creds"), r#"Credentials("/x/y.creds")"#);
        assert_eq!(login("nats://a?nkey=/x%20y"), r#"Nkey("/x y")"#);

        let Login::User { name, password } = parse("nats://a%40b:p%2F%3A%C3%A9@h").unwrap().login
        else {
            panic!("no user");
        };
        assert_eq!((&*name, &*password), ("a@b", "p/:é"));
        assert!(error("nats://t@a?nkey=/x").contains("keep one"));
        assert!(error("nats://a?nkey=/x&credentials=/y").contains("keep one"));
        assert!(error("nats://@a").contains("before the @"));
    }

    #[test]
    fn files_and_prefix() {
        let config = parse("nats://a?ca=/ca&cert=/c&key=/k&prefix=shop-1&name=one").unwrap();
        assert_eq!(config.ca, Some("/ca".into()));
        assert_eq!(config.certificate, Some(("/c".into(), "/k".into())));
        assert_eq!((&*config.prefix, config.node.name.as_deref()), ("shop-1", Some("one")));
        assert!(error("nats://a?cert=/c").contains("needs the option key"));
        assert!(error("nats://a?key=/c").contains("needs the option cert"));
    }

    #[test]
    fn options_of_a_stream() {
        let url = "nats+jetstream://ann:pw@a,b:2?parts=4&storage=memory&replicas=3&age=60&entries=9&bytes=2MiB&tls=first";
        let config = parse_jetstream(url).unwrap();
        assert_eq!(config.servers.servers, ["a:4222", "b:2"]);
        assert_eq!(config.servers.tls, Tls::First);
        assert_eq!((config.parts, config.replicas, config.entries), (4, 3, 9));
        assert_eq!((config.storage, config.bytes), (Storage::Memory, ByteSize::mib(2)));
        assert_eq!(config.age, Duration::from_secs(60));
        let error = |url| parse_jetstream(url).unwrap_err().to_string();
        assert!(error("nats://a").contains("use one of nats+jetstream:"));
        assert!(error("nats+jetstream://a?storage=disk").contains("use file or memory"));
        assert!(error("nats+jetstream://a?age=1h").contains("write a whole number"));
        assert!(error("nats+jetstream://a?bytes=many").contains("as 512MiB"));
        assert!(error("nats+jetstream://a?prefx=x").contains("parts, storage"));
        assert!(parse("nats://a?parts=4").is_err());
    }

    #[test]
    fn options_that_do_not_exist() {
        assert!(error("nats://a?prefx=x").contains("\"prefx\""));
        assert!(error("nats://a?prefx=x").contains("use prefix, credentials"));
        assert!(error("nats://a?repair=maybe").contains("use on, counted or off"));
        assert!(error("nats://a?tls=maybe").contains("use required or first"));
        assert!(error("nats://a?prefix=").contains("no value"));
        assert!(error("nats://a?prefix=x&prefix=y").contains("twice"));
        assert!(error("nats://a/b?prefix=x").contains("nothing but ?option=value"));
        assert!(error("nats://a?prefix=x#y").contains("%23"));
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "nats://ann:s3/cret@a",
            "nats://ann:s3?cret@a",
            "nats://ann:s3#cret@a",
            "nats://ann:s3cret@a:port",
            "nats://ann:s3@cret@a:port",
            "nats://ann:s3cret%FF@a",
            "http://ann:s3cret@a",
            "nats://ann:s3cret@a?x=1",
            "nats://s3cret@a?tls=no",
            "nats://ann:s3cret",
        ] {
            let error = error(url);
            assert!(!error.contains("s3") && !error.contains("cret"), "{url}: {error}");
        }
    }
}
