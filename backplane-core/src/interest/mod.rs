//! Which topics this node wants, and for whom.
//!
//! The table holds what is *desired*, the sinks of each topic, beside what is *actual*, whether the
//! broker routes it. The node makes actual follow desired in batches; a reconnect is nothing but
//! that. No lock is held across a round trip, and none while a sink is called.

mod subscription;
mod table;

pub(crate) use subscription::Confirmation;
pub use subscription::Subscription;
pub(crate) use table::{Interest, Interested, Registration, Work};

#[cfg(test)]
mod tests;
