//! What a front end uses: it opens connections, hands over what clients call, and drains what is
//! queued for them.

mod connection;
mod outbound;
mod registrar;
mod replies;

pub use connection::{Connection, Opening};
pub use outbound::Outbound;
pub(crate) use registrar::Registrar;
pub use replies::Replies;
