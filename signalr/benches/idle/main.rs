//! What an idle connection costs: the resident memory of a server process with thousands of them, for each
//! transport, and for bare HTTP.
//!
//! `cargo bench -p backplane-signalr --bench idle`. Fails above the promised 12 KiB per connection. Without a
//! WebSocket they come on top of what the HTTP server keeps for each connection: hyper has two buffers of 8 KiB,
//! and no option for smaller ones.

mod client;

use std::{
    convert::Infallible,
    error::Error,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use axum::{body::Body, routing::get};
use backplane_hub::{ByteSize, Hub};
use backplane_memory::Medium;
use backplane_signalr::{Options, Transport, router};
use bytes::Bytes;
use client::Client;
use futures_util::{future::try_join_all, stream};
use tokio::net::TcpListener;

type Failure = Box<dyn Error + Send + Sync>;

/// In the environment of the process that serves.
const SERVES: &str = "BACKPLANE_IDLE_SERVER";

/// Connections before the measurement, for what a server allocates once.
const WARM: usize = 500;
const MEASURED: usize = 4000;
/// What each has received at the second look.
const LARGE: usize = 64 * 1024;
const PROMISED: ByteSize = ByteSize::kib(12);

fn main() -> Result<(), Failure> {
    if std::env::var_os(SERVES).is_some() {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve())
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure())
    }
}

/// Serves until the measuring process closes the standard input.
async fn serve() -> Result<(), Failure> {
    let hub = Hub::builder("idle")
        .backplane(Arc::new(Medium::new().node()))
        .method("Echo", async |text: String| text)
        .build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let silence = || async { Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()) };
    let app = axum::Router::new()
        .nest("/hub", router(&hub, Options::new()))
        .route(client::SILENCE, get(silence));
    tokio::spawn(async move { axum::serve(listener, app).await });
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Handle::current();
        // Each byte asks for a broadcast.
        while std::io::stdin().read_exact(&mut [0]).is_ok() {
            let text = "x".repeat(LARGE);
            let sent = runtime.block_on(hub.clients().all().send("Text", (text,)));
            if let Err(error) = sent {
                eprintln!("{error}");
            }
        }
    })
    .await?;
    Ok(())
}

/// What is measured; `None` is a response of bare HTTP that does not end.
const KINDS: [Option<Transport>; 4] = [
    None,
    Some(Transport::WebSockets),
    Some(Transport::ServerSentEvents),
    Some(Transport::LongPolling),
];

/// A server for each kind, so that none takes memory that another one has given back.
async fn measure() -> Result<(), Failure> {
    let mut bare = ByteSize::b(0);
    for kind in KINDS {
        let mut server = Command::new(std::env::current_exe()?)
            .env(SERVES, "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let outcome = compare(&mut server, kind).await;
        server.kill()?;
        server.wait()?;
        let costs = outcome?;
        let floor = match kind {
            None => {
                bare = costs[0];
                continue;
            }
            Some(Transport::WebSockets) => 0,
            Some(_) => bare.as_u64(),
        };
        for cost in costs {
            if cost.as_u64() > floor + PROMISED.as_u64() {
                return Err(
                    format!("an idle connection costs {cost}, promised are {PROMISED}").into()
                );
            }
        }
    }
    Ok(())
}

/// What a connection costs that is idle, and that is idle again after a message.
async fn compare(server: &mut Child, kind: Option<Transport>) -> Result<[ByteSize; 2], Failure> {
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let address = address.trim();

    let mut clients = connect(address, kind, WARM).await?;
    let before = resident(server)?;
    clients.extend(connect(address, kind, MEASURED).await?);
    let idle = per_connection(before, resident(server)?);
    let name = kind.map_or("bare HTTP", Transport::name);
    println!("{name}: {idle} for each idle connection ({MEASURED} connections)");
    if kind.is_none() {
        return Ok([idle; 2]);
    }

    if let Some(input) = &mut server.stdin {
        std::io::Write::write_all(input, b"b")?;
    }
    for client in &mut clients {
        client.next().await?;
    }
    let after = per_connection(before, resident(server)?);
    println!("{name}: {after} after a message of {} to all", ByteSize::b(LARGE as u64));
    Ok([idle, after])
}

/// New clients that have been served once.
async fn connect(
    address: &str,
    kind: Option<Transport>,
    count: usize,
) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let more = (clients.len()..count).take(100).map(|_| Client::connect(address, kind));
        clients.extend(try_join_all(more).await?);
    }
    Ok(clients)
}

/// The resident memory of a process.
fn resident(process: &Child) -> Result<ByteSize, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib = line.trim().strip_suffix(" kB").ok_or("not in kB")?;
    Ok(ByteSize::kib(kib.trim().parse()?))
}

fn per_connection(before: ByteSize, after: ByteSize) -> ByteSize {
    ByteSize::b((after.as_u64() - before.as_u64()) / MEASURED as u64)
}
