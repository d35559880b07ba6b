use backplane_core::{Gap, RouteKind};
use serde::Serialize;

use crate::{
    members::{Local, Message},
    protocol::Protocols,
};

/// Tells clients that messages for them may be, or are, lost, so that they read their state anew. See
/// [`HubBuilder::notify_clients`](crate::HubBuilder::notify_clients).
///
/// The client method gets one argument:
///
/// | what has happened | argument | who is told |
/// |---|---|---|
/// | messages on a topic are known to be lost | `{"reason":"gap","count":3,"scope":"group","name":"kitchen"}` | the members of the topic on the node that misses them |
/// | the link was interrupted and is back, and nobody knows what was missed | `{"reason":"interrupted"}` | every connection of the node |
/// | a node has fallen silent | `{"reason":"originLost"}` | every connection of the other nodes |
///
/// `count` is `null` where it is not known. `scope` is `all`, `group`, `user` or `connection`, and
/// `name` which of them, `null` for `all`. Where the backplane repairs or counts what is lost, an
/// interruption by itself is not told: what it has cost is told as gaps.
///
/// A notice waits in the same queue as the messages, in the place of what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientNotices {
    pub(crate) method: String,
}

impl ClientNotices {
    /// Tells them by this client method. Use a name that no method of the application has.
    #[must_use]
    pub fn new(method: impl Into<String>) -> Self {
        Self { method: method.into() }
    }

    /// The client method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What clients of each protocol get. Encoded once, however many there are.
    fn encode(&self, notice: &Notice<'_>, protocols: &Protocols) -> Message<'static> {
        let mut message = Message::new(&[]);
        for (slot, protocol) in protocols.iter().enumerate() {
            match protocol.invocation(None, &self.method, &[notice], None) {
                Ok(payload) => message.add(slot, payload, false),
                Err(error) => {
                    let protocol = protocol.name();
                    tracing::error!(protocol, %error, "clients cannot be told of a loss");
                }
            }
        }
        message
    }
}

impl Default for ClientNotices {
    /// By the client method `Backplane.Missed`.
    fn default() -> Self {
        Self::new("Backplane.Missed")
    }
}

/// What a client is told.
#[derive(Debug, Serialize)]
#[serde(tag = "reason", rename_all = "camelCase")]
pub(super) enum Notice<'a> {
    Gap { count: Option<u64>, scope: &'static str, name: Option<&'a str> },
    Interrupted,
    OriginLost,
}

impl<'a> Notice<'a> {
    pub(super) fn gap(gap: &'a Gap) -> Self {
        let kind = gap.topic.kind();
        let name = (kind != RouteKind::All).then(|| gap.topic.name());
        Self::Gap { count: gap.count, scope: kind.as_str(), name }
    }
}

impl Local {
    /// Tells those to whom `deliver` gives it, if clients are to be told at all.
    pub(super) fn notify(&self, notice: &Notice<'_>, deliver: impl FnOnce(&mut Message<'_>)) {
        if let Some(notices) = &self.losses.notices {
            self.counters.notices.add(1);
            deliver(&mut notices.encode(notice, &self.protocols));
        }
    }
}
