use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::sync::mpsc;

use super::{Batch, Shared, publish::LANES};
use crate::{
    Envelope, LinkError, PublishError, Receipt,
    wire::{Refused, Session},
};

/// The most envelopes in one batch: enough to make the round trip cheap, small enough to keep
/// memory and latency low.
const BATCH: usize = 1024;

/// The most batches between writing and the broker's answer, so that one is on its way while the
/// next is encoded.
const IN_FLIGHT: usize = 2;

/// An accepted envelope on its way to the wire.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) envelope: Envelope,
    pub(super) lane: usize,
    pub(super) number: u64,
    pub(super) permits: u32,
}

/// What is needed to tell a publisher the outcome.
#[derive(Debug, Clone, Copy)]
struct Mark {
    lane: usize,
    number: u64,
    permits: u32,
}

/// The supervisor's side of the outgoing queue. Outlives connections.
#[derive(Debug)]
pub(super) struct Outgoing {
    queued: mpsc::Receiver<Queued>,
    in_flight: VecDeque<Vec<Mark>>,
}

impl Outgoing {
    pub(super) const fn new(queued: mpsc::Receiver<Queued>) -> Self {
        Self { queued, in_flight: VecDeque::new() }
    }

    /// Writes what is queued, batch by batch, until the node is closing and everything is answered.
    pub(super) async fn write(
        &mut self,
        session: &impl Session,
        shared: &Shared,
        deadline: Duration,
    ) -> Result<(), LinkError> {
        // Polled in the order of pushing, so batches claim their places in order.
        let mut writes = FuturesOrdered::new();
        let mut taken = Vec::with_capacity(BATCH);
        let mut open = true;
        while open || !writes.is_empty() {
            let has_room = open && writes.len() < IN_FLIGHT;
            tokio::select! {
                biased;
                Some(answer) = writes.next() => {
                    // After an error the batch is still in flight, for `abandon` to settle.
                    let refused: Vec<Refused<usize>> = answer?;
                    let marks = self.in_flight.pop_front().unwrap_or_default();
                    shared.settle(&marks, &refused);
                }
                count = self.queued.recv_many(&mut taken, BATCH), if has_room => {
                    open = count > 0;
                    if open {
                        let batch = self.begin(&mut taken, shared);
                        writes.push_back(answered(session, batch, deadline));
                    }
                }
                () = shared.closing.cancelled(), if !self.queued.is_closed() => self.queued.close(),
            }
        }
        Ok(())
    }

    fn begin(&mut self, taken: &mut Vec<Queued>, shared: &Shared) -> Batch {
        let mut marks = Vec::with_capacity(taken.len());
        let mut envelopes = Vec::with_capacity(taken.len());
        for queued in taken.drain(..) {
            let Queued { envelope, lane, number, permits } = queued;
            marks.push(Mark { lane, number, permits });
            envelopes.push(envelope);
        }
        self.in_flight.push_back(marks);
        shared.outbound.taken();
        shared.counters.write_round_trips.add(1);
        Batch::new(shared.id, envelopes)
    }

    /// The connection is gone: nobody knows what became of the batches in flight.
    pub(super) fn abandon(&mut self, shared: &Shared) {
        for marks in self.in_flight.drain(..) {
            shared.counters.unknown.add(marks.len() as u64);
            shared.settle_all(&marks, &Err(PublishError::Unknown));
        }
    }

    /// Tells publishers that the link is down, until the queue is closed and empty. Cancel-safe.
    pub(super) async fn refuse(&mut self, shared: &Shared) {
        let mut taken = Vec::new();
        while self.queued.recv_many(&mut taken, BATCH).await > 0 {
            let marks: Vec<Mark> = taken
                .drain(..)
                .map(|queued| Mark {
                    lane: queued.lane,
                    number: queued.number,
                    permits: queued.permits,
                })
                .collect();
            shared.counters.link_down.add(marks.len() as u64);
            shared.settle_all(&marks, &Err(PublishError::LinkDown(shared.why_down())));
        }
    }

    /// The node ends: counts and settles what was not sent.
    pub(super) fn give_up(&mut self, shared: &Shared) {
        let in_flight: usize = self.in_flight.iter().map(Vec::len).sum();
        self.abandon(shared);
        self.queued.close();
        let mut queued = 0;
        while let Ok(Queued { lane, number, permits, .. }) = self.queued.try_recv() {
            queued += 1;
            shared.counters.link_down.add(1);
            shared.settle_all(&[Mark { lane, number, permits }], &Err(PublishError::Closed));
        }
        shared.outbound.abandoned.store(in_flight as u64 + queued, Ordering::Release);
    }
}

impl Shared {
    /// The broker has answered a batch.
    fn settle(&self, marks: &[Mark], refused: &[Refused<usize>]) {
        self.counters.sent.add((marks.len() - refused.len().min(marks.len())) as u64);
        let receipt = Ok(self.semantics.receipt);
        if refused.is_empty() {
            return self.settle_all(marks, &receipt);
        }
        self.counters.refused.add(refused.len() as u64);
        let mut from = 0;
        for refusal in refused {
            let at = refusal.what.clamp(from, marks.len());
            self.settle_all(&marks[from..at], &receipt);
            let until = (at + 1).min(marks.len());
            let reason = PublishError::Refused { reason: Arc::clone(&refusal.reason) };
            self.settle_all(&marks[at..until], &Err(reason));
            from = until;
        }
        self.settle_all(&marks[from..], &receipt);
    }

    /// All of these have one outcome.
    fn settle_all(&self, marks: &[Mark], outcome: &Result<Receipt, PublishError>) {
        let mut latest = [0; LANES];
        let mut permits = 0;
        for mark in marks {
            latest[mark.lane % LANES] = mark.number;
            permits += mark.permits as usize;
        }
        for (lane, number) in latest.into_iter().enumerate().filter(|(_, number)| *number > 0) {
            self.outbound.ledger(lane).settle(number, outcome.clone());
        }
        self.outbound.release(permits);
    }
}

async fn answered(
    session: &impl Session,
    batch: Batch,
    waited: Duration,
) -> Result<Vec<Refused<usize>>, LinkError> {
    match tokio::time::timeout(waited, session.write(&batch)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LinkError::TimedOut { doing: "taking a batch of envelopes", waited }),
    }
}
