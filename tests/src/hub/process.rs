//! A node with a client, and with a crowd, in a process of its own, so that it can be killed.

use std::{
    io::{BufRead, BufReader},
    process::{ChildStdin, ChildStdout, ExitCode},
};

use backplane_hub::{Link, connect};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::{
    io::AsyncReadExt,
    sync::mpsc::{Receiver, Sender, channel},
};

use super::{Client, Crowd, soon};
use crate::brokers::ServerProcess;

/// What the process is told at its start, as JSON in its environment.
const TASK: &str = "BACKPLANE_HUB_NODE";

/// As many lines as it writes.
const LINES: usize = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Task {
    url: String,
    hub: String,
    crowd: Crowd,
}

/// One line that the process writes.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// Its node, and the connection of its client, which everybody reaches.
    Serves { node: String, client: String },
    /// The client was told this first.
    Told(String),
}

/// A node with a client, and with a crowd. Dropping it kills it.
#[derive(Debug)]
pub struct HubProcess {
    process: ServerProcess,
    _input: ChildStdin,
    lines: Receiver<Line>,
    /// Its node's id, in words.
    pub node: String,
    /// The client's connection.
    pub client: String,
}

impl HubProcess {
    /// Starts this program once more, whose `main` calls [`serve_hub`] first, and waits until its client is
    /// connected to the hub of this name, and the crowd is.
    pub async fn start(url: &str, hub: &str, crowd: Crowd) -> Self {
        let task = Task { url: url.to_owned(), hub: hub.to_owned(), crowd };
        let task = serde_json::to_string(&task).unwrap();
        let program = std::env::current_exe().unwrap();
        let started = ServerProcess::talk(&program, |command| {
            command.env(TASK, task);
        });
        let (process, pipes) = started.await.unwrap();
        let (tell, mut lines) = channel(LINES);
        let output = pipes.output.unwrap();
        std::thread::spawn(move || read(output, &tell));
        let serves = soon("a node's process to serve", lines.recv()).await;
        let Some(Line::Serves { node, client }) = serves else { panic!("it serves: {serves:?}") };
        Self { process, _input: pipes.input.unwrap(), lines, node, client }
    }

    /// Waits until its client was told something for the first time, and says what.
    pub async fn told(&mut self) -> String {
        match soon("the client is told something", self.lines.recv()).await {
            Some(Line::Told(target)) => target,
            other => panic!("the client is told something: {other:?}"),
        }
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub async fn kill(&self) {
        self.process.signal(Signal::KILL);
        soon("the end of a killed process", self.process.ended()).await;
    }
}

/// Ends with the process, whose output ends then, or with who listens.
fn read(output: ChildStdout, tell: &Sender<Line>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        // The last line of one that was killed may be half a line.
        if let Ok(line) = serde_json::from_str(&line)
            && tell.blocking_send(line).is_err()
        {
            return;
        }
    }
}

/// Call it first in `main` of a program that starts a [`HubProcess`]: where this is one, it serves until it is
/// killed, or until who started it is gone, and the exit code is to be returned.
#[must_use]
pub fn serve_hub() -> Option<ExitCode> {
    let task: Task = serde_json::from_str(&std::env::var(TASK).ok()?).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (mut input, mut word) = (tokio::io::stdin(), [0]);
        tokio::select! {
            () = serve(task) => {}
            // Nothing is ever said: this is the end of whoever would.
            _ = input.read(&mut word) => {}
        }
    });
    // A read of standard input cannot be called off.
    runtime.shutdown_background();
    Some(ExitCode::SUCCESS)
}

async fn serve(task: Task) {
    let backplane = connect(task.url).await.unwrap();
    soon("the link", backplane.link().wait_for(Link::is_up)).await.unwrap();
    let hub = Crowd::hub(&task.hub, backplane);
    let _crowd = task.crowd.gather(&hub).await;
    let mut client = Client::open(&hub).await;
    tell(&Line::Serves { node: hub.node().to_string(), client: client.id.to_string() });
    tell(&Line::Told(client.next().await.unwrap().target));
    std::future::pending().await
}

fn tell(line: &Line) {
    println!("{}", serde_json::to_string(line).unwrap());
}
