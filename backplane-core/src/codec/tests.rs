use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Alive, Answer, Control, Listed, Page, Part, Phase, Start, Watermark, frame::Received, frames,
    header, read,
};
use crate::{
    Envelope, NodeId, RouteKind, Topic,
    envelope::{Kind, Sequence},
};

const ORIGIN: NodeId = NodeId::from_bytes([7; 16]);

fn read_all(bytes: &Bytes) -> Vec<Result<Received, super::DecodeError>> {
    let mut all = Vec::new();
    read(bytes.clone(), |received| all.push(received));
    all
}

fn decoded(received: &Received) -> Envelope {
    let header = received.header().unwrap();
    let topic = Topic::new(header.topic.hub, header.topic.kind, header.topic.name);
    let mut envelope = Envelope::new(topic, received.body.clone())
        .except(header.except)
        .trace(header.trace.map(Into::into));
    envelope.origin = received.origin();
    envelope.kind = header.kind;
    envelope.sequence = header.sequence;
    envelope
}

fn stamped(mut envelope: Envelope) -> Envelope {
    envelope.origin = Some(ORIGIN);
    envelope
}

#[test]
fn golden_bytes() {
    let envelope = Envelope::new(Topic::group("orders", "k"), "tea").except(["c1"]);
    let frames = frames(&[stamped(envelope)], ORIGIN, usize::MAX);
    let expected: Vec<u8> = [
        &[0xB5, 0x01][..],         // magic, version
        &[60, 0, 0, 0],            // header length
        &[7; 16],                  // origin
        &[0, 1],                   // message, group
        &[6, 0, 0, 0, 0, 0, 0, 0], // hub
        b"orders",
        &[1, 0, 0, 0, 0, 0, 0, 0], // name
        b"k",
        &[1, 0, 0, 0, 0, 0, 0, 0], // one exception
        &[2, 0, 0, 0, 0, 0, 0, 0],
        b"c1",
        &[0], // no trace
        b"tea",
    ]
    .concat();
    assert_eq!(frames.len(), 1);
    assert_eq!(&frames[0].bytes[..], &expected[..]);
}

#[test]
fn golden_bytes_of_numbers() {
    let plain = stamped(Envelope::new(Topic::all("h"), "tea"));
    let mut numbered = plain.clone();
    numbered.sequence = Some(Sequence { epoch: 2, number: 3, position: 9, predecessor: 7 });
    let of = |envelope| frames(&[envelope], ORIGIN, usize::MAX).remove(0).bytes;
    let (plain, numbered) = (of(plain), of(numbered));
    let header_end = plain.len() - b"tea".len();
    let appended = [
        &[1][..],
        &2_u64.to_le_bytes(),
        &3_u64.to_le_bytes(),
        &9_u64.to_le_bytes(),
        &7_u64.to_le_bytes(),
    ]
    .concat();
    assert_eq!(numbered[6..], [&plain[6..header_end], &appended, b"tea"].concat());
}

#[test]
fn numbers_that_contradict_each_other_are_refused() {
    let valid = Sequence { epoch: 2, number: 3, position: 9, predecessor: 7 };
    let wrong = [
        Sequence { number: 0, ..valid },
        Sequence { epoch: 0, ..valid },
        Sequence { epoch: 10, ..valid },
        Sequence { predecessor: 9, ..valid },
        Sequence { number: 10, ..valid },
    ];
    let read = |sequence| {
        let mut envelope = stamped(Envelope::new(Topic::all("h"), "tea"));
        envelope.sequence = Some(sequence);
        let bytes = frames(&[envelope], ORIGIN, usize::MAX).remove(0).bytes;
        read_all(&bytes).remove(0).unwrap().header().map(|header| header.sequence)
    };
    assert_eq!(read(valid), Ok(Some(valid)));
    for sequence in wrong {
        assert!(read(sequence).is_err(), "{sequence:?}");
    }
}

fn controls() -> impl Strategy<Value = Control> {
    let topic = ("[a-z*.]{1,9}", 0_u8..5, any::<String>())
        .prop_map(|(hub, kind, name)| Topic::new(&hub, RouteKind::from_code(kind).unwrap(), &name));
    let last = any::<(u64, u64, u64)>().prop_map(|(epoch, number, position)| Watermark {
        epoch,
        number,
        position,
    });
    let start = prop_oneof![
        any::<(u64, u64)>().prop_map(|(epoch, from)| Start::Number { epoch, from }),
        any::<u64>().prop_map(|position| Start::After { position }),
    ];
    let listed = (topic.clone(), last.clone()).prop_map(|(topic, last)| Listed { topic, last });
    let page = (any::<(u64, u64, bool, u64)>(), prop::collection::vec(listed, 0..5)).prop_map(
        |((since, through, end, forgotten), topics)| Page {
            since,
            through,
            end,
            forgotten,
            topics,
        },
    );
    let part = any::<(u64, u64, u64, u64, Vec<(u64, u64)>, bool)>().prop_map(
        |(epoch, from, through, position, missing, uncertain)| Part {
            epoch,
            from,
            through,
            position,
            missing,
            uncertain,
            forgotten: position / 2,
        },
    );
    let alive = any::<(Option<String>, u64, bool, u64, u64, Option<u64>, bool)>().prop_map(
        |(name, uptime, numbered, position, lost_track, known_since, first)| Alive {
            name,
            phase: Phase::Hello { first },
            uptime,
            numbered,
            position,
            lost_track,
            known_since,
        },
    );
    prop_oneof![
        alive.prop_map(Control::Alive),
        last.prop_map(Control::Watermark),
        any::<u64>().prop_map(|since| Control::Resync { since }),
        page.prop_map(Control::Listing),
        (topic.clone(), start.clone(), any::<u64>())
            .prop_map(|(topic, start, through)| Control::Ask { topic, start, through }),
        (topic, start, prop::option::of(part))
            .prop_map(|(topic, start, part)| Control::Answer(Answer { topic, start, part })),
        Just(Control::Farewell),
    ]
}

proptest! {
    #[test]
    fn what_nodes_say_comes_back_as_it_was(control in controls()) {
        prop_assert_eq!(Control::decode(&control.encode()).unwrap(), control);
    }

    #[test]
    fn no_bytes_make_reading_what_nodes_say_panic(bytes: Vec<u8>) {
        let _ = Control::decode(&bytes);
    }
}

#[test]
fn wincode_writes_the_same_header() {
    #[derive(wincode::SchemaWrite)]
    struct Other {
        origin: [u8; 16],
        kind: u8,
        route: u8,
        hub: String,
        name: String,
        except: Vec<String>,
        trace: Option<String>,
    }
    let envelope = Envelope::new(Topic::user("höb", "a*>."), "")
        .except(["c1", ""])
        .trace(Some("00-aa-bb-01".into()));
    let mut ours = Vec::new();
    header::encode(&envelope, ORIGIN, &mut ours).unwrap();
    let theirs = wincode::serialize(&Other {
        origin: *ORIGIN.as_bytes(),
        kind: 0,
        route: 2,
        hub: "höb".to_owned(),
        name: "a*>.".to_owned(),
        except: vec!["c1".to_owned(), String::new()],
        trace: Some("00-aa-bb-01".to_owned()),
    })
    .unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn a_newer_nodes_fields_and_kinds_are_skipped() {
    let envelope = stamped(Envelope::new(Topic::all("orders"), "body"));
    let frame = frames(std::slice::from_ref(&envelope), ORIGIN, usize::MAX).remove(0).bytes;
    let header_length = u32::from_le_bytes(frame[2..6].try_into().unwrap());
    let (header, body) = frame[6..].split_at(header_length as usize);

    // No numbers, and a field that is not known here.
    let longer =
        [&[0xB5, 0x01][..], &(header_length + 4).to_le_bytes(), header, b"\0new", body].concat();
    let received = read_all(&longer.into()).remove(0).unwrap();
    assert_eq!(decoded(&received), envelope);

    let mut unknown_kind = frame.to_vec();
    unknown_kind[6 + 16] = 99;
    let received = read_all(&unknown_kind.into()).remove(0).unwrap();
    assert_eq!(received.header().unwrap_err(), super::DecodeError::UnknownKind(99));

    let mut newer_version = frame.to_vec();
    newer_version[1] = 0x02;
    assert_eq!(
        read_all(&newer_version.into()).remove(0).unwrap_err(),
        super::DecodeError::UnknownVersion(2)
    );
}

#[test]
fn envelopes_of_one_topic_share_a_frame_in_order() {
    let (one, two) = (Topic::group("h", "1"), Topic::group("h", "2"));
    let batch: Vec<Envelope> = (0..10u8)
        .map(|n| stamped(Envelope::new(if n % 3 == 0 { &two } else { &one }.clone(), vec![n])))
        .collect();
    let frames = frames(&batch, ORIGIN, usize::MAX);
    assert_eq!(frames.len(), 2);
    for frame in frames {
        let envelopes: Vec<Envelope> =
            read_all(&frame.bytes).iter().map(|it| decoded(it.as_ref().unwrap())).collect();
        let expected: Vec<Envelope> = frame.envelopes.iter().map(|i| batch[*i].clone()).collect();
        assert_eq!(envelopes, expected);
        assert!(envelopes.iter().all(|it| it.topic == frame.topic));
    }
}

#[test]
fn large_envelopes_travel_alone() {
    let topic = Topic::all("h");
    let batch: Vec<Envelope> =
        (0..4).map(|_| stamped(Envelope::new(topic.clone(), vec![1; 40 * 1024]))).collect();
    let frames = frames(&batch, ORIGIN, usize::MAX);
    assert_eq!(frames.len(), 4);
    assert!(frames.iter().all(|frame| frame.bytes[1] == 0x01), "no bundle around a lone envelope");
}

#[test]
fn bundles_keep_to_a_bound() {
    let topic = Topic::group("h", &"n".repeat(1000));
    let batch: Vec<Envelope> =
        (0..100).map(|_| stamped(Envelope::new(topic.clone(), vec![1; 50]))).collect();
    let bounded = frames(&batch, ORIGIN, 8 * 1024);
    assert!(bounded.len() > 1 && bounded.iter().all(|frame| frame.bytes.len() <= 8 * 1024));
    assert_eq!(bounded.iter().map(|frame| frame.envelopes.len()).sum::<usize>(), 100);
    // Where not even one fits, each goes alone.
    assert_eq!(frames(&batch, ORIGIN, 10).len(), 100);
}

#[test]
fn a_broken_envelope_in_a_bundle_costs_only_itself() {
    let topic = Topic::all("h");
    let batch: Vec<Envelope> =
        (0..3u8).map(|n| stamped(Envelope::new(topic.clone(), vec![n]))).collect();
    let mut bundle = frames(&batch, ORIGIN, usize::MAX).remove(0).bytes.to_vec();
    let first = 4 + u32::from_le_bytes(bundle[2..6].try_into().unwrap()) as usize;
    bundle[2 + first + 5] = 0x7F; // the second envelope's version
    let all = read_all(&bundle.into());
    assert_eq!(all.len(), 3);
    assert_eq!(all[1].as_ref().unwrap_err(), &super::DecodeError::UnknownVersion(0x7F));
    assert_eq!(decoded(all[2].as_ref().unwrap()), batch[2]);
}

#[test]
fn a_header_cannot_claim_more_than_its_bound() {
    let hostile = [&[0xB5, 0x01][..], &u32::MAX.to_le_bytes(), &[0; 64]].concat();
    assert!(matches!(read_all(&hostile.into()).remove(0), Err(super::DecodeError::Header { .. })));
    // A list that claims 2^60 entries in a header of 60 bytes.
    let mut header = vec![0; 18];
    header.extend([0; 16]);
    header.extend((1u64 << 60).to_le_bytes());
    header.extend([0; 18]);
    assert!(header::decode(&header).is_err());
}

prop_compose! {
    fn any_envelope()(
        hub in "\\PC{0,20}", kind in 0..5u8, name in "\\PC{0,40}",
        except in prop::collection::vec("\\PC{0,24}", 0..4),
        trace in prop::option::of("[0-9a-f-]{0,55}"),
        body in prop::collection::vec(any::<u8>(), 0..300),
        probe in any::<bool>(),
    ) -> Envelope {
        let topic = Topic::new(&hub, RouteKind::from_code(kind).unwrap(), &name);
        let mut envelope = Envelope::new(topic, body)
            .except(except)
            .trace(trace.map(Into::into));
        envelope.kind = if probe { Kind::Probe } else { Kind::Message };
        stamped(envelope)
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(batch in prop::collection::vec(any_envelope(), 1..8)) {
        let mut seen = vec![None; batch.len()];
        for frame in frames(&batch, ORIGIN, usize::MAX) {
            for (received, index) in read_all(&frame.bytes).iter().zip(&frame.envelopes) {
                seen[*index] = Some(decoded(received.as_ref().unwrap()));
            }
        }
        prop_assert_eq!(seen, batch.into_iter().map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_are_trusted(
        start in prop::sample::select(vec![vec![], vec![0xB5], vec![0xB5, 1], vec![0xB5, 0x81]]),
        tail in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = Bytes::from([start, tail].concat());
        for received in read_all(&bytes).into_iter().flatten() {
            let _ = received.header();
        }
    }

    #[test]
    fn no_damage_is_trusted(
        batch in prop::collection::vec(any_envelope(), 1..4),
        at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = frames(&batch, ORIGIN, usize::MAX).remove(0).bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        bytes.truncate(cut.index(bytes.len()) + 1);
        for received in read_all(&bytes.into()).into_iter().flatten() {
            let _ = received.header();
        }
    }
}
