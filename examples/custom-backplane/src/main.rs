//! A backplane of one's own, whole, in one file: nodes connected by a plain TCP relay.
//!
//! The relay sends every frame to every connection, the sender's too. So there is nothing to
//! subscribe, and a frame that came back is proof that the relay has taken it. `cargo run -p
//! custom-backplane` shows two nodes talk; `cargo test -p custom-backplane` lets the kit judge it.

use std::{io, net::SocketAddr};

use async_trait::async_trait;
use backplane_core::{
    Backplane, ByteSize, Delivery, Durability, Envelope, Filter, LinkError, Node, NodeOptions,
    Order, PublisherOutage, Receipt, Replay, Semantics, SubscriberOutage, Topic, stream,
    wire::{Batch, Frame, Inbound, Refused, Session, Wire},
};
use bytes::{Buf, Bytes};
use futures_util::{SinkExt, StreamExt, stream::iter};
use tokio::{
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    sync::{Mutex, broadcast, watch},
    task::JoinSet,
};
use tokio_util::{
    codec::{FramedRead, FramedWrite, LengthDelimitedCodec},
    task::AbortOnDropHandle,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let _relay = AbortOnDropHandle::new(tokio::spawn(relay(listener)));
    let [kitchen, counter] = [(); 2].map(|()| node(address, NodeOptions::default()));
    let topic = Topic::group("orders", "kitchen");
    let mut orders = stream(&kitchen, std::slice::from_ref(&topic), 16)?;
    orders.subscription().confirmed().await?;
    counter.link().wait_for(|link| link.is_up()).await?;
    let receipt = counter.publish(Envelope::new(topic, "one tea")).await?;
    println!("the counter ordered: {receipt:?}; the kitchen heard: {:?}", orders.next().await);
    Ok(())
}

/// A node on the relay at this address: an ordinary backplane, ready for `Hub::builder`.
pub fn node(relay: SocketAddr, options: NodeOptions) -> Node {
    Node::start(RelayWire(relay), options)
}

/// The relay: what one connection sends, all of them get, in one order.
pub async fn relay(listener: TcpListener) -> io::Result<()> {
    let (frames, _) = broadcast::channel::<Bytes>(16_384);
    let mut connections = JoinSet::new(); // They end with the relay.
    loop {
        let (socket, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let (read, write) = socket.into_split();
        let (everyone, mut mine) = (frames.clone(), frames.subscribe());
        connections.spawn(async move {
            let mut read = FramedRead::new(read, LengthDelimitedCodec::new());
            let mut write = FramedWrite::new(write, LengthDelimitedCodec::new());
            loop {
                tokio::select! {
                    frame = read.next() => match frame {
                        // Sending never fails: this connection listens itself.
                        Some(Ok(frame)) => drop(everyone.send(frame.freeze())),
                        _ => return,
                    },
                    // A connection that lags behind is cut off: its loss is seen as an outage.
                    frame = mine.recv() => match frame {
                        Ok(frame) => if write.send(frame).await.is_err() { return },
                        Err(_) => return,
                    },
                }
            }
        });
    }
}

/// How to connect, and what this transport promises.
#[derive(Debug)]
struct RelayWire(SocketAddr);

#[async_trait]
impl Wire for RelayWire {
    type Session = RelaySession;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtMostOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Accepted,
            durability: Durability::Nothing,
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::LostAndReported,
            replay: Replay::None,
            filter: Filter::Node,
            largest_body: ByteSize::mib(1),
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<RelaySession, LinkError> {
        let socket = TcpStream::connect(self.0).await.map_err(|source| LinkError::Unreachable {
            address: self.0.to_string(),
            source: source.into(),
        })?;
        let (read, write) = socket.into_split();
        let me = getrandom::u64().map_err(lost)?.to_be_bytes();
        let (returned, taken) = watch::channel(0);
        let reader = tokio::spawn(async move {
            let mut read = FramedRead::new(read, LengthDelimitedCodec::new());
            while let Some(Ok(mut frame)) = read.next().await {
                if frame.starts_with(&me) {
                    returned.send_modify(|count| *count += 1);
                }
                frame.advance(me.len().min(frame.len()));
                inbound.frame(frame);
            }
            inbound.lost(lost("the relay hung up"));
        });
        let write = Mutex::new((FramedWrite::new(write, LengthDelimitedCodec::new()), 0));
        Ok(RelaySession { me, write, taken, _reader: AbortOnDropHandle::new(reader) })
    }
}

/// One connection. Dropping it closes the socket and ends the reader.
#[derive(Debug)]
struct RelaySession {
    me: [u8; 8],
    /// The socket and how many frames went into it. A fair lock: first come, first written.
    write: Mutex<(FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>, usize)>,
    taken: watch::Receiver<usize>,
    _reader: AbortOnDropHandle<()>,
}

#[async_trait]
impl Session for RelaySession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let framed = |frame: Frame| Ok(Bytes::from([&self.me[..], &frame.bytes[..]].concat()));
        let frames: Vec<_> = batch.frames().into_iter().map(framed).collect();
        let mut write = self.write.lock().await;
        write.1 += frames.len();
        write.0.send_all(&mut iter(frames)).await.map_err(lost)?;
        let written = write.1;
        drop(write);
        let mut taken = self.taken.clone();
        taken.wait_for(|count| *count >= written).await.map_err(lost)?;
        Ok(Vec::new())
    }
}

fn lost(reason: impl std::fmt::Display) -> LinkError {
    LinkError::Lost { reason: reason.to_string() }
}
