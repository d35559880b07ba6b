use futures_util::task::noop_waker;
use proptest::prelude::*;

use super::*;

/// A stream that takes as much at a time as it is told, and nothing (0) for a while.
struct Reluctant {
    appetite: std::iter::Cycle<std::vec::IntoIter<usize>>,
    vectored: bool,
    taken: Vec<u8>,
    calls: usize,
}

impl Reluctant {
    fn new(appetite: Vec<usize>, vectored: bool) -> Self {
        Self { appetite: appetite.into_iter().cycle(), vectored, taken: Vec::new(), calls: 0 }
    }
}

impl AsyncWrite for Reluctant {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.calls += 1;
        let most = self.appetite.next().unwrap();
        if most == 0 {
            return Poll::Pending;
        }
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let count = all.len().min(most);
        self.taken.extend_from_slice(&all[..count]);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads frames as a client does: their first byte and their payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        let wide = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let (extended, rest) = rest.split_at(wide);
        let length = match wide {
            0 => usize::from(*length),
            _ => extended.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        let (payload, rest) = rest.split_at(length);
        frames.push((*kind, payload.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    frames
}

fn poll(writer: &mut Writer, stream: &mut Reluctant) -> Poll<io::Result<()>> {
    writer.poll_write(&mut Context::from_waker(&noop_waker()), stream)
}

fn texts(lengths: &[usize]) -> Vec<Bytes> {
    lengths.iter().map(|&length| "x".repeat(length).into()).collect()
}

#[test]
fn a_batch_is_one_write() {
    let mut stream = Reluctant::new(vec![usize::MAX], true);
    let mut writer = Writer::default();
    writer.start(&mut texts(&[200; AT_ONCE]));
    assert!(poll(&mut writer, &mut stream).is_ready());
    assert_eq!(stream.calls, 1);
    assert_eq!(frames(&stream.taken).len(), AT_ONCE);
}

#[test]
fn nothing_is_kept_when_all_is_written() {
    let mut stream = Reluctant::new(vec![usize::MAX], true);
    let mut writer = Writer::default();
    writer.start(&mut texts(&[100_000; 100]));
    writer.take(vec![0x8a, 0]);
    assert!(poll(&mut writer, &mut stream).is_ready());
    assert!(!writer.is_writing());
    assert_eq!((writer.batch.capacity(), writer.control.capacity()), (0, 0));
}

#[test]
fn what_is_no_text_is_dropped() {
    let mut stream = Reluctant::new(vec![usize::MAX], true);
    let mut writer = Writer::default();
    writer.start(&mut vec![Bytes::from_static(b"\xff"), "good".into()]);
    assert!(poll(&mut writer, &mut stream).is_ready());
    assert_eq!(frames(&stream.taken), [(0x81, b"good".to_vec())]);
    writer.start(&mut vec![Bytes::from_static(b"\xff")]);
    assert!(!writer.is_writing());
    writer.set_binary(true);
    writer.start(&mut vec![Bytes::from_static(b"\xff")]);
    assert!(poll(&mut writer, &mut stream).is_ready());
    assert!(stream.taken.ends_with(&[0x82, 1, 0xff]));
}

#[test]
fn a_stream_that_takes_nothing_is_an_error() {
    struct Full;

    impl AsyncWrite for Full {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    let mut writer = Writer::default();
    writer.start(&mut texts(&[1]));
    let outcome = writer.poll_write(&mut Context::from_waker(&noop_waker()), &mut Full);
    assert!(matches!(outcome, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WriteZero));
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0_usize..300, Just(125), Just(126), Just(65_535), Just(65_536), 0_usize..70_000]
}

proptest! {
    #[test]
    fn frames_arrive_whole_and_in_order_however_the_stream_takes_them(
        lengths in prop::collection::vec(length(), 0..70),
        mut appetite in prop::collection::vec(0_usize..70_000, 1..20),
        controls in prop::collection::vec(0_usize..200, 0..5),
        vectored in any::<bool>(),
    ) {
        appetite.push(3000);
        let mut stream = Reluctant::new(appetite, vectored);
        let mut writer = Writer::default();
        writer.start(&mut texts(&lengths));
        let mut polls = 0;
        let mut due = controls.clone();
        loop {
            if due.contains(&polls) {
                writer.take(vec![0x8a, 1, b'p']);
            }
            due.retain(|at| *at > polls);
            polls += 1;
            if poll(&mut writer, &mut stream).is_ready() && due.is_empty() {
                break;
            }
        }
        let (pongs, found): (Vec<_>, Vec<_>) =
            frames(&stream.taken).into_iter().partition(|(kind, _)| *kind == 0x8a);
        let found: Vec<usize> = found.iter().map(|(_, payload)| payload.len()).collect();
        prop_assert_eq!(found, lengths);
        let mut distinct = controls;
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(pongs.len(), distinct.len());
    }
}
