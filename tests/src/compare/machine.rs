//! Where a comparison ran, and what.

use std::{collections::BTreeMap, env, fs, process::Command, thread};

use serde::{Deserialize, Serialize};

/// The machine, as far as it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Threads that can run at once.
    pub cores: usize,
    /// The processor's model, if the system names it.
    pub cpu: Option<String>,
    /// The operating system, with its version if it names one.
    pub os: String,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let os = value(&release, "PRETTY_NAME", '=').unwrap_or_else(|| env::consts::OS.to_owned());
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            cpu: value(&cpuinfo, "model name", ':'),
            os: format!("{os}, {}", env::consts::ARCH),
        }
    }
}

/// The versions of what ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// This workspace's.
    pub backplane: String,
    /// The compiler's, if cargo started the program.
    pub rustc: Option<String>,
    /// What each broker says that it is, by the name that chose it: `redis7` is `redis 7.0.15`.
    pub brokers: BTreeMap<String, String>,
}

impl Versions {
    /// Those of this program; no broker has said anything yet.
    #[must_use]
    pub fn this() -> Self {
        // Under `cargo run` it is the compiler that built the program; otherwise nobody knows.
        let rustc = env::var_os("CARGO").and_then(|_| {
            let output = Command::new("rustc").arg("--version").output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout);
            output.status.success().then(|| text.trim().to_owned())
        });
        Self { backplane: env!("CARGO_PKG_VERSION").to_owned(), rustc, brokers: BTreeMap::new() }
    }
}

/// The first value under `name`, without quotes.
fn value(text: &str, name: &str, separator: char) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_from_what_linux_says() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n";
        assert_eq!(value(cpuinfo, "model name", ':').as_deref(), Some("Some CPU @ 2 GHz"));
        let release = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian 12\"\n";
        assert_eq!(value(release, "PRETTY_NAME", '=').as_deref(), Some("Debian 12"));
        assert_eq!(value("", "PRETTY_NAME", '='), None);
        assert!(Machine::this().cores > 0);
    }
}
