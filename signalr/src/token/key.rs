use std::{fmt, sync::LazyLock};

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256},
    rand,
};

/// The length of a signature.
pub(super) const TAG: usize = 32;

/// The shortest secret: that of the hash, as a shorter one is easier to guess than the signature.
const SHORTEST: usize = 32;

/// The keys that connection tokens are signed with.
///
/// All nodes of a hub need the same ones, or a client that negotiated with one node can't connect
/// to another. To change the key without refusing anybody, give every node the new one as previous,
/// then make it the current one everywhere with the old one as previous, then drop the old one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TokenKeys {
    /// Signs new tokens.
    pub current: TokenKey,
    /// Is still, or already, good for tokens that other nodes sign.
    pub previous: Option<TokenKey>,
}

impl TokenKeys {
    /// One key.
    #[must_use]
    pub const fn new(current: TokenKey) -> Self {
        Self { current, previous: None }
    }

    /// The same with a second key that tokens may be signed with.
    #[must_use]
    pub fn with_previous(self, previous: TokenKey) -> Self {
        Self { previous: Some(previous), ..self }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TokenKey> {
        [&self.current].into_iter().chain(&self.previous)
    }
}

/// A random key that all routers of this process share, and no other process: for one process, or
/// for several that are reached with sticky sessions.
impl Default for TokenKeys {
    fn default() -> Self {
        static PROCESS: LazyLock<TokenKey> = LazyLock::new(TokenKey::random);

        Self::new(PROCESS.clone())
    }
}

/// A key that connection tokens are signed with, by HMAC-SHA256.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl TokenKey {
    /// The key made of a secret of at least 32 bytes, best drawn at random.
    ///
    /// # Errors
    ///
    /// The secret is shorter.
    pub fn new(secret: &[u8]) -> Result<Self, TokenKeyError> {
        if secret.len() < SHORTEST {
            return Err(TokenKeyError { length: secret.len() });
        }
        Ok(Self(hmac::Key::new(HMAC_SHA256, secret)))
    }

    /// A key that nobody else has.
    ///
    /// # Panics
    ///
    /// When the operating system has no random source: a key that can be guessed must not exist.
    #[must_use]
    pub fn random() -> Self {
        let mut secret = [0; SHORTEST];
        assert!(rand::fill(&mut secret).is_ok(), "the operating system's random source failed");
        Self(hmac::Key::new(HMAC_SHA256, &secret))
    }

    /// Signs for one purpose, so that what is signed for another means nothing.
    pub(super) fn sign(&self, purpose: &str, bytes: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        preamble(purpose).iter().for_each(|part| context.update(part));
        context.update(bytes);
        context.sign()
    }

    /// Takes the same time wherever the first difference is.
    pub(super) fn verifies(&self, purpose: &str, bytes: &[u8], tag: &[u8]) -> bool {
        let mut signed = Vec::with_capacity(64 + bytes.len());
        preamble(purpose).iter().for_each(|part| signed.extend_from_slice(part));
        signed.extend_from_slice(bytes);
        hmac::verify(&self.0, &signed, tag).is_ok()
    }
}

fn preamble(purpose: &str) -> [&[u8]; 3] {
    [b"backplane-signalr ", purpose.as_bytes(), b"\0"]
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").finish_non_exhaustive()
    }
}

/// A secret is too short to sign connection tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret of {length} bytes is too short to sign connection tokens with: use at least {SHORTEST}, drawn at random"
)]
#[non_exhaustive]
pub struct TokenKeyError {
    /// How long it was.
    pub length: usize,
}
