use std::sync::Arc;

use backplane_core::{
    ByteSize, LinkError,
    wire::{Batch, Frame, Refused},
};
use tokio::{sync::Mutex, task};

use crate::connection::Connection;

const UNCLEAR: &str = "the server refuses more than can be heard; this may be part of it";

/// Writes batches on one connection.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    /// Whose turn it is to give messages to the client. A batch takes its place at its first poll
    /// and keeps it over the awaits below, so that no later batch overtakes it.
    turn: Mutex<()>,
}

impl Publisher {
    /// Writes a batch and proves with one fence behind it that the server has taken it, or has
    /// refused part of it. Once refused, a subject is refused without being sent for the rest of
    /// the connection, as the server logs each attempt.
    pub(super) async fn write(
        &self,
        batch: &Batch,
        connection: &Connection,
    ) -> Result<Vec<Refused<usize>>, LinkError> {
        // A yield for fairness in the middle of a batch, or before its place is taken, would let
        // the next one pass.
        let mut refused = task::unconstrained(self.write_in_turn(batch, connection)).await?;
        refused.sort_unstable_by_key(|refusal| refusal.what);
        Ok(refused)
    }

    async fn write_in_turn(
        &self,
        batch: &Batch,
        connection: &Connection,
    ) -> Result<Vec<Refused<usize>>, LinkError> {
        let Connection { client, subjects, notices, .. } = connection;
        let lost = || notices.lost();
        let frames = batch.frames_within(client.max_payload());
        let turn = self.turn.lock().await;
        let (mut refused, mut sent) = (Vec::new(), Vec::new());
        let told = notices.since_now();
        for Frame { topic, bytes, envelopes } in frames {
            let subject = subjects.of(&topic);
            let too_large = too_large(bytes.len(), client.max_payload());
            if let Some(reason) = too_large.or_else(|| notices.unpublishable(&subject)) {
                refuse(&mut refused, &envelopes, &reason);
                continue;
            }
            client.publish(subject.clone(), bytes).await.map_err(|_| lost())?;
            sent.push((subject, envelopes));
        }
        if sent.is_empty() {
            return Ok(refused);
        }
        let fence = connection.send_fence().await?;
        drop(turn);
        fence.await.map_err(|_| lost())?;
        let is_unclear = told.refused_publish() && !told.heard_all();
        for (subject, envelopes) in sent {
            let refusal = notices.unpublishable(&subject);
            if let Some(reason) = refusal.or_else(|| is_unclear.then(|| UNCLEAR.into())) {
                refuse(&mut refused, &envelopes, &reason);
            }
        }
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
