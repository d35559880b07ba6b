use std::sync::Arc;

use backplane_core::LONGEST_NAME;
use bytes::{BufMut, Bytes};

use super::{
    Change, Digest, Message, Part, SMALLEST_BODY, Unreadable, ask, deltas, farewell, parts,
};

fn opened(connection: &str, user: Option<&str>) -> Change {
    Change::Opened { connection: connection.into(), user: user.map(Arc::from) }
}

fn joined(connection: &str, group: &str) -> Change {
    Change::Joined { connection: connection.into(), group: group.into() }
}

fn left(connection: &str, group: &str) -> Change {
    Change::Left { connection: connection.into(), group: group.into() }
}

fn closed(connection: &str) -> Change {
    Change::Closed { connection: connection.into() }
}

fn read(body: &Bytes) -> Message {
    Message::decode(body).unwrap()
}

#[test]
fn golden_bytes() {
    let changes =
        [opened("c", Some("u")), opened("d", None), joined("c", "g"), left("c", "g"), closed("d")];
    let delta = deltas(&changes, 1, 2, 4096).remove(0);
    let mut expected = vec![1, 16, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    expected.put_slice(b"\x01\x00\x01c\x00\x01u");
    expected.put_slice(b"\x01\x00\x01d\x00\x00");
    expected.put_slice(b"\x03\x01\x00\x01g");
    expected.put_slice(b"\x04\x01\x05");
    expected.put_slice(b"\x02\x03");
    assert_eq!(delta, expected);
    assert_eq!(read(&delta), Message::Delta { epoch: 1, version: 2, changes: changes.to_vec() });

    let part = parts(&changes[..1], (1, 2), 3, 4096).remove(0);
    assert_eq!(part[..2], [2, 32]);
    assert_eq!(part[18..34], [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    let changes = changes[..1].to_vec();
    let expected = Part { epoch: 1, version: 2, answer: 3, index: 0, of: 1, changes };
    assert_eq!(read(&part), Message::Part(expected));

    let digest = Digest { epoch: 1, version: 2, sum: 3, asks: true };
    assert_eq!(digest.encode().len(), 27);
    assert_eq!(read(&digest.encode()), Message::Digest(digest));
    assert_eq!(read(&ask(7, 8)), Message::Ask { epoch: 7, version: 8 });
    assert_eq!(read(&farewell(7)), Message::Farewell { epoch: 7 });
}

#[test]
fn what_does_not_fit_into_one_goes_into_several() {
    let names: Vec<String> = (0..10).map(|it| it.to_string().repeat(LONGEST_NAME)).collect();
    let changes: Vec<Change> = names
        .iter()
        .flat_map(|name| [opened(name, Some(name)), joined(name, name), closed(name)])
        .collect();
    for limit in [0, SMALLEST_BODY, 5000, 1 << 20] {
        let bodies = deltas(&changes, 1, 7, limit);
        assert!(bodies.iter().all(|body| body.len() <= limit.max(SMALLEST_BODY)));
        let mut read_back = Vec::new();
        for (body, expected) in bodies.iter().zip(7..) {
            let Message::Delta { version, changes, .. } = read(body) else { panic!() };
            assert_eq!(version, expected);
            read_back.extend(changes);
        }
        assert_eq!(read_back, changes, "{limit}");
        let pieces = parts(&changes, (1, 7), 1, limit);
        for (body, expected) in pieces.iter().zip(0..) {
            let Message::Part(part) = read(body) else { panic!() };
            assert_eq!((part.index, part.of as usize), (expected, pieces.len()));
        }
    }
    assert_eq!(parts(&[], (1, 7), 1, 5000).len(), 1, "of nothing there is one part");
}

#[test]
fn names_are_data_and_said_once() {
    let hostile = ["*", "a.b>c", "\0", "", "ü", &"🎈".repeat(LONGEST_NAME / 4)];
    let changes: Vec<Change> = hostile.iter().map(|name| joined("c", name)).collect();
    let Message::Delta { changes: read_back, .. } = read(&deltas(&changes, 1, 1, 65_536)[0]) else {
        panic!()
    };
    assert_eq!(read_back, changes);

    let crowd: Vec<Change> =
        (0..10_000).map(|it| joined(&format!("connection {it:010}"), "the same group")).collect();
    let bodies = deltas(&crowd, 1, 1, 65_536);
    let bytes: usize = bodies.iter().map(Bytes::len).sum();
    assert!(bodies.len() <= 5 && bytes <= 10_000 * 26, "{bytes} bytes in {}", bodies.len());
}

#[test]
fn what_a_later_version_appends_is_skipped() {
    let body = b"\x04\x14\x07\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0more";
    assert_eq!(Message::decode(body).unwrap(), Message::Ask { epoch: 7, version: 8 });
    assert_eq!(Message::decode(b"\x06\x00"), Err(Unreadable::UnknownKind));
}

#[test]
fn hostile_bytes_are_no_message() {
    let changes = [opened("connection", Some("user")), joined("connection", "group")];
    let whole = [
        deltas(&changes, 1, 2, 4096).remove(0),
        parts(&changes, (1, 2), 3, 4096).remove(0),
        Digest { epoch: 1, version: 2, sum: 3, asks: false }.encode(),
        ask(1, 2),
        farewell(1),
    ];
    for body in whole {
        let mut whole_changes = 0;
        for end in 0..body.len() {
            whole_changes += usize::from(Message::decode(&body[..end]).is_ok());
        }
        // The end of a change can be the end of a message.
        assert!(whole_changes <= 2, "{whole_changes}");
        for place in 0..body.len() {
            for bit in 0..8 {
                let mut bent = body.to_vec();
                bent[place] ^= 1 << bit;
                // Any outcome, but an outcome.
                drop(Message::decode(&bent));
            }
        }
    }
    let head = b"\x01\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for bad in
        [&b"\x09\x00\x00"[..], b"\x03\x01\x00\x00", b"\x02\x00\x02\xFF\xFE", b"\x02\x00\x81\x08"]
    {
        let body = [&head[..], bad].concat();
        assert_eq!(Message::decode(&body), Err(Unreadable::Malformed), "{bad:?}");
    }
    let endless = [&head[..], b"\x02\xFF\xFF\xFF\xFF\xFF\x01"].concat();
    assert_eq!(Message::decode(&endless), Err(Unreadable::Malformed));
}
