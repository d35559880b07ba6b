//! What a message of the stream holds: frames of one part, each with its topic.
//!
//! ```text
//! entry = magic 0xB5 | version 0xC1 | (channel length u16 | channel | frame length u32 | frame)+
//! ```
//!
//! Integers are little-endian. The channel names the topic, so that whoever has no interest in it skips the
//! frame undecoded. No envelope and no bundle has this version.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

const START: [u8; 2] = [0xB5, 0xC1];

/// What an entry adds to each frame and its channel.
const AROUND: usize = size_of::<u16>() + size_of::<u32>();

/// What a frame takes of an entry, whose start is small beside that.
pub(super) const fn size(channel: &str, frame: &[u8]) -> usize {
    AROUND + channel.len() + frame.len()
}

/// Frames, each behind its channel, as the payload of a message.
pub(super) fn write<'a>(frames: impl Iterator<Item = (&'a str, &'a [u8])> + Clone) -> Bytes {
    let sizes = frames.clone().map(|(channel, frame)| size(channel, frame));
    let mut payload = BytesMut::with_capacity(START.len() + sizes.sum::<usize>());
    payload.put_slice(&START);
    for (channel, frame) in frames {
        // Names have at most 1,024 bytes, and a message of NATS at most 64 MiB.
        payload.put_u16_le(u16::try_from(channel.len()).unwrap_or(u16::MAX));
        payload.put_slice(channel.as_bytes());
        payload.put_u32_le(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        payload.put_slice(frame);
    }
    payload.freeze()
}

/// The channel of each frame in a payload, and where the frame stands; none where that is no entry, or a
/// damaged one.
pub(super) fn read(payload: &[u8]) -> Option<Vec<(&str, Range<usize>)>> {
    let mut rest = payload.strip_prefix(&START)?;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk()?;
        let (channel, behind) = behind.split_at_checked(u16::from_le_bytes(*length).into())?;
        let (length, behind) = behind.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let start = payload.len() - behind.len();
        rest = behind.get(length..)?;
        frames.push((std::str::from_utf8(channel).ok()?, start..start + length));
    }
    (!frames.is_empty()).then_some(frames)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(frames: &[(String, Vec<u8>)]) -> Bytes {
        write(frames.iter().map(|(channel, frame)| (&**channel, &**frame)))
    }

    fn frames() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let frame = (any::<String>(), prop::collection::vec(any::<u8>(), 0..40));
        prop::collection::vec(frame, 1..6)
    }

    /// Written down: nodes of different versions have to agree.
    #[test]
    fn its_bytes_stay_as_they_are() {
        let frames = [("h.all.~".to_owned(), vec![7, 8]), ("a".to_owned(), vec![])];
        let expected = b"\xB5\xC1\x07\0h.all.~\x02\0\0\0\x07\x08\x01\0a\0\0\0\0";
        assert_eq!(&*entry(&frames), expected);
    }

    #[test]
    fn what_is_no_entry_is_not_taken_for_one() {
        let whole = entry(&[("a".to_owned(), vec![1, 2, 3])]);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end} bytes of {}", whole.len());
        }
        for other in [&b"hello"[..], b"\xB5\x01\x01\0a\0\0\0\0", b"\xB5\xC1\x01\0\xFF\0\0\0\0"] {
            assert_eq!(read(other), None, "{other:x?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(frames in frames()) {
            let payload = entry(&frames);
            let sizes: usize = frames.iter().map(|(channel, frame)| size(channel, frame)).sum();
            prop_assert_eq!(payload.len(), START.len() + sizes);
            let read = read(&payload).unwrap_or_default().into_iter();
            let read: Vec<(String, Vec<u8>)> =
                read.map(|(channel, place)| (channel.to_owned(), payload[place].to_vec())).collect();
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let payload = [&START[..], &bytes].concat();
            for (_, place) in read(&payload).unwrap_or_default() {
                prop_assert!(place.end <= payload.len());
            }
        }
    }
}
