//! What nodes ask each other, and what they answer. Integers are little-endian.
//!
//! ```text
//! question = join 2 / leave 3 / claim 4 / moved 13 | number u64 | name length u16 | name
//!          | invoke 8  | number u64 | id length u16 | id | the payloads of an invocation
//!          | relay 9   | number u64 | connection length u16 | connection | body length u32 | body
//!          | written 11 | number u64 | relay's number u64
//!          | groups 16 | number u64 | length u16 | the name after which to begin, or nothing
//!          | leave all 17 | number u64
//!          | add user 18 / remove user 19 | number u64 | length u16 | user | length u16 | group
//! cancel   = 5 | number u64
//! remind   = 10 | number u64
//! ended    = 12 | number u64 | connection length u16 | connection
//! accepted = 6 | number u64
//! result   = 7 | number u64 | outcome u8 | text length u16 | text | (body length u32 | body)?
//!          | the same with outcome 32 | more u8 | count u32 | (name length u16 | name)*
//! ```
//!
//! Who asks stands in the envelope, and who is asked about is its topic: a connection, or the node
//! itself. Outcomes of clients and relays have a body. Later versions append fields, which are
//! skipped; kinds that are unknown are counted, and their askers hear nothing.

use std::{borrow::Cow, sync::Arc};

use backplane_core::{ByteSize, NodeId};
use bytes::{Buf, BufMut, Bytes};

use super::body::{Malformed, take, take_payloads};

const JOIN: u8 = 2;
const LEAVE: u8 = 3;
const CLAIM: u8 = 4;
const CANCEL: u8 = 5;
const ACCEPTED: u8 = 6;
const RESULT: u8 = 7;
const INVOKE: u8 = 8;
const RELAY: u8 = 9;
const REMIND: u8 = 10;
const WRITTEN: u8 = 11;
const ENDED: u8 = 12;
const MOVED: u8 = 13;
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
    /// Note that the asker has this connection, which another node had.
    Moved(Box<str>),
    /// Call the topic's connection, and say what its client answers.
    Invoke {
        /// The id of the call, as the client gets it.
        id: Box<str>,
        /// The call in each protocol, as [`payloads`](super::payloads) wrote it.
        payloads: Bytes,
    },
    /// Serve a request of this connection's client.
    Relay { connection: Box<str>, body: Bytes },
    /// Note that the outcome of the relay of this number has reached the client.
    Written(u64),
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
    /// It was granted before, to this node.
    AlreadyClaimed(Option<NodeId>),
    /// It was never announced, or too long ago.
    NotAnnounced,
    /// The asked node cannot.
    Failed(Arc<str>),
    /// The broker, or the asked node, refuses it.
    Refused(Arc<str>),
    /// The client returned this, in the protocol of this name.
    Completed {
        protocol: Box<str>,
        result: Bytes,
    },
    /// The client completed the call without a result.
    CompletedEmpty,
    /// The client's method failed.
    ClientFailed(Box<str>),
    /// The connection ended before its client answered.
    Disconnected,
    /// The connection's queue is full.
    TooSlow,
    /// The answer to a relayed request.
    Relayed(Bytes),
    /// Another node has the connection.
    Elsewhere(NodeId),
    /// The connection has ended.
    Ended,
    /// The asked node does not know what it is reminded of, or has not kept its outcome.
    Forgotten,
    /// The outcome does not fit into an envelope.
    TooLarge {
        size: ByteSize,
        limit: ByteSize,
    },
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
    /// The asker still waits for the outcome of a question that was accepted.
    Remind(u64),
    /// A connection that was granted has ended.
    Ended(Box<str>),
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
        let mut bytes = Vec::with_capacity(64 + self.size());
        match self {
            Self::Ask(question, number) => put_question(&mut bytes, question, *number),
            Self::Cancel(number) => put_head(&mut bytes, CANCEL, *number),
            Self::Remind(number) => put_head(&mut bytes, REMIND, *number),
            Self::Ended(connection) => {
                put_head(&mut bytes, ENDED, 0);
                put_text(&mut bytes, connection);
            }
            Self::Accepted(number) => put_head(&mut bytes, ACCEPTED, *number),
            Self::Result(number, outcome) => {
                put_head(&mut bytes, RESULT, *number);
                put_outcome(&mut bytes, outcome);
            }
        }
        bytes.into()
    }

    /// What it holds beside names and numbers, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Ask(question, _) => question.size(),
            Self::Result(_, outcome) => outcome.size(),
            _ => 0,
        }
    }

    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, Unreadable> {
        let kind = bytes.try_get_u8().map_err(|_| Malformed)?;
        if !matches!(kind, JOIN..=MOVED | GROUPS..=REMOVE_USER) {
            return Err(Unreadable::UnknownKind);
        }
        let number = bytes.try_get_u64_le().map_err(|_| Malformed)?;
        Ok(match kind {
            CANCEL => Self::Cancel(number),
            REMIND => Self::Remind(number),
            ENDED => Self::Ended(take_text(&mut bytes)?),
            ACCEPTED => Self::Accepted(number),
            RESULT => Self::Result(number, take_outcome(&mut bytes)?),
            kind => Self::Ask(take_question(kind, bytes)?, number),
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

impl Question {
    /// What it holds beside names and numbers, in bytes.
    pub(super) const fn size(&self) -> usize {
        match self {
            Self::Invoke { payloads: bytes, .. } | Self::Relay { body: bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

impl Outcome {
    /// What it holds beside names and numbers, in bytes.
    pub(super) const fn size(&self) -> usize {
        match self {
            Self::Completed { result: bytes, .. } | Self::Relayed(bytes) => bytes.len(),
            Self::ClientFailed(text) => text.len(),
            _ => 0,
        }
    }
}

fn put_head(bytes: &mut Vec<u8>, kind: u8, number: u64) {
    bytes.put_u8(kind);
    bytes.put_u64_le(number);
}

fn put_question(bytes: &mut Vec<u8>, question: &Question, number: u64) {
    let (kind, name) = match question {
        Question::Join(group) => (JOIN, group),
        Question::Leave(group) => (LEAVE, group),
        Question::Claim(connection) => (CLAIM, connection),
        Question::Moved(connection) => (MOVED, connection),
        Question::Invoke { id, .. } => (INVOKE, id),
        Question::Relay { connection, .. } => (RELAY, connection),
        Question::Groups(after) => (GROUPS, after),
        Question::AddUser(user, _) => (ADD_USER, user),
        Question::RemoveUser(user, _) => (REMOVE_USER, user),
        Question::LeaveAll => return put_head(bytes, LEAVE_ALL, number),
        Question::Written(relay) => {
            put_head(bytes, WRITTEN, number);
            return bytes.put_u64_le(*relay);
        }
    };
    put_head(bytes, kind, number);
    put_text(bytes, name);
    match question {
        Question::Invoke { payloads, .. } => bytes.put_slice(payloads),
        Question::Relay { body, .. } => put_body(bytes, body),
        Question::AddUser(_, group) | Question::RemoveUser(_, group) => put_text(bytes, group),
        _ => {}
    }
}

fn take_question(kind: u8, mut bytes: Bytes) -> Result<Question, Malformed> {
    match kind {
        WRITTEN => {
            return Ok(Question::Written(bytes.try_get_u64_le().map_err(|_| Malformed)?));
        }
        LEAVE_ALL => return Ok(Question::LeaveAll),
        _ => {}
    }
    let name = take_text(&mut bytes)?;
    Ok(match kind {
        JOIN => Question::Join(name),
        LEAVE => Question::Leave(name),
        CLAIM => Question::Claim(name),
        MOVED => Question::Moved(name),
        INVOKE => Question::Invoke { id: name, payloads: take_payloads(&bytes)? },
        GROUPS => Question::Groups(name),
        ADD_USER => Question::AddUser(name, take_text(&mut bytes)?),
        REMOVE_USER => Question::RemoveUser(name, take_text(&mut bytes)?),
        _ => Question::Relay { connection: name, body: take_body(&mut bytes)? },
    })
}

fn put_outcome(bytes: &mut Vec<u8>, outcome: &Outcome) {
    let node = |node: &NodeId| node.to_string().into();
    let (code, text): (u8, Cow<'_, str>) = match outcome {
        Outcome::Done => (0, "".into()),
        Outcome::DoneHereOnly => (1, "".into()),
        Outcome::NotFound => (2, "".into()),
        Outcome::AlreadyClaimed(owner) => (3, owner.as_ref().map_or("".into(), node)),
        Outcome::NotAnnounced => (4, "".into()),
        Outcome::Failed(reason) => (5, (&**reason).into()),
        Outcome::Refused(reason) => (6, (&**reason).into()),
        Outcome::Completed { protocol, .. } => (7, (&**protocol).into()),
        Outcome::CompletedEmpty => (8, "".into()),
        Outcome::ClientFailed(_) => (9, "".into()),
        Outcome::Disconnected => (10, "".into()),
        Outcome::TooSlow => (11, "".into()),
        Outcome::Relayed(_) => (12, "".into()),
        Outcome::Elsewhere(owner) => (13, node(owner)),
        Outcome::Ended => (14, "".into()),
        Outcome::Forgotten => (15, "".into()),
        Outcome::TooLarge { .. } => (16, "".into()),
        Outcome::Groups(_) => (NAMED, "".into()),
    };
    bytes.put_u8(code);
    put_text(bytes, &text);
    match outcome {
        Outcome::Completed { result: body, .. } | Outcome::Relayed(body) => put_body(bytes, body),
        Outcome::ClientFailed(text) => put_body(bytes, text.as_bytes()),
        Outcome::TooLarge { size, limit } => {
            bytes.put_u64_le(size.as_u64());
            bytes.put_u64_le(limit.as_u64());
        }
        Outcome::Groups(page) => page.encode(bytes),
        _ => {}
    }
}

fn take_outcome(bytes: &mut Bytes) -> Result<Outcome, Malformed> {
    let code = bytes.try_get_u8().map_err(|_| Malformed)?;
    let text = take_text(bytes)?;
    Ok(match code {
        0 => Outcome::Done,
        1 => Outcome::DoneHereOnly,
        2 => Outcome::NotFound,
        3 => Outcome::AlreadyClaimed(node(&text)),
        4 => Outcome::NotAnnounced,
        5 => Outcome::Failed(text.into()),
        6 => Outcome::Refused(text.into()),
        7 => Outcome::Completed { protocol: text, result: take_body(bytes)? },
        8 => Outcome::CompletedEmpty,
        9 => {
            let text = take_body(bytes)?;
            Outcome::ClientFailed(std::str::from_utf8(&text).map_err(|_| Malformed)?.into())
        }
        10 => Outcome::Disconnected,
        11 => Outcome::TooSlow,
        12 => Outcome::Relayed(take_body(bytes)?),
        13 => Outcome::Elsewhere(node(&text).ok_or(Malformed)?),
        14 => Outcome::Ended,
        15 => Outcome::Forgotten,
        16 => {
            let mut size = || bytes.try_get_u64_le().map(ByteSize::b).map_err(|_| Malformed);
            Outcome::TooLarge { size: size()?, limit: size()? }
        }
        NAMED => Outcome::Groups(Page::decode(bytes)?),
        _ => Outcome::Failed("it answers in a way that this version does not know".into()),
    })
}

/// Names are bounded far below 64 KiB; of a longer reason the beginning is enough.
pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    const LONGEST: usize = 4096;
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    let text = &text[..end.unwrap_or(0)];
    bytes.put_u16_le(text.len() as u16);
    bytes.put_slice(text.as_bytes());
}

pub(crate) fn take_text(bytes: &mut Bytes) -> Result<Box<str>, Malformed> {
    let length = bytes.try_get_u16_le().map_err(|_| Malformed)?;
    let text = take(bytes, length.into())?;
    std::str::from_utf8(&text).map(Box::from).map_err(|_| Malformed)
}

/// Far below 4 GiB, as the backplane takes no larger body.
pub(crate) fn put_body(bytes: &mut Vec<u8>, body: &[u8]) {
    bytes.put_u32_le(body.len() as u32);
    bytes.put_slice(body);
}

pub(crate) fn take_body(bytes: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = bytes.try_get_u32_le().map_err(|_| Malformed)?;
    take(bytes, length as usize)
}

/// A node's id, as it is displayed.
fn node(text: &str) -> Option<NodeId> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(|id| NodeId::from_bytes(id.to_be_bytes()))
}
