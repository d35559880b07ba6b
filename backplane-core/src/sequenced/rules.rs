/// The rules that keep losses from hiding, each with a switch for the search that must find what
/// breaks without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// A topic that falls silent is followed by a watermark.
    pub(crate) watermarks: bool,
    /// What arrives again is dropped.
    pub(crate) no_doubles: bool,
    /// First contact compares the predecessor with the position at subscription.
    pub(crate) first_contact: bool,
    /// After doubt, origins are asked what they used since.
    pub(crate) resynchronise: bool,
    /// A watermark or an answer speaks of its own epoch only.
    pub(crate) epochs: bool,
    /// What is ahead of a hole waits.
    pub(crate) hold: bool,
    /// An answer's losses are taken in the order of their numbers, and none that is held.
    pub(crate) in_order: bool,
    /// An origin forgets a topic's count only after its retention.
    pub(crate) remember: bool,
    /// A receiver keeps its place on a topic it has left.
    pub(crate) keep_place: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        watermarks: true,
        no_doubles: true,
        first_contact: true,
        resynchronise: true,
        epochs: true,
        hold: true,
        in_order: true,
        remember: true,
        keep_place: true,
    };
}
