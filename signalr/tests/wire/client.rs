//! A client that speaks as little of the protocol as a test wants it to.

use std::{collections::VecDeque, future::Future};

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::Request},
};

use crate::server::{PATIENCE, Server};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Records that came with one that was asked for.
    come: VecDeque<String>,
}

/// What a server answers instead of an upgrade.
pub(crate) type Refusal = (u16, String);

/// What comes where a text would.
pub(crate) type End = Option<Result<Message, tungstenite::Error>>;

/// What must happen in time.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it happens in time")
}

impl Client {
    /// Connects without a negotiation or a handshake.
    pub(crate) async fn open(server: &Server) -> Self {
        Self::request(server, "", &[]).await.expect("a WebSocket")
    }

    /// Connects without a negotiation, and shakes hands.
    pub(crate) async fn connect(server: &Server) -> Self {
        let mut client = Self::open(server).await;
        client.shake().await;
        client
    }

    /// Connects with a query and headers.
    pub(crate) async fn request(
        server: &Server,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refusal> {
        let mut request: Request<()> =
            format!("ws://{}/hub{query}", server.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match soon(connect_async(request)).await {
            Ok((socket, _)) => Ok(Self { socket, come: VecDeque::new() }),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn shake(&mut self) {
        self.text(HANDSHAKE).await;
        assert_eq!(self.record().await, "{}");
    }

    /// Sends a text as it is.
    pub(crate) async fn text(&mut self, text: &str) {
        soon(self.socket.send(Message::text(text))).await.expect("sent");
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: Value) {
        self.text(&format!("{message}\u{1e}")).await;
    }

    /// Sends a message, which is of no use where the socket has just ended.
    pub(crate) async fn send_if_open(&mut self, message: &Value) {
        let sent = soon(self.socket.send(Message::text(format!("{message}\u{1e}")))).await;
        drop(sent);
    }

    /// Calls a method and does not wait.
    pub(crate) async fn call(&mut self, id: &str, target: &str, arguments: Value) {
        self.send(json!({"type": 1, "invocationId": id, "target": target, "arguments": arguments}))
            .await;
    }

    /// Calls a method, and waits for its completion without the type and the id.
    pub(crate) async fn invoke(&mut self, target: &str, arguments: Value) -> Value {
        self.call("x", target, arguments).await;
        self.completion("x").await
    }

    /// The next message, which is a completion of this id, without its type and id.
    pub(crate) async fn completion(&mut self, id: &str) -> Value {
        let mut message = self.next().await;
        let fields = message.as_object_mut().expect("an object");
        assert_eq!(fields.remove("type"), Some(json!(3)), "{fields:?}");
        assert_eq!(fields.remove("invocationId"), Some(json!(id)), "{fields:?}");
        message
    }

    /// The next message that is no ping.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let record = self.record().await;
            let message: Value = serde_json::from_str(&record).expect("JSON");
            if message != json!({"type": 6}) {
                return message;
            }
        }
    }

    /// The next record, which came whole in one text.
    pub(crate) async fn record(&mut self) -> String {
        self.record_or_end().await.unwrap_or_else(|end| panic!("expected a text, got {end:?}"))
    }

    /// The same, or what came instead of a text.
    pub(crate) async fn record_or_end(&mut self) -> Result<String, End> {
        while self.come.is_empty() {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    let records = text.strip_suffix('\u{1e}').expect("whole records");
                    self.come.extend(records.split('\u{1e}').map(str::to_owned));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                end => return Err(end),
            }
        }
        Ok(self.come.pop_front().expect("there is one"))
    }

    /// The code with which the server closes the socket, next.
    pub(crate) async fn closed(mut self) -> u16 {
        self.close_code().await
    }

    async fn close_code(&mut self) -> u16 {
        assert!(self.come.is_empty(), "{:?}", self.come);
        match soon(self.socket.next()).await {
            Some(Ok(Message::Close(Some(frame)))) => frame.code.into(),
            other => panic!("expected a close frame, got {other:?}"),
        }
    }

    /// The same, and that the server lets the socket go then.
    pub(crate) async fn gone(mut self) -> u16 {
        let code = self.close_code().await;
        assert!(soon(self.socket.next()).await.is_none());
        code
    }

    /// That this client is served.
    pub(crate) async fn works(&mut self) {
        assert_eq!(self.invoke("Add", json!([1, 2])).await, json!({"result": 3}));
    }

    /// Closes the socket in an orderly way.
    pub(crate) async fn hang_up(mut self) {
        soon(self.socket.close(None)).await.expect("closed");
        while let Some(Ok(_)) = soon(self.socket.next()).await {}
    }
}
