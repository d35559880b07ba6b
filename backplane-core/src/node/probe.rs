use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

use super::{Batch, NodeOptions, Shared};
use crate::{LinkError, Topic, wire::Session};

/// The node's questions to itself whether its link delivers.
#[derive(Debug)]
pub(super) struct ProbeBook {
    returned: watch::Sender<u64>,
    latest: Mutex<u64>,
    /// When the latest probe that came back was sent.
    proven: Mutex<Instant>,
}

impl Default for ProbeBook {
    fn default() -> Self {
        Self {
            returned: watch::Sender::new(0),
            latest: Mutex::new(0),
            proven: Mutex::new(Instant::now()),
        }
    }
}

impl ProbeBook {
    /// A number that was never sent proves nothing: anyone may write on a broker.
    pub(super) fn returned(&self, number: u64) {
        if number > *self.latest.lock().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        self.returned.send_if_modified(|latest| {
            let newer = number > *latest;
            *latest = (*latest).max(number);
            newer
        });
    }

    /// The last instant at which the link was proven to deliver.
    pub(super) fn proven(&self) -> Instant {
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest += 1;
        *latest
    }
}

impl Shared {
    /// The topic on which this node probes its own link. No hub has an empty name.
    pub(super) fn probe_topic(&self) -> Topic {
        Topic::node("", self.id)
    }

    /// Sends one probe through the broker and waits for it.
    pub(super) async fn probe(
        &self,
        session: &impl Session,
        options: &NodeOptions,
    ) -> Result<(), LinkError> {
        let sent = Instant::now();
        let number = self.probes.next();
        let batch = Batch::probe(self.id, &self.probe_topic(), number);
        let mut returned = self.probes.returned.subscribe();
        let round_trip = async {
            let refused = session.write(&batch).await?;
            if let Some(refused) = refused.first() {
                return Err(LinkError::Lost {
                    reason: format!("the broker refuses the node's own probe: {}", refused.reason),
                });
            }
            // The sender lives in `self`.
            let _ = returned.wait_for(|latest| *latest >= number).await;
            Ok(())
        };
        let waited = options.probe_deadline;
        match tokio::time::timeout(waited, round_trip).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(LinkError::Mute { waited }),
        }
        *self.probes.proven.lock().unwrap_or_else(PoisonError::into_inner) = sent;
        Ok(())
    }

    /// Probes for as long as the link delivers.
    pub(super) async fn keep_probing(
        &self,
        session: &impl Session,
        options: &NodeOptions,
    ) -> LinkError {
        loop {
            tokio::time::sleep(options.probe_every).await;
            if let Err(error) = self.probe(session, options).await {
                return error;
            }
        }
    }
}
