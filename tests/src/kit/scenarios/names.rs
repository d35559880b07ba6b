//! P9: names are data.

use std::{collections::HashSet, sync::Arc};

use backplane_core::{
    Envelope, LONGEST_HUB, LONGEST_NAME, PublishError, RouteKind, Sink, SubscribeError, Topic,
};

use super::{HUB, routing::each_hears_its_own};
use crate::kit::{Collector, Outcome, Stage, Stop, ensure};

/// Whatever is special to some broker, file system, URL, shell or terminal.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "  ",
    "*",
    "**",
    "?",
    ".",
    "..",
    "...",
    ">",
    "a.>",
    "a.*",
    "*.a",
    "[",
    "[ab]",
    "[^a]",
    "{a}",
    "{}",
    ":",
    "::",
    "a:b",
    "/",
    "//",
    "a/b",
    "%",
    "%%",
    "%2A",
    "%2F",
    "%2f",
    "\\",
    "\\*",
    "$",
    "$SYS.>",
    "_INBOX.x",
    "#",
    "+",
    "-",
    "_",
    "__",
    "~",
    "=",
    "'",
    "\"",
    "`",
    ";",
    ",",
    "|",
    "\0",
    "\0\0",
    "\r",
    "\n",
    "\r\n",
    "a\r\nPUB b 1\r\nx",
    "\t",
    "\u{7f}",
    "\u{1b}[2J",
    "a b",
    " a",
    "a ",
    "A",
    "a",
    "ä",
    "a\u{308}",
    "ß",
    "ss",
    "ı",
    "I",
    "é",
    "e\u{301}",
    "\u{3a9}",
    "\u{2126}",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{202e}a",
    "🦀",
    "👩\u{200d}👩\u{200d}👧",
    "日本語",
    "مرحبا",
    "\u{10ffff}",
    "null",
    "undefined",
    "true",
    "0",
    "00",
    "1e0",
    "all",
    "group",
    "user",
    "connection",
    "node",
];

/// Hostile names of groups and users are literal: each reaches itself, and nobody else.
///
/// # Errors
///
/// An envelope went missing or astray.
pub async fn hostile_names_are_literal(stage: &Stage) -> Outcome {
    let groups = HOSTILE.iter().map(|name| Topic::group(HUB, name));
    let users = HOSTILE.iter().map(|name| Topic::user(HUB, name));
    each_hears_its_own(stage, &groups.chain(users).collect::<Vec<_>>()).await
}

/// Pairs of topics whose channels would be the same if names were only joined, or escaped
/// carelessly.
///
/// # Errors
///
/// An envelope went missing or astray.
pub async fn names_that_naive_escaping_confuses_stay_apart(stage: &Stage) -> Outcome {
    let mut topics = Vec::new();
    for separator in ["/", ".", ":", "_", "-", "|", " ", "\0", "%", "%2F", "%2E", "%3A", "__"] {
        let join = |parts: &[&str]| parts.join(separator);
        topics.extend([
            Topic::group("a", &join(&["b", "c"])),
            Topic::group(&join(&["a", "b"]), "c"),
            Topic::group(&join(&["a", "group", "b"]), "c"),
            Topic::group("a", &join(&["group", "b", "c"])),
            Topic::user(&join(&["a", "group"]), "b"),
            Topic::group("a", &join(&["user", "b"])),
            Topic::all(&join(&["a", "all"])),
            Topic::group("a", separator),
            Topic::group(separator, "a"),
            Topic::group("", &join(&["a", ""])),
            Topic::group(&join(&["", "a"]), ""),
        ]);
    }
    topics.extend([Topic::all(""), Topic::all("a"), Topic::group("", ""), Topic::user("", "")]);
    let mut seen = HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    each_hears_its_own(stage, &topics).await
}

/// Names drawn at random from all of Unicode, with a taste for what is special.
///
/// # Errors
///
/// An envelope went missing or astray.
pub async fn random_names_stay_apart(stage: &Stage) -> Outcome {
    const COUNT: usize = 300;
    let mut random = stage.random();
    let mut topics = HashSet::new();
    while topics.len() < COUNT {
        let hub = random.text(12);
        let kind = RouteKind::ALL[1 + random.below(RouteKind::ALL.len() - 1)];
        let longest = if random.below(10) == 0 { LONGEST_NAME } else { 6 };
        topics.insert(Topic::new(&hub, kind, &random.text(longest)));
    }
    each_hears_its_own(stage, &topics.into_iter().collect::<Vec<_>>()).await
}

/// Hubs with like names share a node and do not hear each other.
///
/// # Errors
///
/// An envelope went missing or astray.
pub async fn hubs_never_hear_each_other(stage: &Stage) -> Outcome {
    let hubs =
        ["orders", "Orders", "order", "orders ", "orders.eu", "orders/eu", "*", ">", "o*", ""];
    let mut topics = Vec::new();
    for hub in hubs {
        topics.extend([Topic::all(hub), Topic::group(hub, "g"), Topic::user(hub, "g")]);
    }
    each_hears_its_own(stage, &topics).await
}

/// Names of the greatest length, made of what takes most room when it is escaped, arrive; one byte
/// more is an error, and nothing happens.
///
/// # Errors
///
/// It is otherwise.
pub async fn the_longest_names_fit_and_longer_ones_are_refused(stage: &Stage) -> Outcome {
    let mut topics = Vec::new();
    for filling in ["a", ".", "*", " ", "%", "\0", "ü", "🦀"] {
        let fill = |length: usize| {
            let whole = filling.repeat(length / filling.len());
            let rest = length - whole.len();
            whole + &"x".repeat(rest)
        };
        let hub = fill(LONGEST_HUB);
        topics.push(Topic::all(&hub));
        topics.push(Topic::group(&hub, &fill(LONGEST_NAME)));
        topics.push(Topic::connection(&hub, &fill(LONGEST_NAME)));
        // Different only at the very end.
        let name = fill(LONGEST_NAME - 1);
        topics.push(Topic::user(&hub, &(name.clone() + "1")));
        topics.push(Topic::user(&hub, &(name + "2")));
    }
    each_hears_its_own(stage, &topics).await?;

    let node = stage.node().await?;
    let (ear, _subscription) = Collector::listen(&*node, &[Topic::all(HUB)]).await?;
    let too_long = [
        Topic::group(HUB, &"n".repeat(LONGEST_NAME + 1)),
        Topic::all(&"h".repeat(LONGEST_HUB + 1)),
        Topic::user(&"h".repeat(LONGEST_HUB + 1), "u"),
    ];
    for topic in too_long {
        match node.try_publish(Envelope::new(topic.clone(), "x")) {
            Err(PublishError::NameTooLong) => {}
            other => return Err(Stop::Broken(format!("publishing on {topic:.40?}: {other:?}"))),
        }
        let sink = Arc::clone(&ear) as Arc<dyn Sink>;
        // A good topic in the same call must not be registered either.
        match node.subscribe(&[(Topic::group(HUB, "good"), Arc::clone(&sink)), (topic, sink)]) {
            Err(SubscribeError::NameTooLong { .. }) => {}
            other => return Err(Stop::Broken(format!("subscribing: {other:?}"))),
        }
    }
    crate::kit::publish(&*node, Envelope::new(Topic::group(HUB, "good"), "x")).await?;
    let (bodies, accepted) = (ear.bodies(), node.stats().accepted);
    ensure!(bodies.is_empty(), "a refused subscription heard {bodies:?}");
    ensure!(accepted == 1, "1 envelope was good, but {accepted} were accepted");
    Ok(())
}
