//! Plain HTTP requests, byte by byte.

use std::{collections::HashMap, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{client::soon, server::Server};

#[derive(Debug)]
pub(crate) struct Response {
    /// With its reason, as clients show it.
    pub(crate) status: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

/// One request without a body.
pub(crate) async fn request(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    exchange(server, method, path, headers, b"").await
}

/// One request.
pub(crate) async fn exchange(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    exchange_at(server.address, method, path, headers, body).await
}

/// One request without a body, to any server.
pub(crate) async fn request_at(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    exchange_at(address, method, path, headers, b"").await
}

/// One request, to any server.
pub(crate) async fn exchange_at(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut stream = send(address, method, path, headers, body).await;
    let mut response = Vec::new();
    soon(stream.read_to_end(&mut response)).await.unwrap();
    let (head, bytes) = cut(&response).expect("a head and a body");
    let (status, headers) = read_head(head);
    let body = String::from_utf8_lossy(bytes).into_owned();
    Response { status, headers, body, bytes: bytes.to_vec() }
}

/// Sends a request.
async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        address,
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    soon(stream.write_all(body)).await.unwrap();
    stream
}

/// Splits a response behind its head.
fn cut(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = response.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&response[..end], &response[end + 4..]))
}

/// The status and the headers.
fn read_head(head: &[u8]) -> (String, HashMap<String, String>) {
    let head = std::str::from_utf8(head).expect("text");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    (status.to_owned(), headers.collect())
}

/// A response that comes in chunks.
#[derive(Debug)]
pub(crate) struct Chunked {
    pub(crate) status: String,
    pub(crate) headers: HashMap<String, String>,
    stream: TcpStream,
    come: Vec<u8>,
}

impl Chunked {
    /// Asks for one.
    pub(crate) async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::get_at(server.address, path, headers).await
    }

    /// Asks any server for one.
    pub(crate) async fn get_at(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = send(address, "GET", path, headers, b"").await;
        let mut come = Vec::new();
        while cut(&come).is_none() {
            assert_ne!(soon(stream.read_buf(&mut come)).await.unwrap(), 0, "a head");
        }
        let (head, rest) = cut(&come).expect("a head");
        let (status, headers) = read_head(head);
        assert_eq!(headers.get("transfer-encoding").map(String::as_str), Some("chunked"));
        Self { status, headers, stream, come: rest.to_vec() }
    }

    /// The next chunk; empty is the last.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            if let Some(line) = self.come.windows(2).position(|window| window == b"\r\n") {
                let length = std::str::from_utf8(&self.come[..line]).expect("a length");
                let length = usize::from_str_radix(length, 16).expect("a length");
                let end = line + 2 + length;
                if self.come.len() >= end + 2 {
                    let chunk = self.come[line + 2..end].to_vec();
                    self.come.drain(..end + 2);
                    return String::from_utf8(chunk).expect("text");
                }
            }
            assert_ne!(soon(self.stream.read_buf(&mut self.come)).await.unwrap(), 0, "a chunk");
        }
    }
}
