//! The other side of a node's process.

use std::{io::Write, process::ExitCode, sync::Arc, sync::atomic::Ordering, time::Duration};

use backplane_core::{Backplane, NodeOptions, Topic};
use backplane_nats::{JetStreamConfig, NatsConfig};
use backplane_redis::{RedisConfig, ShardedConfig, StreamsConfig};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
    time::MissedTickBehavior,
};

use super::{
    Clock, HUB, Pace,
    journal::Journal,
    member::{Role, listen},
    process::{Line, SERVES, TASK, Task},
    publish::publish,
};
use crate::kit::{Doing, Layer, Outcome, Stop};

/// How often news is told.
const NEWS: Duration = Duration::from_millis(50);

/// Call it first in `main` of a program that runs scenarios: some start a node as a process of its
/// own, by running this same program again with a task in its environment. Where there is a task it
/// serves as that node until it is told to stop, and the exit code is to be returned.
#[must_use]
pub fn serve_node() -> Option<ExitCode> {
    let Ok(task) = std::env::var(TASK) else {
        SERVES.store(true, Ordering::Release);
        return None;
    };
    let served = serde_json::from_str(&task).doing("reading the task").and_then(|task: Task| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let served = runtime.block_on(serve(task));
        // A read of standard input cannot be called off.
        runtime.shutdown_background();
        served
    });
    Some(match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            // Whoever started it reads this, or is gone.
            let _ = tell(&Line::Failed(format!("{stop:?}")));
            ExitCode::FAILURE
        }
    })
}

async fn serve(task: Task) -> Outcome {
    let layer = Layer::named(&task.layer);
    let layer = layer.ok_or_else(|| Stop::Broken(format!("no layer {}", task.layer)))?;
    let node = connect(&task.url, layer.options())?;
    let role = match (task.publishes, task.receives) {
        (true, true) => Role::Both,
        (true, false) => Role::Publishes,
        _ => Role::Receives,
    };
    let topics = task.topics.iter().map(|name| Topic::group(HUB, name)).collect();
    let clock = Clock::joining(task.begun_unix_us);
    let journal = Arc::new(Journal::new(task.run, task.index, task.nodes, topics, clock));
    let (_watching, mut confirmed) = listen(&node, &journal, role)?;
    tell(&Line::Node(node.node().to_string()))?;

    let (pace, paced) = watch::channel(Pace::Steady);
    let mut publishing = None;
    let mut words = BufReader::new(tokio::io::stdin()).lines();
    let mut news = tokio::time::interval(NEWS);
    news.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_confirmed = false;
    let mut is_done = false;
    loop {
        tokio::select! {
            _ = news.tick() => report(&journal)?,
            at = confirmed.wait_for(Option::is_some), if !is_confirmed => {
                is_confirmed = true;
                if let Ok(Some(at)) = at.map(|at| *at) {
                    tell(&Line::Confirmed(at))?;
                }
            }
            word = words.next_line() => match word?.as_deref().map(str::trim) {
                Some("start") if publishing.is_none() && role.publishes() => {
                    let (node, journal) = (Arc::clone(&node), Arc::clone(&journal));
                    let paced = paced.clone();
                    publishing = Some(tokio::spawn(publish(node, journal, task.rate, task.size, paced)));
                }
                Some("report") => report(&journal)?,
                Some("stop") => {
                    pace.send_replace(Pace::Stop);
                    is_done = publishing.is_none();
                    if is_done {
                        report(&journal)?;
                        tell(&Line::Done)?;
                    }
                }
                Some(_) => {}
                // Whoever started it is gone.
                None => return Ok(()),
            },
            ended = finished(&mut publishing), if !is_done && *pace.borrow() == Pace::Stop => {
                ended?;
                is_done = true;
                report(&journal)?;
                tell(&Line::Done)?;
            }
        }
    }
}

async fn finished(publishing: &mut Option<tokio::task::JoinHandle<()>>) -> Outcome {
    match publishing {
        Some(task) => task.await.doing("publishing"),
        None => std::future::pending().await,
    }
}

fn report(journal: &Journal) -> Outcome {
    tell(&Line::Pages(Box::new(journal.take())))
}

fn tell(line: &Line) -> Outcome {
    let mut text = serde_json::to_string(line).doing("writing a line")?;
    text.push('\n');
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).doing("telling")
}

fn connect(url: &str, options: NodeOptions) -> Outcome<Arc<dyn Backplane>> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    Ok(match scheme {
        "redis" | "redis+sentinel" => {
            let mut config = RedisConfig::from_url(url)?;
            config.node = options;
            Arc::new(config.start()?)
        }
        "redis+streams" | "redis+sentinel+streams" => {
            let mut config = StreamsConfig::from_url(url)?;
            config.server.node = options;
            Arc::new(config.start()?)
        }
        "nats+jetstream" => {
            let mut config = JetStreamConfig::from_url(url)?;
            config.servers.node = options;
            Arc::new(config.start()?)
        }
        "redis+sharded" => {
            let mut config = ShardedConfig::from_url(url)?;
            config.server.node = options;
            Arc::new(config.start()?)
        }
        "nats" => {
            let mut config = NatsConfig::from_url(url)?;
            config.node = options;
            Arc::new(config.start()?)
        }
        #[cfg(feature = "kafka")]
        "kafka" => {
            let mut config = backplane_kafka::KafkaConfig::from_url(url)?;
            config.node = options;
            Arc::new(config.start()?)
        }
        other => return Err(Stop::Broken(format!("no node over {other:?} as a process"))),
    })
}
