//! Makes the brokers of several transports fail under load, and shows side by side what came of it:
//!
//! ```text
//! cargo run --release -p backplane-tests --bin compare -- --transports redis,nats --scenarios killed
//! ```

use std::error::Error;
use std::future::pending;
use std::io::stdout;
use std::process::ExitCode;

use backplane_tests::compare::{Arguments, Stand, perform};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

/// What was asked for can't be run.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Some(code) = Stand::serves() {
        return code;
    }
    let arguments = Arguments::parse();
    let performed: Result<_, Box<dyn Error>> =
        tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
            let mut out = stdout();
            runtime
                .block_on(perform(&arguments, &Stand, interrupted(), &mut out))
                .map_err(Into::into)
        });
    match performed {
        Ok(verdict) => verdict.code().into(),
        Err(error) => {
            eprintln!("compare: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("    because: {cause}");
                source = cause.source();
            }
            USAGE.into()
        }
    }
}

/// Ready once somebody wants this to end.
async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => pending().await,
        }
    };
    let interrupted = async {
        // Where the signal can't be listened to, it ends the program by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = terminated => {}
        () = interrupted => {}
    }
}
