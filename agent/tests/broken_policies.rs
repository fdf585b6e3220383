//! Policies that are wrong on purpose, one file each in `broken/`. The first lines of a file say what must be
//! reported, and nothing else may be: `# expect: CODE LINE:COL`. A file that loads is linted as of 2026-12-01.
//! To add one, add a file.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use sekimori::policy::{diagnostic::Diagnostic, lint, load};

const NOW: &str = "2026-12-01T00:00:00Z";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn check(path: &Path) -> Vec<Diagnostic> {
    let loaded = load(path);
    let mut all = loaded.diagnostics;
    if let Some(policy) = &loaded.policy {
        all.extend(lint(policy, &loaded.spans, NOW.parse().unwrap(), None));
    } else {
        assert!(!all.is_empty(), "{}: refused without a word", path.display());
    }
    all
}

fn expected(text: &str) -> Vec<String> {
    let mut all: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("# expect: ")).map(|line| line.trim().to_owned()).collect();
    all.sort();
    all
}

#[test]
fn each_broken_policy_is_reported_where_it_is_broken() {
    let mut failures = String::new();
    let mut count = 0;
    let mut files: Vec<PathBuf> = folder("broken").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml")) {
        count += 1;
        let expected = expected(&std::fs::read_to_string(path).unwrap());
        assert!(!expected.is_empty(), "{} expects nothing", path.display());
        let found = check(path);
        let mut told: Vec<String> = found.iter().map(|d| format!("{} {}:{}", d.code, d.line, d.col)).collect();
        told.sort();
        if told != expected {
            let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
            failures += &format!("{}\n  expected {expected:?}\n  {}\n", path.display(), shown.join("\n  "));
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count >= 20, "only {count} files");
}

#[test]
fn every_diagnostic_speaks_both_languages_and_serialises() {
    for entry in folder("broken").read_dir().unwrap() {
        for diagnostic in check(&entry.unwrap().path()) {
            assert!(!diagnostic.message.ja.is_ascii(), "{diagnostic}");
            let json = serde_json::to_value(&diagnostic).unwrap();
            for field in ["severity", "code", "file", "line", "col", "text", "expected", "suggestion", "message"] {
                assert!(json.get(field).is_some(), "{field} is missing in {json}");
            }
        }
    }
}

#[test]
fn suggestions_are_what_was_meant() {
    let suggestion = |name: &str, index: usize| check(&folder("broken").join(name))[index].suggestion.clone();
    assert_eq!(suggestion("unknown-field.yaml", 0).as_deref(), Some("vlans"));
    assert_eq!(suggestion("unknown-section.yaml", 0).as_deref(), Some("zones"));
    assert_eq!(suggestion("host-bits.yaml", 0).as_deref(), Some("192.168.10.0/24"));
    assert_eq!(suggestion("unknown-zone.yaml", 0).as_deref(), Some("office"));
    assert_eq!(suggestion("unknown-service.yaml", 0).as_deref(), Some("https"));
}
