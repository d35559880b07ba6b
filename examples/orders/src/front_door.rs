//! A load balancer without memory: each new TCP connection goes to the next node.

use std::{io, net::SocketAddr};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// Listens on `address` and passes connections on to `nodes` in turn.
pub(crate) async fn open(address: SocketAddr, nodes: Vec<SocketAddr>) -> io::Result<SocketAddr> {
    let listener = listen(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        for node in nodes.iter().copied().cycle() {
            match listener.accept().await {
                Ok((visitor, _)) => drop(tokio::spawn(pass_on(visitor, node))),
                // For example too many open files: those that are open go on.
                Err(error) => tracing::warn!(%error, "the front door could not take a connection"),
            }
        }
    });
    Ok(bound)
}

async fn pass_on(mut visitor: TcpStream, node: SocketAddr) {
    let passed = async {
        let mut node = TcpStream::connect(node).await?;
        node.set_nodelay(true)?;
        visitor.set_nodelay(true)?;
        copy_bidirectional(&mut visitor, &mut node).await
    };
    if let Err(error) = passed.await {
        tracing::debug!(%node, %error, "a connection through the front door ended");
    }
}

/// Listens on `address`, or says what to do about it.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let reason = format!("cannot listen on {address}: {error}; choose another with --listen");
        io::Error::new(error.kind(), reason)
    })
}
