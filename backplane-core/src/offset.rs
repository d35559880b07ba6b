use std::{cmp::Ordering, fmt, str::FromStr};

/// Where an envelope stands in the log of a transport that keeps one.
///
/// Worth keeping: whoever stores the offset of the last envelope it has dealt with reads on from there
/// after a restart, with [`Position::After`](crate::Position::After). As text it is one word, which
/// [`FromStr`] reads back.
///
/// A log has parts. All envelopes of one topic stand in one part, and only offsets of one part have an
/// order.
///
/// ```
/// use backplane_core::Offset;
///
/// let offset: Offset = "3-1700000000000-5-0".parse()?;
/// assert_eq!(offset.to_string(), "3-1700000000000-5-0");
/// assert!(offset < "3-1700000000001-0-0".parse()?);
/// # Ok::<(), backplane_core::OffsetError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offset {
    part: u32,
    /// Its entry in that part, as the transport counts: most have one number.
    entry: (u64, u64),
    /// Its place in that entry, which may hold several frames, each of several envelopes.
    index: u32,
}

/// Where to begin to read a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// What is published from now on.
    Now,
    /// What stands behind this offset.
    After(Offset),
    /// Everything that the log still holds.
    Earliest,
}

/// A text that is no [`Offset`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no offset: it has the form part-entry-entry-index, four numbers, as `Offset` is printed"
)]
pub struct OffsetError(String);

impl Offset {
    /// The first envelope of this entry of this part.
    #[must_use]
    pub const fn new(part: u32, entry: (u64, u64)) -> Self {
        Self { part, entry, index: 0 }
    }

    /// The first envelope of one of the frames of this entry of this part.
    #[must_use]
    pub const fn of_frame(part: u32, entry: (u64, u64), frame: u16) -> Self {
        // No bundle holds as many envelopes as there are numbers between two frames.
        Self { part, entry, index: (frame as u32) << 16 }
    }

    /// Behind every envelope of this entry of this part.
    #[must_use]
    pub const fn end_of(part: u32, entry: (u64, u64)) -> Self {
        Self { part, entry, index: u32::MAX }
    }

    /// The part of the log.
    #[must_use]
    pub const fn part(self) -> u32 {
        self.part
    }

    /// The entry in that part, as the transport counts.
    #[must_use]
    pub const fn entry(self) -> (u64, u64) {
        self.entry
    }

    /// The envelope at this place of the same frame.
    pub(crate) const fn at(self, index: u32) -> Self {
        Self { index: self.index.saturating_add(index), ..self }
    }
}

impl PartialOrd for Offset {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let place = |it: &Self| (it.entry, it.index);
        (self.part == other.part).then(|| place(self).cmp(&place(other)))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, entry: (major, minor), index } = self;
        write!(f, "{part}-{major}-{minor}-{index}")
    }
}

impl FromStr for Offset {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        let wrong = || OffsetError(text.chars().take(64).collect());
        let words: Vec<&str> = text.split('-').collect();
        let [part, major, minor, index] = words[..] else { return Err(wrong()) };
        let number = |word: &str| word.parse::<u64>().map_err(|_| wrong());
        let short = |word: &str| word.parse::<u32>().map_err(|_| wrong());
        Ok(Self {
            part: short(part)?,
            entry: (number(major)?, number(minor)?),
            index: short(index)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_one_part_have_an_order_and_others_have_none() {
        let offset = Offset::new(1, (5, 2));
        assert!(offset < offset.at(1) && offset.at(1) < Offset::new(1, (5, 3)));
        assert!(Offset::new(1, (5, 3)) < Offset::new(1, (6, 0)));
        let second = Offset::of_frame(1, (5, 2), 1);
        assert!(offset.at(1000) < second && second < second.at(1));
        assert!(
            Offset::of_frame(1, (5, 2), u16::MAX).at(u16::MAX.into()) <= Offset::end_of(1, (5, 2))
        );
        assert_eq!(offset.partial_cmp(&Offset::new(2, (5, 2))), None);
    }

    #[test]
    fn what_is_no_offset_is_refused() {
        for text in ["", "1", "1-2-3", "1-2-3-4-5", "1-2-3-x", "-1-2-3-4", "4294967296-1-1-0"] {
            let error = text.parse::<Offset>().unwrap_err();
            assert!(error.to_string().contains("is no offset"), "{error}");
        }
        let longest = Offset { part: u32::MAX, entry: (u64::MAX, u64::MAX), index: u32::MAX };
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }
}
