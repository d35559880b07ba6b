//! What chaos makes of a wire, and what numbers and repair make of that, in virtual time.
//!
//! Everything follows from a seed, which a failure names. `BACKPLANE_SEED=7` runs that one alone.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a test fails by panicking, and shares its helpers"
)]

mod alone;
mod bare;
mod repaired;
mod scene;
#[path = "../scripted/mod.rs"]
mod scripted;

use std::{ops::Range, time::Duration};

/// How many seeds are tried.
const SEEDS: u64 = 50;

/// The longest that anything is waited for, in virtual time.
const SOON: Duration = Duration::from_secs(120);

fn seeds() -> Range<u64> {
    match std::env::var("BACKPLANE_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    }
}

async fn until(what: &str, satisfied: impl Fn() -> bool + Send + Sync) {
    let waited = async {
        while !satisfied() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waited).await.is_ok(), "never {what}");
}
