//! Order notifications that cross server processes.
//!
//! One command starts two nodes and a front door that hands each request to the next of them, whoever it comes
//! from. A customer who is connected to one node is told of every step that
//! another one takes:
//!
//! ```text
//! cargo run --release -p orders
//! cargo run --release -p orders -- --backplane redis://127.0.0.1:6379
//! ```

mod hub;
mod kitchen;
mod login;
mod node;
mod page;

use std::{error::Error, net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;
use login::Login;

/// Order notifications across server processes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the front door listens; node i listens on the port i above.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// How many nodes run in this process. A single one listens on the address itself.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,

    /// What connects the nodes: memory:, redis://…, or nats://…
    #[arg(long, default_value = "memory:")]
    backplane: String,

    /// The name of a single node; others are called node-1, node-2, …
    #[arg(long)]
    node_name: Option<String>,

    /// Signs logins and connections; all processes need the same. Random unless given.
    #[arg(long, env = "ORDERS_JWT_SECRET", hide_env_values = true)]
    jwt_secret: Option<String>,

    /// How long a single node says that it is going before it hands its customers over: what a load balancer
    /// takes to notice.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    notice: Duration,

    /// How long each step of an order takes.
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    step: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orders: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let login = match &arguments.jwt_secret {
        Some(secret) => Login::new(secret)?,
        None => Login::random()?,
    };
    page::fetch_client();

    let mut nodes = Vec::new();
    for number in 1..=arguments.nodes {
        let name = name(&arguments, number)?;
        let address = front_door::place(arguments.listen, arguments.nodes, number)?;
        let node =
            node::start(&name, address, &arguments.backplane, &login, arguments.step).await?;
        println!("{name} listens on http://{}", node.address);
        nodes.push(node);
    }
    let addresses = nodes.iter().map(|node| node.address).collect();
    let open = front_door::open(arguments.listen, addresses).await?;
    println!("\nOpen http://{open} in two browsers (or windows) and order something.");
    front_door::asked_to_stop().await?;
    // Those of a single node go on at those of other processes.
    let notice = (nodes.len() == 1).then_some(arguments.notice);
    for node in nodes {
        node.stop(notice).await;
    }
    Ok(())
}

/// The name of a node.
fn name(arguments: &Arguments, number: u16) -> Result<String, &'static str> {
    match &arguments.node_name {
        Some(name) if arguments.nodes == 1 => Ok(name.clone()),
        Some(_) => Err("--node-name goes with --nodes 1: one name for one node"),
        None => Ok(format!("node-{number}")),
    }
}
