//! A front door for nodes that are processes of their own: see the library.

use std::{error::Error, net::SocketAddr, process::ExitCode};

use clap::Parser;

/// Hands each request to the next node, whoever it comes from.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the door is.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Where the nodes listen: those that do not are passed over.
    #[arg(required = true, num_args = 2..)]
    nodes: Vec<SocketAddr>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("front-door: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Arguments { listen, nodes } = Arguments::parse();
    let open = front_door::open(listen, nodes).await?;
    println!("listens on http://{open}");
    front_door::asked_to_stop().await?;
    Ok(())
}
