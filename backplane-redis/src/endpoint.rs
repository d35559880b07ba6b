//! Where the server is, and how one connection to it is opened. The parts above know neither
//! addresses nor credentials.

use std::time::Duration;

use backplane_core::{ConnectError, LinkError};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisResult,
    aio::{AsyncPushSender, MultiplexedConnection, PubSub},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::{Protocol, RedisConfig, error};

/// When an idle connection is first asked, and how often then, whether the other end is still there.
/// A second line behind the node's own probes: it ends what a lost peer would keep open.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

/// How long sent bytes may stay unacknowledged.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// One server, and who is asking.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Holds the credentials; its `Debug` hides the password.
    info: ConnectionInfo,
    /// Host and port for messages.
    address: String,
}

impl Endpoint {
    /// Reads the files that the configuration names.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, ConnectError> {
        let address = shown(&config.host, config.port);
        let info = ConnectionAddr::Tcp(config.host.clone(), config.port)
            .into_connection_info()
            .map_err(|error| ConnectError::url(error.to_string()))?;
        #[cfg(feature = "tls")]
        let info = match &config.tls {
            Some(tls) => tls.connection_info(&config.host, config.port)?,
            None => info,
        };
        let login = credentials(config.user.as_deref(), config.password.as_deref());
        let info = info.set_tcp_settings(tcp_settings()).set_redis_settings(login);
        Ok(Self { info, address })
    }

    /// The same at another address.
    pub(crate) fn at(&self, host: &str, port: u16) -> Self {
        let address = match self.info.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        Self { info: self.info.clone().set_addr(address), address: shown(host, port) }
    }

    /// The same for another user.
    pub(crate) fn with_login(&self, user: Option<&str>, password: Option<&str>) -> Self {
        let info = self.info.clone().set_redis_settings(credentials(user, password));
        Self { info, address: self.address.clone() }
    }

    /// Host and port as configured.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Opens a connection for commands; in RESP3, `on_push` gets what the server sends unasked.
    pub(crate) async fn open(
        &self,
        protocol: ProtocolVersion,
        on_push: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        // No deadlines of the client's own: the node has one for connecting and one for answers.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let config = match protocol {
            ProtocolVersion::RESP2 => config,
            _ => config.set_push_sender(on_push),
        };
        self.client(protocol)?.get_multiplexed_async_connection_with_config(&config).await
    }

    /// The same in the newest protocol that both sides may speak.
    pub(crate) async fn open_newest<P: AsyncPushSender>(
        &self,
        protocol: Protocol,
        on_push: impl Fn() -> P,
    ) -> RedisResult<(MultiplexedConnection, ProtocolVersion)> {
        let first = match protocol {
            Protocol::Resp2 => ProtocolVersion::RESP2,
            Protocol::Auto | Protocol::Resp3 => ProtocolVersion::RESP3,
        };
        match self.open(first, on_push()).await {
            Err(error) if protocol == Protocol::Auto && error::is_unknown_command(&error) => {
                let version = ProtocolVersion::RESP2;
                Ok((self.open(version, on_push()).await?, version))
            }
            opened => Ok((opened?, first)),
        }
    }

    /// Opens a connection for subscriptions in RESP2, which takes no other commands.
    pub(crate) async fn open_pubsub(&self) -> RedisResult<PubSub> {
        self.client(ProtocolVersion::RESP2)?.get_async_pubsub().await
    }

    /// Why there is no connection.
    pub(crate) fn failed(&self, error: &redis::RedisError) -> LinkError {
        error::connecting(&self.address, error)
    }

    fn client(&self, protocol: ProtocolVersion) -> RedisResult<Client> {
        let settings = self.info.redis_settings().clone().set_protocol(protocol);
        Client::open(self.info.clone().set_redis_settings(settings))
    }
}

fn tcp_settings() -> TcpSettings {
    let (idle, interval) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    settings
}

/// Host and port for messages.
pub(crate) fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn credentials(user: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    // A greeting of one command only: a server that answers with an error and hangs up, as a full one
    // does, would be taken for one that only hangs up.
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    match (user, password) {
        (None, None) => info,
        (None, Some(password)) => info.set_password(password),
        // A user without a password still has to say who it is; such a user takes any.
        (Some(user), password) => {
            info.set_username(user).set_password(password.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_password() {
        let config = RedisConfig::from_url("redis://ann:s3cret@localhost").unwrap();
        let shown = format!("{:?}", Endpoint::new(&config).unwrap());
        assert!(shown.contains("ann") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        let address = |url| {
            let config = RedisConfig::from_url(url).unwrap();
            Endpoint::new(&config).unwrap().address().to_owned()
        };
        assert_eq!(address("redis://[::1]:7000"), "[::1]:7000");
        assert_eq!(address("redis://cache"), "cache:6379");
    }
}
