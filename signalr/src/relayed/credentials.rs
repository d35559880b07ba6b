//! The credentials of a request, as nodes tell them to each other: JSON, whose unknown properties are
//! skipped.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use backplane_hub::{Claims, User};
use serde::{Deserialize, Serialize};

use super::letter::Unreadable;
use crate::Identity;

#[derive(Serialize, Deserialize)]
struct Credentials {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    claims: BTreeMap<String, Vec<String>>,
    /// When they expire, since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Duration>,
}

pub(super) fn write(identity: &Identity) -> Vec<u8> {
    let Identity { user, expires_at } = identity;
    let claims = user.claims.iter();
    let credentials = Credentials {
        id: user.id.as_deref().map(str::to_owned),
        claims: claims.map(|(name, values)| (name.to_owned(), values.to_vec())).collect(),
        // What expired before then is expired at that time as well.
        until: expires_at.map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
    };
    serde_json::to_vec(&credentials).expect("text and numbers can be written")
}

pub(super) fn read(credentials: &[u8]) -> Result<Identity, Unreadable> {
    let Credentials { id, claims, until } =
        serde_json::from_slice(credentials).map_err(|_| Unreadable)?;
    let user = User { id: id.map(Into::into), claims: Arc::new(Claims::from(claims)) };
    let expires_at = match until {
        None => None,
        Some(until) => Some(SystemTime::UNIX_EPOCH.checked_add(until).ok_or(Unreadable)?),
    };
    Ok(Identity { user, expires_at })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Somebody with claims, until some time.
    pub(in crate::relayed) fn ann() -> Identity {
        let claims = Claims::from_iter([("role", "cook"), ("role", "admin"), ("", "ü\"")]);
        let until = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        Identity::until(User::new("ann").with_claims(claims), until)
    }

    #[test]
    fn credentials_are_read_as_they_were_written() {
        let nameless = Identity::from(User { id: None, claims: Arc::default() });
        for identity in [ann(), nameless, Identity::from(User::new(""))] {
            assert_eq!(read(&write(&identity)), Ok(identity));
        }
        let written = "{\"id\":\"ann\",\"claims\":{\"\":[\"ü\\\"\"],\"role\":[\"cook\",\"admin\"]},\
                       \"until\":{\"secs\":1700000000,\"nanos\":123456789}}";
        assert_eq!(String::from_utf8(write(&ann())).unwrap(), written);
    }

    #[test]
    fn what_is_long_expired_is_expired() {
        let long_ago = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let read = read(&write(&Identity::until(User::new("ann"), long_ago))).unwrap();
        assert_eq!(read.expires_at, Some(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn a_later_version_may_say_more_and_others_nothing() {
        let more = br#"{"id":"ann","more":[1],"claims":{}}"#;
        assert_eq!(read(more), Ok(Identity::from(User::new("ann"))));
        let never = br#"{"claims":{},"until":{"secs":18446744073709551615,"nanos":0}}"#;
        for bytes in [&b""[..], b"{", b"null", br#"{"id":1,"claims":{}}"#, never] {
            assert_eq!(read(bytes), Err(Unreadable));
        }
    }
}
