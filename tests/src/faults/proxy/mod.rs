//! A TCP proxy between a node and its broker that can be told to fail.

mod announced;
mod pump;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    brokers::Port,
    kit::{Doing, Outcome, Random},
};
use announced::Announced;
use pump::{Ways, pump};

/// What the kernel may keep of what was not read: little, so that back-pressure is soon felt.
const KEPT: u32 = 64 * 1024;
/// How many connections may wait to be taken.
const BACKLOG: u32 = 128;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the node to the broker.
    ToBroker,
    /// From the broker to the node.
    ToNode,
}

impl Direction {
    /// Both ways.
    pub const BOTH: &[Self] = &[Self::ToBroker, Self::ToNode];
}

/// Which connections of a node that has several.
///
/// A connection on which the Redis command `SUBSCRIBE` was seen is a receiving one. NATS has one
/// connection for both, which counts as publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those on which the node receives.
    Receiving,
    /// The others.
    Publishing,
}

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Flow {
    held: bool,
    /// How late, and by how much more or less.
    delay: Option<(Duration, Duration)>,
    bytes_per_second: Option<u64>,
    /// Which order it is, and after how many bytes the connection ends.
    truncate: (u64, u64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Rules {
    refuse: bool,
    to_broker: Flow,
    to_node: Flow,
}

impl Rules {
    const fn flow(&self, direction: Direction) -> &Flow {
        match direction {
            Direction::ToBroker => &self.to_broker,
            Direction::ToNode => &self.to_node,
        }
    }

    const fn flow_mut(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::ToBroker => &mut self.to_broker,
            Direction::ToNode => &mut self.to_node,
        }
    }
}

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Close,
    Reset,
}

#[derive(Debug)]
struct Connection {
    end: watch::Sender<End>,
    receiving: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Shared {
    /// What servers may announce of themselves, and what a node is to hear instead.
    announced: Arc<Announced>,
    seed: u64,
    rules: watch::Sender<Rules>,
    connections: Mutex<HashMap<u64, Connection>>,
    /// How many connections there have been.
    taken: AtomicU64,
}

/// A proxy between one node and the servers of its medium, with a door on a free port of 127.0.0.1 for
/// each of them. Until told otherwise it forwards everything at once.
///
/// Where a server tells the node an address, its own or that of another server behind this proxy, the node
/// hears that server's door instead: a cluster leads nobody past the proxy.
///
/// Faults add up until [`heal`](Self::heal) and hold for all doors. The order of bytes is always kept.
/// Dropping it ends all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    /// Ends with the proxy, and every connection with it.
    _accepting: JoinSet<()>,
    doors: Vec<Port>,
}

impl FaultProxy {
    /// Starts a proxy to these servers; what is random follows from `seed`.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn start(servers: &[SocketAddr], seed: u64) -> Outcome<Self> {
        let mut doors = Vec::with_capacity(servers.len());
        let mut listeners = Vec::with_capacity(servers.len());
        let mut attempts = 0;
        while doors.len() < servers.len() {
            let port = Port::take()?;
            match listen(port.number()) {
                Ok(listener) => {
                    listeners.push(listener);
                    doors.push(port);
                }
                Err(_) if attempts < 10 => attempts += 1,
                Err(error) => return Err(error).doing("starting a proxy"),
            }
        }
        let ports = servers.iter().map(SocketAddr::port).zip(doors.iter().map(Port::number));
        let shared = Arc::new(Shared {
            announced: Arc::new(Announced::new(ports)),
            seed,
            rules: watch::Sender::new(Rules::default()),
            connections: Mutex::default(),
            taken: AtomicU64::new(0),
        });
        let mut accepting = JoinSet::new();
        for ((door, listener), server) in doors.iter().zip(listeners).zip(servers) {
            let shared = Arc::clone(&shared);
            accepting.spawn(accept(shared, *server, door.number(), listener));
        }
        Ok(Self { shared, _accepting: accepting, doors })
    }

    /// Where nodes connect to: a door for each server, in the order of the servers.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |door: &Port| SocketAddr::from((Ipv4Addr::LOCALHOST, door.number()));
        self.doors.iter().map(address).collect()
    }

    /// How many connections of this kind there are.
    #[must_use]
    pub fn count(&self, which: Which) -> usize {
        self.shared.connections().values().filter(|it| it.is(which)).count()
    }

    /// Closes connections; new ones are taken.
    pub fn cut(&self, which: Which) {
        self.end(which, End::Close);
    }

    /// Ends connections with a reset; new ones are taken.
    pub fn reset(&self, which: Which) {
        self.end(which, End::Reset);
    }

    /// Closes all connections and refuses new ones.
    pub fn cut_off(&self) {
        self.shared.rules.send_modify(|rules| rules.refuse = true);
        self.end(Which::All, End::Close);
    }

    /// A black hole: nothing is read any more, so that the sender's buffers fill, as when a network
    /// is parted. What was underway is forwarded after [`heal`](Self::heal).
    pub fn hold(&self, directions: &[Direction]) {
        self.change(directions, |flow| flow.held = true);
    }

    /// Everything comes late by `delay`, more or less by up to `jitter`, and in order.
    pub fn delay(&self, directions: &[Direction], delay: Duration, jitter: Duration) {
        self.change(directions, |flow| flow.delay = Some((delay, jitter)));
    }

    /// Each connection carries so many bytes per second; at least 1.
    pub fn throttle(&self, directions: &[Direction], bytes_per_second: u64) {
        let limit = bytes_per_second.max(1);
        self.change(directions, |flow| flow.bytes_per_second = Some(limit));
    }

    /// Each connection that is open now carries so many more bytes, and is then closed.
    pub fn truncate(&self, directions: &[Direction], after: u64) {
        self.change(directions, |flow| flow.truncate = (flow.truncate.0 + 1, after));
    }

    /// Forwards everything at once again, and takes new connections.
    pub fn heal(&self) {
        self.shared.rules.send_modify(|rules| {
            rules.refuse = false;
            for direction in Direction::BOTH {
                let flow = rules.flow_mut(*direction);
                *flow = Flow { truncate: flow.truncate, ..Flow::default() };
            }
        });
    }

    fn change(&self, directions: &[Direction], change: impl Fn(&mut Flow)) {
        self.shared.rules.send_modify(|rules| {
            directions.iter().for_each(|direction| change(rules.flow_mut(*direction)));
        });
    }

    fn end(&self, which: Which, how: End) {
        for connection in self.shared.connections().values().filter(|it| it.is(which)) {
            connection.end.send_replace(how);
        }
    }
}

impl Connection {
    fn is(&self, which: Which) -> bool {
        let receiving = self.receiving.load(Ordering::Acquire);
        match which {
            Which::All => true,
            Which::Receiving => receiving,
            Which::Publishing => !receiving,
        }
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_recv_buffer_size(KEPT)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

/// Takes connections. While they are to be refused nothing listens, so that the kernel refuses them.
async fn accept(shared: Arc<Shared>, server: SocketAddr, port: u16, listener: TcpListener) {
    let mut carried = JoinSet::new();
    let mut rules = shared.rules.subscribe();
    let mut listener = Some(listener);
    loop {
        if rules.borrow_and_update().refuse {
            listener = None;
        } else if listener.is_none() {
            listener = listen(port).ok();
            if listener.is_none() {
                // An old connection's end lingers on the port.
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
        }
        let Some(open) = &listener else {
            if rules.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            biased;
            changed = rules.changed() => if changed.is_err() { return },
            taken = open.accept() => if let Ok((node, _)) = taken {
                carried.spawn(carry(Arc::clone(&shared), server, node));
            },
            Some(_) = carried.join_next() => {}
        }
    }
}

/// One connection, until it ends.
async fn carry(shared: Arc<Shared>, server: SocketAddr, mut node: TcpStream) {
    let number = shared.taken.fetch_add(1, Ordering::Relaxed);
    let (end, mut ending) = watch::channel(End::NotYet);
    let receiving = Arc::new(AtomicBool::new(false));
    let connection = Connection { end, receiving: Arc::clone(&receiving) };
    shared.connections().insert(number, connection);
    // One that came in just before this one could be closed.
    if !shared.rules.borrow().refuse
        && let Ok(mut broker) = connect(server).await
    {
        // Small frames must not wait for each other.
        if node.set_nodelay(true).is_ok() && broker.set_nodelay(true).is_ok() {
            let random = Random::new(shared.seed ^ number.rotate_left(32));
            let (from_node, to_node) = node.split();
            let (from_broker, to_broker) = broker.split();
            let ways = Ways {
                rules: shared.rules.subscribe(),
                random,
                receiving: &receiving,
                announced: &shared.announced,
            };
            let up = pump(Direction::ToBroker, from_node, to_broker, ways.clone());
            let down = pump(Direction::ToNode, from_broker, to_node, ways);
            let both = async { tokio::try_join!(up, down) };
            let how = tokio::select! {
                done = both => match done {
                    Err(error) if error.kind() != pump::CUT_SHORT => End::Reset,
                    _ => End::Close,
                },
                how = ending.wait_for(|end| *end != End::NotYet) => how.map_or(End::Close, |how| *how),
            };
            if how == End::Reset {
                for stream in [&node, &broker] {
                    // One that is gone already needs no reset.
                    let _ = stream.set_zero_linger();
                }
            }
        }
    }
    shared.connections().remove(&number);
}

async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(KEPT)?;
    socket.connect(server).await
}
