//! With plain TCP: a server that sends everything back.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::*;
use crate::kit::{SOON, within};

const SHORT: Duration = Duration::from_millis(150);

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                // Ends with its client, in whatever way.
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

async fn set_up() -> (FaultProxy, TcpStream) {
    let proxy = FaultProxy::start(&[echo().await], 7).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addresses()[0]).await.unwrap();
    echoes(&mut stream, b"hello").await;
    (proxy, stream)
}

async fn echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut answer = vec![0; text.len()];
    within(SOON, "an echo", stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, text);
}

/// What comes until the end, and how it ends.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, io::Result<usize>) {
    let mut bytes = Vec::new();
    let end = within(SOON, "the end", stream.read_to_end(&mut bytes)).await.unwrap();
    (bytes, end)
}

#[tokio::test]
async fn forwards_whatever_the_size_and_passes_ends_on() {
    let (proxy, mut stream) = set_up().await;
    let large: Vec<u8> = (0..1_000_000_u32).map(|at| at as u8).collect();
    let (mut from, mut to) = stream.split();
    let mut answer = Vec::new();
    let sending = async {
        to.write_all(&large).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(sending, from.read_to_end(&mut answer)).1 };
    within(SOON, "a million bytes", both).await.unwrap().unwrap();
    assert!(answer == large, "{} bytes came back", answer.len());
    drop(stream);
    let empty = async {
        while proxy.count(Which::All) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(SOON, "the end of the connection", empty).await.unwrap();
}

#[tokio::test]
async fn a_cut_closes_and_lets_in_again() {
    let (proxy, mut stream) = set_up().await;
    proxy.cut(Which::All);
    let (bytes, end) = rest(&mut stream).await;
    assert!(bytes.is_empty() && end.is_ok());
    let mut stream = TcpStream::connect(proxy.addresses()[0]).await.unwrap();
    echoes(&mut stream, b"again").await;
}

#[tokio::test]
async fn when_cut_off_connections_are_refused_until_healed() {
    let (proxy, mut stream) = set_up().await;
    proxy.cut_off();
    assert!(rest(&mut stream).await.0.is_empty());
    let refused = async {
        loop {
            match TcpStream::connect(proxy.addresses()[0]).await {
                Err(error) => return error,
                // Taken by the kernel just before nobody listened any more.
                Ok(mut stream) => assert!(rest(&mut stream).await.0.is_empty()),
            }
        }
    };
    let error = within(SOON, "a refusal", refused).await.unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    proxy.heal();
    let back = async {
        loop {
            if let Ok(stream) = TcpStream::connect(proxy.addresses()[0]).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let mut stream = within(SOON, "a listener", back).await.unwrap();
    echoes(&mut stream, b"healed").await;
}

#[tokio::test]
async fn a_reset_is_one() {
    let (proxy, mut stream) = set_up().await;
    proxy.reset(Which::All);
    let (_, end) = rest(&mut stream).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_black_hole_keeps_what_is_underway_and_pushes_back() {
    for direction in Direction::BOTH {
        let (proxy, mut stream) = set_up().await;
        proxy.hold(&[*direction]);
        stream.write_all(b"lost?").await.unwrap();
        let mut answer = [0; 5];
        assert!(timeout(SHORT, stream.read_exact(&mut answer)).await.is_err());
        proxy.heal();
        within(SOON, "what was held", stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"lost?");
    }
    let (proxy, mut stream) = set_up().await;
    proxy.hold(Direction::BOTH);
    let much = vec![0; 64 * 1024 * 1024];
    assert!(timeout(SHORT * 2, stream.write_all(&much)).await.is_err(), "all of it was read");
}

#[tokio::test]
async fn delays_keep_the_order_and_follow_from_the_seed() {
    let (proxy, mut stream) = set_up().await;
    let late = Duration::from_millis(30);
    proxy.delay(Direction::BOTH, late, late);
    let begun = Instant::now();
    let mut sent = Vec::new();
    for number in 0..40_u8 {
        stream.write_all(&[number]).await.unwrap();
        sent.push(number);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut answer = vec![0; sent.len()];
    within(SOON, "late bytes", stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, sent);
    // Of 40 delays each way some are longer than the average.
    assert!(begun.elapsed() >= Duration::from_millis(2 * 39) + late, "{:?}", begun.elapsed());
    proxy.heal();
    echoes(&mut stream, b"in time").await;
}

#[tokio::test]
async fn a_throttle_limits_bytes_per_second() {
    let (proxy, mut stream) = set_up().await;
    proxy.throttle(&[Direction::ToNode], 10_000);
    let begun = Instant::now();
    echoes(&mut stream, &[7; 4_000]).await;
    // The last part comes before its time is counted.
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_truncated_connection_carries_so_many_bytes_and_ends() {
    for direction in Direction::BOTH {
        let (proxy, mut stream) = set_up().await;
        proxy.truncate(&[*direction], 7);
        stream.write_all(b"a frame of some length").await.unwrap();
        let (bytes, end) = rest(&mut stream).await;
        if *direction == Direction::ToNode {
            assert_eq!(bytes, b"a frame");
        }
        assert!(end.is_ok() || direction == &Direction::ToBroker, "{end:?}");
        let mut stream = TcpStream::connect(proxy.addresses()[0]).await.unwrap();
        echoes(&mut stream, b"a frame of some length").await;
    }
}

#[tokio::test]
async fn receiving_connections_are_told_apart() {
    let (proxy, mut publishing) = set_up().await;
    let mut receiving = TcpStream::connect(proxy.addresses()[0]).await.unwrap();
    echoes(&mut receiving, b"*2\r\n$9\r\nSUBSCRIBE\r\n$3\r\nall\r\n").await;
    assert_eq!(
        [Which::All, Which::Receiving, Which::Publishing].map(|it| proxy.count(it)),
        [2, 1, 1]
    );
    proxy.cut(Which::Receiving);
    assert!(rest(&mut receiving).await.0.is_empty());
    echoes(&mut publishing, b"still here").await;
}
