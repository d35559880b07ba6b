//! One master: a connection that publishes, and one that is subscribed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use backplane_core::{LinkError, wire::Inbound};
use redis::{
    ProtocolVersion, PushInfo, PushKind,
    aio::{MultiplexedConnection, SendError},
};

use super::{address::Address, lost::Lost, receive::Receiver};
use crate::endpoint::Endpoint;

pub(super) struct Master {
    /// No other master of this process ever has this number. From 1.
    pub(super) number: u64,
    pub(super) address: Address,
    /// Publishes, and answers questions: what arrives for a subscriber never delays an answer.
    pub(super) publishing: MultiplexedConnection,
    pub(super) receiving: Receiver,
}

impl Master {
    pub(super) async fn open(
        endpoint: &Endpoint,
        address: &Address,
        inbound: &Inbound,
        lost: &Arc<Lost>,
    ) -> Result<Self, LinkError> {
        static OPENED: AtomicU64 = AtomicU64::new(1);
        let on_push = {
            let (address, inbound) = (address.clone(), inbound.clone());
            move |push: PushInfo| {
                // Known at once, rather than by the next check.
                if push.kind == PushKind::Disconnection {
                    inbound.lost(ended(&address, "the publishing connection"));
                }
                Ok::<(), SendError>(())
            }
        };
        let endpoint = endpoint.at(&address.host, address.port);
        let failed = |error| endpoint.failed(&error);
        let publishing = endpoint.open(ProtocolVersion::RESP3, on_push);
        let receiving = Receiver::open(&endpoint, address, inbound.clone(), Arc::clone(lost));
        let (publishing, receiving) =
            futures_util::future::try_join(publishing, receiving).await.map_err(failed)?;
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        Ok(Self { number, address: address.clone(), publishing, receiving })
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Master").field(&self.address.to_string()).finish()
    }
}

pub(super) fn ended(address: &Address, what: &str) -> LinkError {
    LinkError::Lost { reason: format!("the master at {address} ended {what}") }
}
