//! What may arrive on a channel beside envelopes.

use backplane_core::{Envelope, NodeOptions, Topic};

use crate::kit::{Doing, Outcome, Random, specimen::frame};

/// The first byte of everything this project sends.
const MAGIC: u8 = 0xB5;
/// The version of a lone envelope, and of a bundle of them.
const VERSIONS: [u8; 2] = [0x01, 0x81];
/// Magic, version, and the header's length; then comes the header.
pub(super) const HEADER: usize = 6;
/// Where the header says what an envelope is for, and where it goes.
pub(super) const KIND: usize = HEADER + 16;
pub(super) const ROUTE: usize = KIND + 1;

/// An envelope as it travels, the first of its node.
pub(super) async fn specimen(topic: &Topic, body: &str, options: NodeOptions) -> Outcome<Vec<u8>> {
    let envelope = Envelope::new(topic.clone(), body.to_owned()).except(["c1", "c2"]);
    let envelope = envelope.trace(Some("00-1-2-01".into()));
    Ok(frame(envelope, options).await.doing("recording a frame")?.to_vec())
}

/// A numbered envelope, and a bundle of three, as they travel.
pub(super) async fn specimens(topic: &Topic) -> Outcome<[Vec<u8>; 2]> {
    let mut singles = Vec::new();
    for body in ["damaged one", "damaged two", "damaged three"] {
        singles.push(specimen(topic, body, NodeOptions::default()).await?);
    }
    let mut bundle = vec![MAGIC, VERSIONS[1]];
    for single in &singles {
        bundle.extend((single.len() as u32).to_le_bytes());
        bundle.extend(single);
    }
    Ok([singles.swap_remove(0), bundle])
}

/// The envelope with these bytes at the end of its header.
pub(super) fn append(frame: &[u8], bytes: &[u8]) -> Vec<u8> {
    let length = frame.get(2..HEADER).and_then(|it| it.try_into().ok());
    let length = length.map_or(0, u32::from_le_bytes) as usize;
    let longer = ((length + bytes.len()) as u32).to_le_bytes();
    let (start, body) = frame.split_at(HEADER + length);
    [&start[..2], &longer, &start[HEADER..], bytes, body].concat()
}

/// Where the envelopes of a bundle end.
pub(super) fn boundaries(bundle: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 2;
    while let Some(length) = bundle.get(at..).and_then(|rest| rest.first_chunk()) {
        at += 4 + u32::from_le_bytes(*length) as usize;
        ends.push(at);
    }
    ends
}

/// What is no envelope.
pub(super) fn strangers(random: &mut Random) -> Vec<Vec<u8>> {
    let huge = [u32::MAX, u32::MAX / 2, 1 << 30, 256 * 1024 + 1];
    let mut pieces: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![MAGIC],
        vec![MAGIC, VERSIONS[0]],
        vec![MAGIC; 1000],
        vec![0; 100_000],
        b"+OK\r\n".to_vec(),
        b"{\"type\":6}\x1e".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        "\u{1F980}".repeat(100).into_bytes(),
    ];
    for length in huge {
        for version in VERSIONS {
            let mut piece = vec![MAGIC, version];
            piece.extend(length.to_le_bytes());
            pieces.push(piece.clone());
            piece.extend(random.bytes(100));
            pieces.push(piece);
        }
    }
    // A bundle in a bundle, and a bundle of nothings.
    pieces.push(
        [&[MAGIC, VERSIONS[1]][..], &6_u32.to_le_bytes(), &[MAGIC, VERSIONS[1], 0, 0, 0, 0]]
            .concat(),
    );
    pieces.push([&[MAGIC, VERSIONS[1]][..], &[0; 4096]].concat());
    // Lists within a header that claim more than there is.
    for field in [0_usize, 8, 16, 24] {
        let mut header = vec![7; 18];
        header.extend([0; 40]);
        if let Some(claim) = header.get_mut(18 + field..26 + field) {
            claim.copy_from_slice(&(u64::MAX / 2).to_le_bytes());
        }
        header[16] = 0;
        header[17] = 1;
        let length = header.len() as u32;
        pieces.push([&[MAGIC, VERSIONS[0]][..], &length.to_le_bytes(), &header].concat());
    }
    for _ in 0..200 {
        let length = 1 + random.below(2000);
        let mut bytes = random.bytes(length);
        // So that it is certain that it is none.
        bytes[0] = if bytes[0] == MAGIC { 0 } else { bytes[0] };
        pieces.push(bytes);
    }
    pieces
}

/// Damages it in one of several ways.
pub(super) fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let (one, two) = (random.below(bytes.len()), random.below(bytes.len()));
    let (from, to) = (one.min(two), one.max(two));
    match random.below(5) {
        0 => bytes.truncate(from + 1),
        1 => drop(bytes.drain(from..to.min(from + 8))),
        2 => bytes.splice(from..from, random.bytes(4)).for_each(drop),
        3 => bytes.swap(from, to),
        _ => {
            if let Some(byte) = bytes.get_mut(one) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
    if bytes.is_empty() {
        bytes.push(MAGIC);
    }
}
