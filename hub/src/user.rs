use std::{borrow::Borrow, collections::BTreeMap, fmt, ops::Deref, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Names one connection on all nodes. Cloning costs one reference count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// A fresh one: 16 random bytes as 22 characters of base64url.
    ///
    /// # Panics
    ///
    /// When the operating system has no random source: an id that can be guessed must not exist.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut bytes) {
            panic!("the operating system's random source failed: {error}");
        }
        Self(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    pub(crate) const fn from_shared(id: Arc<str>) -> Self {
        Self(id)
    }

    pub(crate) const fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ConnectionId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl Deref for ConnectionId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ConnectionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ConnectionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An authenticated user. An anonymous one is the absence of a `User`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// What [`Clients::user`](crate::Clients::user) addresses. `None` where the credentials prove no
    /// id; such a user can be reached by connection and group only.
    pub id: Option<Arc<str>>,
    /// What else the credentials say.
    pub claims: Arc<Claims>,
}

impl User {
    /// A user with this id and no claims.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self { id: Some(id.into()), claims: Arc::default() }
    }

    /// The same user with these claims.
    #[must_use]
    pub fn with_claims(self, claims: impl Into<Arc<Claims>>) -> Self {
        Self { claims: claims.into(), ..self }
    }
}

/// What credentials say about a user: names, each with its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims(BTreeMap<String, Vec<String>>);

impl Claims {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds one value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().push(value.into());
    }

    /// The values of one claim, in the order of their adding.
    #[must_use]
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The first value of one claim.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.get(name).first().map(String::as_str)
    }

    /// Whether one of the values of this claim is `value`.
    #[must_use]
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.get(name).iter().any(|it| it == value)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }
}

impl From<BTreeMap<String, Vec<String>>> for Claims {
    fn from(claims: BTreeMap<String, Vec<String>>) -> Self {
        Self(claims)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Claims {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(claims: I) -> Self {
        let mut all = Self::new();
        claims.into_iter().for_each(|(name, value)| all.insert(name, value));
        all
    }
}
