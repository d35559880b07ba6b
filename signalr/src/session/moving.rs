//! A session that goes to another node, or lets its client go there.

use std::{sync::Arc, time::Duration};

use backplane_hub::{Connection, Left, NodeId};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{Open, calls::Answers, finish, running::Running};
use crate::{
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

/// Hands the session over. Whether the other node has it; if not, it goes on here.
pub(super) async fn hand_over(
    open: &mut Open,
    running: &mut Running,
    reply: oneshot::Sender<Frozen>,
) -> bool {
    open.socket = Carrier::Away;
    let hub = open.connection.freeze();
    let mut queued = Vec::new();
    while let Some(1..) = open.outbound.receive(&mut queued, usize::MAX).now_or_never() {}
    let Some(stateful) = &mut open.stateful else { return false };
    queued.into_iter().for_each(|message| stateful.buffer.keep(message));
    let waiting = open.waiting.as_deref().and_then(|waiting| waiting.write(open.codec));
    let luggage = Luggage::encode(&hub, &stateful.buffer, waiting.as_ref());
    let (settle, settled) = oneshot::channel();
    let moved = match reply.send(Frozen { luggage, settle }) {
        Ok(()) => {
            let settled = settled.map(|settled| settled.unwrap_or(false));
            running.alongside(settled, |answer| open.connection.reply(answer)).await
        }
        Err(_) => false,
    };
    if !moved {
        open.connection.thaw();
    }
    moved
}

/// Leaves a session that the other node has: what still comes is sent on for a while.
pub(super) async fn leave(
    open: Open,
    mut running: Running,
    registration: Option<Registration>,
    endpoint: &Endpoint,
    to: NodeId,
) {
    let Open { connection, codec, .. } = open;
    let id = connection.id().clone();
    tracing::debug!(node = %to, "another node has the connection");
    registration.into_iter().for_each(Registration::hand_over);
    endpoint.owners.note(&id, to);
    let left = connection.leave();
    let most = relayed::piece(&endpoint.hub, relayed::POST_PIECE);
    let began = Instant::now();
    loop {
        let calls = endpoint.options.disconnect_timeout.max(LATE);
        let until = began + if running.is_empty() { LATE } else { calls };
        let arrived = timeout_at(until, left.arrived(most));
        match running.alongside(arrived, |answer| left.connection().reply(answer)).await {
            Ok(arrived) => send_on(&mut running, &left, endpoint, to, arrived).await,
            Err(_) => break,
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
