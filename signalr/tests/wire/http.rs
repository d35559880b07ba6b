//! Plain HTTP requests, byte by byte.

use std::{collections::HashMap, io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::soon;

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
    server: impl Into<SocketAddr>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    exchange(server, method, path, headers, b"").await
}

/// One request.
pub(crate) async fn exchange(
    server: impl Into<SocketAddr>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    attempt(server.into(), method, path, headers, body).await.unwrap()
}

/// One request, which a server that dies does not answer.
pub(crate) async fn attempt(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let mut stream = send(server, method, path, headers, body).await?;
    let mut response = Vec::new();
    soon(stream.read_to_end(&mut response)).await?;
    let (head, bytes) = cut(&response).ok_or(io::ErrorKind::UnexpectedEof)?;
    let (status, headers) = read_head(head);
    let whole = headers.get("content-length").map(|length| length.parse().expect("a length"));
    if whole.is_some_and(|length: usize| bytes.len() < length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let body = String::from_utf8_lossy(bytes).into_owned();
    Ok(Response { status, headers, body, bytes: bytes.to_vec() })
}

/// Sends a request.
pub(crate) async fn send(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<TcpStream> {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        server,
        body.len()
    );
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(request.as_bytes()).await?;
    soon(stream.write_all(body)).await?;
    Ok(stream)
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
    pub(crate) async fn get(
        server: impl Into<SocketAddr>,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut stream = send(server.into(), "GET", path, headers, b"").await.unwrap();
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
