use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backplane_core::{LinkError, Server};
use futures_util::{StreamExt, future::join_all};
use tokio::sync::Mutex;

use crate::connection::{Connection, Servers};

/// How long another server may take to let a witness in.
const LET_IN_WITHIN: Duration = Duration::from_secs(1);

/// How long the servers may take to tell each other. Where they are parted for longer, nobody can say.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// How soon the servers are asked again: news of a subscription takes a millisecond or so.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A connection to each other server of the cluster, to see that it knows of a subscription.
///
/// A server tells the others of one client's subscriptions one after the other, in their order. So once
/// another server passes on what it gets for the newest one, it knows of all before it. But for one that
/// another client of the same server asked for at the same moment: that client's news may be a little later,
/// which is why everybody is asked twice.
#[derive(Debug)]
pub(super) struct Witnesses {
    servers: Arc<Servers>,
    connections: Mutex<HashMap<Server, Connection>>,
    questions: AtomicU64,
}

impl Witnesses {
    pub(super) fn new(servers: Arc<Servers>) -> Self {
        Self { servers, connections: Mutex::default(), questions: AtomicU64::new(0) }
    }

    /// Waits until every other server that can be reached knows of all that `connection` has subscribed.
    pub(super) async fn know(&self, connection: &Connection) -> Result<(), LinkError> {
        let others = self.servers.others(connection);
        let mut witnesses = self.connections.lock().await;
        witnesses.retain(|server, it| others.contains(server) && it.is_open());
        let missing = others.into_iter().filter(|server| !witnesses.contains_key(server));
        let missing: Vec<Server> = missing.collect();
        let opened = join_all(missing.into_iter().map(async |server| {
            let opened = self.servers.connect_to(&server, None);
            let opened = tokio::time::timeout(LET_IN_WITHIN, opened).await;
            // Nobody can publish on a server that lets nobody in.
            opened.ok()?.ok().map(|connection| (server, connection))
        }));
        witnesses.extend(opened.await.into_iter().flatten());
        if witnesses.is_empty() {
            return Ok(());
        }
        let twice = async {
            self.ask(&witnesses, connection).await?;
            self.ask(&witnesses, connection).await
        };
        let asked = tokio::time::timeout(TOLD_WITHIN, twice).await;
        asked.unwrap_or_else(|_| {
            tracing::warn!(
                "another server of the cluster does not pass on what is subscribed here"
            );
            Ok(())
        })
    }

    async fn ask(
        &self,
        witnesses: &HashMap<Server, Connection>,
        connection: &Connection,
    ) -> Result<(), LinkError> {
        let number = self.questions.fetch_add(1, Ordering::Relaxed);
        let subject = format!("{}.{number}", connection.inbox);
        let lost = || connection.notices.lost();
        let mut heard = connection.client.subscribe(subject.clone()).await.map_err(|_| lost())?;
        let mut silent: Vec<(u32, &Connection)> = (0..).zip(witnesses.values()).collect();
        let mut pause = FIRST_PAUSE;
        while !silent.is_empty() {
            for (name, witness) in &silent {
                let word = name.to_le_bytes().to_vec();
                // One that is gone is asked no more.
                let _ = witness.client.publish(subject.clone(), word.into()).await;
            }
            let until = tokio::time::Instant::now() + pause;
            while let Ok(message) = tokio::time::timeout_at(until, heard.next()).await {
                let message = message.ok_or_else(lost)?;
                silent.retain(|(name, _)| *message.payload != name.to_le_bytes());
                if silent.is_empty() {
                    return Ok(());
                }
            }
            silent.retain(|(_, witness)| witness.is_open());
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }
}
