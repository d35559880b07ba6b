//! What can go wrong with a broker, said so that a person knows what to do next.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A broker could not be started or controlled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// There is no program for this kind of server on this machine.
    #[error(
        "no program for {what} on this machine: run `tests/run --fetch`, or name one in {variable} (looked at: {})",
        looked_at.join(", ")
    )]
    ProgramMissing {
        /// The server that was wanted, such as `Redis 7`.
        what: &'static str,
        /// The environment variable that may name its program.
        variable: &'static str,
        /// Where it was looked for.
        looked_at: Vec<String>,
    },

    /// An environment variable names a program that is not there.
    #[error("{variable} names {}, which is no file: correct the variable, or unset it", path.display())]
    ProgramNotFound {
        /// The environment variable.
        variable: &'static str,
        /// What it names.
        path: PathBuf,
    },

    /// The server's private folder could not be made or written.
    #[error("cannot write the server's folder: is there room in the folder for temporary files?")]
    Folder(#[source] io::Error),

    /// No loopback port was free.
    #[error("no free port on 127.0.0.1 after {tries} tries: are other test runs still going on?")]
    NoFreePort {
        /// How many ports were tried.
        tries: usize,
    },

    /// The program could not be run at all.
    #[error("cannot run {}: is it a program for this machine?", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The server ended before it answered.
    #[error("{what} ended with {status} before it answered; its log ends with:\n{log}")]
    Ended {
        /// The server.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },

    /// The server runs, but did not answer in time.
    #[error(
        "{what} on port {port} did not answer within {within:?} ({last}); its log ends with:\n{log}"
    )]
    NotReady {
        /// The server.
        what: &'static str,
        /// The port it should listen on.
        port: u16,
        /// How long was waited.
        within: Duration,
        /// What the last attempt met.
        #[source]
        last: ProbeError,
        /// The last lines of its log.
        log: String,
    },

    /// The operation needs a server that runs.
    #[error("{name} does not run, so it cannot be asked to {operation}: call start() first")]
    NotRunning {
        /// The server.
        name: String,
        /// What was asked of it.
        operation: &'static str,
    },

    /// [`start`](super::Broker::start) was called on a server that runs.
    #[error("{name} runs already: call stop() or kill() first, or restart()")]
    AlreadyRunning {
        /// The server.
        name: String,
    },

    /// The server did not do what a signal asks for in time; it has been killed if it was asked to end.
    #[error("{name} did not {operation} within {within:?}; its log ends with:\n{log}")]
    Unresponsive {
        /// The server.
        name: String,
        /// What was asked of it.
        operation: &'static str,
        /// How long was waited.
        within: Duration,
        /// The last lines of its log.
        log: String,
    },

    /// Servers did not do together what was asked of them.
    #[error("{name} did not {operation}: {reason}")]
    Cluster {
        /// The servers.
        name: String,
        /// What was asked of them.
        operation: &'static str,
        /// What they said last.
        reason: String,
    },

    /// The certificates for a TLS server could not be made.
    #[error("cannot make the server's certificates")]
    Certificates(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The keys for a NATS server's logins could not be made.
    #[error("cannot make the server's keys")]
    Keys(#[source] nkeys::error::Error),
}

/// A server was asked, and did not answer as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The connection could not be made, or broke.
    #[error("the connection failed: {0}")]
    Connection(#[from] io::Error),

    /// The server closed the connection in the middle of a conversation.
    #[error("the server closed the connection")]
    Closed,

    /// No answer came in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),

    /// The server answered something else.
    #[error("the server answered {0:?}")]
    Unexpected(String),
}
