//! A child process that is waited for, can be stopped and resumed, and never outlives its handle.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::{oneshot, watch};

/// One run of a server.
///
/// A thread of its own starts the process and waits for it, so the process belongs to no runtime and
/// several runtimes may control it. Dropping the handle kills the process and waits until it is gone.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    pid: Pid,
    /// True until the process is reaped; no signal is sent without holding this, so none can reach a
    /// process that got the same number later.
    alive: Arc<Mutex<bool>>,
    ended: watch::Receiver<Option<ExitStatus>>,
    waiter: Option<JoinHandle<()>>,
}

/// The ends of a process' standard input and output that are ours, where it has any.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: Option<ChildStdout>,
}

impl ServerProcess {
    /// Starts `program`, under a guard that ends it when this process ends, where the system has one.
    /// What it prints goes to `log`.
    pub(super) async fn spawn(
        program: &Path,
        arguments: &[OsString],
        log: File,
    ) -> io::Result<Self> {
        let mut command = guarded(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Self::launch(command).await.map(|(process, _)| process)
    }

    /// Starts `program` in the same way, to talk with it; its errors go where this process' go.
    pub(crate) async fn talk(
        program: &Path,
        change: impl FnOnce(&mut Command),
    ) -> io::Result<(Self, Pipes)> {
        let mut command = guarded(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        change(&mut command);
        Self::launch(command).await
    }

    async fn launch(command: Command) -> io::Result<(Self, Pipes)> {
        let (started, when_started) = oneshot::channel();
        let (end, ended) = watch::channel(None);
        let alive = Arc::new(Mutex::new(true));
        let waiter = std::thread::Builder::new().name("broker".into()).spawn({
            let alive = Arc::clone(&alive);
            move || run(command, started, &alive, &end)
        })?;
        // The thread always answers; if it panicked, that is an error like another.
        let (pid, pipes) = when_started
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the thread that starts it is gone")))?;
        Ok((Self { pid, alive, ended, waiter: Some(waiter) }, pipes))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Sends a signal; false when the process has ended already.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let alive = lock(&self.alive);
        *alive && kill_process(self.pid, signal).is_ok()
    }

    /// How the process ended, if it has.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = ended.wait_for(Option::is_some).await.map(|status| *status);
        // The sender only goes away after it has told the status.
        status.ok().flatten().unwrap_or_default()
    }

    /// Waits until the kernel has stopped the process, after a SIGSTOP.
    pub(crate) async fn stopped(&self) -> io::Result<()> {
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(self.pid), look)?.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join(); // a panic there has been printed
        }
    }
}

/// The body of the thread: starts, tells the number, waits, tells the end.
fn run(
    mut command: Command,
    started: oneshot::Sender<io::Result<(Pid, Pipes)>>,
    alive: &Mutex<bool>,
    end: &watch::Sender<Option<ExitStatus>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error)); // nobody waits for it any more
            return;
        }
    };
    let pid = Pid::from_child(&child);
    let pipes = Pipes { input: child.stdin.take(), output: child.stdout.take() };
    if started.send(Ok((pid, pipes))).is_err() {
        let _ = child.kill(); // the start was cancelled; it may have ended by itself, too
    }
    // See the end without reaping, close the door for signals, and only then reap.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), look), Err(Errno::INTR)) {}
    let status = reap(&mut child, alive);
    end.send_replace(Some(status));
}

fn reap(child: &mut Child, alive: &Mutex<bool>) -> ExitStatus {
    let mut alive = lock(alive);
    *alive = false;
    child.wait().unwrap_or_default()
}

fn lock(alive: &Mutex<bool>) -> MutexGuard<'_, bool> {
    alive.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command that runs `program` under `setpriv --pdeathsig KILL`, if this machine has a `setpriv` that
/// knows it: then the kernel kills the server when the thread that started it dies, however the test
/// process ends.
fn guarded(program: &Path) -> Command {
    static HAS_GUARD: OnceLock<bool> = OnceLock::new();
    let guard = ["--pdeathsig", "KILL", "--"];
    let has_guard = *HAS_GUARD.get_or_init(|| {
        let trial = Command::new("setpriv").args(guard).arg("true").output();
        trial.is_ok_and(|output| output.status.success())
    });
    if !has_guard {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(guard).arg(program);
    command
}
