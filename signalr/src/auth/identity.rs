use std::time::{Duration, SystemTime};

use backplane_hub::User;

/// Who a request comes from, and until when that is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// When the credentials expire; `None` for those that don't. What comes of it is told by
    /// [`Options::close_on_authentication_expiration`](crate::Options::close_on_authentication_expiration).
    pub expires_at: Option<SystemTime>,
}

impl Identity {
    /// A user whose credentials are good until then.
    #[must_use]
    pub const fn until(user: User, expires_at: SystemTime) -> Self {
        Self { user, expires_at: Some(expires_at) }
    }

    /// For how long the credentials are still good.
    pub(crate) fn remaining(&self, now: SystemTime) -> Option<Duration> {
        let expires_at = self.expires_at?;
        Some(expires_at.duration_since(now).unwrap_or(Duration::ZERO))
    }

    /// The same in seconds, as clients are told it.
    pub(crate) fn lifetime_seconds(&self, now: SystemTime) -> Option<i32> {
        let remaining = self.remaining(now)?;
        Some(i32::try_from(remaining.as_secs()).unwrap_or(i32::MAX))
    }

    /// Whether these are newer credentials than `other`, as far as can be told.
    pub(crate) fn is_fresher_than(&self, other: &Self) -> bool {
        match (self.expires_at, other.expires_at) {
            (Some(own), Some(others)) => own > others,
            _ => self != other,
        }
    }
}

impl From<User> for Identity {
    /// With credentials that don't expire.
    fn from(user: User) -> Self {
        Self { user, expires_at: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn until(seconds: u64) -> Identity {
        Identity::until(User::new("ann"), NOW + Duration::from_secs(seconds))
    }

    #[test]
    fn lifetimes_are_whole_seconds_in_an_int() {
        assert_eq!(until(60).lifetime_seconds(NOW), Some(60));
        assert_eq!(until(60).lifetime_seconds(NOW + Duration::from_millis(500)), Some(59));
        assert_eq!(until(60).lifetime_seconds(NOW + Duration::from_secs(61)), Some(0));
        assert_eq!(until(1 << 40).lifetime_seconds(NOW), Some(i32::MAX));
        assert_eq!(Identity::from(User::new("ann")).lifetime_seconds(NOW), None);
    }

    #[test]
    fn what_expires_later_is_fresher() {
        assert!(until(2).is_fresher_than(&until(1)));
        assert!(!until(1).is_fresher_than(&until(1)));
        assert!(!until(1).is_fresher_than(&until(2)));
        let endless = Identity::from(User::new("ann"));
        assert!(endless.is_fresher_than(&until(1)) && until(1).is_fresher_than(&endless));
        assert!(!endless.is_fresher_than(&endless.clone()));
    }
}
