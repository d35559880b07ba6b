//! Topic → channel: `{prefix}/{hub}/{kind}/{name}`.
//!
//! Prefix and hub are percent-encoded, so neither holds a `/`, and a kind is made of letters. The
//! name stands last and as it is: channels are binary-safe, and `SUBSCRIBE` takes them literally. Only on a
//! cluster are `{` and `%` escaped in it.
//! So a channel belongs to one prefix and one topic only.

use backplane_core::Topic;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Leaves what is neither a separator here nor a pattern in an access rule.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b':').remove(b'_').remove(b'~');

/// The channels of one application.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    /// The escaped prefix and the first separator.
    start: Box<str>,
    /// Whether names are escaped so that none holds a `{`, as a cluster spreads channels by what is in braces.
    escapes_braces: bool,
}

impl Channels {
    pub(crate) fn new(prefix: &str) -> Self {
        let start = format!("{}/", utf8_percent_encode(prefix, ESCAPED)).into();
        Self { start, escapes_braces: false }
    }

    /// The same for sharded channels: `{` and `%` are percent-encoded in names too.
    pub(crate) fn without_hash_tags(prefix: &str) -> Self {
        Self { escapes_braces: true, ..Self::new(prefix) }
    }

    /// The channel that carries this topic.
    pub(crate) fn of(&self, topic: &Topic) -> String {
        let (hub, kind, name) = (topic.hub(), topic.kind().as_str(), topic.name());
        let mut channel =
            String::with_capacity(self.start.len() + hub.len() + kind.len() + name.len() + 2);
        channel.push_str(&self.start);
        channel.extend(utf8_percent_encode(hub, ESCAPED));
        channel.extend(["/", kind, "/"]);
        if self.escapes_braces {
            channel.push_str(&name.replace('%', "%25").replace('{', "%7B"));
        } else {
            channel.push_str(name);
        }
        channel
    }

    /// A channel that no topic has.
    pub(crate) fn spare(&self) -> &str {
        &self.start
    }
}

#[cfg(test)]
mod tests {
    use backplane_core::RouteKind;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable_where_they_can_be() {
        let channels = Channels::new("shop:prod");
        assert_eq!(channels.of(&Topic::all("orders")), "shop:prod/orders/all/");
        let topic = Topic::group("or/de%rs", "a/b*[c]\r\n ü");
        assert_eq!(channels.of(&topic), "shop:prod/or%2Fde%25rs/group/a/b*[c]\r\n ü");
    }

    #[test]
    fn the_spare_channel_is_no_topics() {
        let channels = Channels::new("a");
        assert_ne!(channels.spare(), channels.of(&Topic::all("")));
        assert_ne!(channels.spare(), channels.of(&Topic::user("", "")));
    }

    /// Few different characters, so that different names come close to each other.
    fn close() -> impl Strategy<Value = String> {
        prop_oneof!["[a/%2F*]{0,4}", "\\PC{0,6}", "(a|all|user|group|/){0,4}"]
    }

    fn place() -> impl Strategy<Value = (String, Topic)> {
        (close(), close(), 0..5u8, close()).prop_map(|(prefix, hub, kind, name)| {
            (prefix, Topic::new(&hub, RouteKind::from_code(kind).unwrap(), &name))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_channel_names_one_prefix_and_one_topic(one in place(), two in place()) {
            let channel = |(prefix, topic): &(String, Topic)| Channels::new(prefix).of(topic);
            prop_assert_eq!(channel(&one) == channel(&two), one == two);
        }

        #[test]
        fn everything_can_be_read_back(place in place()) {
            let (prefix, topic) = place;
            let channel = Channels::new(&prefix).of(&topic);
            let parts: Vec<&str> = channel.splitn(4, '/').collect();
            let decoded = |part: &str| {
                percent_encoding::percent_decode_str(part).decode_utf8().unwrap().into_owned()
            };
            prop_assert_eq!(decoded(parts[0]), prefix);
            prop_assert_eq!(decoded(parts[1]), topic.hub());
            prop_assert_eq!(parts[2], topic.kind().as_str());
            prop_assert_eq!(parts[3], topic.name());
        }
    }
}
