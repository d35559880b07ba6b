//! Sessions in virtual time, without sockets.

use std::time::{Duration, SystemTime};

use backplane_hub::{Hub, User};
use backplane_memory::Medium;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    Identity, Transport,
    polled::{Polled, PolledConnection, PolledSocket},
};

const SECOND: Duration = Duration::from_secs(1);

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
        let hub = Hub::builder("test").backplane(Arc::new(Medium::new().node())).build().unwrap();
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
