//! A client's connection from its handshake to its end.

mod calls;
mod clock;
mod ending;
mod inbox;
mod moving;
mod running;
mod serve;
mod streams;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use backplane_hub::{Connection, ConnectionId, End, HubError, Opening, Outbound};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, join},
};
use tokio::time::timeout;
use tracing::Instrument;

pub(crate) use self::inbox::Inbox;
use self::{
    ending::Ending,
    moving::Handed,
    running::Running,
    serve::{Stop, Waiting},
};
use crate::{
    Options,
    carrier::Carrier,
    codec::Codec,
    endpoint::Endpoint,
    handshake::{self, HandshakeError},
    message::Invocation,
    request::Kept,
    standing::Standing,
    stateful::{Buffer, Departure, Seat, Stateful},
    table::Registration,
    websocket::{FAILED, NORMAL},
};

/// Who is let in.
pub(crate) struct Admission {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) id: ConnectionId,
    /// Who it belongs to; `None` for anonymous users.
    pub(crate) standing: Option<Arc<Standing>>,
    /// For as long as the session lives, requests may name it.
    pub(crate) registration: Option<Registration>,
    /// What it began with, where the hub wants it.
    pub(crate) request: Option<Arc<Kept>>,
    /// Where the client finds it that may come back, if it was agreed on.
    pub(crate) seat: Option<Arc<Seat>>,
}

/// Serves a client until it is gone.
pub(crate) async fn run(socket: Carrier, admission: Admission) {
    let hub = admission.endpoint.hub.name();
    let span = tracing::debug_span!("connection", hub, id = %admission.id);
    serve(socket, admission).instrument(span).await;
}

/// An idle connection keeps this future for as long as it lives, and nearly all of them are idle: what
/// comes before and after that is boxed, and larger.
async fn serve(socket: Carrier, mut admission: Admission) {
    let registration = admission.registration.take();
    let endpoint = Arc::clone(&admission.endpoint);
    if let Some(open) = Box::pin(open(socket, admission)).await {
        go_on(open, registration, &endpoint).await;
    }
}

/// Serves a client that another node has served before, and that is about to come back.
pub(crate) async fn resume(open: Open, registration: Registration, endpoint: Arc<Endpoint>) {
    let (hub, id) = (endpoint.hub.name().to_owned(), open.connection.id().clone());
    let span = tracing::debug_span!("connection", hub, %id);
    go_on(open, Some(registration), &endpoint).instrument(span).await;
}

async fn go_on(mut open: Open, registration: Option<Registration>, endpoint: &Arc<Endpoint>) {
    let options = &endpoint.options;
    let mut running = Running::default();
    loop {
        match serve::serve(&mut open, &mut running, options).await {
            Stop::End(ending) => {
                return Box::pin(end(open, running, ending, options)).await;
            }
            Stop::LetGo => moving::let_go(&mut open, endpoint),
            Stop::HandOver(Departure { to, reply }) => {
                let handed = moving::hand_over(&mut open, &mut running, reply, options);
                match Box::pin(handed).await {
                    Handed::Over => {
                        let leaving = moving::leave(open, running, registration, endpoint, to);
                        return Box::pin(leaving).await;
                    }
                    Handed::Back => {}
                    Handed::TooSlow => {
                        let ending = Ending::Hub(End::TooSlow);
                        return Box::pin(end(open, running, ending, options)).await;
                    }
                }
            }
        }
    }
}

/// `on_connected` in progress.
type Starting = BoxFuture<'static, Result<(), HubError>>;

/// A connection whose client and hub have agreed on it.
pub(crate) struct Open {
    socket: Carrier,
    inbox: Inbox,
    connection: Connection,
    outbound: Outbound,
    codec: Codec,
    standing: Option<Arc<Standing>>,
    /// Where the client may come back.
    stateful: Option<Box<Stateful>>,
    /// `on_connected`, until it has run.
    starting: Option<Starting>,
    /// What had no place yet when the session paused.
    waiting: Option<Box<Waiting>>,
}

impl Open {
    /// A connection that this node has taken over, and whose client is not here yet.
    pub(crate) fn taken_over(
        (connection, outbound): (Connection, Outbound),
        codec: Codec,
        standing: Option<Arc<Standing>>,
        stateful: Stateful,
        options: &Options,
    ) -> Self {
        Self {
            socket: Carrier::Away,
            inbox: Inbox::new(options.largest_message),
            connection,
            outbound,
            codec,
            standing,
            stateful: Some(Box::new(stateful)),
            starting: None,
            waiting: None,
        }
    }

    /// With a call of the client's that was counted and has not begun.
    pub(crate) fn waiting_for(self, call: Invocation) -> Self {
        Self { waiting: Some(Box::new(Waiting::Call(call.into()))), ..self }
    }
}

/// Shakes hands with the client, and registers the connection.
async fn open(mut socket: Carrier, admission: Admission) -> Option<Open> {
    let Admission { endpoint, id, standing, request, seat, .. } = admission;
    let options = &endpoint.options;
    let mut inbox = Inbox::new(options.largest_message);
    let shaken = match timeout(options.handshake_timeout, shake(&mut socket, &mut inbox)).await {
        Ok(shaken) => shaken,
        Err(_) => Err(Shy::Refused(HandshakeError::TooLate)),
    };
    let opened = match shaken {
        Ok((codec, version)) => {
            let request = request.map(|request| request as Arc<dyn Any + Send + Sync>);
            let user = standing.as_ref().map(|standing| standing.user());
            let movable = seat.is_some() && version >= handshake::STATEFUL;
            let opening = Opening { id, user, protocol: codec.protocol(), request, movable };
            let opened = endpoint.hub.open(opening).await;
            let opened = opened.map(|opened| (codec, version, opened));
            opened.map_err(|error| Shy::Refused(HandshakeError::Open(error)))
        }
        Err(shy) => Err(shy),
    };
    match opened {
        Ok((codec, version, (connection, outbound))) => {
            if let Some(standing) = &standing {
                standing.opened(&endpoint.hub, connection.id());
            }
            socket.send_one(handshake::GRANTED.clone());
            let stateful = stateful(seat, version, &connection, options);
            let starting = Some(connection.connected().boxed());
            return Some(Open {
                socket,
                inbox,
                connection,
                outbound,
                codec,
                standing,
                stateful,
                starting,
                waiting: None,
            });
        }
        Err(Shy::Gone) => {}
        Err(Shy::Refused(error)) => refuse(&mut socket, options, &error).await,
    }
    socket.linger(options.close_timeout).await;
    None
}

/// What it takes for a client to come back, if it can.
fn stateful(
    seat: Option<Arc<Seat>>,
    version: i32,
    connection: &Connection,
    options: &Options,
) -> Option<Box<Stateful>> {
    let seat = seat?;
    if version < handshake::STATEFUL {
        seat.close();
        return None;
    }
    let buffer = Buffer::new(options.stateful_buffer);
    Some(Box::new(Stateful::new(buffer, seat, connection)))
}

/// Why there is no handshake.
enum Shy {
    Gone,
    Refused(HandshakeError),
}

/// Reads the request, and leaves what comes behind it.
async fn shake(socket: &mut Carrier, inbox: &mut Inbox) -> Result<(Codec, i32), Shy> {
    loop {
        match inbox.next() {
            Ok(Some(request)) => {
                let read = handshake::read(&request, socket.transport());
                let (codec, version) = read.map_err(Shy::Refused)?;
                inbox.speak(codec);
                socket.set_binary(codec.is_binary());
                return Ok((codec, version));
            }
            Ok(None) => {}
            Err(_) => return Err(Shy::Refused(HandshakeError::TooLarge)),
        }
        match socket.read().await {
            Ok(piece) => inbox.push(piece),
            Err(_) => return Err(Shy::Gone),
        }
    }
}

/// Tells the client why there is no connection.
async fn refuse(socket: &mut Carrier, options: &Options, error: &HandshakeError) {
    tracing::debug!(error = error as &dyn std::error::Error, "refused a handshake");
    let code = if matches!(error, HandshakeError::Open(_)) { FAILED } else { NORMAL };
    let answer = handshake::refusal(&error.text(options.detailed_errors));
    finish(socket, vec![answer], code, options).await;
}

/// Ends a connection, on both sides.
async fn end(open: Open, mut running: Running, ending: Ending, options: &Options) {
    let Open { mut socket, connection, outbound, codec, stateful, mut starting, .. } = open;
    // Nobody comes back.
    drop(stateful);
    match &ending {
        // Networks fail all the time; a client that breaks the protocol has to be mended.
        Ending::Fault(fault) if fault.is_broken_protocol() => {
            tracing::warn!(error = %fault, "closes a connection");
        }
        ending => tracing::debug!(?ending, "closes a connection"),
    }
    running.streams.give_up();
    // Calls that need not wait for anything are still answered.
    while let Some(Some(answer)) = running.next_answer().now_or_never() {
        answer.into_iter().for_each(|answer| connection.reply(answer));
    }
    // The others go on to their end: a client that hangs up must not leave them half done.
    let parting = part(&mut socket, codec, outbound, &ending, options);
    running.beside(beside_start(&mut starting, parting)).await;
    let lingering = async {
        if !ending.is_cut() {
            socket.linger(options.close_timeout).await;
        }
    };
    let reason = ending.reason();
    let leaving = async {
        if let Some(starting) = starting {
            // It may wait for being told.
            connection.unregister();
            started_late(starting.await);
        }
        connection.disconnected(reason.as_deref()).await;
    };
    running.beside(join(lingering, leaving)).await;
    running.finish().await;
}

/// Awaits `future` while `on_connected` goes on, if it still runs.
async fn beside_start<F: Future>(starting: &mut Option<Starting>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        if let Some(running) = starting
            && let Poll::Ready(outcome) = running.as_mut().poll(context)
        {
            *starting = None;
            started_late(outcome);
        }
        future.as_mut().poll(context)
    })
    .await
}

fn started_late(outcome: Result<(), HubError>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "on_connected failed after the connection had ended");
    }
}

/// Sends what is still queued, and the last message, if the client can get one.
async fn part(
    socket: &mut Carrier,
    codec: Codec,
    mut outbound: Outbound,
    ending: &Ending,
    options: &Options,
) {
    let Some(close) = ending.message(options.detailed_errors) else { return };
    let mut last = Vec::new();
    while let Some(1..) = outbound.receive(&mut last, usize::MAX).now_or_never() {}
    last.push(codec.write(&close));
    finish(socket, last, NORMAL, options).await;
}

async fn finish(socket: &mut Carrier, last: Vec<Bytes>, code: u16, options: &Options) {
    match timeout(options.send_timeout, socket.finish(last, code)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::trace!(%error, "the last message was not sent"),
        Err(_) => tracing::debug!("the last message was not sent in time"),
    }
}
