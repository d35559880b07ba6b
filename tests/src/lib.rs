//! The suite: a kit that judges any backplane, and real brokers to judge it on.
//!
//! * [`kit`]: to prove a backplane of your own, start here.
//! * [`hub`]: what a hub does across nodes, on any backplane.
//! * [`faults`]: what is lost while a broker, a link or a node fails under load.
//! * [`compare`]: which transport gets through which fault, side by side.
//! * [`brokers`]: servers of Redis, Valkey and NATS, for any test.

pub mod brokers;
pub mod compare;
pub mod faults;
pub mod hub;
pub mod kit;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
