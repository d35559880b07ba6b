//! Connections of plain bytes: negotiated and carried as a hub's are, without its handshake and messages.

use std::{fmt, future::Future, future::poll_fn, io, mem, sync::Arc, time::Duration};

use axum::Router;
use backplane_hub::{ConnectionId, Hub, User};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, join},
};
use tokio::{sync::oneshot, time::timeout};
use tracing::Instrument;

use crate::{
    ConnectionRequest, Options, Transport,
    carrier::{Carrier, Over, Turn},
    endpoint::Endpoint,
    router::routes,
    session::Admission,
    websocket::NORMAL,
};

/// The routes of connections of plain bytes, to be nested under their path. `serve` runs for each of
/// them; with the [`RawConnection`] that it is given, the connection ends.
///
/// ```
/// # use backplane_signalr::{Options, RawConnection, raw_router};
/// /// Sends back whatever comes.
/// async fn echo(mut connection: RawConnection) {
///     while let Some(bytes) = connection.receive().await {
///         if connection.send(bytes).await.is_err() {
///             return;
///         }
///     }
/// }
/// # fn app(orders: &backplane_hub::Hub) -> axum::Router {
/// axum::Router::new().nest("/echo", raw_router(orders, Options::new(), echo))
/// # }
/// ```
///
/// Requests are let in, and tokens granted across nodes, as those of `hub` are; its clients and groups
/// know nothing of these connections. Of the options, what is about messages, calls and pings is not
/// used.
pub fn raw_router<S, F>(
    hub: &Hub,
    options: Options,
    serve: impl Fn(RawConnection) -> F + Send + Sync + 'static,
) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let serve = Serve(Arc::new(move |connection| serve(connection).boxed()));
    routes(Endpoint { serve: Some(serve), ..Endpoint::new(hub.clone(), options) })
}

/// What an application does with such connections.
#[derive(Clone)]
pub(crate) struct Serve(Arc<dyn Fn(RawConnection) -> BoxFuture<'static, ()> + Send + Sync>);

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serve")
    }
}

/// A connection of plain bytes, which ends when it is dropped. What was sent before still goes out.
///
/// Nothing pings: a WebSocket that fails without a word is noticed by what is sent.
pub struct RawConnection {
    id: ConnectionId,
    user: Option<User>,
    request: ConnectionRequest,
    send_timeout: Duration,
    binary: bool,
    /// `None` once nothing more can come or go.
    carrier: Option<Carrier>,
    /// Who ends the connection, with all due respect to its client.
    ended: Option<oneshot::Sender<Ended>>,
}

/// What was to be sent has not gone out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RawSendError {
    /// The client has ended the connection, or has stayed away for too long.
    #[error("the client has ended the connection")]
    Ended,
    /// The connection failed.
    #[error("the connection failed")]
    Lost(#[source] io::Error),
    /// The client did not take it within [`Options::send_timeout`].
    #[error("the client did not take it in time")]
    Timeout,
    /// Text frames and server-sent events carry no other bytes. The connection goes on.
    #[error(
        "the bytes are no UTF-8: call RawConnection::set_binary for WebSockets, and leave server-sent events out"
    )]
    NotText,
}

/// What is left of a connection.
struct Ended {
    carrier: Carrier,
    /// Whether the client ended it.
    by_client: bool,
}

impl RawConnection {
    /// The connection's id.
    #[must_use]
    pub const fn id(&self) -> &ConnectionId {
        &self.id
    }

    /// Who it belongs to; `None` for anonymous users.
    #[must_use]
    pub const fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The request that it began with.
    #[must_use]
    pub const fn request(&self) -> &ConnectionRequest {
        &self.request
    }

    /// Sends what comes next as binary WebSocket messages, or as text, which it is at first.
    pub fn set_binary(&mut self, binary: bool) {
        self.binary = binary;
    }

    /// The next bytes of the client, or `None` once it has ended the connection. They are a stream:
    /// where one of its messages ends is not told, and a piece may end within a character.
    ///
    /// Cancel-safe.
    pub async fn receive(&mut self) -> Option<Bytes> {
        match self.carrier.as_mut()?.read().await {
            Ok(bytes) => Some(bytes),
            Err(over) => {
                self.over(over);
                None
            }
        }
    }

    /// Sends one message, and returns when the network, or the response of a client that polls, has
    /// taken it.
    ///
    /// When it is cancelled, the message may still go out.
    ///
    /// # Errors
    ///
    /// Those of [`RawSendError`]. All but `NotText` are the end of the connection.
    pub async fn send(&mut self, message: impl Into<Bytes>) -> Result<(), RawSendError> {
        let message = message.into();
        let Some(carrier) = &mut self.carrier else { return Err(RawSendError::Ended) };
        let transport = carrier.transport();
        let is_text = match transport {
            Transport::WebSockets => !self.binary,
            Transport::ServerSentEvents => true,
            Transport::LongPolling => false,
        };
        if is_text && std::str::from_utf8(&message).is_err() {
            return Err(RawSendError::NotText);
        }
        // A client that polls comes when it likes: one that stays away is noticed otherwise.
        let longest =
            if transport == Transport::LongPolling { Duration::MAX } else { self.send_timeout };
        match timeout(longest, write(carrier, message, self.binary)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(over)) => Err(self.over(over)),
            Err(_) => {
                // It takes nothing, not even the end.
                self.carrier = None;
                Err(RawSendError::Timeout)
            }
        }
    }

    /// The client has gone.
    fn over(&mut self, over: Over) -> RawSendError {
        tracing::debug!(?over, "a raw connection is over");
        let carrier = self.carrier.take();
        match over {
            Over::Lost(error) => RawSendError::Lost(error),
            Over::Closed { .. } => {
                self.end(carrier, true);
                RawSendError::Ended
            }
            Over::Malformed(_) => {
                self.end(carrier, false);
                RawSendError::Ended
            }
        }
    }

    fn end(&mut self, carrier: Option<Carrier>, by_client: bool) {
        if let (Some(carrier), Some(ended)) = (carrier, self.ended.take()) {
            // Whoever waits for it is gone only with the whole runtime.
            drop(ended.send(Ended { carrier, by_client }));
        }
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        let carrier = mem::take(&mut self.carrier);
        self.end(carrier, false);
    }
}

impl fmt::Debug for RawConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawConnection").field("id", &self.id).finish_non_exhaustive()
    }
}

async fn write(carrier: &mut Carrier, message: Bytes, binary: bool) -> Result<(), Over> {
    while carrier.is_writing() {
        turn(carrier).await?;
    }
    carrier.set_binary(binary);
    carrier.send_one(message);
    while carrier.has_unsent() {
        turn(carrier).await?;
    }
    Ok(())
}

async fn turn(carrier: &mut Carrier) -> Result<(), Over> {
    match poll_fn(|context| carrier.poll_turn(context, false)).await {
        Turn::Over(over) => Err(over),
        Turn::Read(_) | Turn::Written => Ok(()),
    }
}

/// Serves a client until both sides are done.
pub(crate) async fn run(carrier: Carrier, admission: Admission, serve: Serve) {
    let Admission { endpoint, id, standing, registration, request, .. } = admission;
    let user = standing.as_ref().map(|standing| standing.user());
    // Endpoint::admission keeps it for all of these.
    let Some(request) = request else { return };
    let span = tracing::debug_span!("raw connection", hub = endpoint.hub.name(), %id);
    let (sender, ended) = oneshot::channel();
    let connection = RawConnection {
        id,
        user,
        request: ConnectionRequest::new(request),
        send_timeout: endpoint.options.send_timeout,
        binary: false,
        carrier: Some(carrier),
        ended: Some(sender),
    };
    let end = async {
        if let Ok(ended) = ended.await {
            end(ended, &endpoint.options).await;
        }
        drop(registration);
    };
    join((serve.0)(connection), end).instrument(span).await;
}

async fn end(ended: Ended, options: &Options) {
    let Ended { mut carrier, by_client } = ended;
    if !by_client {
        match timeout(options.send_timeout, carrier.finish(Vec::new(), NORMAL)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "the end was not sent"),
            Err(_) => tracing::debug!("the end was not sent in time"),
        }
    }
    carrier.linger(options.close_timeout).await;
}
