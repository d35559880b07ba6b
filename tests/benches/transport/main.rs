//! How fast envelopes of 256 bytes get from one node to another, beside what a client of the broker
//! does without us.
//!
//! `cargo bench -p backplane-tests --bench transport [-- --on streams --messages 400000 --repeats 7
//! --only repaired]`
//!
//! `--on` names one of [`GROUPS`] (`kafka` needs `--features kafka`); `--only` leaves out whoever's name does not contain it.
//! `--options` adds to the URLs of our nodes on Kafka, as in `--options rdkafka.linger.ms=1`.
//! Each run publishes all messages as fast as it may and ends when the last has been delivered.
//! Contenders take turns within each repeat, so that whatever else the machine does meets all of
//! them; the medians are shown. To add one, implement [`Contender`] and list it in its group.

mod jetstream;
#[cfg(feature = "kafka")]
mod kafka;
mod nodes;
mod redis;
mod sharded;
mod streams;

use std::{
    any::Any,
    error::Error,
    fs,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use backplane_core::{Event, Sink};
use backplane_tests::brokers::Broker;
use futures_util::{StreamExt, future::BoxFuture, stream};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

type Failure = Box<dyn Error + Send + Sync>;

const BODY: [u8; 256] = [b'x'; 256];

/// How many publishes a plain client keeps between sending and answer.
const IN_FLIGHT: usize = 512;

/// Awaits all of `work`, so much of it at a time.
async fn all<F, T, E>(work: impl Iterator<Item = F>, at_a_time: usize) -> Result<(), Failure>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Failure>,
{
    let mut answers = stream::iter(work).buffer_unordered(at_a_time);
    while let Some(answer) = answers.next().await {
        answer.map_err(Into::into)?;
    }
    Ok(())
}

/// Above any run that works.
const DEADLINE: Duration = Duration::from_secs(120);

/// One way to get messages from here to there.
#[async_trait]
trait Contender: Send + Sync {
    /// What stands in the table.
    fn name(&self) -> String;

    /// Publishes so many messages, and returns when each is delivered.
    async fn run(&self, messages: u64) -> Result<(), Failure>;
}

/// One broker, or several that belong together, and those who use it; the first sets the measure.
struct Group {
    name: String,
    processes: Vec<u32>,
    contenders: Vec<Box<dyn Contender>>,
    /// Dropped after those who use it.
    _medium: Box<dyn Any + Send + Sync>,
}

impl Group {
    fn on(broker: Broker, contenders: Vec<Box<dyn Contender>>) -> Self {
        let (name, processes) = (broker.name().to_owned(), broker.pid().into_iter().collect());
        Self { name, processes, contenders, _medium: Box::new(broker) }
    }
}

/// Starts a group's broker.
type Start = fn() -> BoxFuture<'static, Result<Group, Failure>>;

/// All groups, by their names.
const GROUPS: &[(&str, Start)] = &[
    ("redis", || Box::pin(redis::group())),
    ("sharded", || Box::pin(sharded::group())),
    ("streams", || Box::pin(streams::group())),
    ("jetstream", || Box::pin(jetstream::group())),
    #[cfg(feature = "kafka")]
    ("kafka", || Box::pin(kafka::group())),
];

fn main() -> Result<(), Failure> {
    let messages = number("--messages")?.unwrap_or(200_000);
    let repeats = number("--repeats")?.unwrap_or(7).max(1);
    let only = option("--only").unwrap_or_default();
    let on = option("--on");
    let chosen = |name: &str| on.as_ref().is_none_or(|on| on == name);
    if !GROUPS.iter().any(|(name, _)| chosen(name)) {
        let known = GROUPS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(format!("--on needs one of {known}").into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        print_machine();
        for (name, start) in GROUPS.iter().filter(|(name, _)| chosen(name)) {
            let mut group = start().await?;
            group.contenders.retain(|contender| contender.name().contains(&only));
            println!(
                "\n{name} on {}: {messages} messages of {} bytes, median of {repeats} runs",
                group.name,
                BODY.len()
            );
            let figures = measure(&group, messages, repeats).await?;
            print_table(&group, &figures);
        }
        Ok(())
    })
}

/// The value that follows `name` on the command line.
fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn number(name: &str) -> Result<Option<u64>, Failure> {
    let value = option(name).map(|value| value.parse());
    Ok(value.transpose().map_err(|error| format!("{name} needs a number: {error}"))?)
}

/// What a run cost, per message.
#[derive(Clone, Copy)]
struct Figure {
    wall: Duration,
    ours: Duration,
    brokers: Duration,
}

async fn measure(group: &Group, messages: u64, repeats: u64) -> Result<Vec<Vec<Figure>>, Failure> {
    let mut figures: Vec<Vec<Figure>> = group.contenders.iter().map(|_| Vec::new()).collect();
    for contender in &group.contenders {
        contender.run(messages / 10 + 1).await?;
    }
    for _ in 0..repeats {
        for (contender, figures) in group.contenders.iter().zip(&mut figures) {
            let before = (Instant::now(), own_cpu(), broker_cpu(&group.processes));
            tokio::time::timeout(DEADLINE, contender.run(messages))
                .await
                .map_err(|_| format!("{} did not end within {DEADLINE:?}", contender.name()))??;
            figures.push(Figure {
                wall: before.0.elapsed(),
                ours: own_cpu() - before.1,
                brokers: broker_cpu(&group.processes) - before.2,
            });
        }
    }
    let per_message = |figure: &mut Figure| {
        let share = |time: Duration| time.div_f64(messages as f64);
        *figure = Figure {
            wall: share(figure.wall),
            ours: share(figure.ours),
            brokers: share(figure.brokers),
        };
    };
    figures.iter_mut().flatten().for_each(per_message);
    Ok(figures)
}

fn print_table(group: &Group, figures: &[Vec<Figure>]) {
    let median = |figures: &[Figure], of: fn(&Figure) -> Duration| {
        let mut times: Vec<Duration> = figures.iter().map(of).collect();
        times.sort_unstable();
        times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    };
    println!(
        "{:<34} {:>12} {:>7} {:>14} {:>16} {:>16}",
        "", "messages/s", "times", "slowest…best", "own CPU µs each", "broker's µs each"
    );
    let measure = figures.first().map_or(f64::NAN, |figures| median(figures, |it| it.wall));
    for (contender, figures) in group.contenders.iter().zip(figures) {
        let wall = median(figures, |it| it.wall);
        let rate = |time: Option<Duration>| time.map_or(f64::NAN, |it| 1e-3 / it.as_secs_f64());
        let slowest = rate(figures.iter().map(|it| it.wall).max());
        let best = rate(figures.iter().map(|it| it.wall).min());
        println!(
            "{:<34} {:>12.0} {:>7.2} {:>14} {:>16.2} {:>16.2}",
            contender.name(),
            1.0 / wall,
            measure / wall,
            format!("{slowest:.0}k…{best:.0}k"),
            median(figures, |it| it.ours) * 1e6,
            median(figures, |it| it.brokers) * 1e6,
        );
    }
}

fn print_machine() {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "{} × {}, kernel {}; {}, {}, {}",
        std::thread::available_parallelism().map_or(0, NonZero::get),
        model.map_or("a processor without a name", |(_, model)| model.trim()),
        kernel.trim(),
        locked("redis"),
        locked("async-nats"),
        locked("tokio"),
    );
}

/// Name and version of a dependency, as the lock file has it.
fn locked(name: &str) -> String {
    const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
    let start = format!("name = \"{name}\"\nversion = \"");
    let version = LOCK.split_once(&start).and_then(|(_, rest)| rest.split('"').next());
    format!("{name} {}", version.unwrap_or("of an unknown version"))
}

/// The processor time of this process, all its threads together.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// The processor time of the brokers' main threads, where the operating system tells it.
fn broker_cpu(processes: &[u32]) -> Duration {
    let time = |process: &u32| {
        let text = fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0)
    };
    Duration::from_nanos(processes.iter().map(time).sum())
}

/// Counts what is delivered, and says when it is enough.
#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    wanted: AtomicU64,
    enough: Notify,
}

impl Counter {
    /// From now on, so many more are enough. Nothing is under way when it is called.
    fn expect(&self, more: u64) {
        self.wanted.fetch_add(more, Ordering::AcqRel);
    }

    fn add(&self) {
        let count = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        if count == self.wanted.load(Ordering::Acquire) {
            self.enough.notify_one();
        }
    }

    async fn enough(&self) {
        self.enough.notified().await;
    }
}

impl Sink for Counter {
    fn accept(&self, event: &Event) {
        if matches!(event, Event::Message(_)) {
            self.add();
        }
    }
}
