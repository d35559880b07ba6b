use super::*;
use crate::faults::{
    Answer,
    account::Sent,
    journal::{LinkChange, Pages},
    member::Role,
};
use crate::kit::Layer;

/// A node that publishes so many envelopes on one topic, one each 100 µs, while its link is down in
/// these spans.
fn exceeds(options: &NodeOptions, count: u64, spans: &[(u64, u64)]) -> bool {
    let links = spans.iter().flat_map(|(from, to)| {
        [(*from, false), (*to, true)].map(|(at, up)| LinkChange { at, up, cause: String::new() })
    });
    let pages = Pages { links: links.collect(), ..Pages::default() };
    let (id, role) = (String::new(), Role::Both);
    let view = View { id, role, confirmed: Some(0), killed: false, pages };
    let sent = (0..count).map(|number| {
        let at = number * 100;
        Sent { at, answered: at, answer: Answer::Queued }
    });
    exceeded(options, &[view], &vec![vec![sent.collect()]], 64)
}

#[test]
fn each_outage_is_seen_for_itself() {
    let options = Layer::Repaired.options();
    assert!(!exceeds(&options, 20_000, &[]));
    assert!(!exceeds(&options, 20_000, &[(0, 900_000), (1_000_000, 1_900_000)]));
    assert!(exceeds(&options, 20_000, &[(0, 1_900_000)]));
}

#[test]
fn every_bound_counts() {
    let mut options = Layer::Repaired.options();
    options.retention.topic_envelopes = 100;
    assert!(exceeds(&options, 200, &[(0, 15_000)]));
    assert!(!exceeds(&options, 200, &[(0, 5_000)]));
    let mut options = Layer::Repaired.options();
    options.retention.age = std::time::Duration::from_millis(10);
    assert!(exceeds(&options, 1, &[(0, 15_000)]));
}
