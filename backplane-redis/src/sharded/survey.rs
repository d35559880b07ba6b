//! Finds out which master owns which slot, from the masters themselves, and keeps connections to them.

use std::{collections::HashSet, fmt, sync::Arc};

use backplane_core::{LinkError, wire::Inbound};
use futures_util::future::join_all;

use super::{
    address::Address,
    lost::Lost,
    master::Master,
    routes::Routes,
    view::{Epochs, View},
};
use crate::{endpoint::Endpoint, error};

/// What a user of a cluster needs to be allowed.
const RULES: &str = "its access rules need +ssubscribe +sunsubscribe +spublish +ping +role \
                     +cluster|info +cluster|myid +cluster|slots";

pub(super) struct Survey {
    endpoint: Endpoint,
    pub(super) inbound: Inbound,
    pub(super) lost: Arc<Lost>,
    /// Those with a connection. One that owns nothing any more stays until it is let go.
    masters: Vec<Arc<Master>>,
}

/// What a survey has found.
pub(super) struct Found {
    pub(super) routes: Routes,
    pub(super) epochs: Vec<(u64, Epochs)>,
    /// All servers of the cluster, masters first.
    pub(super) servers: Vec<Address>,
}

impl Survey {
    pub(super) fn new(endpoint: Endpoint, inbound: Inbound) -> Self {
        Self { endpoint, inbound, lost: Arc::default(), masters: Vec::new() }
    }

    /// Asks every master that it has a connection to, these servers, and whomever they name as an owner.
    ///
    /// Fails where a slot has no owner that can be reached.
    pub(super) async fn run(
        &mut self,
        version: u64,
        also: impl IntoIterator<Item = Address>,
    ) -> Result<Found, LinkError> {
        let mut views = Vec::new();
        let mut asked = HashSet::new();
        let mut failed = Vec::new();
        let known = self.masters.iter().map(|master| master.address.clone());
        let mut next: HashSet<Address> = known.chain(also).collect();
        while !next.is_empty() {
            let answers = join_all(next.iter().map(|address| self.ask(address))).await;
            asked.extend(next.drain());
            for answer in answers {
                match answer {
                    Ok((master, view)) => {
                        if !self.masters.iter().any(|known| Arc::ptr_eq(known, &master)) {
                            self.masters.push(Arc::clone(&master));
                        }
                        views.push((master, view));
                    }
                    Err(error) => failed.push(error),
                }
            }
            let named = views.iter().flat_map(|(_, view)| &view.ranges).map(|range| &range.owner);
            next = named.filter(|owner| !asked.contains(owner)).cloned().collect();
        }
        let routes = Routes::new(version, &views).map_err(|slot| {
            failed.pop().unwrap_or_else(|| LinkError::Lost {
                reason: format!("no master of the cluster owns slot {slot}; see CLUSTER SLOTS"),
            })
        })?;
        let epochs = views.iter().map(|(master, view)| (master.number, view.epochs)).collect();
        let mut servers = Vec::new();
        for server in views.into_iter().flat_map(|(_, view)| view.servers) {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        Ok(Found { routes, epochs, servers })
    }

    async fn ask(&self, address: &Address) -> Result<(Arc<Master>, View), LinkError> {
        let known = self.masters.iter().find(|master| master.address == *address);
        let master = match known {
            Some(master) => Arc::clone(master),
            None => {
                Arc::new(Master::open(&self.endpoint, address, &self.inbound, &self.lost).await?)
            }
        };
        let view = View::ask(&master.publishing, address).await;
        Ok((
            master,
            view.map_err(|error| refused(&self.endpoint.at(&address.host, address.port), &error))?,
        ))
    }

    pub(super) fn masters(&self) -> &[Arc<Master>] {
        &self.masters
    }

    pub(super) fn master(&self, number: u64) -> Option<&Arc<Master>> {
        self.masters.iter().find(|master| master.number == number)
    }

    /// Ends the connections to masters that are not needed.
    pub(super) fn keep(&mut self, needed: impl Fn(&Master) -> bool) {
        self.masters.retain(|master| needed(master));
    }
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("masters", &self.masters).finish_non_exhaustive()
    }
}

/// Why a server does not say how it sees its cluster, or does not do what every node needs.
pub(super) fn refused(endpoint: &Endpoint, error: &redis::RedisError) -> LinkError {
    let address = || endpoint.address().to_owned();
    if error::is_refusal(error) {
        let reason = format!("{}; {RULES}", error::answer(error));
        return LinkError::Denied { address: address(), reason };
    }
    if error.detail().is_some_and(|detail| detail.contains("cluster support disabled")) {
        return LinkError::Protocol {
            address: address(),
            expected: "Redis Cluster",
            reason: "it is a server of its own, which redis: is for".to_owned(),
        };
    }
    endpoint.failed(error)
}
