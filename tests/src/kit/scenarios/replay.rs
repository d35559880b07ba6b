//! Reading from a position of the medium's log, where it keeps one.

use backplane_core::{Backplane, Envelope, Offset, Position, Replay, Sink, SubscribeError, Topic};

use super::HUB;
use crate::kit::{Collector, Outcome, Stage, Stop, collect::publish, ensure, fence};

/// What two nodes published before is read from the beginning, in order, what they publish then too; from an
/// offset that was written down, on behind it; and from now on, nothing from before. Envelopes know where
/// they stand, and what is of another topic does not come.
///
/// # Errors
///
/// Something else is read.
pub async fn what_is_kept_is_read_from_any_position(stage: &Stage) -> Outcome {
    let [one, two] = stage.nodes().await?;
    if one.semantics().replay == Replay::None {
        return Err(Stop::NotApplicable("the medium keeps no log".to_owned()));
    }
    let (topic, other) = (Topic::group(HUB, "kept"), Topic::group(HUB, "beside it"));
    let send = async |from: &dyn Backplane, topic: &Topic, numbers: std::ops::Range<u32>| {
        for number in numbers {
            publish(from, Envelope::new(topic.clone(), number.to_string())).await?;
        }
        Ok::<(), Stop>(())
    };
    send(&*one, &topic, 0..5).await?;
    send(&*one, &other, 100..110).await?;
    send(&*two, &topic, 5..10).await?;
    let (all, _all) = Collector::read(&*two, &topic, Position::Earliest).await?;
    let read = all.numbers(10).await?;
    ensure!(read == (0..10).collect::<Vec<_>>(), "from the beginning, {read:?} was read");
    let offsets: Vec<Option<Offset>> = all.messages().iter().map(|it| it.offset).collect();
    let grow = offsets.iter().all(Option::is_some) && offsets.is_sorted_by(|one, next| one < next);
    ensure!(grow, "the offsets {offsets:?} do not grow");
    let Some(kept) = all.offset(6) else { return Err(Stop::Broken("no offset".to_owned())) };
    let kept: Offset = kept.to_string().parse()?;
    let (later, _later) = Collector::read(&*one, &topic, Position::After(kept)).await?;
    let (new, _new) = Collector::read(&*one, &topic, Position::Now).await?;
    send(&*one, &topic, 10..12).await?;
    fence(&*one, &topic, &[&all, &later, &new]).await?;
    for (reader, expected) in [(all, 0..12), (later, 7..12), (new, 10..12)] {
        let read = reader.numbers(0).await?;
        ensure!(
            read == expected.clone().collect::<Vec<_>>(),
            "{read:?} was read, not {expected:?}"
        );
        ensure!(reader.gaps().is_empty(), "{:?} of a whole log", reader.gaps());
    }
    Ok(())
}

/// Where the medium keeps no log, reading from a position is refused at once, with a reason.
///
/// # Errors
///
/// It is not, or not for that reason.
pub async fn where_nothing_is_kept_reading_is_refused(stage: &Stage) -> Outcome {
    let [node] = stage.nodes().await?;
    if node.semantics().replay != Replay::None {
        return Err(Stop::NotApplicable("the medium keeps a log".to_owned()));
    }
    let topic = Topic::group(HUB, "not kept");
    let after = Position::After(Offset::new(0, (1, 0)));
    for position in [Position::Earliest, Position::Now, after] {
        let sink = Collector::new() as std::sync::Arc<dyn Sink>;
        match node.subscribe_from(&topic, sink, position) {
            Err(SubscribeError::NoReplay { topic: refused }) if refused == topic => {}
            other => return Err(Stop::Broken(format!("{position:?} was answered with {other:?}"))),
        }
    }
    Ok(())
}
