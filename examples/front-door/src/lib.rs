//! A load balancer without memory, for examples: each *request* goes to the next node, whoever it comes from
//! and whichever connection it comes by. What works behind it needs no sticky sessions.
//!
//! A node that takes no connection is passed over. WebSockets and answers that never end go through.

mod pass;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Listens on `address` and passes requests on to `nodes` in turn, for as long as the process runs. Returns
/// where it listens.
///
/// # Errors
///
/// It cannot listen there.
pub async fn open(address: SocketAddr, nodes: Vec<SocketAddr>) -> io::Result<SocketAddr> {
    let listener = listen(address).await?;
    let bound = listener.local_addr()?;
    let nodes = Arc::new(Nodes { addresses: nodes, next: AtomicUsize::new(0) });
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((visitor, _)) => drop(tokio::spawn(serve(visitor, Arc::clone(&nodes)))),
                // For example too many open files: those that are open go on.
                Err(error) => tracing::warn!(%error, "the front door could not take a connection"),
            }
        }
    });
    Ok(bound)
}

/// Listens on `address`, or says what to do about it.
///
/// # Errors
///
/// It cannot listen there.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
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

async fn serve(visitor: tokio::net::TcpStream, nodes: Arc<Nodes>) {
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
