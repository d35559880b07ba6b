//! Logins: whoever names itself gets a token. A real application checks a password first.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use backplane_signalr::{Bearer, TokenKey, TokenKeys, VerificationKey};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

const AUDIENCE: &str = "orders";
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Issues tokens, and says how the nodes verify them.
#[derive(Clone)]
pub(crate) struct Login {
    secret: Arc<str>,
    bearer: Bearer,
    token_keys: TokenKeys,
}

#[derive(Serialize)]
struct Claims {
    sub: String,
    aud: String,
    exp: u64,
}

impl Login {
    pub(crate) fn new(secret: &str) -> Result<Self, Box<dyn Error>> {
        let key = VerificationKey::hs256(secret.as_bytes())?;
        let bearer = Bearer::builder().key(key).audience(AUDIENCE).build()?;
        // As good as the secret, and long enough for any: a real application has a second secret.
        let derived = format!("signs connections of the orders example: {secret}");
        let token_keys = TokenKeys::new(TokenKey::new(derived.as_bytes())?);
        Ok(Self { secret: secret.into(), bearer, token_keys })
    }

    /// A secret that only this process knows.
    pub(crate) fn random() -> Result<Self, Box<dyn Error>> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::new(&secret)
    }

    /// A token for `user`.
    pub(crate) fn token(&self, user: &str) -> Result<String, jsonwebtoken::errors::Error> {
        let expires = SystemTime::now() + LIFETIME;
        let since_epoch = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claims =
            Claims { sub: user.to_owned(), aud: AUDIENCE.to_owned(), exp: since_epoch.as_secs() };
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        jsonwebtoken::encode(&Header::default(), &claims, &key)
    }

    /// Verifies tokens.
    pub(crate) const fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// Any node that knows the secret takes a connection that another one negotiated.
    pub(crate) const fn token_keys(&self) -> &TokenKeys {
        &self.token_keys
    }
}
