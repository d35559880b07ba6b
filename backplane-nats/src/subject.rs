use async_nats::Subject;
use backplane_core::Topic;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// What starts a token that is not its own text. Never part of a plain one.
const ESCAPED: char = '~';

/// Topics as NATS subjects: `prefix.hub.kind.name`, always four tokens.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    prefix: Box<str>,
}

impl Subjects {
    pub(crate) fn new(prefix: &str) -> Self {
        let mut token = String::new();
        append(&mut token, prefix);
        Self { prefix: token.into() }
    }

    /// The topic's subject. No two topics share one, under no two prefixes.
    pub(crate) fn of(&self, topic: &Topic) -> Subject {
        let mut subject = String::with_capacity(self.prefix.len() + room(topic));
        subject.push_str(&self.prefix);
        subject.push('.');
        append_channel(&mut subject, topic);
        subject.into()
    }

    /// The subject of a part of the log: three tokens, so no topic's.
    pub(crate) fn part(&self, part: u32) -> String {
        format!("{}.log.{part}", self.prefix)
    }

    /// All parts of the log.
    pub(crate) fn parts(&self) -> String {
        format!("{}.log.*", self.prefix)
    }

    /// The part whose subject this is.
    pub(crate) fn part_of(&self, subject: &str) -> Option<u32> {
        subject.strip_prefix(&*self.prefix)?.strip_prefix(".log.")?.parse().ok()
    }

    /// The name of the stream that keeps the log.
    pub(crate) fn stream(&self) -> &str {
        &self.prefix
    }

    /// Where a session's fences begin. With the session's own token that makes three tokens, so no
    /// topic is among them, and who may use `prefix.>` may use them too.
    pub(crate) fn fences(&self) -> String {
        format!("{}.fence", self.prefix)
    }

    /// Whether a session's fences use this subject.
    pub(crate) fn is_fence(&self, subject: &str) -> bool {
        let token = subject.strip_prefix(&self.fences()).and_then(|rest| rest.strip_prefix('.'));
        token.is_some_and(|token| !token.contains('.'))
    }

    /// All that a node may use, as an administrator would write it.
    pub(crate) fn all(&self) -> String {
        format!("{}.>", self.prefix)
    }
}

/// What names a topic within one application: its subject behind the prefix.
pub(crate) fn channel(topic: &Topic) -> String {
    let mut channel = String::with_capacity(room(topic));
    append_channel(&mut channel, topic);
    channel
}

fn append_channel(subject: &mut String, topic: &Topic) {
    append(subject, topic.hub());
    subject.push('.');
    subject.push_str(topic.kind().as_str());
    subject.push('.');
    append(subject, topic.name());
}

fn room(topic: &Topic) -> usize {
    topic.hub().len() + topic.name().len() + 16
}

/// Appends one token. Plain text is readable in the server's tools and rules; everything else,
/// and nothing at all, is marked and written in base64url.
fn append(subject: &mut String, text: &str) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !text.is_empty() && text.bytes().all(is_plain) {
        subject.push_str(text);
    } else {
        subject.push(ESCAPED);
        URL_SAFE_NO_PAD.encode_string(text, subject);
    }
}

#[cfg(test)]
mod tests {
    use backplane_core::{LONGEST_HUB, LONGEST_NAME, RouteKind};
    use proptest::prelude::*;

    use super::*;
    use crate::config::LONGEST_PREFIX;

    /// The default of the server's `max_control_line`.
    const CONTROL_LINE: usize = 4096;

    fn subject(prefix: &str, topic: &Topic) -> String {
        Subjects::new(prefix).of(topic).to_string()
    }

    #[test]
    fn plain_names_stay_readable() {
        let topic = Topic::group("orders", "table-7_b");
        assert_eq!(subject("shop", &topic), "shop.orders.group.table-7_b");
    }

    #[test]
    fn everything_else_is_marked() {
        assert_eq!(subject("shop", &Topic::all("orders")), "shop.orders.all.~");
        assert_eq!(subject("a.b", &Topic::user("h", "*")), "~YS5i.h.user.~Kg");
        assert_eq!(subject("p", &Topic::group("", "~Kg")), "p.~.group.~fktn");
    }

    #[test]
    fn fences_are_beside_the_topics() {
        let subjects = Subjects::new("shop");
        assert!(subjects.is_fence(&format!("{}.abc", subjects.fences())));
        for topic in [Topic::group("fence", "a"), Topic::all("fence"), Topic::all("fences")] {
            assert!(!subjects.is_fence(&subjects.of(&topic)), "{topic}");
        }
    }

    #[test]
    fn parts_of_the_log_are_beside_the_topics() {
        let subjects = Subjects::new("shop");
        assert_eq!((&*subjects.part(7), &*subjects.parts()), ("shop.log.7", "shop.log.*"));
        assert_eq!(subjects.part_of("shop.log.7"), Some(7));
        for other in ["shop.log.x", "shop.log.7.a", "shops.log.7", "shop.fence.7"] {
            assert_eq!(subjects.part_of(other), None, "{other}");
        }
        let odd = Subjects::new("a.b");
        assert_eq!(odd.part_of(&odd.part(3)), Some(3));
        assert_eq!(channel(&Topic::group("orders", "table 7")), "orders.group.~dGFibGUgNw");
    }

    #[test]
    fn the_longest_names_fit_into_a_control_line() {
        let [prefix, hub, name] =
            [LONGEST_PREFIX, LONGEST_HUB, LONGEST_NAME].map(|length| "\u{1}".repeat(length));
        for kind in RouteKind::ALL {
            let subject = subject(&prefix, &Topic::new(&hub, kind, &name));
            // Subject, subscription, size: the longest line that either side writes.
            let line = format!("MSG {subject} {} {}\r\n", u64::MAX, u32::MAX);
            assert!(line.len() <= CONTROL_LINE, "{} bytes", line.len());
        }
    }

    fn names() -> impl Strategy<Value = String> {
        // Dense where two names could be taken for each other, and anything else besides.
        prop_oneof!["[a.~*> _-]{0,3}", any::<String>(), Just(String::new())]
    }

    fn topics() -> impl Strategy<Value = Topic> {
        let kinds = prop::sample::select(RouteKind::ALL.to_vec());
        (names(), kinds, names()).prop_map(|(hub, kind, name)| Topic::new(&hub, kind, &name))
    }

    proptest! {
        #[test]
        fn subjects_are_valid(prefix in names(), topic in topics()) {
            let subject = subject(&prefix, &topic);
            let tokens: Vec<&str> = subject.split('.').collect();
            prop_assert_eq!(tokens.len(), 4);
            for token in tokens {
                prop_assert!(!token.is_empty());
                let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '~');
                prop_assert!(token.chars().all(allowed), "{}", token);
            }
            prop_assert!(Subject::from(subject).is_valid());
        }

        #[test]
        fn no_two_topics_share_a_subject(
            one in (names(), topics()),
            other in (names(), topics()),
        ) {
            let shared = subject(&one.0, &one.1) == subject(&other.0, &other.1);
            prop_assert_eq!(shared, one == other);
        }

        #[test]
        fn no_topic_is_a_fence(prefix in names(), topic in topics()) {
            prop_assert!(!Subjects::new(&prefix).is_fence(&subject(&prefix, &topic)));
        }
    }
}
