//! A server with a hub for tests, and its health beside it.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use backplane_hub::{
    Backplane, Caller, Disconnect, Hub, HubBuilder, HubError, HubOptions, Policy, State,
};
use backplane_memory::Medium;
use backplane_signalr::{Options, Rejection, health_router, router};
use http::request::Parts;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore, mpsc},
    task::JoinHandle,
};

/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A hub behind `/hub`, served until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) hub: Hub,
    pub(crate) probe: Probe,
    task: JoinHandle<()>,
}

/// What the hub's handlers share with the test.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// Each permit lets one `Block` go on.
    gate: Arc<Semaphore>,
    events: mpsc::Sender<String>,
    told: Arc<Mutex<mpsc::Receiver<String>>>,
}

impl Probe {
    fn new() -> Self {
        let (events, told) = mpsc::channel(1000);
        Self { gate: Arc::new(Semaphore::new(0)), events, told: Arc::new(Mutex::new(told)) }
    }

    /// Lets one call of `Block` go on.
    pub(crate) fn release(&self) {
        self.gate.add_permits(1);
    }

    /// The next thing that a handler told.
    pub(crate) async fn told(&self) -> String {
        let mut told = self.told.lock().await;
        let told = tokio::time::timeout(PATIENCE, told.recv()).await;
        told.expect("a handler tells something in time").expect("the probe lives")
    }

    /// Waits until one more may go on.
    pub(crate) async fn pass(&self) {
        self.gate.acquire().await.expect("the gate is never closed").forget();
    }

    pub(crate) async fn tell(&self, event: impl Into<String>) {
        self.events.send(event.into()).await.expect("the test listens");
    }
}

impl Server {
    /// Serves a hub with all the methods of these tests.
    pub(crate) async fn start(options: Options) -> Self {
        Self::with(options, |hub| hub).await
    }

    /// The same with a hub that is changed first.
    pub(crate) async fn with(
        options: Options,
        change: impl FnOnce(HubBuilder) -> HubBuilder,
    ) -> Self {
        Self::on(&Medium::new(), options, change).await
    }

    /// The same as one of several nodes.
    pub(crate) async fn on(
        medium: &Medium,
        options: Options,
        change: impl FnOnce(HubBuilder) -> HubBuilder,
    ) -> Self {
        Self::over(Arc::new(medium.node()), options, change).await
    }

    /// The same over a node that is not an ordinary one.
    pub(crate) async fn over(
        node: Arc<dyn Backplane>,
        options: Options,
        change: impl FnOnce(HubBuilder) -> HubBuilder,
    ) -> Self {
        let probe = Probe::new();
        let hub = change(hub(node, probe.clone())).build().expect("a hub");
        let mut link = hub.backplane().link();
        link.wait_for(|link| link.is_up()).await.expect("the memory transport connects");
        drop(link);
        let app = Router::new().merge(health_router(&hub)).nest("/hub", router(&hub, options));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { address, hub, probe, task }
    }
}

impl From<&Server> for SocketAddr {
    fn from(server: &Server) -> Self {
        server.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the user's name from the query.
pub(crate) fn by_query(request: &Parts) -> Result<Option<backplane_hub::User>, Rejection> {
    let query = request.uri.query().unwrap_or_default();
    let user = query.split('&').find_map(|pair| pair.strip_prefix("user="));
    Ok(user.map(backplane_hub::User::new))
}

fn hub(node: Arc<dyn Backplane>, probe: Probe) -> HubBuilder {
    Hub::builder("test")
        .backplane(node)
        .options(HubOptions::default())
        .state(probe)
        .method("Echo", async |value: Value| value)
        .method("Add", async |a: i32, b: i32| a + b)
        .method("Nothing", async || {})
        .method("Fail", async |text: String| -> Result<(), HubError> {
            Err(HubError::named("InvalidOperationException", text))
        })
        .method("FailPublicly", async |text: String| -> Result<(), HubError> {
            Err(HubError::client(text))
        })
        .method("Panic", panic)
        .method("Unwritable", async || HashMap::from([((1, 2), 3)]))
        .method("WhoAmI", async |caller: Caller| caller.id().to_string())
        .method("Node", async |caller: Caller| caller.hub().node().to_string())
        .method("User", async |caller: Caller| {
            caller.user().and_then(|user| user.id.as_deref().map(str::to_owned))
        })
        .method("Block", block)
        .method("Abort", async |caller: Caller| caller.abort())
        .method("SendBack", send_back)
        .method("Ask", ask)
        .method_with("Secret", async || "secret", Policy::claim("role", "admin"))
        .on_disconnected(disconnected)
}

async fn panic(text: String) {
    panic!("{text}");
}

/// Tells that it has begun, and goes on when it is released.
async fn block(name: String, State(probe): State<Probe>) -> String {
    probe.tell(format!("{name} begins")).await;
    probe.pass().await;
    probe.tell(format!("{name} ends")).await;
    name
}

async fn send_back(text: String, caller: Caller) -> Result<usize, HubError> {
    caller.clients().caller().send("Message", (&text,)).await?;
    Ok(text.len())
}

/// What the caller's client answers.
async fn ask(caller: Caller, what: String) -> Result<Value, HubError> {
    Ok(caller.clients().caller().invoke("Question", (&what,)).await?)
}

async fn disconnected(caller: Caller, disconnect: Disconnect, State(probe): State<Probe>) {
    let _ = caller;
    probe.tell(format!("disconnected: {}", disconnect.error().unwrap_or("well"))).await;
}
