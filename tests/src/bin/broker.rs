//! Starts one of the suite's brokers by hand, prints the URL by which nodes join it, and keeps it until it
//! is told to end:
//!
//! ```text
//! cargo run -p backplane-tests --bin broker -- redis7
//! ```
//!
//! Any transport of `compare --list` will do. Lines on standard input make it fail and return: `stop`,
//! `kill`, `start`, `restart`, `pause`, `resume`; where there are several servers also `failover` and
//! `roll`. Each is answered with a line when it is done.

use std::{error::Error, future::pending, process::ExitCode};

use backplane_tests::{
    faults::Transport,
    kit::{Fixture, Outcome, Stop},
};
use tokio::io::{AsyncBufReadExt, BufReader};

fn main() -> ExitCode {
    let ended = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(hold());
        // A read of standard input cannot be called off.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn hold() -> Result<(), Box<dyn Error>> {
    let label = std::env::args().nth(1).unwrap_or_default();
    let Some(transport) = Transport::named(&label) else {
        let labels: Vec<&str> = Transport::ALL.iter().map(|it| it.label()).collect();
        return Err(format!("name a broker: {}", labels.join(", ")).into());
    };
    let medium = transport.start().await.map_err(said)?;
    println!("{} {}", medium.name(), medium.url(&[]).map_err(said)?);
    let processes: Vec<String> = medium.processes().iter().map(u32::to_string).collect();
    println!("process {}; Ctrl-C ends it", processes.join(", "));
    tokio::select! {
        () = terminated() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        done = obey(&*medium) => done,
    }
}

/// Does what standard input says; once that has ended, only waits.
async fn obey(medium: &dyn Fixture) -> Result<(), Box<dyn Error>> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match run(medium, line.trim()).await {
            Some(Ok(())) => println!("done: {}", line.trim()),
            Some(Err(stop)) => println!("failed: {}: {}", line.trim(), said(stop)),
            None => println!(
                "unknown: {line}; say stop, kill, start, restart, pause, resume, failover or roll"
            ),
        }
    }
    pending().await
}

async fn run(medium: &dyn Fixture, order: &str) -> Option<Outcome> {
    Some(match order {
        "stop" => medium.stop().await,
        "kill" => medium.kill().await,
        "start" => medium.start().await,
        "restart" => match medium.stop().await {
            Ok(()) => medium.start().await,
            Err(stop) => Err(stop),
        },
        "pause" => medium.pause().await,
        "resume" => medium.resume().await,
        "failover" => medium.fail_over().await,
        "roll" => medium.roll().await,
        _ => return None,
    })
}

fn said(stop: Stop) -> String {
    match stop {
        Stop::Broken(text) | Stop::NotApplicable(text) | Stop::NotPromised(text) => text,
        other => format!("{other:?}"),
    }
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => pending().await,
    }
}
