use std::sync::Arc;

use async_nats::{Client, Subject};
use backplane_core::{
    ByteSize, LinkError,
    wire::{Batch, Refused},
};
use tokio::{sync::Mutex, task};

use crate::{fence::Fences, notices::Notices, subject::Subjects};

/// Writes batches on one connection.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    /// Whose turn it is to give messages to the client. A batch takes its place at its first poll
    /// and keeps it over the awaits below, so that no later batch overtakes it. The client's queue
    /// has room for all that a node has under way, so nobody waits here unless something is stuck.
    turn: Mutex<()>,
}

/// A frame that was given to the client.
struct Sent {
    subject: Subject,
    envelopes: Vec<usize>,
}

impl Publisher {
    /// Writes a batch and proves with one fence behind it that the server has taken it.
    ///
    /// What the server refuses it says beside the messages, and that may be handled after the fence that
    /// came behind it; then it is logged, and the outcome told was wrong. This can only be so the first
    /// time: once refused, a subject is refused without being sent for the rest of the connection.
    pub(crate) async fn write(
        &self,
        batch: &Batch,
        client: &Client,
        subjects: &Subjects,
        fences: &Fences,
        notices: &Notices,
    ) -> Result<Vec<Refused<usize>>, LinkError> {
        let mut refused = Vec::new();
        let write = async {
            let (frames, mut sent) = (batch.frames(), Vec::new());
            let largest = client.max_payload();
            let turn = self.turn.lock().await;
            for frame in frames {
                let subject = subjects.of(&frame.topic);
                let refusal = too_large(frame.bytes.len(), largest)
                    .or_else(|| notices.unpublishable(&subject));
                if let Some(reason) = refusal {
                    refuse(&mut refused, &frame.envelopes, &reason);
                    continue;
                }
                let publish = client.publish(subject.clone(), frame.bytes);
                publish.await.map_err(|_| notices.lost())?;
                sent.push(Sent { subject, envelopes: frame.envelopes });
            }
            if sent.is_empty() {
                return Ok(());
            }
            let fence = fences.send(client).await;
            drop(turn);
            fence.ok_or_else(|| notices.lost())?.await.map_err(|_| notices.lost())?;
            if notices.refuses_publishes() {
                fences.pass(client, notices).await?;
            }
            for Sent { subject, envelopes } in sent {
                if let Some(reason) = notices.unpublishable(&subject) {
                    refuse(&mut refused, &envelopes, &reason);
                }
            }
            Ok(())
        };
        // A yield for fairness in the middle of a batch, or before its place is taken, would let the
        // next one pass.
        task::unconstrained(write).await?;
        refused.sort_unstable_by_key(|refusal| refusal.what);
        Ok(refused)
    }
}

fn refuse(refused: &mut Vec<Refused<usize>>, envelopes: &[usize], reason: &Arc<str>) {
    refused
        .extend(envelopes.iter().map(|what| Refused { what: *what, reason: Arc::clone(reason) }));
}

fn too_large(size: usize, largest: usize) -> Option<Arc<str>> {
    if size <= largest {
        return None;
    }
    let [size, largest] = [size, largest].map(|bytes| ByteSize::b(bytes as u64));
    Some(
        format!("the message has {size}, the server takes {largest}: raise its max_payload").into(),
    )
}
