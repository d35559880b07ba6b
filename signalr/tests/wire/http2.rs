//! WebSockets over HTTP/2, as browsers open them where a server speaks it (RFC 8441): many on one
//! connection, beside other requests.

use axum::body::{Body, to_bytes};
use futures_util::{SinkExt, StreamExt, future::join_all};
use http::{
    Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, SEC_WEBSOCKET_VERSION},
};
use hyper::{body::Incoming, client::conn::http2::SendRequest, ext::Protocol, upgrade::Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::{
    client::{Client, soon},
    server::Server,
};

/// One connection of HTTP/2.
struct Browser {
    server: String,
    requests: SendRequest<Body>,
}

impl Browser {
    async fn new(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let io = TokioIo::new(stream);
        let (requests, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self { server: format!("http://{}", server.address), requests }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        protocol: &'static str,
    ) -> Response<Incoming> {
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.server))
            .header(SEC_WEBSOCKET_VERSION, "13");
        if method == Method::CONNECT {
            request = request.extension(Protocol::from_static(protocol));
        }
        self.requests.ready().await.unwrap();
        soon(self.requests.send_request(request.body(Body::empty()).unwrap())).await.unwrap()
    }

    async fn negotiate(&mut self) -> String {
        let response = self.send(Method::POST, "/hub/negotiate?negotiateVersion=1", "").await;
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = to_bytes(Body::new(response.into_body()), 10_000).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["connectionToken"].as_str().unwrap().to_owned()
    }

    async fn socket(&mut self) -> Socket {
        let token = self.negotiate().await;
        let response = self.send(Method::CONNECT, &format!("/hub?id={token}"), "websocket").await;
        assert_eq!(response.status(), StatusCode::OK);
        let upgraded = TokioIo::new(soon(hyper::upgrade::on(response)).await.unwrap());
        let mut socket =
            Socket(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await);
        socket.send(json!({"protocol": "json", "version": 1})).await;
        assert_eq!(socket.next().await, json!({}));
        socket
    }
}

struct Socket(WebSocketStream<TokioIo<Upgraded>>);

impl Socket {
    async fn send(&mut self, message: Value) {
        self.0.send(Message::text(format!("{message}\u{1e}"))).await.unwrap();
    }

    /// The next message that is no ping.
    async fn next(&mut self) -> Value {
        loop {
            let message = soon(self.0.next()).await.unwrap().unwrap().into_text().unwrap();
            let message: Value = serde_json::from_str(message.trim_end_matches('\u{1e}')).unwrap();
            if message != json!({"type": 6}) {
                return message;
            }
        }
    }

    async fn invoke(&mut self, method: &str, arguments: Value) -> Value {
        let call =
            json!({"type": 1, "invocationId": "1", "target": method, "arguments": arguments});
        self.send(call).await;
        self.next().await
    }
}

#[tokio::test]
async fn web_sockets_share_a_connection_of_http_2() {
    let server = Server::start(backplane_signalr::Options::new()).await;
    let mut browser = Browser::new(&server).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(browser.socket().await);
    }
    let mut other = Client::connect(&server).await;
    // Larger than a window of HTTP/2.
    let large = "x".repeat(1 << 20);
    server.hub.clients().all().send("News", (&large,)).await.unwrap();
    let expected = json!({"type": 1, "target": "News", "arguments": [large]});
    // All at once: what nobody reads counts towards the connection's window.
    let news = join_all(sockets.iter_mut().map(Socket::next)).await;
    assert!(news.iter().all(|news| *news == expected));
    assert_eq!(other.next().await, expected);
    let echo = sockets[0].invoke("Echo", json!(["y".repeat(20_000)])).await;
    assert_eq!(echo["result"], "y".repeat(20_000));

    // One leaves without a code, one is lost, and the others stay.
    let mut leaves = sockets.remove(0);
    leaves.0.send(Message::Close(None)).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = soon(leaves.0.next()).await else {
        panic!("no close frame");
    };
    assert_eq!(u16::from(frame.code), 1000);
    assert!(soon(leaves.0.next()).await.is_none_or(|it| it.is_err()));
    drop(sockets.remove(0));
    for _ in 0..2 {
        assert!(server.probe.told().await.starts_with("disconnected"));
    }
    assert_eq!(sockets[0].invoke("Echo", json!([1])).await["result"], 1);
}

#[tokio::test]
async fn what_is_no_web_socket_is_not_connected() {
    let server = Server::start(backplane_signalr::Options::new()).await;
    let mut browser = Browser::new(&server).await;
    let token = browser.negotiate().await;
    let path = format!("/hub?id={token}");
    let other = browser.send(Method::CONNECT, &path, "other").await;
    assert_eq!(other.status(), StatusCode::METHOD_NOT_ALLOWED);
    let forged = browser.send(Method::CONNECT, "/hub?id=forged", "websocket").await;
    assert_eq!(forged.status(), StatusCode::NOT_FOUND);
    // HTTP/2 knows no header that asks for another protocol.
    let polled = browser.send(Method::GET, &path, "").await;
    assert_eq!(polled.status(), StatusCode::OK);
}
