//! Redis Cluster: several servers of the Redis family that divide the slots among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue, RedisError, RedisResult, cmd};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::tls::Certificates;
use super::{Broker, BrokerError, Port, Redis, RedisFlavour, RedisOptions};

/// How many masters there are, and as many replicas.
const MASTERS: usize = 3;
/// How many slots a cluster has.
const SLOTS: usize = 16_384;
/// How long a server may be silent before the others give it up. Short, so that failovers are.
const NODE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long the servers may take to agree on anything.
const AGREE_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A cluster of three masters and three replicas, for one test. Dropping it ends them.
#[derive(Debug)]
pub struct RedisCluster {
    servers: Vec<Member>,
}

/// One server of a cluster.
#[derive(Debug)]
struct Member {
    broker: Broker,
    /// What the others call it.
    id: String,
    /// A connection of the cluster's own.
    connection: Mutex<Option<MultiplexedConnection>>,
    bus: Port,
}

/// How one server sees the cluster: by identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct View {
    /// Those that it is connected to and that are well, and itself, each with its master, if it has one.
    well: BTreeMap<String, Option<String>>,
    /// How many slots each owns.
    slots: BTreeMap<String, usize>,
}

impl RedisCluster {
    /// Starts the servers and waits until they agree. The first three are the masters. They keep no data.
    ///
    /// # Errors
    ///
    /// One of them does not start, or they do not agree in time.
    pub async fn start(flavour: RedisFlavour, options: RedisOptions) -> Result<Self, BrokerError> {
        let certificates = options.certificates()?;
        let servers =
            (0..2 * MASTERS).map(|_| Member::start(flavour, &options, certificates.clone()));
        let servers = try_join_all(servers);
        let cluster = Self { servers: servers.await? };
        cluster.form().await?;
        Ok(cluster)
    }

    /// What the servers say that they are: `valkey 9.1.2 cluster`.
    pub fn name(&self) -> String {
        format!("{} cluster", self.servers[0].broker.name())
    }

    /// The servers, at first the masters before the replicas.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.servers.iter().map(|server| &server.broker)
    }

    async fn form(&self) -> Result<(), BrokerError> {
        // Before they know each other; afterwards it is refused.
        let each = (0..self.servers.len()).map(async |number| {
            self.ask::<()>(number, cluster("SET-CONFIG-EPOCH").arg(number + 1)).await
        });
        try_join_all(each).await?;
        let each = (0..self.servers.len()).map(async |number| {
            if number < MASTERS {
                let bound = |master: usize| SLOTS * master / MASTERS;
                let (first, last) = (bound(number), bound(number + 1) - 1);
                self.ask::<()>(number, cluster("ADDSLOTSRANGE").arg(first).arg(last)).await?;
            }
            // Everybody everybody: gossip would take longer.
            for other in &self.servers[..number] {
                let (port, bus) = (other.broker.port(), other.bus.number());
                let mut meet = cluster("MEET");
                self.ask::<()>(number, meet.arg("127.0.0.1").arg(port).arg(bus)).await?;
            }
            Ok::<(), BrokerError>(())
        });
        try_join_all(each).await?;
        self.until("meet", async || {
            let views = self.views().await?;
            let all = |view: &View| view.well.len() == 2 * MASTERS && view.slots.len() == MASTERS;
            Ok(if views.iter().all(all) { Ok(()) } else { Err(format!("{views:?}")) })
        })
        .await?;
        let replicas = (MASTERS..2 * MASTERS).map(async |number| {
            let master = &self.servers[number - MASTERS].id;
            self.ask::<()>(number, cluster("REPLICATE").arg(master)).await
        });
        try_join_all(replicas).await?;
        self.until("agree on who replicates whom", async || self.state(false).await).await
    }

    /// Waits until all servers run, agree, and every replica has what its master has.
    ///
    /// # Errors
    ///
    /// They are not, in time.
    pub async fn well(&self) -> Result<(), BrokerError> {
        self.until("become well", async || self.state(true).await).await
    }

    /// Whether all servers agree; with those that replicate in step, if that is asked for.
    async fn state(&self, in_step: bool) -> Result<Result<(), String>, BrokerError> {
        let views = self.views().await?;
        let Some(first) = views.first() else { return Ok(Ok(())) };
        let replicas: Vec<usize> = self.replicas_in(first).collect();
        if views.iter().any(|view| view != first)
            || first.well.len() != self.servers.len()
            || first.slots.values().sum::<usize>() != SLOTS
            || replicas.len() != self.servers.len() - first.slots.len()
        {
            return Ok(Err(format!("{views:?}")));
        }
        if in_step {
            for (number, server) in self.servers.iter().enumerate() {
                let info: String = self.ask(number, cmd("INFO").arg("replication")).await?;
                let state: String = self.ask(number, &cluster("INFO")).await?;
                let linked = !replicas.contains(&number) || info.contains("master_link_status:up");
                if !linked || !state.contains("cluster_state:ok") {
                    return Ok(Err(format!("{} is out of step", server.broker.port())));
                }
            }
        }
        Ok(Ok(()))
    }

    fn replicas_in(&self, view: &View) -> impl Iterator<Item = usize> {
        let is_replica = |server: &Member| matches!(view.well.get(&server.id), Some(Some(_)));
        (0..).zip(&self.servers).filter(move |(_, server)| is_replica(server)).map(|(at, _)| at)
    }

    /// The places in [`brokers`](Self::brokers) of the masters that own slots, as one running server sees it.
    ///
    /// # Errors
    ///
    /// No server answers.
    pub async fn masters(&self) -> Result<Vec<usize>, BrokerError> {
        let view = self.running_view().await?;
        let owns = |number: &usize| view.slots.contains_key(&self.servers[*number].id);
        Ok((0..self.servers.len()).filter(owns).collect())
    }

    /// The place of a replica of that server.
    ///
    /// # Errors
    ///
    /// It has none.
    pub async fn replica_of(&self, master: usize) -> Result<usize, BrokerError> {
        let view = self.running_view().await?;
        let id = Some(&self.servers[master].id);
        let found = self.servers.iter().position(|server| {
            view.well.get(&server.id).is_some_and(|master| master.as_ref() == id)
        });
        found.ok_or_else(|| self.failed("have a replica of the master", format!("{view:?}")))
    }

    /// Waits until another server owns what that one did, which does not have to run.
    ///
    /// # Errors
    ///
    /// None does, in time.
    pub async fn replaced(&self, master: usize) -> Result<(), BrokerError> {
        let id = &self.servers[master].id;
        self.until("replace a master", async || {
            let running = (0..self.servers.len()).filter(|number| *number != master);
            let views = join_all(running.map(|number| self.view(number))).await;
            let settled = |view: &Result<View, BrokerError>| {
                view.as_ref().is_ok_and(|view| {
                    !view.slots.contains_key(id) && view.slots.values().sum::<usize>() == SLOTS
                })
            };
            Ok(if views.iter().all(settled) { Ok(()) } else { Err(format!("{views:?}")) })
        })
        .await
    }

    /// Makes a replica of that master take over in an orderly way.
    ///
    /// # Errors
    ///
    /// There is none, or it does not.
    pub async fn hand_over(&self, master: usize) -> Result<(), BrokerError> {
        let replica = self.replica_of(master).await?;
        self.ask::<()>(replica, &cluster("FAILOVER")).await?;
        self.replaced(master).await
    }

    /// Moves slots from their owner to another master.
    ///
    /// # Errors
    ///
    /// A server refuses it.
    pub async fn move_slots(
        &self,
        slots: impl IntoIterator<Item = u16>,
        from: usize,
        to: usize,
    ) -> Result<(), BrokerError> {
        // Otherwise the new owner may take a newer epoch than it knows of, but not than there is, and the old
        // one's word outweigh its own: in the end, nobody would own the slot.
        self.until("agree on an epoch", async || {
            let infos = (0..self.servers.len()).map(async |server| {
                let info: String = self.ask(server, &cluster("INFO")).await?;
                let epoch = info.lines().find(|line| line.starts_with("cluster_current_epoch:"));
                Ok::<_, BrokerError>(epoch.unwrap_or_default().to_owned())
            });
            let epochs: BTreeSet<String> = try_join_all(infos).await?.into_iter().collect();
            Ok(if epochs.len() == 1 { Ok(()) } else { Err(format!("{epochs:?}")) })
        })
        .await?;
        let [source, target] = [from, to].map(|number| &self.servers[number].id);
        let set = |slot: u16, state: &str, id: &str| {
            let mut set = cluster("SETSLOT");
            set.arg(slot).arg(state).arg(id);
            set
        };
        for slot in slots {
            self.ask::<()>(to, &set(slot, "IMPORTING", source)).await?;
            self.ask::<()>(from, &set(slot, "MIGRATING", target)).await?;
            // There are no keys to migrate.
            self.ask::<()>(to, &set(slot, "NODE", target)).await?;
            match self.ask::<()>(from, &set(slot, "NODE", target)).await {
                // It has given its last slot away, and become a replica.
                Err(error) if error.to_string().contains("only with masters") => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Asks one server, over a connection of its own.
    ///
    /// # Errors
    ///
    /// It refuses, or cannot be reached.
    pub async fn ask<T: FromRedisValue>(
        &self,
        server: usize,
        command: &Cmd,
    ) -> Result<T, BrokerError> {
        let asked = self.servers[server].ask(command).await;
        asked.map_err(|error| self.failed("answer", error.to_string()))
    }

    async fn views(&self) -> Result<Vec<View>, BrokerError> {
        try_join_all((0..self.servers.len()).map(|number| self.view(number))).await
    }

    async fn view(&self, server: usize) -> Result<View, BrokerError> {
        let nodes: String = self.ask(server, &cluster("NODES")).await?;
        Ok(View::read(&nodes))
    }

    /// The view of one that runs; where several do, the one that most others agree with does not matter.
    async fn running_view(&self) -> Result<View, BrokerError> {
        let mut last = None;
        for (number, server) in self.servers.iter().enumerate() {
            if server.broker.state() == super::BrokerState::Running {
                match self.view(number).await {
                    Ok(view) => return Ok(view),
                    Err(error) => last = Some(error),
                }
            }
        }
        Err(last.unwrap_or_else(|| self.failed("answer", "none of them runs".to_owned())))
    }

    async fn until<F>(
        &self,
        operation: &'static str,
        look: impl Fn() -> F,
    ) -> Result<(), BrokerError>
    where
        F: Future<Output = Result<Result<(), String>, BrokerError>>,
    {
        let until = Instant::now() + AGREE_WITHIN;
        loop {
            let reason = match look().await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(state)) => state,
                Err(error) => error.to_string(),
            };
            if Instant::now() >= until {
                return Err(self.failed(operation, reason));
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    fn failed(&self, operation: &'static str, reason: String) -> BrokerError {
        BrokerError::Cluster { name: self.name(), operation, reason }
    }
}

impl Member {
    async fn start(
        flavour: RedisFlavour,
        options: &RedisOptions,
        certificates: Option<Certificates>,
    ) -> Result<Self, BrokerError> {
        let bus = Port::take()?;
        let options = options
            .clone()
            .cluster_bus(bus.number())
            .config_line(format!("cluster-node-timeout {}", NODE_TIMEOUT.as_millis()))
            .config_line("cluster-replica-validity-factor 0");
        let broker = Redis::start_with(flavour, options, certificates).await?;
        let mut member = Self { broker, id: String::new(), connection: Mutex::default(), bus };
        let id = member.ask(&cluster("MYID")).await;
        member.id = id.map_err(|error| BrokerError::Cluster {
            name: member.broker.name().to_owned(),
            operation: "say its name in the cluster",
            reason: error.to_string(),
        })?;
        Ok(member)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_mut() {
            match command.query_async(connection).await {
                // The server was restarted since.
                Err(error) if error.is_io_error() => {}
                answer => return answer,
            }
        }
        let connection = kept.insert(self.client()?.get_multiplexed_async_connection().await?);
        command.query_async(connection).await
    }

    fn client(&self) -> RedisResult<Client> {
        #[cfg(feature = "tls")]
        if let Some(authority) = self.broker.ca_certificate() {
            return super::tls::redis_client(self.broker.url(), std::fs::read(authority)?);
        }
        Client::open(self.broker.url())
    }
}

impl View {
    /// From lines such as `id address flags master ping pong epoch link slot slot…`.
    fn read(nodes: &str) -> Self {
        let mut view = Self::default();
        for line in nodes.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [id, _, flags, master, _, _, _, link, slots @ ..] = &words[..] else { continue };
            let flags: BTreeSet<&str> = flags.split(',').collect();
            let ill = ["fail", "fail?", "handshake", "noaddr"];
            if *link == "connected" && !ill.iter().any(|flag| flags.contains(flag)) {
                let master = (*master != "-").then(|| (*master).to_owned());
                view.well.insert((*id).to_owned(), master);
            }
            let owned: usize = slots.iter().map(|range| size(range)).sum();
            if owned > 0 {
                view.slots.insert((*id).to_owned(), owned);
            }
        }
        view
    }
}

/// How many slots `5`, or `5-9`, are; none where one is on its way.
fn size(range: &str) -> usize {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => last + 1 - first,
        _ => 0,
    }
}

fn cluster(word: &str) -> Cmd {
    let mut command = cmd("CLUSTER");
    command.arg(word);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_read() {
        let nodes = "a1 127.0.0.1:17000@18000 myself,master - 0 0 1 connected 0-5460 7000\n\
                     b2 127.0.0.1:17001@18001 slave a1 0 1 1 connected\n\
                     c3 127.0.0.1:17002@18002 master,fail - 1 2 3 disconnected 5461-5462 [7->-a1]\n\
                     d4 127.0.0.1:17003@18003 handshake - 1 2 3 connected\n";
        let view = View::read(nodes);
        let well = [("a1".to_owned(), None), ("b2".to_owned(), Some("a1".to_owned()))];
        assert_eq!(view.well, BTreeMap::from(well));
        assert_eq!(view.slots, BTreeMap::from([("a1".to_owned(), 5462), ("c3".to_owned(), 2)]));
    }

    #[tokio::test]
    async fn redis7_and_valkey9_form_a_cluster() {
        for flavour in [RedisFlavour::Valkey9, RedisFlavour::Redis7] {
            let begun = Instant::now();
            let cluster = RedisCluster::start(flavour, RedisOptions::default()).await.unwrap();
            println!("{} formed in {:?}", cluster.name(), begun.elapsed());
            cluster.well().await.unwrap();
            println!("well after {:?}", begun.elapsed());
            cluster.brokers().next().unwrap().kill().await.unwrap();
            let begun = Instant::now();
            cluster.replaced(0).await.unwrap();
            println!("replaced in {:?}", begun.elapsed());
            cluster.brokers().next().unwrap().start().await.unwrap();
            cluster.well().await.unwrap();
            println!("back after {:?}", begun.elapsed());
        }
    }
}
