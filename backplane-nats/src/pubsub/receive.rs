use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use async_nats::{Message, Statistics, Subscriber};
use backplane_core::{ByteSize, LinkError, wire::Inbound};
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use tokio::{sync::mpsc, task};

/// The most that may have been read from the socket and not yet been delivered: what a server by
/// default keeps for a connection. The client library reads on however far behind its reader is,
/// and bounds what waits by number alone.
const BACKLOG: ByteSize = ByteSize::mib(64);

/// Smaller payloads are copied. They come as slices of a read buffer of 64 KiB, and queues that are
/// bounded by bytes would hold many times of what they count.
const COPIED: usize = 16 * 1024;

/// What the protocol adds to a message, about.
const AROUND: u64 = 24;

/// The way from the client library's queues to the node. Used by one task.
pub(super) struct Inflow {
    inbound: Inbound,
    statistics: Arc<Statistics>,
    /// How much had been read when everything read was last delivered.
    caught_up: AtomicU64,
    /// How much was delivered since then.
    delivered: AtomicU64,
    /// How many deliveries have given way to others, and may have more.
    yielding: AtomicUsize,
    /// Whether anything may wait.
    is_behind: AtomicBool,
    /// What the probe had proven when it began to.
    proven: Mutex<Option<Instant>>,
}

impl Inflow {
    pub(super) fn new(inbound: Inbound, statistics: Arc<Statistics>) -> Self {
        Self {
            inbound,
            statistics,
            caught_up: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            yielding: AtomicUsize::new(0),
            is_behind: AtomicBool::new(false),
            proven: Mutex::default(),
        }
    }

    /// The last instant from before which nothing can wait here: a probe has a queue of its own, and overtakes.
    /// None while nothing waits.
    pub(super) fn proven(&self) -> Option<Instant> {
        *self.lock_proven()
    }

    fn lock_proven(&self) -> MutexGuard<'_, Option<Instant>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, message: Message) {
        // Before the message, which may be the probe.
        if !self.is_behind.load(Ordering::Relaxed) {
            *self.lock_proven() = Some(self.inbound.proven());
            self.is_behind.store(true, Ordering::Relaxed);
        }
        let size = message.length as u64 + AROUND;
        self.inbound.frame(kept(message.payload));
        let delivered = self.delivered.load(Ordering::Relaxed) + size;
        self.delivered.store(delivered, Ordering::Relaxed);
        let handled = self.caught_up.load(Ordering::Relaxed) + delivered;
        if self.read().saturating_sub(handled) > BACKLOG.as_u64() {
            let reason = format!("this node reads too slowly: {BACKLOG} wait to be delivered");
            self.inbound.lost(LinkError::Lost { reason });
        }
    }

    fn read(&self) -> u64 {
        self.statistics.in_bytes.load(Ordering::Relaxed)
    }

    /// Nothing waited any more when this much had been read, unless a delivery has only given way to others.
    fn caught_up(&self, read: u64) {
        if self.yielding.load(Ordering::Relaxed) > 0 {
            return;
        }
        self.caught_up.store(read, Ordering::Relaxed);
        self.delivered.store(0, Ordering::Relaxed);
        // Once the node has given the connection up, what waited is gone, and not delivered.
        if self.is_behind.load(Ordering::Relaxed) && !self.inbound.is_over() {
            self.is_behind.store(false, Ordering::Relaxed);
            *self.lock_proven() = None;
        }
    }
}

impl fmt::Debug for Inflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflow").field("inbound", &self.inbound).finish_non_exhaustive()
    }
}

/// What may be kept of a payload without holding on to much more.
pub(crate) fn kept(payload: Bytes) -> Bytes {
    if payload.len() < COPIED { Bytes::copy_from_slice(&payload) } else { payload }
}

/// One topic's messages on their way to the node. Ready when there will be no more.
#[derive(Debug)]
pub(super) struct Delivery {
    subscriber: Subscriber,
    stop: AbortHandle,
    inflow: Arc<Inflow>,
    /// It has given way to others, and may have more.
    yields: bool,
}

impl Delivery {
    pub(super) const fn new(
        subscriber: Subscriber,
        stop: AbortHandle,
        inflow: Arc<Inflow>,
    ) -> Self {
        Self { subscriber, stop, inflow, yields: false }
    }

    fn set_yields(&mut self, yields: bool) {
        match (self.yields, yields) {
            (false, true) => _ = self.inflow.yielding.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.inflow.yielding.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
        self.yields = yields;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.set_yields(false);
    }
}

impl Future for Delivery {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.set_yields(false);
        loop {
            let Poll::Ready(next) = Pin::new(&mut self.subscriber).poll_next(context) else {
                self.set_yields(!task::coop::has_budget_remaining());
                return Poll::Pending;
            };
            let Some(message) = next else { break };
            // Looked at for each message: a new subscription of the topic may deliver already.
            if self.stop.is_aborted() {
                break;
            }
            self.inflow.deliver(message);
        }
        Poll::Ready(())
    }
}

/// Reads all subscriptions of a connection in one task. Those with messages take turns; within one,
/// the order is kept.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) added: mpsc::Receiver<Vec<Abortable<Delivery>>>,
    pub(super) inflow: Arc<Inflow>,
}

impl Reader {
    /// Ends with the session; dropping it unsubscribes everything.
    pub(super) async fn run(mut self) {
        let mut deliveries = FuturesUnordered::new();
        loop {
            tokio::select! {
                added = self.added.recv() => match added {
                    Some(added) => deliveries.extend(added),
                    None => return,
                },
                // Given up, or at the end of the connection, which is reported elsewhere.
                () = one_ends(&mut deliveries, &self.inflow) => {}
            }
        }
    }
}

/// Delivers until a subscription ends.
async fn one_ends(deliveries: &mut FuturesUnordered<Abortable<Delivery>>, inflow: &Inflow) {
    std::future::poll_fn(|context| {
        let read = inflow.read();
        match deliveries.poll_next_unpin(context) {
            Poll::Ready(Some(_)) => Poll::Ready(()),
            // There are none.
            Poll::Ready(None) => Poll::Pending,
            Poll::Pending => {
                inflow.caught_up(read);
                Poll::Pending
            }
        }
    })
    .await;
}
