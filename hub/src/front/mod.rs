//! What a front end uses: it opens connections, hands over what clients call, and drains what is
//! queued for them.

mod connection;
mod handover;
mod outbound;
mod registrar;
mod relay;
mod replies;

pub use connection::{Completion, Connection, Opening};
pub use handover::{Adopted, Arrivals, HandoverError, Left};
pub use outbound::Outbound;
pub use registrar::Ownership;
pub(crate) use registrar::{Registrar, Whereabouts};
pub use relay::{Relay, RelayAnswer, RelayRequest, Relayed};
pub(crate) use relay::{Relays, Settle};
pub use replies::Replies;
