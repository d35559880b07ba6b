//! The command line of `compare`.

use std::path::PathBuf;

use super::{bench::Menu, plan::Selection, table::wrapped};

/// Makes the brokers of several transports fail under load, and shows side by side what each lost,
/// doubled, reordered and reported.
///
/// Exit code 0: all is as promised. 1: it is not, or --check found something that got worse. 2: what was
/// asked for cannot be run.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "compare", version)]
pub struct Arguments {
    /// Transports, such as memory,redis,nats [default: the usual; all: also old versions]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub transports: Vec<String>,

    /// Scenarios, or how their names start, such as killed [default: the usual; all: also long ones]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub scenarios: Vec<String>,

    /// Layers: bare, counted, repaired [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub layers: Vec<String>,

    /// Envelopes per second, over all nodes
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,

    /// Bytes per body
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(24..=524_288))]
    pub size: u32,

    /// Nodes, each of which publishes and receives
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=64))]
    pub nodes: u16,

    /// What all randomness follows from [default: BACKPLANE_SEED, or a fresh one]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Where report.json and report.html go
    #[arg(long, default_value = "target/compare", value_name = "DIR")]
    pub out: PathBuf,

    /// An earlier report.json: fail if any promise got worse since
    #[arg(long, value_name = "OLD.JSON")]
    pub check: Option<PathBuf>,

    /// Also write the rows of the table, without the courses of the runs, as JSON for a document
    #[arg(long, value_name = "FILE")]
    pub digest: Option<PathBuf>,

    /// Also print a table of every transport and scenario
    #[arg(long)]
    pub details: bool,

    /// Print what there is to choose from, and what would be run, and end
    #[arg(long)]
    pub list: bool,
}

impl Arguments {
    /// What is to be compared.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection {
            transports: self.transports.clone(),
            layers: self.layers.clone(),
            scenarios: self.scenarios.clone(),
        }
    }

    /// The command line that repeats the comparison, with its seed.
    #[must_use]
    pub fn repeated(&self, seed: u64) -> String {
        let mut words = vec!["compare".to_owned()];
        let lists = [
            ("--transports", &self.transports),
            ("--scenarios", &self.scenarios),
            ("--layers", &self.layers),
        ];
        for (option, names) in lists {
            if !names.is_empty() {
                words.extend([option.to_owned(), quoted(&names.join(","))]);
            }
        }
        let Self { rate, size, nodes, .. } = self;
        words.push(format!("--rate {rate} --size {size} --nodes {nodes} --seed {seed}"));
        words.join(" ")
    }
}

/// What there is to choose from, for people, in lines of at most `widest`.
#[must_use]
pub fn listed(menu: &Menu, widest: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let kinds = [
        ("transports", &menu.transports),
        ("layers", &menu.layers),
        ("scenarios", &menu.scenarios),
    ];
    for (kind, choices) in kinds {
        lines.push(format!("{kind} (* usual):"));
        let longest = choices.iter().map(|choice| choice.name.chars().count()).max().unwrap_or(0);
        for choice in choices {
            let mark = if choice.usual { '*' } else { ' ' };
            let lasts = match choice.lasts.as_secs() {
                0 => String::new(),
                seconds => format!(" ({seconds} s)"),
            };
            let about =
                wrapped(&format!("{}{lasts}", choice.about), widest.saturating_sub(longest + 6));
            for (index, about) in about.iter().enumerate() {
                let (mark, name) =
                    if index == 0 { (mark, choice.name.as_str()) } else { (' ', "") };
                lines.push(format!("  {mark} {name:longest$}  {about}"));
            }
        }
    }
    lines
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_alphanumeric() || ",._-:/".contains(c);
    if word.chars().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_can_be_repeated() {
        Arguments::command().debug_assert();
        let arguments =
            Arguments::try_parse_from(["compare", "--scenarios", "killed 2 s,it's", "--rate", "9"]);
        let arguments = arguments.unwrap();
        assert_eq!(arguments.scenarios, ["killed 2 s", "it's"]);
        let command = arguments.repeated(7);
        let wanted =
            r"compare --scenarios 'killed 2 s,it'\''s' --rate 9 --size 256 --nodes 3 --seed 7";
        assert_eq!(command, wanted);
    }

    #[test]
    fn a_load_that_makes_no_sense_is_refused() {
        for wrong in [["--nodes", "1"], ["--rate", "0"], ["--size", "8"], ["--seed", "x"]] {
            let error = Arguments::try_parse_from([&["compare"][..], &wrong].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
        }
    }
}
