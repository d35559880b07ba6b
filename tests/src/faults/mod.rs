//! Faults under load: what is lost, doubled, reordered and reported while a broker or a link fails.
//!
//! ```no_run
//! use backplane_tests::{
//!     faults::{self, Load, Scenario, Transport},
//!     kit::Layer,
//! };
//!
//! # async fn example() -> backplane_tests::kit::Outcome {
//! let (Some(transport), Some(scenario)) =
//!     (Transport::named("redis7"), Scenario::named("killed 2 s"))
//! else {
//!     return Ok(());
//! };
//! let medium = transport.start().await?;
//! let (load, show) = (Load::full(7), |progress: &faults::Progress| println!("{progress:?}"));
//! let run = faults::run(medium, Layer::Bare, scenario, &load, &show).await?;
//! println!("{} lost, {} of them in silence", run.lost, run.unreported);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Scenario`] stages a fault on any [`Fixture`](crate::kit::Fixture) that can do what it needs;
//! [`run()`] publishes through it, accounts for every delivery, and compares what was seen with what
//! the transport promises. [`FaultProxy`] is a link that fails on command, [`NodeProcess`] a node
//! that can be killed: a program that runs scenarios calls [`serve_node()`] first in its `main`.

mod account;
mod answer;
mod bounds;
mod clock;
mod journal;
mod judge;
mod load;
mod measure;
mod member;
mod play;
mod process;
mod progress;
mod proxy;
mod publish;
mod run;
mod scenarios;
mod scene;
mod serve;
mod transport;

pub use answer::Answer;
pub use clock::Clock;
pub use load::Load;
use load::Pace;
pub use member::Role;
pub use play::run;
pub use process::NodeProcess;
pub use progress::{Phase, Progress};
pub use proxy::{Direction, FaultProxy, Which};
pub use run::{Point, Run};
pub use scenarios::Scenario;
pub use scene::Scene;
pub use serve::serve_node;
pub use transport::Transport;

/// The hub whose topics the load uses.
const HUB: &str = "faults";
