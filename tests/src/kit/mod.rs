//! The kit: how any author of a [`Backplane`](backplane_core::Backplane) proves it.
//!
//! Write a [`Fixture`]: how to start a node on a fresh medium.
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use backplane_core::Backplane;
//! use backplane_memory::Medium;
//! use backplane_tests::kit::{Control, Fixture, Outcome, Setup};
//!
//! #[derive(Debug, Default)]
//! struct Ours(Medium);
//!
//! #[async_trait]
//! impl Fixture for Ours {
//!     fn name(&self) -> String {
//!         "ours 0.1".to_owned()
//!     }
//!
//!     async fn node(&self, setup: Setup) -> Outcome<Arc<dyn Backplane>> {
//!         Ok(Arc::new(self.0.node_with(setup.options)))
//!     }
//!
//!     // What can be done to the medium; the more, the more scenarios apply.
//!     fn controls(&self) -> &[Control] {
//!         &[Control::Stop]
//!     }
//!
//!     async fn stop(&self) -> Outcome {
//!         self.0.stop();
//!         Ok(())
//!     }
//!
//!     async fn start(&self) -> Outcome {
//!         self.0.start();
//!         Ok(())
//!     }
//! }
//! ```
//!
//! Then let the kit make a test of each scenario, in `tests/conformance.rs` with `harness = false`
//! in `Cargo.toml`:
//!
//! ```no_run
//! # use backplane_tests::kit::{MemoryFixture as Ours, Outcome};
//! # async fn start() -> Outcome<Ours> { Ours::start().await }
//! backplane_tests::conformance! {
//!     ours => start(),
//! }
//! ```
//!
//! `cargo test --test conformance` judges it twice, by what its
//! [`Semantics`](backplane_core::Semantics) promise each time: by itself, as `ours::…`, and as users get
//! it by default, with repair and buffering ([`Layer::Repaired`]), as `ours_repaired::…`. A promise that is not made is reported as *not promised*, a scenario that the fixture
//! can't stage as *not applicable*, and what goes beyond the promise as *better than promised*.
//! What is random follows from a seed, which is printed and can be set: `BACKPLANE_SEED=7`.
//! `BACKPLANE_REPORT=file` collects all results as lines of JSON.
//!
//! A scenario is a plain function over a [`Stage`]. To write your own, take a [`Collector`], a
//! [`fence()`] to prove that nothing arrives, and a [`Checker`] to account for every envelope;
//! [`run()`] takes it.

pub mod checker;
mod collect;
mod fixture;
mod fixtures;
mod layer;
mod random;
mod record;
mod run;
pub mod scenarios;
mod specimen;
mod stage;
mod stop;

pub use checker::Checker;
pub use collect::{Collector, confirmed, down, fence, publish, up};
pub use fixture::{Census, Connections, Control, Fixture, Setup};
#[cfg(feature = "kafka")]
pub use fixtures::KafkaFixture;
pub use fixtures::{MemoryFixture, NatsFixture, RedisClusterFixture, RedisFixture};
pub use layer::Layer;
pub use random::{Random, SEED, seed};
pub use record::{Note, REPORT, Record, Verdict};
pub use run::{Scenario, Subject, run, run_all};
pub use stage::Stage;
pub(crate) use stop::ensure;
pub use stop::{Doing, Outcome, SOON, Stop, eventually, within};
