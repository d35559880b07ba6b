//! A running server, and the switches that a test may turn.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::timeout;

use super::ports::Port;
use super::process::ServerProcess;
use super::start::{StartError, Started, log_tail, start, start_again};
use super::{BrokerError, Layout, ProbeError, Server};

/// How long a server may take to end after SIGTERM, and the kernel to stop it after SIGSTOP.
const SIGNAL_WITHIN: Duration = Duration::from_secs(15);
/// How long a server that sends its clients away may take to end.
const LAME_DUCK_WITHIN: Duration = Duration::from_secs(60);
/// How many ports to try when somebody else is quicker.
const PORTS: usize = 10;

/// A real server on a port of 127.0.0.1, for one test.
///
/// It is controlled by its process handle, from any runtime. Dropping it kills the server and removes
/// its folder; if the whole test process is killed, the kernel kills the server too (on Linux, where
/// `setpriv` is installed).
#[derive(Debug)]
pub struct Broker {
    server: Box<dyn Server>,
    name: String,
    /// Dropped before the port and the folder: the last handle kills the process and waits for it.
    run: Mutex<Run>,
    /// Held by the operations that start and end the server, so that they come one after the other.
    operation: tokio::sync::Mutex<()>,
    layout: Layout,
    _port: Port,
    folder: TempDir,
}

/// The server's process, if it has one.
#[derive(Debug)]
struct Run {
    process: Option<Arc<ServerProcess>>,
    paused: bool,
}

impl Run {
    fn of(started: Started) -> Self {
        Self { process: Some(Arc::new(started.process)), paused: false }
    }
}

/// What a [`Broker`]'s server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// It runs.
    Running,
    /// It is frozen: connections stay open and new ones are accepted, but nothing is answered.
    Paused,
    /// It does not run: connections are refused.
    Stopped,
}

impl Broker {
    /// Starts a server of any kind on a free port and waits until it answers.
    ///
    /// # Errors
    ///
    /// The program is missing, the server ends by itself, or it doesn't answer within 30 s. The error
    /// shows the end of the server's log.
    pub async fn launch(server: impl Server) -> Result<Self, BrokerError> {
        let mut attempt = 1;
        loop {
            let port = Port::take()?;
            let folder = tempfile::Builder::new()
                .prefix("backplane-broker-")
                .tempdir()
                .map_err(BrokerError::Folder)?;
            let layout = Layout::new(folder.path(), port.number());
            match start(&server, &layout).await {
                Ok(started) => {
                    return Ok(Self {
                        name: started.version.to_string(),
                        server: Box::new(server),
                        run: Mutex::new(Run::of(started)),
                        operation: tokio::sync::Mutex::default(),
                        layout,
                        _port: port,
                        folder,
                    });
                }
                Err(StartError::AddressInUse(_)) if attempt < PORTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the server says that it is: `redis 7.0.15`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL for clients: `redis://127.0.0.1:17342`, with user and password if there are any.
    pub fn url(&self) -> String {
        self.server.url(self.layout.address())
    }

    /// The same URL for another port: that of a proxy in front of the server, or one where nothing is.
    pub fn url_at(&self, port: u16) -> String {
        let mut address = self.layout.address();
        address.set_port(port);
        self.server.url(address)
    }

    /// The port, which stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.layout.address().port()
    }

    /// The address, which stays the same over restarts.
    pub fn address(&self) -> SocketAddr {
        self.layout.address()
    }

    /// The certificate to trust (PEM), if the server speaks TLS.
    pub fn ca_certificate(&self) -> Option<PathBuf> {
        self.server.has_tls().then(|| self.layout.ca_certificate())
    }

    /// The credentials file to log in with, if the server wants one.
    pub fn credentials_file(&self) -> Option<PathBuf> {
        self.server.has_credentials().then(|| self.layout.credentials())
    }

    /// The server's private folder, with its configuration and its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of the server's log, over all its starts.
    pub fn log_tail(&self) -> String {
        log_tail(&self.layout.log(), 0)
    }

    /// The process, while the server runs or is paused.
    pub fn pid(&self) -> Option<u32> {
        self.running().map(|process| process.pid())
    }

    /// What the server is doing.
    pub fn state(&self) -> BrokerState {
        match (self.running(), self.run().paused) {
            (None, _) => BrokerState::Stopped,
            (Some(_), true) => BrokerState::Paused,
            (Some(_), false) => BrokerState::Running,
        }
    }

    /// Logs in on a connection of its own and asks for a sign of life. A paused server gives none until
    /// it is resumed.
    ///
    /// # Errors
    ///
    /// No connection, a refusal, or no answer within that time.
    pub async fn probe(&self, within: Duration) -> Result<(), ProbeError> {
        match timeout(within, self.server.probe(self.address())).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(ProbeError::Silent(within)),
        }
    }

    /// Starts the server again, on the same port and empty, and waits until it answers.
    ///
    /// # Errors
    ///
    /// It runs already, ends by itself, or doesn't answer within 30 s.
    pub async fn start(&self) -> Result<(), BrokerError> {
        let _one = self.operation.lock().await;
        if self.running().is_some() {
            let name = self.name.clone();
            return Err(BrokerError::AlreadyRunning { name });
        }
        self.start_again().await
    }

    /// Asks the server to end (SIGTERM) and waits until it has. A paused server is resumed first; one
    /// that doesn't run is left alone.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Unresponsive`] if it takes longer than 15 s; it is killed then.
    pub async fn stop(&self) -> Result<(), BrokerError> {
        let _one = self.operation.lock().await;
        self.end(Signal::TERM).await
    }

    /// Kills the server (SIGKILL) and waits until it is gone. One that doesn't run is left alone.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Unresponsive`] if the kernel takes longer than 15 s.
    pub async fn kill(&self) -> Result<(), BrokerError> {
        let _one = self.operation.lock().await;
        self.end(Signal::KILL).await
    }

    /// Asks a NATS server to send its clients away and end (SIGUSR2), and waits until it has. One that doesn't
    /// run is left alone.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Unresponsive`] if it takes longer than 60 s; it is killed then.
    pub async fn lame_duck(&self) -> Result<(), BrokerError> {
        let _one = self.operation.lock().await;
        self.end_within(Signal::USR2, LAME_DUCK_WITHIN).await
    }

    /// [`stop`](Self::stop), then [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// Those of both.
    pub async fn restart(&self) -> Result<(), BrokerError> {
        let _one = self.operation.lock().await;
        self.end(Signal::TERM).await?;
        self.start_again().await
    }

    /// Freezes the server (SIGSTOP) and waits until it is frozen: its connections stay open, and nothing
    /// is answered.
    ///
    /// # Errors
    ///
    /// It doesn't run.
    pub async fn pause(&self) -> Result<(), BrokerError> {
        const OPERATION: &str = "pause";
        let _one = self.operation.lock().await;
        let process = self.running().ok_or_else(|| self.not_running(OPERATION))?;
        if !process.signal(Signal::STOP) {
            return Err(self.not_running(OPERATION));
        }
        match timeout(SIGNAL_WITHIN, process.stopped()).await {
            Ok(Ok(())) => {
                self.run().paused = true;
                Ok(())
            }
            Ok(Err(_)) => Err(self.not_running(OPERATION)),
            Err(_) => Err(self.unresponsive(OPERATION, SIGNAL_WITHIN)),
        }
    }

    /// Lets a paused server go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// It doesn't run.
    pub fn resume(&self) -> Result<(), BrokerError> {
        let process = self.running();
        if process.is_some_and(|process| process.signal(Signal::CONT)) {
            self.run().paused = false;
            Ok(())
        } else {
            Err(self.not_running("resume"))
        }
    }

    /// Changes the server's configuration and has it read again (SIGHUP), for servers that do that.
    /// It may take a moment. The next start makes the configuration anew.
    ///
    /// # Errors
    ///
    /// It doesn't run, or its configuration can't be read or written.
    pub fn reload(&self, change: impl FnOnce(String) -> String) -> Result<(), BrokerError> {
        let path = self.layout.config();
        let config = std::fs::read_to_string(&path).map_err(BrokerError::Folder)?;
        std::fs::write(&path, change(config)).map_err(BrokerError::Folder)?;
        match self.running() {
            Some(process) if process.signal(Signal::HUP) => Ok(()),
            _ => Err(self.not_running("reload")),
        }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Option<Arc<ServerProcess>> {
        let process = self.run().process.clone()?;
        process.exit_status().is_none().then_some(process)
    }

    fn not_running(&self, operation: &'static str) -> BrokerError {
        BrokerError::NotRunning { name: self.name.clone(), operation }
    }

    fn unresponsive(&self, operation: &'static str, within: Duration) -> BrokerError {
        BrokerError::Unresponsive {
            name: self.name.clone(),
            operation,
            within,
            log: self.log_tail(),
        }
    }

    async fn end(&self, signal: Signal) -> Result<(), BrokerError> {
        self.end_within(signal, SIGNAL_WITHIN).await
    }

    async fn end_within(&self, signal: Signal, within: Duration) -> Result<(), BrokerError> {
        let Some(process) = self.run().process.take() else {
            return Ok(());
        };
        self.run().paused = false;
        process.signal(signal);
        process.signal(Signal::CONT); // a frozen process gets its signal only when it goes on
        match timeout(within, process.ended()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.unresponsive("end", within)), // dropping the handle kills it
        }
    }

    async fn start_again(&self) -> Result<(), BrokerError> {
        let started = start_again(&*self.server, &self.layout).await?;
        *self.run() = Run::of(started);
        Ok(())
    }
}
