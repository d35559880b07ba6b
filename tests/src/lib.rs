//! The suite: a kit that judges any backplane, and real brokers to judge it on.
//!
//! * [`kit`]: to prove a backplane of your own, start here.
//! * [`hub`]: what a hub does across nodes, on any backplane.
//! * [`brokers`]: servers of Redis, Valkey and NATS, for any test.

pub mod brokers;
pub mod hub;
pub mod kit;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
