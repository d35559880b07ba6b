use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backplane_hub::{
    Call, Completion, CompletionError, Connection, ConnectionId, EncodeError, End, Hub,
    InvocationError, Opening, Outbound, Protocol, Reply, User,
};
use bytes::Bytes;
use serde_json::{Value, json};

/// Longer than anything that works takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test where it would hang.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Waits until something is so that nothing tells of.
pub async fn until(what: &str, is_so: impl Fn() -> bool + Send + Sync) {
    soon(what, async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A client protocol for tests: one JSON array, `[protocol, target, arguments, trace, id]`.
#[derive(Debug)]
pub struct Plain {
    name: &'static str,
    /// How many invocations were encoded.
    pub encoded: AtomicU64,
}

impl Plain {
    /// One of this name.
    #[must_use]
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, encoded: AtomicU64::new(0) })
    }
}

impl Protocol for Plain {
    fn name(&self) -> &'static str {
        self.name
    }

    fn invocation(
        &self,
        id: Option<&str>,
        target: &str,
        arguments: &[&dyn erased_serde::Serialize],
        trace: Option<&str>,
    ) -> Result<Bytes, EncodeError> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        let values: Result<Vec<Value>, _> = arguments.iter().map(serde_json::to_value).collect();
        let values = values.map_err(EncodeError::new)?;
        Ok(json!([self.name, target, values, trace, id]).to_string().into())
    }

    fn argument(
        &self,
        raw: &[u8],
        read: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), erased_serde::Error> {
        let mut json = serde_json::Deserializer::from_slice(raw);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
    }
}

/// What a client was told.
#[derive(Clone, PartialEq)]
pub struct Told {
    pub protocol: String,
    pub target: String,
    pub arguments: Vec<Value>,
    pub trace: Option<String>,
    /// What an answer refers to, where one is wanted.
    pub id: Option<String>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.target, self.arguments)
    }
}

impl Told {
    fn read(bytes: &Bytes) -> Self {
        let (protocol, target, arguments, trace, id) = serde_json::from_slice(bytes).unwrap();
        Self { protocol, target, arguments, trace, id }
    }
}

/// A connection and its client, in one.
#[derive(Debug)]
pub struct Client {
    /// The connection's id.
    pub id: ConnectionId,
    /// The hub of its node.
    pub hub: Hub,
    connection: Option<Connection>,
    outbound: Option<Outbound>,
    waiting: VecDeque<Bytes>,
}

/// A call with these arguments.
#[must_use]
pub fn call(target: &str, arguments: &[Value]) -> Call {
    Call::new(target, arguments.iter().map(|argument| argument.to_string().into()).collect())
}

static FENCES: AtomicU64 = AtomicU64::new(0);

impl Client {
    /// Opens an anonymous connection with a fresh id.
    pub async fn open(hub: &Hub) -> Self {
        Self::open_as(hub, None).await
    }

    /// Opens a connection of this user with a fresh id.
    pub async fn open_as(hub: &Hub, user: Option<&str>) -> Self {
        let id = ConnectionId::random();
        Self::open_with(hub, id, user.map(User::new), Plain::new("plain")).await
    }

    /// Opens a connection that is wholly described.
    pub async fn open_with(
        hub: &Hub,
        id: ConnectionId,
        user: Option<User>,
        protocol: Arc<dyn Protocol>,
    ) -> Self {
        let opening = Opening { id: id.clone(), user, protocol, request: None, movable: false };
        let (connection, outbound) = soon("opening", hub.open(opening)).await.unwrap();
        Self {
            id,
            hub: hub.clone(),
            connection: Some(connection),
            outbound: Some(outbound),
            waiting: VecDeque::new(),
        }
    }

    /// The front end's side of the connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().unwrap()
    }

    /// Takes the front end's side, for a client that goes on without it.
    pub fn take_connection(&mut self) -> Connection {
        self.connection.take().unwrap()
    }

    /// The next message; `None` where no more will come.
    pub async fn next(&mut self) -> Option<Told> {
        self.next_raw().await.map(|bytes| Told::read(&bytes))
    }

    /// The same as it stands.
    pub async fn next_raw(&mut self) -> Option<Bytes> {
        if self.waiting.is_empty() {
            let mut batch = Vec::new();
            let outbound = self.outbound.as_mut().unwrap();
            let what = format!("a message for {}", self.id);
            if soon(&what, outbound.receive(&mut batch, 64)).await == 0 {
                return None;
            }
            self.waiting.extend(batch);
        }
        self.waiting.pop_front()
    }

    /// Whether a message has come that was not taken.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the next message, which must be this.
    pub async fn expect(&mut self, target: &str, arguments: Value) {
        let told = self.next().await.expect("a message");
        assert_eq!((&*told.target, json!(told.arguments)), (target, arguments), "at {}", self.id);
    }

    /// Proves that nothing waits and nothing is on its way that was sent before: a message that is
    /// sent now is the next one.
    pub async fn expect_nothing(&mut self, from: &[&Hub]) {
        for hub in from {
            let number = FENCES.fetch_add(1, Ordering::Relaxed);
            hub.clients().connection(&self.id).send("fence", &number).await.unwrap();
            self.expect("fence", json!([number])).await;
        }
    }

    /// Calls a method.
    pub async fn invoke(
        &self,
        target: &str,
        arguments: Vec<Value>,
    ) -> Result<Value, InvocationError> {
        match self.call(call(target, &arguments)).await? {
            Reply::Value(value) => Ok(serde_json::to_value(value).unwrap()),
            Reply::Items(_) => panic!("{target} returned a stream"),
        }
    }

    /// Makes a call.
    pub async fn call(&self, call: Call) -> Result<Reply, InvocationError> {
        soon("a call", self.connection().call(call)).await
    }

    /// Answers a call with a value.
    pub fn returns(&self, call: &Told, value: &Value) -> Result<(), CompletionError> {
        self.completes(call, Completion::Result(value.to_string().into()))
    }

    /// Answers a call.
    pub fn completes(&self, call: &Told, completion: Completion) -> Result<(), CompletionError> {
        self.connection().completed(call.id.as_deref().unwrap(), completion)
    }

    /// Waits until the hub wants the connection closed, and says why.
    pub async fn ended(&self) -> End {
        soon("the end", self.connection().ended()).await
    }

    /// Leaves in an orderly way; what waits can still be read.
    pub async fn leave(&mut self) {
        self.take_connection().disconnected(None).await;
    }

    /// As a client whose socket takes nothing: every write fails from now on.
    pub fn break_off(&mut self) {
        self.outbound = None;
    }
}
