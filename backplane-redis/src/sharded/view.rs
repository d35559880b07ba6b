//! How one server sees the cluster.

use std::collections::BTreeMap;

use redis::{
    FromRedisValue, ParsingError, Pipeline, RedisError, RedisResult, Value,
    aio::MultiplexedConnection, cmd, from_redis_value,
};

use super::{address::Address, slot::SLOTS};

/// What one server says of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) epochs: Epochs,
    /// Which slots belong to which master, as far as it knows.
    pub(super) ranges: Vec<Range>,
    /// All servers that it names, masters first.
    pub(super) servers: Vec<Address>,
}

/// How new a view is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epochs {
    /// Of the server's own slots.
    pub(super) own: u64,
    /// Of everything that it has heard of.
    pub(super) newest: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) owner: Address,
    /// Whether the owner is the server that was asked.
    pub(super) own: bool,
}

impl View {
    /// Asks the server at `address` in one round trip.
    pub(super) async fn ask(
        connection: &MultiplexedConnection,
        address: &Address,
    ) -> RedisResult<Self> {
        let mut questions = Pipeline::with_capacity(4);
        for question in ["INFO", "MYID", "SLOTS"] {
            questions.add_command(cmd("CLUSTER")).arg(question);
        }
        // What it says plays no role here, but it has to be allowed to.
        questions.cmd("ROLE");
        // Otherwise an error would not say what it is about.
        let questions = questions.ignore_errors();
        let answers: Vec<Value> = questions.query_async(&mut connection.clone()).await?;
        let mut answers = answers.into_iter().map(|answer| match answer {
            Value::ServerError(error) => Err(RedisError::from(error)),
            answer => Ok(answer),
        });
        let mut answer = || answers.next().unwrap_or(Ok(Value::Nil));
        let info: String = from_redis_value(answer()?)?;
        let id: String = from_redis_value(answer()?)?;
        let slots: Vec<Value> = from_redis_value(answer()?)?;
        answer()?;
        let epochs = Epochs::read(&info)?;
        let (mut ranges, mut masters, mut replicas) = (Vec::new(), Vec::new(), Vec::new());
        for entry in slots {
            let mut entry = from_redis_value::<Vec<Value>>(entry)?.into_iter();
            let mut bound = || -> Result<u16, ParsingError> {
                let bound = from_redis_value::<u16>(entry.next().unwrap_or(Value::Nil))?;
                if usize::from(bound) < SLOTS { Ok(bound) } else { Err(unreadable("a slot")) }
            };
            let (first, last) = (bound()?, bound()?);
            for (place, server) in entry.enumerate() {
                let Some(server) = Server::read(server, address)? else { continue };
                let names = if place == 0 { &mut masters } else { &mut replicas };
                if !names.contains(&server.address) {
                    names.push(server.address.clone());
                }
                if place == 0 {
                    let own = server.id == id;
                    ranges.push(Range { first, last, owner: server.address, own });
                }
            }
        }
        masters.append(&mut replicas);
        Ok(Self { epochs, ranges, servers: masters })
    }

    /// By their last slot, the owners of all ranges, in order.
    pub(super) fn owners(&self) -> BTreeMap<u16, Address> {
        self.ranges.iter().map(|range| (range.last, range.owner.clone())).collect()
    }
}

impl Epochs {
    pub(super) async fn ask(connection: &MultiplexedConnection) -> RedisResult<Self> {
        let info: String = cmd("CLUSTER").arg("INFO").query_async(&mut connection.clone()).await?;
        Ok(Self::read(&info)?)
    }

    fn read(info: &str) -> Result<Self, ParsingError> {
        let epoch = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok()).ok_or_else(|| unreadable(name))
        };
        Ok(Self { own: epoch("cluster_my_epoch")?, newest: epoch("cluster_current_epoch")? })
    }
}

struct Server {
    address: Address,
    id: String,
}

impl Server {
    /// A server of a range; none that does not say where it is.
    fn read(server: Value, asked: &Address) -> Result<Option<Self>, ParsingError> {
        let mut facts = from_redis_value::<Vec<Value>>(server)?.into_iter();
        let mut fact = || facts.next().unwrap_or(Value::Nil);
        let host = Option::<String>::from_redis_value(fact())?;
        let port = from_redis_value::<u16>(fact())?;
        let id = from_redis_value::<String>(fact())?;
        let host = match host.as_deref() {
            // It does not know its own address, or means the one that was asked.
            None | Some("") => asked.host.clone(),
            Some("?") => return Ok(None),
            Some(host) => host.to_owned(),
        };
        Ok(Some(Self { address: Address { host, port }, id }))
    }
}

fn unreadable(what: &str) -> ParsingError {
    ParsingError::from(format!("the server's view of its cluster is unreadable: {what}"))
}
