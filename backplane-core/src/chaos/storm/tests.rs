use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::{Envelope, Topic};

fn moving(number: u32) -> Moving {
    let envelope = Envelope::new(Topic::all("orders"), number.to_string());
    Moving { arrival: Arrival::Envelope(Box::new(envelope)), messages: 1 }
}

fn number(moving: &Moving) -> u32 {
    let Arrival::Envelope(envelope) = &moving.arrival else { panic!("{moving:?}") };
    std::str::from_utf8(&envelope.body).unwrap().parse().unwrap()
}

/// What goes on while these arrive, and in the end.
fn story(options: &ChaosOptions, seed: u64, arriving: Range<u32>) -> (Vec<u32>, ChaosCounts) {
    let (mut storm, mut counts) =
        (Storm::new(options.clone(), Random::new(seed)), ChaosCounts::default());
    let now = Instant::now();
    let mut going = Vec::new();
    for number in arriving {
        going.extend(storm.arrives(moving(number), now, true, &mut counts));
    }
    going.extend(storm.release_all());
    counts.passed = going.len() as u64;
    (going.iter().map(number).collect(), counts)
}

#[test]
fn a_reordered_one_is_overtaken_by_as_many_as_allowed() {
    let mut options = ChaosOptions { reorder: 0.1, overtaken_by: 1, ..ChaosOptions::default() };
    let (going, counts) = story(&options, 7, 0..1000);
    assert!(counts.reordered > 50, "{counts:?}");
    // While one waits for its only follower, that follower may have to wait for the next.
    let pairs = going.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
    assert!(pairs > counts.reordered / 2 && pairs <= counts.reordered, "{pairs} of {counts:?}");
    options.overtaken_by = 5;
    let (going, _) = story(&options, 7, 0..1000);
    for (at, number) in going.iter().enumerate() {
        let overtook = going[..at].iter().filter(|it| *it > number).count();
        assert!(overtook <= 10, "{overtook} overtook {number}");
    }
}

/// Which ones are dropped does not depend on what else may happen.
#[test]
fn one_decision_does_not_change_another() {
    let dropped = |options: &ChaosOptions| -> Vec<u32> {
        let (going, _) = story(options, 7, 0..500);
        (0..500).filter(|it| !going.contains(it)).collect()
    };
    let calm = ChaosOptions { drop: 0.1, ..ChaosOptions::default() };
    let wild = ChaosOptions::one_in_ten(0);
    assert_eq!(dropped(&calm), dropped(&wild));
    assert!(dropped(&calm).len() > 20);
}

fn options() -> impl Strategy<Value = ChaosOptions> {
    let probability = || prop_oneof![Just(0.0), 0.0..=1.0, Just(1.0)];
    let probabilities = (probability(), probability(), probability(), probability());
    (probabilities, 1..10_u32, 0..40_usize, 0..2000_u64).prop_map(
        |((drop, double, reorder, delay), overtaken_by, held_frames, bytes)| ChaosOptions {
            drop,
            double,
            reorder,
            delay,
            overtaken_by,
            held_frames,
            held_bytes: bytesize::ByteSize::b(bytes * 10),
            ..ChaosOptions::default()
        },
    )
}

proptest! {
    /// Whatever the options: everything is accounted for, nothing vanishes, and nothing stays.
    #[test]
    fn everything_is_accounted_for(
        options in options(),
        seed: u64,
        steps in proptest::collection::vec((0..30_u64, any::<bool>()), 1..200),
    ) {
        let mut storm = Storm::new(options.clone(), Random::new(seed));
        let mut counts = ChaosCounts::default();
        let mut now = Instant::now();
        let mut times = vec![0; steps.len()];
        let mut take = |going: Vec<Moving>, counts: &mut ChaosCounts| {
            counts.passed += going.len() as u64;
            going.iter().for_each(|it| times[number(it) as usize] += 1);
        };
        for (at, (pause, on)) in (0..).zip(&steps) {
            now += Duration::from_millis(*pause);
            take(storm.release(now), &mut counts);
            prop_assert!(storm.due().is_none_or(|due| due > now));
            take(storm.arrives(moving(at), now, *on, &mut counts), &mut counts);
            prop_assert_eq!(counts.held(), storm.held.len() as u64);
            prop_assert!(storm.held.len() <= options.held_frames);
            prop_assert!(storm.held_bytes as u64 <= options.held_bytes.as_u64());
        }
        now += options.overtaken_within.max(*options.delay_for.end());
        take(storm.release(now), &mut counts);
        prop_assert_eq!((counts.held(), storm.held_bytes, storm.behind.len()), (0, 0, 0));
        let never = times.iter().filter(|it| **it == 0).count() as u64;
        let twice = times.iter().filter(|it| **it == 2).count() as u64;
        prop_assert_eq!((never, twice), (counts.dropped, counts.doubled));
        prop_assert_eq!(counts.lost_messages, counts.dropped);
    }
}
