//! `CHECKLIST.md` names tests that exist.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::{collections::HashMap, fs, path::Path};

#[test]
fn every_test_that_is_named_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(here.join("tests/CHECKLIST.md")).unwrap();
    let mut sources = HashMap::new();
    let (mut named, mut missing) = (0, Vec::new());
    // In the middle column: `file: test, test`, and perhaps more such lines.
    for row in list.lines().filter(|line| line.starts_with("| ")) {
        let tests = row.split(" | ").nth(1).unwrap();
        for line in tests.split("<br>").filter(|line| line.contains(".rs: ")) {
            let (file, names) = line.split_once(": ").unwrap();
            let source = sources.entry(file).or_insert_with(|| {
                let path = here.join("..").join(file);
                fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"))
            });
            for name in names.split(", ").map(|name| name.trim_matches('`')) {
                named += 1;
                if !source.contains(&format!("fn {name}(")) {
                    missing.push(format!("{file}: {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "the list names what is not there: {missing:#?}");
    assert!(named > 100, "the list is not read: {named} tests");
}
