use bytes::{Buf as _, BufMut, Bytes};

use super::{DecodeError, Header, header};
use crate::{Envelope, NodeId, Topic};

const MAGIC: u8 = 0xB5;
const ENVELOPE: u8 = 0x01;
const BUNDLE: u8 = 0x81;
const PREFIX: usize = 2;
const LENGTH: usize = 4;

/// Envelopes are bundled up to this size. Larger ones travel alone.
const BUNDLE_BYTES: usize = 64 * 1024;

/// One message for the broker: one envelope, or a bundle of envelopes of one topic.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The topic of all envelopes in it.
    pub topic: Topic,
    /// What goes over the wire.
    pub bytes: Bytes,
    /// Which envelopes of the batch it holds, by index.
    pub envelopes: Vec<usize>,
}

/// Encodes `envelopes`, bundling those of one topic up to `largest` bytes, in the order of their
/// first envelope.
pub(crate) fn frames(envelopes: &[Envelope], origin: NodeId, largest: usize) -> Vec<Frame> {
    let largest = largest.min(BUNDLE_BYTES);
    struct Open<'a> {
        topic: &'a Topic,
        bytes: Vec<u8>,
        indices: Vec<usize>,
    }
    let mut closed: Vec<Open<'_>> = Vec::new();
    let mut open: hashbrown::HashMap<&Topic, usize, foldhash::fast::RandomState> =
        hashbrown::HashMap::default();
    for (index, envelope) in envelopes.iter().enumerate() {
        let size = envelope.cost() + envelope.topic.hub().len() + envelope.topic.name().len();
        let at = open
            .get(envelope.destination())
            .copied()
            .filter(|at| closed.get(*at).is_some_and(|frame| frame.bytes.len() + size <= largest));
        let at = at.unwrap_or_else(|| {
            closed.push(Open {
                topic: envelope.destination(),
                bytes: Vec::new(),
                indices: Vec::new(),
            });
            open.insert(envelope.destination(), closed.len() - 1);
            closed.len() - 1
        });
        let Some(frame) = closed.get_mut(at) else { continue };
        append(&mut frame.bytes, envelope, origin);
        frame.indices.push(index);
    }
    closed
        .into_iter()
        .map(|frame| {
            // A lone envelope needs no bundle around it.
            let skip = if frame.indices.len() == 1 { PREFIX + LENGTH } else { 0 };
            Frame {
                topic: frame.topic.clone(),
                bytes: Bytes::from(frame.bytes).slice(skip..),
                envelopes: frame.indices,
            }
        })
        .collect()
}

/// Appends one envelope to a bundle, starting it where it is empty.
fn append(bundle: &mut Vec<u8>, envelope: &Envelope, origin: NodeId) {
    if bundle.is_empty() {
        bundle.reserve(envelope.cost());
        bundle.put_slice(&[MAGIC, BUNDLE]);
    }
    let start = bundle.len();
    bundle.put_u32_le(0);
    bundle.put_slice(&[MAGIC, ENVELOPE]);
    bundle.put_u32_le(0);
    let header_start = bundle.len();
    if header::encode(envelope, origin, bundle).is_err() {
        // Publishing checks names and exceptions against the header's bound, so this is a bug here.
        debug_assert!(false, "a header that was checked did not fit");
        bundle.truncate(start);
        return;
    }
    let header_length = bundle.len() - header_start;
    bundle.put_slice(&envelope.body);
    let total = bundle.len() - start - LENGTH;
    write_length(bundle, start, total);
    write_length(bundle, header_start - LENGTH, header_length);
}

fn write_length(bytes: &mut [u8], at: usize, length: usize) {
    // Bodies and headers are far below 4 GiB: `largest_body` is checked before.
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = bytes.get_mut(at..at + LENGTH) {
        place.copy_from_slice(&length);
    }
}

/// One received envelope, its header still encoded.
#[derive(Debug)]
pub(crate) struct Received {
    header: Bytes,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn origin(&self) -> Option<NodeId> {
        header::origin(&self.header)
    }

    pub(crate) fn header(&self) -> Result<Header<'_>, DecodeError> {
        header::decode(&self.header)
    }
}

/// Calls `each` with every envelope in `bytes`; a broken one ends the reading.
pub(crate) fn read(mut bytes: Bytes, mut each: impl FnMut(Result<Received, DecodeError>)) {
    match *bytes {
        [MAGIC, BUNDLE, ..] => {
            bytes.advance(PREFIX);
            while !bytes.is_empty() {
                let envelope = take_length(&mut bytes).and_then(|length| take(&mut bytes, length));
                let envelope = envelope.and_then(read_one);
                let broken = matches!(envelope, Err(DecodeError::Truncated | DecodeError::Magic));
                each(envelope);
                if broken {
                    return;
                }
            }
        }
        _ => each(read_one(bytes)),
    }
}

fn read_one(mut bytes: Bytes) -> Result<Received, DecodeError> {
    match *bytes {
        [MAGIC, ENVELOPE, ..] => {}
        [MAGIC, version, ..] => return Err(DecodeError::UnknownVersion(version)),
        [MAGIC] => return Err(DecodeError::Truncated),
        _ => return Err(DecodeError::Magic),
    }
    bytes.advance(PREFIX);
    let length = take_length(&mut bytes)?;
    if length > header::LONGEST {
        return Err(DecodeError::Header { reason: format!("{length} bytes long") });
    }
    let header = take(&mut bytes, length)?;
    Ok(Received { header, body: bytes })
}

fn take_length(bytes: &mut Bytes) -> Result<usize, DecodeError> {
    let length = bytes.first_chunk::<LENGTH>().ok_or(DecodeError::Truncated)?;
    let length = u32::from_le_bytes(*length) as usize;
    bytes.advance(LENGTH);
    Ok(length)
}

fn take(bytes: &mut Bytes, length: usize) -> Result<Bytes, DecodeError> {
    if bytes.len() < length {
        return Err(DecodeError::Truncated);
    }
    Ok(bytes.split_to(length))
}
