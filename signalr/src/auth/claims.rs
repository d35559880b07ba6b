use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use backplane_hub::{Claims, User};
use serde_json::Value;

use super::Identity;

/// The claims that hold a user's id, most wanted first.
pub(super) const USER_ID: [&str; 3] =
    ["sub", "nameid", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"];

/// Whom a token's claims describe, and until when.
pub(super) fn identity(token: BTreeMap<String, Value>, id_claims: &[String]) -> Identity {
    let expires_at = token.get("exp").and_then(expiry);
    Identity { user: user(token, id_claims), expires_at }
}

/// The time that is so many seconds after 1970. One that no clock can show is never.
fn expiry(seconds: &Value) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds.as_f64()?).ok()?;
    UNIX_EPOCH.checked_add(since)
}

fn user(token: BTreeMap<String, Value>, id_claims: &[String]) -> User {
    let mut claims = Claims::new();
    for (name, value) in token {
        match value {
            Value::Array(values) => {
                values.into_iter().for_each(|value| claims.insert(&name, text(value)));
            }
            Value::Null => {}
            value => claims.insert(name, text(value)),
        }
    }
    let id = id_claims.iter().find_map(|name| claims.first(name)).map(Into::into);
    User { id, claims: claims.into() }
}

/// A claim as text: others than texts as they stand in the token.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(token: Value, id_claims: &[&str]) -> User {
        let id_claims: Vec<String> = id_claims.iter().map(|&name| name.to_owned()).collect();
        user(serde_json::from_value(token).unwrap(), &id_claims)
    }

    #[test]
    fn the_first_claim_that_is_there_is_the_id() {
        let id = |token| of(token, &USER_ID).id;
        assert_eq!(id(json!({"nameid": "b", "sub": "a"})).as_deref(), Some("a"));
        assert_eq!(id(json!({"nameid": "b"})).as_deref(), Some("b"));
        assert_eq!(id(json!({USER_ID[2]: "c"})).as_deref(), Some("c"));
        assert_eq!(id(json!({"sub": 7})).as_deref(), Some("7"));
        assert_eq!(id(json!({"email": "d"})), None);
        assert_eq!(of(json!({"email": "d", "sub": "a"}), &["email"]).id.as_deref(), Some("d"));
    }

    #[test]
    fn the_expiry_is_a_time() {
        let at = |exp| {
            let token = serde_json::from_value(json!({"sub": "ann", "exp": exp})).unwrap();
            identity(token, &[]).expires_at
        };
        assert_eq!(at(json!(90)), Some(UNIX_EPOCH + Duration::from_secs(90)));
        assert_eq!(at(json!(90.5)), Some(UNIX_EPOCH + Duration::from_millis(90_500)));
        for never in [json!(1e300), json!(-1), json!("90"), json!(null)] {
            assert_eq!(at(never.clone()), None, "{never}");
        }
    }

    #[test]
    fn claims_keep_all_values() {
        let user = of(json!({"role": ["cook", "admin"], "age": 42, "on": true, "no": null}), &[]);
        assert!(user.claims.has("role", "cook") && user.claims.has("role", "admin"));
        assert_eq!(user.claims.first("age"), Some("42"));
        assert_eq!(user.claims.first("on"), Some("true"));
        assert_eq!(user.claims.first("no"), None);
    }
}
