use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::sync::mpsc;

use super::{
    Batch, NodeOptions, Outage, Shared,
    outbox::{Fate, Outbox},
    publish::LANES,
};
use crate::{
    Envelope, LinkError, PublishError, Receipt, RouteKind, Topic,
    envelope::{Kind, Sequence},
    sequenced::Moment,
    wire::{Refused, Session},
};

/// The most envelopes in one batch: enough to make the round trip cheap, small enough to keep
/// memory and latency low.
const BATCH: usize = 1024;

/// The most batches between writing and the broker's answer, so that one is on its way while the
/// next is encoded.
const IN_FLIGHT: usize = 2;

/// How often what waits is looked at while the link is down.
const EXPIRY: Duration = Duration::from_millis(50);

/// An envelope on its way to the wire.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) envelope: Envelope,
    /// Who is to be told the outcome; nobody for what nodes say to each other.
    pub(super) ticket: Option<Place>,
    /// What it holds of the queue's bytes.
    pub(super) permits: u32,
    /// What it costs of a byte bound.
    pub(super) cost: u32,
    pub(super) at: Moment,
    /// The batch in which it was on its way when a link failed, if it was. It is written again in the same
    /// one, so that a broker may know it again.
    pub(super) tried: Option<u64>,
}

/// A ticket's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) lane: usize,
    pub(super) number: u64,
}

/// What is needed to tell a publisher the outcome.
#[derive(Debug, Clone)]
struct Mark {
    ticket: Option<Place>,
    permits: u32,
    cost: u32,
    at: Moment,
    kind: RouteKind,
}

impl Queued {
    /// What one node says to another: it is repeated, so nobody waits for its outcome.
    pub(super) const fn control(envelope: Envelope) -> Self {
        let at = Moment::ZERO;
        Self { envelope, ticket: None, permits: 0, cost: 0, at, tried: None }
    }

    fn mark(&self) -> Mark {
        let Self { ticket, permits, cost, at, .. } = *self;
        Mark { ticket, permits, cost, at, kind: self.envelope.topic.kind() }
    }
}

/// The supervisor's side of the outgoing queue. Outlives connections.
#[derive(Debug)]
pub(super) struct Outgoing {
    queued: mpsc::Receiver<Queued>,
    outbox: Outbox,
    in_flight: VecDeque<Flight>,
    /// How many batches there were.
    batches: u64,
}

/// A batch whose answer has not come.
#[derive(Debug)]
struct Flight {
    number: u64,
    batch: Arc<Batch>,
    marks: Vec<Mark>,
}

impl Outgoing {
    pub(super) const fn new(queued: mpsc::Receiver<Queued>, options: &NodeOptions) -> Self {
        let outbox = Outbox::new(options.outage, options.retention.age);
        Self { queued, outbox, in_flight: VecDeque::new(), batches: 0 }
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
        self.expire(shared);
        while open || !writes.is_empty() || !self.outbox.is_empty() {
            if writes.len() < IN_FLIGHT && !self.outbox.is_empty() {
                self.outbox.take(BATCH, &mut taken);
                let batch = self.begin(&mut taken, shared);
                writes.push_back(answered(session, batch, deadline));
                continue;
            }
            let has_room = open && writes.len() < IN_FLIGHT && self.outbox.is_empty();
            tokio::select! {
                biased;
                Some(answer) = writes.next() => {
                    // After an error the batch is still in flight, for `abandon` to settle.
                    let refused: Vec<Refused<usize>> = answer?;
                    if let Some(flight) = self.in_flight.pop_front() {
                        shared.settle(&flight, &refused);
                    }
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

    fn begin(&mut self, taken: &mut Vec<Queued>, shared: &Shared) -> Arc<Batch> {
        let mut marks = Vec::with_capacity(taken.len());
        let mut envelopes = Vec::with_capacity(taken.len());
        for queued in taken.drain(..) {
            marks.push(queued.mark());
            envelopes.push(queued.envelope);
        }
        let batch = Arc::new(Batch::new(shared.id, envelopes));
        self.batches += 1;
        let number = self.batches;
        self.in_flight.push_back(Flight { number, batch: Arc::clone(&batch), marks });
        shared.outbound.taken();
        shared.counters.write_round_trips.add(1);
        batch
    }

    /// The connection is gone: what was on its way waits to be sent again, if that doubles nothing.
    pub(super) fn abandon(&mut self, shared: &Shared) {
        let back = self.landed(shared);
        // In the order of their numbers.
        for queued in back.iter().filter(|it| it.envelope.sequence.is_some()) {
            match shared.outbound.outage {
                Outage::Buffer { .. } => shared.tell(queued, Ok(Receipt::Queued)),
                Outage::Refuse => shared.tell(queued, Err(PublishError::Unknown)),
                Outage::Wait { .. } => {}
            }
        }
        let mut fates = Vec::new();
        self.outbox.put_back(back, &mut fates);
        shared.seal(fates);
    }

    /// What was on its way, oldest first.
    fn landed(&mut self, shared: &Shared) -> Vec<Queued> {
        let mut back = Vec::new();
        for Flight { number, batch, marks } in self.in_flight.drain(..) {
            let envelopes = Arc::try_unwrap(batch).unwrap_or_else(|shared| (*shared).clone());
            for (envelope, mark) in envelopes.into_envelopes().into_iter().zip(marks) {
                if envelope.kind != Kind::Message {
                    continue;
                }
                let Mark { ticket, permits, cost, at, .. } = mark;
                let tried = Some(number);
                let mut queued = Queued { envelope, ticket, permits, cost, at, tried };
                shared.outbound.free(&mut queued);
                back.push(queued);
            }
        }
        back
    }

    /// Keeps what is published while the link is down, as far as the policy says, until the queue is
    /// closed and empty. Cancel-safe.
    pub(super) async fn hold(&mut self, shared: &Shared) {
        let mut taken = Vec::new();
        loop {
            let received = self.queued.recv_many(&mut taken, BATCH);
            match tokio::time::timeout(EXPIRY, received).await {
                Ok(0) => return,
                Ok(_) => {
                    let mut fates = Vec::new();
                    for mut queued in taken.drain(..) {
                        if queued.envelope.kind != Kind::Message {
                            continue;
                        }
                        shared.outbound.free(&mut queued);
                        if matches!(shared.outbound.outage, Outage::Buffer { .. })
                            && !queued.envelope.transient
                        {
                            shared.tell(&queued, Ok(Receipt::Queued));
                        }
                        self.outbox.push(queued, &mut fates);
                    }
                    shared.outbound.taken();
                    shared.seal(fates);
                }
                Err(_) => {}
            }
            self.expire(shared);
        }
    }

    fn expire(&mut self, shared: &Shared) {
        let mut fates = Vec::new();
        self.outbox.expire(shared.now(), &mut fates);
        shared.seal(fates);
    }

    /// The node ends: counts and settles what was not sent.
    pub(super) fn give_up(&mut self, shared: &Shared) {
        let mut left = self.landed(shared);
        left.extend(self.outbox.drain());
        self.queued.close();
        while let Ok(waiting) = self.queued.try_recv() {
            left.push(waiting);
        }
        left.retain(|queued| queued.ticket.is_some());
        for queued in &left {
            let counters = shared.counters.kind(queued.envelope.topic.kind());
            let outcome = if queued.tried.is_some() {
                counters.unknown.add(1);
                PublishError::Unknown
            } else {
                counters.link_down.add(1);
                PublishError::Closed
            };
            shared.outbound.settled(1, u64::from(queued.cost));
            shared.tell(queued, Err(outcome));
        }
        shared.outbound.abandoned.store(left.len() as u64, Ordering::Release);
    }
}

impl Shared {
    /// The broker has answered a batch.
    fn settle(&self, flight: &Flight, refused: &[Refused<usize>]) {
        let Flight { batch, marks, .. } = flight;
        let receipt = Ok(self.semantics.receipt);
        let mut from = 0;
        for refusal in refused {
            let at = refusal.what.clamp(from, marks.len());
            self.count_sent(&marks[from..at]);
            self.settle_all(&marks[from..at], &receipt);
            let until = (at + 1).min(marks.len());
            let reason = PublishError::Refused { reason: Arc::clone(&refusal.reason) };
            for (mark, envelope) in marks[at..until].iter().zip(&batch.envelopes()[at..until]) {
                if mark.ticket.is_some() {
                    self.counters.kind(mark.kind).refused.add(1);
                    self.withdraw(&envelope.topic, envelope.sequence);
                }
            }
            self.settle_all(&marks[at..until], &Err(reason));
            from = until;
        }
        self.count_sent(&marks[from..]);
        self.settle_all(&marks[from..], &receipt);
    }

    fn count_sent(&self, marks: &[Mark]) {
        let mut counts = [0; RouteKind::ALL.len()];
        let published = marks.iter().filter(|mark| mark.ticket.is_some());
        published.for_each(|mark| counts[mark.kind as usize] += 1);
        for kind in RouteKind::ALL {
            self.counters.kind(kind).sent.add(counts[kind as usize]);
        }
    }

    /// All of these have one outcome.
    fn settle_all(&self, marks: &[Mark], outcome: &Result<Receipt, PublishError>) {
        let mut latest = [0; LANES];
        let (mut permits, mut count, mut cost) = (0, 0, 0);
        for mark in marks {
            if let Some(Place { lane, number }) = mark.ticket {
                latest[lane % LANES] = number;
                count += 1;
                cost += u64::from(mark.cost);
            }
            permits += mark.permits as usize;
        }
        self.outbound.settled(count, cost);
        for (lane, number) in latest.into_iter().enumerate().filter(|(_, number)| *number > 0) {
            self.outbound.ledger(lane).settle(number, outcome.clone());
        }
        self.outbound.release(permits);
    }

    /// These will not be sent: tells their publishers, and whoever asks for them.
    fn seal(&self, fates: Vec<(Queued, Fate)>) {
        for (queued, fate) in fates {
            let counters = self.counters.kind(queued.envelope.topic.kind());
            let outcome = match fate {
                Fate::Unknown => {
                    counters.unknown.add(1);
                    PublishError::Unknown
                }
                Fate::LinkDown => {
                    counters.link_down.add(1);
                    PublishError::LinkDown(self.why_down())
                }
                Fate::DroppedFull => {
                    counters.dropped_full.add(1);
                    PublishError::LinkDown(self.why_down())
                }
                Fate::DroppedOld => {
                    counters.dropped_old.add(1);
                    PublishError::LinkDown(self.why_down())
                }
            };
            if fate != Fate::Unknown {
                self.withdraw(&queued.envelope.topic, queued.envelope.sequence);
            }
            self.outbound.settled(1, u64::from(queued.cost));
            self.tell(&queued, Err(outcome));
        }
    }

    fn withdraw(&self, topic: &Topic, sequence: Option<Sequence>) {
        if let Some(sequence) = sequence {
            self.sequencer.withdraw(topic, sequence);
        }
    }

    fn tell(&self, queued: &Queued, outcome: Result<Receipt, PublishError>) {
        if let Some(Place { lane, number }) = queued.ticket {
            self.outbound.ledger(lane).settle(number, outcome);
        }
    }
}

async fn answered(
    session: &impl Session,
    batch: Arc<Batch>,
    waited: Duration,
) -> Result<Vec<Refused<usize>>, LinkError> {
    match tokio::time::timeout(waited, session.write(&batch)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LinkError::TimedOut { doing: "taking a batch of envelopes", waited }),
    }
}
