use std::time::Duration;

use backplane_core::{BrokerUrl, ConnectError, NodeOptions};
use percent_encoding::percent_decode_str;

use crate::{
    Protocol, RedisConfig, Sentinels, ShardedConfig, StreamsConfig,
    config::{DEFAULT_PORT, SENTINEL_PORT},
};

const SHAPE: &str = "redis://user:password@host:port?prefix=name";
const SENTINEL_SHAPE: &str = "redis+sentinel://user:password@sentinel,sentinel,sentinel/service";
const OPTIONS: [&str; 5] = ["prefix", "protocol", "ca", "cert", "key"];
const OF_SENTINELS: [&str; 2] = ["sentinel_user", "sentinel_password"];
const OF_STREAMS: [&str; 4] = ["parts", "entries", "age", "replicas"];

/// The schemes of one way to use servers, each without and with encryption.
struct Schemes {
    at: [&'static str; 2],
    /// None where sentinels play no role.
    sentinel: Option<[&'static str; 2]>,
}

const PUBSUB: Schemes =
    Schemes { at: ["redis", "rediss"], sentinel: Some(["redis+sentinel", "rediss+sentinel"]) };
const STREAMS: Schemes = Schemes {
    at: ["redis+streams", "rediss+streams"],
    sentinel: Some(["redis+sentinel+streams", "rediss+sentinel+streams"]),
};
const SHARDED: Schemes = Schemes { at: ["redis+sharded", "rediss+sharded"], sentinel: None };

/// Reads a URL of Pub/Sub. No message repeats a part of it that may hold the password.
pub(crate) fn parse(text: &str) -> Result<RedisConfig, ConnectError> {
    parse_as(text, &PUBSUB, &OPTIONS, |_, _| Ok(false))
}

/// Reads a URL of Streams.
pub(crate) fn parse_streams(text: &str) -> Result<StreamsConfig, ConnectError> {
    let mut config = StreamsConfig::default();
    let options = [&OPTIONS[..], &OF_STREAMS].concat();
    config.server = parse_as(text, &STREAMS, &options, |option, value| {
        let number =
            || value.parse::<u64>().map_err(|_| ConnectError::option(option, "it is not a number"));
        match option {
            "parts" => config.parts = u32::try_from(number()?).unwrap_or(u32::MAX),
            "entries" => config.entries = number()?,
            "age" => config.age = Duration::from_secs(number()?),
            "replicas" => config.replicas = u32::try_from(number()?).unwrap_or(u32::MAX),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(config)
}

/// Reads a URL of sharded Pub/Sub, which may name several servers.
pub(crate) fn parse_sharded(text: &str) -> Result<ShardedConfig, ConnectError> {
    let (server, more_servers) = parse_all(text, &SHARDED, &OPTIONS, |_, _| Ok(false))?;
    Ok(ShardedConfig { server, more_servers })
}

/// Reads a URL that names one server, or its sentinels.
fn parse_as(
    text: &str,
    schemes: &Schemes,
    options: &[&str],
    more: impl FnMut(&str, &str) -> Result<bool, ConnectError>,
) -> Result<RedisConfig, ConnectError> {
    match parse_all(text, schemes, options, more)? {
        (config, others) if others.is_empty() => Ok(config),
        // Servers of which each knows nothing of the others are no cluster.
        _ => Err(ConnectError::url(format!("it names several servers; expected {SHAPE}"))),
    }
}

/// Reads a URL, with the servers after the first.
fn parse_all(
    text: &str,
    schemes: &Schemes,
    options: &[&str],
    mut more: impl FnMut(&str, &str) -> Result<bool, ConnectError>,
) -> Result<(RedisConfig, Vec<(String, u16)>), ConnectError> {
    let url = BrokerUrl::parse(text)?;
    let Schemes { at, sentinel } = schemes;
    let (sentinels, [_, tls]) = match (url.scheme.as_str(), sentinel) {
        (scheme, _) if at.contains(&scheme) => (false, at),
        (scheme, Some(sentinel)) if sentinel.contains(&scheme) => (true, sentinel),
        (scheme, _) => {
            let known = at.iter().chain(sentinel.iter().flatten()).map(|known| format!("{known}:"));
            return Err(ConnectError::UnknownScheme {
                scheme: scheme.to_owned(),
                known: known.collect::<Vec<_>>().join(", "),
            });
        }
    };
    let mut config = RedisConfig::default();
    if let Some(login) = url.login {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        config.user = Some(decode(user)?).filter(|user| !user.is_empty());
        config.password = password.map(decode).transpose()?;
    }
    if url.scheme == *tls {
        encrypt(&mut config)?;
    }
    let port = if sentinels { SENTINEL_PORT } else { DEFAULT_PORT };
    let mut servers: Vec<(String, u16)> =
        url.servers(port)?.into_iter().map(|it| (it.host, it.port)).collect();
    if sentinels {
        let servers = std::mem::take(&mut servers);
        config.sentinels = Some(Sentinels::new(service(url.path)?, servers));
    } else {
        (config.host, config.port) = servers.remove(0); // there is at least one
        check_database(url.path)?;
    }
    let options = [options, if sentinels { &OF_SENTINELS } else { &[] }].concat();
    config.node = NodeOptions::from_query(url.query, &options, |option, value| {
        Ok(set(&mut config, option, value)? || more(option, value)?)
    })?;
    Ok((config, servers))
}

fn service(path: &str) -> Result<String, ConnectError> {
    let service = decode(path.trim_end_matches('/'))?;
    if service.is_empty() || service.contains('/') {
        let reason = "behind the sentinels stands what they call the service, once";
        return Err(ConnectError::url(format!("{reason}; expected {SENTINEL_SHAPE}")));
    }
    Ok(service)
}

/// Pub/sub has no databases, but a URL that other clients share may name one.
fn check_database(path: &str) -> Result<(), ConnectError> {
    if path.trim_end_matches('/').chars().all(|digit| digit.is_ascii_digit()) {
        return Ok(());
    }
    Err(ConnectError::url("the path is not a database number; pub/sub needs none, leave it out"))
}

/// Whether there is such an option.
fn set(config: &mut RedisConfig, option: &str, value: &str) -> Result<bool, ConnectError> {
    match option {
        "prefix" => value.clone_into(&mut config.prefix),
        "protocol" => {
            config.protocol = match value {
                "auto" => Protocol::Auto,
                "resp2" => Protocol::Resp2,
                "resp3" => Protocol::Resp3,
                _ => return Err(ConnectError::option(option, "it is one of auto, resp2, resp3")),
            };
        }
        "ca" | "cert" | "key" => set_file(config, option, value)?,
        "sentinel_user" | "sentinel_password" => {
            let Some(sentinels) = &mut config.sentinels else { return Ok(false) };
            let place = match option {
                "sentinel_user" => &mut sentinels.user,
                _ => &mut sentinels.password,
            };
            *place = Some(value.to_owned());
        }
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(feature = "tls")]
fn encrypt(config: &mut RedisConfig) -> Result<(), ConnectError> {
    config.tls = Some(crate::Tls::default());
    Ok(())
}

#[cfg(not(feature = "tls"))]
fn encrypt(_: &mut RedisConfig) -> Result<(), ConnectError> {
    Err(ConnectError::FeatureOff { scheme: "rediss".to_owned(), feature: "redis-tls" })
}

fn set_file(config: &mut RedisConfig, option: &str, value: &str) -> Result<(), ConnectError> {
    #[cfg(feature = "tls")]
    if let Some(tls) = &mut config.tls {
        let file = match option {
            "ca" => &mut tls.ca,
            "cert" => &mut tls.certificate,
            _ => &mut tls.key,
        };
        *file = Some(value.into());
        return Ok(());
    }
    let _ = (config, value);
    Err(ConnectError::option(option, "it needs an encrypted connection: use rediss:"))
}

fn decode(text: &str) -> Result<String, ConnectError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => {
            Err(ConnectError::url("user or password is not UTF-8 once it is percent-decoded"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_a_url_can_say() {
        let config = parse(
            "redis://us%65r:p%40s%3As@example.org:6380/3?prefix=a%2Fb&protocol=resp2&name=one",
        )
        .unwrap();
        assert_eq!(config.host, "example.org");
        assert_eq!(config.port, 6380);
        assert_eq!(config.user.as_deref(), Some("user"));
        assert_eq!(config.password.as_deref(), Some("p@s:s"));
        assert_eq!(config.prefix, "a/b");
        assert_eq!(config.protocol, Protocol::Resp2);
        assert_eq!(config.node.name.as_deref(), Some("one"));
    }

    #[test]
    fn sentinels_are_many_and_name_a_service() {
        let url = "redis+sentinel://ann:p%40s@one:1,two,[::1]:3/main%20one?sentinel_password=a%26b";
        let config = parse(url).unwrap();
        assert_eq!(
            (config.user.as_deref(), config.password.as_deref()),
            (Some("ann"), Some("p@s"))
        );
        let sentinels = config.sentinels.unwrap();
        assert_eq!((sentinels.service.as_str(), sentinels.user), ("main one", None));
        assert_eq!(sentinels.password.as_deref(), Some("a&b"));
        let servers = [("one".to_owned(), 1), ("two".to_owned(), 26_379), ("::1".to_owned(), 3)];
        assert_eq!(sentinels.servers, servers);
        let streams = parse_streams("redis+sentinel+streams://one/main?replicas=1").unwrap();
        assert_eq!((streams.server.sentinels.is_some(), streams.replicas), (true, 1));
    }

    #[test]
    fn what_a_url_leaves_out_has_a_default() {
        let config = parse("redis://10.0.0.1").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("10.0.0.1", 6379));
        assert_eq!((config.user, config.password), (None, None));
        assert_eq!(config.prefix, "backplane");
        assert_eq!(config.protocol, Protocol::Auto);
    }

    #[test]
    fn addresses_of_version_6_lose_their_brackets() {
        assert_eq!(parse("redis://[::1]:7000/").unwrap().host, "::1");
    }

    #[test]
    fn a_password_needs_no_user() {
        let config = parse("redis://:s3cret@host").unwrap();
        assert_eq!((config.user, config.password.as_deref()), (None, Some("s3cret")));
    }

    #[test]
    fn bad_urls_say_what_is_wrong_and_keep_the_password() {
        let cases = [
            ("localhost:6379", "scheme://host"),
            ("redis:host", "scheme://host"),
            ("redis://", "host:port"),
            ("redis:///0", "host:port"),
            ("redis://u:s3cret@/0", "host:port"),
            ("redis://u:s3cret@host:99999", "host:port"),
            ("redis://u:s3cr#et@host", "percent-encode"),
            ("redis://u:s3cret@host/orders", "database number"),
            ("redis://u:s3cret@host/0/1", "database number"),
            ("redis://u:s3cret@host#tls", "#"),
            ("redis://u:s3cret@host,other", "several servers"),
            ("redis+sentinel://u:s3cret@host,other", "the service"),
            ("redis+sentinel://u:s3cret@host,other/a/b", "the service"),
            ("redis+sentinel://u:s3cret@host,/main", "host:port"),
            ("redis+sentinel://u:s3cret@host,b:x/main", "host:port"),
            ("redis://u:s3cret%ff@host", "UTF-8"),
        ];
        for (url, expected) in cases {
            let error = parse(url).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(expected), "{url}: {text}");
            assert!(!text.contains("s3cr"), "{url}: {text}");
        }
    }

    #[test]
    fn bad_options_are_named() {
        let cases = [
            ("prefx=a", "prefx", "use prefix, protocol"),
            ("protocol=resp4", "protocol", "auto, resp2, resp3"),
            ("prefix=a&prefix=b", "prefix", "twice"),
            ("ca=/some/file", "ca", "rediss:"),
            ("sentinel_password=secret", "sentinel_password", "use prefix"),
            ("repair=maybe", "repair", "on, counted or off"),
        ];
        for (query, name, expected) in cases {
            match parse(&format!("redis://host?{query}")).unwrap_err() {
                ConnectError::Option { option, reason } => {
                    assert_eq!(option, name);
                    assert!(reason.contains(expected), "{reason}");
                }
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_cluster_has_several_servers() {
        let url = "redis+sharded://ann:s3,cret@one:7000,two,[::1]:7002/0?prefix=shop,one";
        let config = parse_sharded(url).unwrap();
        assert_eq!((config.server.host.as_str(), config.server.port), ("one", 7000));
        assert_eq!(config.server.password.as_deref(), Some("s3,cret"));
        assert_eq!(config.server.prefix, "shop,one");
        let more = [("two".to_owned(), DEFAULT_PORT), ("::1".to_owned(), 7002)];
        assert_eq!(config.more_servers, more);
        assert!(parse_sharded("redis+sharded://one?prefix=a").unwrap().more_servers.is_empty());
        for more in ["", "ann:s3cret@two", "two:port", "two:99999"] {
            let error = parse_sharded(&format!("redis+sharded://:s3cret@one,{more}")).unwrap_err();
            let text = error.to_string();
            assert!(!text.contains("s3cret"), "{more}: {text}");
            assert!(text.contains("host:port") || text.contains("one login"), "{more}: {text}");
        }
        // Servers of which each knows nothing of the others are no cluster.
        assert!(matches!(parse("redis://one,two").unwrap_err(), ConnectError::Url { .. }));
    }

    #[test]
    fn another_transports_scheme_is_not_taken() {
        let error = parse("nats://host").unwrap_err();
        assert!(matches!(error, ConnectError::UnknownScheme { .. }), "{error}");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn encryption_needs_its_feature() {
        let error = parse("rediss://host").unwrap_err();
        assert!(matches!(error, ConnectError::FeatureOff { feature: "redis-tls", .. }), "{error}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn encryption_has_its_files() {
        let tls = parse("rediss://host").unwrap().tls.unwrap();
        assert!(tls.ca.is_none() && tls.certificate.is_none() && tls.key.is_none());
        let config = parse("rediss://host?ca=/ca.pem&cert=c.pem&key=k.pem").unwrap();
        let tls = config.tls.unwrap();
        assert_eq!(tls.ca.unwrap().to_str(), Some("/ca.pem"));
        assert_eq!(tls.certificate.unwrap().to_str(), Some("c.pem"));
        assert_eq!(tls.key.unwrap().to_str(), Some("k.pem"));
    }
}
