//! What listens is not a Redis, or none that will do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;

use backplane_core::LinkError;
use common::{down, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Serves every connection in this way, for as long as the test runs.
async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Answers a command that holds one of these words so, and any other with an error.
async fn answer(mut stream: TcpStream, answers: Vec<(&'static str, String)>) {
    let mut read = vec![0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut read).await {
        let text = String::from_utf8_lossy(&read[..length]).into_owned();
        for command in text.split('*').skip(1) {
            let known = answers.iter().find(|(word, _)| command.contains(word));
            let answer = known.map_or("-ERR unknown command\r\n", |(_, answer)| answer.as_str());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// A server that does nothing but say this.
async fn say(mut stream: TcpStream, greeting: &str) {
    let _ = stream.write_all(greeting.as_bytes()).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn an_old_server_is_told_apart() {
    let info = "# Server\r\nredis_version:4.0.14\r\nredis_git_sha1:00000000\r\n";
    let info = format!("${}\r\n{info}\r\n", info.len());
    let address = listen(move |stream| answer(stream, vec![("INFO", info.clone())])).await;
    for protocol in ["auto", "resp2"] {
        let node = start(&format!("redis://{address}?protocol={protocol}"));
        match &*down(&node).await {
            LinkError::TooOld { address: at, product, found, needed } => {
                assert_eq!(*at, address.to_string());
                assert_eq!((product.as_str(), found.as_str(), *needed), ("redis", "4.0.14", "5.0"));
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn other_protocols_are_told_apart() {
    let web = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let nats = "INFO {\"server_id\":\"x\",\"version\":\"2.10.0\"}\r\n";
    let ssh = "SSH-2.0-OpenSSH_9.2\r\n";
    for greeting in [web, nats, ssh] {
        let address = listen(move |stream| say(stream, greeting)).await;
        for protocol in ["auto", "resp2"] {
            let node = start(&format!("redis://{address}?protocol={protocol}"));
            let cause = down(&node).await;
            assert!(matches!(*cause, LinkError::Protocol { .. }), "{greeting} {protocol}: {cause}");
            assert!(cause.to_string().contains(&address.to_string()), "{cause}");
        }
    }
}

#[tokio::test]
async fn whoever_hangs_up_may_want_tls() {
    let address = listen(|stream| async move { drop(stream) }).await;
    let cause = down(&start(&format!("redis://{address}"))).await;
    assert!(cause.to_string().contains("TLS"), "{cause}");
}

#[tokio::test]
async fn a_full_server_is_quoted() {
    let full = "-ERR max number of clients reached\r\n";
    let address = listen(move |stream| say(stream, full)).await;
    let cause = down(&start(&format!("redis://{address}"))).await;
    assert!(cause.to_string().contains("max number of clients"), "{cause}");
}

#[tokio::test]
async fn a_protected_server_wants_a_password() {
    let denied = "-DENIED Redis is running in protected mode\r\n";
    let address = listen(move |stream| say(stream, denied)).await;
    let cause = down(&start(&format!("redis://{address}"))).await;
    assert!(matches!(*cause, LinkError::Authentication { .. }), "{cause}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    match &*down(&start(&format!("redis://{address}"))).await {
        LinkError::Unreachable { address: at, .. } => assert_eq!(*at, address.to_string()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_name_that_nobody_has_is_unreachable() {
    // Reserved to exist nowhere (RFC 2606).
    match &*down(&start("redis://nobody.invalid")).await {
        LinkError::Unreachable { address, .. } => assert_eq!(address, "nobody.invalid:6379"),
        other => panic!("{other}"),
    }
}
