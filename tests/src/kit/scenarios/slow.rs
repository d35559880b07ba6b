//! P8: whoever is slow loses alone, and is told how much.

use std::{
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use backplane_core::{Event, Next, Sink, Topic, stream};
use futures_util::StreamExt;

use super::{HUB, restart::judge};
use crate::kit::{
    Checker, Collector, Doing, Outcome, SOON, Stage, Stop,
    checker::{Receiver, Report},
    confirmed, ensure, eventually, publish, up, within,
};

/// A bounded stream that nobody reads keeps what fits, counts the rest, and says so in its place.
///
/// # Errors
///
/// The numbers don't add up.
pub async fn a_slow_stream_says_what_it_dropped(stage: &Stage) -> Outcome {
    const CAPACITY: u64 = 16;
    const COUNT: u64 = 1000;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "slow");
    let topics = std::slice::from_ref(&topic);
    let mut slow = stream(&*here, topics, CAPACITY as usize).doing("opening a stream")?;
    confirmed(slow.subscription()).await?;
    let (quick, _quick) = Collector::listen(&*here, topics).await?;
    let send = async |number: u64| {
        publish(&*there, backplane_core::Envelope::new(topic.clone(), number.to_string())).await
    };
    for number in 0..COUNT {
        send(number).await?;
    }
    quick.has(COUNT as usize, "everything, at the quick sink").await?;

    for number in 0..CAPACITY {
        expect(&mut slow, Some(number)).await?;
    }
    let told = match within(SOON, "the stream to say what it dropped", slow.next()).await? {
        Some(Next::Dropped(told)) => told,
        other => return Err(Stop::Broken(format!("the stream said {other:?}"))),
    };
    ensure!(told == COUNT - CAPACITY, "{told} dropped, but {} were", COUNT - CAPACITY);
    ensure!(slow.dropped() == told, "{told} were told, but {} counted", slow.dropped());
    // It goes on as if nothing had been.
    send(COUNT).await?;
    expect(&mut slow, Some(COUNT)).await?;
    quick.has(COUNT as usize + 1, "the last one, at the quick sink").await?;
    ensure!(quick.count() as u64 == COUNT + 1, "the quick sink heard {}", quick.count());
    Ok(())
}

async fn expect(stream: &mut backplane_core::Events, number: Option<u64>) -> Outcome {
    let expected = number.map(|number| number.to_string());
    match within(SOON, format!("envelope {expected:?} on the stream"), stream.next()).await? {
        Some(Next::Event(Event::Message(envelope)))
            if expected.is_none_or(|expected| envelope.body == expected) =>
        {
            Ok(())
        }
        other => Err(Stop::Broken(format!("instead of {number:?} came {other:?}"))),
    }
}

/// A node with a reader that never reads slows nobody down: other sinks there and other nodes hear
/// everything.
///
/// # Errors
///
/// They don't.
pub async fn a_slow_reader_is_not_noticed_by_others(stage: &Stage) -> Outcome {
    let [here, there, from] = stage.nodes().await?;
    let topic = Topic::all(HUB);
    let topics = std::slice::from_ref(&topic);
    let never_read = stream(&*here, topics, 1).doing("opening a stream")?;
    confirmed(never_read.subscription()).await?;
    let checker = Checker::new();
    let _beside = checker.listen("beside the slow one", &*here, topics).await?;
    let _elsewhere = checker.listen("elsewhere", &*there, topics).await?;
    let _publisher = checker.listen("where it was published", &*from, topics).await?;
    // More bytes than sockets and queues hold, so that a reader that held them up would be noticed.
    checker.publisher(&from, &topic).padding(4096).publish_many(10_000).await?;
    checker.settled().await?;
    checker.report().exact()?;
    ensure!(never_read.dropped() == 9_999, "{} of 9999 were dropped", never_read.dropped());
    Ok(())
}

/// Stands still at its first envelope: what a node without a processor looks like to its broker.
#[derive(Debug)]
struct Stalls {
    receiver: Arc<Receiver>,
    once: Once,
}

impl Sink for Stalls {
    fn accept(&self, event: &Event) {
        self.once.call_once(|| {
            let until = Instant::now() + STALL;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
        });
        self.receiver.accept(event);
    }
}

/// Shorter than the probe's deadline: it is for the broker to lose patience.
const STALL: Duration = Duration::from_secs(2);

/// A node stands still for two seconds while more is sent than brokers keep for a slow reader.
/// Other nodes hear everything; whatever the stalled node lost, its sinks are told.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_stalled_node_costs_nobody_else_and_knows_what_it_lost(stage: &Stage) -> Outcome {
    const ENVELOPES: usize = 1600;
    const SIZE: usize = 65_536;
    let [stalled, other, from] = stage.nodes().await?;
    let topic = Topic::all(HUB);
    let topics = std::slice::from_ref(&topic);
    let checker = Checker::new();
    let _other = checker.listen("another node", &*other, topics).await?;
    let receiver = checker.receiver("the stalled node", stalled.node());
    let sink = Stalls { receiver: Arc::clone(&receiver), once: Once::new() };
    let subscription =
        stalled.subscribe(&[(topic.clone(), Arc::new(sink))]).doing("subscribing")?;
    confirmed(&subscription).await?;
    receiver.expects(topics);
    let publisher = checker.publisher(&from, &topic).padding(SIZE);
    publisher.publish_many(ENVELOPES).await?;

    // It may be cut off while it catches up, and what is sent before it notices is lost.
    eventually(SOON, "the stalled node to hear again", async || {
        up(&*stalled).await?;
        publisher.publish().await?;
        let settled = tokio::time::timeout(STALL, checker.settled()).await;
        settled.map_or_else(|_| Ok(Err(receiver.count().to_string())), |settled| settled.map(Ok))
    })
    .await?;
    let report = checker.report();
    let (stalled, others): (Vec<_>, Vec<_>) =
        report.receivers.into_iter().partition(|it| it.label == "the stalled node");
    Report { receivers: others }.exact().doing("beside a stalled node")?;
    judge(stage, from.semantics(), &Report { receivers: stalled })
}
