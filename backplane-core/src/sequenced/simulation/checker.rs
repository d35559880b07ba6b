//! What was published, when it was due, and what became of it.

use std::{collections::BTreeMap, time::Duration};

use super::{
    faults::Tally,
    node::{AGE, DEADLINE, Node, State},
    trace::Pair,
};
use crate::{
    Envelope, NodeId,
    sequenced::{Moment, Told, origin::LIFE},
};

/// How old a heartbeat may be when it is the latest, with a few lost.
const BEAT: Duration = Duration::from_secs(4);

/// How long a node takes to find the others.
const BEGIN: Duration = Duration::from_secs(2);

/// What a sink was told, and when.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) at: Moment,
    pub(super) topic: String,
    pub(super) told: Told,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// By origin and topic: position and moment.
    published: BTreeMap<(NodeId, String), Vec<(u64, Moment)>>,
    /// By receiver and topic.
    windows: BTreeMap<(NodeId, String), Vec<Window>>,
    ended: BTreeMap<NodeId, (Moment, bool)>,
    started: BTreeMap<NodeId, Moment>,
}

/// A subscription.
#[derive(Debug, Clone, Copy)]
struct Window {
    stamp: u64,
    subscribed: Moment,
    confirmed: Option<Moment>,
    ended: Option<Moment>,
}

impl Book {
    pub(super) fn published(&mut self, node: &Node, envelope: &Envelope, now: Moment) {
        let topic = envelope.topic.name().to_owned();
        let position = envelope.sequence.unwrap().position;
        self.published.entry((node.id, topic)).or_default().push((position, now));
        self.started.insert(node.id, node.started);
    }

    pub(super) fn subscribed(&mut self, node: &Node, topic: &str, stamp: u64, now: Moment) {
        let window = Window { stamp, subscribed: now, confirmed: None, ended: None };
        self.windows.entry((node.id, topic.to_owned())).or_default().push(window);
    }

    pub(super) fn unsubscribed(&mut self, node: &Node, topic: &str, now: Moment) {
        let windows = self.windows.get_mut(&(node.id, topic.to_owned()));
        if let Some(window) = windows.and_then(|it| it.last_mut()) {
            window.ended = Some(now);
        }
    }

    /// A subscription is routed.
    pub(super) fn confirmed(&mut self, node: &Node, topic: String, stamp: u64, now: Moment) {
        let windows = self.windows.get_mut(&(node.id, topic));
        let window = windows.and_then(|it| it.iter_mut().find(|window| window.stamp == stamp));
        if let Some(window) = window {
            window.confirmed.get_or_insert(now);
        }
    }

    pub(super) fn ended(&mut self, node: &Node, now: Moment, clean: bool) {
        self.ended.insert(node.id, (now, clean));
        self.started.insert(node.id, node.started);
    }
}

/// What is wrong, and between whom.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) pair: Pair,
    pub(super) reason: String,
}

pub(super) fn check(nodes: &[Node], book: &Book, tally: &mut Tally) -> Result<(), Failure> {
    for receiver in nodes.iter().filter(|node| node.state != State::Ended) {
        let heard = receiver.own.heard.borrow();
        for ((origin, topic), published) in &book.published {
            if *origin == receiver.id {
                continue;
            }
            let name = format!("{} hears {origin} on {topic}", receiver.id);
            let windows = book.windows.get(&(receiver.id, topic.clone()));
            let windows = windows.map_or(&[][..], Vec::as_slice);
            pair(nodes, receiver, *origin, topic, published, windows, &heard, book, tally)
                .map_err(|reason| Failure {
                    pair: Pair { receiver: receiver.id, origin: *origin, topic: topic.clone() },
                    reason: format!("{name}: {reason}"),
                })?;
        }
    }
    Ok(())
}

#[expect(
    clippy::too_many_arguments,
    reason = "one receiver and one stream, with all that is known"
)]
fn pair(
    nodes: &[Node],
    receiver: &Node,
    origin: NodeId,
    topic: &str,
    published: &[(u64, Moment)],
    windows: &[Window],
    heard: &[Heard],
    book: &Book,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut delivered: Vec<(u64, Moment)> = Vec::new();
    let mut counted = 0;
    let mut uncounted: Vec<Moment> = Vec::new();
    for Heard { at, told, .. } in heard.iter().filter(|it| it.topic == topic) {
        match told {
            Told::Message(envelope, repaired) if envelope.origin == Some(origin) => {
                let position = envelope.sequence.unwrap().position;
                if delivered.last().is_some_and(|(last, _)| *last >= position) {
                    return Err(format!(
                        "position {position} at {at:?} after {:?}",
                        delivered.last()
                    ));
                }
                delivered.push((position, *at));
                tally.delivered += 1;
                tally.repaired += u64::from(*repaired);
            }
            Told::Lost(node, count) if *node == origin => {
                tally.reported += count.unwrap_or(1);
                match count {
                    Some(count) => counted += count,
                    None => uncounted.push(*at),
                }
            }
            Told::Doubled => tally.doubled += 1,
            _ => {}
        }
    }
    let sender = nodes.iter().find(|node| node.id == origin);
    let buffering = sender.map_or(&[][..], |it| &it.doubts);
    // An origin that died may have taken anything with it that had not got out.
    let died = book.ended.get(&origin).is_some_and(|(_, clean)| !clean);
    let known_dead = receiver.lost_origins.iter().any(|(_, lost)| *lost == origin);
    let mut missing = Vec::new();
    let mut never = 0_u64;
    let younger = book.started.get(&origin).is_some_and(|it| *it < receiver.started);
    let slack = if younger { BEAT * 2 } else { BEAT };
    for (position, at) in published {
        let arrived = delivered.binary_search_by_key(position, |it| it.0).is_ok();
        if arrived {
            continue;
        }
        // A floor is as old as the heartbeat that it is from, or as the interruption it was noted in.
        let subscribed = windows.iter().any(|it| {
            let noted = |(from, to): &&(Moment, Option<Moment>)| {
                *from <= it.subscribed && to.is_none_or(|to| to >= it.subscribed)
            };
            let doubt = receiver.doubts.iter().find(noted).map(|(from, _)| *from);
            // What an origin had to buffer arrives as if it were published when its link is back; and it
            // may have been met only then.
            let met = |(from, to): &&(Moment, Option<Moment>)| {
                *from <= it.subscribed && to.is_none_or(|to| to + BEAT >= it.subscribed)
            };
            let buffered = buffering.iter().find(met).map(|(from, _)| *from);
            // One that was paused may not have heard a heartbeat since, nor sent one.
            let deaf = |(from, to): &&(Moment, Moment)| {
                *from <= it.subscribed && it.subscribed <= *to + BEAT
            };
            let paused = receiver.pauses.iter().find(deaf).map(|(from, _)| *from);
            let silent = sender.iter().flat_map(|it| &it.pauses).find(deaf).map(|(from, _)| *from);
            let notes = [doubt, buffered, paused, silent];
            let floor = notes.into_iter().flatten().fold(it.subscribed, Moment::min);
            floor <= *at + slack && it.ended.is_none_or(|end| end >= *at)
        });
        never += u64::from(subscribed);
        // Due until the end only: what was missing when a subscription ended is not asked for.
        if receiver.lost_origins.iter().any(|(told, lost)| *lost == origin && told >= at) {
            continue;
        }
        // Away for longer than its origin stayed: known as an interruption.
        let left = book.ended.get(&origin).map(|(left, _)| *left);
        let away = receiver.doubts.iter().any(|(from, to)| {
            let gone = left.is_some_and(|left| to.is_none_or(|to| left <= to));
            from <= at && to.is_none_or(|to| to >= *at && gone)
        });
        if away {
            continue;
        }
        // Where a node that has just begun finds another, it takes that one's word for where it stands.
        if book.started.get(&origin).is_some_and(|it| *it <= receiver.started)
            && *at < receiver.started + BEGIN
        {
            continue;
        }
        // Lost before anything else of its origin had come: over a log nobody is asked for it.
        let since = windows.last().map_or(Moment::ZERO, |it| it.subscribed);
        let first = delivered.iter().find(|(_, at)| *at >= since);
        if receiver.log && first.is_none_or(|(first, _)| position < first) {
            continue;
        }
        // Told as such: the log does not hold it any more.
        if receiver.trimmed.iter().any(|told| told >= at) {
            continue;
        }
        let due = windows
            .iter()
            .any(|it| it.confirmed.is_some_and(|confirmed| confirmed <= *at) && it.ended.is_none());
        if due {
            missing.push((*position, *at));
        }
    }
    if died && known_dead {
        return Ok(());
    }
    // Of one that nobody has ever heard of, nobody can say anything.
    if died && (missing.is_empty() || !receiver.membership.knows(origin)) {
        return Ok(());
    }
    if died {
        return Err(format!("died, {} missing, and nobody said so", missing.len()));
    }
    if uncounted.is_empty() && (missing.len() as u64) > counted {
        return Err(format!(
            "{} are missing and {counted} reported\nmissing {missing:?}\n{windows:?}\npublished {published:?}\n\
             delivered {delivered:?}\ndoubts {:?}\nsilent {:?}",
            missing.len(),
            receiver.doubts,
            receiver.lost_origins,
        ));
    }
    // What is reported was not delivered.
    let ended_windows = windows.iter().any(|it| it.ended.is_some());
    if counted > never && !ended_windows {
        return Err(format!(
            "{counted} reported as lost, but only {never} did not arrive\n{windows:?}\npublished \
             {published:?}\ndelivered {delivered:?}\ndoubts {:?}\nlost {:?}",
            receiver.doubts,
            heard
                .iter()
                .filter(|it| it.topic == topic && matches!(it.told, Told::Lost(..)))
                .collect::<Vec<_>>(),
        ));
    }
    Ok(())
}

/// Over a log that loses nothing, nothing that was due is missing or reported.
pub(super) fn check_whole(nodes: &[Node], book: &Book) -> Result<(), Failure> {
    for receiver in nodes.iter().filter(|node| node.state != State::Ended) {
        let heard = receiver.own.heard.borrow();
        for ((origin, topic), published) in &book.published {
            let windows = book.windows.get(&(receiver.id, topic.clone()));
            // What a node that was killed had not sent yet is gone with it.
            let killed = book.ended.get(origin).is_some_and(|(_, clean)| !clean);
            let Some(sender) = nodes.iter().find(|it| it.id == *origin).filter(|_| !killed) else {
                continue;
            };
            if *origin == receiver.id {
                continue;
            }
            let here: Vec<&Heard> = heard.iter().filter(|it| it.topic == *topic).collect();
            let got = |position: u64| {
                here.iter().any(|it| matches!(&it.told, Told::Message(envelope, _)
                    if envelope.origin == Some(*origin) && envelope.sequence.unwrap().position == position))
            };
            let due = |at: Moment| {
                let mut windows = windows.into_iter().flatten();
                windows.any(|it| it.confirmed.is_some_and(|from| from <= at) && it.ended.is_none())
            };
            let missing = |(position, at): &&(u64, Moment)| {
                due(*at) && !sender.withdrawn.contains(position) && !got(*position)
            };
            let lost = |it: &&&Heard| matches!(&it.told, Told::Lost(node, _) if node == origin);
            // Who subscribes anew at once may get one on its way, and not the next.
            let mut again = windows.into_iter().flatten();
            let dropped = !sender.withdrawn.is_empty() || again.any(|it| it.ended.is_some());
            let reason = match (published.iter().find(missing), here.iter().find(lost)) {
                (Some((position, at)), _) => format!("position {position} of {at:?} is missing"),
                (None, Some(lost)) if !dropped => format!("{:?} at {:?}", lost.told, lost.at),
                _ => continue,
            };
            let pair = Pair { receiver: receiver.id, origin: *origin, topic: topic.clone() };
            return Err(Failure { pair, reason: format!("over a log: {reason}") });
        }
    }
    Ok(())
}

/// What is counted as lost could not be repaired: its origin had dropped it, or it was too old.
pub(super) fn check_kept(nodes: &[Node], book: &Book) -> Result<(), Failure> {
    for receiver in nodes {
        let heard = receiver.own.heard.borrow();
        for ((origin, topic), published) in &book.published {
            let windows = book.windows.get(&(receiver.id, topic.clone()));
            let left = windows.is_none_or(|them| them.iter().any(|it| it.ended.is_some()));
            let Some(sender) = nodes.iter().find(|it| it.id == *origin).filter(|_| !left) else {
                continue;
            };
            let (mut before, mut counted): (_, Option<Moment>) = (None, None);
            let (mut latest, mut progress) = (Moment::ZERO, Moment::ZERO);
            for Heard { at, told, .. } in heard.iter().filter(|it| it.topic == *topic) {
                if latest < *at {
                    progress = latest;
                }
                match told {
                    // Without progress for long everything is given up.
                    Told::Lost(node, Some(_)) if node == origin => {
                        counted = (*at < progress + DEADLINE).then_some(*at);
                    }
                    Told::Message(envelope, _) if envelope.origin == Some(*origin) => {
                        let position = envelope.sequence.unwrap().position;
                        latest = *at;
                        if let (Some(before), Some(told)) =
                            (before.replace(position), counted.take())
                        {
                            let repairable = |(lost, at): &&(u64, Moment)| {
                                (before + 1..position).contains(lost)
                                    && *at <= told
                                    && *at + AGE - AGE / LIFE > told
                                    && !sender.withdrawn.contains(lost)
                            };
                            if let Some((lost, at)) = published.iter().find(repairable) {
                                return Err(Failure {
                                    pair: Pair {
                                        receiver: receiver.id,
                                        origin: *origin,
                                        topic: topic.clone(),
                                    },
                                    reason: format!(
                                        "position {lost} of {at:?} given up by {told:?}, while its origin had it"
                                    ),
                                });
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
