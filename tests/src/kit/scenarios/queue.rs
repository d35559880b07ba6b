//! P8: the outgoing queue is bounded, and says so.

use std::sync::Arc;

use backplane_core::{Backplane, ByteSize, Envelope, PublishError, Ticket, Topic};
use futures_util::future::try_join_all;

use super::HUB;
use crate::kit::{Checker, Collector, Doing, Outcome, SOON, Setup, Stage, Stop, ensure, within};

/// Publishes until the queue is full. Returns the tickets of what was taken.
async fn fill(node: &dyn Backplane, topic: &Topic, size: usize) -> Outcome<Vec<Ticket>> {
    const MOST: usize = 1_000_000;
    let mut tickets = Vec::new();
    while tickets.len() < MOST {
        let body = vec![b'.'; size];
        let envelope = Envelope::new(topic.clone(), body.clone()).except(["someone"]);
        match node.try_publish(envelope) {
            Ok(ticket) => tickets.push(ticket),
            Err(PublishError::Full(returned)) => {
                let same = returned.topic == *topic
                    && returned.body == body
                    && returned.except.iter().map(|it| &**it).eq(["someone"]);
                ensure!(same, "Full gave back {returned:.50?}");
                within(SOON, "room in a full queue", node.room(&returned)).await?.doing("room")?;
                return Ok(tickets);
            }
            Err(error) => return Err(error).doing("filling the queue"),
        }
    }
    Err(Stop::Broken(format!("the queue took {MOST} envelopes and was never full")))
}

async fn filled(stage: &Stage, setup: Setup, size: usize) -> Outcome {
    let here = stage.node_with(setup).await?;
    let there = stage.node().await?;
    let topic = Topic::group(HUB, "full");
    let (local, _local) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let (remote, _remote) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    let mut taken = 0;
    for round in 1..=20 {
        let tickets = fill(&*here, &topic, size).await?;
        taken += tickets.len();
        let heard = local.count();
        ensure!(heard == taken, "{taken} were taken, but a local sink heard {heard}");
        within(SOON, "all receipts", try_join_all(tickets)).await?.doing("a receipt")?;
        let full = here.stats().full;
        ensure!(full == round, "the queue was full {round} times, but {full} were counted");
    }
    remote.has(taken, "everything that was taken").await?;
    crate::kit::fence(&*here, &topic, &[&remote]).await?;
    let heard = remote.count();
    ensure!(heard == taken, "{taken} were taken, but {heard} arrived");
    stage.note(format_args!("{taken} envelopes taken until the queue was full for the 20th time"));
    Ok(())
}

/// When the queue is full, `try_publish` gives the envelope back and nothing has happened; `room`
/// tells when to try again.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_full_queue_gives_the_envelope_back(stage: &Stage) -> Outcome {
    let setup = stage.setup().options(|options| options.queue_envelopes = 2);
    filled(stage, setup, 10).await
}

/// The same for the bound in bytes; what is larger than the whole bound still goes, alone.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_queue_is_bounded_in_bytes_too(stage: &Stage) -> Outcome {
    let bound = ByteSize::kib(64);
    let setup = || stage.setup().options(|options| options.queue_bytes = bound);
    filled(stage, setup(), 10_000).await?;

    let here = stage.node_with(setup()).await?;
    let there = stage.node().await?;
    let topic = Topic::group(HUB, "oversized");
    let checker = Checker::new();
    let _listener = checker.listen("elsewhere", &*there, std::slice::from_ref(&topic)).await?;
    let size = (here.semantics().largest_body.as_u64() as usize - 100).min(200_000);
    let publisher = checker.publisher(&here, &topic).padding(size);
    publisher.publish_many(20).await?;
    checker.settled().await?;
    checker.report().exact()
}

/// Many publishers share a queue of two: all get through, and nothing is lost, doubled or out of
/// order.
///
/// # Errors
///
/// It is otherwise.
pub async fn publishers_wait_for_room(stage: &Stage) -> Outcome {
    let setup = stage.setup().options(|options| options.queue_envelopes = 2);
    let here = stage.node_with(setup).await?;
    let there = stage.node().await?;
    let topic = Topic::group(HUB, "crowded");
    let checker = Checker::new();
    let _there = checker.listen("elsewhere", &*there, std::slice::from_ref(&topic)).await?;
    let _here = checker.listen("here", &*here, std::slice::from_ref(&topic)).await?;
    let tasks = (0..16).map(|_| {
        let publisher = checker.publisher(&here, &topic);
        tokio::spawn(async move {
            for _ in 0..50 {
                publisher.publish().await?;
            }
            Outcome::Ok(())
        })
    });
    for done in within(SOON, "all publishers", try_join_all(tasks)).await?? {
        done?;
    }
    checker.settled().await?;
    checker.report().exact()?;
    // Whoever gives up waiting takes nothing with it.
    let envelope = Envelope::new(topic, "x");
    for _ in 0..100 {
        let _ = futures_util::FutureExt::now_or_never(here.room(&envelope));
    }
    let here = Arc::clone(&here);
    within(SOON, "an envelope", here.publish(envelope)).await?.map(drop).doing("publishing")
}
