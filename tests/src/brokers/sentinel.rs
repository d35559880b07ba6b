//! Sentinels, which watch over a master of the Redis family and let a replica take its place.

use std::{ffi::OsString, fs, net::SocketAddr};

use async_trait::async_trait;

use super::{
    Broker, BrokerError, Layout, ProbeError, Program, RedisFlavour, Server, Version,
    conversation::Conversation,
    redis::{identify, quoted},
};

/// What sentinels call the master and its replicas.
pub const SERVICE: &str = "main";
/// How many sentinels must agree that a master is gone.
const QUORUM: usize = 2;

/// Starts sentinels. What they find out about their servers outlives a restart.
#[derive(Debug)]
pub struct Sentinel {
    flavour: RedisFlavour,
    master: SocketAddr,
    password: Option<String>,
}

impl Sentinel {
    /// Starts a sentinel for this master, and its replicas, which log in with that password. A server that
    /// is silent for a second is taken for dead.
    ///
    /// # Errors
    ///
    /// The program is missing, or it does not answer in time.
    pub async fn start(
        flavour: RedisFlavour,
        master: SocketAddr,
        password: Option<&str>,
    ) -> Result<Broker, BrokerError> {
        Broker::launch(Self { flavour, master, password: password.map(str::to_owned) }).await
    }

    fn config(&self, layout: &Layout) -> String {
        let (host, port) = (self.master.ip(), self.master.port());
        let mut text = format!(
            "bind 127.0.0.1\n\
             port {}\n\
             dir {}\n\
             daemonize no\n\
             sentinel monitor {SERVICE} {host} {port} {QUORUM}\n\
             sentinel down-after-milliseconds {SERVICE} 1000\n\
             sentinel failover-timeout {SERVICE} 5000\n\
             sentinel parallel-syncs {SERVICE} 2\n",
            layout.address().port(),
            quoted(&layout.data().to_string_lossy()),
        );
        if let Some(password) = &self.password {
            text += &format!("sentinel auth-pass {SERVICE} {}\n", quoted(password));
        }
        text
    }
}

#[async_trait]
impl Server for Sentinel {
    fn program(&self) -> Program {
        self.flavour.program()
    }

    fn prepare(&self, layout: &Layout) -> Result<Vec<OsString>, BrokerError> {
        if !layout.config().exists() {
            fs::write(layout.config(), self.config(layout)).map_err(BrokerError::Folder)?;
        }
        Ok(vec![layout.config().into(), "--sentinel".into()])
    }

    async fn probe(&self, address: SocketAddr) -> Result<Version, ProbeError> {
        identify(&mut Conversation::connect(address).await?).await
    }

    fn url(&self, address: SocketAddr) -> String {
        format!("redis://{address}")
    }
}
