//! What an idle connection costs: the resident memory of a server process with thousands of them.
//!
//! `cargo bench -p backplane-signalr --bench idle`. Fails above the promised 12 KiB per connection.

use std::{
    error::Error,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use backplane_hub::{ByteSize, Hub};
use backplane_memory::Medium;
use backplane_signalr::{Options, router};
use futures_util::{SinkExt, StreamExt, future::try_join_all};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

type Failure = Box<dyn Error + Send + Sync>;
type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

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
    let app = axum::Router::new().nest("/hub", router(&hub, Options::new()));
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

async fn measure() -> Result<(), Failure> {
    let mut server = Command::new(std::env::current_exe()?)
        .env(SERVES, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let outcome = compare(&mut server).await;
    server.kill()?;
    server.wait()?;
    outcome
}

async fn compare(server: &mut Child) -> Result<(), Failure> {
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let address = address.trim();

    let mut clients = connect(address, WARM).await?;
    let before = resident(server)?;
    clients.extend(connect(address, MEASURED).await?);
    let idle = per_connection(before, resident(server)?);
    println!("idle: {idle} per connection ({MEASURED} connections)");

    if let Some(input) = &mut server.stdin {
        std::io::Write::write_all(input, b"b")?;
    }
    for client in &mut clients {
        next(client).await?;
    }
    let after = per_connection(before, resident(server)?);
    println!(
        "idle, after a message of {} to all: {after} per connection",
        ByteSize::b(LARGE as u64)
    );

    for cost in [idle, after] {
        if cost > PROMISED {
            return Err(format!("an idle connection costs {cost}, promised are {PROMISED}").into());
        }
    }
    Ok(())
}

/// New clients that have shaken hands and have been served once.
async fn connect(address: &str, count: usize) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let more = (clients.len()..count).take(100).map(|_| client(address));
        clients.extend(try_join_all(more).await?);
    }
    Ok(clients)
}

async fn client(address: &str) -> Result<Client, Failure> {
    let (mut client, _) = connect_async(format!("ws://{address}/hub")).await?;
    client.send(Message::text("{\"protocol\":\"json\",\"version\":1}\u{1e}")).await?;
    next(&mut client).await?;
    let call =
        "{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[\"hello\"]}\u{1e}";
    client.send(Message::text(call)).await?;
    next(&mut client).await?;
    Ok(client)
}

/// Waits for a message that is no ping.
async fn next(client: &mut Client) -> Result<(), Failure> {
    loop {
        let message = client.next().await.ok_or("the server hung up")??;
        if message.into_data() != "{\"type\":6}\u{1e}" {
            return Ok(());
        }
    }
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
