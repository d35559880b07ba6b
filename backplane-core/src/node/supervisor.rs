//! The one task that owns the connection: connect, subscribe what is desired, prove delivery,
//! declare the link up, and start over when it fails, for as long as it takes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Inbound, NodeOptions, Shared,
    outgoing::{Outgoing, Queued},
};
use crate::{
    Link, LinkError,
    wire::{Session, Wire},
};

pub(super) async fn run(
    wire: Arc<impl Wire>,
    options: NodeOptions,
    shared: Arc<Shared>,
    queued: mpsc::Receiver<Queued>,
) {
    let mut outgoing = Outgoing::new(queued, &options);
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = shared.keep_time(&options) => {}
        () = supervise(&*wire, &options, &shared, &mut outgoing) => {}
    }
    shared.outbound.up.store(false, Ordering::Release);
    outgoing.give_up(&shared);
    shared.outbound.close();
    shared.interest.close();
    shared.link.send_replace(Link::Closed);
    shared.ended.cancel();
}

/// Runs connections until the node is closed and everything queued is settled.
async fn supervise(
    wire: &impl Wire,
    options: &NodeOptions,
    shared: &Arc<Shared>,
    outgoing: &mut Outgoing,
) {
    let mut pause = Pause::new(options);
    let mut epoch = 0;
    loop {
        let inbound = Inbound::new(Arc::clone(shared));
        let prepared = async {
            tokio::select! {
                prepared = prepare(wire, &inbound, options, shared, epoch == 0) => prepared,
                lost = inbound.ended() => Err(lost),
            }
        };
        // What is published while there is no connection is kept or refused, as the options say.
        let prepared = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            prepared = prepared => prepared,
            () = outgoing.hold(shared) => return,
        };
        let mut proven = None;
        let cause = match prepared {
            Ok(session) => {
                epoch += 1;
                pause.reset();
                shared.up(epoch);
                match serve(&session, &inbound, options, shared, outgoing).await {
                    Err(cause) => {
                        proven = session.proven();
                        cause
                    }
                    Ok(()) => {
                        shared.take_leave(&session).await;
                        inbound.close();
                        return session.close().await;
                    }
                }
            }
            Err(cause) => cause,
        };
        inbound.close();
        let probed = shared.probes.proven();
        let since = proven.map_or(probed, |proven| proven.min(probed));
        shared.down(since, cause);
        outgoing.abandon(shared);
        shared.sequencer.doubt(false);
        shared.interest.interrupted(since);
        tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            () = tokio::time::sleep(pause.next()) => {}
            () = outgoing.hold(shared) => return,
        }
    }
}

/// A port that keeps silent is often the wrong one, or speaks TLS.
const CONNECTING: &str = "connecting; check host and port, and whether it wants TLS";

/// Connects, subscribes everything desired, and proves that the connection delivers.
async fn prepare<W: Wire>(
    wire: &W,
    inbound: &Inbound,
    options: &NodeOptions,
    shared: &Shared,
    first: bool,
) -> Result<W::Session, LinkError> {
    let waited = options.connect_deadline;
    let session = match tokio::time::timeout(waited, wire.connect(inbound.clone())).await {
        Ok(session) => session?,
        Err(_) => return Err(LinkError::TimedOut { doing: CONNECTING, waited }),
    };
    shared.subscribe_own(&session, options.answer_deadline).await?;
    // Before anything else is subscribed: the others' answers say where they stood before that.
    shared.greet(&session, first).await?;
    shared.subscribe_desired(&session, options.answer_deadline).await?;
    shared.probe(&session, options).await?;
    Ok(session)
}

/// Serves one connection until it fails (`Err`), or until the node is closed and everything queued
/// is sent (`Ok`).
async fn serve(
    session: &impl Session,
    inbound: &Inbound,
    options: &NodeOptions,
    shared: &Shared,
    outgoing: &mut Outgoing,
) -> Result<(), LinkError> {
    tokio::select! {
        biased;
        cause = inbound.ended() => Err(cause),
        cause = shared.keep_probing(session, options) => Err(cause),
        cause = shared.follow_interest(session, options.answer_deadline) => Err(cause),
        cause = shared.catch_up(session) => Err(cause),
        outcome = outgoing.write(session, shared, options.answer_deadline) => outcome,
    }
}

impl Shared {
    /// Says `Restored` once what the log held has arrived; ends with the connection.
    async fn catch_up(&self, session: &impl Session) -> LinkError {
        if let Err(cause) = session.caught_up().await {
            return cause;
        }
        self.sequencer.caught_up();
        self.restore();
        std::future::pending().await
    }

    fn up(&self, epoch: u64) {
        self.counters.connections.add(1);
        self.outbound.up.store(true, Ordering::Release);
        // Before the link's state: whoever awaits that may rely on the sinks having heard.
        self.sequencer.link_up(self.now());
        self.restore();
        self.link.send_replace(Link::Up { epoch });
        tracing::info!(node = %self.id, epoch, "the backplane is up");
    }

    fn down(&self, since: Instant, cause: LinkError) {
        // Told loudly once, not at every attempt.
        if matches!(&*self.link.borrow(), Link::Down { .. }) {
            tracing::debug!(node = %self.id, %cause, "the backplane is still down");
        } else {
            tracing::warn!(node = %self.id, %cause, "the backplane is down");
        }
        self.link.send_replace(match cause {
            LinkError::Mute { .. } => Link::Muted { since },
            cause => Link::Down { since, cause: Arc::new(cause) },
        });
        // After the link's state, which tells publishers why.
        self.outbound.up.store(false, Ordering::Release);
    }
}

/// The pause before the next attempt: doubling, bounded, and drawn at random, so that many nodes do
/// not come back in step.
#[derive(Debug)]
pub(super) struct Pause {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Pause {
    pub(super) const fn new(options: &NodeOptions) -> Self {
        Self {
            shortest: options.shortest_pause,
            longest: options.longest_pause,
            next: options.shortest_pause,
        }
    }

    pub(super) const fn reset(&mut self) {
        self.next = self.shortest;
    }

    pub(super) fn next(&mut self) -> Duration {
        let whole = self.next.min(self.longest);
        self.next = whole.saturating_mul(2);
        // Without randomness the pause is merely not spread.
        let share = getrandom::u32().map_or(1.0, |bits| f64::from(bits) / f64::from(u32::MAX));
        whole.mul_f64(0.5 + share / 2.0)
    }
}
