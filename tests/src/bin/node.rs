//! One node as a process of its own, for faults that need one: killed, paused, started again.
//!
//! Its task is JSON in the environment variable `BACKPLANE_FAULT_NODE`. On standard input it obeys
//! `start`, `stop` and `report`; on standard output it writes what it publishes, is answered, hears
//! and is told, as lines of JSON. `backplane_tests::faults` starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    backplane_tests::faults::serve_node().unwrap_or_else(|| {
        eprintln!("this is a part of the fault kit: it needs a task in BACKPLANE_FAULT_NODE");
        ExitCode::FAILURE
    })
}
