//! Topic → the partition that holds it, and the key of its records.

use backplane_core::Topic;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The partition of what nodes say to each other: short, so that a probe is never behind much else.
const CONVERSATION: u32 = 0;

/// The key of a record that only marks a place. No topic's key is without a `/`.
pub(crate) const FENCE: &str = "fence";

/// Leaves what is no separator here.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b':').remove(b'_').remove(b'~');

/// The partition, of so many, that holds a topic: always the same, whoever computes it.
pub(crate) fn of(topic: &Topic, partitions: u32) -> u32 {
    if partitions < 2 { CONVERSATION } else { topic.part_of(partitions - 1) }
}

/// The key of a topic's records: `{hub}/{kind}/{name}`, the hub percent-encoded, so that it belongs to one
/// topic only.
pub(crate) fn key(topic: &Topic) -> String {
    let (hub, kind, name) = (topic.hub(), topic.kind().as_str(), topic.name());
    let mut key = String::with_capacity(hub.len() + kind.len() + name.len() + 2);
    key.extend(utf8_percent_encode(hub, ESCAPED));
    for part in [kind, name] {
        key.push('/');
        key.push_str(part);
    }
    key
}

#[cfg(test)]
mod tests {
    use backplane_core::RouteKind;

    use super::*;

    #[test]
    fn keys_are_readable_and_belong_to_one_topic() {
        assert_eq!(key(&Topic::all("orders")), "orders/all/");
        assert_eq!(key(&Topic::group("or/de%rs", "a/b ü")), "or%2Fde%25rs/group/a/b ü");
        assert_ne!(key(&Topic::group("a", "all/b")), key(&Topic::group("a/group", "b")));
        assert!(!FENCE.contains('/') && key(&Topic::all("")).contains('/'));
    }

    #[test]
    fn topics_are_spread_and_stay_where_they_are() {
        let mut counts = [0; 17];
        for number in 0..1600 {
            counts[of(&Topic::group("orders", &number.to_string()), 17) as usize] += 1;
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1..].iter().all(|count| (50..200).contains(count)), "{counts:?}");
        // Written down: nodes of different versions have to agree.
        assert_eq!(of(&Topic::new("", RouteKind::Node, "everyone"), 17), 0);
        let topics = [Topic::all("orders"), Topic::user("orders", "ann")];
        assert_eq!(topics.each_ref().map(|topic| of(topic, 17)), [10, 3]);
        assert_eq!(topics.each_ref().map(|topic| of(topic, 1)), [0, 0]);
    }
}
