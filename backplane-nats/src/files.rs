//! The files that a configuration may name, looked at before the first connection: what is wrong
//! with them does not heal by waiting.

use std::{fs, io, path::Path};

use async_nats::{
    ConnectOptions,
    rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use backplane_core::{BoxError, ConnectError};

/// The length of an nkey's seed.
const SEED: usize = 58;

pub(crate) fn check_credentials(path: &Path) -> Result<(), ConnectError> {
    let check = || ConnectOptions::new().credentials(&fs::read_to_string(path)?).map(drop);
    check().map_err(|error| unusable(path, "the credentials", error))
}

pub(crate) fn check_seed(path: &Path) -> Result<(), ConnectError> {
    let check = || {
        let text = fs::read_to_string(path)?;
        let seed = seed(&text);
        let is_seed = seed.len() == SEED
            && seed.starts_with("SU")
            && seed.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
        if is_seed { Ok(()) } else { Err(io::Error::other("it holds no user's seed (SU…)")) }
    };
    check().map_err(|error| unusable(path, "the nkey", error))
}

/// The seed in an nkey's file.
pub(crate) fn seed(text: &str) -> &str {
    text.trim()
}

pub(crate) fn check_certificates(path: &Path, role: &'static str) -> Result<(), ConnectError> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        Ok(_) => Err(unusable(path, role, io::Error::other("it holds no PEM certificate"))),
        Err(error) => Err(unusable(path, role, error)),
    }
}

pub(crate) fn check_key(path: &Path) -> Result<(), ConnectError> {
    let key = PrivateKeyDer::from_pem_file(path);
    key.map(drop).map_err(|error| unusable(path, "the client's private key", error))
}

fn unusable(path: &Path, role: &'static str, source: impl Into<BoxError>) -> ConnectError {
    ConnectError::File { path: path.display().to_string(), role, source: source.into() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    fn file(folder: &TempDir, text: &str) -> PathBuf {
        let path = folder.path().join("file");
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn files_that_are_not_there() {
        let path = Path::new("/nowhere/file");
        for outcome in [
            check_credentials(path),
            check_seed(path),
            check_certificates(path, "the certificates to trust"),
            check_key(path),
        ] {
            let error = outcome.unwrap_err();
            assert!(error.to_string().contains("/nowhere/file"), "{error}");
            assert!(std::error::Error::source(&error).is_some());
        }
    }

    #[test]
    fn files_that_hold_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "hello");
        assert!(check_credentials(&path).is_err());
        assert!(check_seed(&path).is_err());
        assert!(check_certificates(&path, "the certificates to trust").is_err());
        assert!(check_key(&path).is_err());
    }

    #[test]
    fn a_seed_may_be_followed_by_a_new_line() {
        let folder = tempfile::tempdir().unwrap();
        let seed = format!("SU{}", "A2".repeat(28));
        assert!(check_seed(&file(&folder, &format!("{seed}\n"))).is_ok());
        let account = seed.replacen("SU", "SA", 1);
        assert!(check_seed(&file(&folder, &account)).is_err());
    }
}
