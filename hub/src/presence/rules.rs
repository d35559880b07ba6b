/// The rules that make all nodes agree, each with a switch for the search that must find what breaks
/// without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// A delta is applied to the version before it only.
    pub(crate) order: bool,
    /// Every node says from time to time which version it is at.
    pub(crate) digests: bool,
    /// And what the sum of it is.
    pub(crate) sums: bool,
    /// A hub that is started anew on a node is another one than before.
    pub(crate) epochs: bool,
    /// What makes up one snapshot is taken together.
    pub(crate) whole: bool,
    /// Changes that were not told are a version that is missing.
    pub(crate) skips: bool,
    /// A node that is no member any more has no connections.
    pub(crate) death: bool,
    /// Nor has it any by what still arrives of it.
    pub(crate) late_words: bool,
    /// A hub that says nothing any more has no connections, although its node lives.
    pub(crate) silence: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        order: true,
        digests: true,
        sums: true,
        epochs: true,
        whole: true,
        skips: true,
        death: true,
        late_words: true,
        silence: true,
    };
}
