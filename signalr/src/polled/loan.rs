use std::sync::Arc;

use bytes::Bytes;

use super::{PolledConnection, State, wake, whole};

/// What a poll has taken to bring it to the client by way of another node. Dropped, it is for the next
/// poll, as if it had not been taken.
#[derive(Debug)]
pub(crate) struct Loan {
    connection: Arc<PolledConnection>,
    number: u64,
    batch: Bytes,
}

impl Loan {
    /// Takes what there is.
    pub(super) fn new(connection: &Arc<PolledConnection>, state: &mut State, number: u64) -> Self {
        let batch = whole(state.take());
        state.lent = Some((number, batch.clone()));
        Self { connection: Arc::clone(connection), number, batch }
    }

    /// Tells it from other loans of the connection.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The messages.
    pub(crate) const fn batch(&self) -> &Bytes {
        &self.batch
    }

    /// The client has got it.
    pub(crate) fn keep(self) {
        let mut state = self.connection.state();
        state.lent.take_if(|(number, _)| *number == self.number);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        if let Some((_, batch)) = state.lent.take_if(|(number, _)| *number == self.number) {
            state.leaving.insert(0, batch);
        }
        // The next poll, and the next batch.
        state.turned = true;
        wake(&mut state.session);
        wake(&mut state.response);
    }
}

impl PolledConnection {
    /// What the poll of this number took, as long as it is not known what became of it.
    pub(crate) fn loan(&self, number: u64) -> Option<Bytes> {
        let state = self.state();
        let (lent, batch) = state.lent.as_ref()?;
        (*lent == number).then(|| batch.clone())
    }
}
