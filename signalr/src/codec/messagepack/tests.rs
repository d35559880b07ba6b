use std::{collections::BTreeMap, net::IpAddr};

use backplane_hub::Protocol;
use bytes::{Buf, Bytes};
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{MessagePack, ParseError, item, parse, prefix, result, write};
use crate::{
    codec::any::messages,
    message::{Invocation, Message, Outcome},
    value::{Binary, Timestamp},
};

/// A message without its length.
fn cut(mut framed: Bytes) -> Bytes {
    let prefix = prefix(framed.iter().copied()).expect("a length");
    framed.advance(prefix.own);
    assert_eq!(framed.len(), prefix.message);
    framed
}

fn fault(record: &[u8]) -> String {
    parse(&Bytes::copy_from_slice(record)).expect_err("a fault").to_string()
}

fn invocation(id: Option<&str>, arguments: &[&'static [u8]]) -> Invocation {
    Invocation {
        id: id.map(Into::into),
        target: "method".into(),
        arguments: arguments.iter().map(|argument| Bytes::from_static(argument)).collect(),
        streams: Vec::new(),
        trace: None,
    }
}

/// Every type with its record.
fn goldens() -> Vec<(Message, Vec<u8>)> {
    let id: Box<str> = "xyz".into();
    let full = Invocation {
        streams: vec!["1".into()],
        trace: Some("00-a-b-01".into()),
        ..invocation(Some("xyz"), &[b"\x2a", b"\x93\x01\xa3two\xc0"])
    };
    let of = |parts: &[&[u8]]| parts.concat();
    vec![
        (
            Message::Invocation(invocation(Some("xyz"), &[b"\x2a"])),
            of(&[b"\x96\x01\x80\xa3xyz\xa6method\x91\x2a\x90"]),
        ),
        (Message::Invocation(invocation(None, &[])), of(&[b"\x96\x01\x80\xc0\xa6method\x90\x90"])),
        (
            Message::StreamInvocation(full),
            of(&[
                b"\x96\x04\x81\xabtraceparent\xa900-a-b-01\xa3xyz\xa6method",
                b"\x92\x2a\x93\x01\xa3two\xc0\x91\xa11",
            ]),
        ),
        (
            Message::StreamItem { id: id.clone(), item: Bytes::from_static(b"\xc4\x01\xff") },
            of(&[b"\x94\x02\x80\xa3xyz\xc4\x01\xff"]),
        ),
        (
            Message::Completion { id: id.clone(), outcome: Outcome::Error("Error".into()) },
            of(&[b"\x95\x03\x80\xa3xyz\x01\xa5Error"]),
        ),
        (
            Message::Completion { id: id.clone(), outcome: Outcome::Nothing },
            of(&[b"\x94\x03\x80\xa3xyz\x02"]),
        ),
        (
            Message::Completion {
                id: id.clone(),
                outcome: Outcome::Result(Bytes::from_static(b"\x2a")),
            },
            of(&[b"\x95\x03\x80\xa3xyz\x03\x2a"]),
        ),
        (Message::CancelInvocation { id }, of(&[b"\x93\x05\x80\xa3xyz"])),
        (Message::Ping, of(&[b"\x91\x06"])),
        (Message::Close { error: None, allow_reconnect: false }, of(&[b"\x93\x07\xc0\xc2"])),
        (
            Message::Close { error: Some("xyz".into()), allow_reconnect: true },
            of(&[b"\x93\x07\xa3xyz\xc3"]),
        ),
        (Message::Ack { sequence: 1000 }, of(&[b"\x92\x08\xcd\x03\xe8"])),
        (Message::Sequence { sequence: 5 }, of(&[b"\x92\x09\x05"])),
    ]
}

#[test]
fn every_message_has_the_bytes_of_the_original() {
    for (message, record) in goldens() {
        let framed = write(&message);
        assert_eq!(framed[0] as usize, record.len(), "{message:?}");
        assert_eq!(framed[1..], record, "{message:?}");
        assert_eq!(parse(&Bytes::from(record)), Ok(Some(message)));
    }
    assert_eq!(write(&Message::Ping), &b"\x02\x91\x06"[..]);
}

#[test]
fn what_is_cut_off_is_never_another_message() {
    for (message, record) in goldens() {
        let record = Bytes::from(record);
        for length in 0..record.len() {
            assert!(parse(&record.slice(..length)).is_err(), "{message:?} up to {length}");
        }
    }
}

#[test]
fn later_versions_may_append_items_and_add_types() {
    for (message, mut record) in goldens() {
        record[0] += 2;
        record.extend_from_slice(b"\x81\xa1a\xc0\xd6\x00four");
        assert_eq!(parse(&Bytes::from(record)), Ok(Some(message)));
    }
    for record in [&b"\x91\x0a"[..], b"\x92\x00\xc0", b"\x91\xff", b"\x91\xcd\x12\x34"] {
        assert_eq!(parse(&Bytes::from_static(record)), Ok(None));
    }
}

#[test]
fn older_clients_leave_items_out() {
    let old = Bytes::from_static(b"\x95\x01\x80\xc0\xa6method\x90");
    let none = Bytes::from_static(b"\x96\x01\xc0\xa0\xa6method\x90\xc0");
    let expected = Message::Invocation(invocation(None, &[]));
    assert_eq!(parse(&old), Ok(Some(expected.clone())));
    assert_eq!(parse(&none), Ok(Some(expected)));
    let close = Message::Close { error: None, allow_reconnect: false };
    assert_eq!(parse(&Bytes::from_static(b"\x92\x07\xc0")), Ok(Some(close)));
}

#[test]
fn integers_may_have_any_width() {
    for record in [
        &b"\x92\x08\xd0\x05"[..],
        b"\x92\xcc\x08\x05",
        b"\x92\xd3\0\0\0\0\0\0\0\x08\xce\0\0\0\x05",
        b"\x92\xd1\0\x08\xcf\0\0\0\0\0\0\0\x05",
        b"\xdc\0\x02\xd2\0\0\0\x08\x05",
        b"\xdd\0\0\0\x02\x08\x05",
    ] {
        let ack = Message::Ack { sequence: 5 };
        assert_eq!(parse(&Bytes::from_static(record)), Ok(Some(ack)), "{record:x?}");
    }
}

#[test]
fn faults_say_what_is_wrong() {
    for (record, told) in [
        (&b""[..], "Reading array length for 'message' failed."),
        (b"\x80", "Reading array length for 'message' failed."),
        (b"\x90", "Missing required item 'type'."),
        (b"\x91\xa11", "Reading 'type' as Int64 failed."),
        (b"\x91\x01", "Missing required item 'headers'."),
        (b"\x92\x05\x80", "Missing required item 'invocationId'."),
        (b"\x93\x05\x80\xa0", "Missing required item 'invocationId'."),
        (b"\x93\x05\x80\xc0", "Reading 'invocationId' as String failed."),
        (b"\x93\x05\x81\x01\x02\xa1x", "Reading 'headers' as Map of Strings failed."),
        (b"\x93\x05\x80\xa2x", "Reading 'invocationId' as String failed."),
        (b"\x93\x05\x80\xa1\xff", "Reading 'invocationId' as String failed."),
        (b"\x95\x01\x80\xc0\xa1m\x81\xa1a\x01", "Reading array length for 'arguments' failed."),
        (b"\x95\x01\x80\xc0\xa1m\x92\x01", "Reading 'arguments' as Value failed."),
        (b"\x95\x01\x80\xc0\xa1m\x91\xc1", "Reading 'arguments' as Value failed."),
        (b"\x96\x01\x80\xc0\xa1m\x90\x91\x01", "Reading 'streamIds' as String failed."),
        (b"\x94\x03\x80\xa1x\x04", "Invalid invocation result kind."),
        (b"\x94\x03\x80\xa1x\x03", "Missing required item 'result'."),
        (b"\x93\x07\xc0\x01", "Reading 'allowReconnect' as Boolean failed."),
        (b"\x92\x08\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "Reading 'sequenceId' as Int64 failed."),
    ] {
        assert_eq!(fault(record), told, "{record:x?}");
    }
}

#[test]
fn a_value_may_be_nested_64_deep() {
    let nested = |depth: usize| {
        let arrays = [vec![0x91; depth], vec![0xc0]].concat();
        Bytes::from([&b"\x94\x02\x80\xa1x"[..], &arrays].concat())
    };
    assert!(parse(&nested(64)).is_ok());
    assert_eq!(parse(&nested(65)), Err(ParseError::TooDeep));
    assert_eq!(parse(&nested(1_000_000)), Err(ParseError::TooDeep));
}

#[test]
fn lengths_that_are_claimed_cost_nothing() {
    for claim in [&b"\xdd\xff\xff\xff\xff"[..], b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"] {
        for start in [&b"\x95\x01\x80\xc0\xa1m"[..], b"\x94\x02\x80\xa1x", b"\x92\x07"] {
            assert!(parse(&Bytes::from([start, claim].concat())).is_err());
        }
    }
    // An argument of a million items is one slice.
    let million = [&b"\xdd\0\x0f\x42\x40"[..], &vec![0xc0; 1_000_000]].concat();
    let record = Bytes::from([&b"\x95\x01\x80\xc0\xa1m\x91"[..], &million].concat());
    let Ok(Some(Message::Invocation(invocation))) = parse(&record) else { panic!("an invocation") };
    assert_eq!(invocation.arguments, [&million[..]]);
    assert_eq!(invocation.arguments[0].as_ptr(), record[7..].as_ptr());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Complex {
    string: String,
    int_array: Vec<i32>,
    byte_array: Binary,
    guid: String,
    date_time: Timestamp,
}

fn argument<T: DeserializeOwned>(raw: &[u8]) -> Result<T, String> {
    let mut value = None;
    let read = MessagePack.argument(raw, &mut |deserializer| {
        value = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    });
    read.map_err(|error| error.to_string())?;
    Ok(value.expect("a value"))
}

/// What follows the head of an item.
fn encoded(value: &dyn erased_serde::Serialize) -> Vec<u8> {
    let record = cut(item("x", value).expect("an item"));
    record.strip_prefix(b"\x94\x02\x80\xa1x").expect("the head").to_vec()
}

#[test]
fn structures_are_maps_of_names() {
    let complex = Complex {
        string: "a".into(),
        int_array: vec![1, 300],
        byte_array: Binary::from(vec![1, 2, 3]),
        guid: "00010203-0405-0607-0706-050403020100".into(),
        date_time: "2002-04-01T10:20:15Z".parse().expect("a time"),
    };
    let bytes = [
        &b"\x85\xa6String\xa1a\xa8IntArray\x92\x01\xcd\x01\x2c\xa9ByteArray\xc4\x03\x01\x02\x03"[..],
        b"\xa4Guid\xd9\x2400010203-0405-0607-0706-050403020100",
        b"\xa8DateTime\xd6\xff\x3c\xa8\x34\x5f",
    ]
    .concat();
    assert_eq!(encoded(&complex), bytes);
    assert_eq!(argument::<Complex>(&bytes), Ok(complex));
}

#[test]
fn values_are_what_clients_of_the_original_send_and_expect() {
    assert_eq!(encoded(&()), b"\xc0");
    assert_eq!(encoded(&None::<u8>), b"\xc0");
    assert_eq!(encoded(&(1, "a", 1.5)), b"\x93\x01\xa1a\xcb\x3f\xf8\0\0\0\0\0\0");
    assert_eq!(encoded(&BTreeMap::from([("a", true)])), b"\x81\xa1a\xc3");
    // Not for human readers, so what has a compact form takes it.
    assert_eq!(encoded(&IpAddr::from([127, 0, 0, 1])), b"\x81\xa2V4\x94\x7f\0\0\x01");
    assert_eq!(argument(b"\x81\xa2V4\x94\x7f\0\0\x01"), Ok(IpAddr::from([127, 0, 0, 1])));

    // Any width of integer, and integers for floats: JavaScript has one kind of number.
    for bytes in [&b"\x05"[..], b"\xcc\x05", b"\xd1\0\x05", b"\xd3\0\0\0\0\0\0\0\x05"] {
        assert_eq!(argument::<u8>(bytes), Ok(5));
        assert_eq!(argument::<i64>(bytes), Ok(5));
        assert_eq!(argument::<f64>(bytes), Ok(5.0));
    }
    assert!(argument::<u8>(b"\xcd\x01\0").is_err());
    assert!(argument::<u8>(b"\xa15").is_err());
    assert_eq!(argument::<Vec<u8>>(b"\xc4\x02\x01\x02"), Ok(vec![1, 2]));
    assert_eq!(argument::<Option<String>>(b"\xc0"), Ok(None));
    assert!(argument::<String>(b"").is_err());
}

#[test]
fn results_are_completions() {
    let written = result("xyz", &42).expect("a result");
    let outcome = Outcome::Result(Bytes::from_static(b"\x2a"));
    assert_eq!(written, write(&Message::Completion { id: "xyz".into(), outcome }));
    let nothing = result("xyz", &()).expect("a result");
    assert_eq!(nothing, &b"\x09\x95\x03\x80\xa3xyz\x03\xc0"[..]);
    let unwritable = result("xyz", &Unwritable).expect_err("no result");
    assert_eq!(unwritable.to_string(), "not today");
}

struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

#[test]
fn calls_of_clients_have_no_id() {
    let text: &dyn erased_serde::Serialize = &"a";
    let call = MessagePack.invocation(None, "method", &[text, &7], None).expect("a call");
    assert_eq!(cut(call), &b"\x96\x01\x80\xc0\xa6method\x92\xa1a\x07\x90"[..]);
    let traced = MessagePack.invocation(None, "m", &[], Some("t")).expect("a call");
    assert_eq!(cut(traced), &b"\x96\x01\x81\xabtraceparent\xa1t\xc0\xa1m\x90\x90"[..]);
}

#[test]
fn a_long_message_has_a_long_prefix() {
    let item = Bytes::from([&b"\xda\x01\x2c"[..], &[b'x'; 300]].concat());
    let written = write(&Message::StreamItem { id: "x".into(), item });
    assert_eq!(written[..2], [0xb4, 0x02]);
    assert_eq!(written.len(), 2 + 308);
}

fn values() -> impl Strategy<Value = Bytes> + Clone {
    let leaf = prop_oneof![
        Just(rmpv::Value::Nil),
        any::<bool>().prop_map(rmpv::Value::from),
        any::<i64>().prop_map(rmpv::Value::from),
        any::<u64>().prop_map(rmpv::Value::from),
        any::<f64>().prop_map(rmpv::Value::from),
        ".{0,40}".prop_map(rmpv::Value::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(rmpv::Value::from),
        (any::<i8>(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(kind, data)| rmpv::Value::Ext(kind, data)),
    ];
    let tree = leaf.prop_recursive(4, 40, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(rmpv::Value::Array),
            prop::collection::vec((inner.clone(), inner), 0..20).prop_map(rmpv::Value::Map),
        ]
    });
    tree.prop_map(|value| {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        bytes.into()
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in messages(values())) {
        prop_assert_eq!(parse(&cut(write(&message))), Ok(Some(message)));
    }

    #[test]
    fn what_is_written_and_cut_off_is_refused(message in messages(values()), at in any::<prop::sample::Index>()) {
        let record = cut(write(&message));
        let part = record.slice(..at.index(record.len()));
        prop_assert!(parse(&part).is_err());
    }

    #[test]
    fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes.into());
    }

    #[test]
    fn any_changed_byte_is_read_or_refused(
        message in messages(values()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut record = cut(write(&message)).to_vec();
        let at = at.index(record.len());
        record[at] = byte;
        let _ = parse(&record.into());
    }

    #[test]
    fn a_value_is_as_long_as_another_reader_says(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        // The other reader takes the byte that nothing begins with for nil.
        let bytes: Vec<u8> =
            bytes.into_iter().map(|byte| if byte == 0xc1 { 0xc0 } else { byte }).collect();
        let mut rest = &bytes[..];
        let read = rmpv::decode::read_value_ref(&mut rest);
        let record = Bytes::from([&b"\x94\x02\x80\xa1x"[..], &bytes].concat());
        match parse(&record) {
            Ok(Some(Message::StreamItem { item, .. })) => {
                prop_assert!(read.is_ok());
                prop_assert_eq!(item.len(), bytes.len() - rest.len());
            }
            Err(ParseError::TooDeep) => {}
            refused => prop_assert!(read.is_err(), "{refused:?}"),
        }
    }
}
