//! The brokers themselves: each kind starts, answers, pauses, restarts empty, and goes when dropped.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod lifecycle;
mod nats;
mod ownership;
mod redis;

use std::path::Path;
use std::time::Duration;

/// Long enough for everything that must happen.
const SOON: Duration = Duration::from_secs(10);

/// True if there is no such process, or only the entry of a dead one.
fn is_gone(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    status.map_or(true, |status| {
        let state = status.rsplit(')').next().unwrap_or_default().trim_start();
        state.starts_with(['Z', 'X'])
    })
}
