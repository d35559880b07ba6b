//! One node's part of the load.

use std::{sync::Arc, time::Duration};

use backplane_core::{Backplane, Envelope, PublishError, Ticket};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{sync::watch, time::Instant};

use super::{
    Answer, Pace,
    journal::{Journal, Posted},
};

/// How often a publisher wakes up; at 5,000 envelopes per second it publishes a few each time.
const BEAT: Duration = Duration::from_millis(5);
/// How often one that is to be as fast as it may looks for room.
const QUICK_BEAT: Duration = Duration::from_millis(1);
/// How many envelopes it publishes before it looks after its answers.
const AT_ONCE: usize = 2_048;
/// How long tickets may stay open after the last envelope.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Publishes at a steady rate, or as fast as it may, until told to stop; then waits for the answers that
/// are still open.
///
/// Where the node's queue is full it tries again at the next beat, and catches up later.
pub(super) async fn publish(
    node: Arc<dyn Backplane>,
    journal: Arc<Journal>,
    rate: f64,
    size: usize,
    mut pace: watch::Receiver<Pace>,
) {
    // A steady rate counts from here.
    let mut begun = Instant::now();
    let mut paced = 0_u64;
    let mut next = vec![0_u32; journal.topics.len()];
    let mut posted = 0_u64;
    let mut open = FuturesUnordered::new();
    let mut beat = tokio::time::interval(BEAT);
    let mut quick_beat = tokio::time::interval(QUICK_BEAT);
    // Behind by a pause, it catches up at four times the rate, not at once.
    let burst = (rate * BEAT.as_secs_f64() * 4.0).ceil().max(1.0) as u64;
    loop {
        let flat_out = *pace.borrow() == Pace::FlatOut;
        tokio::select! {
            biased;
            _ = pace.wait_for(|pace| *pace == Pace::Stop) => break,
            Some(()) = open.next() => while open.next().now_or_never().flatten().is_some() {},
            _ = quick_beat.tick(), if flat_out => {
                for _ in 0..AT_ONCE {
                    let topic = (posted % next.len() as u64) as usize;
                    match post(&*node, &journal, topic, next[topic], size) {
                        Ok(ticket) => {
                            open.push(answered(ticket, Arc::clone(&journal), topic, next[topic]));
                            next[topic] += 1;
                            posted += 1;
                        }
                        Err(PublishError::Full(_)) => break,
                        Err(_) => return,
                    }
                }
                (begun, paced) = (Instant::now(), posted);
            }
            _ = beat.tick(), if !flat_out => {
                let due = (begun.elapsed().as_secs_f64() * rate) as u64;
                for _ in 0..due.saturating_sub(posted - paced).min(burst) {
                    let topic = (posted % next.len() as u64) as usize;
                    match post(&*node, &journal, topic, next[topic], size) {
                        Ok(ticket) => {
                            open.push(answered(ticket, Arc::clone(&journal), topic, next[topic]));
                            next[topic] += 1;
                            posted += 1;
                        }
                        Err(PublishError::Full(_)) => {
                            journal.full();
                            break;
                        }
                        // Closed: the run is over.
                        Err(_) => return,
                    }
                }
            }
        }
    }
    let rest = async { while open.next().await.is_some() {} };
    // Those that are still open then stay open in the journal, which tells.
    let _ = tokio::time::timeout(ANSWERS_WITHIN, rest).await;
}

fn post(
    node: &dyn Backplane,
    journal: &Journal,
    topic: usize,
    number: u32,
    size: usize,
) -> Result<Ticket, PublishError> {
    let (at, body) = journal.body(topic as u16, number, size);
    let ticket = node.try_publish(Envelope::new(journal.topics[topic].clone(), body))?;
    journal.posted(Posted { topic: topic as u16, number, at });
    Ok(ticket)
}

async fn answered(ticket: Ticket, journal: Arc<Journal>, topic: usize, number: u32) {
    let answer = Answer::of(&ticket.await);
    journal.answered(topic as u16, number, answer);
}
