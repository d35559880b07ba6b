//! The tables of the page.

use std::{cmp::Reverse, fmt::Display};

use super::markup::Markup;
use crate::compare::{
    format::{NONE, count, millis, pair, share},
    printed::same_reason,
    report::Missing,
    summary::{Remark, Summary, Worst},
};

/// The columns after transport and layer, and what each means.
const COLUMNS: [(&str, &str); 13] = [
    (
        "delivered",
        "Deliveries that happened, of those that were due. An envelope is due once at each node that did \
         not publish it.",
    ),
    ("lost", "Deliveries that never happened."),
    ("doubled", "Deliveries of an envelope beyond its first at that node."),
    ("reordered", "Deliveries after a later envelope of the same node and topic."),
    (
        "unreported",
        "Of those lost: nobody was told. Neither a Gap counts them, nor do they lie between Interrupted and \
         Restored, nor did the publisher hear of it. Must be zero.",
    ),
    ("longest gap", "The longest time in which a node got nothing from another one."),
    ("time to notice", "From the fault to the first node that says its link is not up."),
    (
        "time to recover",
        "From the end of the fault until every node hears the others again, and was told so.",
    ),
    (
        "answers in the outage",
        "What publishers were answered while the fault lasted: link down is a refusal, queued a place in the \
         buffer, accepted what the broker has taken.",
    ),
    (
        "p50/p99 before, after",
        "Half of the deliveries, and 99 of 100, took no longer than this: before the fault, and after all was \
         well again.",
    ),
    (
        "full speed",
        "Envelopes per second at one node while all nodes published as fast as they could, each of which was \
         noted and accounted for by the same process. For comparison among transports; not their limit.",
    ),
    (
        "broker's memory",
        "Resident memory of the broker's processes together: before the load, and the most that was seen.",
    ),
    (
        "promised vs seen",
        "Whether the transport kept what its semantics promise, and where it did better than that.",
    ),
];

/// Explains the columns.
pub(super) fn meanings(markup: &mut Markup) {
    markup.element("dl", &[("class", &"meanings")], |markup| {
        for (name, meaning) in COLUMNS {
            markup.line("dt", &[], name);
            markup.line("dd", &[], meaning);
        }
    });
}

/// Rows of transports and layers; `several` where each is over more than one scenario.
pub(super) fn table(markup: &mut Markup, rows: &[Summary], several: bool) {
    // So that on a narrow screen the table scrolls, and not the page.
    markup.element("div", &[("class", &"wide")], |markup| {
        markup.element("table", &[], |markup| {
            markup.element("thead", &[], |markup| {
                markup.element("tr", &[], |markup| {
                    markup.line("th", &[("scope", &"col")], "transport");
                    markup.line("th", &[("scope", &"col")], "layer");
                    for (name, meaning) in COLUMNS {
                        markup.line("th", &[("scope", &"col"), ("title", &meaning)], name);
                    }
                });
            });
            for group in rows.chunk_by(|one, other| one.transport == other.transport) {
                if let Some(why) = same_reason(group) {
                    senseless(markup, &group[0].transport, &why);
                    continue;
                }
                markup.element("tbody", &[], |markup| {
                    for (index, row) in group.iter().enumerate() {
                        markup.element("tr", &[], |markup| {
                            if index == 0 {
                                let rows = group.len();
                                let attributes: [(&str, &dyn Display); 2] =
                                    [("scope", &"rowgroup"), ("rowspan", &rows)];
                                markup.line("th", &attributes, &row.transport);
                            }
                            markup.line("th", &[("scope", &"row")], &row.layer);
                            cells(markup, row, several);
                        });
                    }
                });
            }
        });
    });
}

/// A transport of which there is nothing else to say than that.
fn senseless(markup: &mut Markup, transport: &str, why: &str) {
    let columns = COLUMNS.len() + 1;
    markup.element("tbody", &[], |markup| {
        markup.element("tr", &[], |markup| {
            markup.line("th", &[("scope", &"row")], transport);
            let attributes: [(&str, &dyn Display); 2] =
                [("colspan", &columns), ("class", &"absent")];
            markup.line("td", &attributes, why);
        });
    });
}

fn cells(markup: &mut Markup, row: &Summary, several: bool) {
    if row.runs == 0 {
        let columns = COLUMNS.len();
        let attributes: [(&str, &dyn Display); 2] = [("colspan", &columns), ("class", &"absent")];
        markup.element("td", &attributes, |markup| absent(markup, row));
        return;
    }
    two(markup, "number", &count(row.delivered), &share(row.delivered, row.due));
    number(markup, row.lost, "some");
    number(markup, row.doubled, "some");
    number(markup, row.reordered, "some");
    number(markup, row.unreported, "bad");
    let place = |worst: &Worst| if several { worst.scenario.clone() } else { String::new() };
    let time = |markup: &mut Markup, worst: &Worst, none: &str| match worst.value {
        Some(ms) => two(markup, "number", &millis(ms), &place(worst)),
        None => two(markup, "number", none, ""),
    };
    time(markup, &row.silence_ms, NONE);
    time(markup, &row.notice_ms, NONE);
    match row.never_recovered.first() {
        Some(scenario) => {
            two(markup, "number bad", "never", if several { scenario } else { "" });
        }
        None => time(markup, &row.recover_ms, NONE),
    }
    let mut answers: Vec<_> = row.answers.iter().filter(|(_, number)| **number > 0).collect();
    answers.sort_by_key(|(_, number)| Reverse(**number));
    markup.element("td", &[("class", &"answers")], |markup| {
        for (answer, number) in &answers {
            markup.element("span", &[], |markup| {
                markup.line("b", &[], count(**number));
                markup.text(" ");
                markup.text(answer);
            });
        }
        if answers.is_empty() {
            markup.text(NONE);
        }
    });
    let times = |p50: &Worst, p99: &Worst| {
        pair(p50.value.unwrap_or_default(), p99.value.unwrap_or_default())
    };
    let before = times(&row.p50_us, &row.p99_us);
    let after = times(&row.p50_after_us, &row.p99_after_us);
    markup.element("td", &[("class", &"number")], |markup| {
        markup.line("span", &[], before);
        markup.line("span", &[], after);
    });
    match row.throughput {
        Some(speed) => two(markup, "number", &count(speed), "a second"),
        None => two(markup, "number", NONE, ""),
    }
    let mebibytes = |worst: &Worst| worst.value.map(|kib| kib.div_ceil(1024));
    match (mebibytes(&row.broker_kib), mebibytes(&row.broker_peak_kib)) {
        (Some(before), Some(peak)) => {
            let memory = format!("{before}…{peak} MiB");
            two(markup, "number", &memory, &place(&row.broker_peak_kib));
        }
        _ => two(markup, "number", NONE, ""),
    }
    markup.element("td", &[("class", &"promises")], |markup| promises(markup, row, several));
}

/// Why there are no figures.
fn absent(markup: &mut Markup, row: &Summary) {
    let mut say = |what: &str, class: &str, list: &[Missing]| {
        let mut reasons: Vec<&str> = list.iter().map(|missing| missing.reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        if !reasons.is_empty() {
            markup.line("span", &[("class", &class)], format!("{what}: {}", reasons.join("; ")));
        }
    };
    say("failed", "bad", &row.failed);
    say("not applicable", "", &row.not_applicable);
}

fn promises(markup: &mut Markup, row: &Summary, several: bool) {
    if row.broken.is_empty() {
        markup.line("span", &[], "kept");
    }
    let mut remarks = |what: &str, class: &str, remarks: &[Remark]| {
        for Remark { text, scenarios } in remarks {
            let place = match (several, scenarios.len() as u64 == row.runs) {
                (false, _) => String::new(),
                (true, true) => " (always)".to_owned(),
                (true, false) => format!(" ({})", scenarios.join(", ")),
            };
            markup.line("span", &[("class", &class)], format!("{what}: {text}{place}"));
        }
    };
    remarks("broken", "bad", &row.broken);
    remarks("better", "fine", &row.better);
    if !row.outlives.is_empty() {
        let outlives = format!("what is stored outlives: {}", row.outlives);
        markup.line("span", &[("class", &"quiet")], outlives);
    }
    for (list, what, class) in
        [(&row.failed, "failed", "bad"), (&row.not_applicable, "not applicable", "quiet")]
    {
        if !list.is_empty() {
            markup.line("span", &[("class", &class)], format!("{} {what}", list.len()));
        }
    }
}

/// A count that should be zero: quiet where it is.
fn number(markup: &mut Markup, number: u64, class: &str) {
    let class = if number == 0 { "zero" } else { class };
    markup.line("td", &[("class", &format!("number {class}"))], count(number));
}

fn two(markup: &mut Markup, class: &'static str, value: &str, below: &str) {
    markup.element("td", &[("class", &class)], |markup| {
        markup.line("span", &[], value);
        if !below.is_empty() {
            markup.line("small", &[], below);
        }
    });
}
