//! `report.html`: the report as a page that needs nothing but a browser.

mod figures;
mod markup;
mod panel;
mod scale;

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use self::{markup::Markup, panel::Scales};
use super::{
    finding::findings,
    format::{count, counted},
    printed::{by_reason, same_reason},
    report::{Found, Report, ReportError, replace},
    summary::Summary,
};
use crate::faults::Run;

/// The file in the folder that `--out` names.
pub const FILE: &str = "report.html";

const TITLE: &str = "Backplanes under faults";

/// Nothing is fetched, whatever is in the report.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Writes the page as [`FILE`] into `folder`.
///
/// # Errors
///
/// It can't be written.
pub fn write(report: &Report, folder: &Path) -> Result<PathBuf, ReportError> {
    replace(&folder.join(FILE), &page(report))
        .map_err(|source| ReportError::Unwritable { path: folder.to_owned(), source })
}

/// The page. It works from a file, without a network, and on paper.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut markup = Markup::default();
    markup.own("<!doctype html>\n");
    markup.element("html", &[("lang", &"en")], |markup| {
        markup.element("head", &[], head);
        markup.element("body", &[], |markup| {
            markup.element("header", &[], |markup| header(markup, report));
            markup.element("main", &[], |markup| {
                overview(markup, report);
                scenarios(markup, report);
                missing(markup, report);
            });
            markup.element("dl", &[("id", &"tip"), ("hidden", &"")], |_| {});
            markup.element("script", &[], |markup| markup.own(include_str!("hover.js")));
        });
    });
    markup.into_string() + "\n"
}

fn head(markup: &mut Markup) {
    markup.empty("meta", &[("charset", &"utf-8")]);
    markup.empty("meta", &[("http-equiv", &"Content-Security-Policy"), ("content", &POLICY)]);
    let viewport = "width=device-width, initial-scale=1";
    markup.empty("meta", &[("name", &"viewport"), ("content", &viewport)]);
    markup.empty("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
    markup.line("title", &[], TITLE);
    markup.element("style", &[], |markup| markup.own(include_str!("style.css")));
}

fn header(markup: &mut Markup, report: &Report) {
    markup.line("h1", &[], TITLE);
    markup.line(
        "p",
        &[("class", &"lead")],
        "The medium of each transport was made to fail under continuous load. This is what arrived, what \
         did not, and who was told.",
    );
    verdict(markup, report);
    markup.element("dl", &[("class", &"facts")], |markup| {
        let mut fact = |name: &str, value: &dyn Display| {
            markup.element("div", &[], |markup| {
                markup.line("dt", &[], name);
                markup.line("dd", &[], value);
            });
        };
        if let Some(run) = report.runs.first() {
            let rate = count(run.rate.into());
            let size = counted(run.size as u64, "byte");
            fact("Load", &format!("{rate} envelopes/s of {size}, {} nodes", run.nodes));
        }
        fact("Transports", &report.transport_names().join(", "));
        let cores = counted(report.machine.cores as u64, "core");
        let cpu = report.machine.cpu.as_deref().unwrap_or("unknown processor");
        fact("Machine", &format!("{cores}, {cpu}; {}", report.machine.os));
        let rustc = report.versions.rustc.as_deref().map(|rustc| format!(", {rustc}"));
        let rustc = rustc.unwrap_or_default();
        fact("Software", &format!("backplane {}{rustc}", report.versions.backplane));
        fact("Started", &report.started);
        fact("Repeat it", &report.command);
    });
}

/// What one wants to know first.
fn verdict(markup: &mut Markup, report: &Report) {
    let findings = findings(report);
    let runs = counted(report.runs.len() as u64, "run");
    let lost = report.runs.iter().map(|run| run.lost).sum();
    if findings.is_empty() {
        let text = format!(
            "In {runs}, {} of {} deliveries were lost. Every loss was reported, and every promise kept.",
            count(lost),
            count(report.runs.iter().map(|run| run.due).sum()),
        );
        markup.line("p", &[("class", &"verdict fine")], text);
        return;
    }
    markup.element("div", &[("class", &"verdict bad")], |markup| {
        let number = counted(findings.len() as u64, "finding");
        markup.line("p", &[], format!("{number} in {runs}:"));
        markup.element("ul", &[], |markup| {
            findings.iter().for_each(|finding| markup.line("li", &[], finding));
        });
    });
}

fn overview(markup: &mut Markup, report: &Report) {
    let rows = Summary::all(report);
    let several = report.scenario_names().len() > 1;
    markup.element("section", &[("id", &"overview")], |markup| {
        markup.line("h2", &[], "Side by side");
        if several {
            let text = "Counts are sums over all scenarios. Times are the worst, with the scenario in \
                        which they were.";
            markup.line("p", &[("class", &"quiet")], text);
        }
        figures::table(markup, &rows, several);
        markup.element("details", &[("class", &"how")], |markup| {
            markup.line("summary", &[], "What the columns mean");
            figures::meanings(markup);
        });
    });
}

fn scenarios(markup: &mut Markup, report: &Report) {
    let names = report.scenario_names();
    if names.is_empty() {
        return;
    }
    markup.element("nav", &[("aria-label", &"scenarios")], |markup| {
        markup.element("ul", &[("class", &"contents")], |markup| {
            for (index, name) in names.iter().enumerate() {
                markup.element("li", &[], |markup| {
                    markup.line("a", &[("href", &format!("#scenario-{index}"))], name);
                });
            }
        });
        legend(markup);
    });
    for (index, name) in names.iter().enumerate() {
        scenario(markup, report, index, name);
    }
}

fn legend(markup: &mut Markup) {
    markup.element("ul", &[("class", &"legend")], |markup| {
        let entries = [
            ("fault", "the fault"),
            ("recovered", "all is well again"),
            ("due", "due"),
            ("delivered", "delivered"),
            ("median", "median time to delivery"),
            ("longest", "longest"),
            ("buffered", "waiting in buffers"),
        ];
        for (class, text) in entries {
            markup.element("li", &[], |markup| {
                markup.element("i", &[("class", &class)], |_| {});
                markup.text(text);
            });
        }
    });
}

fn scenario(markup: &mut Markup, report: &Report, index: usize, name: &str) {
    let runs: Vec<&Run> = report.runs.iter().filter(|run| run.scenario == name).collect();
    let scales = Scales::over(&runs);
    let (transports, layers) = (report.transport_names(), report.layer_names());
    let rows_of = |transport: &&str| -> Vec<Summary> {
        let rows = layers.iter().map(|layer| Summary::at(report, transport, layer, name));
        rows.filter(|row| !row.is_empty()).collect()
    };
    let id = format!("scenario-{index}");
    markup.element("section", &[("class", &"scenario"), ("id", &id)], |markup| {
        markup.line("h2", &[], name);
        if let Some(known) = report.scenarios.iter().find(|known| known.name == name) {
            markup.line("p", &[("class", &"quiet")], sentence(&known.about));
        }
        // A single layer leaves room for several transports side by side.
        let columns = if layers.len() > 1 { layers.len() } else { transports.len().clamp(1, 3) };
        let style = format!("--columns: {columns}");
        markup.element("div", &[("class", &"panels"), ("style", &style)], |markup| {
            for transport in &transports {
                let group: Vec<Summary> = rows_of(transport);
                if let Some(why) = same_reason(&group) {
                    markup.element("p", &[("class", &"absent across")], |markup| {
                        markup.line("strong", &[], transport);
                        markup.text(format!(" {why}"));
                    });
                    continue;
                }
                for layer in &layers {
                    figure(markup, report.at(transport, layer, name), (transport, layer), &scales);
                }
            }
        });
        let rows: Vec<Summary> = transports.iter().flat_map(rows_of).collect();
        markup.element("details", &[], |markup| {
            markup.line("summary", &[], format!("All figures of “{name}”"));
            figures::table(markup, &rows, false);
        });
    });
}

/// With a capital at its beginning, and a full stop.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", rest.as_str())
}

/// One place of the grid of plots, even if there is no plot for it.
fn figure(markup: &mut Markup, found: Option<Found<'_>>, place: (&str, &str), scales: &Scales) {
    markup.element("figure", &[], |markup| {
        markup.element("figcaption", &[], |markup| {
            markup.line("strong", &[], place.0);
            markup.line("span", &[("class", &"layer")], place.1);
            let Some(Found::Run(run)) = found else { return };
            markup.line("span", &[("class", &"quiet")], panel::in_words(run));
            if run.unreported > 0 {
                let text = format!("{} unreported", count(run.unreported));
                markup.line("span", &[("class", &"bad")], text);
            }
            if !run.broken.is_empty() {
                let text = format!("broken: {}", run.broken.join("; "));
                markup.line("span", &[("class", &"bad")], text);
            }
        });
        let absent = |markup: &mut Markup, class: &str, text: &str| {
            markup.line("p", &[("class", &format!("absent {class}"))], text);
        };
        match found {
            Some(Found::Run(run)) if run.course.is_empty() => {
                absent(markup, "", "No course was recorded.");
            }
            Some(Found::Run(run)) => panel::panel(markup, run, scales),
            Some(Found::Failed(missing)) => {
                absent(markup, "bad", &format!("Failed: {}", missing.reason));
            }
            Some(Found::NotApplicable(missing)) => {
                absent(markup, "", &format!("Not applicable: {}", missing.reason));
            }
            None => absent(markup, "", "Not asked for."),
        }
    });
}

fn missing(markup: &mut Markup, report: &Report) {
    let lists = [("Failed", &report.failed), ("Not applicable", &report.not_applicable)];
    if lists.iter().all(|(_, list)| list.is_empty()) {
        return;
    }
    markup.element("section", &[("id", &"missing")], |markup| {
        markup.line("h2", &[], "Not measured");
        for (title, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            markup.line("h3", &[], title);
            markup.element("ul", &[], |markup| {
                by_reason(list).iter().for_each(|line| markup.line("li", &[], line));
            });
        }
    });
}
