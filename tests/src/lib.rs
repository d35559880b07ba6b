//! The suite: a kit that judges any backplane, and real brokers to judge it on.
//!
//! * [`kit`]: to prove a backplane of your own, start here.
//! * [`brokers`]: servers of Redis, Valkey and NATS, for any test.

pub mod brokers;
pub mod kit;
