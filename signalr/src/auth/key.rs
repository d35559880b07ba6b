use std::{fmt, sync::Once};

use jsonwebtoken::{Algorithm, DecodingKey, crypto::aws_lc};

/// A key that bearer tokens are verified with, for exactly one algorithm: a token that names another
/// one is not verified with it.
#[derive(Clone)]
pub struct VerificationKey {
    pub(super) id: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// A key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not a public key of the kind that the algorithm needs.
    #[error(
        "not a public key for {algorithm}: expected a PEM text that starts with -----BEGIN PUBLIC KEY-----"
    )]
    Pem {
        /// The algorithm.
        algorithm: &'static str,
        /// What is wrong with it.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
    /// The secret is empty, so anybody could sign.
    #[error("the secret is empty: anybody could sign with it")]
    Empty,
}

impl VerificationKey {
    /// HS256: a secret that the issuer and this server share. Use at least 32 random bytes.
    ///
    /// # Errors
    ///
    /// The secret is empty.
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self::new(Algorithm::HS256, DecodingKey::from_secret(secret)))
    }

    /// RS256: the issuer's public RSA key, as PEM.
    ///
    /// # Errors
    ///
    /// The text is not such a key.
    pub fn rs256(pem: &[u8]) -> Result<Self, KeyError> {
        let key = DecodingKey::from_rsa_pem(pem)
            .map_err(|source| KeyError::Pem { algorithm: "RS256", source })?;
        Ok(Self::new(Algorithm::RS256, key))
    }

    /// ES256: the issuer's public key on the curve P-256, as PEM.
    ///
    /// # Errors
    ///
    /// The text is not such a key.
    pub fn es256(pem: &[u8]) -> Result<Self, KeyError> {
        let key = DecodingKey::from_ec_pem(pem)
            .map_err(|source| KeyError::Pem { algorithm: "ES256", source })?;
        Ok(Self::new(Algorithm::ES256, key))
    }

    /// The same key under the id (`kid`) by which tokens name it. A token that names an id of a key
    /// is verified with that key only.
    #[must_use]
    pub fn with_id(self, id: impl Into<Box<str>>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        // Another crate may turn a second backend of jsonwebtoken on, and then the first
        // verification would panic unless one was chosen. An earlier choice is kept.
        static CHOSEN: Once = Once::new();
        CHOSEN.call_once(|| {
            // An error says that there is one.
            let _ = aws_lc::DEFAULT_PROVIDER.install_default();
        });
        Self { id: None, algorithm, key }
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
