use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{codec::Codec, message::Message, texts};

/// The pause between acknowledgements.
const PAUSE: Duration = Duration::from_secs(1);

/// The numbers of what goes and comes, and what went and may have to go again.
///
/// Messages of calls and streams are numbered, from 1 on, each way; pings, acknowledgements and what ends
/// the connection are not. Nobody sends a number: both sides count.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// What the client has not acknowledged, in order.
    pub(super) kept: VecDeque<Bytes>,
    bytes: usize,
    /// From so many bytes on, nothing more goes.
    limit: usize,
    /// The number of the first that is kept, or of the next message where none is.
    pub(super) first: u64,
    /// The latest that has come; so has all before it.
    pub(super) latest: u64,
    /// The number of what comes next: not above `latest` while the client repeats itself.
    next: u64,
    /// Nothing counts before the client has said where it goes on.
    waits: bool,
    /// When the client is to be told what has come.
    acknowledge: Option<Instant>,
}

/// The client goes on with a message that comes later than one that has not come.
#[derive(Debug, thiserror::Error)]
#[error("{}", texts::AHEAD)]
pub(crate) struct Ahead;

impl Buffer {
    /// For a new connection.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            limit,
            first: 1,
            latest: 0,
            next: 1,
            waits: false,
            acknowledge: None,
        }
    }

    /// For a connection that goes on: the client has all before `first`, and has sent all up to `latest`.
    pub(super) fn resumed(first: u64, latest: u64, limit: usize) -> Self {
        Self { first: first.max(1), latest, next: latest.saturating_add(1), ..Self::new(limit) }
    }

    /// Whether one more message may go. The last one may exceed the limit, which then holds back what
    /// comes behind it.
    pub(crate) const fn has_room(&self) -> bool {
        self.bytes < self.limit
    }

    /// How many bytes the client has not acknowledged.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Numbers a message that goes, and keeps it.
    pub(crate) fn keep(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.kept.push_back(message);
    }

    /// Takes note of what has come. Whether it is for the session: not so what comes once more, and what
    /// is about these numbers.
    pub(crate) fn takes(&mut self, message: &Message, now: Instant) -> Result<bool, Ahead> {
        match message {
            Message::Sequence { sequence } => {
                self.goes_on(*sequence)?;
                Ok(false)
            }
            _ if self.waits => Ok(false),
            Message::Ack { sequence } => {
                self.acknowledged(*sequence);
                Ok(false)
            }
            Message::Ping | Message::Close { .. } => Ok(true),
            Message::Invocation(_)
            | Message::StreamItem { .. }
            | Message::Completion { .. }
            | Message::StreamInvocation(_)
            | Message::CancelInvocation { .. } => {
                let number = self.next;
                self.next += 1;
                // Also for what comes once more: the client may not know that it has come.
                self.acknowledge.get_or_insert(now + PAUSE);
                let is_new = number > self.latest;
                if is_new {
                    self.latest = number;
                }
                Ok(is_new)
            }
        }
    }

    /// The client goes on with the message of this number.
    fn goes_on(&mut self, number: i64) -> Result<(), Ahead> {
        let number = u64::try_from(number).unwrap_or(0).max(1);
        if number > self.latest + 1 {
            return Err(Ahead);
        }
        self.next = number;
        self.waits = false;
        Ok(())
    }

    /// The client has all up to this number.
    fn acknowledged(&mut self, number: i64) {
        let number = u64::try_from(number).unwrap_or(0);
        while self.first <= number
            && let Some(message) = self.kept.pop_front()
        {
            self.bytes -= message.len();
            self.first += 1;
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// The client is there again: what it is told first, in order. What it says counts once it has said
    /// where it goes on.
    pub(crate) fn resume(&mut self, codec: Codec) -> Vec<Bytes> {
        self.waits = true;
        let sequence = i64::try_from(self.first).unwrap_or(i64::MAX);
        let sequence = codec.write(&Message::Sequence { sequence });
        std::iter::once(sequence).chain(self.kept.iter().cloned()).collect()
    }

    /// When the client is to be told what has come, if anything new has.
    pub(crate) const fn acknowledge_at(&self) -> Option<Instant> {
        self.acknowledge
    }

    /// What the client is told of what has come, if it is time.
    pub(crate) fn acknowledgement(&mut self, now: Instant) -> Option<Message> {
        self.acknowledge.take_if(|due| *due <= now)?;
        Some(Message::Ack { sequence: i64::try_from(self.latest).unwrap_or(i64::MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Outcome;

    fn item() -> Message {
        Message::StreamItem { id: "1".into(), item: Bytes::from_static(b"1") }
    }

    fn sequence(sequence: i64) -> Message {
        Message::Sequence { sequence }
    }

    fn ack(sequence: i64) -> Message {
        Message::Ack { sequence }
    }

    fn texts(messages: Vec<Bytes>) -> Vec<String> {
        messages.into_iter().map(|it| String::from_utf8(it.to_vec()).unwrap()).collect()
    }

    /// With so many messages of one byte each, `a`, `b`, and so on.
    fn sent(limit: usize, count: u8) -> Buffer {
        let mut buffer = Buffer::new(limit);
        (0..count).for_each(|number| buffer.keep(Bytes::from(vec![b'a' + number])));
        buffer
    }

    fn takes(buffer: &mut Buffer, message: &Message) -> bool {
        buffer.takes(message, Instant::now()).unwrap()
    }

    #[test]
    fn only_calls_and_streams_are_counted() {
        let mut buffer = Buffer::new(100);
        let call = crate::message::Invocation {
            id: None,
            target: "T".into(),
            arguments: Vec::new(),
            streams: Vec::new(),
            trace: None,
        };
        for counted in [
            Message::Invocation(call.clone()),
            item(),
            Message::Completion { id: "1".into(), outcome: Outcome::Nothing },
            Message::StreamInvocation(call),
            Message::CancelInvocation { id: "1".into() },
        ] {
            assert!(takes(&mut buffer, &counted));
        }
        assert_eq!(buffer.latest, 5);
        assert!(takes(&mut buffer, &Message::Ping));
        assert!(takes(&mut buffer, &Message::Close { error: None, allow_reconnect: false }));
        assert_eq!(buffer.latest, 5);
    }

    #[test]
    fn what_is_not_acknowledged_goes_again() {
        let mut buffer = sent(100, 3);
        takes(&mut buffer, &ack(1));
        assert_eq!(
            texts(buffer.resume(Codec::Json)),
            ["{\"type\":9,\"sequenceId\":2}\u{1e}", "b", "c"]
        );
        // And again, if that breaks too.
        assert_eq!(
            texts(buffer.resume(Codec::Json)),
            ["{\"type\":9,\"sequenceId\":2}\u{1e}", "b", "c"]
        );
    }

    #[test]
    fn where_all_is_acknowledged_it_goes_on_behind_it() {
        let mut buffer = sent(100, 3);
        takes(&mut buffer, &ack(3));
        assert_eq!(texts(buffer.resume(Codec::Json)), ["{\"type\":9,\"sequenceId\":4}\u{1e}"]);
        let mut new = Buffer::new(100);
        assert_eq!(texts(new.resume(Codec::Json)), ["{\"type\":9,\"sequenceId\":1}\u{1e}"]);
    }

    #[test]
    fn a_full_buffer_holds_back_until_enough_is_acknowledged() {
        let mut buffer = sent(3, 2);
        assert!(buffer.has_room());
        buffer.keep(Bytes::from_static(b"cde"));
        assert!(!buffer.has_room());
        takes(&mut buffer, &ack(2));
        assert!(!buffer.has_room(), "three bytes are left");
        takes(&mut buffer, &ack(3));
        assert!(buffer.has_room());
    }

    #[test]
    fn acknowledgements_of_anything_do_no_harm() {
        let mut buffer = sent(100, 2);
        for nothing in [i64::MIN, -1, 0] {
            takes(&mut buffer, &ack(nothing));
            assert_eq!(buffer.kept.len(), 2);
        }
        takes(&mut buffer, &ack(i64::MAX));
        assert_eq!((buffer.kept.len(), buffer.first), (0, 3));
        takes(&mut buffer, &ack(1));
        assert_eq!((buffer.bytes, buffer.first), (0, 3));
    }

    #[test]
    fn nothing_counts_before_the_client_says_where_it_goes_on() {
        let mut buffer = sent(100, 1);
        assert!(takes(&mut buffer, &item()));
        buffer.resume(Codec::Json);
        for ignored in [item(), Message::Ping, ack(1)] {
            assert!(!takes(&mut buffer, &ignored));
        }
        assert_eq!((buffer.latest, buffer.kept.len()), (1, 1));
        assert!(!takes(&mut buffer, &sequence(2)));
        assert!(takes(&mut buffer, &item()));
        assert_eq!(buffer.latest, 2);
    }

    #[test]
    fn what_comes_once_more_is_skipped() {
        let mut buffer = Buffer::new(100);
        (0..3).for_each(|_| assert!(takes(&mut buffer, &item())));
        buffer.resume(Codec::Json);
        takes(&mut buffer, &sequence(2));
        assert!(!takes(&mut buffer, &item()));
        assert!(!takes(&mut buffer, &item()));
        assert!(takes(&mut buffer, &item()), "the fourth is new");
        // A client that is not asked to may do so too.
        takes(&mut buffer, &sequence(-7));
        (0..4).for_each(|_| assert!(!takes(&mut buffer, &item())));
        assert!(takes(&mut buffer, &item()));
    }

    #[test]
    fn a_client_that_leaves_messages_out_is_refused() {
        let mut buffer = Buffer::new(100);
        takes(&mut buffer, &item());
        assert!(buffer.takes(&sequence(2), Instant::now()).is_ok());
        let ahead = buffer.takes(&sequence(3), Instant::now()).unwrap_err();
        assert_eq!(
            ahead.to_string(),
            "Sequence ID greater than amount of messages we've received."
        );
    }

    #[test]
    fn what_has_come_is_acknowledged_once_a_second() {
        let mut buffer = Buffer::new(100);
        let start = Instant::now();
        assert_eq!(buffer.acknowledge_at(), None);
        let _ = buffer.takes(&Message::Ping, start);
        assert_eq!(buffer.acknowledge_at(), None);
        let _ = buffer.takes(&item(), start);
        let _ = buffer.takes(&item(), start + PAUSE / 2);
        assert_eq!(buffer.acknowledge_at(), Some(start + PAUSE));
        assert_eq!(buffer.acknowledgement(start + PAUSE / 2), None);
        assert_eq!(buffer.acknowledgement(start + PAUSE), Some(ack(2)));
        assert_eq!(buffer.acknowledgement(start + 2 * PAUSE), None);
        // What comes once more is, too.
        let _ = buffer.takes(&sequence(2), start);
        let _ = buffer.takes(&item(), start + 2 * PAUSE);
        assert_eq!(buffer.acknowledgement(start + 3 * PAUSE), Some(ack(2)));
    }

    #[test]
    fn acknowledgements_may_come_while_messages_go_again() {
        let mut buffer = sent(100, 3);
        let again = buffer.resume(Codec::Json);
        assert_eq!(again.len(), 4);
        takes(&mut buffer, &sequence(1));
        takes(&mut buffer, &ack(2));
        assert_eq!(texts(buffer.resume(Codec::Json)), ["{\"type\":9,\"sequenceId\":3}\u{1e}", "c"]);
    }
}
