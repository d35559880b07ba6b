//! The server that the functional tests of the original's clients expect: its hubs, its raw connection,
//! and the pages around them, with the exact names, texts and status codes.
//!
//! ```text
//! cargo run --release -p functional -- --listen 127.0.0.1:5000
//! cargo run --release -p functional -- --nodes 2 --backplane redis://127.0.0.1:6379
//! ```
//!
//! With more than one node a front door hands each request to the next of them, whoever it comes from.

mod cookies;
mod cors;
mod echo;
mod hub;
mod node;
mod pages;
mod path;
mod secrets;
mod values;

use std::{error::Error, net::SocketAddr, process::ExitCode};

use clap::Parser;

use crate::{pages::Redirects, secrets::Secrets};

/// The server of the functional tests.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the server listens; with several nodes, node i listens on the port i above.
    #[arg(long, default_value = "127.0.0.1:5000")]
    listen: SocketAddr,

    /// How many nodes run in this process. A single one listens on the address itself.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,

    /// What connects the nodes: memory:, redis://…, or nats://…
    #[arg(long, default_value = "memory:")]
    backplane: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("functional: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let secrets = Secrets::random()?;
    let redirects = Redirects::default();

    let mut nodes = Vec::new();
    for number in 1..=arguments.nodes {
        let address = front_door::place(arguments.listen, arguments.nodes, number)?;
        nodes.push(node::start(address, &arguments.backplane, &secrets, &redirects).await?);
    }
    let open = front_door::open(arguments.listen, nodes).await?;
    println!("listens on http://{open}");
    front_door::asked_to_stop().await?;
    Ok(())
}
