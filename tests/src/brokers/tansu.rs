//! Tansu, which speaks Kafka's protocol.

use std::ffi::OsString;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::binaries::version_of;
use super::{Broker, BrokerError, Layout, ProbeError, Program, Server, Version};

/// A request for the versions of the protocol, and the length before it: key 18, version 0, of nobody.
const ASK: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xFF, 0xFF];

/// The most that is an answer to it.
const LONGEST: u32 = 64 * 1024;

/// Starts Tansu servers: one broker, which keeps everything in memory.
#[derive(Debug, Default)]
pub struct Tansu {
    /// Where clients are told to connect to, if not to the server itself.
    advertised: Option<SocketAddr>,
    /// Whether it asks everybody for a login.
    asks_for_login: bool,
}

impl Tansu {
    /// The name for tests and command lines.
    pub const LABEL: &str = "tansu";

    /// Starts a server and waits until it has answered which versions of the protocol it speaks.
    ///
    /// # Errors
    ///
    /// The program is missing, or doesn't answer in time.
    pub async fn start() -> Result<Broker, BrokerError> {
        Broker::launch(Self::default()).await
    }

    /// The same, but it asks for a login by SASL, and knows no user: everybody is refused.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start).
    pub async fn that_knows_nobody() -> Result<Broker, BrokerError> {
        Broker::launch(Self { asks_for_login: true, ..Self::default() }).await
    }

    /// The same, for clients that are to connect to something in front of it.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start).
    pub async fn behind(advertised: SocketAddr) -> Result<Broker, BrokerError> {
        Broker::launch(Self { advertised: Some(advertised), ..Self::default() }).await
    }
}

#[async_trait]
impl Server for Tansu {
    fn program(&self) -> Program {
        Program::TANSU
    }

    fn prepare(&self, layout: &Layout) -> Result<Vec<OsString>, BrokerError> {
        let here = format!("tcp://{}", layout.address());
        let advertised = format!("tcp://{}", self.advertised.unwrap_or(layout.address()));
        let arguments = [
            "broker",
            "--listener-url",
            &here,
            "--advertised-listener-url",
            &advertised,
            "--storage-engine",
            "memory://tansu/",
        ];
        let login = self.asks_for_login.then_some("--authentication");
        Ok(arguments.into_iter().chain(login).map(OsString::from).collect())
    }

    async fn probe(&self, address: SocketAddr) -> Result<Version, ProbeError> {
        let mut server = TcpStream::connect(address).await?;
        server.write_all(&ASK).await?;
        let length = server.read_u32().await?;
        let number = server.read_u32().await?;
        if number != 7 || length > LONGEST {
            return Err(ProbeError::Unexpected(format!("{length} bytes in answer to {number}")));
        }
        // The protocol has no word for the version of the server.
        let program = self.program().find().ok();
        let version = program.and_then(|program| version_of(&program)).unwrap_or_default();
        let number = version.split_whitespace().next_back().unwrap_or("of an unknown version");
        Ok(Version { software: "tansu".to_owned(), number: number.to_owned() })
    }

    fn url(&self, address: SocketAddr) -> String {
        format!("kafka://{address}")
    }
}
