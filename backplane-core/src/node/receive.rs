use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    Envelope, Event, Gap, LinkError, NodeId, Offset, Topic,
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
    detour: Option<Arc<dyn Detour>>,
}

/// What a wire has handed over.
#[derive(Debug, Clone)]
pub(crate) enum Arrival {
    Frame(Bytes, Option<Offset>),
    Envelope(Box<Envelope>),
}

/// Where arrivals go first. What is to reach the node from there goes on by [`Inbound::take`].
pub(crate) trait Detour: fmt::Debug + Send + Sync {
    fn arrives(&self, arrival: Arrival);
}

/// What is in an arrival.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Contents {
    /// A probe of this node.
    pub(crate) is_probe: bool,
    /// Envelopes of other nodes' applications.
    pub(crate) messages: u64,
}

impl Arrival {
    /// What it takes of a queue's byte bound.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Frame(bytes, _) => bytes.len(),
            Self::Envelope(envelope) => envelope.cost(),
        }
    }
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
        Self { shared, gate: Arc::new(gate), detour: None }
    }

    /// Takes the bytes of one [`Frame`](super::super::wire::Frame), or of anything else that turned up.
    ///
    /// Runs the sinks before it returns. Bytes that are no envelope are counted and dropped.
    pub fn frame(&self, bytes: impl Into<Bytes>) {
        self.enter(std::iter::once((bytes.into(), None)));
    }

    /// The same, from a log, where it stands at this offset. Returns whether the node has taken it: once
    /// it has given the connection up it does not, and the next connection is to bring it.
    #[must_use = "what was not taken is to be read again"]
    pub fn frame_at(&self, bytes: impl Into<Bytes>, offset: Offset) -> bool {
        self.enter(std::iter::once((bytes.into(), Some(offset))))
    }

    /// The same for frames that stand together in one entry of a log: the node takes all of them, or none.
    #[must_use = "what was not taken is to be read again"]
    pub fn frames_at(&self, frames: impl IntoIterator<Item = (Bytes, Offset)>) -> bool {
        self.enter(frames.into_iter().map(|(bytes, offset)| (bytes, Some(offset))))
    }

    fn enter(&self, frames: impl Iterator<Item = (Bytes, Option<Offset>)>) -> bool {
        match &self.detour {
            Some(detour) => {
                frames.for_each(|(bytes, offset)| detour.arrives(Arrival::Frame(bytes, offset)));
                true
            }
            None => self.while_open(|shared| {
                frames.for_each(|(bytes, offset)| shared.frame(bytes, offset));
            }),
        }
    }

    /// Takes an envelope that was never encoded.
    pub fn envelope(&self, envelope: &Envelope) {
        if let Some(detour) = &self.detour {
            return detour.arrives(Arrival::Envelope(Box::new(envelope.clone())));
        }
        self.while_open(|shared| shared.envelope(envelope));
    }

    /// The same connection, for a wire whose arrivals go through `detour` first.
    pub(crate) fn through(&self, detour: Arc<dyn Detour>) -> Self {
        Self { detour: Some(detour), ..self.clone() }
    }

    /// Takes what has come through a detour. Returns whether the connection is still there.
    pub(crate) fn take(&self, arrival: Arrival) -> bool {
        if let Some(next) = &self.detour {
            next.arrives(arrival);
            return true;
        }
        self.while_open(|shared| match arrival {
            Arrival::Frame(bytes, offset) => shared.frame(bytes, offset),
            Arrival::Envelope(envelope) => shared.envelope(&envelope),
        })
    }

    /// Looks into an arrival.
    pub(crate) fn contents(&self, arrival: &Arrival) -> Contents {
        let mut contents = Contents::default();
        let mut see = |kind: Kind, origin: Option<NodeId>| {
            let own = origin == Some(self.shared.id);
            contents.is_probe |= kind == Kind::Probe && own;
            contents.messages += u64::from(matches!(kind, Kind::Message | Kind::Resent) && !own);
        };
        match arrival {
            Arrival::Envelope(envelope) => see(envelope.kind, envelope.origin),
            Arrival::Frame(bytes, _) => codec::read(bytes.clone(), |received| {
                // What cannot be read is the node's to count.
                if let Ok(received) = &received
                    && let Ok(header) = received.header()
                {
                    see(header.kind, received.origin());
                }
            }),
        }
        contents
    }

    /// The last instant at which the node's own probe has proven that the connection delivers: for a wire
    /// whose probe may overtake what waits to be handed over.
    #[must_use]
    pub fn proven(&self) -> Instant {
        self.shared.probes.proven()
    }

    /// Whether the node has given the connection up: what is handed over from then on reaches no sink.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.gate.lost.is_cancelled()
    }

    /// The broker or the client library dropped something, but the connection goes on: sinks are
    /// told `Interrupted`, and `Restored` as soon as what is missing has been repaired or reported.
    pub fn doubt(&self) {
        self.while_open(|shared| {
            shared.sequencer.doubt(true);
            shared.interest.doubted(|_| true, shared.probes.proven());
            shared.restore();
        });
    }

    /// The same for the topics of which this is true only, and since an instant that the wire knows better:
    /// another broker has taken them over, for example. Call it when they are routed again.
    pub fn doubt_about(&self, concerns: impl Fn(&Topic) -> bool, since: Instant) {
        self.while_open(|shared| {
            // While the link is not up yet, what is in doubt stays so until it is.
            shared.sequencer.doubt(shared.outbound.is_up());
            shared.interest.doubted(concerns, since);
            shared.restore();
        });
    }

    /// A log does not hold any more what should have come next on the topics of which this is true: their
    /// sinks are told a [`Gap`] without a count.
    pub fn trimmed(&self, concerns: impl Fn(&Topic) -> bool) {
        self.while_open(|shared| {
            for Interested { topic, sinks, .. } in shared.interest.matching(concerns) {
                shared.counters.uncounted_gaps.add(1);
                super::tell(&sinks, &Event::Gap(Gap::new(topic, None, None)));
            }
        });
    }

    /// The wire has dropped so many frames that nobody here is interested in.
    pub fn uninterested(&self, frames: u64) {
        self.shared.counters.uninterested.add(frames);
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

    /// Returns whether it was open.
    fn while_open(&self, deliver: impl FnOnce(&Shared)) -> bool {
        let open = self.gate.open.read().unwrap_or_else(PoisonError::into_inner);
        if *open {
            deliver(&self.shared);
        }
        *open
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("node", &self.shared.id).finish_non_exhaustive()
    }
}

impl Shared {
    fn frame(&self, bytes: Bytes, offset: Option<Offset>) {
        let mut index = 0;
        codec::read(bytes, |received| {
            let offset = offset.map(|offset| offset.at(index));
            index += 1;
            let outcome = received.and_then(|received| {
                let origin = received.origin().ok_or(DecodeError::Truncated)?;
                if origin == self.id {
                    let body = received.body.clone();
                    received.header().map(|header| self.echo(header.kind, &body))
                } else {
                    let header = received.header()?;
                    self.receive(&header, origin, &received.body, offset);
                    Ok(())
                }
            });
            if let Err(error) = outcome {
                self.unreadable(&error);
            }
        });
    }

    fn envelope(&self, envelope: &Envelope) {
        if envelope.origin == Some(self.id) {
            return self.echo(envelope.kind, &envelope.body);
        }
        let Some(origin) = envelope.origin else { return };
        match envelope.kind {
            Kind::Probe => {}
            Kind::Control => self.control(origin, &envelope.topic, &envelope.body),
            Kind::Message | Kind::Resent => {
                let (topic, sequence) = (envelope.topic.as_parts(), envelope.sequence.as_ref());
                self.arrived(topic, origin, envelope.kind, sequence, |_| envelope.clone());
            }
        }
    }

    fn receive(&self, header: &Header<'_>, origin: NodeId, body: &Bytes, offset: Option<Offset>) {
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
                    envelope.offset = offset;
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
