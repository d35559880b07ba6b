use std::{fmt, sync::Arc};

use crate::User;

/// Who may connect to a hub, or call a method.
#[derive(Clone)]
pub struct Policy {
    name: Arc<str>,
    check: Arc<Check>,
}

type Check = dyn Fn(Option<&User>) -> bool + Send + Sync;

impl Policy {
    /// Everyone.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(|_| true).named("anonymous")
    }

    /// Whoever the front end has authenticated.
    #[must_use]
    pub fn authenticated() -> Self {
        Self::new(|user| user.is_some()).named("authenticated")
    }

    /// Authenticated users of whose claim `name` one value is `value`.
    #[must_use]
    pub fn claim(name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        let told = format!("claim {name}");
        Self::new(move |user| user.is_some_and(|user| user.claims.has(&name, &value))).named(&told)
    }

    /// Whoever `check` lets pass; it is asked with `None` for anonymous users. Called at every
    /// connect or call, so it should be quick.
    #[must_use]
    pub fn new(check: impl Fn(Option<&User>) -> bool + Send + Sync + 'static) -> Self {
        Self { name: "custom".into(), check: Arc::new(check) }
    }

    /// The same under another name, for the log.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Both this policy and another.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let name = format!("{} and {}", self.name, other.name);
        Self::new(move |user| (self.check)(user) && (other.check)(user)).named(&name)
    }

    pub(crate) fn allows(&self, user: Option<&User>) -> Result<(), Unauthorized> {
        if (self.check)(user) {
            Ok(())
        } else {
            Err(Unauthorized { policy: Arc::clone(&self.name), anonymous: user.is_none() })
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::anonymous()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.name).finish()
    }
}

/// A policy does not let this user pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy {policy:?} does not let this user pass")]
#[non_exhaustive]
pub struct Unauthorized {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Whether there were no credentials at all: HTTP calls that 401, and 403 otherwise.
    pub anonymous: bool,
}
