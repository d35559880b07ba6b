use std::sync::Arc;

use backplane_core::{
    ByteSize, LinkError,
    wire::{Batch, Frame, Refused},
};
use tokio::{sync::Mutex, task};

use crate::connection::Connection;

/// The most bytes that the client is given before it has written them. It can't be told to forget any, and
/// where a server does not read, they would go out late, beside those of the next connection.
const GIVEN: usize = 256 * 1024;

/// Writes batches on one connection.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    /// Whose turn it is to give messages to the client. A batch takes its place at its first poll
    /// and keeps it over the awaits below, so that no later batch overtakes it.
    turn: Mutex<()>,
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
        connection: &Connection,
    ) -> Result<Vec<Refused<usize>>, LinkError> {
        // A yield for fairness in the middle of a batch, or before its place is taken, would let the
        // next one pass.
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
        let frames = batch.frames();
        let turn = self.turn.lock().await;
        let (mut refused, mut sent, mut given) = (Vec::new(), Vec::new(), 0);
        for Frame { topic, bytes, envelopes } in frames {
            let subject = subjects.of(&topic);
            let too_large = too_large(bytes.len(), client.max_payload());
            if let Some(reason) = too_large.or_else(|| notices.unpublishable(&subject)) {
                refuse(&mut refused, &envelopes, &reason);
                continue;
            }
            if given > GIVEN {
                client.flush().await.map_err(|_| lost())?;
                given = 0;
            }
            given += bytes.len();
            client.publish(subject.clone(), bytes).await.map_err(|_| lost())?;
            sent.push((subject, envelopes));
        }
        if sent.is_empty() {
            return Ok(refused);
        }
        let fence = connection.send_fence().await?;
        drop(turn);
        fence.await.map_err(|_| lost())?;
        if notices.refuses_publishes() {
            connection.pass_fence().await?;
        }
        for (subject, envelopes) in sent {
            if let Some(reason) = notices.unpublishable(&subject) {
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
