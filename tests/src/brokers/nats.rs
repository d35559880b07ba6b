//! NATS.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::conversation::Conversation;
use super::nats_login::{Credentials, Login};
use super::tls::Certificates;
use super::{Broker, BrokerError, Layout, ProbeError, Program, Server, Version};

/// Which NATS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NatsFlavour {
    /// NATS 2.9: what Debian 12 ships.
    Nats2_9,
    /// NATS 2.15.
    Nats2_15,
}

impl NatsFlavour {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Nats2_9, Self::Nats2_15];

    /// The name for tests and command lines: `nats2_9`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Nats2_9 => "nats2_9",
            Self::Nats2_15 => "nats2_15",
        }
    }

    const fn program(self) -> Program {
        match self {
            Self::Nats2_9 => Program::NATS_2_9,
            Self::Nats2_15 => Program::NATS_2_15,
        }
    }
}

/// How a [`Nats`] server is set up: open to everybody and without TLS, unless said otherwise.
///
/// Of [`user`](Self::user), [`token`](Self::token) and [`credentials`](Self::credentials) the last one
/// called counts.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct NatsOptions {
    login: LoginKind,
    tls: bool,
    jetstream: bool,
    max_payload: Option<u32>,
    config: Vec<String>,
    config_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default)]
enum LoginKind {
    #[default]
    Open,
    User(String, String),
    Token(String),
    Credentials,
}

impl NatsOptions {
    /// Lets in one user with this password.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = LoginKind::User(name.into(), password.into());
        self
    }

    /// Lets in whoever has this token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.login = LoginKind::Token(token.into());
        self
    }

    /// Lets in whoever has the credentials file (operator mode, with a new chain of keys):
    /// [`Broker::credentials_file`].
    pub fn credentials(mut self) -> Self {
        self.login = LoginKind::Credentials;
        self
    }

    /// Speaks TLS only, with a certificate for 127.0.0.1 from an authority of its own:
    /// [`Broker::ca_certificate`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Keeps streams, on disk and over restarts, also when it is killed.
    pub fn jetstream(mut self) -> Self {
        self.jetstream = true;
        self
    }

    /// The largest message, in bytes; the server's own default is 1 MiB.
    pub fn max_payload(mut self, bytes: u32) -> Self {
        self.max_payload = Some(bytes);
        self
    }

    /// Adds a line to the server's configuration.
    pub fn config_line(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }

    /// Adds the lines of this file, as they are at each start, if it is there then.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config_file = Some(path.into());
        self
    }
}

/// Starts NATS servers.
#[derive(Debug)]
pub struct Nats {
    flavour: NatsFlavour,
    login: Login,
    certificates: Option<Certificates>,
    jetstream: bool,
    max_payload: Option<u32>,
    config: Vec<String>,
    config_file: Option<PathBuf>,
}

impl Nats {
    /// Starts a server and waits until it has let a client in and answered `PING`.
    ///
    /// # Errors
    ///
    /// The program is missing, the server refuses its configuration, or it doesn't answer in time.
    pub async fn start(flavour: NatsFlavour, options: NatsOptions) -> Result<Broker, BrokerError> {
        let login = match options.login {
            LoginKind::Open => Login::Open,
            LoginKind::User(name, password) => Login::User { name, password },
            LoginKind::Token(token) => Login::Token(token),
            LoginKind::Credentials => Login::Credentials(Box::new(Credentials::generate()?)),
        };
        let server = Self {
            flavour,
            login,
            certificates: options.tls.then(Certificates::generate).transpose()?,
            jetstream: options.jetstream,
            max_payload: options.max_payload,
            config: options.config,
            config_file: options.config_file,
        };
        Broker::launch(server).await
    }

    fn config(&self, layout: &Layout) -> Result<String, BrokerError> {
        let mut text = format!("listen: \"{}\"\n", layout.address());
        if let Some(bytes) = self.max_payload {
            // The server keeps at least one message per connection in memory, and wants to be told.
            let pending = u64::from(bytes).max(64 * 1024 * 1024);
            text += &format!("max_payload: {bytes}\nmax_pending: {pending}\n");
        }
        if self.certificates.is_some() {
            let tls =
                json!({ "cert_file": layout.certificate(), "key_file": layout.private_key() });
            text += &format!("tls: {tls}\n");
        }
        if self.jetstream {
            let folder = json!(layout.data());
            text += &format!("jetstream {{ store_dir: {folder} }}\n");
        }
        text += &self.login.config();
        for line in &self.config {
            text += line;
            text += "\n";
        }
        if let Some(path) = self.config_file.as_ref().filter(|path| path.is_file()) {
            text += &fs::read_to_string(path).map_err(BrokerError::Folder)?;
        }
        Ok(text)
    }
}

#[async_trait]
impl Server for Nats {
    fn program(&self) -> Program {
        self.flavour.program()
    }

    fn prepare(&self, layout: &Layout) -> Result<Vec<OsString>, BrokerError> {
        if let Some(certificates) = &self.certificates {
            certificates.write(layout)?;
        }
        if let Login::Credentials(credentials) = &self.login {
            fs::write(layout.credentials(), credentials.file()?).map_err(BrokerError::Folder)?;
        }
        fs::write(layout.config(), self.config(layout)?).map_err(BrokerError::Folder)?;
        Ok(vec!["--config".into(), layout.config().into()])
    }

    async fn probe(&self, address: SocketAddr) -> Result<Version, ProbeError> {
        let mut server = Conversation::connect(address).await?;
        let greeting = server.line().await?;
        let info: Value = greeting
            .strip_prefix("INFO ")
            .and_then(|json| serde_json::from_str(json).ok())
            .ok_or_else(|| ProbeError::Unexpected(greeting.clone()))?;
        let number = info["version"].as_str().unwrap_or("of an unknown version").to_owned();
        if let Some(certificates) = &self.certificates {
            server = server.encrypt(certificates).await?;
        }
        let mut connect = self.login.connect(info["nonce"].as_str().unwrap_or_default());
        connect["verbose"] = false.into();
        connect["pedantic"] = false.into();
        connect["lang"] = "rust".into();
        connect["version"] = env!("CARGO_PKG_VERSION").into();
        server.send(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await?;
        loop {
            match server.line().await?.as_str() {
                "PONG" => break,
                line if line.starts_with("INFO ") => {} // the server may repeat it after the login
                line => return Err(ProbeError::Unexpected(line.to_owned())),
            }
        }
        Ok(Version { software: "nats".to_owned(), number })
    }

    fn url(&self, address: SocketAddr) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        match &self.login {
            Login::Open | Login::Credentials(_) => format!("nats://{address}"),
            Login::User { name, password } => {
                format!("nats://{}:{}@{address}", encode(name), encode(password))
            }
            Login::Token(token) => format!("nats://{}@{address}", encode(token)),
        }
    }

    fn keeps_data(&self) -> bool {
        self.jetstream
    }

    fn has_tls(&self) -> bool {
        self.certificates.is_some()
    }

    fn has_credentials(&self) -> bool {
        matches!(self.login, Login::Credentials(_))
    }
}
