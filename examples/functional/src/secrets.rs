//! What the nodes of this process share: they verify each other's logins and connection tokens.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use backplane_signalr::{Bearer, TokenKey, TokenKeys, VerificationKey};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

const LIFETIME: Duration = Duration::from_secs(5);
/// The tests' tokens hardly live: what makes them last is the leeway of the original.
const LEEWAY: Duration = Duration::from_secs(5 * 60);

/// Issues logins, and says how they are verified.
#[derive(Clone)]
pub(crate) struct Secrets {
    signing: EncodingKey,
    bearer: Bearer,
    token_keys: TokenKeys,
}

#[derive(Serialize)]
struct Claims {
    nameid: &'static str,
    iss: &'static str,
    aud: &'static str,
    exp: u64,
}

impl Secrets {
    /// Secrets that only this process knows.
    pub(crate) fn random() -> Result<Self, Box<dyn Error>> {
        let (mut logins, mut connections) = ([0; 32], [0; 32]);
        getrandom::fill(&mut logins)?;
        getrandom::fill(&mut connections)?;
        let key = VerificationKey::hs256(&logins)?;
        Ok(Self {
            signing: EncodingKey::from_secret(&logins),
            bearer: Bearer::builder().key(key).leeway(LEEWAY).build()?,
            token_keys: TokenKeys::new(TokenKey::new(&connections)?),
        })
    }

    /// A login of the one user there is.
    pub(crate) fn login(&self) -> Result<String, jsonwebtoken::errors::Error> {
        let expires = SystemTime::now() + LIFETIME;
        let since_epoch = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claims = Claims {
            nameid: "testuser",
            iss: "SignalRTestServer",
            aud: "SignalRTests",
            exp: since_epoch.as_secs(),
        };
        jsonwebtoken::encode(&Header::default(), &claims, &self.signing)
    }

    pub(crate) const fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    pub(crate) const fn token_keys(&self) -> &TokenKeys {
        &self.token_keys
    }
}
