//! With numbers and repair, over several nodes and topics, everything arrives once and in order.

use std::time::Duration;

use backplane_core::{Event, NodeOptions, chaos::ChaosOptions};

use crate::{
    scene::{EACH, Scene, Stream, wild},
    seeds, until,
};

/// As by default, but with more patience than for a link that loses nothing by itself: here a fifth
/// of all questions gets lost, of all answers, and of all heartbeats.
fn patient() -> NodeOptions {
    let mut options = NodeOptions::default();
    options.repair_deadline = Duration::from_secs(60);
    options.dead_after = Duration::from_secs(30);
    options
}

#[tokio::test(start_paused = true)]
async fn everything_arrives_once_and_in_order() {
    for seed in seeds() {
        let scene = Scene::new(&wild(seed), &patient()).await;
        scene.publish(0..EACH).await;
        // Of each stream, the last may be missing, and its watermarks too.
        let streams = scene.streams().len() as u64;
        let due = |each: u32| streams * u64::from(each);
        let what = format!("repaired under chaos, with BACKPLANE_SEED={seed}");
        until(&what, || scene.heard() + streams / 4 >= due(EACH)).await;
        scene.switch.stop();
        scene.publish(EACH..EACH + 1).await;
        let what = format!("complete, with BACKPLANE_SEED={seed}");
        until(&what, || scene.heard() >= due(EACH + 1)).await;

        let all: Vec<u32> = (0..=EACH).collect();
        for Stream { receiver, origin, topic, numbers } in scene.streams() {
            assert_eq!(numbers, all, "{receiver} of {origin} on {topic:?}, BACKPLANE_SEED={seed}");
        }
        let told = scene.all_told();
        assert!(told.is_empty(), "{told:?}, BACKPLANE_SEED={seed}");
        for stats in scene.stats() {
            let worked = stats.repaired > 0 && stats.resent > 0 && stats.doubled > 0;
            assert!(worked, "{stats:?}, BACKPLANE_SEED={seed}");
        }
        let counts = scene.switch.counts();
        let all_happened =
            counts.dropped > 0 && counts.doubled > 0 && counts.reordered > 0 && counts.delayed > 0;
        assert!(all_happened, "{counts:?}, BACKPLANE_SEED={seed}");
        assert_eq!((counts.abandoned, counts.full), (0, 0), "BACKPLANE_SEED={seed}");
    }
}

/// By default a hole that stays open for ten seconds is given up, and a node that is silent for five is
/// taken for dead: both happen here, and both are told.
#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_told() {
    let mut given_up = 0;
    for seed in seeds() {
        let mut chaos = ChaosOptions::one_in_ten(seed);
        // Hardly any question is answered.
        chaos.drop = 0.4;
        let scene = Scene::new(&chaos, &NodeOptions::default()).await;
        scene.publish(0..EACH / 4).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        scene.switch.stop();
        scene.publish(EACH / 4..EACH / 4 + 1).await;
        let last = |it: &Stream| it.numbers.last() == Some(&(EACH / 4));
        let what = format!("the last, with BACKPLANE_SEED={seed}");
        until(&what, || scene.streams().iter().all(last)).await;

        for Stream { receiver, origin, topic, numbers } in scene.streams() {
            let ascends = numbers.is_sorted_by(|one, next| one < next);
            assert!(ascends, "{numbers:?}, BACKPLANE_SEED={seed}");
            let missing = u64::from(EACH) / 4 + 1 - numbers.len() as u64;
            let told = scene.told(receiver);
            let died = told
                .iter()
                .any(|it| matches!(it, Event::OriginLost { origin: it } if *it == origin));
            let gaps = told.iter().filter_map(|it| match it {
                Event::Gap(gap) if gap.origin == Some(origin) && gap.topic == topic => {
                    Some(gap.count)
                }
                _ => None,
            });
            let gaps: Vec<Option<u64>> = gaps.collect();
            let counted: u64 = gaps.iter().flatten().sum();
            given_up += counted;
            // Whoever never learned with which number a stream began does not know how many are missing.
            let uncounted = died || gaps.contains(&None);
            assert!(
                counted == missing || (uncounted && counted < missing),
                "{missing} missing, {gaps:?} told to {receiver} of {origin} on {topic:?}, BACKPLANE_SEED={seed}"
            );
        }
    }
    assert!(given_up > 0, "nothing was ever given up");
}
