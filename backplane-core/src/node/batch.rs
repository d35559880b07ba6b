use crate::{
    Envelope, NodeId, Topic,
    codec::{self, Frame},
    envelope::Kind,
};

/// Envelopes to be written together, in order.
#[derive(Debug, Clone)]
pub struct Batch {
    origin: NodeId,
    envelopes: Vec<Envelope>,
}

impl Batch {
    pub(super) const fn new(origin: NodeId, envelopes: Vec<Envelope>) -> Self {
        Self { origin, envelopes }
    }

    /// The envelopes, for a wire that needs no bytes.
    #[must_use]
    pub fn envelopes(&self) -> &[Envelope] {
        &self.envelopes
    }

    /// The envelopes as bytes, those of one topic bundled; for a wire that sends bytes.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.frames_within(usize::MAX)
    }

    /// As [`frames`](Self::frames), with no bundle above `largest` bytes; an envelope that is larger
    /// by itself still is.
    #[must_use]
    pub fn frames_within(&self, largest: usize) -> Vec<Frame> {
        codec::frames(&self.envelopes, self.origin, largest)
    }

    /// The same word for the same frame when it is written again after a lost connection, and for no other
    /// frame: for a broker that drops by itself what it has already. None where nothing of it is ever
    /// written again.
    #[must_use]
    pub fn id_of(&self, frame: &Frame) -> Option<String> {
        let envelopes = frame.envelopes.iter().filter_map(|index| self.envelopes.get(*index));
        let mut positions = envelopes
            .filter(|envelope| envelope.kind == Kind::Message)
            .filter_map(|envelope| Some(envelope.sequence?.position));
        let first = positions.next()?;
        // All of one topic, in the order of their positions: these three stand for each of them.
        let (count, last) = positions.fold((1_usize, first), |(count, _), last| (count + 1, last));
        Some(format!("{}-{first}-{last}-{count}", self.origin))
    }

    pub(super) fn into_envelopes(self) -> Vec<Envelope> {
        self.envelopes
    }

    pub(super) fn probe(origin: NodeId, topic: &Topic, number: u64) -> Self {
        let mut envelope = Envelope::new(topic.clone(), number.to_le_bytes().to_vec());
        envelope.origin = Some(origin);
        envelope.kind = Kind::Probe;
        Self::new(origin, vec![envelope])
    }
}
