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
