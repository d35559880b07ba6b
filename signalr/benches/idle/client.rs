//! Clients that do next to nothing, over any transport.

use backplane_signalr::Transport;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::Failure;

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
const CALL: &str =
    "{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[\"hello\"]}\u{1e}";
const PING: &[u8] = b"{\"type\":6}\x1e";

/// Where nothing ever comes.
pub(crate) const SILENCE: &str = "/silence";

/// A client that waits for something to come.
pub(crate) enum Client {
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Events(Plain),
    /// Its poll waits.
    Polls(Plain),
}

impl Client {
    /// One that has shaken hands and has been served once; without a transport, one that waits in vain.
    pub(crate) async fn connect(
        address: &str,
        transport: Option<Transport>,
    ) -> Result<Self, Failure> {
        let Some(transport) = transport else {
            let mut waits = Plain::open(address).await?;
            waits.path = SILENCE.to_owned();
            waits.get("").await?;
            waits.head("\r\n").await?;
            return Ok(Self::Events(waits));
        };
        if transport == Transport::WebSockets {
            let (socket, _) = connect_async(format!("ws://{address}/hub")).await?;
            let mut client = Self::WebSocket(Box::new(socket));
            for text in [HANDSHAKE, CALL] {
                if let Self::WebSocket(socket) = &mut client {
                    socket.send(Message::text(text)).await?;
                }
                client.next().await?;
            }
            return Ok(client);
        }
        // What is sent goes by a connection of its own, which is gone afterwards.
        let mut sends = Plain::open(address).await?;
        sends.request("POST", "/hub/negotiate?negotiateVersion=1", "").await?;
        let granted: serde_json::Value = serde_json::from_slice(&sends.response().await?)?;
        let token = granted["connectionToken"].as_str().ok_or("no token")?;
        let path = format!("/hub?id={token}");
        let mut waits = Plain::open(address).await?;
        waits.path = path;
        let mut client = if transport == Transport::ServerSentEvents {
            waits.get("accept: text/event-stream\r\n").await?;
            // What is sent before would begin a connection of long polling.
            waits.head(":\r\n").await?;
            Self::Events(waits)
        } else {
            waits.get("").await?;
            waits.response().await?;
            waits.get("").await?;
            Self::Polls(waits)
        };
        for text in [HANDSHAKE, CALL] {
            let path = match &client {
                Self::Events(waits) | Self::Polls(waits) => waits.path.clone(),
                Self::WebSocket(_) => break,
            };
            sends.request("POST", &path, text).await?;
            sends.response().await?;
            client.next().await?;
        }
        Ok(client)
    }

    /// Waits for a message that is no ping.
    pub(crate) async fn next(&mut self) -> Result<(), Failure> {
        loop {
            let come = match self {
                Self::WebSocket(socket) => {
                    socket.next().await.ok_or("the server hung up")??.into_data().to_vec()
                }
                Self::Events(waits) => {
                    let mut record = Vec::new();
                    waits.socket.read_until(0x1e, &mut record).await?;
                    record
                }
                Self::Polls(waits) => {
                    let come = waits.response().await?;
                    waits.get("").await?;
                    come
                }
            };
            if !come.is_empty() && !come.ends_with(PING) {
                return Ok(());
            }
        }
    }
}

/// An HTTP connection that is kept.
pub(crate) struct Plain {
    socket: BufReader<TcpStream>,
    /// What is waited at.
    path: String,
}

impl Plain {
    async fn open(address: &str) -> Result<Self, Failure> {
        let socket = BufReader::with_capacity(512, TcpStream::connect(address).await?);
        Ok(Self { socket, path: String::new() })
    }

    async fn get(&mut self, headers: &str) -> Result<(), Failure> {
        let request = format!("GET {} HTTP/1.1\r\nhost: idle\r\n{headers}\r\n", self.path);
        Ok(self.socket.write_all(request.as_bytes()).await?)
    }

    async fn request(&mut self, method: &str, path: &str, body: &str) -> Result<(), Failure> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: idle\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        Ok(self.socket.write_all(request.as_bytes()).await?)
    }

    /// The body of a response whose length is known.
    async fn response(&mut self) -> Result<Vec<u8>, Failure> {
        let length = self.head("\r\n").await?;
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await?;
        Ok(body)
    }

    /// Reads a response up to this line. Returns the length that it tells of its body.
    async fn head(&mut self, end: &str) -> Result<usize, Failure> {
        let (mut line, mut length) = (String::new(), 0);
        self.socket.read_line(&mut line).await?;
        if !line.starts_with("HTTP/1.1 200 ") {
            return Err(line.into());
        }
        while line != end {
            line.clear();
            if self.socket.read_line(&mut line).await? == 0 {
                return Err("the server hung up".into());
            }
            if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = told.trim().parse()?;
            }
        }
        Ok(length)
    }
}
