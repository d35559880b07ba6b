//! Without numbers, chaos is seen as it is: does it tell the truth?

use std::collections::HashSet;

use backplane_core::{NodeOptions, chaos::ChaosOptions};

use crate::{
    scene::{EACH, Scene, wild},
    seeds, until,
};

#[tokio::test(start_paused = true)]
async fn what_is_missing_was_counted_as_lost() {
    for seed in seeds() {
        let scene = Scene::new(&wild(seed), &NodeOptions::bare()).await;
        scene.publish(0..EACH).await;
        scene.switch.stop();
        until("let go", || scene.switch.counts().held() == 0).await;
        let counts = scene.switch.counts();
        assert_eq!(counts.lost_messages, scene.missing(EACH), "{counts:?}, BACKPLANE_SEED={seed}");
        assert!(counts.lost_messages > 0, "BACKPLANE_SEED={seed}");
        let streams = scene.streams();
        assert!(streams.iter().any(|it| !it.numbers.is_sorted()), "BACKPLANE_SEED={seed}");
        let doubled = streams
            .iter()
            .map(|it| it.numbers.len() - it.numbers.iter().collect::<HashSet<_>>().len());
        let doubled = doubled.sum::<usize>() as u64;
        // Heartbeats come twice as well.
        assert!(doubled > 0 && doubled <= counts.doubled, "{doubled}, BACKPLANE_SEED={seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_thing_alone_is_that_thing_alone() {
    let only = |change: fn(&mut ChaosOptions)| {
        let mut options = ChaosOptions::default();
        change(&mut options);
        options
    };
    type Check = fn(&[u32]) -> bool;
    let cases: [(ChaosOptions, Check, Check); 5] = [
        (ChaosOptions::default(), |it| is_all(it), |it| it.is_sorted()),
        (
            only(|it| it.drop = 0.2),
            |it| it.is_sorted_by(|a, b| a < b),
            |it| it.len() < EACH as usize,
        ),
        (only(|it| it.double = 1.0), |it| is_all_twice(it), |it| !it.is_sorted()),
        (only(|it| it.reorder = 0.2), |it| is_all(it), |it| !it.is_sorted()),
        (only(|it| it.delay = 0.2), |it| is_all(it), |it| !it.is_sorted()),
    ];
    for (options, on_each, somewhere) in cases {
        let scene = Scene::new(&options, &NodeOptions::bare()).await;
        scene.publish(0..EACH).await;
        scene.switch.stop();
        until("let go", || scene.switch.counts().held() == 0).await;
        let streams = scene.streams();
        for stream in &streams {
            assert!(on_each(&stream.numbers), "{options:?}: {stream:?}");
        }
        assert!(streams.iter().any(|it| somewhere(&it.numbers)), "{options:?}");
    }
}

fn sorted(it: &[u32]) -> Vec<u32> {
    let mut sorted = it.to_vec();
    sorted.sort_unstable();
    sorted
}

fn is_all(it: &[u32]) -> bool {
    sorted(it).into_iter().eq(0..EACH)
}

fn is_all_twice(it: &[u32]) -> bool {
    sorted(it).into_iter().eq((0..EACH).flat_map(|it| [it; 2]))
}
