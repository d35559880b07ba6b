//! Requests through the door, over plain sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const ANYWHERE: &str = "127.0.0.1:0";

/// Reads up to the end of a header.
async fn header(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// A node that answers each request with its name, and becomes an echo where it is asked to.
async fn node(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(ANYWHERE).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                if header(&mut stream).await.to_lowercase().contains("upgrade: echo") {
                    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                } else {
                    let length = name.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

/// A node that answers each request with 503.
async fn leaving() -> SocketAddr {
    let listener = TcpListener::bind(ANYWHERE).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            header(&mut stream).await;
            let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\ngone";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

/// An address that nobody listens on.
async fn nobody() -> SocketAddr {
    TcpListener::bind(ANYWHERE).await.unwrap().local_addr().unwrap()
}

async fn door(nodes: Vec<SocketAddr>) -> TcpStream {
    let door = front_door::open(ANYWHERE.parse().unwrap(), nodes).await.unwrap();
    TcpStream::connect(door).await.unwrap()
}

/// The status and the body of the answer to one more request on a connection.
async fn ask(door: &mut TcpStream) -> (String, String) {
    door.write_all(b"GET / HTTP/1.1\r\nhost: door\r\n\r\n").await.unwrap();
    let header = header(door).await.to_lowercase();
    let length = header.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    door.read_exact(&mut body).await.unwrap();
    let status = header.split(' ').nth(1).unwrap().to_owned();
    (status, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn requests_of_one_connection_go_to_one_node_after_the_other() {
    let mut door = door(vec![node("a").await, node("b").await, node("c").await]).await;
    for name in ["a", "b", "c", "a", "b"] {
        assert_eq!(ask(&mut door).await, ("200".to_owned(), name.to_owned()));
    }
}

#[tokio::test]
async fn a_node_that_is_gone_is_passed_over() {
    let mut door = door(vec![nobody().await, node("b").await]).await;
    for _ in 0..4 {
        assert_eq!(ask(&mut door).await.1, "b");
    }
}

#[tokio::test]
async fn a_node_that_leaves_is_passed_over() {
    let mut door = door(vec![leaving().await, node("b").await, nobody().await]).await;
    for _ in 0..6 {
        assert_eq!(ask(&mut door).await, ("200".to_owned(), "b".to_owned()));
    }
}

#[tokio::test]
async fn where_all_leave_the_last_one_answers() {
    let mut door = door(vec![leaving().await, leaving().await]).await;
    for _ in 0..2 {
        assert_eq!(ask(&mut door).await, ("503".to_owned(), "gone".to_owned()));
    }
}

#[tokio::test]
async fn what_has_a_body_is_asked_once() {
    let mut door = door(vec![leaving().await, node("b").await]).await;
    door.write_all(b"POST / HTTP/1.1\r\nhost: door\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
    assert!(header(&mut door).await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn without_nodes_it_says_so() {
    let mut door = door(vec![nobody().await, nobody().await]).await;
    let (status, body) = ask(&mut door).await;
    assert_eq!(status, "502");
    assert!(body.starts_with("no node answers: "), "{body}");
}

#[tokio::test]
async fn a_single_node_needs_no_door() {
    let node = node("a").await;
    let open = front_door::open(ANYWHERE.parse().unwrap(), vec![node]).await.unwrap();
    assert_eq!(open, node);
}

#[tokio::test]
async fn what_becomes_another_protocol_goes_through_both_ways() {
    let mut door = door(vec![node("a").await, nobody().await]).await;
    let wish = "GET / HTTP/1.1\r\nhost: door\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    door.write_all(wish.as_bytes()).await.unwrap();
    assert!(header(&mut door).await.starts_with("HTTP/1.1 101 "));
    for word in ["tea", "coffee"] {
        door.write_all(word.as_bytes()).await.unwrap();
        let mut echo = vec![0; word.len()];
        door.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, word.as_bytes());
    }
}
