//! A session that goes to another node, or lets its client go there.

use std::{sync::Arc, time::Duration};

use backplane_hub::{Connection, End, Left, NodeId};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{Open, calls::Answers, finish, running::Running};
use crate::{
    Options,
    carrier::Carrier,
    endpoint::Endpoint,
    relayed,
    stateful::{Frozen, Luggage},
    table::Registration,
    texts,
    websocket::RESTART,
};

/// How long what arrives late is sent on, at least. While calls run, as long as a client may stay away.
const LATE: Duration = Duration::from_secs(1);

/// How many full queues a session takes along at most: those of the nodes that it has been on lately.
const QUEUES: usize = 2;

/// Lets the client go, which then comes back. The session goes on without it.
pub(super) fn let_go(open: &mut Open, endpoint: &Arc<Endpoint>) {
    let mut socket = std::mem::replace(&mut open.socket, Carrier::Away);
    let endpoint = Arc::clone(endpoint);
    // What it was sent last may still be on its way, for which the session does not wait.
    tokio::spawn(async move {
        finish(&mut socket, Vec::new(), RESTART, &endpoint.options).await;
        socket.linger(endpoint.options.close_timeout).await;
    });
}

/// What has come of a session that another node takes.
pub(super) enum Handed {
    /// The other node has it.
    Over,
    /// It goes on here.
    Back,
    /// Its client has missed too much.
    TooSlow,
}

/// Hands the session over.
pub(super) async fn hand_over(
    open: &mut Open,
    running: &mut Running,
    reply: oneshot::Sender<Frozen>,
    options: &Options,
) -> Handed {
    open.socket = Carrier::Away;
    let hub = open.connection.freeze();
    if open.connection.ended().now_or_never().is_some() {
        // It does not come to life again elsewhere.
        open.connection.thaw();
        return Handed::Back;
    }
    let mut queued = Vec::new();
    while let Some(1..) = open.outbound.receive(&mut queued, usize::MAX).now_or_never() {}
    let Some(stateful) = &mut open.stateful else {
        open.connection.thaw();
        return Handed::Back;
    };
    queued.into_iter().for_each(|message| stateful.buffer.keep(message));
    // What waits moves along each time, whatever the client takes meanwhile.
    let most = open.connection.outbound_bytes().saturating_mul(QUEUES);
    if stateful.buffer.bytes() > options.stateful_buffer.saturating_add(most) {
        open.connection.thaw();
        return Handed::TooSlow;
    }
    let waiting = open.waiting.as_deref().and_then(|waiting| waiting.write(open.codec));
    let luggage = Luggage::encode(&hub, &stateful.buffer, waiting.as_ref());
    let (settle, settled) = oneshot::channel();
    let seat = Arc::clone(&stateful.seat);
    let moved = match reply.send(Frozen { luggage, settle }) {
        Ok(()) => {
            let settled = settled.map(|settled| settled.unwrap_or(false));
            running.alongside(settled, |answer| open.connection.reply(answer)).await
        }
        Err(_) => false,
    };
    if moved {
        return Handed::Over;
    }
    seat.unpack();
    open.connection.thaw();
    Handed::Back
}

/// Leaves a session that the other node has: what still comes is sent on for a while.
pub(super) async fn leave(
    open: Open,
    mut running: Running,
    registration: Option<Registration>,
    endpoint: &Endpoint,
    to: NodeId,
) {
    // What is queued goes along for as long as something may come.
    let Open { connection, codec, outbound: _outbound, .. } = open;
    let id = connection.id().clone();
    tracing::debug!(node = %to, "another node has the connection");
    registration.into_iter().for_each(Registration::hand_over);
    endpoint.owners.note(&id, to);
    let left = connection.leave();
    let most = relayed::piece(&endpoint.hub, relayed::POST_PIECE);
    let began = Instant::now();
    let mut aborted = false;
    loop {
        let calls = endpoint.options.disconnect_timeout.max(LATE);
        let until = began + if running.is_empty() { LATE } else { calls };
        let late = async {
            tokio::select! {
                biased;
                end = left.connection().ended(), if !aborted => Some(Late::End(end)),
                arrived = timeout_at(until, left.arrived(most)) => arrived.ok().map(Late::Arrived),
            }
        };
        match running.alongside(late, |answer| left.connection().reply(answer)).await {
            Some(Late::Arrived(arrived)) => {
                send_on(&mut running, &left, endpoint, to, arrived).await;
            }
            Some(Late::End(end)) => {
                aborted = true;
                if end == End::Aborted {
                    let told = endpoint.abort_on(&id, to);
                    running.alongside(told, |answer| left.connection().reply(answer)).await;
                }
            }
            None => break,
        }
    }
    let answers = Answers { codec, detailed: false };
    for call in running.unanswered() {
        left.connection().reply(answers.error(call, texts::MOVED.to_owned()));
    }
    while let Some(arrived) = left.arrived(most).now_or_never() {
        send_on(&mut running, &left, endpoint, to, arrived).await;
    }
    drop(left);
    // Calls go on to their end all the same.
    running.streams.give_up();
    running.finish().await;
}

/// What happens to a session that another node has.
enum Late {
    Arrived(Bytes),
    /// A call that still runs wants its end.
    End(End),
}

async fn send_on(
    running: &mut Running,
    left: &Left,
    endpoint: &Endpoint,
    to: NodeId,
    arrived: Bytes,
) {
    let connection: &Connection = left.connection();
    let sent = endpoint.send_on(connection.id(), to, arrived);
    running.alongside(sent, |answer| connection.reply(answer)).await;
}
