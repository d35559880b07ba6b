use std::{error::Error as _, fs};

use serde_json::{Value, json};

use super::made;
use crate::compare::{Report, check};

#[test]
fn a_report_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    for report in [made::report(), made::small(), made::empty()] {
        let file = report.write(folder.path()).unwrap();
        assert_eq!(Report::read(&file).unwrap(), report);
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "nothing else is left in the folder");
}

#[test]
fn the_format_stays_as_it_is() {
    let golden = include_str!("small.json");
    let written = serde_json::to_string_pretty(&made::small()).unwrap();
    assert_eq!(written, golden.trim_end(), "\n{written}\n");
    let report: Report = serde_json::from_str(golden).unwrap();
    assert_eq!(report, made::small());
}

#[test]
fn what_a_newer_version_adds_is_ignored() {
    let mut value = serde_json::to_value(made::small()).unwrap();
    value["colour"] = "blue".into();
    value["runs"][0]["colour"] = "blue".into();
    value["runs"][0]["course"][0]["colour"] = "blue".into();
    value["machine"]["colour"] = "blue".into();
    let report: Report = serde_json::from_value(value).unwrap();
    assert_eq!(report, made::small());
}

/// What a comparison can't do without.
const DEMANDED: [&str; 14] = [
    "transport",
    "layer",
    "scenario",
    "nodes",
    "rate",
    "size",
    "sent",
    "due",
    "delivered",
    "lost",
    "doubled",
    "reordered",
    "unreported",
    "broken",
];

#[test]
fn what_an_older_version_had_not_is_empty() {
    let new = made::report();
    let mut old = serde_json::to_value(&new).unwrap();
    for run in old["runs"].as_array_mut().unwrap() {
        run.as_object_mut().unwrap().retain(|field, _| DEMANDED.contains(&field.as_str()));
    }
    let old: Report = serde_json::from_value(json!({ "runs": old["runs"] })).unwrap();
    assert_eq!(old.runs.len(), new.runs.len());
    assert_eq!((old.runs[0].lost, old.runs[0].late), (new.runs[0].lost, 0));
    let checked = check(&old, &new);
    assert_eq!(
        (checked.warnings, checked.notes),
        (vec![], vec![]),
        "nothing is made of what is unknown"
    );

    let point = json!({ "at_ms": 100, "sent": 1, "delivered": 2 });
    let mut value = serde_json::to_value(made::small()).unwrap();
    value["runs"][0]["course"] = json!([point]);
    value["machine"] = json!({});
    value["versions"] = json!({});
    let report: Report = serde_json::from_value(value).unwrap();
    assert_eq!((report.runs[0].course[0].at_ms, report.runs[0].course[0].buffered), (100, 0));
}

#[test]
fn what_a_comparison_needs_is_demanded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.json");
    let refused = |value: &Value| {
        fs::write(&file, value.to_string()).unwrap();
        let error = Report::read(&file).unwrap_err();
        let cause = error.source().unwrap().to_string();
        let text = error.to_string();
        assert!(text.contains("old.json") && text.contains("an earlier run wrote"), "{text}");
        cause
    };
    for field in DEMANDED {
        let mut value = serde_json::to_value(made::small()).unwrap();
        value["runs"][0].as_object_mut().unwrap().remove(field).unwrap();
        let cause = refused(&value);
        assert!(cause.contains(&format!("missing field `{field}`")), "{cause}");
    }
    assert!(refused(&json!({ "name": "another" })).contains("missing field `runs`"));
    refused(&json!([]));
    refused(&json!("a page"));
}
