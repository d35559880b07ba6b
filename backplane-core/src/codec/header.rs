//! The header of an envelope: of an application's envelope, the only thing a codec touches.
//!
//! `bincode` is unmaintained (RUSTSEC-2025-0141), so it is pinned and used in this folder alone, with
//! fixed-width little-endian integers. `wincode` writes the same bytes, which a test proves: the
//! codec can be replaced without a change on the wire.

use bincode::{BorrowDecode, Encode, config};

use super::DecodeError;
use crate::{
    Envelope, NodeId,
    envelope::{Kind, Sequence},
    topic::{RouteKind, TopicParts},
};

/// The longest header, in bytes.
pub(crate) const LONGEST: usize = 256 * 1024;

/// The origin stands first, so that an echo is recognised without a codec.
const ORIGIN: usize = 16;

/// Fields are only ever appended: an older node skips what follows those it knows.
#[derive(Encode, BorrowDecode)]
struct Wire<'a> {
    origin: [u8; ORIGIN],
    kind: u8,
    route: u8,
    hub: &'a str,
    name: &'a str,
    except: Vec<&'a str>,
    trace: Option<&'a str>,
}

/// What follows, as an `Option`, where envelopes are numbered or a later field follows.
#[derive(Encode, BorrowDecode)]
struct Numbered {
    epoch: u64,
    number: u64,
    position: u64,
    predecessor: u64,
}

/// A header read from a frame, borrowing from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) kind: Kind,
    pub(crate) topic: TopicParts<'a>,
    pub(crate) except: Vec<&'a str>,
    pub(crate) trace: Option<&'a str>,
    pub(crate) sequence: Option<Sequence>,
}

pub(super) fn codec() -> impl config::Config {
    config::legacy().with_limit::<LONGEST>()
}

/// Appends the header of `envelope`, published by `origin`.
///
/// Fails only where the excluded connections exceed [`LONGEST`].
pub(super) fn encode(
    envelope: &Envelope,
    origin: NodeId,
    into: &mut Vec<u8>,
) -> Result<(), bincode::error::EncodeError> {
    let wire = Wire {
        origin: *origin.as_bytes(),
        kind: envelope.kind as u8,
        route: envelope.topic.kind().code(),
        hub: envelope.topic.hub(),
        name: envelope.topic.name(),
        except: envelope.except.iter().map(|id| &**id).collect(),
        trace: envelope.trace.as_deref(),
    };
    bincode::encode_into_std_write(wire, into, codec())?;
    if let Some(Sequence { epoch, number, position, predecessor }) = envelope.sequence {
        let numbered = Some(Numbered { epoch, number, position, predecessor });
        bincode::encode_into_std_write(numbered, into, codec())?;
    }
    Ok(())
}

/// Who published it, without decoding the rest.
pub(super) fn origin(header: &[u8]) -> Option<NodeId> {
    header.first_chunk::<ORIGIN>().map(|bytes| NodeId::from_bytes(*bytes))
}

fn sequence(rest: &[u8]) -> Result<Option<Sequence>, DecodeError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (numbered, _): (Option<Numbered>, usize) = bincode::borrow_decode_from_slice(rest, codec())
        .map_err(|error| DecodeError::Header { reason: error.to_string() })?;
    let Some(Numbered { epoch, number, position, predecessor }) = numbered else {
        return Ok(None);
    };
    // What no origin writes would only confuse the counting.
    let plausible = number > 0
        && (1..=position).contains(&epoch)
        && predecessor < position
        && number <= position;
    if !plausible {
        return Err(DecodeError::Header { reason: "its numbers contradict each other".to_owned() });
    }
    Ok(Some(Sequence { epoch, number, position, predecessor }))
}

/// Reads a header; what follows the fields known here is skipped.
pub(super) fn decode(header: &[u8]) -> Result<Header<'_>, DecodeError> {
    let (wire, end): (Wire<'_>, usize) = bincode::borrow_decode_from_slice(header, codec())
        .map_err(|error| DecodeError::Header { reason: error.to_string() })?;
    let kind = match wire.kind {
        0 => Kind::Message,
        1 => Kind::Probe,
        2 => Kind::Control,
        3 => Kind::Resent,
        unknown => return Err(DecodeError::UnknownKind(unknown)),
    };
    let route = RouteKind::from_code(wire.route).ok_or(DecodeError::UnknownKind(wire.route))?;
    Ok(Header {
        kind,
        topic: TopicParts { hub: wire.hub, kind: route, name: wire.name },
        except: wire.except,
        trace: wire.trace,
        sequence: sequence(header.get(end..).unwrap_or_default())?,
    })
}
