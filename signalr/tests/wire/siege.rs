//! Hostile clients, on every transport and in both protocols: each ends itself, and others notice
//! nothing.

use std::{num::NonZeroUsize, time::Duration};

use backplane_hub::{ByteSize, HubOptions};
use backplane_signalr::Options;
use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Client, soon},
    events::{ACCEPT, Listener},
    http::{Chunked, exchange, request},
    messagepack::framed,
    negotiation::negotiated,
    polling::Poller,
    server::Server,
};

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Socket,
    Events,
    Polls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Json,
    MessagePack,
}

const PAIRS: [(Way, Spoken); 5] = [
    (Way::Socket, Spoken::Json),
    (Way::Socket, Spoken::MessagePack),
    (Way::Events, Spoken::Json),
    (Way::Polls, Spoken::Json),
    (Way::Polls, Spoken::MessagePack),
];

/// A client that sends what it likes.
enum Attacker<'a> {
    Socket(Client),
    Events(&'a Server, String, Chunked),
    Polls(&'a Server, String),
}

impl<'a> Attacker<'a> {
    /// One that has shaken hands.
    async fn connect(server: &'a Server, (way, spoken): (Way, Spoken)) -> Self {
        let mut attacker = Self::open(server, way).await;
        let name = if spoken == Spoken::Json { "json" } else { "messagepack" };
        attacker.send(format!("{{\"protocol\":\"{name}\",\"version\":1}}\u{1e}").as_bytes()).await;
        assert_eq!(attacker.next().await.as_deref(), Some(&b"{}\x1e"[..]));
        attacker
    }

    async fn open(server: &'a Server, way: Way) -> Self {
        if way == Way::Socket {
            return Self::Socket(Client::open(server).await);
        }
        let (_, token) = negotiated(server, "").await;
        let path = format!("/hub?id={token}");
        if way == Way::Events {
            let mut events = Chunked::get(server, &path, &[ACCEPT]).await;
            assert_eq!(events.next().await, ":\r\n");
            return Self::Events(server, path, events);
        }
        assert_eq!(request(server, "GET", &path, &[]).await.status, "200 OK");
        Self::Polls(server, path)
    }

    /// Sends bytes; the server may refuse to read all of them.
    async fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Socket(client) => {
                let _ = soon(client.socket.send(Message::binary(bytes.to_vec()))).await;
            }
            Self::Events(server, path, _) | Self::Polls(server, path) => {
                let answer = exchange(*server, "POST", path, &[], bytes).await;
                assert!(["200 OK", "404 Not Found"].contains(&&*answer.status), "{answer:?}");
            }
        }
    }

    /// What comes next; `None` is the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Socket(client) => match soon(client.socket.next()).await {
                Some(Ok(Message::Text(text))) => Some(text.as_bytes().to_vec()),
                Some(Ok(Message::Binary(bytes))) => Some(bytes.to_vec()),
                _ => None,
            },
            Self::Events(_, _, events) => {
                let event = events.next().await;
                let data = event.strip_prefix("data: ")?.strip_suffix("\r\n\r\n")?;
                Some(data.as_bytes().to_vec())
            }
            Self::Polls(server, path) => loop {
                let answer = request(*server, "GET", path, &[]).await;
                if answer.status != "200 OK" {
                    return None;
                }
                if !answer.bytes.is_empty() {
                    return Some(answer.bytes);
                }
            },
        }
    }

    /// All that comes up to the end.
    async fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(more) = self.next().await {
            rest.extend(more);
        }
        rest
    }
}

/// Clients that behave, one of each way.
struct Bystanders<'a> {
    socket: Client,
    listener: Listener<'a>,
    poller: Poller<'a>,
}

impl<'a> Bystanders<'a> {
    async fn connect(server: &'a Server) -> Self {
        Self {
            socket: Client::connect(server).await,
            listener: Listener::connect(server).await,
            poller: Poller::connect(server).await,
        }
    }

    /// That nothing has happened to them.
    async fn notice_nothing(&mut self) {
        self.socket.works().await;
        self.listener.works().await;
        self.poller.works().await;
    }
}

/// What ends a connection, by protocol.
fn faults(spoken: Spoken) -> Vec<(&'static str, Vec<u8>)> {
    let sent = |name, record: &str| (name, format!("{record}\u{1e}").into_bytes());
    let deep = 10_000;
    match spoken {
        Spoken::Json => vec![
            sent("no JSON", "no json"),
            sent("cut off", r#"{"type":1,"target":"Echo","arguments":["#),
            sent("a wrong type", r#"{"type":"1","target":"Echo","arguments":[]}"#),
            sent("no list", r#"{"type":1,"target":"Echo","arguments":{"0":1}}"#),
            sent("both", r#"{"type":3,"invocationId":"1","result":1,"error":"2"}"#),
            sent("deep", &format!(r#"{{"type":2,"invocationId":"1","item":{}"#, "[".repeat(deep))),
            (
                "invalid UTF-8",
                b"{\"type\":1,\"target\":\"Echo\",\"arguments\":[\"\xff\xfe\"]}\x1e".to_vec(),
            ),
            ("too large", vec![b'x'; 40_000]),
        ],
        Spoken::MessagePack => vec![
            ("no array", framed(b"\xa1x")),
            ("cut off", framed(b"\x96\x01\x80\xa1x\xa4Ec")),
            ("a wrong type", framed(b"\x96\xa11\x80\xc0\xa4Echo\x90\x90")),
            ("no list", framed(b"\x96\x01\x80\xc0\xa4Echo\x80\x90")),
            ("more items than bytes", framed(b"\x96\x01\x80\xc0\xa4Echo\xdd\xff\xff\xff\xff")),
            ("a longer text than there is", framed(b"\x96\x01\x80\xc0\xdb\x7f\xff\xff\xff")),
            ("deep", framed(&[&b"\x94\x02\x80\xa1x"[..], &vec![0x91; deep], b"\xc0"].concat())),
            ("invalid UTF-8", framed(b"\x96\x01\x80\xc0\xa2\xff\xfe\x90\x90")),
            ("a length that is none", vec![0xff; 6]),
            ("too large", vec![0xff, 0xff, 0x7f]),
        ],
    }
}

#[tokio::test]
async fn faults_end_the_connection_and_no_other() {
    let server = Server::start(Options::new()).await;
    let mut bystanders = Bystanders::connect(&server).await;
    for pair in PAIRS {
        for (name, fault) in faults(pair.1) {
            let mut attacker = Attacker::connect(&server, pair).await;
            attacker.send(&fault).await;
            let told = attacker.rest().await;
            let told = String::from_utf8_lossy(&told);
            assert!(told.contains("Connection closed with an error."), "{pair:?} {name}: {told}");
            let disconnected = server.probe.told().await;
            assert_ne!(disconnected, "disconnected: well", "{pair:?} {name}");
        }
        bystanders.notice_nothing().await;
    }
}

#[tokio::test]
async fn floods_of_what_has_no_effect_have_none() {
    let server = Server::start(Options::new()).await;
    let mut bystanders = Bystanders::connect(&server).await;
    for (way, spoken) in PAIRS {
        let mut attacker = Attacker::connect(&server, (way, spoken)).await;
        let (useless, call, answer): (Vec<u8>, Vec<u8>, &[u8]) = match spoken {
            Spoken::Json => (
                [
                    r#"{"type":6}"#,
                    r#"{"type":5,"invocationId":"nobody's"}"#,
                    r#"{"type":2,"invocationId":"nobody's","item":1}"#,
                    r#"{"type":3,"invocationId":"nobody's","result":1}"#,
                    r#"{"type":8,"sequenceId":1}"#,
                    r#"{"type":77}"#,
                ]
                .map(|record| format!("{record}\u{1e}"))
                .concat()
                .into_bytes(),
                b"{\"type\":1,\"invocationId\":\"1\",\"target\":\"Add\",\"arguments\":[1,2]}\x1e"
                    .to_vec(),
                b"\"result\":3}\x1e",
            ),
            Spoken::MessagePack => (
                [
                    &b"\x91\x06"[..],
                    b"\x93\x05\x80\xa1n",
                    b"\x94\x02\x80\xa1n\x01",
                    b"\x95\x03\x80\xa1n\x03\x01",
                    b"\x92\x08\x01",
                    b"\x91\x4d",
                ]
                .map(framed)
                .concat(),
                framed(b"\x96\x01\x80\xa11\xa3Add\x92\x01\x02\x90"),
                b"\x95\x03\x80\xa11\x03\x03",
            ),
        };
        let flood = useless.repeat(1000);
        for _ in 0..10 {
            attacker.send(&flood).await;
            bystanders.socket.works().await;
        }
        // All of it was read, and the connection lives.
        attacker.send(&call).await;
        loop {
            let came = attacker.next().await.expect("an answer");
            if came.ends_with(answer) {
                break;
            }
        }
        bystanders.notice_nothing().await;
    }
}

#[tokio::test]
async fn a_list_of_a_million_is_as_long_as_it_says() {
    let server = Server::start(Options::new().largest_message(ByteSize::mib(4))).await;
    let mut bystanders = Bystanders::connect(&server).await;
    for (way, spoken) in PAIRS {
        let mut attacker = Attacker::connect(&server, (way, spoken)).await;
        let million = match spoken {
            Spoken::Json => {
                let list = vec!["1"; 1_000_000].join(",");
                format!("{{\"type\":1,\"invocationId\":\"1\",\"target\":\"Add\",\"arguments\":[{list}]}}\u{1e}")
                    .into_bytes()
            }
            Spoken::MessagePack => framed(
                &[
                    &b"\x96\x01\x80\xa11\xa3Add\xdd\x00\x0f\x42\x40"[..],
                    &vec![1; 1_000_000],
                    b"\x90",
                ]
                .concat(),
            ),
        };
        attacker.send(&million).await;
        let refusal = attacker.next().await.expect("an answer");
        let refusal = String::from_utf8_lossy(&refusal);
        assert!(
            refusal.contains("Failed to invoke 'Add' due to an error on the server."),
            "{refusal}"
        );
        bystanders.notice_nothing().await;
    }
}

#[tokio::test]
async fn slow_handshakes_are_given_up() {
    let options = Options::new().handshake_timeout(Duration::from_millis(500));
    let server = Server::start(options).await;
    let mut bystanders = Bystanders::connect(&server).await;
    for way in [Way::Socket, Way::Events, Way::Polls] {
        let slow = (0..20).map(|_| async {
            let mut slow = Attacker::open(&server, way).await;
            slow.send(b"{\"protocol\":").await;
            slow.rest().await
        });
        for told in join_all(slow).await {
            assert_eq!(told, b"{\"error\":\"Handshake was canceled.\"}\x1e", "{way:?}");
        }
    }
    bystanders.notice_nothing().await;
    assert_eq!(server.hub.stats().connections, 3);
}

#[tokio::test]
async fn thousands_of_negotiations_lead_to_nothing() {
    let mut options = HubOptions::default();
    options.announcements = 100;
    let server = Server::with(Options::new(), |hub| hub.options(options)).await;
    let mut bystanders = Bystanders::connect(&server).await;
    let (_, oldest) = negotiated(&server, "").await;
    let negotiate = |last: &str| {
        format!(
            "POST /hub/negotiate?negotiateVersion=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{last}\r\n"
        )
    };
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (mut answers, mut requests) = stream.split();
    let flood = async {
        for _ in 0..50 {
            requests.write_all(negotiate("").repeat(100).as_bytes()).await.unwrap();
        }
        requests.write_all(negotiate("Connection: close\r\n").as_bytes()).await.unwrap();
    };
    let mut sink = tokio::io::sink();
    let taken = tokio::io::copy(&mut answers, &mut sink);
    let (taken, ()) = soon(futures_util::future::join(taken, flood)).await;
    assert!(taken.unwrap() > 5000 * 300);
    // No more of them are remembered than may be; the newest are.
    let answer = request(&server, "GET", &format!("/hub?id={oldest}"), &[]).await;
    assert_eq!((&*answer.status, &*answer.body), ("404 Not Found", "No Connection with that ID"));
    Poller::connect(&server).await.works().await;
    bystanders.notice_nothing().await;
}

#[tokio::test]
async fn half_open_connections_hold_up_nobody() {
    let server = Server::start(Options::new()).await;
    let mut bystanders = Bystanders::connect(&server).await;
    // Half a request, and half a body.
    let mut halves = Vec::new();
    for half in
        ["GET /hub?id=", "POST /hub/negotiate HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"]
            .repeat(150)
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        halves.push(stream);
    }
    // A POST that never ends keeps its own connection only.
    let (_, token) = negotiated(&server, "").await;
    let path = format!("/hub?id={token}");
    assert_eq!(request(&server, "GET", &path, &[]).await.status, "200 OK");
    let mut post = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n{{");
    post.write_all(head.as_bytes()).await.unwrap();
    bystanders.notice_nothing().await;
    drop(halves);
    bystanders.notice_nothing().await;
}

/// A client whose calls are not answered can make the server take so much and no more.
#[tokio::test]
async fn what_waits_for_a_busy_hub_is_bounded() {
    const SENT: usize = 1000;
    let options = Options::new().parallel_invocations(NonZeroUsize::MIN);
    let server = Server::start(options).await;
    let mut bystanders = Bystanders::connect(&server).await;
    let client = Poller::connect(&server).await;
    client.call("1", "Block", json!(["first"])).await;
    client.call("2", "Block", json!(["second"])).await;
    assert_eq!(server.probe.told().await, "first begins");
    // Whatever a POST is answered for is held by the server.
    let pings = "{\"type\":6}\u{1e}".repeat(SENT / 11);
    let mut held = 0;
    let refused = loop {
        let mut post = Box::pin(client.post(&pings));
        // The fence: what a bystander sends later is answered, in which time this would be as well.
        let fence = async {
            for _ in 0..20 {
                bystanders.notice_nothing().await;
            }
        };
        match futures_util::future::select(&mut post, Box::pin(fence)).await {
            futures_util::future::Either::Left(_) => held += pings.len(),
            futures_util::future::Either::Right(_) => break post,
        }
        assert!(held <= 64 * 1024 + 2 * pings.len(), "{held}");
    };
    assert!(held > 32 * 1024, "{held}");
    server.probe.release();
    server.probe.release();
    soon(refused).await;
}
