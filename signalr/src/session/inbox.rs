use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use crate::codec::{self, Codec, SEPARATOR};

/// What has come from the client and is not read yet, to be cut into records wherever the pieces it
/// came in end.
#[derive(Debug)]
pub(crate) struct Inbox {
    arrived: Bytes,
    /// The start of a record of which more is to come. Never longer than the largest one.
    begun: BytesMut,
    largest: usize,
    codec: Codec,
}

/// The longest record that has a length, as in the original.
const LONGEST: usize = i32::MAX as usize;

/// Above this, nothing more is read before what has come is looked at.
const AHEAD: usize = 16 * 1024;

/// A record is larger than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Inbox {
    /// For records of at most so many bytes, with their framing. The first is framed as JSON is.
    pub(crate) fn new(largest: usize) -> Self {
        Self { arrived: Bytes::new(), begun: BytesMut::new(), largest, codec: Codec::Json }
    }

    /// Takes what comes next for records of this codec.
    pub(crate) fn speak(&mut self, codec: Codec) {
        self.codec = codec;
    }

    /// Takes a piece.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.arrived.is_empty() {
            self.arrived = piece;
            return;
        }
        // Nothing is copied here but what is read ahead.
        let mut arrived = BytesMut::from(std::mem::take(&mut self.arrived));
        arrived.extend_from_slice(&piece);
        self.arrived = arrived.freeze();
    }

    /// Whether more may come though what has come is not looked at yet.
    pub(crate) fn has_room(&self) -> bool {
        self.arrived.len() < AHEAD
    }

    /// The next whole record, without its framing. A record that came in one piece is not copied.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, TooLarge> {
        let record = match self.codec {
            Codec::Json => self.next_by_separator(),
            Codec::MessagePack => self.next_by_length(),
        };
        if self.arrived.is_empty() {
            // Lets the buffer that it was read into go.
            self.arrived = Bytes::new();
        }
        record
    }

    fn next_by_separator(&mut self) -> Result<Option<Bytes>, TooLarge> {
        let end = memchr(SEPARATOR, &self.arrived);
        let length = end.map_or(self.arrived.len(), |end| end + 1);
        if self.begun.len() + length > self.largest {
            return Err(TooLarge);
        }
        let Some(end) = end else {
            self.keep();
            return Ok(None);
        };
        let record = self.take(end);
        self.arrived.advance(1);
        Ok(Some(record))
    }

    fn next_by_length(&mut self) -> Result<Option<Bytes>, TooLarge> {
        let bytes = self.begun.iter().chain(&self.arrived).copied();
        let Some(prefix) = codec::prefix(bytes) else {
            self.keep();
            return Ok(None);
        };
        // Before anything of it is kept.
        let whole = prefix.own.saturating_add(prefix.message);
        if whole > self.largest.min(LONGEST) {
            return Err(TooLarge);
        }
        let missing = whole - self.begun.len();
        if self.arrived.len() < missing {
            self.keep();
            return Ok(None);
        }
        let mut record = self.take(missing);
        record.advance(prefix.own);
        Ok(Some(record))
    }

    /// Keeps what has come for when more has.
    fn keep(&mut self) {
        self.begun.extend_from_slice(&self.arrived);
        self.arrived = Bytes::new();
    }

    /// What was kept and so many bytes more.
    fn take(&mut self, more: usize) -> Bytes {
        let end = self.arrived.split_to(more);
        if self.begun.is_empty() {
            return end;
        }
        self.begun.extend_from_slice(&end);
        std::mem::take(&mut self.begun).freeze()
    }

    /// Whether the end of a record is missing.
    pub(crate) fn is_cut_off(&self) -> bool {
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
    fn pieces_may_come_before_records_are_taken() {
        let mut inbox = Inbox::new(8);
        for piece in ["a\x1eb", "b", "\x1ecc"] {
            assert!(inbox.has_room());
            inbox.push(Bytes::from_static(piece.as_bytes()));
        }
        let mut records = Vec::new();
        drain(&mut inbox, &mut records).unwrap();
        assert_eq!(records, ["a", "bb"]);
        assert!(inbox.is_cut_off());
        inbox.push(Bytes::from(vec![0; AHEAD]));
        assert!(!inbox.has_room());
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

    #[test]
    fn what_follows_the_first_record_may_be_framed_otherwise() {
        let mut inbox = Inbox::new(400);
        inbox.push(Bytes::from_static(b"{}\x1e\x02\x1e\x1e\x00\x80"));
        assert_eq!(inbox.next(), Ok(Some(Bytes::from_static(b"{}"))));
        inbox.speak(Codec::MessagePack);
        assert_eq!(inbox.next(), Ok(Some(Bytes::from_static(b"\x1e\x1e"))));
        assert_eq!(inbox.next(), Ok(Some(Bytes::new())));
        assert_eq!(inbox.next(), Ok(None));
        assert!(inbox.is_cut_off());
        inbox.push(Bytes::from([vec![1], vec![7; 128]].concat()));
        assert_eq!(inbox.next(), Ok(Some(Bytes::from(vec![7; 128]))));
        assert!(!inbox.is_cut_off());
    }

    #[test]
    fn a_length_is_too_large_before_anything_of_the_message_has_come() {
        for (prefix, largest) in
            [(&b"\x05"[..], 5), (b"\xff\xff\xff\xff\xff", usize::MAX), (b"\x80\x80\x02", 32 * 1024)]
        {
            let mut inbox = Inbox::new(largest);
            inbox.speak(Codec::MessagePack);
            let (start, end) = prefix.split_at(prefix.len() - 1);
            inbox.push(Bytes::copy_from_slice(start));
            assert_eq!(inbox.next(), Ok(None));
            inbox.push(Bytes::copy_from_slice(end));
            assert_eq!(inbox.next(), Err(TooLarge));
        }
    }

    proptest! {
        #[test]
        fn records_do_not_depend_on_how_they_come(
            records in prop::collection::vec("[a-c]{0,8}", 0..8),
            rest in "[a-c]{0,8}",
            cuts in prop::collection::vec(0_usize..100, 0..8),
            by_length in any::<bool>(),
        ) {
            let mut all = String::new();
            for record in &records {
                if by_length {
                    all.push(char::from(record.len() as u8));
                }
                all.push_str(record);
                if !by_length {
                    all.push('\u{1e}');
                }
            }
            if by_length && !rest.is_empty() {
                all.push('\u{9}');
            }
            let all = Bytes::from(all + &rest);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let mut inbox = Inbox::new(100);
            if by_length {
                inbox.speak(Codec::MessagePack);
            }
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
