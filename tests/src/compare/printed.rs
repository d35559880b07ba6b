//! The tables for the terminal, and the notes under them.

use std::collections::BTreeMap;

use super::{
    format::{NONE, count, counted, millis, pair, share},
    report::{Missing, Report},
    summary::{Remark, Summary, Worst},
    table::{Side, Table, wrapped},
};

/// The table of transports and layers, then what it can't hold. No line is longer than `widest`, which
/// should be at least 60.
#[must_use]
pub fn overview(report: &Report, widest: usize) -> Vec<String> {
    let rows = Summary::all(report);
    let marks = Marks::new(report);
    let mut lines = fitted(widest, |layout| {
        let mut table = empty(layout, "layer");
        for group in rows.chunk_by(|one, other| one.transport == other.transport) {
            let first = &group[0];
            table.across(first.transport.as_str());
            if let Some(why) = same_reason(group) {
                table.across(format!(" {why}"));
                continue;
            }
            for row in group {
                put(&mut table, layout, &row.layer, row, &marks);
            }
        }
        table
    });
    notes(&mut lines, &rows, &marks, widest);
    lines
}

/// The table of transports, layers and scenarios. No line is longer than `widest`.
#[must_use]
pub fn details(report: &Report, widest: usize) -> Vec<String> {
    let marks = Marks::default();
    fitted(widest, |layout| {
        let mut table = empty(layout, "scenario");
        for pair in Summary::all(report) {
            table.across(format!("{} · {}", pair.transport, pair.layer));
            for scenario in report.scenario_names() {
                let row = Summary::at(report, &pair.transport, &pair.layer, scenario);
                if !row.is_empty() {
                    put(&mut table, layout, scenario, &row, &marks);
                }
            }
        }
        table
    })
}

/// A letter for each scenario, to say in a narrow column which one was the worst.
#[derive(Debug, Default)]
struct Marks(BTreeMap<String, String>);

impl Marks {
    /// None for a single scenario: that is the worst by itself.
    fn new(report: &Report) -> Self {
        let names = report.scenario_names();
        let letter = |index: usize| {
            let last = char::from(b'a' + (index % 26) as u8);
            last.to_string().repeat(index / 26 + 1)
        };
        let mark = |(index, name): (usize, &&str)| ((*name).to_owned(), letter(index));
        if names.len() < 2 {
            return Self::default();
        }
        Self(names.iter().enumerate().map(mark).collect())
    }

    fn on(&self, text: String, scenario: &str) -> String {
        match self.0.get(scenario) {
            Some(mark) => format!("{text} {mark}"),
            None => text,
        }
    }
}

/// How the columns are arranged, from the widest to the narrowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Columns,
    Stacked,
    Lists,
}

/// Lays out the widest arrangement that fits.
fn fitted(widest: usize, table: impl Fn(Layout) -> Table) -> Vec<String> {
    for layout in [Layout::Columns, Layout::Stacked] {
        let table = table(layout);
        for gap in [2, 1] {
            if table.width(gap) <= widest {
                return table.lines(gap, widest);
            }
        }
    }
    table(Layout::Lists).lines(0, widest)
}

fn empty(layout: Layout, first: &str) -> Table {
    let mut table = Table::default();
    let columns: &[(&str, Side)] = match layout {
        Layout::Columns => &[
            ("delivered", Side::Right),
            ("lost,\nun-\nreported", Side::Right),
            ("doubled,\nre-\nordered", Side::Right),
            ("longest\ngap", Side::Right),
            ("time to\nnotice", Side::Right),
            ("time to\nrecover", Side::Right),
            ("answers in\nthe outage", Side::Left),
            ("p50/p99\nbefore,\nafter", Side::Right),
            ("full\nspeed/s,\nbroker", Side::Right),
            ("promised\nvs seen", Side::Left),
        ],
        Layout::Stacked => &[
            ("delivered,\nlost", Side::Right),
            ("doubled,\nreordered,\nunreported", Side::Right),
            ("longest gap,\ntime to notice,\nto recover", Side::Right),
            ("answers in\nthe outage", Side::Left),
            ("p50/p99\nbefore, after;\npromised vs seen", Side::Left),
            ("full speed/s,\nbroker's memory", Side::Right),
        ],
        Layout::Lists => &[],
    };
    table.column(if layout == Layout::Lists { "" } else { first }, Side::Left);
    for (head, side) in columns {
        table.column(head, *side);
    }
    table
}

/// A longer name takes several lines, so that all columns fit beside it.
const WIDEST_NAME: usize = 14;

fn put(table: &mut Table, layout: Layout, name: &str, row: &Summary, marks: &Marks) {
    if row.runs == 0 {
        table.across(format!(" {name}: {}", why(row)));
        return;
    }
    let widest = if layout == Layout::Lists { usize::MAX } else { WIDEST_NAME };
    let name = wrapped(&format!(" {name}"), widest).join("\n");
    let delivered = count(row.delivered);
    let part = share(row.delivered, row.due);
    let [lost, doubled, reordered, unreported] =
        [row.lost, row.doubled, row.reordered, row.unreported].map(count);
    let gap = time(&row.silence_ms, NONE, marks);
    let notice = time(&row.notice_ms, NONE, marks);
    let recover = match row.never_recovered.first() {
        Some(scenario) => marks.on("never".to_owned(), scenario),
        None => time(&row.recover_ms, NONE, marks),
    };
    let answers = answers(row);
    let before = latency(&row.p50_us, &row.p99_us);
    let after = latency(&row.p50_after_us, &row.p99_after_us);
    let promised = promised(row);
    let speed = row.throughput.map_or_else(|| NONE.to_owned(), count);
    let memory = memory(row, marks);
    match layout {
        Layout::Columns => table.row(vec![
            name,
            format!("{delivered}\n{part}"),
            format!("{lost}\n{unreported}"),
            format!("{doubled}\n{reordered}"),
            gap,
            notice,
            recover,
            answers,
            format!("{before}\n{after}"),
            format!("{speed}\n{memory}"),
            promised,
        ]),
        Layout::Stacked => table.row(vec![
            name,
            format!("{delivered}\n{part}\n{lost} lost"),
            format!("{doubled}\n{reordered}\n{unreported}"),
            format!("{gap}\n{notice}\n{recover}"),
            answers,
            format!("{before}\n{after}\n{promised}"),
            format!("{speed}\n{memory}"),
        ]),
        Layout::Lists => {
            table.across(name);
            let line = |text: String| table.across(format!("    {text}"));
            [
                format!(
                    "{delivered} delivered ({part}), {lost} lost, {unreported} of them unreported"
                ),
                format!("{doubled} doubled, {reordered} reordered"),
                format!("longest gap {gap}, noticed after {notice}, recovered after {recover}"),
                format!("answers in the outage: {}", answers.replace('\n', ", ")),
                format!("p50/p99 {before} before, {after} after"),
                format!("full speed {speed} per second; broker's memory {memory}"),
                format!("promised vs seen: {}", promised.replace('\n', ", ")),
            ]
            .into_iter()
            .for_each(line);
        }
    }
}

/// Why a row has no figures; the single reasons are in the notes where there are several.
fn why(row: &Summary) -> String {
    let said = |what: &str, list: &[Missing]| match list {
        [] => None,
        _ => Some(match only_reason(list) {
            Some(reason) => format!("{what}: {reason}"),
            None => format!("{what} in {}", counted(list.len() as u64, "scenario")),
        }),
    };
    let reasons = [said("failed", &row.failed), said("not applicable", &row.not_applicable)];
    reasons.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Why none of these rows has figures, if the reason is the same for all.
pub(super) fn same_reason(rows: &[Summary]) -> Option<String> {
    let (first, others) = rows.split_first()?;
    let same = |row: &Summary| row.runs == 0 && why(row) == why(first);
    (first.runs == 0 && others.iter().all(same)).then(|| why(first))
}

/// The reason of all of them, if it is one.
fn only_reason(list: &[Missing]) -> Option<&str> {
    let (first, others) = list.split_first()?;
    others.iter().all(|other| other.reason == first.reason).then_some(&first.reason)
}

fn time(worst: &Worst, none: &str, marks: &Marks) -> String {
    worst.value.map_or_else(|| none.to_owned(), |ms| marks.on(millis(ms), &worst.scenario))
}

/// The broker's memory before the load, and the most of it.
fn memory(row: &Summary, marks: &Marks) -> String {
    match (row.broker_kib.value, row.broker_peak_kib.value) {
        (Some(before), Some(peak)) => {
            let text = format!("{}…{} MiB", before.div_ceil(1024), peak.div_ceil(1024));
            marks.on(text, &row.broker_peak_kib.scenario)
        }
        _ => NONE.to_owned(),
    }
}

fn latency(p50: &Worst, p99: &Worst) -> String {
    pair(p50.value.unwrap_or_default(), p99.value.unwrap_or_default())
}

/// One answer a line, the commonest first.
fn answers(row: &Summary) -> String {
    let mut answers: Vec<_> = row.answers.iter().filter(|(_, count)| **count > 0).collect();
    answers.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let lines: Vec<String> = answers
        .into_iter()
        .map(|(answer, number)| format!("{answer} {}", count(*number)))
        .collect();
    if lines.is_empty() { NONE.to_owned() } else { lines.join("\n") }
}

/// `kept`, or what else became of the promises and of the runs.
pub(super) fn promised(row: &Summary) -> String {
    let mut lines = Vec::new();
    match row.broken.len() {
        0 => lines.push("kept".to_owned()),
        broken => lines.push(format!("{broken} broken")),
    }
    if !row.better.is_empty() {
        lines.push(format!("{} better", row.better.len()));
    }
    if !row.failed.is_empty() {
        lines.push(format!("{} failed", row.failed.len()));
    }
    lines.join("\n")
}

fn notes(lines: &mut Vec<String>, rows: &[Summary], marks: &Marks, widest: usize) {
    let mut note = |text: &str| lines.extend(wrapped(text, widest));
    if !marks.0.is_empty() {
        let mut letters: Vec<(&String, &String)> = marks.0.iter().map(|(n, m)| (m, n)).collect();
        letters.sort_by_key(|(mark, _)| (mark.len(), mark.as_str()));
        let letters: Vec<String> =
            letters.into_iter().map(|(mark, name)| format!("{mark} {name}")).collect();
        note("");
        note(&format!(
            "Counts are sums over the scenarios, times are the worst, in: {}.",
            letters.join(", ")
        ));
    }
    let mut said = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            note("");
            note(title);
            lines.iter().for_each(|line| note(&format!("  {line}")));
        }
    };
    let remarks = |pick: fn(&Summary) -> &[Remark]| {
        let all = rows.iter().flat_map(|row| pick(row).iter().map(move |remark| (row, remark)));
        let layers =
            gather(all.map(|(row, remark)| ((&row.transport, remark), row.layer.as_str())));
        let line = |((transport, remark), layers): ((&String, &Remark), Vec<&str>)| {
            let (layers, scenarios) = (layers.join(", "), remark.scenarios.join(", "));
            format!("{transport} {layers}: {} ({scenarios})", remark.text)
        };
        layers.into_iter().map(line).collect()
    };
    let known = rows.iter().filter(|row| !row.outlives.is_empty());
    let mut outlives: Vec<String> =
        known.map(|row| format!("{}: {}", row.transport, row.outlives)).collect();
    outlives.dedup();
    said("What is stored outlives:", outlives);
    said("Promised, and not seen:", remarks(|row| &row.broken));
    said("Better than promised:", remarks(|row| &row.better));
    said("Failed:", by_reason(rows.iter().flat_map(|row| &row.failed)));
    // What makes no sense in any scenario has its reason in the table.
    let untold =
        rows.iter().filter(|row| row.runs > 0 || only_reason(&row.not_applicable).is_none());
    said("Not applicable:", by_reason(untold.flat_map(|row| &row.not_applicable)));
}

/// What is missing: one line for each reason, transport and set of scenarios.
pub(super) fn by_reason<'a>(missing: impl IntoIterator<Item = &'a Missing>) -> Vec<String> {
    let scenarios = gather(missing.into_iter().map(|missing| {
        let Missing { transport, layer, scenario, reason } = missing;
        ((reason, transport, layer), scenario.as_str())
    }));
    let layers = gather(scenarios.into_iter().map(|((reason, transport, layer), scenarios)| {
        ((reason, transport, scenarios), layer.as_str())
    }));
    let line =
        |((reason, transport, scenarios), layers): ((&String, &String, Vec<&str>), Vec<&str>)| {
            format!("{transport} {} in {}: {reason}", layers.join(", "), scenarios.join(", "))
        };
    layers.into_iter().map(line).collect()
}

/// The values of each key, keys and values in the order of their appearance.
fn gather<K: PartialEq, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut gathered: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in pairs {
        match gathered.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => gathered.push((key, vec![value])),
        }
    }
    gathered
}
