//! One time for all the nodes of a run, also those in processes of their own.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the beginning of a run.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    zero: Instant,
    unix_us: u64,
}

impl Clock {
    /// A run begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { zero: Instant::now(), unix_us: unix_us() }
    }

    /// The clock of a run that another process of this machine has begun, at this Unix time.
    #[must_use]
    pub fn joining(begun_unix_us: u64) -> Self {
        let passed = Duration::from_micros(unix_us().saturating_sub(begun_unix_us));
        let now = Instant::now();
        Self { zero: now.checked_sub(passed).unwrap_or(now), unix_us: begun_unix_us }
    }

    /// When the run began, in Unix time.
    #[must_use]
    pub const fn begun_unix_us(&self) -> u64 {
        self.unix_us
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// The time at that instant; 0 before the beginning.
    #[must_use]
    pub fn at(&self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(self.zero).as_micros();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
