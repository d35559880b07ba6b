//! What was sent.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use backplane_core::{NodeId, PublishError, Receipt, Topic};
use bytes::Bytes;

/// The numbered envelopes of one publisher on one topic.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) run: u64,
    pub(super) id: u32,
    pub(super) origin: NodeId,
    pub(super) topic: Topic,
    sent: Mutex<Vec<Sent>>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Just before it was published.
    pub(super) at: Instant,
    /// Just after the answer came.
    pub(super) answered: Option<Instant>,
    pub(super) answer: Answer,
}

/// What publish said about an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    Open,
    /// It was published, with this receipt.
    Ok(Receipt),
    /// Only this node's own sinks have got it.
    NoOtherNode,
    /// It may or may not have been published.
    Unknown,
    /// Nothing happened anywhere.
    Nothing,
}

impl Answer {
    /// What a ticket's outcome means.
    #[must_use]
    pub const fn of(outcome: &Result<Receipt, PublishError>) -> Self {
        match outcome {
            Ok(receipt) => Self::Ok(*receipt),
            Err(PublishError::LinkDown(_) | PublishError::Refused { .. }) => Self::NoOtherNode,
            Err(_) => Self::Unknown,
        }
    }
}

pub(super) const RUN: usize = 8;
pub(super) const STREAM: usize = 4;
pub(super) const NUMBER: usize = 8;

impl Stream {
    pub(super) const fn new(run: u64, id: u32, origin: NodeId, topic: Topic) -> Self {
        Self { run, id, origin, topic, sent: Mutex::new(Vec::new()) }
    }

    /// The next number, counted as sent from now on, and the body that carries it.
    pub(super) fn next(&self, padding: usize) -> (u64, Bytes) {
        let mut sent = self.sent();
        let number = sent.len() as u64;
        sent.push(Sent { at: Instant::now(), answered: None, answer: Answer::Open });
        (number, self.body(number, padding))
    }

    pub(super) fn body(&self, number: u64, padding: usize) -> Bytes {
        let mut body = Vec::with_capacity(RUN + STREAM + NUMBER + padding);
        body.extend(self.run.to_le_bytes());
        body.extend(self.id.to_le_bytes());
        body.extend(number.to_le_bytes());
        body.resize(body.len() + padding, b'.');
        body.into()
    }

    pub(super) fn answered(&self, number: u64, answer: Answer) {
        let now = Instant::now();
        if let Some(sent) = self.sent().get_mut(number as usize) {
            sent.answer = answer;
            sent.answered = Some(now);
        }
    }

    /// The latest one that was published for certain.
    pub(super) fn latest_taken(&self) -> Option<u64> {
        let sent = self.sent();
        let at = sent.iter().rposition(|sent| matches!(sent.answer, Answer::Ok(_)))?;
        Some(at as u64)
    }

    pub(super) fn all(&self) -> Vec<Sent> {
        self.sent().clone()
    }

    fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that [`Stream::body`] made: run, stream and number.
pub(super) fn read(body: &[u8]) -> Option<(u64, u32, u64)> {
    let (run, rest) = body.split_first_chunk::<RUN>()?;
    let (stream, rest) = rest.split_first_chunk::<STREAM>()?;
    let number = rest.first_chunk::<NUMBER>()?;
    Some((u64::from_le_bytes(*run), u32::from_le_bytes(*stream), u64::from_le_bytes(*number)))
}
