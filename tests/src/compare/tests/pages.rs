use super::made;
use crate::compare::{Missing, Report, page};

/// Writes the page of made runs into the folder that BACKPLANE_PAGE names, to look at.
#[test]
#[ignore = "for people"]
fn draw() {
    let folder = std::env::var_os("BACKPLANE_PAGE").expect("BACKPLANE_PAGE names a folder");
    page::write(&made::report(), folder.as_ref()).unwrap();
}

/// Elements that HTML never closes.
const VOID: [&str; 2] = ["meta", "br"];

/// Reads a page as strictly as XML, and answers its text without markup.
fn parsed(page: &str) -> String {
    let mut rest = page.strip_prefix("<!doctype html>").expect("a doctype");
    let mut open: Vec<&str> = Vec::new();
    let mut text = String::new();
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        assert!(!before.contains('>'), "a bare > in {before:?}");
        text += before;
        let end = tag.find('>').expect("a tag that ends");
        let (inside, after) = (&tag[1..end], &tag[end + 1..]);
        rest = after;
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closes what is open");
            continue;
        }
        let empty = inside.ends_with('/');
        let inside = inside.trim_end_matches('/');
        let (name, attributes) = inside.split_once(' ').unwrap_or((inside, ""));
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "{name:?}");
        let quotes: Vec<&str> = attributes.split('"').collect();
        assert_eq!(quotes.len() % 2, 1, "quotes in {attributes:?}");
        for name in quotes.iter().step_by(2).map(|name| name.trim()).filter(|name| !name.is_empty())
        {
            let name = name.strip_suffix('=').unwrap_or_else(|| panic!("a value for {name:?}"));
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name:?}");
            assert!(!name.starts_with("on"), "no script in attributes: {name}");
        }
        if matches!(name, "script" | "style") {
            let close = format!("</{name}>");
            rest = rest.split_once(&close).expect("an end of the script or style").1;
        } else if !empty {
            assert!(!VOID.contains(&name));
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    text + rest
}

#[test]
fn the_page_is_well_formed() {
    let mut single = made::report();
    single.runs.retain(|run| run.layer == "bare");
    single.failed.retain(|missing| missing.layer == "bare");
    single.not_applicable.clear();
    for report in [made::report(), made::small(), made::empty(), single] {
        let text = parsed(&page::page(&report));
        for transport in report.transport_names() {
            assert!(text.contains(transport));
        }
    }
}

#[test]
fn no_name_becomes_markup() {
    const EVIL: &str = "<script>alert(1)</script>\"'&amp;\u{0}\n<img src=x onerror=y>";
    let mut report = made::small();
    let run = &mut report.runs[0];
    run.transport = EVIL.to_owned();
    run.layer = EVIL.to_owned();
    run.scenario = EVIL.to_owned();
    run.broken.push(EVIL.to_owned());
    run.better.push(EVIL.to_owned());
    run.answers.insert(EVIL.to_owned(), 3);
    let missing = || Missing {
        transport: EVIL.to_owned(),
        layer: EVIL.to_owned(),
        scenario: "other".to_owned(),
        reason: EVIL.to_owned(),
    };
    report.failed.push(missing());
    report.not_applicable.push(missing());
    report.command = EVIL.to_owned();
    report.started = EVIL.to_owned();
    report.machine.cpu = Some(EVIL.to_owned());
    report.machine.os = EVIL.to_owned();
    let page = page::page(&report);
    parsed(&page);
    assert!(!page.contains("<script>alert") && !page.contains("<img"));
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;amp;\u{FFFD}"));
}

#[test]
fn the_page_needs_nothing_else() {
    let page = page::page(&made::report());
    for outside in ["http://", "https://", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn each_place_has_its_plot_or_a_reason() {
    let report = made::report();
    let page = page::page(&report);
    assert_eq!(page.matches("<svg").count(), report.runs.len());
    assert_eq!(page.matches("<figure").count(), 3 * 3 * 4);
    assert_eq!(page.matches("absent across").count(), 4, "memory");
    let marked = page.matches("class=\"fault\" x=").count();
    assert_eq!(marked, 3 * report.runs.len(), "each marks the fault");
    assert!(page.contains("Failed: waited 20s for the broker to cut it off, in vain"));

    let mut bare = made::small();
    bare.runs[0].course.clear();
    let page = page::page(&bare);
    assert!(page.contains("No course was recorded."));
}

#[test]
fn the_verdict_comes_first() {
    let mut report: Report = made::small();
    assert!(page::page(&report).contains("class=\"verdict fine\""));
    report.runs[0].unreported = 12;
    let page = page::page(&report);
    assert!(page.contains("class=\"verdict bad\""));
    assert!(page.contains("unreported: 12 of 10,000 lost"));
}
