//! One request, on to a node and its answer back.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Incoming},
    client::conn::http1,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, net::TcpStream};

type Body = BoxBody<Bytes, hyper::Error>;

/// Asks the first of `nodes` that takes the request.
pub(crate) async fn pass(
    mut request: Request<Incoming>,
    mut nodes: impl Iterator<Item = SocketAddr>,
) -> Response<Body> {
    let visitor = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    // What has a body is sent once.
    let mut body = (!body.is_end_stream()).then(|| body.boxed());
    let once = body.is_some();
    loop {
        let node = match connect(&mut nodes).await {
            Ok(node) => node,
            Err(error) => return refused(&error.to_string()),
        };
        let request = Request::from_parts(parts.clone(), body.take().unwrap_or_else(nothing));
        match ask(node, request).await {
            Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE && !once => {
                tracing::debug!("a node is about to be replaced");
                // The last one's word counts.
                if nodes.size_hint().1 == Some(0) {
                    return answer.map(BodyExt::boxed);
                }
            }
            Ok(mut answer) => {
                if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    let node = hyper::upgrade::on(&mut answer);
                    tokio::spawn(join(visitor, node));
                }
                return answer.map(BodyExt::boxed);
            }
            Err(error) => return refused(&error.to_string()),
        }
    }
}

fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Each request has a connection of its own, so that none is bound to a node by the one before it.
async fn connect(nodes: &mut impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("there are no more nodes");
    for node in nodes {
        match TcpStream::connect(node).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => {
                tracing::debug!(%node, %error, "a node takes no connection");
                failure = error;
            }
        }
    }
    Err(failure)
}

async fn ask(node: TcpStream, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(node)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a node ended");
        }
    });
    sender.send_request(request).await
}

async fn join(visitor: OnUpgrade, node: OnUpgrade) {
    let joined = async {
        let (visitor, node) = tokio::try_join!(visitor, node).map_err(io::Error::other)?;
        copy_bidirectional(&mut TokioIo::new(visitor), &mut TokioIo::new(node)).await
    };
    if let Err(error) = joined.await {
        tracing::debug!(%error, "a WebSocket through the front door ended");
    }
}

fn refused(reason: &str) -> Response<Body> {
    let told = Full::new(Bytes::from(format!("no node answers: {reason}")));
    let mut response = Response::new(told.map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
