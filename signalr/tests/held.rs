//! What clients can make the server hold is what the documentation says: a test alone in its process,
//! whose resident memory is looked at.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]
#![cfg(target_os = "linux")]

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use backplane_hub::Hub;
use backplane_memory::Medium;
use backplane_signalr::{Options, router};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Connections before the measurement, for what a server allocates once.
const WARM: usize = 100;
const MEASURED: usize = 1000;

/// Nearly the largest message, and 16 KiB beside what an idle connection costs.
const UNFINISHED: usize = 32_000;
const BOUND: usize = (32 + 16 + 12) * 1024;

async fn serve() -> (Hub, SocketAddr) {
    let hub = Hub::builder("held")
        .backplane(Arc::new(Medium::new().node()))
        .method("Add", async |a: i32, b: i32| a + b)
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().nest("/hub", router(&hub, Options::new()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (hub, address)
}

/// A WebSocket with no buffers on the client's side.
struct Bare(TcpStream);

impl Bare {
    async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let upgrade = "GET /hub HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    /// Sends a frame, masked with nothing.
    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()).unwrap() {
            length @ ..126 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The payload of the next frame, which is small.
    async fn next(&mut self) -> Vec<u8> {
        let _ = self.0.read_u8().await.unwrap();
        let mut payload = vec![0; self.0.read_u8().await.unwrap().into()];
        self.0.read_exact(&mut payload).await.unwrap();
        payload
    }

    /// Shakes hands, sends what never ends, and waits until it has been read.
    async fn besiege(&mut self, protocol: &str, unfinished: &[u8]) {
        let handshake = format!("{{\"protocol\":\"{protocol}\",\"version\":1}}\u{1e}");
        self.send(2, handshake.as_bytes()).await;
        assert_eq!(self.next().await, b"{}\x1e");
        for piece in unfinished.chunks(10_000) {
            self.send(2, piece).await;
        }
        // A ping, which is answered behind that.
        self.send(9, b"read?").await;
        assert_eq!(self.next().await, b"read?");
    }
}

async fn besieged(address: SocketAddr, count: usize) -> Vec<Bare> {
    let json = [&b"{\"type\":1,\"target\":\""[..], &vec![b'x'; UNFINISHED]].concat();
    let length = [0x80, 0xfd, 0x01];
    let messagepack =
        [&length[..], b"\x96\x01\x80\xc0\xda\x7d\x00", &vec![b'x'; UNFINISHED - 100]].concat();
    let mut all = Vec::new();
    // Not all at once, as the listener's queue is short.
    for batch in 0..count / 50 {
        let (protocol, unfinished) =
            if batch % 2 == 0 { ("json", &json) } else { ("messagepack", &messagepack) };
        let clients = (0..50).map(|_| async {
            let mut client = Bare::connect(address).await;
            client.besiege(protocol, unfinished).await;
            client
        });
        all.extend(timeout(Duration::from_secs(60), join_all(clients)).await.expect("in time"));
    }
    all
}

/// The resident memory of this process in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn unfinished_messages_cost_what_they_may() {
    let (hub, address) = serve().await;
    let _warm = besieged(address, WARM).await;
    let before = resident();
    let held = besieged(address, MEASURED).await;
    let each = resident().saturating_sub(before) / MEASURED;
    println!("{each} bytes for each connection");
    assert_eq!(hub.stats().connections, WARM + MEASURED);
    assert!(each >= UNFINISHED / 2, "{each} bytes: nothing was measured");
    assert!(each <= BOUND, "{each} bytes for each connection");

    // Others are served meanwhile.
    let mut other = Bare::connect(address).await;
    other.send(1, b"{\"protocol\":\"json\",\"version\":1}\x1e").await;
    assert_eq!(other.next().await, b"{}\x1e");
    other
        .send(1, b"{\"type\":1,\"invocationId\":\"1\",\"target\":\"Add\",\"arguments\":[1,2]}\x1e")
        .await;
    assert_eq!(other.next().await, b"{\"type\":3,\"invocationId\":\"1\",\"result\":3}\x1e");
    drop(held);
}
