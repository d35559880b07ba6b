//! What a client may send, from its bytes to the values of a call: for `fuzz/`, and for a test that does
//! the same for a while.

#![allow(missing_docs, reason = "exists for fuzzers only")]

use backplane_hub::Protocol;
use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::{
    codec::Codec,
    message::{Invocation, Message, Outcome},
    session::Inbox,
};

const LARGEST: usize = 32 * 1024;

pub fn json(sent: &[u8]) {
    read(Codec::Json, sent);
}

pub fn messagepack(sent: &[u8]) {
    read(Codec::MessagePack, sent);
}

/// Reads all that is sent, as sessions do, and returns the messages before the first fault. What was
/// read can be written, and is the same again.
pub(crate) fn read(codec: Codec, sent: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut inbox = Inbox::new(LARGEST);
    inbox.speak(codec);
    inbox.push(Bytes::copy_from_slice(sent));
    while let Ok(Some(record)) = inbox.next() {
        match codec.parse(&record) {
            Ok(Some(message)) => {
                assert_eq!(again(codec, &message), message);
                values(&message).for_each(|value| decode(&*codec.protocol(), value));
                messages.push(message);
            }
            Ok(None) => {}
            Err(_) => break,
        }
    }
    messages
}

/// The message as a reader has it that reads what is written.
fn again(codec: Codec, message: &Message) -> Message {
    let mut inbox = Inbox::new(usize::MAX);
    inbox.speak(codec);
    inbox.push(codec.write(message));
    let record = inbox.next().expect("not too large").expect("whole");
    assert_eq!(inbox.next(), Ok(None), "one message");
    codec.parse(&record).expect("a message").expect("of a known type")
}

/// What handlers would read.
fn values(message: &Message) -> impl Iterator<Item = &Bytes> {
    let (many, one): (&[Bytes], Option<&Bytes>) = match message {
        Message::Invocation(Invocation { arguments, .. })
        | Message::StreamInvocation(Invocation { arguments, .. }) => (arguments, None),
        Message::StreamItem { item, .. } => (&[], Some(item)),
        Message::Completion { outcome: Outcome::Result(result), .. } => (&[], Some(result)),
        _ => (&[], None),
    };
    many.iter().chain(one)
}

/// Whether a value is one of the type that a handler wants is the handler's concern, but none panics.
fn decode(protocol: &dyn Protocol, value: &[u8]) {
    fn read<T: for<'de> serde::Deserialize<'de>>(protocol: &dyn Protocol, value: &[u8]) {
        let _ = protocol.argument(value, &mut |deserializer| {
            erased_serde::deserialize::<T>(deserializer).map(drop)
        });
    }

    read::<IgnoredAny>(protocol, value);
    read::<serde_json::Value>(protocol, value);
    read::<Vec<i64>>(protocol, value);
    read::<String>(protocol, value);
    read::<crate::Timestamp>(protocol, value);
    read::<crate::Binary>(protocol, value);
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, mem::discriminant, path::Path};

    use proptest::prelude::*;

    use super::*;

    /// What fuzzers begin with.
    fn seeds(codec: Codec) -> Vec<Vec<u8>> {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(codec.name());
        let mut files: Vec<_> = fs::read_dir(seeds).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| fs::read(file).unwrap()).collect()
    }

    #[test]
    fn the_seeds_are_messages_of_all_kinds() {
        for codec in Codec::ALL {
            let seeds = seeds(codec);
            let messages: Vec<_> = seeds.iter().flat_map(|seed| read(codec, seed)).collect();
            let kinds: HashSet<_> = messages.iter().map(discriminant).collect();
            assert_eq!(kinds.len(), 9, "{messages:?}");
            let outcomes: HashSet<_> = messages
                .iter()
                .filter_map(|message| match message {
                    Message::Completion { outcome, .. } => Some(discriminant(outcome)),
                    _ => None,
                })
                .collect();
            assert_eq!(outcomes.len(), 3, "{messages:?}");
        }
    }

    /// What is done to a seed.
    #[derive(Debug, Clone)]
    enum Change {
        Set(prop::sample::Index, u8),
        Flip(prop::sample::Index, u8),
        Insert(prop::sample::Index, Vec<u8>),
        Remove(prop::sample::Index, usize),
        Repeat(prop::sample::Index, usize, usize),
        Splice(prop::sample::Index, prop::sample::Index, prop::sample::Index),
    }

    fn change() -> impl Strategy<Value = Change> {
        use prop::sample::Index;
        let bytes = prop_oneof![
            prop::collection::vec(any::<u8>(), 1..9),
            // What means something in either protocol.
            prop::sample::select(vec![
                &b"\x1e"[..],
                b"[",
                b"]",
                b"{",
                b"}",
                b"\"",
                b"\\u0000",
                b",",
                b"null",
                b"1e999",
                b"\xdd\xff\xff\xff\xff",
                b"\xdf\xff\xff\xff\xff",
                b"\xc6\xff\xff\xff\xff",
                b"\xdb\x7f\xff\xff\xff",
                b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                b"\xc1",
                b"\x91",
                b"\xff\xff\xff\xff\x07",
            ])
            .prop_map(<[u8]>::to_vec),
        ];
        prop_oneof![
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
            (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
            (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
            (any::<Index>(), 1..9_usize).prop_map(|(at, count)| Change::Remove(at, count)),
            (any::<Index>(), 1..9_usize, 1..200_usize)
                .prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
            (any::<Index>(), any::<Index>(), any::<Index>())
                .prop_map(|(at, seed, from)| Change::Splice(at, seed, from)),
        ]
    }

    fn apply(sent: &mut Vec<u8>, change: &Change, seeds: &[Vec<u8>]) {
        let length = sent.len();
        match change {
            _ if length == 0 => {}
            Change::Set(at, byte) => sent[at.index(length)] = *byte,
            Change::Flip(at, bit) => sent[at.index(length)] ^= 1 << bit,
            Change::Insert(at, bytes) => {
                let at = at.index(length);
                sent.splice(at..at, bytes.iter().copied());
            }
            Change::Remove(at, count) => {
                let at = at.index(length);
                sent.drain(at..length.min(at + count));
            }
            Change::Repeat(at, piece, times) => {
                let at = at.index(length);
                let piece = sent[at..length.min(at + piece)].repeat(*times);
                sent.splice(at..at, piece);
            }
            Change::Splice(at, seed, from) => {
                let other = &seeds[seed.index(seeds.len())];
                let from = from.index(other.len());
                sent.truncate(at.index(length));
                sent.extend_from_slice(&other[from..]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn whatever_becomes_of_a_message_is_read_or_refused(
            codec in prop::sample::select(Codec::ALL.to_vec()),
            seed in any::<prop::sample::Index>(),
            changes in prop::collection::vec(change(), 0..8),
        ) {
            let seeds = seeds(codec);
            let mut sent = seeds[seed.index(seeds.len())].clone();
            changes.iter().for_each(|change| apply(&mut sent, change, &seeds));
            read(codec, &sent);
        }
    }
}
