//! The faults.

mod broker;
mod cluster;
mod link;
mod node;
mod speed;

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

use super::scene::{Plan, Scene};
use crate::kit::Outcome;

/// A fault under load.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The name for people: `killed 2 s`.
    pub name: &'static str,
    /// What happens.
    pub description: &'static str,
    /// How long the fault lasts, roughly.
    pub duration: Duration,
    pub(super) plan: Plan,
    pub(super) stage: for<'a> fn(&'a Scene) -> BoxFuture<'a, Outcome>,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scenario").field(&self.name).finish()
    }
}

/// A fault that lasts at least this long is a long one.
const LONG: Duration = Duration::from_secs(8);

impl Scenario {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        [broker::all(), cluster::all(), link::all(), node::all(), speed::all()].concat()
    }

    /// The scenario of that name or label.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|it| it.name == name || it.label() == name)
    }

    /// The name for tests and command lines: `killed_2_s`.
    #[must_use]
    pub fn label(&self) -> String {
        let words = self.name.split(|letter: char| !letter.is_ascii_alphanumeric());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
    }

    /// Whether it takes too long for every test run.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.duration >= LONG
    }
}

/// A scenario of this name that runs this function; the plan changes the plain one.
macro_rules! scenario {
    (
        $name:literal, $seconds:literal s, $description:literal,
        $stage:path, { $($field:ident: $value:expr),* $(,)? }
    ) => {
        $crate::faults::Scenario {
            name: $name,
            description: $description,
            duration: std::time::Duration::from_millis(($seconds * 1_000.0) as u64),
            plan: $crate::faults::scene::Plan { $($field: $value,)* ..$crate::faults::scene::Plan::PLAIN },
            stage: |scene| Box::pin($stage(scene)),
        }
    };
}
use scenario;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let all = Scenario::all();
        let labels: HashSet<String> = all.iter().map(Scenario::label).collect();
        assert_eq!(labels.len(), all.len());
        for scenario in &all {
            assert_eq!(Scenario::named(scenario.name).map(|it| it.name), Some(scenario.name));
            assert_eq!(Scenario::named(&scenario.label()).map(|it| it.name), Some(scenario.name));
        }
    }
}
