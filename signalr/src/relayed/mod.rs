//! Requests about connections of other nodes: whichever node a request lands on, the one that has the
//! connection serves it.
//!
//! ```text
//! request ─ token ─ not here ─ owner known, or its registrar ─▶ errand ─▶ the owner's table
//!   ◀─ response ◀─ verdict ◀─ pipe, or what a poll waits for
//! ```
//!
//! The node that a request lands on checks the token; the owner takes its word. A POST is answered once
//! its bytes are in the owner's pipe. What a poll fetches is lent: the owner keeps it until it is
//! said that it was written, and gives it to the next poll if it was not.

mod asking;
mod credentials;
mod letter;
mod noted;
mod owner;
mod owners;
mod taking;

pub(crate) use self::{
    owner::Owner,
    owners::Owners,
    taking::{Begun, Takings},
};

/// The largest piece of a POST that travels at once, as much as waits for a session.
pub(crate) const POST_PIECE: usize = 64 * 1024;

/// The largest piece of what a poll fetches that travels at once.
const POLL_PIECE: usize = 256 * 1024;

/// What a backplane needs beside a piece, at most: ids, and what nodes say of it.
const AROUND: usize = 1024;

/// The piece that a backplane carries of one that is at most so large.
pub(crate) fn piece(hub: &backplane_hub::Hub, most: usize) -> usize {
    let largest = hub.backplane().semantics().largest_body.as_u64();
    let largest = usize::try_from(largest).unwrap_or(usize::MAX);
    most.min(largest.saturating_sub(AROUND)).max(1)
}
