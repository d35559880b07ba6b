//! Who may talk to a NATS server, seen from both sides.
//!
//! The chain of keys and tokens of the operator mode (operator, account, user) is what `nsc` makes; here
//! it is made in the process, so no tool is needed.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use nkeys::error::Error as KeyError;
use serde_json::{Value, json};

use super::BrokerError;

/// The way in.
#[derive(Debug)]
pub(super) enum Login {
    Open,
    User { name: String, password: String },
    Token(String),
    Credentials(Box<Credentials>),
}

impl Login {
    /// The lines of the server's configuration.
    pub(super) fn config(&self) -> String {
        match self {
            Self::Open => String::new(),
            Self::User { name, password } => {
                let login = json!({ "user": name, "password": password });
                format!("authorization: {login}\n")
            }
            Self::Token(token) => format!("authorization: {}\n", json!({ "token": token })),
            Self::Credentials(credentials) => credentials.config(),
        }
    }

    /// What a client's `CONNECT` says; `nonce` is the server's challenge.
    pub(super) fn connect(&self, nonce: &str) -> Value {
        match self {
            Self::Open => json!({}),
            Self::User { name, password } => json!({ "user": name, "pass": password }),
            Self::Token(token) => json!({ "auth_token": token }),
            Self::Credentials(credentials) => {
                let signature = credentials.user.sign(nonce.as_bytes()).unwrap_or_default();
                json!({ "jwt": credentials.user_token, "sig": URL_SAFE_NO_PAD.encode(signature) })
            }
        }
    }
}

/// One operator, one account, one user who may do everything.
#[derive(Debug)]
pub(super) struct Credentials {
    operator_token: String,
    account: String,
    account_token: String,
    user: KeyPair,
    user_token: String,
}

impl Credentials {
    pub(super) fn generate() -> Result<Self, BrokerError> {
        Self::try_generate().map_err(BrokerError::Keys)
    }

    fn try_generate() -> Result<Self, KeyError> {
        let (operator, account, user) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1,
        });
        let operator_claims = json!({ "type": "operator", "version": 2 });
        let account_claims = json!({ "type": "account", "version": 2, "limits": unlimited });
        let user_claims = json!({
            "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
        });
        Ok(Self {
            operator_token: token(&operator, &operator, &operator_claims)?,
            account: account.public_key(),
            account_token: token(&operator, &account, &account_claims)?,
            user_token: token(&account, &user, &user_claims)?,
            user,
        })
    }

    /// The text of a credentials file, as every NATS client reads it.
    pub(super) fn file(&self) -> Result<String, BrokerError> {
        let seed = self.user.seed().map_err(BrokerError::Keys)?;
        let token = &self.user_token;
        Ok(format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        ))
    }

    fn config(&self) -> String {
        let Self { operator_token, account, account_token, .. } = self;
        format!(
            "operator: {operator_token}\nresolver: MEMORY\n\
             resolver_preload: {{ {account}: {account_token} }}\n"
        )
    }
}

/// A NATS token: `issuer` says that `subject` has these claims.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> Result<String, KeyError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": subject.public_key(), "iat": now, "iss": issuer.public_key(),
        "sub": subject.public_key(), "name": "backplane-tests", "nats": claims,
    });
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&body));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes())?);
    Ok(format!("{signed}.{signature}"))
}
