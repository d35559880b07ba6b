//! The parts of the log, and places in them.

use std::{fmt, str::FromStr};

use backplane_core::{Offset, Topic};

use crate::channel::Channels;

/// Which part holds a topic, and what its stream is called. All nodes of an application agree on it.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(super) channels: Channels,
    keys: Box<[String]>,
}

impl Parts {
    /// So many parts, and the one of the conversation.
    pub(super) fn new(channels: Channels, count: u32) -> Self {
        let keys = (0..=count.max(1)).map(|part| format!("{}log/{part}", channels.spare()));
        let keys = keys.collect();
        Self { channels, keys }
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// The key of a part's stream.
    pub(super) fn key(&self, part: u32) -> &str {
        &self.keys[part as usize]
    }

    /// The part whose stream has this key.
    pub(super) fn of_key(&self, key: &[u8]) -> Option<u32> {
        let number = std::str::from_utf8(key).ok()?.rsplit('/').next()?;
        number.parse().ok().filter(|part| (*part as usize) < self.keys.len())
    }

    /// The part that holds this topic: always the same, whoever computes it.
    pub(super) fn of(&self, topic: &Topic) -> u32 {
        topic.part_of(self.keys.len() as u32 - 1)
    }
}

/// The place of an entry in a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    milliseconds: u64,
    sequence: u64,
}

impl Id {
    /// Before every entry.
    pub(super) const ZERO: Self = Self { milliseconds: 0, sequence: 0 };

    /// One of the frames of this entry.
    pub(super) fn offset(self, part: u32, frame: usize) -> Offset {
        let frame = u16::try_from(frame).unwrap_or(u16::MAX);
        Offset::of_frame(part, (self.milliseconds, self.sequence), frame)
    }

    /// Behind the last envelope of this entry.
    pub(super) const fn last_offset(self, part: u32) -> Offset {
        Offset::end_of(part, (self.milliseconds, self.sequence))
    }

    pub(super) const fn of(offset: Offset) -> Self {
        let (milliseconds, sequence) = offset.entry();
        Self { milliseconds, sequence }
    }

    /// The place right before this one.
    pub(super) const fn before(self) -> Self {
        match (self.milliseconds, self.sequence) {
            (0, 0) => Self::ZERO,
            (milliseconds, 0) => Self { milliseconds: milliseconds - 1, sequence: u64::MAX },
            (milliseconds, sequence) => Self { milliseconds, sequence: sequence - 1 },
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.sequence)
    }
}

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (milliseconds, sequence) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self { milliseconds: milliseconds.parse()?, sequence: sequence.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use backplane_core::RouteKind;

    use super::*;

    fn parts(count: u32) -> Parts {
        Parts::new(Channels::new("a/b"), count)
    }

    #[test]
    fn a_part_is_found_by_its_key() {
        let parts = parts(12);
        assert_eq!((parts.count(), parts.key(12)), (13, "a%2Fb/log/12"));
        for part in 0..13 {
            assert_eq!(parts.of_key(parts.key(part).as_bytes()), Some(part));
        }
        assert_eq!(parts.of_key(b"a%2Fb/log/13"), None);
        assert_eq!(parts.of_key(b"something\xFF"), None);
    }

    #[test]
    fn topics_are_spread_and_stay_where_they_are() {
        let parts = parts(16);
        let mut counts = [0; 17];
        for number in 0..1600 {
            counts[parts.of(&Topic::group("orders", &number.to_string())) as usize] += 1;
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1..].iter().all(|count| (50..200).contains(count)), "{counts:?}");
        // Written down: nodes of different versions have to agree.
        let of = |topic: Topic| parts.of(&topic);
        assert_eq!(of(Topic::new("", RouteKind::Node, "everyone")), 0);
        assert_eq!([of(Topic::all("orders")), of(Topic::user("orders", "ann"))], [10, 3]);
    }

    #[test]
    fn places_are_read_and_written() {
        for text in ["0-0", "5-0", "1700000000000-7", "18446744073709551615-18446744073709551615"] {
            assert_eq!(text.parse::<Id>().unwrap().to_string(), text);
        }
        assert!("x-1".parse::<Id>().is_err() && "1-".parse::<Id>().is_err());
        let id = |text: &str| text.parse::<Id>().unwrap();
        assert_eq!(id("5-0").before(), id("4-18446744073709551615"));
        assert_eq!(id("5-2").before(), id("5-1"));
        assert_eq!(id("0-0").before(), Id::ZERO);
        assert_eq!(Id::of(id("5-2").offset(3, 1)), id("5-2"));
    }
}
