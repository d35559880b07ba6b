use backplane_core::{ByteSize, NodeId};
use bytes::Bytes;

use super::{
    body::{self, Head, Malformed},
    question::{Letter, Outcome, Page, Question, Unreadable},
};
use crate::{
    EncodeError, Protocol,
    members::{Message, Once},
    protocol::Protocols,
};

#[derive(Debug)]
struct Named(&'static str);

impl Protocol for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn invocation(
        &self,
        _: Option<&str>,
        _: &str,
        _: &[&dyn erased_serde::Serialize],
        _: Option<&str>,
    ) -> Result<Bytes, EncodeError> {
        Ok(Bytes::new())
    }

    fn argument(
        &self,
        _: &[u8],
        _: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), erased_serde::Error> {
        Ok(())
    }
}

fn spoken(names: &[&'static str]) -> Protocols {
    let protocols = Protocols::default();
    for name in names {
        let protocol: std::sync::Arc<dyn Protocol> = std::sync::Arc::new(Named(name));
        protocols.add(&protocol).unwrap();
    }
    protocols
}

fn read(body: &Bytes, protocols: &Protocols) -> Result<(Head, Vec<Option<Bytes>>), Malformed> {
    let mut message = Message::new(&[]);
    let head = body::decode(body.slice(1..), protocols, true, &mut message)?;
    Ok((head, (0..3).map(|slot| message.payload(slot).cloned()).collect()))
}

const ONCE: Head = Head { number: 7, several: false };
const SEVERAL: Head = Head { number: 7, several: true };

#[test]
fn golden_invocation() {
    let payloads = [("json", Bytes::from_static(b"{}")), ("pack", Bytes::from_static(b"\x90"))];
    let once = body::encode(&payloads, ONCE);
    assert_eq!(
        once,
        &b"\x01\x09\x07\0\0\0\0\0\0\0\0\x02\x04json\x02\0\0\0\x04pack\x01\0\0\0{}\x90"[..]
    );
    let several = body::encode(&payloads[..1], SEVERAL);
    assert_eq!(several, &b"\x01\x09\x07\0\0\0\0\0\0\0\x01\x01\x04json\x02\0\0\0{}"[..]);
}

#[test]
fn a_node_takes_what_its_clients_speak() {
    let payloads = [("json", Bytes::from_static(b"{}")), ("pack", Bytes::from_static(b"\x90"))];
    let body = body::encode(&payloads, SEVERAL);
    let (head, taken) = read(&body, &spoken(&["other", "pack"])).unwrap();
    assert_eq!((head, taken), (SEVERAL, vec![None, Some(payloads[1].1.clone()), None]));
    // A later version's head is longer, and something follows the payloads.
    let later = [&b"\x01\x0b\x07\0\0\0\0\0\0\0\0??\x01\x04json\x02\0\0\0{}"[..], b"more"].concat();
    let (head, taken) = read(&later.into(), &spoken(&["json"])).unwrap();
    assert_eq!((head, taken), (ONCE, vec![Some("{}".into()), None, None]));
}

#[test]
fn a_small_message_does_not_keep_a_large_buffer_alive() {
    for (size, copied) in [(100, true), (100_000, false)] {
        let payload = Bytes::from(vec![7; size]);
        let body = body::encode(&[("json", payload.clone())], ONCE);
        let (_, taken) = read(&body, &spoken(&["json"])).unwrap();
        let taken = taken[0].as_ref().unwrap();
        assert_eq!(*taken, payload);
        assert_eq!(!body.as_ptr_range().contains(&taken.as_ptr()), copied);
    }
}

#[test]
fn every_cut_of_a_body_is_noticed() {
    let body = body::encode(&[("json", Bytes::from_static(b"{}")), ("p", Bytes::new())], SEVERAL);
    let protocols = spoken(&["json", "p"]);
    for end in 1..body.len() {
        assert_eq!(read(&body.slice(..end), &protocols), Err(Malformed), "{end}");
    }
}

#[test]
fn letters_are_read_as_they_were_written() {
    let letters = [
        Letter::Ask(Question::Join("a*>.".into()), 1),
        Letter::Ask(Question::Leave("é".repeat(512).into()), u64::MAX),
        Letter::Ask(Question::Claim(Box::default()), 0),
        Letter::Cancel(2),
        Letter::Accepted(3),
        Letter::Result(4, Outcome::Done),
        Letter::Result(5, Outcome::DoneHereOnly),
        Letter::Result(6, Outcome::NotFound),
        Letter::Result(7, Outcome::AlreadyClaimed(None)),
        Letter::Result(8, Outcome::NotAnnounced),
        Letter::Result(9, Outcome::Failed("no".into())),
        Letter::Result(10, Outcome::Refused("no".into())),
        Letter::Ask(invoke(), 11),
        Letter::Ask(Question::Relay { connection: "c".into(), body: vec![0; 70_000].into() }, 12),
        Letter::Ask(Question::Written(12), 13),
        Letter::Remind(14),
        Letter::Ended("c".into()),
        Letter::Result(15, Outcome::AlreadyClaimed(Some(NodeId::random()))),
        Letter::Result(
            16,
            Outcome::Completed { protocol: "json".into(), result: vec![b'1'; 70_000].into() },
        ),
        Letter::Result(17, Outcome::CompletedEmpty),
        Letter::Result(18, Outcome::ClientFailed("é".repeat(70_000).into())),
        Letter::Result(19, Outcome::Disconnected),
        Letter::Result(20, Outcome::TooSlow),
        Letter::Result(21, Outcome::Relayed(Bytes::new())),
        Letter::Result(22, Outcome::Elsewhere(NodeId::random())),
        Letter::Result(23, Outcome::Ended),
        Letter::Result(24, Outcome::Forgotten),
        Letter::Result(25, Outcome::TooLarge { size: ByteSize::b(9), limit: ByteSize::b(8) }),
    ];
    for letter in letters {
        let bytes = letter.encode();
        for end in (0..bytes.len()).filter(|end| *end < 100 || end + 100 > bytes.len()) {
            assert_eq!(Letter::decode(bytes.slice(..end)), Err(Unreadable::Malformed));
        }
        let longer = [&bytes, &b"more"[..]].concat();
        assert_eq!(Letter::decode(longer.into()).unwrap(), letter);
    }
    assert_eq!(Letter::decode(Bytes::from_static(&[99; 20])), Err(Unreadable::UnknownKind));
    let from_later = Bytes::from_static(b"\x07\0\0\0\0\0\0\0\0\xff\0\0");
    assert!(matches!(Letter::decode(from_later), Ok(Letter::Result(0, Outcome::Failed(_)))));
}

fn invoke() -> Question {
    let payloads = [("json", Bytes::from_static(b"{}")), ("pack", Bytes::from_static(b"\x90"))];
    Question::Invoke { id: "s1".into(), payloads: body::payloads(&payloads) }
}

#[test]
fn golden_letters() {
    let ask = Letter::Ask(invoke(), 1).encode();
    assert_eq!(
        ask,
        &b"\x08\x01\0\0\0\0\0\0\0\x02\0s1\x02\x04json\x02\0\0\0\x04pack\x01\0\0\0{}\x90"[..]
    );
    let relay = Question::Relay { connection: "c".into(), body: "body".into() };
    assert_eq!(Letter::Ask(relay, 2).encode(), &b"\x09\x02\0\0\0\0\0\0\0\x01\0c\x04\0\0\0body"[..]);
    assert_eq!(
        Letter::Result(3, Outcome::Completed { protocol: "json".into(), result: "7".into() })
            .encode(),
        &b"\x07\x03\0\0\0\0\0\0\0\x07\x04\0json\x01\0\0\x007"[..]
    );
    // As versions that know no owner write and read it.
    assert_eq!(
        Letter::Result(4, Outcome::AlreadyClaimed(None)).encode(),
        &b"\x07\x04\0\0\0\0\0\0\0\x03\0\0"[..]
    );
}

#[test]
fn each_client_gets_what_it_speaks() {
    let Question::Invoke { payloads, .. } = invoke() else { unreachable!() };
    assert_eq!(body::payload_of(payloads.clone(), "pack"), Some(Bytes::from_static(b"\x90")));
    assert_eq!(body::payload_of(payloads, "other"), None);
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let reason = "é".repeat(5000);
    let letter = Letter::Result(1, Outcome::Failed(format!("x{reason}").into()));
    match Letter::decode(letter.encode()) {
        Ok(Letter::Result(1, Outcome::Failed(text))) => assert_eq!(text.len(), 4095),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_of_several_topics_comes_once_however_many_come_in_between() {
    let once = Once::default();
    let message = |number: u64| once.name(b"origin", number);
    assert!((0..1000).all(|number| once.first("c", message(number))));
    assert!((0..1000).all(|number| !once.first("c", message(number))));
    assert!(once.first("d", message(0)));
    assert!(once.first("c", once.name(b"another", 0)));
    // Bounded all the same.
    assert!((0..1_000_000).all(|number| once.first("e", message(number))));
    assert!(!once.first("e", message(999_999)));
    assert!(once.first("e", message(0)));
}

#[test]
fn letters_about_all_groups_are_read_as_they_were_written() {
    let page = |names: &[&str], more| {
        let names = names.iter().map(|name| std::sync::Arc::from(*name)).collect();
        Outcome::Groups(Page { names, more })
    };
    let letters = [
        Letter::Ask(Question::Groups(Box::default()), 1),
        Letter::Ask(Question::Groups("é".repeat(512).into()), 2),
        Letter::Ask(Question::LeaveAll, 3),
        Letter::Ask(Question::AddUser("u*>.".into(), "g".repeat(1024).into()), 4),
        Letter::Ask(Question::RemoveUser("u".into(), "g".into()), 5),
        Letter::Result(6, page(&[], false)),
        Letter::Result(7, page(&["a", "", "ü"], true)),
    ];
    for letter in letters {
        let bytes = letter.encode();
        for end in 0..bytes.len() {
            assert_eq!(Letter::decode(bytes.slice(..end)), Err(Unreadable::Malformed));
        }
        let longer = [&bytes, &b"more"[..]].concat();
        assert_eq!(Letter::decode(longer.into()).unwrap(), letter);
    }
    let add = Letter::Ask(Question::AddUser("u".into(), "g".into()), 4).encode();
    assert_eq!(add, &b"\x12\x04\0\0\0\0\0\0\0\x01\0u\x01\0g"[..]);
    let named = Letter::Result(7, page(&["a"], true)).encode();
    assert_eq!(named, &b"\x07\x07\0\0\0\0\0\0\0\x20\0\0\x01\x01\0\0\0\x01\0a"[..]);
}

#[test]
fn a_page_holds_as_many_names_as_fit_and_one_at_least() {
    let names: Vec<std::sync::Arc<str>> = (10..99).map(|it| it.to_string().into()).collect();
    for most in [0, 21, 22, 25, 100, 1000] {
        let page = Page::of(names.clone(), most);
        let length = Letter::Result(1, Outcome::Groups(page.clone())).encode().len();
        assert!(page.names.len() == 1 || length <= most, "{length} of {most}");
        assert!(!page.more || length + 4 > most, "{length} of {most}");
        assert_eq!(page.more, page.names.len() < names.len());
    }
    assert_eq!(Page::of(Vec::new(), 1000), Page { names: Vec::new(), more: false });
}
