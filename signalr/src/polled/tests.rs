use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, poll};

use super::{Events, Loan, Polled, PolledConnection, PolledSocket, PostError};
use crate::{
    Transport,
    carrier::{Over, Turn},
};

const LONG: Duration = Duration::from_secs(90);
const SECOND: Duration = Duration::from_secs(1);

fn connection(transport: Transport) -> (Arc<PolledConnection>, PolledSocket) {
    let connection = Arc::new(PolledConnection::new(transport));
    let socket = PolledSocket::new(Arc::clone(&connection), 15 * SECOND);
    (connection, socket)
}

async fn turn(socket: &mut PolledSocket) -> Turn {
    poll_fn(|context| socket.poll_turn(context, true)).await
}

/// The next bytes.
async fn read(socket: &mut PolledSocket) -> Bytes {
    loop {
        match turn(socket).await {
            Turn::Read(bytes) => return bytes,
            Turn::Written => {}
            over @ Turn::Over(_) => panic!("{over:?}"),
        }
    }
}

/// That the client has ended the connection, or is taken to have.
async fn closes(socket: &mut PolledSocket) {
    let closed = async { while !matches!(turn(socket).await, Turn::Over(Over::Closed { .. })) {} };
    tokio::time::timeout(1000 * SECOND, closed).await.expect("closed");
}

fn of(length: usize) -> Body {
    Body::from(vec![b'x'; length])
}

#[tokio::test]
async fn a_post_waits_for_room() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    connection.post(of(40_000)).await.expect("room");
    connection.post(of(25_536)).await.expect("just room");
    let mut third = Box::pin(connection.post(of(1)));
    assert!(poll!(&mut third).is_pending());
    let mut fourth = Box::pin(connection.post(of(2)));
    assert!(poll!(&mut fourth).is_pending());
    assert_eq!(read(&mut socket).await.len(), 40_000);
    third.await.expect("room");
    fourth.await.expect("room");
    for length in [25_536, 1, 2] {
        assert_eq!(read(&mut socket).await.len(), length);
    }
}

#[tokio::test]
async fn what_is_larger_than_all_the_room_waits_alone() {
    let (connection, mut socket) = connection(Transport::ServerSentEvents);
    connection.post(of(100_000)).await.expect("room");
    let mut second = Box::pin(connection.post(of(1)));
    assert!(poll!(&mut second).is_pending());
    assert_eq!(read(&mut socket).await.len(), 100_000);
    second.await.expect("room");
}

#[tokio::test]
async fn a_post_that_waits_is_told_of_the_end() {
    for body in
        [of(1), Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>())]
    {
        let (connection, socket) = connection(Transport::LongPolling);
        connection.post(of(70_000)).await.expect("room");
        let mut waiting = Box::pin(connection.post(body));
        assert!(poll!(&mut waiting).is_pending());
        drop(socket);
        assert!(matches!(waiting.await, Err(PostError::Over)));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    let pieces = [Ok("abc"), Err(std::io::Error::other("gone"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    assert!(matches!(connection.post(body).await, Err(PostError::Body(_))));
    assert_eq!(read(&mut socket).await, "abc");
    connection.post(of(1)).await.expect("the next has its turn");
}

#[tokio::test]
async fn only_a_poll_that_waits_is_written_to() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    assert!(socket.is_writing());
    let mut polled = Box::pin(connection.poll(LONG));
    assert!(poll!(&mut polled).is_pending());
    // Whoever waits to write is woken.
    assert!(matches!(turn(&mut socket).await, Turn::Written));
    assert!(!socket.is_writing());
    socket.send(&mut vec!["a".into(), "b".into()]);
    assert!(socket.is_writing());
    assert_eq!(polled.await, Polled::Messages(vec!["a".into(), "b".into()]));
    assert!(socket.is_writing());
}

#[tokio::test]
async fn what_a_lost_poll_did_not_fetch_the_next_one_does() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    let mut lost = Box::pin(connection.poll(LONG));
    assert!(poll!(&mut lost).is_pending());
    socket.send(&mut vec!["a".into()]);
    drop(lost);
    assert_eq!(connection.poll(LONG).await, Polled::Messages(vec!["a".into()]));
}

#[tokio::test]
async fn a_newer_poll_takes_the_place_of_an_older() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    let mut older = Box::pin(connection.poll(LONG));
    assert!(poll!(&mut older).is_pending());
    let mut newer = Box::pin(connection.poll(LONG));
    assert!(poll!(&mut newer).is_pending());
    assert_eq!(older.await, Polled::Superseded);
    assert!(!socket.is_writing());
    socket.send(&mut vec!["a".into()]);
    assert_eq!(newer.await, Polled::Messages(vec!["a".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_poll_does_not_wait_for_ever() {
    let (connection, _socket) = connection(Transport::LongPolling);
    let start = tokio::time::Instant::now();
    assert_eq!(connection.poll(LONG).await, Polled::Nothing);
    assert_eq!(start.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_client_may_stay_away_for_a_while() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        // A poll that waits is not away.
        assert_eq!(connection.poll(LONG).await, Polled::Nothing);
        assert!(matches!(turn(&mut socket).await, Turn::Written));
        let away = tokio::time::timeout(14 * SECOND, turn(&mut socket)).await;
        assert!(away.is_err(), "{away:?}");
    }
    assert_eq!(start.elapsed().as_secs(), 3 * 104);
    closes(&mut socket).await;
    assert_eq!(start.elapsed().as_secs(), 3 * 104 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_of_events_is_never_away() {
    let (connection, mut socket) = connection(Transport::ServerSentEvents);
    let mut events = Events::new(connection);
    let silent = tokio::time::timeout(1000 * SECOND, turn(&mut socket)).await;
    assert!(silent.is_err());
    assert_eq!(events.next().now_or_never(), Some(Some(Ok(":\r\n".into()))));
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_end_is_read() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    let start = tokio::time::Instant::now();
    connection.post(of(3)).await.expect("room");
    connection.hang_up();
    assert_eq!(read(&mut socket).await, "xxx");
    closes(&mut socket).await;
    assert!(start.elapsed().is_zero(), "not only because no poll came");
    assert_eq!(connection.poll(LONG).await, Polled::Over);
}

#[tokio::test(start_paused = true)]
async fn letting_events_go_ends_the_connection_at_once() {
    let (connection, mut socket) = connection(Transport::ServerSentEvents);
    let mut events = Events::new(Arc::clone(&connection));
    assert!(events.next().await.is_some());
    connection.post(of(3)).await.expect("room");
    drop(events);
    closes(&mut socket).await;
    assert!(socket.finish(vec!["last".into()]).await.is_err());
}

#[tokio::test]
async fn events_end_after_the_last_message() {
    let (connection, mut socket) = connection(Transport::ServerSentEvents);
    let mut events = Events::new(connection);
    assert_eq!(events.next().await, Some(Ok(":\r\n".into())));
    socket.send(&mut vec!["a".into()]);
    assert!(socket.is_writing());
    let (finished, event) = futures_util::join!(socket.finish(vec!["b".into()]), events.next());
    finished.expect("taken");
    assert_eq!(event, Some(Ok("data: ab\r\n\r\n".into())));
    let lingering = async {
        let end = events.next().await;
        drop(events);
        end
    };
    let ((), end) = futures_util::join!(socket.linger(LONG), lingering);
    assert_eq!(end, None);
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_told_of_the_end_after_the_last_message() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    let client = async {
        assert_eq!(connection.poll(LONG).await, Polled::Messages(vec!["last".into()]));
        assert_eq!(connection.poll(LONG).await, Polled::Over);
    };
    let server = async {
        socket.finish(vec!["last".into()]).await.expect("taken");
        let start = tokio::time::Instant::now();
        socket.linger(LONG).await;
        assert!(start.elapsed() < LONG);
    };
    futures_util::join!(server, client);
    assert!(matches!(connection.post(of(1)).await, Err(PostError::Over)));
}

#[tokio::test]
async fn nothing_happens_without_a_reason() {
    for transport in [Transport::ServerSentEvents, Transport::LongPolling] {
        let (_connection, mut socket) = connection(transport);
        let idle = poll_fn(|context| Poll::Ready(socket.poll_turn(context, true))).await;
        assert!(idle.is_pending());
    }
}

async fn on_loan(connection: &Arc<PolledConnection>) -> Loan {
    match connection.poll_on_loan(LONG).await {
        Polled::Messages(loan) => loan,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_lent_is_for_the_next_poll_unless_it_is_kept() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    socket.send(&mut vec!["a".into(), "b".into()]);
    let loan = on_loan(&connection).await;
    assert_eq!((loan.batch(), connection.loan(loan.number())), (&"ab".into(), Some("ab".into())));
    // Until that is known, nothing more is written, and nobody is told more.
    assert!(socket.is_writing());
    let mut next = Box::pin(connection.poll(LONG));
    assert!(poll!(&mut next).is_pending());
    socket.send(&mut vec!["c".into()]);
    assert!(poll!(&mut next).is_pending());
    let number = loan.number();
    drop(loan);
    assert_eq!(connection.loan(number), None);
    assert_eq!(next.await, Polled::Messages(vec!["ab".into(), "c".into()]));

    socket.send(&mut vec!["d".into()]);
    let loan = on_loan(&connection).await;
    let mut next = Box::pin(connection.poll(LONG));
    assert!(poll!(&mut next).is_pending());
    loan.keep();
    assert!(!socket.is_writing());
    assert!(poll!(&mut next).is_pending());
    socket.send(&mut vec!["e".into()]);
    assert_eq!(next.await, Polled::Messages(vec!["e".into()]));
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_what_is_lent() {
    let (connection, mut socket) = connection(Transport::LongPolling);
    socket.send(&mut vec!["a".into()]);
    let loan = on_loan(&connection).await;
    {
        let mut finished = Box::pin(socket.finish(vec!["last".into()]));
        assert!(poll!(&mut finished).is_pending());
        drop(loan);
        assert!(poll!(&mut finished).is_pending());
        let told = connection.poll(LONG).await;
        assert_eq!(told, Polled::Messages(vec!["a".into(), "last".into()]));
        finished.await.expect("finished");
    }
    // A client that has hung up waits for nothing.
    socket.send(&mut vec!["b".into()]);
    let _loan = on_loan(&connection).await;
    connection.hang_up();
    assert_eq!(connection.poll(LONG).await, Polled::Over);
}
