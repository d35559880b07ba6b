//! What the run of a scenario came to, for people and for programs.

use std::{fmt, io::Write, time::Duration};

use serde_json::json;

use super::{Doing, Outcome};

/// The environment variable that names a file to which every record is appended, as a line of JSON.
pub const REPORT: &str = "BACKPLANE_REPORT";

/// What one scenario on one medium came to.
#[derive(Debug, Clone)]
pub struct Record {
    /// The subject's label: `redis7`.
    pub subject: String,
    /// What the medium says that it is: `redis 7.0.15`.
    pub medium: String,
    /// The scenario's name.
    pub scenario: String,
    /// The result.
    pub verdict: Verdict,
    /// What else should be known.
    pub notes: Vec<Note>,
    /// How long it took.
    pub took: Duration,
    /// What its randomness followed from.
    pub seed: u64,
}

/// A scenario's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise was kept.
    Passed,
    /// A promise was broken.
    Failed(String),
    /// The transport does not promise what the scenario checks.
    NotPromised(String),
    /// The fixture cannot do what the scenario needs.
    NotApplicable(String),
}

/// Something that a scenario noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A figure.
    Figure(String),
    /// The transport did better than it promises.
    Better(String),
    /// A part of the scenario checks what is not promised.
    NotPromised(String),
    /// A part of the scenario could not be run.
    LeftOut(String),
}

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::NotPromised(_) => "not promised",
            Self::NotApplicable(_) => "not applicable",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(reason) | Self::NotPromised(reason) | Self::NotApplicable(reason) => {
                Some(reason)
            }
        }
    }
}

impl Note {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Figure(text) => ("figure", text),
            Self::Better(text) => ("better than promised", text),
            Self::NotPromised(text) => ("not promised", text),
            Self::LeftOut(text) => ("left out", text),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, medium, scenario, verdict, notes, took, seed } = self;
        write!(f, "{subject}::{scenario} on {medium}: {} in {took:.1?}", verdict.word())?;
        write!(f, " ({}={seed})", super::random::SEED)?;
        if let Some(reason) = verdict.reason() {
            write!(f, "\n  {}", reason.replace('\n', "\n  "))?;
        }
        for (kind, text) in notes.iter().map(Note::parts) {
            write!(f, "\n  {kind}: {}", text.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

impl Record {
    /// Appends it to the file named by [`REPORT`], if there is one.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn keep(&self) -> Outcome {
        let Some(path) = std::env::var_os(REPORT) else { return Ok(()) };
        let notes = self.notes.iter().map(Note::parts);
        let notes: Vec<_> =
            notes.map(|(kind, text)| json!({ "kind": kind, "text": text })).collect();
        let line = json!({
            "subject": self.subject,
            "medium": self.medium,
            "scenario": self.scenario,
            "verdict": self.verdict.word(),
            "reason": self.verdict.reason(),
            "notes": notes,
            "seconds": self.took.as_secs_f64(),
            "seed": self.seed,
        });
        // One write, so that lines of processes that run side by side stay whole.
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .doing(format!("opening {}", path.display()))?;
        file.write_all(format!("{line}\n").as_bytes()).doing("writing the report")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_well() {
        let record = Record {
            subject: "redis7".to_owned(),
            medium: "redis 7.0.15".to_owned(),
            scenario: "order::kept".to_owned(),
            verdict: Verdict::Failed("two lines\nof it".to_owned()),
            notes: vec![Note::Figure("3 of 4".to_owned())],
            took: Duration::from_millis(1234),
            seed: 7,
        };
        let expected = "redis7::order::kept on redis 7.0.15: failed in 1.2s (BACKPLANE_SEED=7)\n  \
                        two lines\n  of it\n  figure: 3 of 4";
        assert_eq!(record.to_string(), expected);
    }
}
