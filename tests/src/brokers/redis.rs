//! Redis, and Valkey, which speaks its language.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::conversation::Conversation;
use super::tls::Certificates;
use super::{Broker, BrokerError, Layout, ProbeError, Program, Server, Version};

/// Which server of the Redis family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisFlavour {
    /// Redis 7: RESP3, sharded Pub/Sub, TLS.
    Redis7,
    /// Valkey 9; the fetched program has no TLS.
    Valkey9,
    /// Redis 6.2: RESP3, no sharded Pub/Sub; the fetched program has no TLS.
    Redis6,
}

impl RedisFlavour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis7, Self::Valkey9, Self::Redis6];

    /// The name for tests and command lines: `redis7`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Redis7 => "redis7",
            Self::Valkey9 => "valkey9",
            Self::Redis6 => "redis6",
        }
    }

    pub(super) const fn program(self) -> Program {
        match self {
            Self::Redis7 => Program::REDIS_7,
            Self::Valkey9 => Program::VALKEY_9,
            Self::Redis6 => Program::REDIS_6,
        }
    }
}

/// How a [`Redis`] server is set up: open to everybody and without TLS, unless said otherwise.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RedisOptions {
    user: Option<String>,
    password: Option<String>,
    tls: bool,
    keeps_data: bool,
    cluster_bus: Option<u16>,
    keeps_config: bool,
    config: Vec<String>,
}

impl RedisOptions {
    /// Asks every client for this password (`requirepass`).
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.user = None;
        self.password = Some(password.into());
        self
    }

    /// Lets in one ACL user with this password, who may do everything, and nobody else.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self.password = Some(password.into());
        self
    }

    /// Speaks TLS only, with a certificate for 127.0.0.1 from an authority of its own:
    /// [`Broker::ca_certificate`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Keeps its data on disk, in an append-only file, also when it is killed.
    pub fn keep_data(mut self) -> Self {
        self.keeps_data = true;
        self
    }

    /// Is a member of a cluster, which the others reach on this port. It knows them again after a restart.
    pub(super) fn cluster_bus(mut self, port: u16) -> Self {
        self.cluster_bus = Some(port);
        self
    }

    /// Keeps what the server writes into its own configuration, as one that sentinels govern does: the next
    /// start goes on with it.
    pub fn keep_config(mut self) -> Self {
        self.keeps_config = true;
        self
    }

    /// New ones, where TLS is spoken.
    pub(super) fn certificates(&self) -> Result<Option<Certificates>, BrokerError> {
        self.tls.then(Certificates::generate).transpose()
    }

    /// Adds a line to the server's configuration; it wins over the lines before it.
    pub fn config_line(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }
}

/// Starts servers of the Redis family.
#[derive(Debug)]
pub struct Redis {
    flavour: RedisFlavour,
    options: RedisOptions,
    certificates: Option<Certificates>,
}

impl Redis {
    /// Starts a server and waits until it answers `PING`. Unless told otherwise it keeps nothing on disk, so
    /// every start finds it empty.
    ///
    /// # Errors
    ///
    /// The program is missing, the server refuses its configuration, or it doesn't answer in time.
    pub async fn start(
        flavour: RedisFlavour,
        options: RedisOptions,
    ) -> Result<Broker, BrokerError> {
        let certificates = options.certificates()?;
        Self::start_with(flavour, options, certificates).await
    }

    /// The same with these certificates, which several servers may share.
    pub(super) async fn start_with(
        flavour: RedisFlavour,
        options: RedisOptions,
        certificates: Option<Certificates>,
    ) -> Result<Broker, BrokerError> {
        Broker::launch(Self { flavour, options, certificates }).await
    }

    /// `appendfsync no` is not less than `everysec` where only processes die: the machine keeps what was handed
    /// to it. It is more, as no answer is given before that, even while the disk is slow.
    fn config(&self, layout: &Layout) -> String {
        let port = layout.address().port();
        let mut text = format!(
            "bind 127.0.0.1\n\
             dir {}\n\
             daemonize no\n\
             save \"\"\n\
             appendonly {}\n\
             appendfsync no\n",
            quoted(&layout.data().to_string_lossy()),
            if self.options.keeps_data { "yes" } else { "no" }
        );
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        if self.options.tls {
            line(format!("port 0\ntls-port {port}\ntls-auth-clients no"));
            let files = [
                ("tls-ca-cert-file", layout.ca_certificate()),
                ("tls-cert-file", layout.certificate()),
                ("tls-key-file", layout.private_key()),
            ];
            for (name, path) in files {
                line(format!("{name} {}", quoted(&path.to_string_lossy())));
            }
        } else {
            line(format!("port {port}"));
        }
        match (&self.options.user, &self.options.password) {
            (Some(user), Some(password)) => {
                let password = quoted(&format!(">{password}"));
                line(format!("user {} on {password} ~* &* +@all", quoted(user)));
                line("user default off".to_owned());
            }
            (None, Some(password)) => line(format!("requirepass {}", quoted(password))),
            (_, None) => {}
        }
        if let Some(bus) = self.options.cluster_bus {
            line(format!(
                "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {bus}\n\
                 cluster-announce-ip 127.0.0.1\nrepl-diskless-sync-delay 0"
            ));
            if self.options.tls {
                line("tls-cluster yes\ntls-replication yes".to_owned());
            }
            if let Some(password) = &self.options.password {
                line(format!("masterauth {}", quoted(password)));
            }
        }
        self.options.config.iter().cloned().for_each(line);
        text
    }
}

#[async_trait]
impl Server for Redis {
    fn program(&self) -> Program {
        self.flavour.program()
    }

    fn prepare(&self, layout: &Layout) -> Result<Vec<OsString>, BrokerError> {
        if let Some(certificates) = &self.certificates {
            certificates.write(layout)?;
        }
        if !self.options.keeps_config || !layout.config().exists() {
            fs::write(layout.config(), self.config(layout)).map_err(BrokerError::Folder)?;
        }
        Ok(vec![layout.config().into()])
    }

    async fn probe(&self, address: SocketAddr) -> Result<Version, ProbeError> {
        let mut server = Conversation::connect(address).await?;
        if let Some(certificates) = &self.certificates {
            server = server.encrypt(certificates).await?;
        }
        let login: Vec<&str> = [&self.options.user, &self.options.password]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        if !login.is_empty() {
            let words = [&["AUTH"][..], &login].concat();
            expect(&mut server, &words, "+OK").await?;
        }
        identify(&mut server).await
    }

    fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let user = self.options.user.as_deref().map(encode).unwrap_or_default();
        let password = self.options.password.as_deref().map(encode);
        let login = password.map(|password| format!("{user}:{password}@"));
        format!("{scheme}://{}{address}", login.unwrap_or_default())
    }

    fn keeps_data(&self) -> bool {
        self.options.keeps_data || self.options.cluster_bus.is_some()
    }

    fn has_tls(&self) -> bool {
        self.options.tls
    }
}

/// Asks for a sign of life, and for what the server is.
pub(super) async fn identify(server: &mut Conversation) -> Result<Version, ProbeError> {
    expect(server, &["PING"], "+PONG").await?;
    server.send(&command(&["INFO", "server"])).await?;
    let header = server.line().await?;
    let length = header
        .strip_prefix('$')
        .and_then(|length| length.parse::<u16>().ok())
        .ok_or(ProbeError::Unexpected(header))?;
    let info = server.text(length.into()).await?;
    version(&info).ok_or(ProbeError::Unexpected(info))
}

async fn expect(server: &mut Conversation, words: &[&str], answer: &str) -> Result<(), ProbeError> {
    server.send(&command(words)).await?;
    let line = server.line().await?;
    if line == answer { Ok(()) } else { Err(ProbeError::Unexpected(line)) }
}

/// A command in the Redis protocol: an array of bulk strings.
fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        // writing to a String cannot fail
        let _ = write!(text, "${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

/// What `INFO server` says the server is. Valkey also calls itself a Redis 7.2, for old clients.
fn version(info: &str) -> Option<Version> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
    };
    let (software, number) = match field("valkey_version") {
        Some(number) => ("valkey", number),
        None => ("redis", field("redis_version")?),
    };
    Some(Version { software: software.to_owned(), number })
}

/// A word of a configuration line, in quotes, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\x{byte:02x}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valkey_is_not_taken_for_a_redis() {
        let redis = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
        assert_eq!(version(redis).unwrap().to_string(), "redis 7.0.15");
        let valkey =
            "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n";
        assert_eq!(version(valkey).unwrap().to_string(), "valkey 9.1.2");
        assert_eq!(version("# Server\r\n"), None);
    }

    #[test]
    fn any_word_can_be_quoted() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(quoted("ü\n"), r#""\xc3\xbc\x0a""#);
    }
}
