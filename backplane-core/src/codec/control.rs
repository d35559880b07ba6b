//! What nodes say to each other, as the body of an envelope of kind `Control`.

use bincode::{Decode, Encode};
use bytes::{BufMut, Bytes};

use super::{DecodeError, header::codec};
use crate::{RouteKind, Topic};

/// A message from node to node. All are idempotent, and repeated where they matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// That a node lives, to all or to one.
    Alive(Alive),
    /// On a topic that has fallen silent: its last number.
    Watermark(Watermark),
    /// To an origin: which topics have you used since this position?
    Resync { since: u64 },
    /// Its answer, page by page.
    Listing(Page),
    /// To an origin: send this again.
    Ask { topic: Topic, start: Start, through: u64 },
    /// Its answer, behind what it sent again.
    Answer(Answer),
    /// To an origin that takes its leave: nothing of yours is missing here.
    Farewell,
}

/// See [`Control::Alive`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Alive {
    pub(crate) name: Option<String>,
    pub(crate) phase: Phase,
    /// How long the node has been running, in milliseconds.
    pub(crate) uptime: u64,
    /// Whether it numbers what it publishes.
    pub(crate) numbered: bool,
    /// Everything up to this position was sent before this; in a greeting, was published before it.
    pub(crate) position: u64,
    /// Up to this position there are topics that it lost track of: nobody can say what is missing of them.
    pub(crate) lost_track: u64,
    /// To one that asked: the position at which this node first heard of it.
    pub(crate) known_since: Option<u64>,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Phase {
    /// Its link has come up; everyone answers with [`Alive::known_since`].
    Hello {
        /// Whether for the first time.
        first: bool,
    },
    /// It goes on.
    Beat,
    /// It publishes nothing more, and waits for [`Control::Farewell`] from everyone.
    Leaving,
    /// It is gone.
    Gone,
}

/// See [`Control::Watermark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Watermark {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    /// The position of that number.
    pub(crate) position: u64,
}

/// See [`Control::Listing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// As asked.
    pub(crate) since: u64,
    /// Every topic whose last position is above `since` and up to here is listed.
    pub(crate) through: u64,
    /// Whether nothing follows.
    pub(crate) end: bool,
    /// The last position of a topic that was idle for so long that it was forgotten, and is not listed.
    pub(crate) forgotten: u64,
    pub(crate) topics: Vec<Listed>,
}

/// A topic and its last number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) topic: Topic,
    pub(crate) last: Watermark,
}

/// From where on something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Start {
    /// From this number on.
    Number { epoch: u64, from: u64 },
    /// The first one behind this position.
    After { position: u64 },
}

/// See [`Control::Answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) topic: Topic,
    /// As asked.
    pub(crate) start: Start,
    /// `None`: the origin knows nothing of that topic, or of that epoch, any more.
    pub(crate) part: Option<Part>,
}

/// The part of what was asked for that was dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Part {
    pub(crate) epoch: u64,
    pub(crate) from: u64,
    pub(crate) through: u64,
    /// The position of `through`.
    pub(crate) position: u64,
    /// Runs of numbers, first and last, that are no longer kept.
    pub(crate) missing: Vec<(u64, u64)>,
    /// Whether something before `from` is no longer kept that would have belonged to it.
    pub(crate) uncertain: bool,
    /// The last position of a topic that was forgotten as a whole, which may have been this one.
    pub(crate) forgotten: u64,
}

#[derive(Encode, Decode)]
struct WireTopic {
    hub: String,
    route: u8,
    name: String,
}

impl WireTopic {
    fn of(topic: &Topic) -> Self {
        Self { hub: topic.hub().into(), route: topic.kind().code(), name: topic.name().into() }
    }

    fn read(self) -> Result<Topic, DecodeError> {
        let kind = RouteKind::from_code(self.route).ok_or(DecodeError::UnknownKind(self.route))?;
        Ok(Topic::new(&self.hub, kind, &self.name))
    }
}

const ALIVE: u8 = 1;
const WATERMARK: u8 = 2;
const RESYNC: u8 = 3;
const LISTING: u8 = 4;
const ASK: u8 = 5;
const ANSWER: u8 = 6;
const FAREWELL: u8 = 7;

impl Control {
    pub(crate) fn encode(&self) -> Bytes {
        let mut into = Vec::new();
        let written = match self {
            Self::Alive(alive) => append(&mut into, ALIVE, alive),
            Self::Watermark(watermark) => append(&mut into, WATERMARK, watermark),
            Self::Resync { since } => append(&mut into, RESYNC, since),
            Self::Listing(Page { since, through, end, forgotten, topics }) => {
                let topics: Vec<(WireTopic, Watermark)> =
                    topics.iter().map(|it| (WireTopic::of(&it.topic), it.last)).collect();
                append(&mut into, LISTING, (since, through, end, forgotten, topics))
            }
            Self::Ask { topic, start, through } => {
                append(&mut into, ASK, (WireTopic::of(topic), start, through))
            }
            Self::Answer(Answer { topic, start, part }) => {
                append(&mut into, ANSWER, (WireTopic::of(topic), start, part))
            }
            Self::Farewell => append(&mut into, FAREWELL, ()),
        };
        // Writing to memory fails only at the codec's limit, which these are bounded to stay below.
        debug_assert!(written.is_ok(), "{self:?} does not fit");
        into.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let (tag, rest) = body.split_first().ok_or(DecodeError::Truncated)?;
        Ok(match *tag {
            ALIVE => Self::Alive(read(rest)?),
            WATERMARK => Self::Watermark(read(rest)?),
            RESYNC => Self::Resync { since: read(rest)? },
            LISTING => {
                let (since, through, end, forgotten, topics): (
                    _,
                    _,
                    _,
                    _,
                    Vec<(WireTopic, Watermark)>,
                ) = read(rest)?;
                let listed =
                    |(topic, last): (WireTopic, _)| Ok(Listed { topic: topic.read()?, last });
                let topics = topics.into_iter().map(listed).collect::<Result<_, DecodeError>>()?;
                Self::Listing(Page { since, through, end, forgotten, topics })
            }
            ASK => {
                let (topic, start, through): (WireTopic, _, _) = read(rest)?;
                Self::Ask { topic: topic.read()?, start, through }
            }
            ANSWER => {
                let (topic, start, part): (WireTopic, _, _) = read(rest)?;
                Self::Answer(Answer { topic: topic.read()?, start, part })
            }
            FAREWELL => Self::Farewell,
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }
}

fn append(
    into: &mut Vec<u8>,
    tag: u8,
    what: impl Encode,
) -> Result<usize, bincode::error::EncodeError> {
    into.put_u8(tag);
    bincode::encode_into_std_write(what, into, codec())
}

/// What follows the fields known here is skipped.
fn read<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (read, _) = bincode::decode_from_slice(bytes, codec())
        .map_err(|error| DecodeError::Header { reason: error.to_string() })?;
    Ok(read)
}
