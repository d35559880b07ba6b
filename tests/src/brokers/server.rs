//! What a [`Broker`](super::Broker) must know of the kind of server that it runs.

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{BrokerError, ProbeError, Program};

/// One kind of server, set up in one way.
#[async_trait]
pub trait Server: fmt::Debug + Send + Sync + 'static {
    /// The program to run.
    fn program(&self) -> Program;

    /// Writes what the server reads into its folder, and answers the program's arguments. Called at
    /// each start; the data folder is empty then, unless the server [keeps](Self::keeps_data) it.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Folder`] if the folder can't be written.
    fn prepare(&self, layout: &Layout) -> Result<Vec<OsString>, BrokerError>;

    /// Connects, logs in, asks for a sign of life and for the version. The caller bounds the time.
    ///
    /// # Errors
    ///
    /// What the server answered, or why it did not.
    async fn probe(&self, address: SocketAddr) -> Result<Version, ProbeError>;

    /// The URL for clients, with user and password if there are any.
    fn url(&self, address: SocketAddr) -> String;

    /// Whether the next start finds the data of the one before.
    fn keeps_data(&self) -> bool {
        false
    }

    /// True if [`Layout::ca_certificate`] is there for clients to trust.
    fn has_tls(&self) -> bool {
        false
    }

    /// True if [`Layout::credentials`] is there for clients to log in with.
    fn has_credentials(&self) -> bool {
        false
    }
}

/// What a server says that it is; displayed as `redis 7.0.15`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The software, in lower case.
    pub software: String,
    /// Its version.
    pub number: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.software, self.number)
    }
}

/// Where a server's files are, and where it listens.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
    port: u16,
}

impl Layout {
    pub(super) fn new(folder: &Path, port: u16) -> Self {
        Self { folder: folder.to_owned(), port }
    }

    /// Where the server listens: a port of 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The server's configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.join("server.conf")
    }

    /// What the server prints, over all its starts.
    pub fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The folder for the server's data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The certificate of the authority that signed the server's (PEM).
    pub fn ca_certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The server's certificate (PEM).
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// The server's private key (PEM).
    pub fn private_key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    /// A credentials file for clients.
    pub fn credentials(&self) -> PathBuf {
        self.folder.join("client.creds")
    }
}
