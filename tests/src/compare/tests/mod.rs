//! Tests of the whole of `compare`, on runs that are made.

mod checks;
pub(super) mod made;
mod pages;
mod reports;
mod sessions;
mod tables;
