//! `report.json`: what was run, where, and what came of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::machine::{Machine, Versions};
use crate::faults::Run;

/// All that one call of `compare` found out. When it is read, what a newer version added is ignored, and
/// what an older one had not is empty; only the runs must be there, with what [`Run`] says of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When it began: RFC 3339, in UTC.
    #[serde(default)]
    pub started: String,
    /// What all randomness followed from.
    #[serde(default)]
    pub seed: u64,
    /// The command line that repeats it.
    #[serde(default)]
    pub command: String,
    /// Where it ran.
    #[serde(default)]
    pub machine: Machine,
    /// What ran.
    #[serde(default)]
    pub versions: Versions,
    /// What was measured, in the order of running.
    pub runs: Vec<Run>,
    /// What was to be measured and could not be.
    #[serde(default)]
    pub failed: Vec<Missing>,
    /// What makes no sense: to kill the broker of a transport that has none.
    #[serde(default)]
    pub not_applicable: Vec<Missing>,
    /// The transports that were asked for, in the order of running, with their versions if those are
    /// known.
    #[serde(default)]
    pub transports: Vec<String>,
    /// The layers that were asked for, in the order of running.
    #[serde(default)]
    pub layers: Vec<String>,
    /// The scenarios that were asked for, in the order of running.
    #[serde(default)]
    pub scenarios: Vec<Described>,
}

/// A run that is not among [`Report::runs`], and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The transport, with its version if that is known.
    pub transport: String,
    /// What was stacked on it.
    pub layer: String,
    /// The fault.
    pub scenario: String,
    /// Why there is no run.
    #[serde(default)]
    pub reason: String,
}

/// A scenario, and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// What happens in it.
    #[serde(default)]
    pub about: String,
}

/// The file in the folder that `--out` names.
pub const FILE: &str = "report.json";

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// It can't be read, or is not a report.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let unreadable = |source| ReportError::Unreadable { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        serde_json::from_str(&text)
            .map_err(|source| ReportError::NoReport { path: path.to_owned(), source })
    }

    /// Writes it as [`FILE`] into `folder`. Whoever reads meanwhile sees the whole of the old one or the
    /// whole of the new one.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ReportError> {
        // Not indented: of every run there are hundreds of points.
        let text = serde_json::to_string(self).map_err(io::Error::from);
        text.and_then(|text| replace(&folder.join(FILE), &(text + "\n")))
            .map_err(|source| ReportError::Unwritable { path: folder.to_owned(), source })
    }

    /// The transports of which something is known, in the order of running.
    #[must_use]
    pub fn transport_names(&self) -> Vec<&str> {
        self.known(self.transports.iter().map(String::as_str), |place| place.0)
    }

    /// The layers of which something is known, in the order of running.
    #[must_use]
    pub fn layer_names(&self) -> Vec<&str> {
        self.known(self.layers.iter().map(String::as_str), |place| place.1)
    }

    /// The scenarios of which something is known, in the order of running.
    #[must_use]
    pub fn scenario_names(&self) -> Vec<&str> {
        self.known(self.scenarios.iter().map(|scenario| scenario.name.as_str()), |place| place.2)
    }

    /// What was measured there, or why it was not.
    #[must_use]
    pub fn at(&self, transport: &str, layer: &str, scenario: &str) -> Option<Found<'_>> {
        let place = (transport, layer, scenario);
        let run = self.runs.iter().find(|run| place_of(run) == place).map(Found::Run);
        let mut failed = self.failed.iter().filter(|missing| missing.place() == place);
        let mut not_applicable =
            self.not_applicable.iter().filter(|missing| missing.place() == place);
        run.or_else(|| failed.next().map(Found::Failed))
            .or_else(|| not_applicable.next().map(Found::NotApplicable))
    }

    /// First those that were asked for, then any other.
    fn known<'a>(
        &'a self,
        asked: impl Iterator<Item = &'a str>,
        pick: impl Fn(Place<'a>) -> &'a str,
    ) -> Vec<&'a str> {
        let missing = self.failed.iter().chain(&self.not_applicable).map(Missing::place);
        let found: Vec<&str> = self.runs.iter().map(place_of).chain(missing).map(pick).collect();
        let asked = asked.filter(|name| found.contains(name)).collect::<Vec<_>>();
        let mut names: Vec<&str> = Vec::new();
        for name in asked.into_iter().chain(found) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// What a report has about one transport, layer and scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'a> {
    /// It was measured.
    Run(&'a Run),
    /// It could not be.
    Failed(&'a Missing),
    /// It makes no sense.
    NotApplicable(&'a Missing),
}

/// Transport, layer and scenario.
pub(super) type Place<'a> = (&'a str, &'a str, &'a str);

pub(super) fn place_of(run: &Run) -> Place<'_> {
    (&run.transport, &run.layer, &run.scenario)
}

impl Missing {
    pub(super) fn place(&self) -> Place<'_> {
        (&self.transport, &self.layer, &self.scenario)
    }
}

/// Writes a file beside `path`, and then puts it in its place.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<PathBuf> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)?;
    Ok(path.to_owned())
}

/// A report can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The file is not there, or may not be read.
    #[error("cannot read the report {}: name the report.json of an earlier run", path.display())]
    Unreadable {
        /// Where it was looked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds something else, or lacks what can't be done without.
    #[error("{} can't be read as a report of compare: name the report.json that an earlier run wrote, or make it \
             anew with the same command line and without --check", path.display())]
    NoReport {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The folder can't be made, or not be written to.
    #[error("cannot write into {}: name another folder with --out", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
