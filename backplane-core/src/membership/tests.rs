use std::time::Duration;

use super::{Change, Membership};
use crate::NodeId;

const SECOND: Duration = Duration::from_secs(1);
const DEAD_AFTER: Duration = Duration::from_secs(5);

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn membership() -> Membership {
    Membership::new(Some("here".into()), DEAD_AFTER)
}

#[test]
fn silence_is_death_and_a_word_is_life() {
    let mut members = membership();
    assert_eq!(members.heard(node(1), Some("there")), Some(Change::Joined(node(1))));
    assert_eq!(members.heard(node(1), Some("there")), None);
    for _ in 0..4 {
        assert_eq!(members.tick(SECOND, SECOND, true), []);
    }
    assert!(members.members().contains(node(1)));
    assert_eq!(members.tick(SECOND, SECOND, true), [Change::Died(node(1))]);
    assert!(!members.members().contains(node(1)));
    assert_eq!(members.heard(node(1), None), Some(Change::Returned(node(1))));
    assert!(members.members().contains(node(1)));
}

#[test]
fn one_that_was_stalled_or_cut_off_judges_nobody() {
    let mut members = membership();
    members.heard(node(1), None);
    assert_eq!(members.tick(SECOND * 30, SECOND, true), [], "it was stalled itself");
    for _ in 0..2 {
        assert_eq!(members.tick(SECOND, SECOND, true), [], "it waits for heartbeats");
    }
    for _ in 0..100 {
        assert_eq!(members.tick(SECOND, SECOND, false), [], "its link is down");
    }
    let waited = (0..).take_while(|_| members.tick(SECOND, SECOND, true).is_empty()).count();
    assert_eq!(waited, 2 + 4, "two seconds of grace, then five of silence");
}

#[test]
fn who_leaves_is_gone_at_once_and_its_late_words_change_nothing() {
    let mut members = membership();
    members.heard(node(1), None);
    assert_eq!(members.left(node(1)), Some(Change::Left(node(1))));
    assert_eq!(members.left(node(1)), None);
    assert_eq!(members.heard(node(1), None), None);
    assert!(!members.members().contains(node(1)));
}

#[test]
fn a_shared_name_is_noticed_while_both_live() {
    let mut members = membership();
    members.heard(node(1), Some("there"));
    assert!(!members.members().name_is_shared);
    members.heard(node(2), Some("here"));
    assert!(members.members().name_is_shared);
    members.left(node(2));
    assert!(!members.members().name_is_shared);
}

#[test]
fn the_dead_are_forgotten_and_so_is_their_place() {
    let mut members = membership();
    members.heard(node(1), None);
    let mut changes = Vec::new();
    for _ in 0..400 {
        changes.extend(members.tick(SECOND, SECOND, true));
    }
    assert_eq!(changes, [Change::Died(node(1)), Change::Forgotten(node(1))]);
    assert!(members.nodes.is_empty());
}
