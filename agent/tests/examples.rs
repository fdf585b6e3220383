//! The policies under `policies/`: valid, without a warning, and right about themselves.

#![expect(clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};

use sekimori::{
    explain::outcome::run_policy_tests,
    policy::{diagnostic::Lang, lint, load},
    threat::{check_policy, folder_of},
};

/// The day the examples' records and end dates were written for.
const DAY: &str = "2026-12-01T10:00:00+09:00";

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

fn holds(name: &str, fewest_tests: usize) {
    let day: jiff::Timestamp = DAY.parse().expect("a date");
    let loaded = load(&policies().join(name));
    let errors: Vec<String> = loaded.diagnostics.iter().map(|found| found.render(Lang::En)).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    let policy = loaded.policy.expect("a policy without errors");
    let warnings: Vec<String> =
        lint(&policy, &loaded.spans, day, None).iter().map(|found| found.render(Lang::En)).collect();
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
    // How old a checkout's files are is nobody's fault.
    let lists = check_policy(&policy, &loaded.spans, &folder_of(&policies().join(name)));
    let lists: Vec<String> =
        lists.iter().filter(|found| found.code != "W033").map(|found| found.render(Lang::En)).collect();
    assert!(lists.is_empty(), "{}", lists.join("\n"));

    let outcomes = run_policy_tests(&policy, day).expect("tables");
    let mut failures = Vec::new();
    for outcome in &outcomes {
        let (file, line, _) = &outcome.at;
        for failure in &outcome.failures {
            failures.push(format!("{}:{line}: {}: {}", file.display(), outcome.name, failure.en()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(outcomes.len() >= fewest_tests, "{} tests", outcomes.len());
}

#[test]
fn minimal() {
    holds("minimal.yaml", 12);
}

#[test]
fn municipality() {
    holds("municipality", 25);
}

#[test]
fn smart_city_council() {
    holds("smart-city-council", 25);
}

/// A file nobody tests is a file nobody keeps right.
#[test]
fn nothing_else_is_there() {
    let mut found: Vec<String> = std::fs::read_dir(policies())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ["minimal.yaml", "municipality", "smart-city-council"]);
}

#[test]
fn the_example_configuration_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/agent.yaml");
    let config = sekimori::agent::config::Config::load(&path).expect("a configuration");
    assert_eq!((config.instance.as_str(), config.management.len()), ("default", 1));
}
