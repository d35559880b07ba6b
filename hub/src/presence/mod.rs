//! Who is connected, in which groups, on all nodes: for hubs that ask for it.
//!
//! # How it works
//!
//! ```text
//! open, join, leave, close ─▶ Register ─ directory, at once ─▶ counts, members, watches
//!                                │ origin: deltas, numbered
//!                                ▼
//!              the hub's presence topic on the backplane
//!                                │ peer: one for each other node
//!                                ▼
//!                         Register ─ directory ─▶ …
//! ```
//!
//! Each node is the authority for its own connections. It numbers what it tells of them, gathers
//! what happens within some milliseconds, and says with every heartbeat at which version it is and what the
//! sum of it is. A node that lacks a version, or arrives at another sum, asks for the deltas it
//! missed or, if those are no longer kept, for everything. Nothing of this is numbered, retained or
//! buffered by the backplane, and nothing of it has to arrive: what gets lost is seen at the next
//! heartbeat.
//!
//! [`Exchange`](exchange::Exchange) is all of that as a pure state machine: what happened and when
//! goes in, what is to be sent comes out. The simulation searches for nodes that do not agree in the end.

mod directory;
mod error;
mod exchange;
mod message;
mod options;
mod origin;
mod peer;
mod query;
mod register;
mod rules;
#[cfg(test)]
mod simulation;
mod watch;

use std::time::Duration;

pub use directory::Present;
pub use error::PresenceOff;
pub(crate) use exchange::Action;
pub(crate) use message::{SMALLEST_BODY, Unreadable};
pub use options::PresenceOptions;
pub use query::{Freshness, GroupPresence, Presence, UserPresence, Whereabouts};
pub(crate) use register::{Book, Register};
pub use watch::{PresenceEvent, Watch};

/// Time since the hub was built.
type Moment = Duration;
