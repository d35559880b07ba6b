use super::made;
use crate::compare::Report;

#[test]
fn a_report_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    for report in [made::report(), made::small(), made::empty()] {
        let file = report.write(folder.path()).unwrap();
        assert_eq!(Report::read(&file).unwrap(), report);
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
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
