use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{header::AUTHORIZATION, request::Parts};
use jsonwebtoken::{Header, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::Value;

use super::{Authenticate, Identity, Rejection, VerificationKey, claims};
use crate::query::Query;

/// More leeway than any clock needs; it also keeps the arithmetic of times within its range.
const MOST_LEEWAY: Duration = Duration::from_secs(86_400);

/// Authenticates by a JSON Web Token.
///
/// The token comes in the header `Authorization: Bearer …` or, as browsers can't set headers of
/// WebSockets, in the query as `access_token`. **Query strings are therefore secret**: this crate
/// never logs them, and neither may what stands before it.
///
/// A request without a token is anonymous, and the hub's policy decides about it; a request with a
/// token that is no good is always rejected, with the reason in the header `WWW-Authenticate`.
///
/// ```
/// use backplane_signalr::{Bearer, Options, VerificationKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let secret = [7; 32];
/// let bearer = Bearer::builder()
///     .key(VerificationKey::hs256(&secret)?)
///     .issuer("https://login.example")
///     .audience("orders")
///     .build()?;
/// let options = Options::new().authenticate(bearer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Bearer(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    keys: Vec<VerificationKey>,
    validation: Validation,
    user_id: Vec<String>,
}

/// What a [`Bearer`] is made of.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct BearerBuilder {
    keys: Vec<VerificationKey>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    leeway: Option<Duration>,
    user_id: Vec<String>,
}

/// A [`Bearer`] cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// Without a key no token can be verified.
    #[error("there is no key to verify tokens with: add one with BearerBuilder::key")]
    NoKey,
}

impl BearerBuilder {
    /// Adds a key. A token is verified with the keys of its algorithm; if it names a key's id, with
    /// that one only.
    pub fn key(mut self, key: VerificationKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Requires the claim `iss` to be this issuer, or one of them when called again. By default it is
    /// not looked at: set it wherever a key signs for more than one issuer.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Requires the claim `aud` to hold this audience, or one of them when called again. By default
    /// it is not looked at: set it wherever a key signs for more than one audience.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// How far clocks may differ when `exp` and `nbf` are checked. Default 60 s; at most a day. It lets
    /// a token in that has just expired, but prolongs no [`Identity`].
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = Some(leeway);
        self
    }

    /// Takes the user's id from this claim, or from the first that is there when called again.
    /// Default `sub`, then `nameid`, then .NET's name identifier.
    pub fn user_id_claim(mut self, name: impl Into<String>) -> Self {
        self.user_id.push(name.into());
        self
    }

    /// The authenticator.
    ///
    /// # Errors
    ///
    /// There is no key.
    pub fn build(self) -> Result<Bearer, BearerError> {
        if self.keys.is_empty() {
            return Err(BearerError::NoKey);
        }
        let mut validation = Validation::default();
        let mut required = vec!["exp"];
        validation.validate_nbf = true;
        validation.validate_aud = !self.audiences.is_empty();
        if let Some(leeway) = self.leeway {
            validation.leeway = leeway.min(MOST_LEEWAY).as_secs();
        }
        if !self.audiences.is_empty() {
            validation.set_audience(&self.audiences);
            required.push("aud");
        }
        if !self.issuers.is_empty() {
            validation.set_issuer(&self.issuers);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let user_id = if self.user_id.is_empty() {
            claims::USER_ID.map(str::to_owned).into()
        } else {
            self.user_id
        };
        Ok(Bearer(Arc::new(Rules { keys: self.keys, validation, user_id })))
    }
}

impl Bearer {
    /// One without keys, to be completed.
    pub fn builder() -> BearerBuilder {
        BearerBuilder::default()
    }

    /// Whose token this is, and when it expires.
    ///
    /// # Errors
    ///
    /// The token is no good.
    pub fn verify(&self, token: &str) -> Result<Identity, Rejection> {
        let header =
            decode_header(token).map_err(|_| Rejection::invalid_token("The token is malformed"))?;
        let mut failure = None;
        for key in self.candidates(&header) {
            let mut validation = self.0.validation.clone();
            validation.algorithms = vec![key.algorithm];
            match decode::<BTreeMap<String, Value>>(token, &key.key, &validation) {
                Ok(token) => return Ok(claims::identity(token.claims, &self.0.user_id)),
                // Another key may have signed it.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {
                    failure.get_or_insert(error);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(Rejection::invalid_token(failure.as_ref().map_or(
            "The token is signed with an unknown key or an algorithm that is not accepted",
            |error| reason(error.kind()),
        )))
    }

    /// The keys that may have signed a token with this header.
    fn candidates<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = &'a VerificationKey> {
        let named = header.kid.as_deref();
        let is_known = named.is_some() && self.0.keys.iter().any(|key| key.id.as_deref() == named);
        self.0.keys.iter().filter(move |key| {
            key.algorithm == header.alg
                && if is_known {
                    key.id.as_deref() == named
                } else {
                    named.is_none() || key.id.is_none()
                }
        })
    }
}

#[async_trait]
impl Authenticate for Bearer {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Rejection> {
        let query = Query::of(&request.uri);
        match presented(request)?.or_else(|| query.get("access_token")) {
            Some(token) => self.verify(token).map(Some),
            None => Ok(None),
        }
    }
}

/// The token in the header; other schemes than `Bearer` are somebody else's.
fn presented(request: &Parts) -> Result<Option<&str>, Rejection> {
    let Some(header) = request.headers.get(AUTHORIZATION) else { return Ok(None) };
    let malformed = || Rejection::invalid_token("The header Authorization is malformed");
    let (scheme, token) =
        header.to_str().ok().and_then(|header| header.split_once(' ')).ok_or_else(malformed)?;
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()))
}

/// What is wrong with a token, for the client to see: nothing that helps to forge one.
fn reason(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::InvalidSignature => "The signature is invalid",
        ErrorKind::ExpiredSignature => "The token has expired",
        ErrorKind::ImmatureSignature => "The token is not valid yet",
        ErrorKind::InvalidAudience => "The audience is invalid",
        ErrorKind::InvalidIssuer => "The issuer is invalid",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "aud" => "The audience is missing",
            "iss" => "The issuer is missing",
            _ => "The expiry is missing",
        },
        _ => "The token is malformed",
    }
}

#[cfg(test)]
mod tests;
