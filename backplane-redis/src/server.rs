//! Which server it is, and whether it is new enough.

use std::collections::HashMap;

use backplane_core::LinkError;
use redis::{
    ProtocolVersion, RedisResult, Value, aio::MultiplexedConnection, cmd, from_redis_value,
};

use crate::{endpoint::Endpoint, error};

/// The oldest Redis that works: older ones are without security fixes, and nothing is tested on
/// them. Every Valkey is newer.
const NEEDED: (u64, &str) = (5, "5.0");

/// The oldest Redis with sharded Pub/Sub. Every Valkey has it.
pub(crate) const SHARDED: (u64, &str) = (7, "7.0");

/// What a server calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    product: String,
    version: String,
}

/// Refuses a server that is too old. One that does not say what it is gets the benefit of the doubt.
pub(crate) async fn check(
    connection: &MultiplexedConnection,
    protocol: ProtocolVersion,
    endpoint: &Endpoint,
) -> Result<(), LinkError> {
    check_for(NEEDED, connection, protocol, endpoint).await
}

/// The same for what needs a newer one.
pub(crate) async fn check_for(
    needed: (u64, &'static str),
    connection: &MultiplexedConnection,
    protocol: ProtocolVersion,
    endpoint: &Endpoint,
) -> Result<(), LinkError> {
    let identity = identify(connection.clone(), protocol).await;
    match identity.map_err(|error| endpoint.failed(&error))? {
        Some(identity) if identity.is_older_than(needed.0) => Err(LinkError::TooOld {
            address: endpoint.address().to_owned(),
            product: identity.product,
            found: identity.version,
            needed: needed.1,
        }),
        _ => Ok(()),
    }
}

/// Asks with `HELLO`, which no access rule can forbid, and a server without it with `INFO`.
async fn identify(
    mut connection: MultiplexedConnection,
    protocol: ProtocolVersion,
) -> RedisResult<Option<Identity>> {
    let version = if protocol == ProtocolVersion::RESP2 { 2 } else { 3 };
    let hello: RedisResult<Value> = cmd("HELLO").arg(version).query_async(&mut connection).await;
    match hello {
        Ok(answer) => return Ok(Identity::from_hello(answer)),
        Err(error) if !answered(&error) => return Err(error),
        Err(_) => {}
    }
    match cmd("INFO").arg("server").query_async::<String>(&mut connection).await {
        Ok(answer) => Ok(Identity::from_info(&answer)),
        Err(error) if !answered(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether the server merely refused the question.
fn answered(error: &redis::RedisError) -> bool {
    error.code().is_some() && !error::is_authentication(error)
}

impl Identity {
    fn from_hello(answer: Value) -> Option<Self> {
        let facts: HashMap<String, Value> = from_redis_value(answer).ok()?;
        let fact = |name: &str| from_redis_value(facts.get(name)?.clone()).ok();
        Some(Self { product: fact("server")?, version: fact("version")? })
    }

    fn from_info(answer: &str) -> Option<Self> {
        let fact = |name: &str| {
            let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(|value| value.trim().to_owned())
        };
        // Valkey also calls itself a Redis 7.2, for old clients.
        match fact("valkey_version") {
            Some(version) => Some(Self { product: "valkey".to_owned(), version }),
            None => Some(Self { product: "redis".to_owned(), version: fact("redis_version")? }),
        }
    }

    fn is_older_than(&self, needed: u64) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u64>().ok());
        self.product == "redis" && major.is_some_and(|major| major < needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(product: &str, version: &str) -> Identity {
        Identity { product: product.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn a_server_is_known_by_its_information() {
        let redis = "# Server\r\nredis_version:5.0.14\r\nredis_mode:standalone\r\n";
        assert_eq!(Identity::from_info(redis), Some(identity("redis", "5.0.14")));
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n";
        assert_eq!(Identity::from_info(valkey), Some(identity("valkey", "9.1.2")));
        assert_eq!(Identity::from_info("# Server\r\n"), None);
    }

    #[test]
    fn a_server_is_known_by_its_greeting() {
        let text = |text: &str| Value::BulkString(text.into());
        let facts =
            [("server", text("redis")), ("version", text("7.0.15")), ("proto", Value::Int(3))];
        let flat = facts.iter().flat_map(|(name, value)| [text(name), value.clone()]).collect();
        let map = facts.iter().map(|(name, value)| (text(name), value.clone())).collect();
        for answer in [Value::Array(flat), Value::Map(map)] {
            assert_eq!(Identity::from_hello(answer), Some(identity("redis", "7.0.15")));
        }
        assert_eq!(Identity::from_hello(Value::Okay), None);
    }

    #[test]
    fn only_an_old_redis_is_too_old() {
        for (product, version, too_old) in [
            ("redis", "4.0.14", true),
            ("redis", "5.0.0", false),
            ("redis", "7.0.15", false),
            ("redis", "255.255.255", false),
            ("redis", "unstable", false),
            ("valkey", "1.0.0", false),
        ] {
            assert_eq!(
                identity(product, version).is_older_than(NEEDED.0),
                too_old,
                "{product} {version}"
            );
        }
    }
}
