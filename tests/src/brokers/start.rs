//! Starting a server: an empty folder, a process, and questions until it answers.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::process::ServerProcess;
use super::{BrokerError, Layout, ProbeError, Server, Version};

/// How long a server may take to answer after its start; an idle machine needs a tenth of a second.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long one attempt at an answer may take while a server starts.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait between two attempts.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);
/// How much of a log to show in an error.
const LOG_LINES: usize = 20;

/// A server that has answered.
pub(super) struct Started {
    pub(super) process: ServerProcess,
    pub(super) version: Version,
}

/// Why a start failed, and whether trying again may help.
pub(super) enum StartError {
    /// Somebody else has the port.
    AddressInUse(BrokerError),
    Failed(BrokerError),
}

impl From<StartError> for BrokerError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::AddressInUse(error) | StartError::Failed(error) => error,
        }
    }
}

impl From<BrokerError> for StartError {
    fn from(error: BrokerError) -> Self {
        Self::Failed(error)
    }
}

/// Starts a server on a port where it ran before: the port is ours, but a socket of the last run may
/// linger on it.
pub(super) async fn start_again(
    server: &dyn Server,
    layout: &Layout,
) -> Result<Started, BrokerError> {
    let until = Instant::now() + START_WITHIN;
    loop {
        match start(server, layout).await {
            Ok(started) => return Ok(started),
            Err(StartError::AddressInUse(_)) if Instant::now() < until => {
                sleep(BETWEEN_ATTEMPTS).await
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// One attempt. A start that is cancelled leaves no process behind.
pub(super) async fn start(server: &dyn Server, layout: &Layout) -> Result<Started, StartError> {
    let program = server.program().find()?;
    let log = prepare_folder(layout, server.keeps_data()).map_err(BrokerError::Folder)?;
    let before = log.metadata().map_or(0, |metadata| metadata.len());
    let arguments = server.prepare(layout)?;
    let process = ServerProcess::spawn(&program, &arguments, log)
        .await
        .map_err(|source| BrokerError::Spawn { program, source })?;
    let version = until_ready(server, layout, &process, before).await?;
    Ok(Started { process, version })
}

/// Empties the data folder, unless it is kept, and opens the log for more.
fn prepare_folder(layout: &Layout, keeps_data: bool) -> io::Result<File> {
    let data = layout.data();
    if data.exists() && !keeps_data {
        fs::remove_dir_all(&data)?;
    }
    fs::create_dir_all(&data)?;
    File::options().create(true).append(true).open(layout.log())
}

/// Asks until there is an answer; `before` is how much of the log is about earlier starts.
async fn until_ready(
    server: &dyn Server,
    layout: &Layout,
    process: &ServerProcess,
    before: u64,
) -> Result<Version, StartError> {
    let until = Instant::now() + START_WITHIN;
    let what = server.program().what;
    loop {
        let last = tokio::select! {
            biased;
            status = process.ended() => {
                let log = log_tail(&layout.log(), before);
                let in_use = log.to_lowercase().contains("address already in use");
                let error = BrokerError::Ended { what, status, log };
                return Err(if in_use { StartError::AddressInUse(error) } else { error.into() });
            }
            answer = timeout(PROBE_WITHIN, server.probe(layout.address())) => match answer {
                Ok(Ok(version)) if process.exit_status().is_none() => return Ok(version),
                Ok(Ok(_)) => continue, // somebody else's answer
                Ok(Err(error)) => error,
                Err(_) => ProbeError::Silent(PROBE_WITHIN),
            },
        };
        if Instant::now() >= until {
            let error = BrokerError::NotReady {
                what,
                port: layout.address().port(),
                within: START_WITHIN,
                last,
                log: log_tail(&layout.log(), before),
            };
            return Err(error.into());
        }
        sleep(BETWEEN_ATTEMPTS).await;
    }
}

/// The last lines of a log, of what was written after `from` bytes.
pub(super) fn log_tail(log: &Path, from: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let new = bytes.get(usize::try_from(from).unwrap_or(0)..).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    match lines.get(first..) {
        Some(last) if !last.is_empty() => last.join("\n"),
        _ => "(it is empty)".to_owned(),
    }
}
