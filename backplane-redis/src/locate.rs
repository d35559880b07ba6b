//! Which server a node connects to: always the same, or the one that sentinels name.

use std::sync::Arc;

use backplane_core::{ConnectError, LinkError};
use tokio_util::task::AbortOnDropHandle;

use crate::{RedisConfig, endpoint::Endpoint, sentinel::Observers};

/// Finds the server, for each connection anew.
#[derive(Debug, Clone)]
pub(crate) enum Locator {
    Fixed(Box<Endpoint>),
    Sentinels(Arc<Observers>),
}

/// A server that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) endpoint: Endpoint,
    /// The sentinels' number of the failover that made it the master.
    pub(crate) epoch: u64,
}

impl Locator {
    /// Reads the files that the configuration names.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, ConnectError> {
        let endpoint = Endpoint::new(config)?;
        Ok(match &config.sentinels {
            None => Self::Fixed(Box::new(endpoint)),
            Some(sentinels) => Self::Sentinels(Arc::new(Observers::new(sentinels, endpoint))),
        })
    }

    /// The server to connect to now.
    pub(crate) async fn locate(&self) -> Result<Found, LinkError> {
        match self {
            Self::Fixed(endpoint) => Ok(Found { endpoint: Endpoint::clone(endpoint), epoch: 0 }),
            Self::Sentinels(observers) => observers.locate().await,
        }
    }

    /// Calls `moved` once the server is not the one to be connected to any more, where that can be.
    pub(crate) fn watch(
        &self,
        found: Found,
        moved: impl FnOnce(LinkError) + Send + 'static,
    ) -> Option<AbortOnDropHandle<()>> {
        let Self::Sentinels(observers) = self else { return None };
        let observers = Arc::clone(observers);
        let watching = tokio::spawn(async move { moved(observers.moved(&found).await) });
        Some(AbortOnDropHandle::new(watching))
    }
}
