//! What nodes tell each other about their connections. Integers are little-endian.
//!
//! ```text
//! delta    = 1 | head length u8 | epoch u64 | version u64 | change*
//! part     = 2 | head length u8 | epoch u64 | version u64 | answer u64 | index u32 | of u32 | change*
//! digest   = 3 | head length u8 | epoch u64 | version u64 | sum u64 | asks u8
//! ask      = 4 | head length u8 | epoch u64 | version u64
//! farewell = 5 | head length u8 | epoch u64
//! change   = opened 1 | connection | user, or an empty text
//!          | closed 2 | connection
//!          | joined 3 | connection | group
//!          | left 4   | connection | group
//! text     = 0 | length | bytes    one that is new in this message
//!          | n                     the n-th of them
//! ```
//!
//! Lengths and references of texts are LEB128. Later versions append to the head, which is skipped, and
//! add kinds, which are counted. Who speaks stands in the envelope.

use std::{collections::HashMap, sync::Arc};

use backplane_core::LONGEST_NAME;
use bytes::{Buf, BufMut, Bytes};

const DELTA: u8 = 1;
const PART: u8 = 2;
const DIGEST: u8 = 3;
const ASK: u8 = 4;
const FAREWELL: u8 = 5;

const OPENED: u8 = 1;
const CLOSED: u8 = 2;
const JOINED: u8 = 3;
const LEFT: u8 = 4;

/// The longest head that this version writes, with the kind and its length.
const HEAD: usize = 2 + 8 + 8 + 8 + 4 + 4;

/// The longest change: its tag and two texts.
const CHANGE: usize = 1 + 2 * (1 + 2 + LONGEST_NAME);

/// The smallest body into which every message can be made to fit.
pub(crate) const SMALLEST_BODY: usize = HEAD + CHANGE;

/// What has become of one connection of the node that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Opened {
        connection: Arc<str>,
        user: Option<Arc<str>>,
    },
    /// It has left all its groups with that.
    Closed {
        connection: Arc<str>,
    },
    Joined {
        connection: Arc<str>,
        group: Arc<str>,
    },
    Left {
        connection: Arc<str>,
        group: Arc<str>,
    },
}

/// One message; all but a `Digest` and a `Farewell` concern one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// What has led from the version before to this one.
    Delta { epoch: u64, version: u64, changes: Vec<Change> },
    /// One of the parts of everything there was at this version.
    Part(Part),
    /// Where the speaker stands.
    Digest(Digest),
    /// The asker knows this version of the asked node's; 0 is that of an epoch's beginning, and no
    /// epoch has the number 0.
    Ask { epoch: u64, version: u64 },
    /// The speaker's hub has ended.
    Farewell { epoch: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    /// Numbers the answers, so that parts of two are not mixed.
    pub(crate) answer: u64,
    pub(crate) index: u32,
    pub(crate) of: u32,
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    /// Of all that is so at this version.
    pub(crate) sum: u64,
    /// Whether the others are to say where they stand.
    pub(crate) asks: bool,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Malformed,
    /// From a later version.
    UnknownKind,
}

/// The deltas that these changes make, each at most `limit` bytes long; the first leads to `version`.
pub(crate) fn deltas<'a>(
    changes: impl IntoIterator<Item = &'a Change>,
    epoch: u64,
    version: u64,
    limit: usize,
) -> Vec<Bytes> {
    let packed = pack(changes, limit).into_iter();
    let numbered = packed.zip(version..);
    let delta = |(changes, version): (Vec<u8>, u64)| with_head(DELTA, &[epoch, version], &changes);
    numbered.map(delta).collect()
}

/// The parts that all of these make, at least one.
pub(crate) fn parts<'a>(
    changes: impl IntoIterator<Item = &'a Change>,
    (epoch, version): (u64, u64),
    answer: u64,
    limit: usize,
) -> Vec<Bytes> {
    let mut packed = pack(changes, limit);
    if packed.is_empty() {
        packed.push(Vec::new());
    }
    let of = packed.len() as u64;
    // The index is the lower half.
    let place = |index: u64| index | (of << 32);
    let numbered = packed.iter().zip(0..);
    let part = |(changes, index): (&Vec<u8>, u64)| {
        with_head(PART, &[epoch, version, answer, place(index)], changes)
    };
    numbered.map(part).collect()
}

impl Digest {
    pub(crate) fn encode(&self) -> Bytes {
        let Self { epoch, version, sum, asks } = *self;
        let mut body = Vec::with_capacity(HEAD);
        body.put_slice(&[DIGEST, 25]);
        [epoch, version, sum].iter().for_each(|number| body.put_u64_le(*number));
        body.put_u8(asks.into());
        body.into()
    }
}

pub(crate) fn ask(epoch: u64, version: u64) -> Bytes {
    with_head(ASK, &[epoch, version], &[])
}

pub(crate) fn farewell(epoch: u64) -> Bytes {
    with_head(FAREWELL, &[epoch], &[])
}

fn with_head(kind: u8, numbers: &[u64], rest: &[u8]) -> Bytes {
    let mut body = Vec::with_capacity(HEAD + rest.len());
    body.put_slice(&[kind, 8 * numbers.len() as u8]);
    numbers.iter().for_each(|number| body.put_u64_le(*number));
    body.put_slice(rest);
    body.into()
}

/// Writes changes one after the other, into as few pieces as hold them.
fn pack<'a>(changes: impl IntoIterator<Item = &'a Change>, limit: usize) -> Vec<Vec<u8>> {
    let limit = limit.max(SMALLEST_BODY) - HEAD;
    let mut pieces = Vec::new();
    let mut writer = Writer::default();
    for change in changes {
        if writer.bytes.len() + change.most_bytes() > limit {
            pieces.push(std::mem::take(&mut writer).bytes);
        }
        writer.change(change);
    }
    if !writer.bytes.is_empty() {
        pieces.push(writer.bytes);
    }
    pieces
}

impl Change {
    pub(crate) fn connection(&self) -> &Arc<str> {
        match self {
            Self::Opened { connection, .. }
            | Self::Closed { connection }
            | Self::Joined { connection, .. }
            | Self::Left { connection, .. } => connection,
        }
    }

    fn most_bytes(&self) -> usize {
        let other = match self {
            Self::Opened { user, .. } => user.as_ref().map_or(0, |user| user.len()),
            Self::Closed { .. } => 0,
            Self::Joined { group, .. } | Self::Left { group, .. } => group.len(),
        };
        CHANGE - 2 * LONGEST_NAME + self.connection().len() + other
    }
}

#[derive(Default)]
struct Writer<'a> {
    bytes: Vec<u8>,
    texts: HashMap<&'a str, usize, foldhash::fast::RandomState>,
}

impl<'a> Writer<'a> {
    fn change(&mut self, change: &'a Change) {
        let (tag, second) = match change {
            Change::Opened { user, .. } => (OPENED, Some(user.as_deref().unwrap_or_default())),
            Change::Closed { .. } => (CLOSED, None),
            Change::Joined { group, .. } => (JOINED, Some(&**group)),
            Change::Left { group, .. } => (LEFT, Some(&**group)),
        };
        self.bytes.put_u8(tag);
        self.text(change.connection());
        if let Some(second) = second {
            self.text(second);
        }
    }

    fn text(&mut self, text: &'a str) {
        let next = self.texts.len() + 1;
        match *self.texts.entry(text).or_insert(next) {
            new if new == next => {
                self.number(0);
                self.number(text.len());
                self.bytes.put_slice(text.as_bytes());
            }
            known => self.number(known),
        }
    }

    fn number(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.bytes.put_u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.put_u8(number as u8);
    }
}

impl Message {
    pub(crate) fn decode(mut body: &[u8]) -> Result<Self, Unreadable> {
        let kind = body.try_get_u8()?;
        if !(DELTA..=FAREWELL).contains(&kind) {
            return Err(Unreadable::UnknownKind);
        }
        let length = body.try_get_u8()?;
        let (mut head, rest) = body.split_at_checked(length.into()).ok_or(Unreadable::Malformed)?;
        let epoch = head.try_get_u64_le()?;
        Ok(match kind {
            DELTA => {
                let version = head.try_get_u64_le()?;
                Self::Delta { epoch, version, changes: Reader::read(rest)? }
            }
            PART => {
                let (version, answer) = (head.try_get_u64_le()?, head.try_get_u64_le()?);
                let (index, of) = (head.try_get_u32_le()?, head.try_get_u32_le()?);
                let changes = Reader::read(rest)?;
                Self::Part(Part { epoch, version, answer, index, of, changes })
            }
            DIGEST => {
                let (version, sum) = (head.try_get_u64_le()?, head.try_get_u64_le()?);
                let asks = head.try_get_u8()? != 0;
                Self::Digest(Digest { epoch, version, sum, asks })
            }
            ASK => Self::Ask { epoch, version: head.try_get_u64_le()? },
            _ => Self::Farewell { epoch },
        })
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    texts: Vec<Arc<str>>,
}

impl<'a> Reader<'a> {
    fn read(rest: &'a [u8]) -> Result<Vec<Change>, Unreadable> {
        let mut reader = Self { rest, texts: Vec::new() };
        let mut changes = Vec::new();
        while !reader.rest.is_empty() {
            changes.push(reader.change()?);
        }
        Ok(changes)
    }

    fn change(&mut self) -> Result<Change, Unreadable> {
        let tag = self.rest.try_get_u8()?;
        let connection = self.text()?;
        Ok(match tag {
            OPENED => {
                let user = Some(self.text()?).filter(|user| !user.is_empty());
                Change::Opened { connection, user }
            }
            CLOSED => Change::Closed { connection },
            JOINED => Change::Joined { connection, group: self.text()? },
            LEFT => Change::Left { connection, group: self.text()? },
            _ => return Err(Unreadable::Malformed),
        })
    }

    fn text(&mut self) -> Result<Arc<str>, Unreadable> {
        let reference = self.number()?;
        if let Some(index) = reference.checked_sub(1) {
            return self.texts.get(index).map(Arc::clone).ok_or(Unreadable::Malformed);
        }
        let length = self.number()?;
        if length > LONGEST_NAME {
            return Err(Unreadable::Malformed);
        }
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Unreadable::Malformed)?;
        self.rest = rest;
        let text: Arc<str> = std::str::from_utf8(text).map_err(|_| Unreadable::Malformed)?.into();
        self.texts.push(Arc::clone(&text));
        Ok(text)
    }

    /// More than 28 bits are in no message.
    fn number(&mut self) -> Result<usize, Unreadable> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.rest.try_get_u8()?;
            number |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unreadable::Malformed)
    }
}

impl From<bytes::TryGetError> for Unreadable {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests;
