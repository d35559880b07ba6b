//! Connections of plain bytes.

use std::{future::Future, net::SocketAddr};

use axum::Router;
use backplane_hub::{ConnectionId, Policy};
use backplane_signalr::{Options, RawConnection, RawSendError, Transport, raw_router};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, Receiver},
    task::JoinHandle,
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    client::soon,
    events::ACCEPT,
    http::{Chunked, exchange, request},
    server::{Server, by_query},
};

/// A raw connection behind `/raw`, served until this is dropped.
#[derive(Debug)]
struct Raw {
    address: SocketAddr,
    _hub: Server,
    task: JoinHandle<()>,
}

impl Raw {
    async fn start<F: Future<Output = ()> + Send + 'static>(
        options: Options,
        serve: impl Fn(RawConnection) -> F + Send + Sync + 'static,
    ) -> Self {
        // On the heap: a server in the making is large.
        let hub =
            Box::pin(Server::with(Options::new(), |hub| hub.authorize(Policy::anonymous()))).await;
        let app: Router = Router::new().nest("/raw", raw_router(&hub.hub, options, serve));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, _hub: hub, task }
    }

    /// The path of a negotiated connection.
    async fn negotiated(&self) -> String {
        let answer = request(self.address, "POST", "/raw/negotiate?negotiateVersion=1", &[]).await;
        let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer["availableTransports"].as_array().unwrap().len(), 3);
        format!("/raw?id={}", answer["connectionToken"].as_str().unwrap())
    }

    async fn post(&self, path: &str, text: &str) -> String {
        exchange(self.address, "POST", path, &[], text.as_bytes()).await.status
    }

    async fn poll(&self, path: &str) -> (String, String) {
        let answer = request(self.address, "GET", path, &[]).await;
        (answer.status, answer.body)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(mut connection: RawConnection) {
    while let Some(bytes) = connection.receive().await {
        if connection.send(bytes).await.is_err() {
            return;
        }
    }
}

/// Echoes, and tells what the end was.
async fn watched() -> (Raw, Receiver<String>) {
    let (told, events) = mpsc::channel(100);
    let raw = Raw::start(Options::new(), move |mut connection| {
        let told = told.clone();
        async move {
            let (id, transport): (ConnectionId, Transport) =
                (connection.id().clone(), connection.request().transport());
            assert_eq!(connection.user(), None);
            assert_eq!(id.len(), 22);
            while let Some(bytes) = connection.receive().await {
                connection.send(bytes).await.unwrap();
            }
            assert!(connection.receive().await.is_none(), "the end is the end");
            let error = connection.send("late").await.unwrap_err();
            assert!(matches!(error, RawSendError::Ended), "{error}");
            told.send(transport.name().to_owned()).await.unwrap();
        }
    })
    .await;
    (raw, events)
}

#[tokio::test]
async fn a_websocket_echoes_text_and_closes_cleanly() {
    let (raw, mut events) = watched().await;
    let path = raw.negotiated().await;
    for path in ["/raw", path.as_str()] {
        let (mut socket, _) =
            soon(connect_async(format!("ws://{}{path}", raw.address))).await.unwrap();
        for text in ["Hello", "", "żółć\n"] {
            soon(socket.send(Message::text(text))).await.unwrap();
            if !text.is_empty() {
                assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::text(text));
            }
        }
        // Binary messages are bytes too, and come back as what was chosen.
        soon(socket.send(Message::binary("bytes"))).await.unwrap();
        assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::text("bytes"));
        soon(socket.close(None)).await.unwrap();
        let closed = soon(socket.next()).await.unwrap().unwrap();
        let Message::Close(Some(frame)) = closed else { panic!("{closed:?}") };
        assert_eq!(u16::from(frame.code), 1000);
        assert_eq!(soon(events.recv()).await.unwrap(), "WebSockets");
    }
}

#[tokio::test]
async fn events_echo_until_the_client_lets_go() {
    let (raw, mut events) = watched().await;
    let path = raw.negotiated().await;
    let mut response = Chunked::get(raw.address, &path, &[ACCEPT]).await;
    assert_eq!(response.next().await, ":\r\n");
    for text in ["one", "two"] {
        assert_eq!(raw.post(&path, text).await, "200 OK");
        assert_eq!(response.next().await, format!("data: {text}\r\n\r\n"));
    }
    drop(response);
    assert_eq!(soon(events.recv()).await.unwrap(), "ServerSentEvents");
    assert_eq!(raw.post(&path, "late").await, "404 Not Found");
}

#[tokio::test]
async fn polls_echo_until_the_client_ends_it() {
    let (raw, mut events) = watched().await;
    let path = raw.negotiated().await;
    assert_eq!(raw.poll(&path).await, ("200 OK".to_owned(), String::new()));
    for text in ["one", "two"] {
        assert_eq!(raw.post(&path, text).await, "200 OK");
        assert_eq!(raw.poll(&path).await, ("200 OK".to_owned(), text.to_owned()));
    }
    let delete = request(raw.address, "DELETE", &path, &[]).await;
    assert_eq!(delete.status, "202 Accepted");
    assert_eq!(soon(events.recv()).await.unwrap(), "LongPolling");
    assert_eq!(raw.poll(&path).await.0, "404 Not Found");
}

#[tokio::test]
async fn what_was_sent_comes_before_the_end() {
    let raw = Raw::start(Options::new(), async |mut connection: RawConnection| {
        let text = format!("bye {}", connection.request().query("name").unwrap_or("?"));
        connection.send(text).await.unwrap();
    })
    .await;
    let url = format!("ws://{}/raw?name=ann", raw.address);
    let (mut socket, _) = soon(connect_async(url)).await.unwrap();
    assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::text("bye ann"));
    let closed = soon(socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(frame)) = closed else { panic!("{closed:?}") };
    assert_eq!(u16::from(frame.code), 1000);

    let path = raw.negotiated().await;
    let mut response = Chunked::get(raw.address, &path, &[ACCEPT]).await;
    assert_eq!(response.next().await, ":\r\n");
    assert_eq!(response.next().await, "data: bye ?\r\n\r\n");
    assert_eq!(response.next().await, "", "the response ends");

    let path = raw.negotiated().await;
    assert_eq!(raw.poll(&path).await, ("200 OK".to_owned(), String::new()));
    assert_eq!(raw.poll(&path).await, ("200 OK".to_owned(), "bye ?".to_owned()));
    assert_eq!(raw.poll(&path).await.0, "204 No Content");
}

#[tokio::test]
async fn bytes_that_are_no_text_need_binary_messages() {
    let raw = Raw::start(Options::new(), async |mut connection: RawConnection| {
        let bytes: &[u8] = &[0xff, 0];
        let refused = connection.send(bytes).await;
        assert!(matches!(refused, Err(RawSendError::NotText)), "{refused:?}");
        connection.set_binary(true);
        connection.send(bytes).await.unwrap();
        connection.set_binary(false);
        connection.send("text").await.unwrap();
    })
    .await;
    let (mut socket, _) = soon(connect_async(format!("ws://{}/raw", raw.address))).await.unwrap();
    let bytes: &[u8] = &[0xff, 0];
    assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::binary(bytes));
    assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::text("text"));
}

#[tokio::test]
async fn requests_are_let_in_as_those_of_the_hub() {
    let hub = Server::with(Options::new(), |hub| hub.authorize(Policy::authenticated())).await;
    let options = Options::new().authenticate(by_query);
    let app: Router = Router::new().nest("/raw", raw_router(&hub.hub, options, echo));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    for (path, status) in [
        ("/raw/negotiate?negotiateVersion=1", "401 Unauthorized"),
        ("/raw/negotiate?negotiateVersion=1&user=ann", "200 OK"),
    ] {
        assert_eq!(request(address, "POST", path, &[]).await.status, status);
    }
    assert_eq!(request(address, "GET", "/raw", &[]).await.status, "401 Unauthorized");
    task.abort();
}
