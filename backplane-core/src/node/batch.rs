use std::hash::{DefaultHasher, Hash, Hasher};

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

    /// The same word for the same frames when they are written again after a lost connection, and for no
    /// others: for a broker that drops by itself what it has already. None where nothing of them is ever
    /// written again.
    #[must_use]
    pub fn id_of<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>) -> Option<String> {
        let indices = frames.into_iter().flat_map(|frame| &frame.envelopes);
        let envelopes = indices.filter_map(|index| self.envelopes.get(*index));
        let mut positions = envelopes
            .filter(|envelope| envelope.kind == Kind::Message)
            .filter_map(|envelope| Some(envelope.sequence?.position));
        let first = positions.next()?;
        // A node gives each position once. When only some of a batch are written again, others stand together.
        let mut all = DefaultHasher::new();
        first.hash(&mut all);
        positions.for_each(|position| position.hash(&mut all));
        Some(format!("{}-{first}-{:x}", self.origin, all.finish()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Sequence;

    fn numbered(name: &str, position: u64) -> Envelope {
        let mut envelope = Envelope::new(Topic::group("hub", name), "body");
        let (epoch, number, predecessor) = (1, 1, 0);
        envelope.sequence = Some(Sequence { epoch, number, position, predecessor });
        envelope
    }

    #[test]
    fn frames_are_known_again_together_and_no_others_are_taken_for_them() {
        let origin = NodeId::random();
        let batch = |names: &[(&str, u64)]| {
            let envelopes = names.iter().map(|(name, position)| numbered(name, *position));
            Batch::new(origin, envelopes.collect())
        };
        let all = batch(&[("a", 1), ("b", 2), ("a", 3), ("c", 4)]);
        let frames = all.frames();
        let id = |frames: &[Frame]| all.id_of(frames);
        assert_eq!(id(&frames), all.clone().id_of(&all.frames()));
        let ids = [id(&frames), id(&frames[..2]), id(&frames[1..]), id(&frames[..1])];
        let different: std::collections::HashSet<_> = ids.into_iter().flatten().collect();
        assert_eq!(different.len(), 4);
        // As many, from the first to the last of them.
        let other = batch(&[("a", 1), ("b", 3), ("c", 4)]);
        let fewer = batch(&[("a", 1), ("b", 2), ("c", 4)]);
        assert_ne!(other.id_of(&other.frames()), fewer.id_of(&fewer.frames()));
        let unnumbered = Batch::new(origin, vec![Envelope::new(Topic::all("hub"), "body")]);
        assert_eq!(unnumbered.id_of(&unnumbered.frames()), None);
    }
}
