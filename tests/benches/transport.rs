//! How fast envelopes of 256 bytes get from one node to another, beside what a client of the broker
//! does without us.
//!
//! `cargo bench -p backplane-tests --bench transport [-- --messages 400000 --repeats 7 --only repaired]`
//!
//! `--only` leaves out whoever's name does not contain it, `--broker` (`redis`, `jetstream`) the other brokers.
//! Each run publishes all messages as fast as it may and ends when the last has been delivered.
//! Contenders take turns within each repeat, so that whatever else the machine does meets all of
//! them; the medians are shown. To add one, implement [`Contender`] and list it in `contenders`.

use std::{
    collections::VecDeque,
    error::Error,
    fs,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, consumer::push, stream::Config};
use async_trait::async_trait;
use backplane_core::{
    Backplane, Envelope, Event, Link, Node, PublishError, Sink, Subscription, Ticket, Topic,
};
use backplane_nats::JetStreamConfig;
use backplane_redis::RedisConfig;
use backplane_tests::brokers::{
    Broker, Nats, NatsFlavour, NatsOptions, Redis, RedisFlavour, RedisOptions,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rustix::time::{ClockId, clock_gettime};
use tokio::{sync::Notify, task::JoinHandle};

type Failure = Box<dyn Error + Send + Sync>;

const BODY: [u8; 256] = [b'x'; 256];

/// How many publishes a plain client keeps between sending and answer.
const IN_FLIGHT: usize = 512;

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

/// One broker, and those who use it; the first sets the measure.
struct Group {
    broker: Broker,
    contenders: Vec<Box<dyn Contender>>,
}

fn main() -> Result<(), Failure> {
    let messages = number("--messages")?.unwrap_or(200_000);
    let repeats = number("--repeats")?.unwrap_or(7).max(1);
    let only = option("--only").unwrap_or_default();
    let brokers = option("--broker").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        print_machine();
        let mut groups = Vec::new();
        if "redis".contains(&brokers) {
            groups.push(redis().await?);
        }
        if "jetstream".contains(&brokers) {
            groups.push(jetstream().await?);
        }
        for mut group in groups {
            group.contenders.retain(|contender| contender.name().contains(&only));
            println!(
                "\n{}: {messages} messages of {} bytes, median of {repeats} runs",
                group.broker.name(),
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

/// What a node adds, and the options that say so.
const BARE: (&str, &str) = ("ours, bare", "repair=off&outage=refuse");
const REPAIRED: (&str, &str) = ("ours, repaired", "repair=on");

async fn redis() -> Result<Group, Failure> {
    // A subscriber that falls behind is to be measured, not cut off.
    let options = RedisOptions::default().config_line("client-output-buffer-limit pubsub 0 0 0");
    let broker = Redis::start(RedisFlavour::Redis7, options).await?;
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(PlainRedis::start(&broker.url()).await?),
        Box::new(Nodes::redis(&broker.url(), BARE, Style::Queued { topics: 1 }).await?),
        Box::new(Nodes::redis(&broker.url(), REPAIRED, Style::Queued { topics: 1 }).await?),
        Box::new(Nodes::redis(&broker.url(), BARE, Style::Queued { topics: 64 }).await?),
        Box::new(Nodes::redis(&broker.url(), REPAIRED, Style::Queued { topics: 64 }).await?),
        Box::new(Nodes::redis(&broker.url(), BARE, Style::Queued { topics: 4096 }).await?),
        Box::new(Nodes::redis(&broker.url(), REPAIRED, Style::Queued { topics: 4096 }).await?),
        Box::new(Nodes::redis(&broker.url(), REPAIRED, Style::Awaited).await?),
    ];
    Ok(Group { broker, contenders })
}

async fn jetstream() -> Result<Group, Failure> {
    let broker = Nats::start(NatsFlavour::Nats2_15, NatsOptions::default().jetstream()).await?;
    let nodes = async |layer, topics| {
        Nodes::jetstream(&broker.url(), layer, Style::Queued { topics }).await
    };
    let contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(PlainJetStream::start(&broker.url()).await?),
        Box::new(nodes(BARE, 1).await?),
        Box::new(nodes(REPAIRED, 1).await?),
        Box::new(nodes(BARE, 64).await?),
        Box::new(nodes(REPAIRED, 64).await?),
        Box::new(nodes(BARE, 4096).await?),
        Box::new(nodes(REPAIRED, 4096).await?),
        Box::new(Nodes::jetstream(&broker.url(), REPAIRED, Style::Awaited).await?),
    ];
    Ok(Group { broker, contenders })
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
            let before = (Instant::now(), own_cpu(), broker_cpu(&group.broker));
            tokio::time::timeout(DEADLINE, contender.run(messages))
                .await
                .map_err(|_| format!("{} did not end within {DEADLINE:?}", contender.name()))??;
            figures.push(Figure {
                wall: before.0.elapsed(),
                ours: own_cpu() - before.1,
                brokers: broker_cpu(&group.broker) - before.2,
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

/// The processor time of the broker's main thread, where the operating system tells it.
fn broker_cpu(broker: &Broker) -> Duration {
    let path = broker.pid().map(|pid| format!("/proc/{pid}/schedstat"));
    let text = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
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

/// The client library as most people use it: one multiplexed connection with many publishes on
/// their way, and a subscriber that reads a stream.
struct PlainRedis {
    connection: redis::aio::MultiplexedConnection,
    counter: Arc<Counter>,
    reader: JoinHandle<()>,
}

impl PlainRedis {
    const CHANNEL: &str = "plain";

    async fn start(url: &str) -> Result<Self, Failure> {
        let client = redis::Client::open(url)?;
        let connection = client.get_multiplexed_async_connection().await?;
        let mut subscriber = client.get_async_pubsub().await?;
        subscriber.subscribe(Self::CHANNEL).await?;
        let counter = Arc::new(Counter::default());
        let counting = Arc::clone(&counter);
        let reader = tokio::spawn(async move {
            let mut messages = subscriber.into_on_message();
            while let Some(message) = messages.next().await {
                if message.get_payload_bytes().len() == BODY.len() {
                    counting.add();
                }
            }
        });
        Ok(Self { connection, counter, reader })
    }
}

#[async_trait]
impl Contender for PlainRedis {
    fn name(&self) -> String {
        format!("redis crate, {IN_FLIGHT} in flight")
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        let publishes = stream::iter(0..messages).map(|_| {
            let mut connection = self.connection.clone();
            async move {
                let mut command = redis::cmd("PUBLISH");
                command.arg(Self::CHANNEL).arg(&BODY);
                command.query_async::<u64>(&mut connection).await
            }
        });
        let mut answers = publishes.buffer_unordered(IN_FLIGHT);
        while let Some(answer) = answers.next().await {
            answer?;
        }
        self.counter.enough().await;
        Ok(())
    }
}

impl Drop for PlainRedis {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The client library as its documentation shows it: acknowledgements are awaited later, and an ordered
/// consumer reads.
struct PlainJetStream {
    context: jetstream::Context,
    counter: Arc<Counter>,
    reader: JoinHandle<()>,
}

impl PlainJetStream {
    const NAME: &str = "plain";

    async fn start(url: &str) -> Result<Self, Failure> {
        let context = jetstream::new(async_nats::connect(url).await?);
        let name = Self::NAME.to_owned();
        let config = Config { subjects: vec![name.clone()], name, ..Config::default() };
        let stream = context.create_stream(config).await?;
        let reading = jetstream::new(async_nats::connect(url).await?);
        let reading = reading.get_stream(stream.cached_info().config.name.clone()).await?;
        let deliver_subject = "plain_inbox".to_owned();
        let config = push::OrderedConfig { deliver_subject, ..push::OrderedConfig::default() };
        let mut messages = reading.create_consumer(config).await?.messages().await?;
        let counter = Arc::new(Counter::default());
        let counting = Arc::clone(&counter);
        let reader = tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if message.payload.len() == BODY.len() {
                    counting.add();
                }
            }
        });
        Ok(Self { context, counter, reader })
    }
}

#[async_trait]
impl Contender for PlainJetStream {
    fn name(&self) -> String {
        format!("async-nats crate, {IN_FLIGHT} in flight")
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        let mut answers = VecDeque::with_capacity(IN_FLIGHT);
        for _ in 0..messages {
            if answers.len() == IN_FLIGHT
                && let Some(oldest) = answers.pop_front()
            {
                IntoFuture::into_future(oldest).await?;
            }
            answers.push_back(self.context.publish(Self::NAME, BODY[..].into()).await?);
        }
        for answer in answers {
            answer.await?;
        }
        self.counter.enough().await;
        Ok(())
    }
}

impl Drop for PlainJetStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Two nodes of a backplane.
struct Nodes {
    name: &'static str,
    publisher: Node,
    _receiver: Node,
    _subscription: Subscription,
    topics: Vec<Topic>,
    counter: Arc<Counter>,
    style: Style,
}

/// How the publisher learns what became of its envelopes.
#[derive(Clone, Copy)]
enum Style {
    /// One task publishes and waits for room only; it asks for the outcomes afterwards.
    Queued { topics: usize },
    /// As the plain client does it: so many publishes at a time, each awaited.
    Awaited,
}

impl Nodes {
    async fn redis(
        url: &str,
        (name, options): (&'static str, &str),
        style: Style,
    ) -> Result<Self, Failure> {
        let url = format!("{url}?{options}");
        let node = || RedisConfig::from_url(&url).and_then(RedisConfig::start);
        Self::start(name, node()?, node()?, style).await
    }

    async fn jetstream(
        url: &str,
        (name, options): (&'static str, &str),
        style: Style,
    ) -> Result<Self, Failure> {
        let url = url.replacen("nats:", "nats+jetstream:", 1);
        let url = format!("{url}?entries=100000000&{options}");
        let node = || JetStreamConfig::from_url(&url).and_then(JetStreamConfig::start);
        Self::start(name, node()?, node()?, style).await
    }

    async fn start(
        name: &'static str,
        publisher: Node,
        receiver: Node,
        style: Style,
    ) -> Result<Self, Failure> {
        let count = match style {
            Style::Queued { topics } => topics,
            Style::Awaited => 1,
        };
        // Of its own for each contender, as they share the broker.
        let hub = publisher.node().to_string();
        let topics: Vec<Topic> =
            (0..count).map(|number| Topic::group(&hub, &number.to_string())).collect();
        let counter = Arc::new(Counter::default());
        let interest: Vec<(Topic, Arc<dyn Sink>)> = topics
            .iter()
            .map(|topic| (topic.clone(), Arc::<Counter>::clone(&counter) as Arc<dyn Sink>))
            .collect();
        let subscription = receiver.subscribe(&interest)?;
        subscription.confirmed().await?;
        publisher.link().wait_for(Link::is_up).await?;
        Ok(Self {
            name,
            publisher,
            _receiver: receiver,
            _subscription: subscription,
            topics,
            counter,
            style,
        })
    }

    /// Publishes as soon as there is room.
    async fn queue(&self, mut envelope: Envelope) -> Result<Ticket, PublishError> {
        loop {
            match self.publisher.try_publish(envelope) {
                Err(PublishError::Full(returned)) => {
                    self.publisher.room(&returned).await?;
                    envelope = *returned;
                }
                outcome => return outcome,
            }
        }
    }
}

#[async_trait]
impl Contender for Nodes {
    fn name(&self) -> String {
        match self.style {
            Style::Queued { topics: 1 } => format!("{}, 1 topic", self.name),
            Style::Queued { topics } => format!("{}, {topics} topics", self.name),
            Style::Awaited => format!("{}, 1 topic, {IN_FLIGHT} awaited", self.name),
        }
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        let body = Bytes::from_static(&BODY);
        let envelopes = (0..messages).map(|number| {
            let topic = &self.topics[number as usize % self.topics.len()];
            Envelope::new(topic.clone(), body.clone())
        });
        match self.style {
            Style::Queued { .. } => {
                let mut latest = Vec::with_capacity(self.topics.len());
                for envelope in envelopes {
                    let ticket = self.queue(envelope).await?;
                    if latest.len() == self.topics.len() {
                        latest.clear();
                    }
                    latest.push(ticket);
                }
                for ticket in latest {
                    ticket.await?;
                }
            }
            Style::Awaited => {
                let publishes =
                    stream::iter(envelopes).map(|envelope| self.publisher.publish(envelope));
                let mut receipts = publishes.buffer_unordered(IN_FLIGHT);
                while let Some(receipt) = receipts.next().await {
                    receipt?;
                }
            }
        }
        self.counter.enough().await;
        Ok(())
    }
}
