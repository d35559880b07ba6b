//! Sessions in virtual time, without sockets.

use std::time::{Duration, SystemTime};

use backplane_hub::{Aborted, Hub, HubBuilder, State, User};
use backplane_memory::Medium;
use futures_util::StreamExt;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::*;
use crate::{
    Identity, Transport,
    polled::{Events, Polled, PolledConnection, PolledSocket},
};

const SECOND: Duration = Duration::from_secs(1);

fn hub() -> HubBuilder {
    Hub::builder("test").backplane(Arc::new(Medium::new().node()))
}

fn until(seconds: u32) -> Identity {
    Identity::until(User::new("ann"), SystemTime::now() + seconds * SECOND)
}

/// A session of a client that polls.
struct Polling {
    endpoint: Arc<Endpoint>,
    id: ConnectionId,
    standing: Arc<Standing>,
    connection: Arc<PolledConnection>,
    began: Instant,
}

impl Polling {
    /// One that has shaken hands.
    async fn begin(identity: Identity, options: Options) -> Self {
        Self::with(hub().build().unwrap(), identity, options).await
    }

    /// The same, of a hub that is not an ordinary one.
    async fn with(hub: Hub, identity: Identity, options: Options) -> Self {
        hub.speak(Codec::Json.protocol());
        let endpoint = Arc::new(Endpoint::new(hub, options));
        let id = ConnectionId::random();
        let standing = Arc::new(Standing::new(identity));
        let connection = Arc::new(PolledConnection::new(Transport::LongPolling));
        let began = Instant::now();
        let socket = PolledSocket::new(Arc::clone(&connection), 15 * SECOND);
        let admission = Admission {
            endpoint: Arc::clone(&endpoint),
            id: id.clone(),
            standing: Some(Arc::clone(&standing)),
            registration: None,
            request: None,
            seat: None,
        };
        tokio::spawn(run(Carrier::Polled(socket), admission));
        let polling = Self { endpoint, id, standing, connection, began };
        polling
            .connection
            .post("{\"protocol\":\"json\",\"version\":1}\u{1e}".into())
            .await
            .unwrap();
        assert_eq!(polling.poll().await, Polled::Messages(vec!["{}\u{1e}".into()]));
        polling
    }

    async fn poll(&self) -> Polled {
        self.connection.poll(90 * SECOND).await
    }

    /// After how many seconds the client is told to connect again.
    async fn closes(&self) -> u64 {
        let close = "{\"type\":7,\"allowReconnect\":true}\u{1e}";
        assert_eq!(self.poll().await, Polled::Messages(vec![close.into()]));
        // The clock of expiries is not that of timers.
        (self.began.elapsed() + SECOND / 2).as_secs()
    }

    fn renew(&self, identity: Identity) {
        self.standing.renew(&self.endpoint.hub, &self.id, identity).unwrap();
    }
}

fn closing() -> Options {
    Options::new().close_on_authentication_expiration(true)
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_credentials() {
    assert_eq!(Polling::begin(until(60), closing()).await.closes().await, 60);
}

#[tokio::test(start_paused = true)]
async fn on_connected_is_told_that_the_credentials_have_expired() {
    type Told = mpsc::Sender<&'static str>;
    async fn connected(aborted: Aborted, State(told): State<Told>) {
        aborted.wait().await;
        sleep(SECOND).await;
        told.send("aborted").await.unwrap();
    }
    async fn disconnected(State(told): State<Told>) {
        told.send("disconnected").await.unwrap();
    }
    let (sender, mut told): (Told, _) = mpsc::channel(2);
    let hub = hub().state(sender).on_connected(connected).on_disconnected(disconnected);
    let polling = Polling::with(hub.build().unwrap(), until(60), closing()).await;
    assert_eq!(polling.closes().await, 60);
    assert_eq!(told.recv().await, Some("aborted"));
    assert_eq!(polling.endpoint.hub.stats().connections, 0);
    assert_eq!(told.recv().await, Some("disconnected"));
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_where_nobody_wants_it_to_end() {
    let polling = Polling::begin(until(60), Options::new()).await;
    assert_eq!(polling.poll().await, Polled::Nothing);
    let polling = Polling::begin(User::new("ann").into(), closing()).await;
    assert_eq!(polling.poll().await, Polled::Nothing);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_newest_credentials() {
    for (seconds, ends) in [(50, 80), (5, 35)] {
        let polling = Polling::begin(until(60), closing()).await;
        let renewed = async {
            sleep(30 * SECOND).await;
            polling.renew(until(seconds));
        };
        let (closed, ()) = join(polling.closes(), renewed).await;
        assert_eq!(closed, ends);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_came_late_does_not_count() {
    let polling = Polling::begin(until(60), closing()).await;
    polling.standing.renew_if_fresher(&polling.endpoint.hub, &polling.id, until(30)).unwrap();
    assert_eq!(polling.closes().await, 60);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_something_is_not_pinged() {
    let hub = hub().build().unwrap();
    hub.speak(Codec::Json.protocol());
    let endpoint = Arc::new(Endpoint::new(hub.clone(), Options::new()));
    let id = ConnectionId::random();
    let connection = Arc::new(PolledConnection::new(Transport::ServerSentEvents));
    let socket = PolledSocket::new(Arc::clone(&connection), 15 * SECOND);
    let admission = Admission {
        endpoint,
        id: id.clone(),
        standing: None,
        registration: None,
        request: None,
        seat: None,
    };
    tokio::spawn(run(Carrier::Polled(socket), admission));
    let mut events = Events::new(Arc::clone(&connection));
    let mut next = async || events.next().await.unwrap().unwrap();
    assert_eq!(next().await, ":\r\n");
    connection.post("{\"protocol\":\"json\",\"version\":1}\u{1e}".into()).await.unwrap();
    assert_eq!(next().await, "data: {}\u{1e}\r\n\r\n");
    for _ in 0..10 {
        sleep(10 * SECOND).await;
        hub.clients().connection(&id).send("Told", ()).await.unwrap();
        let told = "data: {\"type\":1,\"target\":\"Told\",\"arguments\":[]}\u{1e}\r\n\r\n";
        assert_eq!(next().await, told);
    }
    let silent = Instant::now();
    assert_eq!(next().await, "data: {\"type\":6}\u{1e}\r\n\r\n");
    assert_eq!(silent.elapsed().as_secs(), 15);
}
