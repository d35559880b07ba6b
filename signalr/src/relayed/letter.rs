//! What nodes say to each other about a client's request. Integers are little-endian.
//!
//! ```text
//! errand  = post 1 | bytes
//!         | poll 2 | credentials?
//!         | rest 3 | loan u64 | offset u64
//!         | delete 4
//!         | begin 5 | transport u8
//!         | renew 8 | credentials
//!         | preview 16 / take 17
//!         | late 18 | bytes
//!         | abort 19
//! verdict = done 1 / nothing 2 / over 3
//!         | batch 4 | loan u64 | size u64 | bytes
//!         | piece 5 | bytes
//!         | refused 6 | why u8
//!         | preview 16 | codec u8 | bytes
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::credentials;
use crate::{Identity, Transport, codec::Codec};

/// What the owner of a connection is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errand {
    /// Take these bytes of the client.
    Post(Bytes),
    /// Wait for something to tell the client. The credentials of the request, if it has any, count where
    /// they are fresher.
    Poll(Option<Identity>),
    /// Send more of what a poll fetched.
    Rest { loan: u64, offset: u64 },
    /// End the connection.
    Delete,
    /// Say why the connection does not begin, with this transport, once more.
    Begin(Transport),
    /// Take these credentials in place of those that there are.
    Renew(Identity),
    /// Say what a node needs that prepares to take the session.
    Preview,
    /// Hand the session over to the node that asks.
    Take,
    /// Take what has arrived late at the node that had the session.
    Late(Bytes),
    /// End the session: a call wants it that runs at the node that had it.
    Abort,
}

/// What the owner answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The bytes or the credentials are taken, or the connection is ended.
    Done,
    /// There is nothing to tell the client so far.
    Nothing,
    /// A newer poll has come, or there is nothing to tell any more.
    Over,
    /// There is so much to tell, and it begins with this piece.
    Batch {
        loan: u64,
        size: u64,
        piece: Bytes,
    },
    /// More of it.
    Piece(Bytes),
    Refused(Reason),
    /// What a node needs that prepares to take the session.
    Preview {
        codec: Codec,
        groups: Bytes,
    },
}

/// Why the owner does not serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Unknown,
    Begun,
    OtherTransport,
    NoPost,
    NoDelete,
    /// It has just ended, or gone to another node.
    Moved,
}

/// These bytes are none of the above. Nodes of a later version may send such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node speaks of requests in a way that this version does not know")]
pub(super) struct Unreadable;

const TRANSPORTS: [Transport; 3] = Transport::ALL;

const REASONS: [Reason; 6] = [
    Reason::Unknown,
    Reason::Begun,
    Reason::OtherTransport,
    Reason::NoPost,
    Reason::NoDelete,
    Reason::Moved,
];

impl Errand {
    pub(super) fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        match self {
            Self::Post(bytes) => {
                to.reserve(1 + bytes.len());
                to.put_u8(1);
                to.put_slice(bytes);
            }
            Self::Poll(identity) => {
                to.put_u8(2);
                if let Some(identity) = identity {
                    to.put_slice(&credentials::write(identity));
                }
            }
            Self::Rest { loan, offset } => {
                to.put_u8(3);
                to.put_u64_le(*loan);
                to.put_u64_le(*offset);
            }
            Self::Delete => to.put_u8(4),
            Self::Begin(transport) => {
                to.put_u8(5);
                to.put_u8(place(&TRANSPORTS, transport));
            }
            Self::Renew(identity) => {
                to.put_u8(8);
                to.put_slice(&credentials::write(identity));
            }
            Self::Preview => to.put_u8(16),
            Self::Take => to.put_u8(17),
            Self::Late(bytes) => {
                to.reserve(1 + bytes.len());
                to.put_u8(18);
                to.put_slice(bytes);
            }
            Self::Abort => to.put_u8(19),
        }
        to.freeze()
    }

    pub(super) fn decode(mut from: Bytes) -> Result<Self, Unreadable> {
        Ok(match from.try_get_u8().map_err(|_| Unreadable)? {
            1 => Self::Post(from),
            2 if from.is_empty() => Self::Poll(None),
            2 => Self::Poll(Some(credentials::read(&from)?)),
            3 => Self::Rest { loan: number(&mut from)?, offset: number(&mut from)? },
            4 => Self::Delete,
            5 => Self::Begin(at(&TRANSPORTS, &mut from)?),
            8 => Self::Renew(credentials::read(&from)?),
            16 => Self::Preview,
            17 => Self::Take,
            18 => Self::Late(from),
            19 => Self::Abort,
            _ => return Err(Unreadable),
        })
    }
}

impl Verdict {
    pub(super) fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        match self {
            Self::Done => to.put_u8(1),
            Self::Nothing => to.put_u8(2),
            Self::Over => to.put_u8(3),
            Self::Batch { loan, size, piece } => {
                to.reserve(17 + piece.len());
                to.put_u8(4);
                to.put_u64_le(*loan);
                to.put_u64_le(*size);
                to.put_slice(piece);
            }
            Self::Piece(piece) => {
                to.reserve(1 + piece.len());
                to.put_u8(5);
                to.put_slice(piece);
            }
            Self::Refused(reason) => {
                to.put_u8(6);
                to.put_u8(place(&REASONS, reason));
            }
            Self::Preview { codec, groups } => {
                to.put_u8(16);
                to.put_u8(place(&Codec::ALL, codec));
                to.put_slice(groups);
            }
        }
        to.freeze()
    }

    pub(super) fn decode(mut from: Bytes) -> Result<Self, Unreadable> {
        Ok(match from.try_get_u8().map_err(|_| Unreadable)? {
            1 => Self::Done,
            2 => Self::Nothing,
            3 => Self::Over,
            4 => Self::Batch { loan: number(&mut from)?, size: number(&mut from)?, piece: from },
            5 => Self::Piece(from),
            6 => Self::Refused(at(&REASONS, &mut from)?),
            16 => Self::Preview { codec: at(&Codec::ALL, &mut from)?, groups: from },
            _ => return Err(Unreadable),
        })
    }
}

fn number(from: &mut Bytes) -> Result<u64, Unreadable> {
    from.try_get_u64_le().map_err(|_| Unreadable)
}

/// The number of one of a few.
fn place<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let place = all.iter().position(|it| it == one);
    // There are less than 256, and it is among them.
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

fn at<T: Copy>(all: &[T], from: &mut Bytes) -> Result<T, Unreadable> {
    let place = from.try_get_u8().map_err(|_| Unreadable)?;
    all.get(usize::from(place)).copied().ok_or(Unreadable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::relayed::credentials::tests::ann;

    #[test]
    fn errands_are_read_as_they_were_written() {
        let mut errands = vec![
            Errand::Post(Bytes::from_static(b"hello")),
            Errand::Post(Bytes::new()),
            Errand::Poll(None),
            Errand::Poll(Some(ann())),
            Errand::Rest { loan: 7, offset: 1 << 40 },
            Errand::Delete,
            Errand::Renew(ann()),
            Errand::Preview,
            Errand::Take,
            Errand::Late(Bytes::from_static(b"late")),
            Errand::Abort,
        ];
        errands.extend(Transport::ALL.map(Errand::Begin));
        for errand in errands {
            assert_eq!(Errand::decode(errand.encode()), Ok(errand));
        }
    }

    #[test]
    fn verdicts_are_read_as_they_were_written() {
        let piece = Bytes::from_static(b"hello");
        let mut verdicts = vec![
            Verdict::Done,
            Verdict::Nothing,
            Verdict::Over,
            Verdict::Batch { loan: 7, size: 1 << 40, piece: piece.clone() },
            Verdict::Piece(piece.clone()),
            Verdict::Preview { codec: Codec::MessagePack, groups: piece },
        ];
        verdicts.extend(REASONS.map(Verdict::Refused));
        for verdict in verdicts {
            assert_eq!(Verdict::decode(verdict.encode()), Ok(verdict));
        }
    }

    #[test]
    fn what_nobody_knows_is_unreadable() {
        for bytes in
            [&b""[..], b"\0", b"\x09", b"\x05\x03", b"\x05", b"\x03\0\0", b"\x02x", b"\x08"]
        {
            assert_eq!(Errand::decode(Bytes::from_static(bytes)), Err(Unreadable));
        }
        for bytes in [&b""[..], b"\0", b"\x09", b"\x06\x06", b"\x06", b"\x04\0\0"] {
            assert_eq!(Verdict::decode(Bytes::from_static(bytes)), Err(Unreadable));
        }
    }

    proptest! {
        #[test]
        fn anything_may_come(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let bytes = Bytes::from(bytes);
            if let Ok(errand) = Errand::decode(bytes.clone()) {
                prop_assert!(bytes.starts_with(&errand.encode()));
            }
            if let Ok(verdict) = Verdict::decode(bytes.clone()) {
                prop_assert!(bytes.starts_with(&verdict.encode()));
            }
        }
    }
}
