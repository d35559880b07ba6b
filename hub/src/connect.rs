use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use backplane_core::{Backplane, ConnectError, Link};

/// Connects to the transport that `url` names; see [`Connect`].
///
/// | scheme | transport | feature |
/// |---|---|---|
/// | `memory:`, `memory:NAME` | nodes within this process | `memory` (on by default) |
/// | `redis:` | Redis or Valkey Pub/Sub | `redis` |
/// | `rediss:` | the same over TLS | `redis-tls` |
/// | `redis+streams:` | Redis or Valkey Streams, which keep what is sent | `redis` |
/// | `rediss+streams:` | the same over TLS | `redis-tls` |
/// | `redis+sentinel:`, `redis+sentinel+streams:` | the same two on the master that sentinels name | `redis` |
/// | `rediss+sentinel:`, `rediss+sentinel+streams:` | the same over TLS | `redis-tls` |
/// | `redis+sharded:` | sharded Pub/Sub on a Redis or Valkey cluster | `redis` |
/// | `rediss+sharded:` | the same over TLS | `redis-tls` |
/// | `nats:` | core NATS | `nats` |
/// | `nats+jetstream:` | JetStream, which keeps what is sent | `nats` |
/// | `kafka:` | Kafka and what speaks its protocol, which keep what is sent | `kafka` |
/// | `kafka+ssl:` | the same over TLS; this feature is for passwords too | `kafka-ssl` |
///
/// Options follow a question mark: those of the transport, and these, which all of them have:
///
/// | option | meaning |
/// |---|---|
/// | `repair=on` | what gets lost on the way is sent again, and what cannot be is counted; the default where the transport loses anything |
/// | `repair=counted` | what gets lost is counted, but not repaired: nothing is retained |
/// | `repair=off` | nothing is numbered; a loss is known as an interruption only |
/// | `outage=buffer` | what is sent while the link is down is sent when it is back; the default |
/// | `outage=refuse` | other nodes do not get it, and the sender is told at once |
/// | `outage=wait` | the sender waits for the link, for a while |
/// | `name=NAME` | what people call the node |
///
/// For example `redis://broker:6379?outage=refuse&name=kitchen-1`, or `memory:shop?repair=on`.
pub fn connect(url: impl Into<String>) -> Connect {
    Connect { url: url.into(), require_up: None }
}

/// A connection to be: await it.
///
/// It resolves as soon as the first attempt to reach the broker has ended, well or not, and after a second
/// at the latest: a node starts with its broker down, serves its own connections, and joins the
/// others when the broker returns. [`Backplane::link`] tells how it stands.
///
/// # Errors
///
/// [`ConnectError`]: what no amount of waiting heals, such as a URL that cannot be read.
#[derive(Debug)]
#[must_use = "await it to connect"]
pub struct Connect {
    url: String,
    require_up: Option<Duration>,
}

impl Connect {
    /// Makes it an error ([`ConnectError::NotUp`]) if the link is not up within `deadline`.
    pub const fn require_up(mut self, deadline: Duration) -> Self {
        self.require_up = Some(deadline);
        self
    }

    async fn run(self) -> Result<Arc<dyn Backplane>, ConnectError> {
        let backplane = start(&self.url)?;
        let mut link = backplane.link();
        let Some(deadline) = self.require_up else {
            const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
            let attempted = link.wait_for(|link| !matches!(link, Link::Connecting));
            // However it went: the link tells.
            let _ = tokio::time::timeout(FIRST_ATTEMPT, attempted).await;
            return Ok(backplane);
        };
        let up = link.wait_for(Link::is_up);
        if tokio::time::timeout(deadline, up).await.is_ok_and(|link| link.is_ok()) {
            return Ok(backplane);
        }
        let source = match &*backplane.link().borrow() {
            Link::Down { cause, .. } => Some(Arc::clone(cause)),
            _ => None,
        };
        Err(ConnectError::NotUp { waited: deadline, source })
    }
}

impl IntoFuture for Connect {
    type Output = Result<Arc<dyn Backplane>, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Every scheme of this release, with the feature that it needs and whether that is on.
const SCHEMES: &[(&str, &str, bool)] = &[
    ("memory", "memory", cfg!(feature = "memory")),
    ("redis", "redis", cfg!(feature = "redis")),
    ("rediss", "redis-tls", cfg!(feature = "redis-tls")),
    ("redis+streams", "redis", cfg!(feature = "redis")),
    ("rediss+streams", "redis-tls", cfg!(feature = "redis-tls")),
    ("redis+sentinel", "redis", cfg!(feature = "redis")),
    ("rediss+sentinel", "redis-tls", cfg!(feature = "redis-tls")),
    ("redis+sentinel+streams", "redis", cfg!(feature = "redis")),
    ("rediss+sentinel+streams", "redis-tls", cfg!(feature = "redis-tls")),
    ("redis+sharded", "redis", cfg!(feature = "redis")),
    ("rediss+sharded", "redis-tls", cfg!(feature = "redis-tls")),
    ("nats", "nats", cfg!(feature = "nats")),
    ("nats+jetstream", "nats", cfg!(feature = "nats")),
    ("kafka", "kafka", cfg!(feature = "kafka")),
    ("kafka+ssl", "kafka-ssl", cfg!(feature = "kafka-ssl")),
];

fn start(url: &str) -> Result<Arc<dyn Backplane>, ConnectError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(ConnectError::url("it has no scheme; a URL looks like redis://host:6379"));
    };
    let scheme = scheme.to_ascii_lowercase();
    match SCHEMES.iter().find(|(known, ..)| *known == scheme) {
        Some((.., true)) => {}
        Some((_, feature, false)) => return Err(ConnectError::FeatureOff { scheme, feature }),
        None => {
            let on = SCHEMES.iter().filter(|(.., on)| *on).map(|(known, ..)| format!("{known}:"));
            let known = on.collect::<Vec<_>>().join(", ");
            return Err(ConnectError::UnknownScheme { scheme, known });
        }
    }
    match (&*scheme, &*format!("{scheme}:{rest}")) {
        #[cfg(feature = "memory")]
        ("memory", url) => Ok(Arc::new(backplane_memory::MemoryConfig::from_url(url)?.start())),
        #[cfg(feature = "redis")]
        ("redis" | "rediss" | "redis+sentinel" | "rediss+sentinel", url) => {
            Ok(Arc::new(backplane_redis::RedisConfig::from_url(url)?.start()?))
        }
        #[cfg(feature = "redis")]
        (
            "redis+streams"
            | "rediss+streams"
            | "redis+sentinel+streams"
            | "rediss+sentinel+streams",
            url,
        ) => Ok(Arc::new(backplane_redis::StreamsConfig::from_url(url)?.start()?)),
        #[cfg(feature = "redis")]
        ("redis+sharded" | "rediss+sharded", url) => {
            Ok(Arc::new(backplane_redis::ShardedConfig::from_url(url)?.start()?))
        }
        #[cfg(feature = "nats")]
        ("nats", url) => Ok(Arc::new(backplane_nats::NatsConfig::from_url(url)?.start()?)),
        #[cfg(feature = "kafka")]
        ("kafka" | "kafka+ssl", url) => {
            Ok(Arc::new(backplane_kafka::KafkaConfig::from_url(url)?.start()?))
        }
        #[cfg(feature = "nats")]
        ("nats+jetstream", url) => {
            Ok(Arc::new(backplane_nats::JetStreamConfig::from_url(url)?.start()?))
        }
        _ => Err(ConnectError::UnknownScheme { scheme, known: String::new() }),
    }
}
