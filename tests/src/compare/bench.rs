//! Where a comparison gets its runs from.

use std::{fmt::Debug, time::Duration};

use futures_util::future::BoxFuture;

use crate::{faults::Run, kit::Outcome};

/// One run to be made, by the names of the [`Menu`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What carries the envelopes: `redis7`.
    pub transport: String,
    /// What is stacked on it: `repaired`.
    pub layer: String,
    /// What happens: `killed 2 s`.
    pub scenario: String,
}

/// What a run does while nothing fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Envelopes per second, over all publishers.
    pub rate: u32,
    /// Bytes per body.
    pub size: usize,
    /// Nodes, each of which publishes and receives.
    pub nodes: usize,
    /// What all randomness follows from.
    pub seed: u64,
}

/// Something to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name, on the command line and in the report.
    pub name: String,
    /// What it is, in a sentence without a full stop.
    pub about: String,
    /// True if it is part of a comparison that names nothing.
    pub usual: bool,
    /// How long a run of it takes, from the start of its broker on; only scenarios have it.
    pub lasts: Duration,
}

/// What there is to choose from, in the order of running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Menu {
    /// Transports.
    pub transports: Vec<Choice>,
    /// Layers.
    pub layers: Vec<Choice>,
    /// Scenarios.
    pub scenarios: Vec<Choice>,
}

/// What makes runs.
pub trait Bench: Debug + Send + Sync {
    /// What it can run.
    fn menu(&self) -> Menu;

    /// Looks whether this transport can be run on this machine.
    ///
    /// # Errors
    ///
    /// What is missing, and what installs it.
    fn look(&self, transport: &str) -> Result<(), String>;

    /// Starts the medium, runs the case once, and ends the medium. Dropping the future ends it too.
    ///
    /// # Errors
    ///
    /// [`Stop::Broken`](crate::kit::Stop::Broken) where it could not be run,
    /// [`Stop::NotApplicable`](crate::kit::Stop::NotApplicable) where it makes no sense.
    fn run(&self, case: Case, load: Load) -> BoxFuture<'static, Outcome<Run>>;
}
