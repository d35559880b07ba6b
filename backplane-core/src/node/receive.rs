use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    Envelope, LinkError, NodeId, Topic,
    codec::{self, DecodeError, Header},
    envelope::{Kind, Sequence},
    interest::Interested,
    topic::TopicParts,
};

/// Where a [`Session`](crate::wire::Session) hands over what arrives.
///
/// Belongs to one connection: once the node has given that up, whatever still comes is dropped, so
/// that nothing is delivered twice or out of place. Clones share the connection.
#[derive(Clone)]
pub struct Inbound {
    shared: Arc<Shared>,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    /// Held for reading while something is delivered, so that closing it waits for that.
    open: RwLock<bool>,
    lost: CancellationToken,
    cause: Mutex<Option<LinkError>>,
}

impl Inbound {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let gate = Gate {
            open: RwLock::new(true),
            lost: CancellationToken::new(),
            cause: Mutex::new(None),
        };
        Self { shared, gate: Arc::new(gate) }
    }

    /// Takes the bytes of one [`Frame`](super::super::wire::Frame), or of anything else that turned up.
    ///
    /// Runs the sinks before it returns. Bytes that are no envelope are counted and dropped.
    pub fn frame(&self, bytes: impl Into<Bytes>) {
        self.while_open(|shared| {
            codec::read(bytes.into(), |received| {
                let outcome = received.and_then(|received| {
                    let origin = received.origin().ok_or(DecodeError::Truncated)?;
                    if origin == shared.id {
                        let body = received.body.clone();
                        received.header().map(|header| shared.echo(header.kind, &body))
                    } else {
                        let header = received.header()?;
                        shared.receive(&header, origin, &received.body);
                        Ok(())
                    }
                });
                if let Err(error) = outcome {
                    shared.unreadable(&error);
                }
            });
        });
    }

    /// Takes an envelope that was never encoded.
    pub fn envelope(&self, envelope: &Envelope) {
        self.while_open(|shared| {
            if envelope.origin == Some(shared.id) {
                return shared.echo(envelope.kind, &envelope.body);
            }
            let Some(origin) = envelope.origin else { return };
            match envelope.kind {
                Kind::Probe => {}
                Kind::Control => shared.control(origin, &envelope.topic, &envelope.body),
                Kind::Message | Kind::Resent => {
                    let sequence = envelope.sequence.as_ref();
                    let topic = envelope.topic.as_parts();
                    shared.arrived(topic, origin, envelope.kind, sequence, |_| envelope.clone());
                }
            }
        });
    }

    /// The broker or the client library dropped something, but the connection goes on: sinks are
    /// told `Interrupted`, and `Restored` as soon as what is missing has been repaired or reported.
    pub fn doubt(&self) {
        self.while_open(|shared| {
            shared.sequencer.doubt(true);
            shared.interest.doubted(shared.probes.proven());
            shared.restore();
        });
    }

    /// The connection has ended. Later calls change nothing.
    pub fn lost(&self, cause: LinkError) {
        // Only the first cause counts: what follows is its consequence.
        let mut first = self.gate.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.gate.lost.is_cancelled() {
            *first = Some(cause);
        }
        self.gate.lost.cancel();
    }

    /// Waits until the wire says that the connection has ended.
    pub(super) async fn ended(&self) -> LinkError {
        self.gate.lost.cancelled().await;
        let cause = self.gate.cause.lock().unwrap_or_else(PoisonError::into_inner).take();
        cause.unwrap_or_else(|| LinkError::Lost { reason: "it ended".to_owned() })
    }

    /// Drops whatever comes from now on, and waits for what is being delivered.
    pub(super) fn close(&self) {
        *self.gate.open.write().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn while_open(&self, deliver: impl FnOnce(&Shared)) {
        let open = self.gate.open.read().unwrap_or_else(PoisonError::into_inner);
        if *open {
            deliver(&self.shared);
        }
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("node", &self.shared.id).finish_non_exhaustive()
    }
}

impl Shared {
    fn receive(&self, header: &Header<'_>, origin: NodeId, body: &Bytes) {
        match header.kind {
            // A medium that sends everything to everyone brings the probes of others too.
            Kind::Probe => {}
            Kind::Control => {
                let TopicParts { hub, kind, name } = header.topic;
                self.control(origin, &Topic::new(hub, kind, name), body);
            }
            Kind::Message | Kind::Resent => {
                let sequence = header.sequence.as_ref();
                self.arrived(header.topic, origin, header.kind, sequence, |topic| {
                    let mut envelope = Envelope::new(topic, body.clone())
                        .except(header.except.iter().copied())
                        .trace(header.trace.map(Arc::from));
                    envelope.origin = Some(origin);
                    envelope.kind = header.kind;
                    envelope.sequence = header.sequence;
                    envelope
                });
            }
        }
    }

    /// An envelope of another node: interest → numbers → sinks.
    fn arrived(
        &self,
        parts: TopicParts<'_>,
        origin: NodeId,
        kind: Kind,
        sequence: Option<&Sequence>,
        envelope: impl FnOnce(Topic) -> Envelope,
    ) {
        let counters = self.counters.kind(parts.kind);
        counters.received.add(1);
        let Some(Interested { topic, sinks, stamp }) = self.interest.sinks(parts) else {
            return self.counters.uninterested.add(1);
        };
        let Some(sequence) = sequence.filter(|_| self.sequencer.numbers()) else {
            self.deliver(&sinks, envelope(topic));
            return;
        };
        let now = self.coarse_now();
        let resent = kind == Kind::Resent;
        if !resent && let Some(_lane) = self.sequencer.passes(origin, &topic, stamp, sequence, now)
        {
            self.deliver(&sinks, envelope(topic));
            return;
        }
        let mut actions = Vec::new();
        let mut told = |told| self.tell_numbered(&topic, &sinks, told);
        let envelope = envelope(topic.clone());
        self.sequencer.receive(origin, stamp, envelope, now, &mut actions, &mut told);
        self.act(actions);
        if resent {
            self.restore();
        }
    }

    /// Something this node published came back.
    fn echo(&self, kind: Kind, body: &Bytes) {
        match (kind, body.first_chunk()) {
            (Kind::Probe, Some(number)) => {
                self.counters.probes.add(1);
                self.probes.returned(u64::from_le_bytes(*number));
            }
            // What nodes say to all, they say to themselves too.
            (Kind::Control, _) => {}
            _ => self.counters.echoes.add(1),
        }
    }

    pub(super) fn unreadable(&self, error: &DecodeError) {
        match error {
            DecodeError::UnknownVersion(_) | DecodeError::UnknownKind(_) => {
                self.counters.unknown_version.add(1);
            }
            _ => self.counters.malformed.add(1),
        }
        tracing::debug!(node = %self.id, %error, "dropped what arrived on the backplane");
    }
}
