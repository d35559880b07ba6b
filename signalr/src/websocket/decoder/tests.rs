use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [1, 2, 3, 4];

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0xfe);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Decodes pieces until the first error.
fn decode<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Vec<Control>, Option<FrameError>) {
    let (mut decoder, mut data, mut controls) = (Decoder::default(), Vec::new(), Vec::new());
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece, &mut data) {
                Ok(Some(control)) => controls.push(control),
                Ok(None) => break,
                Err(error) => return (data, controls, Some(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (data, controls, None)
}

fn error(bytes: &[u8]) -> Option<FrameError> {
    decode([bytes]).2
}

#[test]
fn payloads_are_one_stream() {
    let mut bytes = frame(0x81, b"one ");
    bytes.extend(frame(0x01, b"t"));
    bytes.extend(frame(0x89, b"ping"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x8a, b"pong"));
    bytes.extend(frame(0x80, b"wo "));
    bytes.extend(frame(0x82, b"three"));
    bytes.extend(frame(0x88, b"\x03\xe8bye"));
    let controls = vec![Control::Ping(b"ping".to_vec()), Control::Close(Some(1000))];
    assert_eq!(decode([&*bytes]), (b"one two three".to_vec(), controls, None));
}

#[test]
fn what_is_no_frame_is_an_error() {
    for (first, wrong) in [
        (0xc1, FrameError::Reserved),
        (0x83, FrameError::UnknownKind),
        (0x8b, FrameError::UnknownKind),
        (0x80, FrameError::OutOfOrder),
        (0x09, FrameError::Control),
        (0x08, FrameError::Control),
    ] {
        assert_eq!(error(&frame(first, b"")), Some(wrong), "{first:x}");
    }
    assert_eq!(error(b"\x81\x02"), Some(FrameError::Unmasked));
    assert_eq!(error(&frame(0x89, &[0; 126])), Some(FrameError::Control));
    assert_eq!(
        error(&[frame(0x01, b"a"), frame(0x81, b"b")].concat()),
        Some(FrameError::OutOfOrder)
    );
    assert_eq!(error(b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0"), Some(FrameError::Length));
    assert_eq!(error(b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"), None);
}

#[test]
fn close_frames_may_have_a_code() {
    let closed = |payload: &[u8]| match decode([&*frame(0x88, payload)]) {
        (_, controls, None) => Ok(controls),
        (_, _, Some(error)) => Err(error),
    };
    assert_eq!(closed(b""), Ok(vec![Control::Close(None)]));
    assert_eq!(closed(&4000_u16.to_be_bytes()), Ok(vec![Control::Close(Some(4000))]));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(closed(&code.to_be_bytes()), Err(FrameError::Close), "{code}");
    }
    assert_eq!(closed(b"\x03"), Err(FrameError::Close));
    assert_eq!(closed(b"\x03\xe8\xff"), Err(FrameError::Close));
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}

proptest! {
    #[test]
    fn it_does_not_matter_how_frames_come(
        payloads in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                prop::collection::vec(any::<u8>(), 65_530..65_545),
            ],
            0..6,
        ),
        splits in prop::collection::vec(any::<bool>(), 6),
        pings in prop::collection::vec(any::<bool>(), 6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let (mut bytes, mut within, mut pinged) = (Vec::new(), false, 0);
        for (index, payload) in payloads.iter().enumerate() {
            let kind = if within { 0 } else { 1 };
            within = splits[index];
            bytes.extend(frame(if within { kind } else { 0x80 | kind }, payload));
            if pings[index] {
                bytes.extend(frame(0x89, b"?"));
                pinged += 1;
            }
        }
        let (data, controls, error) = decode(pieces(&bytes, &cuts));
        prop_assert_eq!(error, None);
        prop_assert_eq!(data, payloads.concat());
        prop_assert_eq!(controls.len(), pinged);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let (data, controls, error) = decode(pieces(&bytes, &cuts));
        prop_assert!(data.len() <= bytes.len());
        let whole = decode([&*bytes]);
        prop_assert_eq!((data, controls, error), whole);
    }
}
