//! Makes a test of each scenario on each medium.

use std::{
    fmt::{self, Debug},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::{
    Fixture, Layer, Outcome, Stage, Stop,
    random::seed,
    record::{Record, Verdict},
    scenarios,
};

/// One thing that a backplane must be good at, as a function over a [`Stage`].
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name: `order::is_kept_across_nodes`.
    pub name: &'static str,
    run: fn(Arc<Stage>) -> BoxFuture<'static, Outcome>,
}

impl Scenario {
    /// A scenario of your own.
    #[must_use]
    pub const fn new(
        name: &'static str,
        run: fn(Arc<Stage>) -> BoxFuture<'static, Outcome>,
    ) -> Self {
        Self { name, run }
    }
}

impl Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scenario").field(&self.name).finish()
    }
}

/// No scenario takes longer, on any machine.
const LONGEST: Duration = Duration::from_secs(110);

type Start = Arc<dyn Fn() -> BoxFuture<'static, Outcome<Arc<dyn Fixture>>> + Send + Sync>;

/// What is judged: how to set up a fresh medium, and what is stacked on it.
#[derive(Clone)]
pub struct Subject {
    label: String,
    layer: Layer,
    start: Start,
}

impl Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subject").field(&self.name()).finish()
    }
}

impl Subject {
    /// A subject whose tests are named `label::…`; `start` is called for each of them. It is bare:
    /// judged is what the transport does by itself.
    pub fn new<F, E, S, R>(label: impl Into<String>, start: S) -> Self
    where
        F: Fixture,
        E: Into<Stop>,
        S: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<F, E>> + Send + 'static,
    {
        let start = move || -> BoxFuture<'static, Outcome<Arc<dyn Fixture>>> {
            let starting = start();
            Box::pin(async move {
                let fixture: Arc<dyn Fixture> = Arc::new(starting.await.map_err(Into::into)?);
                Ok(fixture)
            })
        };
        Self { label: label.into(), layer: Layer::Bare, start: Arc::new(start) }
    }

    /// The same transport under this layer. Its tests are named `label_repaired::…`, for example.
    #[must_use]
    pub const fn under(mut self, layer: Layer) -> Self {
        self.layer = layer;
        self
    }

    fn name(&self) -> String {
        self.layer.over(&self.label)
    }

    /// Runs one scenario on a fresh medium.
    pub async fn judge(&self, scenario: Scenario, seed: u64) -> Record {
        let begun = Instant::now();
        let mut record = Record {
            subject: self.name(),
            medium: "no medium".to_owned(),
            scenario: scenario.name.to_owned(),
            verdict: Verdict::Passed,
            notes: Vec::new(),
            took: Duration::ZERO,
            seed,
        };
        let outcome = match (self.start)().await {
            Err(stop) => Err(stop),
            Ok(fixture) => {
                record.medium = fixture.name();
                let stage = Arc::new(Stage::new(fixture, self.layer, seed));
                let outcome = play(scenario, Arc::clone(&stage)).await;
                record.notes = stage.take_notes();
                outcome
            }
        };
        record.verdict = match outcome {
            Ok(()) => Verdict::Passed,
            Err(Stop::Broken(text)) => Verdict::Failed(text),
            Err(Stop::NotApplicable(text)) => Verdict::NotApplicable(text),
            Err(Stop::NotPromised(text)) => Verdict::NotPromised(text),
        };
        record.took = begun.elapsed();
        record
    }

    fn trial(&self, scenario: Scenario) -> Trial {
        let subject = self.clone();
        Trial::ignorable_test(format!("{}::{}", self.name(), scenario.name), move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(4)
                .enable_all()
                .build()
                .map_err(|error| format!("no runtime: {error}"))?;
            let seed = seed().map_err(failed)?;
            let record = runtime.block_on(subject.judge(scenario, seed));
            record.keep().map_err(failed)?;
            match &record.verdict {
                Verdict::Failed(_) => Err(record.to_string().into()),
                Verdict::Passed => {
                    println!("{record}");
                    Ok(Completion::Completed)
                }
                Verdict::NotApplicable(reason) | Verdict::NotPromised(reason) => {
                    println!("{record}");
                    Ok(Completion::ignored_with(reason))
                }
            }
        })
    }
}

async fn play(scenario: Scenario, stage: Arc<Stage>) -> Outcome {
    // In a task of its own, so that a panic fails this scenario only.
    let running = tokio::spawn((scenario.run)(stage));
    let abort = running.abort_handle();
    match tokio::time::timeout(LONGEST, running).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(Stop::Broken(format!("the scenario panicked: {panic}"))),
        Err(_) => {
            abort.abort();
            Err(Stop::Broken(format!("the scenario did not end within {LONGEST:?}")))
        }
    }
}

fn failed(stop: Stop) -> Failed {
    match stop {
        Stop::Broken(text) | Stop::NotApplicable(text) | Stop::NotPromised(text) => text.into(),
    }
}

/// Judges these subjects by every scenario: one test for each pair, named
/// `label::module::scenario`.
///
/// Takes the arguments of `cargo test` and `cargo nextest` from the command line. Prints, for each
/// test, what it came to, with its seed; where [`REPORT`](super::REPORT) names a file, appends it
/// there. What is not promised or not applicable counts as ignored, with the reason.
#[must_use]
pub fn run_all(subjects: impl IntoIterator<Item = Subject>) -> ExitCode {
    run(subjects, &scenarios::all())
}

/// [`run_all`] with other scenarios.
#[must_use]
pub fn run(subjects: impl IntoIterator<Item = Subject>, scenarios: &[Scenario]) -> ExitCode {
    let trials = subjects
        .into_iter()
        .flat_map(|subject| scenarios.iter().map(move |scenario| subject.trial(*scenario)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The `main` of a test without harness that judges transports by every scenario: each bare, and
/// under [`Layer::Repaired`], as `label::…` and `label_repaired::…`.
///
/// Each line names a transport, and how to start a fresh fixture of it: an expression that is a
/// future of a `Result` with any error. To judge it under other layers, see [`Subject::under`] and
/// [`run_all`].
///
/// [`Layer::Repaired`]: crate::kit::Layer::Repaired
/// [`Subject::under`]: crate::kit::Subject::under
/// [`run_all`]: crate::kit::run_all
///
/// ```no_run
/// # use backplane_tests::{brokers::RedisFlavour, kit::{MemoryFixture, RedisFixture}};
/// backplane_tests::conformance! {
///     memory => MemoryFixture::start(),
///     redis7 => RedisFixture::start(RedisFlavour::Redis7),
/// }
/// ```
#[macro_export]
macro_rules! conformance {
    ($($(#[$gate:meta])* $label:ident => $start:expr),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            use $crate::kit::{Layer, Subject};
            let transports = [$($(#[$gate])* Subject::new(stringify!($label), || $start)),+];
            $crate::kit::run_all(transports.into_iter().flat_map(|transport| {
                [Layer::Bare, Layer::Repaired].map(|layer| transport.clone().under(layer))
            }))
        }
    };
}
