//! In the making.

pub mod brokers;
