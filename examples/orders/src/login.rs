//! Logins: whoever names itself gets a token. A real application checks a password first.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use backplane_signalr::{Bearer, TokenKeys};
use jsonwebtoken::{EncodingKey, Header};
use serde::{Deserialize, Serialize};

const AUDIENCE: &str = "orders";
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Issues tokens, and says how the nodes verify them.
#[derive(Clone)]
pub(crate) struct Login {
    secret: Arc<str>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    aud: String,
    exp: u64,
}

impl Login {
    pub(crate) fn new(secret: &str) -> Self {
        Self { secret: secret.into() }
    }

    /// A secret that only this process knows.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self::new(&secret))
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

    pub(crate) fn bearer(&self) -> Bearer {
        Bearer::hs256(self.secret.as_bytes()).audience(AUDIENCE)
    }

    /// Any node that knows the secret takes a connection that another one negotiated.
    pub(crate) fn token_keys(&self) -> TokenKeys {
        TokenKeys::from_secret(self.secret.as_bytes())
    }
}
