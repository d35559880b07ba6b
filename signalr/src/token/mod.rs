//! Connection tokens: what a negotiation hands to a client, and the client brings to connect.
//!
//! A token is self-contained, so whichever node has the key may take the connection: it says which
//! connection it stands for, which node negotiated it and will grant it once, for which hub, for
//! whom, and until when.

mod key;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backplane_hub::{ConnectionId, NodeId, User};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

pub use key::{TokenKey, TokenKeyError, TokenKeys};

use self::key::TAG;
use crate::negotiate::NegotiateVersion;

/// The first byte of every token, raised when the layout changes: nodes of two versions may share a
/// key during an upgrade.
const LAYOUT: u8 = 2;

/// How much of the user's digest is kept: enough that no two users of one hub share it.
const DIGEST: usize = 16;

const ID: usize = 16;

/// A negotiated connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) id: ConnectionId,
    pub(crate) registrar: NodeId,
    /// Whether its client may come back with what it has missed.
    pub(crate) stateful: bool,
    /// Until when the connection may begin, in milliseconds since 1970.
    expires: u64,
}

/// What was agreed on when a connection was negotiated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) version: NegotiateVersion,
    /// Whether the client may come back with what it has missed.
    pub(crate) stateful: bool,
}

impl Ticket {
    /// Whether the connection may still begin. One that has begun needs no such check.
    pub(crate) fn check(&self, now: SystemTime) -> Result<(), TokenError> {
        if self.expires <= milliseconds(now) { Err(TokenError::Expired) } else { Ok(()) }
    }

    /// For how long it has been there, where tokens are good for so long at first.
    pub(crate) fn age(&self, now: SystemTime, expiry: Duration) -> Duration {
        let left = Duration::from_millis(self.expires.saturating_sub(milliseconds(now)));
        expiry.saturating_sub(left)
    }
}

/// Why a token is not good. Clients are told one thing for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is malformed")]
    Malformed,
    #[error("the token is not signed with a key of this node")]
    Forged,
    #[error("the token is for another hub")]
    OtherHub,
    #[error("the token is for another user")]
    OtherUser,
    #[error("the token has expired")]
    Expired,
}

/// Makes a token for a new connection, and returns the connection's id with it.
///
/// A client of version 0 shows the id that it connects with, so there the token is the id.
pub(crate) fn issue(
    keys: &TokenKeys,
    hub: &str,
    user: Option<&User>,
    terms: Terms,
    registrar: NodeId,
    expires: SystemTime,
) -> (ConnectionId, String) {
    let id = ConnectionId::random();
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(&[LAYOUT, terms.version as u8, terms.stateful.into()]);
    // A random id is the base64 of 16 bytes.
    bytes.extend_from_slice(&URL_SAFE_NO_PAD.decode(id.as_bytes()).unwrap_or_default());
    bytes.extend_from_slice(registrar.as_bytes());
    bytes.extend_from_slice(&milliseconds(expires).to_be_bytes());
    bytes.extend_from_slice(&digest(&keys.current, user));
    bytes.extend_from_slice(hub.as_bytes());
    let tag = keys.current.sign("token", &bytes);
    bytes.extend_from_slice(tag.as_ref());
    let token = URL_SAFE_NO_PAD.encode(&bytes);
    match terms.version {
        NegotiateVersion::Zero => (token.as_str().into(), token),
        NegotiateVersion::One => (id, token),
    }
}

/// Reads a token that `user` brings to `hub`, whether or not it is in time.
pub(crate) fn verify(
    keys: &TokenKeys,
    hub: &str,
    user: Option<&User>,
    token: &str,
) -> Result<Ticket, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Malformed)?;
    let body = bytes.len().checked_sub(TAG).ok_or(TokenError::Malformed)?;
    let (body, tag) = bytes.split_at(body);
    let key = keys.iter().find(|key| key.verifies("token", body, tag)).ok_or(TokenError::Forged)?;

    // From here on it is as some node wrote it.
    let mut fields = Fields(body);
    let [layout] = fields.take()?;
    let [version, stateful] = fields.take()?;
    if layout != LAYOUT {
        return Err(TokenError::Malformed);
    }
    let id: [u8; ID] = fields.take()?;
    let registrar = NodeId::from_bytes(fields.take()?);
    let expires = u64::from_be_bytes(fields.take()?);
    let whose: [u8; DIGEST] = fields.take()?;
    if fields.0 != hub.as_bytes() {
        return Err(TokenError::OtherHub);
    }
    if whose != digest(key, user) {
        return Err(TokenError::OtherUser);
    }
    let id = if version == NegotiateVersion::Zero as u8 {
        token.into()
    } else {
        URL_SAFE_NO_PAD.encode(id).as_str().into()
    };
    Ok(Ticket { id, registrar, stateful: stateful != 0, expires })
}

/// Who a token is for. Keyed, so that a token does not help to guess the user's id.
fn digest(key: &TokenKey, user: Option<&User>) -> [u8; DIGEST] {
    let tag = match user {
        None => key.sign("anonymous", &[]),
        Some(User { id: None, .. }) => key.sign("without id", &[]),
        Some(User { id: Some(id), .. }) => key.sign("user", id.as_bytes()),
    };
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&tag.as_ref()[..DIGEST]);
    digest
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What is left of a token to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(TokenError::Malformed)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;
    const LATER: Duration = Duration::from_secs(60);
    const ONE: Terms = Terms { version: NegotiateVersion::One, stateful: false };

    fn keys(secret: u8) -> TokenKeys {
        TokenKeys::new(TokenKey::new(&[secret; 32]).unwrap())
    }

    fn one(keys: &TokenKeys, user: Option<&User>) -> (ConnectionId, String) {
        issue(keys, "orders", user, ONE, NodeId::from_bytes([7; 16]), NOW + LATER)
    }

    #[test]
    fn a_token_says_what_was_put_in() {
        let keys = keys(1);
        let (id, token) = one(&keys, None);
        let ticket = verify(&keys, "orders", None, &token).unwrap();
        assert_eq!((&ticket.id, ticket.registrar), (&id, NodeId::from_bytes([7; 16])));
        assert!(!ticket.stateful);
        assert_eq!(ticket.check(NOW + LATER - Duration::from_millis(1)), Ok(()));
        assert_eq!(ticket.check(NOW + LATER), Err(TokenError::Expired));
        assert_eq!(ticket.age(NOW, LATER), Duration::ZERO);
        assert_eq!(ticket.age(NOW + LATER / 3, LATER), LATER / 3);
        assert_eq!(ticket.age(NOW + 3 * LATER, LATER), LATER);
        assert!(token.len() < 160, "{}", token.len());
    }

    #[test]
    fn in_version_zero_the_token_is_the_id() {
        let keys = keys(1);
        let registrar = NodeId::random();
        let zero = Terms { version: NegotiateVersion::Zero, stateful: true };
        let (id, token) = issue(&keys, "orders", None, zero, registrar, NOW + LATER);
        assert_eq!(id.as_str(), token);
        let ticket = verify(&keys, "orders", None, &token).unwrap();
        assert_eq!((ticket.id, ticket.registrar), (id, registrar));
        assert!(ticket.stateful);
    }

    #[test]
    fn a_token_is_bound() {
        let keys = keys(1);
        let (ann, bob, nameless) = (User::new("ann"), User::new("bob"), User::default());
        let users = [None, Some(&ann), Some(&bob), Some(&nameless)];
        for whose in users {
            let (_, token) = one(&keys, whose);
            for user in users {
                let verified = verify(&keys, "orders", user, &token);
                assert_eq!(verified.err(), (user != whose).then_some(TokenError::OtherUser));
            }
            assert_eq!(verify(&keys, "stock", whose, &token), Err(TokenError::OtherHub));
        }
    }

    #[test]
    fn keys_rotate() {
        let (old, new) = (keys(1), keys(2));
        let both = new.clone().with_previous(old.current.clone());
        let (_, before) = one(&old, Some(&User::new("ann")));
        let (_, after) = one(&both, Some(&User::new("ann")));
        let verify = |keys, token| verify(keys, "orders", Some(&User::new("ann")), token).err();
        assert_eq!(verify(&both, &before), None);
        assert_eq!(verify(&both, &after), None);
        assert_eq!(verify(&new, &after), None);
        assert_eq!(verify(&new, &before), Some(TokenError::Forged));
        assert_eq!(verify(&old, &after), Some(TokenError::Forged));
    }

    #[test]
    fn keys_are_not_shown() {
        let told = format!("{:?}", keys(0x41));
        assert!(!told.contains("AAAA") && !told.contains("65"), "{told}");
    }

    proptest! {
        #[test]
        fn any_text_is_refused(token in ".*") {
            prop_assert!(verify(&keys(1), "orders", None, &token).is_err());
        }

        #[test]
        fn any_changed_bit_is_noticed(at in 0_usize..1000, bit in 0_u8..8) {
            let keys = keys(1);
            let (_, token) = one(&keys, None);
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let changed = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(
                verify(&keys, "orders", None, &changed),
                Err(TokenError::Forged)
            );
        }

        #[test]
        fn what_is_signed_but_of_another_layout_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let keys = keys(1);
            let mut signed = bytes.clone();
            signed.extend_from_slice(keys.current.sign("token", &bytes).as_ref());
            let token = URL_SAFE_NO_PAD.encode(signed);
            prop_assert!(verify(&keys, "orders", None, &token).is_err());
        }
    }
}
