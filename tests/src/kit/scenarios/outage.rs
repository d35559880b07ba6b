//! P5 and P6: the medium may be away.

use std::time::{Duration, Instant};

use backplane_core::{
    Backplane, CloseError, Envelope, Filter, Link, PublishError, PublisherOutage, Receipt, Ticket,
    Topic,
};
use futures_util::FutureExt;

use super::HUB;
use crate::kit::{
    Collector, Control, Doing, Outcome, SOON, Stage, Stop, confirmed, ensure, eventually, fence,
    publish, up, within,
};

/// How soon a publisher must be told that the medium is away.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Waits until the link is not up.
pub(super) async fn down(node: &dyn Backplane) -> Outcome {
    let mut link = node.link();
    let not_up = link.wait_for(|link| !link.is_up());
    within(SOON, "the link to be seen down", not_up).await?.map(drop).doing("watching the link")
}

/// Publishes with the link down: the local sink has it at once, and the ticket says soon that nobody
/// else has, or that it is queued where it waits for the link.
async fn told(stage: &Stage, node: &dyn Backplane, topic: &Topic, local: &Collector) -> Outcome {
    let before = local.count();
    let ticket = node.try_publish(Envelope::new(topic.clone(), "alone")).doing("publishing")?;
    let heard = local.count();
    ensure!(heard == before + 1, "a local sink did not hear at once");
    let answer = within(AT_ONCE, "a ticket while the link is down", ticket).await?;
    truth(stage, node, &answer)
}

/// With the link down, that is what a publisher must be told.
fn truth(stage: &Stage, node: &dyn Backplane, answer: &Result<Receipt, PublishError>) -> Outcome {
    match (answer, stage.buffers(node)) {
        (Ok(Receipt::Queued), true) | (Err(PublishError::LinkDown(_)), false) => Ok(()),
        _ => Err(Stop::Broken(format!("while the link is down, a publisher was told {answer:?}"))),
    }
}

/// Two nodes start while the medium is away. They serve their own sinks, say why they are alone,
/// and join when the medium comes; whatever is published from then on arrives.
///
/// # Errors
///
/// It is otherwise.
pub async fn a_node_starts_while_the_medium_is_away(stage: &Stage) -> Outcome {
    stage.needs(Control::Stop)?;
    stage.medium().stop().await?;
    let begun = Instant::now();
    let here = stage.medium().node(stage.setup()).await?;
    let there = stage.medium().node(stage.setup()).await?;
    let took = begun.elapsed();
    ensure!(took < AT_ONCE, "starting two nodes took {took:?}");

    let topic = Topic::group(HUB, "early");
    let ear = Collector::new();
    let subscription = ear.subscribe(&*here, std::slice::from_ref(&topic))?;
    told(stage, &*here, &topic, &ear).await?;
    let mut link = here.link();
    let seen = link.wait_for(|link| matches!(link, Link::Down { .. }));
    match &*within(SOON, "the link to say why it is down", seen).await?? {
        Link::Down { cause, .. } => stage.note(format_args!("the cause: {cause}")),
        other => return Err(Stop::Broken(format!("the link is {other:?}"))),
    }
    told(stage, &*here, &topic, &ear).await?;
    let publishing = here.publish(Envelope::new(topic.clone(), "x"));
    let answer = within(AT_ONCE, "publish while the link is down", publishing).await?;
    truth(stage, &*here, &answer)?;
    let early = subscription.confirmed().now_or_never();
    ensure!(early.is_none(), "with the medium away, a subscription was confirmed: {early:?}");

    stage.medium().start().await?;
    confirmed(&subscription).await?;
    up(&*there).await?;
    let before = ear.count();
    for number in 0..100 {
        publish(&*there, Envelope::new(topic.clone(), format!("joined {number}"))).await?;
    }
    ear.has(before + 100, "what was published after the confirmation").await?;
    up(&*here).await?;
    fence(&*there, &topic, &[&ear]).await?;
    let heard = ear.events();
    let messages = ear.count();
    ensure!(messages == before + 100, "{messages} envelopes instead of {}", before + 100);
    // Nothing could be lost, so nothing needs telling.
    ensure!(heard.len() == messages, "a first connection told a sink of an interruption");
    let link = here.link().borrow().clone();
    ensure!(matches!(link, Link::Up { epoch: 1 }), "the link is {link:?}");
    Ok(())
}

/// While the medium is away, each publisher is told so at once, and local sinks are served. What was
/// not queued is forgotten; what was is sent when the medium is back, before what comes later.
///
/// # Errors
///
/// It is otherwise.
pub async fn publishers_are_told_at_once(stage: &Stage) -> Outcome {
    const COUNT: u64 = 1000;
    stage.needs(Control::Stop)?;
    let [here, there] = stage.nodes().await?;
    if here.semantics().publisher_outage == PublisherOutage::Never {
        stage.better("the medium is never away, and publishers would be told even so");
    }
    let topic = Topic::group(HUB, "alone");
    let (local, _local) = Collector::listen(&*here, std::slice::from_ref(&topic)).await?;
    let (remote, _remote) = Collector::listen(&*there, std::slice::from_ref(&topic)).await?;
    stage.medium().stop().await?;
    down(&*here).await?;
    let before = here.stats();
    for _ in 0..COUNT {
        told(stage, &*here, &topic, &local).await?;
    }
    let after = here.stats();
    let (accepted, alone) = (after.accepted - before.accepted, after.link_down - before.link_down);
    let queued = if stage.buffers(&*here) { COUNT } else { 0 };
    ensure!(
        (accepted, alone, after.buffered) == (COUNT, COUNT - queued, queued),
        "{accepted} accepted, {alone} counted as alone, {} as buffered",
        after.buffered
    );
    stage.medium().start().await?;
    up(&*here).await?;
    up(&*there).await?;
    publish(&*here, Envelope::new(topic.clone(), "together")).await?;
    fence(&*here, &topic, &[&remote]).await?;
    let bodies = remote.bodies();
    let expected = std::iter::repeat_n("alone", queued as usize).chain(["together"]);
    let right = bodies.iter().eq(expected);
    ensure!(right, "elsewhere arrived {} envelopes: {bodies:.3?}", bodies.len());
    Ok(())
}

/// Topics that are subscribed or given up while the medium is away are so when it returns.
///
/// # Errors
///
/// They are not.
pub async fn interest_changes_while_the_medium_is_away(stage: &Stage) -> Outcome {
    stage.needs(Control::Stop)?;
    let [here, there] = stage.nodes().await?;
    let [kept, given_up, new, changed_twice] =
        ["kept", "given up", "new", "changed twice"].map(|name| Topic::group(HUB, name));
    let (ear, _kept) = Collector::listen(&*here, std::slice::from_ref(&kept)).await?;
    let (gone, dropped) = Collector::listen(&*here, std::slice::from_ref(&given_up)).await?;
    let (twice, first) = Collector::listen(&*here, std::slice::from_ref(&changed_twice)).await?;
    stage.medium().stop().await?;
    down(&*here).await?;
    down(&*there).await?;
    drop(dropped);
    drop(first);
    let second = twice.subscribe(&*here, std::slice::from_ref(&changed_twice))?;
    let subscription = ear.subscribe(&*here, std::slice::from_ref(&new))?;
    let fleeting = ear.subscribe(&*here, &[Topic::group(HUB, "fleeting")])?;
    drop(fleeting);
    ensure!(subscription.confirmed().now_or_never().is_none(), "confirmed without a medium");
    stage.medium().start().await?;
    confirmed(&subscription).await?;
    confirmed(&second).await?;
    up(&*here).await?;
    up(&*there).await?;
    let before = here.stats().received;
    for topic in [&kept, &new, &given_up, &changed_twice] {
        publish(&*there, Envelope::new(topic.clone(), topic.name().to_owned())).await?;
    }
    fence(&*there, &kept, &[&ear]).await?;
    fence(&*there, &new, &[&ear]).await?;
    fence(&*there, &changed_twice, &[&twice]).await?;
    // Topics have no order among each other.
    let mut bodies = ear.bodies();
    bodies.sort_unstable();
    ensure!(bodies == ["kept", "new"], "the sink heard {bodies:?}");
    let bodies = twice.bodies();
    ensure!(bodies == ["changed twice"], "what was given up and taken again heard {bodies:?}");
    ensure!(gone.count() == 0, "what was given up heard {:?}", gone.bodies());
    let received = here.stats().received - before;
    if here.semantics().filter == Filter::Broker {
        ensure!(received == 6, "{received} envelopes came to the node; 3 and 3 fences should have");
    }
    Ok(())
}

/// How many of these tickets of a node without a medium say that they are queued. The others must be
/// errors.
async fn queued(tickets: impl Iterator<Item = Ticket>) -> Outcome<u64> {
    let mut queued = 0;
    for ticket in tickets {
        match within(SOON, "a ticket of a closed node", ticket).await? {
            Ok(Receipt::Queued) => queued += 1,
            Err(_) => {}
            Ok(receipt) => {
                return Err(Stop::Broken(format!(
                    "with the medium gone, a ticket said {receipt:?}"
                )));
            }
        }
    }
    Ok(queued)
}

/// Closing does not wait for a medium that is away, and says what was not sent.
///
/// # Errors
///
/// It waits, or the node is not closed.
pub async fn closing_while_the_medium_is_away(stage: &Stage) -> Outcome {
    stage.needs(Control::Stop)?;
    let [here, there] = stage.nodes().await?;
    let topic = Topic::group(HUB, "last words");
    let pending = Collector::new();
    stage.medium().stop().await?;
    // Some before the node has noticed, some after.
    let early: Vec<_> = (0..50)
        .map(|_| here.try_publish(Envelope::new(topic.clone(), "early")))
        .collect::<Result<_, _>>()?;
    down(&*here).await?;
    let subscription = pending.subscribe(&*here, std::slice::from_ref(&topic))?;
    let late = here.try_publish(Envelope::new(topic.clone(), "late")).doing("publishing")?;
    let begun = Instant::now();
    // What is queued is worth waiting for until then.
    let limit = Duration::from_secs(if stage.buffers(&*here) { 1 } else { 5 });
    let answer = within(SOON, "closing", here.close(limit)).await?;
    let took = begun.elapsed();
    ensure!(took < limit + AT_ONCE, "closing took {took:?} of {limit:?}");
    let queued = queued(early.into_iter().chain([late])).await?;
    ensure!(queued == 0 || stage.buffers(&*here), "{queued} tickets said that they were queued");
    match answer {
        Ok(_) if queued == 0 => {}
        // One that had not been looked at yet is unsent too, and its ticket an error.
        Err(CloseError::DeadlinePassed { unsent, .. }) if unsent >= queued => {}
        other => return Err(Stop::Broken(format!("{queued} were queued; closing said {other:?}"))),
    }
    let outcome = within(SOON, "a subscription of a closed node", subscription.confirmed()).await?;
    ensure!(outcome.is_err(), "a closed node confirmed a subscription");
    let stats = here.stats();
    let settled = stats.sent + stats.link_down + stats.refused + stats.unknown;
    ensure!(settled == stats.accepted, "of {} accepted, {settled} are settled", stats.accepted);
    stage.medium().start().await?;
    up(&*there).await?;
    eventually(SOON, "the link to stay closed", async || {
        let link = here.link().borrow().clone();
        Ok(if matches!(link, Link::Closed) { Ok(()) } else { Err(format!("{link:?}")) })
    })
    .await
}
