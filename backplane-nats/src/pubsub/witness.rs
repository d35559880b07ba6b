use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use backplane_core::{LinkError, Server};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use tokio::sync::Mutex;

use crate::connection::{Connection, Servers};

/// How long servers may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Another one to let a witness in.
    let_in: Duration,
    /// Two to pass on to each other. Where they are parted for longer, nobody can say.
    told: Duration,
}

const PATIENCE: Patience =
    Patience { let_in: Duration::from_secs(1), told: Duration::from_secs(2) };

/// For how long a server that was silent is not asked again.
const SET_ASIDE_FOR: Duration = Duration::from_secs(10);

/// How soon the servers are asked again: news of a subscription takes a millisecond or so.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A connection to each other server of the cluster, to see what the servers pass on to each other.
///
/// A server tells the others of one client's subscriptions one after the other, in their order. So once
/// another server passes on what it gets for the newest one, it knows of all before it. But for one that
/// another client of the same server asked for at the same moment: that client's news may be a little later,
/// which is why everybody is asked twice. Servers that find each other tell all that they know at once.
#[derive(Debug)]
pub(super) struct Witnesses {
    servers: Arc<Servers>,
    book: Mutex<Book>,
    questions: AtomicU64,
}

#[derive(Debug, Default)]
struct Book {
    /// Under each name that a server has.
    witnesses: HashMap<Server, Witness>,
    /// Servers that were silent, and since when.
    aside: HashMap<Server, Instant>,
}

#[derive(Debug, Clone)]
struct Witness {
    connection: Arc<Connection>,
    /// Whether its server has got what was published on the node's.
    has_heard: bool,
}

impl Witnesses {
    pub(super) fn new(servers: Arc<Servers>) -> Self {
        Self { servers, book: Mutex::default(), questions: AtomicU64::new(0) }
    }

    /// Waits until the server of this connection, on which nothing is published or subscribed yet, and every
    /// other that can be reached pass on to each other. Servers that were just started take nodes in before
    /// they have found each other, and what is published on one of them then is lost on the others.
    ///
    /// Of two nodes on two servers, at least the one that connects last finds the other's server there.
    pub(super) async fn meet(&self, connection: &Connection) -> Result<(), LinkError> {
        // Of the time to connect, 3/5 are for the connection itself. Whoever is silent is asked again when
        // something is subscribed.
        let deadline = self.servers.connect_deadline();
        let patience = Patience { let_in: deadline / 10, told: deadline * 3 / 10 };
        self.ask(connection, patience, &mut *self.book.lock().await).await?;
        Ok(())
    }

    /// Waits until every other server that can be reached knows of all that `connection` has subscribed.
    pub(super) async fn know(&self, connection: &Connection) -> Result<(), LinkError> {
        let mut book = self.book.lock().await;
        book.aside.retain(|_, since| since.elapsed() < SET_ASIDE_FOR);
        for server in self.ask(connection, PATIENCE, &mut book).await? {
            let from = connection.notices.address();
            tracing::warn!(%server, from, "two servers do not pass on to each other");
            book.witnesses.remove(&server);
            book.aside.insert(server, Instant::now());
        }
        Ok(())
    }

    /// Asks every other server twice, and returns those that were silent.
    async fn ask(
        &self,
        connection: &Connection,
        patience: Patience,
        book: &mut Book,
    ) -> Result<Vec<Server>, LinkError> {
        book.witnesses.retain(|_, witness| witness.connection.is_open());
        self.let_in(connection, patience.let_in, book).await;
        let answers = book.witnesses.iter_mut().map(|(server, witness)| async move {
            let twice = async {
                for _ in 0..2 {
                    if !witness.has_heard {
                        self.reaches(connection, &witness.connection).await;
                    }
                    self.reaches(&witness.connection, connection).await;
                }
            };
            let answered = tokio::time::timeout(patience.told, twice).await.is_ok();
            witness.has_heard |= answered;
            (!answered).then(|| server.clone())
        });
        let silent = join_all(answers).await.into_iter().flatten().collect();
        if connection.is_open() { Ok(silent) } else { Err(connection.notices.lost()) }
    }

    /// Connects to other servers to which there is no connection yet.
    async fn let_in(&self, connection: &Connection, within: Duration, book: &mut Book) {
        let mut missing = self.servers.others(connection);
        missing.retain(|it| !book.witnesses.contains_key(it) && !book.aside.contains_key(it));
        let opened = join_all(missing.into_iter().map(|server| async move {
            let opened = self.servers.connect_to(&server, None);
            (tokio::time::timeout(within, opened).await, server)
        }));
        let id = |connection: &Connection| connection.client.server_info().server_id;
        for (opened, server) in opened.await {
            match opened {
                Ok(Ok(opened)) => {
                    // It may be called otherwise where it is configured than where it is announced.
                    let known = book.witnesses.values();
                    let known = known.map(|it| &it.connection).find(|it| id(it) == id(&opened));
                    let connection = known.cloned().unwrap_or_else(|| Arc::new(opened));
                    book.witnesses.insert(server, Witness { connection, has_heard: false });
                }
                // Nobody can publish on a server that lets nobody in.
                Ok(Err(_)) => {}
                Err(_) => drop(book.aside.insert(server, Instant::now())),
            }
        }
    }

    /// Waits until what is published on one connection reaches the other, or one of them has ended.
    async fn reaches(&self, from: &Connection, to: &Connection) {
        let number = self.questions.fetch_add(1, Ordering::Relaxed);
        let subject = format!("{}.{number}", to.inbox);
        let Ok(mut heard) = to.client.subscribe(subject.clone()).await else { return };
        let mut pause = FIRST_PAUSE;
        while from.is_open() && to.is_open() {
            // It fails only where the connection has ended.
            let _ = from.client.publish(subject.clone(), Bytes::new()).await;
            if tokio::time::timeout(pause, heard.next()).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
