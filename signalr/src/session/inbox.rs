use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use crate::codec::SEPARATOR;

/// What has come from the client and is not read yet, to be cut into records wherever the pieces it
/// came in end.
#[derive(Debug)]
pub(super) struct Inbox {
    arrived: Bytes,
    /// The start of a record of which more is to come. Never longer than the largest one.
    begun: BytesMut,
    largest: usize,
}

/// A record is larger than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Inbox {
    /// For records of at most so many bytes, with their separators.
    pub(super) fn new(largest: usize) -> Self {
        Self { arrived: Bytes::new(), begun: BytesMut::new(), largest }
    }

    /// Takes a piece; all whole records must have been taken out before.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.arrived.is_empty(), "whole records are left");
        self.arrived = piece;
    }

    /// The next whole record, without its separator. A record that came in one piece is not copied.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLarge> {
        let end = memchr(SEPARATOR, &self.arrived);
        let length = end.map_or(self.arrived.len(), |end| end + 1);
        if self.begun.len() + length > self.largest {
            return Err(TooLarge);
        }
        let Some(end) = end else {
            self.begun.extend_from_slice(&self.arrived);
            self.arrived = Bytes::new();
            return Ok(None);
        };
        let mut record = self.arrived.split_to(end);
        self.arrived.advance(1);
        if self.arrived.is_empty() {
            // Lets the buffer that it was read into go.
            self.arrived = Bytes::new();
        }
        if !self.begun.is_empty() {
            self.begun.extend_from_slice(&record);
            record = std::mem::take(&mut self.begun).freeze();
        }
        Ok(Some(record))
    }

    /// Whether the end of a record is missing.
    pub(super) fn is_cut_off(&self) -> bool {
        !self.begun.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(inbox: &mut Inbox, into: &mut Vec<Bytes>) -> Result<(), TooLarge> {
        while let Some(record) = inbox.next()? {
            into.push(record);
        }
        Ok(())
    }

    #[test]
    fn the_limit_counts_the_separator() {
        let mut inbox = Inbox::new(4);
        inbox.push(Bytes::from_static(b"abc\x1e"));
        assert_eq!(inbox.next(), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(inbox.next(), Ok(None));
        inbox.push(Bytes::from_static(b"abcd\x1e"));
        assert_eq!(inbox.next(), Err(TooLarge));
    }

    #[test]
    fn a_record_that_does_not_end_is_too_large_as_soon_as_it_is() {
        let mut inbox = Inbox::new(4);
        inbox.push(Bytes::from_static(b"ab"));
        assert_eq!(inbox.next(), Ok(None));
        assert!(inbox.is_cut_off());
        inbox.push(Bytes::from_static(b"cd"));
        assert_eq!(inbox.next(), Ok(None));
        inbox.push(Bytes::from_static(b"e"));
        assert_eq!(inbox.next(), Err(TooLarge));
    }

    #[test]
    fn many_records_may_be_more_than_the_limit_together() {
        let mut inbox = Inbox::new(4);
        inbox.push(Bytes::from("abc\u{1e}".repeat(1000)));
        let mut records = Vec::new();
        drain(&mut inbox, &mut records).unwrap();
        assert_eq!(records.len(), 1000);
        assert!(!inbox.is_cut_off());
    }

    proptest! {
        #[test]
        fn records_do_not_depend_on_how_they_come(
            records in prop::collection::vec("[a-c]{0,8}", 0..8),
            rest in "[a-c]{0,8}",
            cuts in prop::collection::vec(0_usize..100, 0..8),
        ) {
            let all: String = records.iter().map(|record| format!("{record}\u{1e}")).collect();
            let all = Bytes::from(all + &rest);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let mut inbox = Inbox::new(100);
            let mut found = Vec::new();
            for piece in cuts.windows(2) {
                inbox.push(all.slice(piece[0]..piece[1]));
                prop_assert!(drain(&mut inbox, &mut found).is_ok());
            }
            prop_assert_eq!(found, records);
            prop_assert_eq!(inbox.is_cut_off(), !rest.is_empty());
        }
    }
}
