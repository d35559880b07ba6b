/// The room for the longest length: five times seven bits hold 31.
pub(super) const LONGEST: usize = 5;

/// What stands before a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// How many bytes it has itself.
    pub(crate) own: usize,
    /// How many the message has; more than 2 GiB may be any number that large.
    pub(crate) message: usize,
}

/// Reads a prefix, least significant bits first; `None` if more of it is to come.
pub(crate) fn prefix(bytes: impl Iterator<Item = u8>) -> Option<Prefix> {
    let mut message = 0_u64;
    for (index, byte) in bytes.take(LONGEST).enumerate() {
        message |= u64::from(byte & 0x7f) << (7 * index);
        let last = index + 1 == LONGEST;
        if byte & 0x80 == 0 || last {
            // One that goes on after five bytes is out of all bounds.
            let message = if byte & 0x80 == 0 { message } else { u64::MAX };
            let message = usize::try_from(message).unwrap_or(usize::MAX);
            return Some(Prefix { own: index + 1, message });
        }
    }
    None
}

/// Writes the prefix of a message of so many bytes to the end of the room for it. Returns where it
/// begins.
pub(super) fn put(length: usize, room: &mut [u8; LONGEST]) -> usize {
    let count = (1..LONGEST).find(|count| length >> (7 * count) == 0).unwrap_or(LONGEST);
    let start = LONGEST - count;
    for (index, byte) in room[start..].iter_mut().enumerate() {
        let more = if index + 1 < count { 0x80 } else { 0 };
        *byte = (length >> (7 * index) & 0x7f) as u8 | more;
    }
    start
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Option<(usize, usize)> {
        prefix(bytes.iter().copied()).map(|prefix| (prefix.own, prefix.message))
    }

    #[test]
    fn lengths() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0x00]), Some((1, 0)));
        assert_eq!(read(&[0x7f, 0xff]), Some((1, 127)));
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0x80, 0x01]), Some((2, 128)));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x07]), Some((5, i32::MAX as usize)));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x87, 0x00]), Some((5, usize::MAX)));
        // Longer than it has to be.
        assert_eq!(read(&[0x81, 0x00]), Some((2, 1)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(length in prop_oneof![0_usize..40_000, 0..=i32::MAX as usize]) {
            let mut room = [0xee; LONGEST];
            let start = put(length, &mut room);
            prop_assert_eq!(read(&room[start..]), Some((LONGEST - start, length)));
            prop_assert_eq!(read(&room[start..LONGEST - 1]), None);
        }
    }
}
