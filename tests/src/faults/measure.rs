//! The figures of a run: times, silences, answers, and its course.

use std::collections::BTreeMap;

use super::{
    Point,
    account::{Streams, View},
};

/// One point of the course lasts this long.
pub(super) const STEP_US: u64 = 100_000;

/// When what happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// When publishing began and ended.
    pub(super) begun: u64,
    pub(super) ended: u64,
    /// When the fault began and ended.
    pub(super) fault: (u64, u64),
}

/// Half of them are below the first, 99 of 100 below the second, of times from publish to
/// delivery of what was published in this span.
pub(super) fn latencies(views: &[View], from: u64, to: u64) -> (u64, u64) {
    let mut times: Vec<u64> = views
        .iter()
        .flat_map(|view| &view.pages.heard)
        .filter(|heard| heard.posted >= from && heard.posted < to)
        .map(|heard| heard.at.saturating_sub(heard.posted))
        .collect();
    (quantile(&mut times, 50), quantile(&mut times, 99))
}

/// Envelopes per second at one receiver while the fault lasted, on average over all receivers.
pub(super) fn throughput(views: &[View], times: &Times) -> u64 {
    let (from, to) = times.fault;
    let receivers = views.iter().filter(|view| view.role.receives()).count().max(1);
    let heard = views.iter().flat_map(|view| &view.pages.heard);
    let heard = heard.filter(|heard| heard.at >= from && heard.at < to).count() as u64;
    heard * 1_000_000 / (to - from).max(1) / receivers as u64
}

fn quantile(times: &mut [u64], percent: usize) -> u64 {
    if times.is_empty() {
        return 0;
    }
    let at = (times.len() * percent / 100).min(times.len() - 1);
    *times.select_nth_unstable(at).1
}

/// The longest time in which a receiver heard nothing of any other node.
pub(super) fn longest_silence(views: &[View], times: &Times) -> u64 {
    let mut longest = 0;
    for view in views.iter().filter(|view| view.role.receives() && !view.killed) {
        let mut before = times.begun.max(view.confirmed.unwrap_or(times.ended));
        for heard in &view.pages.heard {
            longest = longest.max(heard.at.saturating_sub(before));
            before = before.max(heard.at);
        }
        longest = longest.max(times.ended.saturating_sub(before));
    }
    longest
}

/// From the fault to the first link that is not up.
pub(super) fn notice(views: &[View], times: &Times) -> Option<u64> {
    let changes = views.iter().flat_map(|view| &view.pages.links);
    // A node that is started during the fault has nothing to notice yet.
    let noticed = changes.filter(|it| !it.up && it.cause != "Connecting" && it.at >= times.fault.0);
    noticed.map(|change| change.at - times.fault.0).min()
}

/// From the end of the fault until every receiver heard something of each other node that was
/// published after it, and was told `Restored` if it had been told `Interrupted`.
pub(super) fn recovery(views: &[View], times: &Times) -> Option<u64> {
    use super::journal::What;
    let mut latest = times.fault.1;
    for (node, view) in views.iter().enumerate().filter(|(_, view)| view.role.receives()) {
        for (origin, from) in views.iter().enumerate() {
            if origin == node || !from.role.publishes() || from.killed {
                continue;
            }
            let after = |heard: &&super::journal::Heard| {
                usize::from(heard.origin) == origin && heard.posted >= times.fault.1
            };
            latest = latest.max(view.pages.heard.iter().find(after)?.at);
        }
        let mut told = view.pages.told.iter().rev().take_while(|told| told.at >= times.fault.0);
        let is_turn = |what: &What| matches!(what, What::Interrupted { .. } | What::Restored);
        if let Some(last) = told.find(|told| is_turn(&told.what)) {
            if last.what != What::Restored {
                return None;
            }
            latest = latest.max(last.at);
        }
    }
    Some(latest - times.fault.1)
}

/// What publishers were answered while the fault lasted.
pub(super) fn answers(views: &[View], streams: &Streams, times: &Times) -> BTreeMap<String, u64> {
    let (from, to) = times.fault;
    let mut answers = BTreeMap::new();
    for sent in streams.iter().flatten().flatten().filter(|it| it.at >= from && it.at <= to) {
        *answers.entry(sent.answer.word().to_owned()).or_default() += 1;
    }
    let full = views.iter().flat_map(|view| &view.pages.full);
    let full = full.filter(|at| **at >= from && **at <= to).count() as u64;
    if full > 0 {
        answers.insert("full".to_owned(), full);
    }
    answers
}

/// The course of the run; `buffered` are samples of what waited in all buffers.
pub(super) fn course(
    views: &[View],
    streams: &Streams,
    times: &Times,
    buffered: &[(u64, u64)],
) -> Vec<Point> {
    let last = views.iter().filter_map(|view| view.pages.heard.last()).map(|heard| heard.at).max();
    let until = times.ended.max(last.unwrap_or_default());
    let steps = (until.saturating_sub(times.begun) / STEP_US + 1) as usize;
    let mut points: Vec<Point> = (0..steps)
        .map(|step| Point { at_ms: step as u64 * STEP_US / 1_000, ..Point::default() })
        .collect();
    let place = |at: u64| (at.saturating_sub(times.begun) / STEP_US) as usize;
    let mut late = vec![Vec::new(); steps];
    for sent in streams.iter().flatten().flatten() {
        if let Some(point) = points.get_mut(place(sent.at)) {
            point.sent += 1;
        }
    }
    for heard in views.iter().flat_map(|view| &view.pages.heard) {
        if let Some(late) = late.get_mut(place(heard.at)) {
            late.push(heard.at.saturating_sub(heard.posted));
        }
    }
    for (point, late) in points.iter_mut().zip(&mut late) {
        point.delivered = late.len() as u64;
        point.max_us = late.iter().copied().max().unwrap_or_default();
        point.p50_us = quantile(late, 50);
    }
    for (at, waiting) in buffered {
        if let Some(point) = points.get_mut(place(*at)) {
            point.buffered = *waiting;
        }
    }
    points
}
