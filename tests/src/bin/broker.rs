//! Starts one of the suite's brokers by hand, prints its URL, and keeps it until it is told to end:
//!
//! ```text
//! cargo run -p backplane-tests --bin broker -- redis7
//! ```
//!
//! Lines on standard input make it fail and return: `stop`, `kill`, `start`, `restart`, `pause`, `resume`.
//! Each is answered with a line when it is done.

use std::error::Error;
use std::future::pending;
use std::process::ExitCode;

use backplane_tests::brokers::{
    Broker, BrokerError, Nats, NatsFlavour, NatsOptions, Redis, RedisFlavour, RedisOptions, Tansu,
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
    let broker = start(&label).await?;
    println!("{} {}", broker.name(), broker.url());
    println!("process {}; Ctrl-C ends it", broker.pid().unwrap_or_default());
    tokio::select! {
        () = terminated() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        done = obey(&broker) => done,
    }
}

/// Does what standard input says; once that has ended, only waits.
async fn obey(broker: &Broker) -> Result<(), Box<dyn Error>> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let done = match line.trim() {
            "stop" => broker.stop().await,
            "kill" => broker.kill().await,
            "start" => broker.start().await,
            "restart" => broker.restart().await,
            "pause" => broker.pause().await,
            "resume" => broker.resume(),
            other => {
                println!("unknown: {other}; say stop, kill, start, restart, pause or resume");
                continue;
            }
        };
        match done {
            Ok(()) => println!("done: {}", line.trim()),
            Err(error) => println!("failed: {}: {error}", line.trim()),
        }
    }
    pending().await
}

async fn start(label: &str) -> Result<Broker, Box<dyn Error>> {
    let redis = RedisFlavour::ALL.into_iter().find(|flavour| flavour.label() == label);
    let nats = NatsFlavour::ALL.into_iter().find(|flavour| flavour.label() == label);
    let started: Result<Broker, BrokerError> = match (redis, nats) {
        (Some(flavour), _) => Redis::start(flavour, RedisOptions::default()).await,
        (_, Some(flavour)) => Nats::start(flavour, NatsOptions::default()).await,
        (None, None) if label == Tansu::LABEL => Tansu::start().await,
        (None, None) => {
            let labels = RedisFlavour::ALL.map(RedisFlavour::label).into_iter();
            let labels = labels.chain(NatsFlavour::ALL.map(NatsFlavour::label));
            let labels: Vec<&str> = labels.chain([Tansu::LABEL]).collect();
            return Err(format!("name a broker: {}", labels.join(", ")).into());
        }
    };
    Ok(started?)
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => pending().await,
    }
}
