//! What is run, in which order, and how long that takes.

use std::time::Duration;

use super::bench::{Bench, Case, Choice};

/// The runs of one comparison, one after the other, so that none disturbs another.
///
/// All of a scenario's runs come together: whatever ends the comparison early leaves whole scenarios.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order of running.
    pub runs: Vec<Planned>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is run.
    pub case: Case,
    /// How long it should take.
    pub lasts: Duration,
}

/// What to compare: names, in any case and with or without what is neither letter nor digit.
///
/// Part of a name means those that start so, or else those that have it anywhere; the usual ones of
/// them, or else all: `redis` is `redis7`. `all` means all, and nothing at all means the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Transports.
    pub transports: Vec<String>,
    /// Layers.
    pub layers: Vec<String>,
    /// Scenarios.
    pub scenarios: Vec<String>,
}

/// There is nothing to run as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A name that nothing has.
    #[error("there is no {what} {name:?}: there are {known}, and all")]
    Unknown {
        /// `transport`, `layer` or `scenario`.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A transport that can't run on this machine.
    #[error("{transport} cannot run here: {reason}; or leave it out with --transports")]
    Absent {
        /// The transport.
        transport: String,
        /// What is missing, and what installs it.
        reason: String,
    },
}

impl Plan {
    /// What follows from a selection.
    ///
    /// # Errors
    ///
    /// A name that there is not, or a transport that can't run on this machine.
    pub fn new(bench: &dyn Bench, selection: &Selection) -> Result<Self, PlanError> {
        let menu = bench.menu();
        let transports = choose("transport", &menu.transports, &selection.transports)?;
        let layers = choose("layer", &menu.layers, &selection.layers)?;
        let scenarios = choose("scenario", &menu.scenarios, &selection.scenarios)?;
        for transport in &transports {
            bench.look(&transport.name).map_err(|reason| PlanError::Absent {
                transport: transport.name.clone(),
                reason,
            })?;
        }
        let mut runs = Vec::new();
        for scenario in &scenarios {
            for transport in &transports {
                for layer in &layers {
                    let case = Case {
                        transport: transport.name.clone(),
                        layer: layer.name.clone(),
                        scenario: scenario.name.clone(),
                    };
                    runs.push(Planned { case, lasts: scenario.lasts });
                }
            }
        }
        Ok(Self { runs })
    }

    /// How long all of it should take.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.runs.iter().map(|planned| planned.lasts).sum()
    }

    /// One of a case's names, each once, in the order of running.
    #[must_use]
    pub fn names(&self, pick: impl Fn(&Case) -> &String) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.runs.iter().map(|planned| pick(&planned.case)) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

impl Planned {
    /// When a run has taken this long, something is wrong with it.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.lasts * 3 + Duration::from_secs(60)
    }
}

/// The choices that the names mean, in the order of the menu.
fn choose<'a>(
    what: &'static str,
    menu: &'a [Choice],
    names: &[String],
) -> Result<Vec<&'a Choice>, PlanError> {
    if names.is_empty() {
        return Ok(menu.iter().filter(|choice| choice.usual).collect());
    }
    let mut chosen = vec![false; menu.len()];
    for name in names {
        let wanted = plain(name);
        let exact = |choice: &Choice| plain(&choice.name) == wanted;
        let usual = |choice: &Choice| choice.usual && plain(&choice.name).starts_with(&wanted);
        let starts = |choice: &Choice| plain(&choice.name).starts_with(&wanted);
        let usual_has = |choice: &Choice| choice.usual && plain(&choice.name).contains(&wanted);
        let has = |choice: &Choice| plain(&choice.name).contains(&wanted);
        let all = |_: &Choice| true;
        let ways: [&dyn Fn(&Choice) -> bool; 5] = [&exact, &usual, &starts, &usual_has, &has];
        let meant = match wanted.as_str() {
            "" => None,
            "all" => Some(&all as &dyn Fn(&Choice) -> bool),
            _ => ways.into_iter().find(|way| menu.iter().any(way)),
        };
        let Some(meant) = meant else {
            let known: Vec<&str> = menu.iter().map(|choice| choice.name.as_str()).collect();
            return Err(PlanError::Unknown { what, name: name.clone(), known: known.join(", ") });
        };
        for (chosen, choice) in chosen.iter_mut().zip(menu) {
            *chosen |= meant(choice);
        }
    }
    Ok(menu.iter().zip(chosen).filter_map(|(choice, chosen)| chosen.then_some(choice)).collect())
}

/// A name without what people write in different ways.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
