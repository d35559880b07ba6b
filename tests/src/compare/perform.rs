//! All that one call of `compare` does.

use std::{
    fs,
    io::{self, IsTerminal as _, Write},
    path::Path,
    time::SystemTime,
};

use super::{
    arguments::{Arguments, listed},
    bench::{Bench, Load},
    check::{Checked, check},
    digest::Digest,
    finding::findings,
    format::{counted, remaining},
    machine::{Machine, Versions},
    page,
    plan::{Plan, PlanError},
    printed::{details, overview},
    report::{Described, Report, ReportError},
    session::measure,
    table::wrapped,
};
use crate::kit::{Stop, seed};

/// How a comparison ended; [`code`](Self::code) is for the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is as promised, and nothing got worse.
    Fine,
    /// Something is not as promised, got worse, or could not be measured.
    Findings,
}

impl Verdict {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Findings => 1,
        }
    }
}

/// What was asked for can't be run, with exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A name that there is not, or a broker that is missing.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A report that can't be read or written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The seed in the environment is none.
    #[error("{0}")]
    Seed(String),
    /// Standard output is gone.
    #[error("cannot print")]
    Print(#[source] io::Error),
}

/// The columns of output that is no terminal.
const WIDEST: usize = 120;

/// On a wider terminal, notes would become hard to read.
const WIDEST_TERMINAL: usize = 160;

/// Does what the arguments say: runs, prints on `out`, writes the files. Once `interrupted` is ready it
/// ends early, with what there is.
///
/// # Errors
///
/// What was asked for can't be run; nothing has run then, unless the files can't be written.
pub async fn perform(
    arguments: &Arguments,
    bench: &dyn Bench,
    interrupted: impl Future<Output = ()> + Send,
    out: &mut (dyn Write + Send),
) -> Result<Verdict, CompareError> {
    let plan = Plan::new(bench, &arguments.selection())?;
    let what =
        format!("{}, about {}", counted(plan.runs.len() as u64, "run"), remaining(plan.lasts()));
    if arguments.list {
        let mut lines = listed(&bench.menu(), width());
        lines.push(format!("With these arguments: {what}."));
        print(out, &lines)?;
        return Ok(Verdict::Fine);
    }
    // Before anything runs: it may be the file that is written later.
    let old = arguments.check.as_deref().map(Report::read).transpose()?;
    make(&arguments.out)?;
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => seed().map_err(|stop| match stop {
            Stop::Broken(text) | Stop::NotApplicable(text) | Stop::NotPromised(text) => {
                CompareError::Seed(text)
            }
        })?,
    };
    let load = Load {
        rate: arguments.rate,
        size: arguments.size as usize,
        nodes: arguments.nodes.into(),
        seed,
    };
    print(out, &[format!("{what}, seed {seed}; Ctrl-C ends it early, with what there is")])?;

    let mut report = begun(arguments, bench, &plan, seed);
    measure(bench, &plan, load, interrupted, &mut report).await;

    let file = report.write(&arguments.out)?;
    let shown = page::write(&report, &arguments.out)?;
    if let Some(path) = &arguments.digest {
        Digest::of(&report).write(path)?;
    }
    let width = width();
    let mut lines = vec![String::new()];
    lines.extend(overview(&report, width));
    if arguments.details {
        lines.push(String::new());
        lines.extend(details(&report, width));
    }
    let checked = match &old {
        Some(old) => check(old, &report),
        None => Checked { findings: findings(&report), ..Checked::default() },
    };
    lines.extend(told(&checked, arguments.check.as_deref(), width));
    lines.push(format!("{} and {}", file.display(), shown.display()));
    print(out, &lines)?;
    Ok(if checked.findings.is_empty() { Verdict::Fine } else { Verdict::Findings })
}

/// A report of which nothing has run.
fn begun(arguments: &Arguments, bench: &dyn Bench, plan: &Plan, seed: u64) -> Report {
    let about = |name: String| {
        let choice = bench.menu().scenarios.into_iter().find(|choice| choice.name == name);
        Described { name, about: choice.map(|choice| choice.about).unwrap_or_default() }
    };
    Report {
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        seed,
        command: arguments.repeated(seed),
        machine: Machine::this(),
        versions: Versions::this(),
        runs: Vec::new(),
        failed: Vec::new(),
        not_applicable: Vec::new(),
        transports: plan.names(|case| &case.transport),
        layers: plan.names(|case| &case.layer),
        scenarios: plan.names(|case| &case.scenario).into_iter().map(about).collect(),
    }
}

/// What was found. A finding is one line, however long: it is also for programs to read.
fn told(checked: &Checked, against: Option<&Path>, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for note in &checked.notes {
        lines.extend(wrapped(&format!("note: {note}"), width));
    }
    lines.extend(checked.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(checked.findings.iter().map(|finding| format!("finding: {finding}")));
    let since = against.map(|path| format!(" since {}", path.display()));
    lines.push(match (checked.findings.len() as u64, since) {
        (0, None) => "Every loss was reported, and every promise kept.".to_owned(),
        (0, Some(since)) => {
            format!("Every loss was reported, every promise kept, and none got worse{since}.")
        }
        (number, since) => format!("{}{}.", counted(number, "finding"), since.unwrap_or_default()),
    });
    lines
}

fn make(folder: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(folder)
        .map_err(|source| ReportError::Unwritable { path: folder.to_owned(), source })
}

fn print(out: &mut (dyn Write + Send), lines: &[String]) -> Result<(), CompareError> {
    let text = lines.join("\n") + "\n";
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CompareError::Print)
}

/// The columns of standard output, if it is a terminal.
fn width() -> usize {
    let stdout = io::stdout();
    let columns = if stdout.is_terminal() {
        rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col))
    } else {
        0
    };
    if columns == 0 { WIDEST } else { columns.min(WIDEST_TERMINAL) }
}
