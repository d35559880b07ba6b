//! The log that a medium may keep.

use std::sync::Arc;

use async_trait::async_trait;
use backplane_core::{
    LinkError, Offset, Position,
    wire::{Entry, Reader},
};
use bytes::Bytes;
use tokio::sync::watch;

/// Everything that was written, in one part; entries count from 1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<watch::Sender<Vec<Bytes>>>);

impl Log {
    pub(crate) fn append(&self, bytes: &Bytes) {
        self.0.send_modify(|entries| entries.push(bytes.clone()));
    }

    /// Reads from a position on, which is told as the entry before it; `skip` leaves out as many first.
    pub(crate) fn read(&self, from: Position, skip: usize) -> (Position, Box<dyn Reader>) {
        let entries = self.0.subscribe();
        // What stands at an offset is read again: the reader may have dealt with a part of it only.
        let (last, first) = match from {
            Position::Earliest => (0, 0),
            Position::After(offset) => {
                let (entry, _) = offset.entry();
                (entry, entry.saturating_sub(1) as usize)
            }
            _ => (entries.borrow().len() as u64, entries.borrow().len()),
        };
        let reader = FromLog { entries, next: first + skip };
        (Position::After(Offset::new(0, (last, 0))), Box::new(reader))
    }
}

#[derive(Debug)]
struct FromLog {
    entries: watch::Receiver<Vec<Bytes>>,
    next: usize,
}

#[async_trait]
impl Reader for FromLog {
    async fn next(&mut self) -> Result<Vec<Entry>, LinkError> {
        let next = self.next;
        let gone = |_| LinkError::Lost { reason: "the medium is gone".to_owned() };
        let entries = self.entries.wait_for(|entries| entries.len() > next).await.map_err(gone)?;
        self.next = entries.len();
        let found = entries.iter().enumerate().skip(next).map(|(at, bytes)| Entry::Frame {
            bytes: bytes.clone(),
            offset: Offset::new(0, (at as u64 + 1, 0)),
        });
        Ok(found.collect())
    }
}
