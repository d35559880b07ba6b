//! A load balancer without memory, for examples: each *request* goes to the next node, whoever it comes from
//! and whichever connection it comes by. What works behind it needs no sticky sessions.
//!
//! A node that takes no connection is passed over, and so is one that answers 503 to a request without a body,
//! as nodes do that are about to be replaced. WebSockets and answers that never end go through.
//!
//! A program of one command [places](place) its nodes, [serves](serve) each, and [opens](open) the door. Nodes
//! that are processes of their own stand behind the program of this crate:
//!
//! ```text
//! cargo run --release -p front-door -- --listen 127.0.0.1:8080 127.0.0.1:8081 127.0.0.1:8082
//! ```

mod pass;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, serve::ListenerExt};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, signal};

/// Where node `number` of `nodes`, counted from 1, is to listen: a single one on the address of the door, which
/// it needs none of; others on the ports above. Port 0 is any free one.
///
/// # Errors
///
/// There are not as many ports above.
pub fn place(door: SocketAddr, nodes: u16, number: u16) -> io::Result<SocketAddr> {
    let mut address = door;
    if nodes > 1 && door.port() != 0 {
        let port = door.port().checked_add(number).ok_or_else(|| {
            let reason = format!(
                "{door} leaves no ports above it for the nodes; choose another with --listen"
            );
            io::Error::new(io::ErrorKind::InvalidInput, reason)
        })?;
        address.set_port(port);
    }
    Ok(address)
}

/// Serves a node on `address`, for as long as the process runs. Returns where it listens.
///
/// # Errors
///
/// It cannot listen there.
pub async fn serve(address: SocketAddr, node: Router) -> io::Result<SocketAddr> {
    let listener = listen(address).await?;
    let bound = listener.local_addr()?;
    // A message is small, and nobody should wait for it to have company.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
    });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, node).await {
            tracing::error!(%error, "the node stopped serving");
        }
    });
    Ok(bound)
}

/// Listens on `address` and passes requests on to `nodes` in turn, for as long as the process runs. Returns
/// where it listens: of a single node, where that does.
///
/// # Errors
///
/// It cannot listen there.
pub async fn open(address: SocketAddr, nodes: Vec<SocketAddr>) -> io::Result<SocketAddr> {
    if let [single] = nodes[..] {
        return Ok(single);
    }
    let listener = listen(address).await?;
    let bound = listener.local_addr()?;
    let nodes = Arc::new(Nodes { addresses: nodes, next: AtomicUsize::new(0) });
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((visitor, _)) => drop(tokio::spawn(attend(visitor, Arc::clone(&nodes)))),
                // For example too many open files: those that are open go on.
                Err(error) => tracing::warn!(%error, "the front door could not take a connection"),
            }
        }
    });
    Ok(bound)
}

/// Waits until the process is asked to stop: by Ctrl-C, or by whoever replaces it.
///
/// # Errors
///
/// Nobody can ask it.
pub async fn asked_to_stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        tokio::select! {
            asked = signal::ctrl_c() => asked,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await
}

/// Listens on `address`, or says what to do about it.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let reason = format!("cannot listen on {address}: {error}; choose another with --listen");
        io::Error::new(error.kind(), reason)
    })
}

/// The nodes, and whose turn it is.
#[derive(Debug)]
struct Nodes {
    addresses: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl Nodes {
    /// All nodes, beginning with the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = SocketAddr> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.addresses.len();
        (0..count).map(move |at| self.addresses[(first + at) % count])
    }
}

async fn attend(visitor: tokio::net::TcpStream, nodes: Arc<Nodes>) {
    if let Err(error) = visitor.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let pass = service_fn(move |request| {
        let nodes = Arc::clone(&nodes);
        async move { Ok::<_, hyper::Error>(pass::pass(request, nodes.in_turn()).await) }
    });
    let served =
        http1::Builder::new().serve_connection(TokioIo::new(visitor), pass).with_upgrades();
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the front door ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_listen_above_the_door() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(place(at(80), 1, 1).unwrap(), at(80));
        assert_eq!(place(at(80), 3, 2).unwrap(), at(82));
        assert_eq!(place(at(0), 3, 2).unwrap(), at(0));
        let refused = place(at(65535), 2, 1).unwrap_err();
        assert!(refused.to_string().contains("--listen"), "{refused}");
    }
}
