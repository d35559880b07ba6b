//! The course of one run: deliveries, latency and buffer over the same time.

use std::fmt::{Display, Write as _};

use super::{
    markup::Markup,
    scale::{Scale, decades, ticks},
};
use crate::{
    compare::format::{count, micros, millis, share},
    faults::{Point, Run},
};

/// A point of the course stands for this long.
const POINT_MS: u64 = 100;
const POINTS_PER_SECOND: f64 = 1_000.0 / POINT_MS as f64;

// The drawing's measures, in units that are pixels where it is not scaled.
const WIDTH: f64 = 440.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 8.0;
const HEAD: f64 = 15.0;
const DELIVERY: Strip = Strip::below(0.0, 92.0);
const LATENCY: Strip = Strip::below(DELIVERY.bottom + 7.0, 68.0);
const BUFFER: Strip = Strip::below(LATENCY.bottom + 7.0, 40.0);
const HEIGHT: f64 = BUFFER.bottom + 32.0;

/// One of the plots above each other. Its title stands above it.
#[derive(Clone, Copy)]
struct Strip {
    top: f64,
    bottom: f64,
}

impl Strip {
    const fn below(edge: f64, height: f64) -> Self {
        Self { top: edge + HEAD, bottom: edge + HEAD + height }
    }
}

/// The scales that all runs of a scenario share, so that they can be compared by eye.
#[derive(Debug, Clone)]
pub(super) struct Scales {
    time: Scale,
    seconds: Vec<f64>,
    delivery: Scale,
    rates: Vec<f64>,
    latency: Scale,
    latencies: Vec<f64>,
    buffer: Scale,
    depths: Vec<f64>,
}

impl Scales {
    /// Those into which all of these runs fit. A flood of repaired deliveries may be cut off: the rest of
    /// the plot would be flat otherwise.
    pub(super) fn over(runs: &[&Run]) -> Self {
        let points = || runs.iter().flat_map(|run| &run.course);
        let seconds =
            points().map(|point| point.at_ms + POINT_MS).max().unwrap_or(1_000) as f64 / 1e3;

        let usual = runs.iter().map(|run| usual_due(run)).fold(0.0, f64::max);
        let most = points().map(delivered_rate).fold(0.0, f64::max);
        let rate = most.min(usual * 2.0).max(usual * 1.15).max(1.0);

        let positive = |us: u64| (us > 0).then_some(us as f64);
        let shortest =
            points().filter_map(|point| positive(point.p50_us)).fold(f64::INFINITY, f64::min);
        let longest = points().filter_map(|point| positive(point.max_us)).fold(0.0, f64::max);
        let latencies = decades(if shortest.is_finite() { shortest } else { 1.0 }, longest);
        let edges = [latencies.first(), latencies.last()].map(|edge| edge.copied().unwrap_or(1.0));

        let deepest = points().map(|point| point.buffered).max().unwrap_or(0) as f64;

        Self {
            time: Scale::even(0.0, seconds, LEFT, RIGHT),
            seconds: ticks(seconds, 8),
            delivery: Scale::even(0.0, rate, DELIVERY.bottom, DELIVERY.top),
            rates: ticks(rate, 4),
            latency: Scale::logarithmic(edges[0], edges[1], LATENCY.bottom, LATENCY.top),
            latencies,
            buffer: Scale::even(0.0, deepest.max(1.0) * 1.05, BUFFER.bottom, BUFFER.top),
            depths: if deepest > 0.0 { ticks(deepest, 2) } else { vec![0.0] },
        }
    }
}

/// Draws a run.
pub(super) fn panel(markup: &mut Markup, run: &Run, scales: &Scales) {
    let view = format!("0 0 {WIDTH} {HEIGHT}");
    let label = format!(
        "{} {}, {}: {} of {} deliveries arrived",
        run.transport,
        run.layer,
        run.scenario,
        count(run.delivered),
        count(run.due)
    );
    let course = data(run);
    let reach = format!("{LEFT} {RIGHT} {}", scales.time.upper() * 1e3);
    let attributes: [(&str, &dyn Display); 7] = [
        ("viewBox", &view),
        ("class", &"panel"),
        ("role", &"img"),
        ("tabindex", &"0"),
        ("aria-label", &label),
        ("data-reach", &reach),
        ("data-course", &course),
    ];
    markup.element("svg", &attributes, |markup| {
        grounds(markup, scales);
        fault(markup, run, scales);
        delivery(markup, run, scales);
        latency(markup, run, scales);
        buffer(markup, run, scales);
        titles(markup, run);
        let edges: [(&str, &dyn Display); 5] = [
            ("class", &"cursor"),
            ("x1", &LEFT),
            ("x2", &LEFT),
            ("y1", &DELIVERY.top),
            ("y2", &BUFFER.bottom),
        ];
        markup.empty("line", &edges);
    });
}

impl Scales {
    fn x(&self, ms: u64) -> f64 {
        self.time.place(ms as f64 / 1e3)
    }
}

/// The grids with what is written at them.
fn grounds(markup: &mut Markup, scales: &Scales) {
    let mut grid = |strip: Strip, y: f64, text: String| {
        line(markup, "grid", [LEFT, y, RIGHT, y]);
        if !text.is_empty() {
            // Next to the edge of a strip there is another strip's text.
            let y = (y + 3.5).clamp(strip.top + 6.0, strip.bottom + 1.0);
            write(markup, "tick end", LEFT - 5.0, y, &text);
        }
    };
    for rate in &scales.rates {
        grid(DELIVERY, scales.delivery.place(*rate), short(*rate));
    }
    let many = scales.latencies.len() > 5;
    for (index, us) in scales.latencies.iter().enumerate() {
        let text = if many && index % 2 == 1 { String::new() } else { decade(*us) };
        grid(LATENCY, scales.latency.place(*us), text);
    }
    for depth in &scales.depths {
        grid(BUFFER, scales.buffer.place(*depth), short(*depth));
    }
    for second in &scales.seconds {
        let x = scales.time.place(*second);
        line(markup, "grid", [x, BUFFER.bottom, x, BUFFER.bottom + 4.0]);
        write(markup, "tick middle", x, BUFFER.bottom + 15.0, &format!("{second}"));
    }
    write(markup, "tick end", RIGHT, BUFFER.bottom + 28.0, "seconds since the start");
}

fn fault(markup: &mut Markup, run: &Run, scales: &Scales) {
    let [from, to] = [run.fault_from_ms, run.fault_to_ms].map(|ms| scales.x(ms));
    let width = figure((to - from).max(1.5));
    let from = figure(from);
    let recovered = run.recover_ms.map(|after| scales.x(run.fault_to_ms + after));
    for Strip { top, bottom } in [DELIVERY, LATENCY, BUFFER] {
        let height = bottom - top;
        let attributes: [(&str, &dyn Display); 5] = [
            ("class", &"fault"),
            ("x", &from),
            ("y", &top),
            ("width", &width),
            ("height", &height),
        ];
        markup.empty("rect", &attributes);
        if let Some(x) = recovered {
            line(markup, "recovered", [x, top, x, bottom]);
        }
    }
}

fn delivery(markup: &mut Markup, run: &Run, scales: &Scales) {
    let place = |rate: f64| scales.delivery.place(rate);
    let delivered = steps(run, scales, |point| place(delivered_rate(point)));
    if !delivered.is_empty() {
        let first = figure(scales.x(run.course.first().map_or(0, |point| point.at_ms)));
        let bottom = figure(DELIVERY.bottom);
        let path = format!("M{first} {bottom}L{}V{bottom}H{first}Z", &delivered[1..]);
        markup.empty("path", &[("class", &"delivered"), ("d", &path)]);
        let receivers = receivers(run);
        let due = steps(run, scales, |point| place(due_rate(point, receivers)));
        markup.empty("path", &[("class", &"due"), ("d", &due)]);
    }
    let top = run.course.iter().max_by(|one, other| one.delivered.cmp(&other.delivered));
    let cut = |point: &&Point| delivered_rate(point) > scales.delivery.upper() * 1.001;
    if let Some(peak) = top.filter(cut) {
        let [from, to] = [peak.at_ms, peak.at_ms + POINT_MS].map(|ms| scales.x(ms));
        let (class, x) =
            if from < (LEFT + RIGHT) / 2.0 { ("peak", to + 5.0) } else { ("peak end", from - 5.0) };
        let text = format!("▲ up to {}/s", count(delivered_rate(peak) as u64));
        write(markup, class, x, DELIVERY.top + 10.0, &text);
    }
}

fn latency(markup: &mut Markup, run: &Run, scales: &Scales) {
    let place = |us: u64| (us > 0).then(|| scales.latency.place(us as f64));
    curve(markup, "longest", run, scales, |point| place(point.max_us));
    curve(markup, "median", run, scales, |point| place(point.p50_us));
}

fn buffer(markup: &mut Markup, run: &Run, scales: &Scales) {
    let Some(first) = run.course.first() else { return };
    let bottom = BUFFER.bottom;
    let mut path = String::new();
    step(&mut path, 'M', scales.x(first.at_ms), bottom);
    let mut end = first.at_ms;
    for point in &run.course {
        // What waits at the end of the point's time.
        end = point.at_ms + POINT_MS;
        step(&mut path, 'L', scales.x(end), scales.buffer.place(point.buffered as f64));
    }
    step(&mut path, 'L', scales.x(end), bottom);
    path.push('Z');
    markup.empty("path", &[("class", &"buffered"), ("d", &path)]);
}

fn titles(markup: &mut Markup, run: &Run) {
    write(markup, "head", LEFT, DELIVERY.top - 4.0, "deliveries per second");
    let all = format!("{} arrived", share(run.delivered, run.due));
    write(markup, "head end", RIGHT, DELIVERY.top - 4.0, &all);
    write(markup, "head", LEFT, LATENCY.top - 4.0, "time to delivery");
    let longest = run.course.iter().map(|point| point.max_us).max().unwrap_or(0);
    let longest = format!("longest {}", micros(longest));
    write(markup, "head end", RIGHT, LATENCY.top - 4.0, &longest);
    write(markup, "head", LEFT, BUFFER.top - 4.0, "envelopes buffered");
    let deepest = run.course.iter().map(|point| point.buffered).max().unwrap_or(0);
    let deepest = if deepest == 0 { "none".to_owned() } else { format!("most {}", count(deepest)) };
    write(markup, "head end", RIGHT, BUFFER.top - 4.0, &deepest);
}

/// A line through all points; where there is no value it is broken.
fn curve(
    markup: &mut Markup,
    class: &'static str,
    run: &Run,
    scales: &Scales,
    y: impl Fn(&Point) -> Option<f64>,
) {
    let mut path = String::new();
    let mut pen_down = false;
    for point in &run.course {
        let Some(y) = y(point) else {
            pen_down = false;
            continue;
        };
        let x = scales.x(point.at_ms + POINT_MS / 2);
        step(&mut path, if pen_down { 'L' } else { 'M' }, x, y);
        if !pen_down {
            // A point alone is a dot: the ends of lines are round.
            path.push_str("h0.1");
        }
        pen_down = true;
    }
    if !path.is_empty() {
        markup.empty("path", &[("class", &class), ("d", &path)]);
    }
}

/// A line that stays at each point's value for as long as the point stands for.
fn steps(run: &Run, scales: &Scales, y: impl Fn(&Point) -> f64) -> String {
    let mut path = String::new();
    for point in &run.course {
        let [from, to] = [point.at_ms, point.at_ms + POINT_MS].map(|ms| scales.x(ms));
        let command = if path.is_empty() { 'M' } else { 'L' };
        step(&mut path, command, from, y(point));
        // Writing to a string can't fail.
        let _ = write!(path, "H{}", figure(to));
    }
    path
}

fn step(path: &mut String, command: char, x: f64, y: f64) {
    // Writing to a string can't fail.
    let _ = write!(path, "{command}{} {}", figure(x), figure(y));
}

fn line(markup: &mut Markup, class: &'static str, ends: [f64; 4]) {
    let [x1, y1, x2, y2] = ends.map(figure);
    let attributes: [(&str, &dyn Display); 5] =
        [("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)];
    markup.empty("line", &attributes);
}

fn write(markup: &mut Markup, class: &'static str, x: f64, y: f64, text: &str) {
    let (x, y) = (figure(x), figure(y));
    markup.line("text", &[("class", &class), ("x", &x), ("y", &y)], text);
}

/// A tenth of a unit is finer than anybody sees.
fn figure(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// What the pointer shows: per point its time, and what the plots show there.
fn data(run: &Run) -> String {
    let receivers = receivers(run);
    let points: Vec<[u64; 6]> = run
        .course
        .iter()
        .map(|point| {
            let due = due_rate(point, receivers).round() as u64;
            let delivered = delivered_rate(point).round() as u64;
            [point.at_ms, due, delivered, point.p50_us, point.max_us, point.buffered]
        })
        .collect();
    format!("{points:?}").replace(' ', "")
}

fn delivered_rate(point: &Point) -> f64 {
    point.delivered as f64 * POINTS_PER_SECOND
}

fn due_rate(point: &Point, receivers: f64) -> f64 {
    point.sent as f64 * receivers * POINTS_PER_SECOND
}

/// Deliveries that one envelope is due.
fn receivers(run: &Run) -> f64 {
    if run.sent == 0 { 0.0 } else { run.due as f64 / run.sent as f64 }
}

/// The rate of due deliveries, without the odd moments.
fn usual_due(run: &Run) -> f64 {
    let receivers = receivers(run);
    let mut rates: Vec<f64> = run.course.iter().map(|point| due_rate(point, receivers)).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() * 9 / 10).copied().unwrap_or_default()
}

/// A round number in little room: `12k`.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    }
}

/// A power of ten of microseconds.
fn decade(us: f64) -> String {
    match us {
        1e6.. => format!("{} s", us / 1e6),
        1e3.. => format!("{} ms", us / 1e3),
        _ => format!("{us} µs"),
    }
}

/// A run in a line.
pub(super) fn in_words(run: &Run) -> String {
    let recovered = match run.recover_ms {
        Some(ms) => format!("recovered after {}", millis(ms)),
        None => "never recovered".to_owned(),
    };
    let noticed = match run.notice_ms {
        Some(ms) => format!("noticed after {}", millis(ms)),
        None => "not noticed".to_owned(),
    };
    format!("{} lost, {noticed}, {recovered}", count(run.lost))
}
