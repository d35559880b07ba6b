//! Where the servers' programs are.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::BrokerError;

/// A server's program, and where to look for it.
///
/// An environment variable wins; then the folder `.brokers/` at the top of the workspace, which
/// `tests/run --fetch` fills; then the PATH, if the program there is of the wanted version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Program {
    /// The server, as a person calls it: `Redis 7`.
    pub what: &'static str,
    /// The environment variable that may name the program's file.
    pub variable: &'static str,
    /// Its folder in `.brokers/`.
    pub folder: &'static str,
    /// Its file name, there and on the PATH.
    pub file: &'static str,
    /// What `--version` prints somewhere if the program on the PATH will do.
    pub version: &'static str,
}

impl Program {
    /// Redis 7, from Debian.
    pub const REDIS_7: Self = Self {
        what: "Redis 7",
        variable: "BACKPLANE_REDIS7_BIN",
        folder: "redis-7",
        file: "redis-server",
        version: "v=7.",
    };
    /// Redis 6.2: an old server, without sharded Pub/Sub.
    pub const REDIS_6: Self = Self {
        what: "Redis 6.2",
        variable: "BACKPLANE_REDIS6_BIN",
        folder: "redis-6",
        file: "redis-server",
        version: "v=6.2.",
    };
    /// Valkey 9.
    pub const VALKEY_9: Self = Self {
        what: "Valkey 9",
        variable: "BACKPLANE_VALKEY9_BIN",
        folder: "valkey-9",
        file: "valkey-server",
        version: "v=9.",
    };
    /// NATS 2.9, from Debian.
    pub const NATS_2_9: Self = Self {
        what: "NATS 2.9",
        variable: "BACKPLANE_NATS2_9_BIN",
        folder: "nats-2.9",
        file: "nats-server",
        version: "v2.9.",
    };
    /// NATS 2.15.
    pub const NATS_2_15: Self = Self {
        what: "NATS 2.15",
        variable: "BACKPLANE_NATS2_15_BIN",
        folder: "nats-2.15",
        file: "nats-server",
        version: "v2.15.",
    };
    /// Tansu 0.6: speaks Kafka's protocol, and keeps everything in memory.
    pub const TANSU: Self = Self {
        what: "Tansu 0.6",
        variable: "BACKPLANE_TANSU_BIN",
        folder: "tansu-0.6",
        file: "tansu",
        version: "tansu 0.6.",
    };

    /// Finds the program's file.
    ///
    /// # Errors
    ///
    /// [`BrokerError::ProgramNotFound`] if the environment variable names something that is no file,
    /// [`BrokerError::ProgramMissing`] if no place has the program.
    pub fn find(&self) -> Result<PathBuf, BrokerError> {
        self.find_in(env::var_os(self.variable), workspace(), search_path())
    }

    fn find_in(
        &self,
        named: Option<OsString>,
        workspace: &Path,
        search: Vec<PathBuf>,
    ) -> Result<PathBuf, BrokerError> {
        if let Some(path) = named.map(PathBuf::from) {
            return if path.is_file() {
                Ok(path)
            } else {
                Err(BrokerError::ProgramNotFound { variable: self.variable, path })
            };
        }
        // Not canonicalised: Debian's redis-server looks at the name it is called by.
        let fetched = workspace.join(".brokers").join(self.folder).join(self.file);
        if fetched.is_file() {
            return Ok(fetched);
        }
        let mut looked_at = vec![self.variable.to_owned(), fetched.display().to_string()];
        for folder in search {
            let candidate = folder.join(self.file);
            match version_of(&candidate) {
                Some(version) if version.contains(self.version) => return Ok(candidate),
                Some(version) => {
                    looked_at.push(format!("{} ({})", candidate.display(), version.trim()));
                }
                None => {}
            }
        }
        looked_at.push("the PATH".to_owned());
        Err(BrokerError::ProgramMissing { what: self.what, variable: self.variable, looked_at })
    }
}

/// The top of the workspace.
fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The PATH, and where servers live on systems that keep them off an ordinary user's PATH.
fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.dedup();
    folders
}

/// The first line that the program prints when asked for its version; none if it can't be run.
pub(super) fn version_of(program: &Path) -> Option<String> {
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fake(folder: &Path, version: &str) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let file = folder.join("redis-server");
        fs::write(&file, format!("#!/bin/sh\necho 'Redis server {version}'\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    #[test]
    fn a_named_program_wins_and_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = fake(folder.path(), "v=1.2.3");
        let found = Program::REDIS_7.find_in(Some(file.clone().into()), folder.path(), vec![]);
        assert_eq!(found.unwrap(), file);
        let error = Program::REDIS_7
            .find_in(Some("/nowhere/redis".into()), folder.path(), vec![])
            .unwrap_err();
        assert!(error.to_string().contains("BACKPLANE_REDIS7_BIN names /nowhere/redis"));
    }

    #[test]
    fn the_fetched_program_comes_before_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let fetched = fake(&folder.path().join(".brokers/redis-7"), "v=7.0.15");
        fake(&folder.path().join("bin"), "v=7.2.0");
        let search = vec![folder.path().join("bin")];
        assert_eq!(Program::REDIS_7.find_in(None, folder.path(), search).unwrap(), fetched);
    }

    #[test]
    fn a_program_on_the_path_must_have_the_version() {
        let folder = tempfile::tempdir().unwrap();
        fake(&folder.path().join("six"), "v=6.2.5");
        let seven = fake(&folder.path().join("seven"), "v=7.0.15");
        let search = vec![folder.path().join("six"), folder.path().join("seven")];
        assert_eq!(Program::REDIS_7.find_in(None, folder.path(), search).unwrap(), seven);

        let search = vec![folder.path().join("six")];
        let message =
            Program::REDIS_7.find_in(None, folder.path(), search).unwrap_err().to_string();
        assert!(message.contains("tests/run --fetch"), "{message}");
        assert!(message.contains("v=6.2.5"), "{message}");
    }
}
