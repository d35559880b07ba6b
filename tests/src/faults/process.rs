//! A node in a process of its own, so that it can be killed and paused.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::ChildStdin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    Load,
    clock::Clock,
    journal::{Journal, Pages},
    member::Role,
};
use crate::{
    brokers::ServerProcess,
    kit::{Doing, Layer, Outcome, SOON, Stop, within},
};

/// What the process is told at its start, as JSON in its environment.
pub(super) const TASK: &str = "BACKPLANE_FAULT_NODE";

/// Whether this program serves as a node when it is asked to: see [`super::serve_node`].
pub(super) static SERVES: AtomicBool = AtomicBool::new(false);

/// How the node is to be, and what it publishes once it is told to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) url: String,
    pub(super) layer: String,
    pub(super) run: u64,
    pub(super) begun_unix_us: u64,
    pub(super) index: usize,
    pub(super) nodes: usize,
    /// The names of groups.
    pub(super) topics: Vec<String>,
    pub(super) publishes: bool,
    pub(super) receives: bool,
    pub(super) rate: f64,
    pub(super) size: usize,
}

/// One line that the process writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// Which node it is.
    Node(String),
    /// When its interest was confirmed.
    Confirmed(u64),
    /// What is new.
    Pages(Box<Pages>),
    /// It has stopped, and everything is told.
    Done,
    /// It can't go on.
    Failed(String),
}

/// What is known of it so far.
#[derive(Debug, Default)]
struct Known {
    id: OnceLock<String>,
    failed: Mutex<Option<String>>,
}

/// A node as a process. It publishes a numbered load when told to, and tells what it hears. Dropping
/// it kills it.
#[derive(Debug)]
pub struct NodeProcess {
    process: ServerProcess,
    input: Mutex<ChildStdin>,
    known: Arc<Known>,
    ended: watch::Receiver<bool>,
    done: watch::Receiver<bool>,
}

impl NodeProcess {
    /// Starts it and waits until it has said which node it is. `journal` gets its notes,
    /// and whoever listens is told when its interest is confirmed.
    pub(super) async fn start(
        task: &Task,
        journal: Arc<Journal>,
        tell_confirmed: watch::Sender<Option<u64>>,
    ) -> Outcome<Self> {
        let json = serde_json::to_string(task).doing("writing the node's task")?;
        let program = program()?;
        let (process, pipes) = ServerProcess::talk(&program, |command| {
            command.env(TASK, &json);
        })
        .await
        .doing(format!("starting {}", program.display()))?;
        let (Some(input), Some(output)) = (pipes.input, pipes.output) else {
            return Err(Stop::Broken("the node's process has no pipes".to_owned()));
        };
        let known = Arc::new(Known::default());
        let (tell_done, mut done) = watch::channel(false);
        let (tell_ended, ended) = watch::channel(false);
        let (name, noted) = (watch::Sender::new(false), Arc::clone(&known));
        let mut named = name.subscribe();
        // Ends with the process, whose output ends then.
        std::thread::Builder::new().name("node".into()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(Line::Node(id)) => {
                        noted.id.get_or_init(|| id);
                        name.send_replace(true);
                    }
                    Ok(Line::Confirmed(at)) => drop(tell_confirmed.send_replace(Some(at))),
                    Ok(Line::Pages(pages)) => journal.append(*pages),
                    Ok(Line::Done) => drop(tell_done.send_replace(true)),
                    Ok(Line::Failed(why)) => noted.fail(why),
                    // The last line of one that was killed may be half a line; programs print more.
                    Err(_) => {}
                }
            }
            tell_ended.send_replace(true);
        })?;
        let process = Self { process, input: Mutex::new(input), known, ended, done: done.clone() };
        let answer = within(SOON, "a node's process to answer", named.wait_for(|named| *named));
        if answer.await?.is_err() {
            return Err(Stop::Broken(format!("the node's process ended: {:?}", process.failure())));
        }
        done.mark_unchanged();
        Ok(process)
    }

    /// The node's id, in words.
    pub(super) fn id(&self) -> String {
        self.known.id.get().cloned().unwrap_or_default()
    }

    /// Why it could not go on.
    pub(super) fn failure(&self) -> Option<String> {
        self.known.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says a word to it: `start`, `stop` or `report`.
    pub(super) fn say(&self, word: &str) -> Outcome {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(input, "{word}").and_then(|()| input.flush()).doing("telling the node's process")
    }

    /// Tells it to stop publishing, and waits until all is told.
    ///
    /// # Errors
    ///
    /// It does not answer in time.
    pub async fn finish(&self) -> Outcome {
        self.say("stop")?;
        let mut done = self.done.clone();
        let what = "a node's process to be done";
        within(SOON * 2, what, done.wait_for(|done| *done)).await?.map(drop).doing(what)
    }

    /// Kills it (SIGKILL) and waits until all that it wrote before is noted.
    ///
    /// # Errors
    ///
    /// The kernel takes too long.
    pub async fn kill(&self) -> Outcome {
        self.process.signal(Signal::KILL);
        within(SOON, "a node's process to be gone", self.process.ended()).await?;
        let mut ended = self.ended.clone();
        let what = "the notes of a killed node";
        within(SOON, what, ended.wait_for(|ended| *ended)).await?.map(drop).doing(what)
    }

    /// Freezes it (SIGSTOP); returns when it is frozen.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub async fn pause(&self) -> Outcome {
        if !self.process.signal(Signal::STOP) {
            return Err(Stop::Broken("the node's process has ended".to_owned()));
        }
        within(SOON, "a node's process to be frozen", self.process.stopped()).await??;
        Ok(())
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn resume(&self) -> Outcome {
        match self.process.signal(Signal::CONT) {
            true => Ok(()),
            false => Err(Stop::Broken("the node's process has ended".to_owned())),
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.process.exit_status().is_some()
    }
}

impl Known {
    fn fail(&self, why: String) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

impl Task {
    pub(super) fn of(
        load: &Load,
        layer: Layer,
        role: Role,
        (run, clock): (u64, Clock),
        index: usize,
    ) -> Self {
        Self {
            url: String::new(),
            layer: layer.label().to_owned(),
            run,
            begun_unix_us: clock.begun_unix_us(),
            index,
            nodes: load.nodes,
            topics: Vec::new(),
            publishes: role.publishes(),
            receives: role.receives(),
            rate: 0.0,
            size: load.size,
        }
    }
}

/// This program, where it serves as a node; otherwise the one beside it.
fn program() -> Outcome<PathBuf> {
    let this = std::env::current_exe().doing("finding this program")?;
    if SERVES.load(Ordering::Acquire) {
        return Ok(this);
    }
    // Tests lie one folder deeper than programs.
    let folders = this.ancestors().skip(1).take(2);
    let beside = folders.map(|folder| folder.join("node")).find(|program| program.is_file());
    beside.ok_or_else(|| {
        Stop::Broken(
            "no program for a node: call faults::serve_node() first in main, or build \
             backplane-tests' binaries"
                .to_owned(),
        )
    })
}
