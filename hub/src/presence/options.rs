use std::time::Duration;

/// How a hub keeps presence. See [`HubBuilder::presence`](crate::HubBuilder::presence).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PresenceOptions {
    /// How often this node says where it stands; after two of these, all nodes agree. Default 1 s, as
    /// for the nodes' own heartbeats: one message of some forty bytes for each node and hub. At least
    /// 10 ms; the same on all nodes.
    pub heartbeat_every: Duration,
    /// The most joins and leaves that wait for the reader of one [`Watch`](crate::Watch). Default
    /// 1,024: some tens of kilobytes.
    pub watched_events: usize,
}

impl Default for PresenceOptions {
    fn default() -> Self {
        Self { heartbeat_every: Duration::from_secs(1), watched_events: 1024 }
    }
}
