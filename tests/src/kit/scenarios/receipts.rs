//! P5: publish tells the truth.

use std::sync::Arc;

use backplane_core::{Envelope, PublishError, Topic};
use futures_util::future::{join_all, try_join_all};

use super::HUB;
use crate::kit::{Collector, Doing, Outcome, SOON, Stage, Stop, ensure, eventually, within};

/// A receipt proves what the transport promises, whether or not anybody listens.
///
/// # Errors
///
/// It proves less.
pub async fn a_receipt_is_what_was_promised(stage: &Stage) -> Outcome {
    let [here, there] = stage.nodes().await?;
    let [heard, unheard] = ["heard", "unheard"].map(|name| Topic::group(HUB, name));
    let _ear = Collector::listen(&*there, std::slice::from_ref(&heard)).await?;
    let promised = here.semantics().receipt;
    for topic in [heard, unheard] {
        let publishing = (0..200).map(|_| here.publish(Envelope::new(topic.clone(), "x")));
        for receipt in within(SOON, "200 receipts", join_all(publishing)).await? {
            let receipt = receipt.doing("publishing")?;
            ensure!(receipt >= promised, "{promised:?} was promised, {receipt:?} came");
            if receipt > promised {
                stage.better(format_args!("{receipt:?} receipts instead of {promised:?}"));
            }
        }
    }
    stage.note(format_args!("receipts prove {promised:?}"));
    Ok(())
}

/// Whatever was accepted is counted once: as sent, as refused, or as unknown; what was turned away
/// is not.
///
/// # Errors
///
/// The sums differ.
pub async fn every_envelope_is_accounted_for(stage: &Stage) -> Outcome {
    const COUNT: usize = 1000;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "accounts");
    let (ear, _subscription) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    let (local, _local) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let mut tickets = Vec::new();
    for number in 0..COUNT {
        let ticket = here.try_publish(Envelope::new(topic.clone(), number.to_string()))?;
        // Dropping a ticket changes nothing.
        if number % 2 == 0 {
            tickets.push(ticket);
        }
    }
    let too_large = here.semantics().largest_body.as_u64() as usize + 1;
    let refused = here.try_publish(Envelope::new(topic.clone(), vec![0; too_large]));
    ensure!(matches!(refused, Err(PublishError::TooLarge { .. })), "{refused:?}");
    within(SOON, "all receipts", try_join_all(tickets)).await?.doing("a receipt")?;
    ear.has(COUNT, "all envelopes").await?;
    eventually(SOON, "the sums to agree", async || {
        let stats = here.stats();
        let settled = stats.sent + stats.link_down + stats.refused + stats.unknown;
        let right = stats.accepted == COUNT as u64
            && settled == stats.accepted
            && stats.sent == stats.accepted
            && stats.delivered == COUNT as u64;
        Ok(if right { Ok(()) } else { Err(format!("{stats:?}")) })
    })
    .await?;
    let stats = there.stats();
    let right = stats.received == COUNT as u64 && stats.delivered == COUNT as u64;
    ensure!(right, "the receiving node counted {stats:?}");
    drop(local);
    stage.note(format_args!("{COUNT} envelopes in {} batches", here.stats().write_round_trips));
    Ok(())
}

/// Publishing and subscribing work from a thread without a runtime, and a ticket can be awaited in
/// any runtime.
///
/// # Errors
///
/// They don't.
pub async fn publishing_needs_no_runtime(stage: &Stage) -> Outcome {
    const COUNT: usize = 100;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "threads");
    let (ear, _subscription) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let (node, on) = (Arc::clone(&here), topic.clone());
    std::thread::spawn(move || {
        let work = || {
            let sink = Collector::new();
            let subscription = sink.subscribe(&*node, std::slice::from_ref(&on))?;
            let publish = |_| node.try_publish(Envelope::new(on.clone(), "from a thread"));
            let tickets: Vec<_> = (0..COUNT).map(publish).collect::<Result<_, _>>()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                within(SOON, "receipts", try_join_all(tickets)).await?.doing("a receipt")
            })?;
            drop(subscription);
            Outcome::Ok(sink.count())
        };
        // Nobody listens any more if the scenario was given up.
        let _ = tell.send(work());
    });
    let local = within(SOON, "the thread", told)
        .await?
        .map_err(|_| Stop::Broken("the thread panicked".to_owned()))??;
    ensure!(local == COUNT, "the thread's own sink heard {local} of {COUNT}");
    ear.has(COUNT, "what a thread published").await
}
