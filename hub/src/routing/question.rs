//! What nodes ask each other, and what they answer. Integers are little-endian.
//!
//! ```text
//! question = join 2 / leave 3 / claim 4 | number u64 | name length u16 | name
//!          | groups 16 | number u64 | length u16 | the name after which to begin, or nothing
//!          | leave all 17 | number u64
//!          | add user 18 / remove user 19 | number u64 | length u16 | user | length u16 | group
//! cancel   = 5 | number u64
//! accepted = 6 | number u64
//! result   = 7 | number u64 | outcome u8 | text length u16 | text
//!          | the same with outcome 32 | more u8 | count u32 | (name length u16 | name)*
//! ```
//!
//! Who asks stands in the envelope, and who is asked about is its topic: a connection, or the node
//! itself. Later versions append fields, which are skipped.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use super::body::{Malformed, take};

const JOIN: u8 = 2;
const LEAVE: u8 = 3;
const CLAIM: u8 = 4;
const CANCEL: u8 = 5;
const ACCEPTED: u8 = 6;
const RESULT: u8 = 7;
const GROUPS: u8 = 16;
const LEAVE_ALL: u8 = 17;
const ADD_USER: u8 = 18;
const REMOVE_USER: u8 = 19;

/// The outcome that names groups.
const NAMED: u8 = 32;

/// What a node is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Let the topic's connection join this group.
    Join(Box<str>),
    /// Let the topic's connection leave this group.
    Leave(Box<str>),
    /// Grant this negotiated connection.
    Claim(Box<str>),
    /// Name the groups of the topic's connection, in their order, from after this one on.
    Groups(Box<str>),
    /// Let the topic's connection leave all its groups.
    LeaveAll,
    /// Let all the node's connections of this user join this group.
    AddUser(Box<str>, Box<str>),
    /// Let all the node's connections of this user leave this group.
    RemoveUser(Box<str>, Box<str>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Done, but so far of effect on the asked node only.
    DoneHereOnly,
    /// The connection has just gone.
    NotFound,
    /// It was granted before.
    AlreadyClaimed,
    /// It was never announced, or too long ago.
    NotAnnounced,
    /// The asked node cannot.
    Failed(Arc<str>),
    /// The broker refuses it.
    Refused(Arc<str>),
    /// These are the next groups.
    Groups(Page),
}

/// Some of a connection's groups, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) names: Vec<Arc<str>>,
    /// Whether there are more after these.
    pub(crate) more: bool,
}

/// A message between the hubs of two nodes; the number is the asker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Letter {
    Ask(Question, u64),
    /// The asker has given up, and what was done is to be undone.
    Cancel(u64),
    /// The asked node has the question and works on it.
    Accepted(u64),
    Result(u64, Outcome),
}

/// Why bytes are no letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Malformed,
    /// From a later version.
    UnknownKind,
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Letter {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64);
        match self {
            Self::Ask(question, number) => {
                let (kind, texts) = match question {
                    Question::Join(group) => (JOIN, [Some(group), None]),
                    Question::Leave(group) => (LEAVE, [Some(group), None]),
                    Question::Claim(connection) => (CLAIM, [Some(connection), None]),
                    Question::Groups(after) => (GROUPS, [Some(after), None]),
                    Question::LeaveAll => (LEAVE_ALL, [None, None]),
                    Question::AddUser(user, group) => (ADD_USER, [Some(user), Some(group)]),
                    Question::RemoveUser(user, group) => (REMOVE_USER, [Some(user), Some(group)]),
                };
                bytes.put_u8(kind);
                bytes.put_u64_le(*number);
                texts.into_iter().flatten().for_each(|text| put_text(&mut bytes, text));
            }
            Self::Cancel(number) => {
                bytes.put_u8(CANCEL);
                bytes.put_u64_le(*number);
            }
            Self::Accepted(number) => {
                bytes.put_u8(ACCEPTED);
                bytes.put_u64_le(*number);
            }
            Self::Result(number, outcome) => {
                bytes.put_u8(RESULT);
                bytes.put_u64_le(*number);
                let (code, text) = match outcome {
                    Outcome::Done => (0, ""),
                    Outcome::DoneHereOnly => (1, ""),
                    Outcome::NotFound => (2, ""),
                    Outcome::AlreadyClaimed => (3, ""),
                    Outcome::NotAnnounced => (4, ""),
                    Outcome::Failed(reason) => (5, &**reason),
                    Outcome::Refused(reason) => (6, &**reason),
                    Outcome::Groups(_) => (NAMED, ""),
                };
                bytes.put_u8(code);
                put_text(&mut bytes, text);
                if let Outcome::Groups(page) = outcome {
                    page.encode(&mut bytes);
                }
            }
        }
        bytes.into()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, Unreadable> {
        let kind = bytes.try_get_u8().map_err(|_| Malformed)?;
        if !matches!(kind, JOIN..=RESULT | GROUPS..=REMOVE_USER) {
            return Err(Unreadable::UnknownKind);
        }
        let number = bytes.try_get_u64_le().map_err(|_| Malformed)?;
        Ok(match kind {
            CANCEL => Self::Cancel(number),
            ACCEPTED => Self::Accepted(number),
            RESULT => {
                let code = bytes.try_get_u8().map_err(|_| Malformed)?;
                let text = take_text(&mut bytes)?;
                let outcome = match code {
                    0 => Outcome::Done,
                    1 => Outcome::DoneHereOnly,
                    2 => Outcome::NotFound,
                    3 => Outcome::AlreadyClaimed,
                    4 => Outcome::NotAnnounced,
                    5 => Outcome::Failed(text.into()),
                    6 => Outcome::Refused(text.into()),
                    NAMED => Outcome::Groups(Page::decode(&mut bytes)?),
                    _ => Outcome::Failed(
                        "it answers in a way that this version does not know".into(),
                    ),
                };
                Self::Result(number, outcome)
            }
            LEAVE_ALL => Self::Ask(Question::LeaveAll, number),
            kind => {
                let name = take_text(&mut bytes)?;
                let question = match kind {
                    JOIN => Question::Join(name),
                    LEAVE => Question::Leave(name),
                    GROUPS => Question::Groups(name),
                    ADD_USER => Question::AddUser(name, take_text(&mut bytes)?),
                    REMOVE_USER => Question::RemoveUser(name, take_text(&mut bytes)?),
                    _ => Question::Claim(name),
                };
                Self::Ask(question, number)
            }
        })
    }
}

impl Page {
    /// The beginning of sorted `names` that fits into an answer of `most` bytes; at least one of them.
    pub(crate) fn of(names: Vec<Arc<str>>, most: usize) -> Self {
        /// Kind, number, outcome, text, and what stands before the names.
        const HEAD: usize = 1 + 8 + 1 + 2 + 1 + 4;
        let mut names = names;
        let mut room = most.saturating_sub(HEAD);
        let fitting = names.iter().take_while(|name| {
            let rest = room.checked_sub(2 + name.len());
            room = rest.unwrap_or(room);
            rest.is_some()
        });
        let count = fitting.count().max(1);
        let more = names.len() > count;
        names.truncate(count);
        Self { names, more }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.put_u8(self.more.into());
        bytes.put_u32_le(self.names.len() as u32);
        self.names.iter().for_each(|name| put_text(bytes, name));
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let more = bytes.try_get_u8().map_err(|_| Malformed)? != 0;
        let count = bytes.try_get_u32_le().map_err(|_| Malformed)?;
        // Each is bounded by what has arrived.
        let names = (0..count).map(|_| take_text(bytes).map(Arc::from));
        let names = names.collect::<Result<_, _>>()?;
        Ok(Self { names, more })
    }
}

/// Names are bounded far below 64 KiB; of a longer reason the beginning is enough.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    const LONGEST: usize = 4096;
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    let text = &text[..end.unwrap_or(0)];
    bytes.put_u16_le(text.len() as u16);
    bytes.put_slice(text.as_bytes());
}

fn take_text(bytes: &mut Bytes) -> Result<Box<str>, Malformed> {
    let length = bytes.try_get_u16_le().map_err(|_| Malformed)?;
    let text = take(bytes, length.into())?;
    std::str::from_utf8(&text).map(Box::from).map_err(|_| Malformed)
}
