use backplane_hub::Protocol;
use bytes::Bytes;
use proptest::prelude::*;

use super::{Json, ParseError, parse, result, write};
use crate::{
    codec::any::messages,
    message::{Invocation, Message, Outcome},
};

fn read(record: &str) -> Message {
    parse(&Bytes::copy_from_slice(record.as_bytes())).expect(record).expect(record)
}

fn fault(record: impl AsRef<[u8]>) -> String {
    let record = Bytes::copy_from_slice(record.as_ref());
    parse(&record).expect_err(&String::from_utf8_lossy(&record)).to_string()
}

fn written(message: &Message) -> String {
    String::from_utf8(write(message).to_vec()).unwrap()
}

fn invocation(id: Option<&str>, arguments: &[&'static str]) -> Invocation {
    Invocation {
        id: id.map(Into::into),
        target: "Echo".into(),
        arguments: arguments.iter().map(|&argument| argument.into()).collect(),
        streams: Vec::new(),
        trace: None,
    }
}

/// Every type with its record, as the original writes it.
fn goldens() -> Vec<(Message, &'static str)> {
    let full = Invocation {
        streams: vec!["1".into(), "2".into()],
        trace: Some("00-a-b-01".into()),
        ..invocation(Some("0"), &["1", "\"two\"", "{\"three\":[3]}"])
    };
    let id: Box<str> = "7".into();
    vec![
        (
            Message::Invocation(invocation(None, &[])),
            r#"{"type":1,"target":"Echo","arguments":[]}"#,
        ),
        (
            Message::Invocation(full.clone()),
            r#"{"type":1,"headers":{"traceparent":"00-a-b-01"},"invocationId":"0","target":"Echo","arguments":[1,"two",{"three":[3]}],"streamIds":["1","2"]}"#,
        ),
        (
            Message::StreamItem { id: id.clone(), item: "[null]".into() },
            r#"{"type":2,"invocationId":"7","item":[null]}"#,
        ),
        (
            Message::Completion { id: id.clone(), outcome: Outcome::Result("null".into()) },
            r#"{"type":3,"invocationId":"7","result":null}"#,
        ),
        (
            Message::Completion { id: id.clone(), outcome: Outcome::Error("a \"b\"\n".into()) },
            r#"{"type":3,"invocationId":"7","error":"a \"b\"\n"}"#,
        ),
        (
            Message::Completion { id: id.clone(), outcome: Outcome::Nothing },
            r#"{"type":3,"invocationId":"7"}"#,
        ),
        (
            Message::StreamInvocation(full),
            r#"{"type":4,"headers":{"traceparent":"00-a-b-01"},"invocationId":"0","target":"Echo","arguments":[1,"two",{"three":[3]}],"streamIds":["1","2"]}"#,
        ),
        (Message::CancelInvocation { id }, r#"{"type":5,"invocationId":"7"}"#),
        (Message::Ping, r#"{"type":6}"#),
        (Message::Close { error: None, allow_reconnect: false }, r#"{"type":7}"#),
        (
            Message::Close { error: Some("Gone.".into()), allow_reconnect: true },
            r#"{"type":7,"error":"Gone.","allowReconnect":true}"#,
        ),
        (Message::Ack { sequence: i64::MAX }, r#"{"type":8,"sequenceId":9223372036854775807}"#),
        (Message::Sequence { sequence: 1 }, r#"{"type":9,"sequenceId":1}"#),
    ]
}

#[test]
fn every_type_is_written_and_read() {
    for (message, record) in goldens() {
        assert_eq!(written(&message), format!("{record}\u{1e}"));
        assert_eq!(read(record), message);
    }
}

#[test]
fn properties_come_in_any_order_and_more_than_once() {
    let expected = Message::Invocation(invocation(Some("0"), &["[ 1 ]"]));
    for record in [
        r#" { "arguments" : [[ 1 ]] , "target":"Echo","invocationId":"0","type":1 } "#,
        r#"{"target":"Nope","arguments":[2],"target":"Echo","type":9,"arguments":[[ 1 ]],"invocationId":"0","type":1}"#,
        r#"{"\u0074ype":1,"t\u0061rget":"Ech\u006f","invocationId":"0","arguments":[[ 1 ]],"more":{"type":[{}]},"result":1,"error":2}"#,
    ] {
        assert_eq!(read(record), expected, "{record}");
    }
}

#[test]
fn what_is_null_or_empty_counts_as_absent() {
    let plain = Message::Invocation(invocation(None, &[]));
    for record in [
        r#"{"type":1,"invocationId":null,"target":"Echo","arguments":[],"streamIds":null,"headers":null}"#,
        r#"{"type":1,"invocationId":"","target":"Echo","arguments":[],"streamIds":[],"headers":{}}"#,
    ] {
        assert_eq!(read(record), plain);
    }
    assert_eq!(
        read(r#"{"type":7,"error":null,"allowReconnect":null}"#),
        Message::Close { error: None, allow_reconnect: false }
    );
    assert_eq!(
        read(r#"{"type":3,"invocationId":"0","error":null,"result":null}"#),
        Message::Completion { id: "0".into(), outcome: Outcome::Result("null".into()) }
    );
}

#[test]
fn unknown_types_are_ignored_whatever_they_hold() {
    for record in [r#"{"type":0}"#, r#"{"type":10,"target":5,"arguments":{}}"#, r#"{"type":-1}"#] {
        assert_eq!(parse(&Bytes::from(record)).unwrap(), None, "{record}");
    }
}

#[test]
fn faults_are_told() {
    for (record, text) in [
        ("", "Error reading JSON."),
        ("{", "Error reading JSON."),
        ("{}{}", "Error reading JSON."),
        (r#"{"type":6,}"#, "Error reading JSON."),
        (r#"{"type":1,"target":"Echo","arguments":[01]}"#, "Error reading JSON."),
        ("null", "Expected a JSON Object."),
        ("[1]", "Expected a JSON Object."),
        ("\"\"", "Expected a JSON Object."),
        ("{}", "Missing required property 'type'."),
        (r#"{"type":"6"}"#, "Expected 'type' to be of type Number."),
        (r#"{"type":6.5}"#, "Expected 'type' to be of type Number."),
        (r#"{"type":null}"#, "Expected 'type' to be of type Number."),
        (r#"{"type":1,"arguments":[]}"#, "Missing required property 'target'."),
        (r#"{"type":1,"target":"Echo"}"#, "Missing required property 'arguments'."),
        (r#"{"type":1,"target":5,"arguments":[]}"#, "Expected 'target' to be of type String."),
        (
            r#"{"type":1,"target":"Echo","arguments":{}}"#,
            "Expected 'arguments' to be of type Array.",
        ),
        (
            r#"{"type":1,"invocationId":1,"target":"Echo","arguments":[]}"#,
            "Expected 'invocationId' to be of type String.",
        ),
        (
            r#"{"type":1,"target":"Echo","arguments":[],"streamIds":[1]}"#,
            "Expected 'streamIds' to be of type Array of Strings.",
        ),
        (
            r#"{"type":1,"target":"Echo","arguments":[],"headers":{"a":1}}"#,
            "Expected 'headers' to be of type Object of Strings.",
        ),
        (r#"{"type":2,"invocationId":"0"}"#, "Missing required property 'item'."),
        (r#"{"type":2,"item":1}"#, "Missing required property 'invocationId'."),
        (r#"{"type":3}"#, "Missing required property 'invocationId'."),
        (r#"{"type":3,"invocationId":"0","error":{}}"#, "Expected 'error' to be of type String."),
        (
            r#"{"type":3,"invocationId":"0","error":"a","result":1}"#,
            "The 'error' and 'result' properties are mutually exclusive.",
        ),
        (
            r#"{"type":4,"target":"Echo","arguments":[]}"#,
            "Missing required property 'invocationId'.",
        ),
        (r#"{"type":5,"invocationId":""}"#, "Missing required property 'invocationId'."),
        (r#"{"type":7,"error":1}"#, "Expected 'error' to be of type String."),
        (
            r#"{"type":7,"allowReconnect":"yes"}"#,
            "Expected 'allowReconnect' to be of type Boolean.",
        ),
        (r#"{"type":8}"#, "Missing required property 'sequenceId'."),
        (
            r#"{"type":9,"sequenceId":9223372036854775808}"#,
            "Expected 'sequenceId' to be of type Number.",
        ),
    ] {
        assert_eq!(fault(record), text, "{record}");
    }
    assert_eq!(fault(b"{\"type\":6,\"a\":\"\xff\"}"), "Error reading JSON.");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        // The object and the list of arguments are two levels.
        let argument = format!("{}{}", "[".repeat(depth - 2), "]".repeat(depth - 2));
        format!(r#"{{"type":1,"target":"Echo","arguments":[{argument}]}}"#)
    };
    read(&nested(64));
    assert!(matches!(parse(&nested(65).into()), Err(ParseError::TooDeep)));
    let deepest = "[".repeat(1_000_000);
    assert!(matches!(parse(&deepest.into()), Err(ParseError::TooDeep)));
}

#[test]
fn arguments_are_slices_of_the_record() {
    let record = Bytes::from(r#"{"type":1,"target":"Echo","arguments":[ {"a": 1} ,"ü"]}"#);
    let Ok(Some(Message::Invocation(invocation))) = parse(&record) else { panic!("no invocation") };
    let range = record.as_ptr_range();
    for argument in &invocation.arguments {
        assert!(range.contains(&argument.as_ptr()));
    }
    assert_eq!(invocation.arguments, ["{\"a\": 1}", "\"ü\""]);
}

#[test]
fn the_hub_has_its_messages_encoded() {
    let status = serde_json::json!({"orderId": "1", "text": "\u{1e}"});
    let bytes = Json.invocation(None, "Status", &[&status, &2_u8], Some("00-a")).unwrap();
    assert_eq!(
        bytes,
        "{\"type\":1,\"headers\":{\"traceparent\":\"00-a\"},\"target\":\"Status\",\"arguments\":[{\"orderId\":\"1\",\"text\":\"\\u001e\"},2]}\u{1e}"
    );
    assert_eq!(
        Json.invocation(Some("s1"), "Empty", &[], None).unwrap(),
        "{\"type\":1,\"invocationId\":\"s1\",\"target\":\"Empty\",\"arguments\":[]}\u{1e}"
    );
    let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
    Json.invocation(None, "Bad", &[&unwritable], None).expect_err("a key that is no text");
    result("0", &unwritable).expect_err("a key that is no text");
    assert_eq!(
        result("0", &()).unwrap(),
        "{\"type\":3,\"invocationId\":\"0\",\"result\":null}\u{1e}"
    );
}

#[test]
fn the_hub_reads_arguments() {
    let read = |raw: &str| {
        let mut value = None;
        Json.argument(raw.as_bytes(), &mut |deserializer| {
            value = Some(erased_serde::deserialize::<Vec<u8>>(deserializer)?);
            Ok(())
        })
        .map(|()| value)
    };
    assert_eq!(read(" [1, 2] ").unwrap(), Some(vec![1, 2]));
    for other in ["", "[1", "[256]", "\"1\"", "null", "{}"] {
        read(other).expect_err(other);
    }
}

fn raw() -> impl Strategy<Value = Bytes> + Clone {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    value.prop_map(|value| Bytes::from(value.to_string()))
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in messages(raw())) {
        let mut record = write(&message);
        let length = record.len() - 1;
        prop_assert!(!record[..length].contains(&super::SEPARATOR));
        record.truncate(length);
        prop_assert_eq!(parse(&record).unwrap(), Some(message));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes.into());
    }

    #[test]
    fn any_cut_or_changed_message_is_read_or_refused(
        message in messages(raw()),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut record = write(&message).to_vec();
        let at = at.index(record.len());
        record[at] = byte;
        let _ = parse(&Bytes::from(record.clone()));
        record.truncate(cut.index(record.len()));
        let _ = parse(&record.into());
    }

    #[test]
    fn any_object_is_read_or_refused(
        fields in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "type", "invocationId", "target", "arguments", "streamIds", "headers", "item",
                    "result", "error", "allowReconnect", "sequenceId", "other",
                ]),
                prop_oneof![raw(), (0..11_u8).prop_map(|kind| kind.to_string().into())],
            ),
            0..8,
        ),
    ) {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name:?}:{}", std::str::from_utf8(value).unwrap()))
            .collect();
        let record = Bytes::from(format!("{{{}}}", fields.join(",")));
        let outcome = parse(&record);
        prop_assert!(!matches!(outcome, Err(ParseError::Json(_) | ParseError::NotAnObject)));
    }
}
