use std::time::Duration;

use backplane_core::NodeId;

use crate::{ClaimError, ConnectionId, Hub};

impl Hub {
    /// This node is the registrar of a negotiated connection for `keep`: it grants it once.
    pub fn announce(&self, id: &ConnectionId, keep: Duration) {
        let _ = (id, keep);
    }

    /// Asks the registrar, which is this node or another one, to grant the connection. Once only.
    ///
    /// # Errors
    ///
    /// Those of [`ClaimError`].
    pub async fn claim(&self, id: &ConnectionId, registrar: NodeId) -> Result<(), ClaimError> {
        let _ = (id, registrar);
        Ok(())
    }
}
