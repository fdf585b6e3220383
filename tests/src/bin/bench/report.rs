//! The report for machines, the page for people, and what changed since an earlier report.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    bench::Outcome,
    cell::Cell,
    figure,
    sampling::Stillness,
    table,
    target::{self, Target, Verdict},
};

/// Ratios of two runs that differ by more than this share are named.
const SAME: f64 = 0.10;

/// The report.
pub(crate) fn json(env: &Value, outcome: &Outcome, targets: &[Target]) -> Value {
    let group = |name: &str| -> Vec<Value> {
        outcome.figures.iter().filter(|figure| figure.group == name).map(figure::Figure::json).collect()
    };
    json!({
        "env": env,
        "cells": outcome.cells.0.iter().map(|cell| entry(outcome, cell)).collect::<Vec<_>>(),
        "apply": group("apply"),
        "cutoff": group("cutoff"),
        "noisy": outcome.noisy,
        "agent": group("agent"),
        "goodput": group("goodput"),
        "cores": group("cores"),
        "attacks": group("attacks"),
        "stillness": outcome.stillness.iter().map(|(stage, still)| (stage.clone(), json!({"drift": still.drift, "rounds": still.rounds, "at": still.at.to_string()})))
            .collect::<BTreeMap<_, _>>(),
        "skipped": outcome.skipped,
        "targets": targets.iter().map(one_target).collect::<Vec<_>>(),
    })
}

fn entry(outcome: &Outcome, cell: &Cell) -> Value {
    // Of what belongs to no flow: how many were open meanwhile.
    let flows = if matches!(cell.kind.flows, 0 | u32::MAX) { cell.live } else { cell.kind.flows };
    let mut value = json!({
        "traffic": cell.kind.name,
        "prefixes": cell.prefixes,
        "flows": flows,
        "flows_open": cell.live,
        "family": cell.kind.family(),
        "subject": cell.subject,
        "ns_min": cell.min(),
        "ns_median": cell.median(),
        "ns_max": cell.max(),
        "delivered": cell.delivered(),
        "ratio_to": outcome.cells.ratios(cell),
    });
    if let Some(why) = &cell.void {
        value["no_figure"] = json!(why);
    }
    value
}

fn one_target(target: &Target) -> Value {
    let (reached, verdict) = match target.verdict {
        Verdict::Met(figure) => (Some(figure), "met"),
        Verdict::Missed(figure) => (Some(figure), "missed"),
        Verdict::Unmeasured => (None, "not measured"),
    };
    json!({
        "target": target.name, "what": target.what, "bound": target.bound.to_string(),
        "reached": reached, "verdict": verdict,
    })
}

/// Where reports go: `SEKIMORI_BENCH`, else `target/bench`.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os("SEKIMORI_BENCH")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench"), PathBuf::from)
}

/// Writes the report; its path.
pub(crate) fn write(report: &Value) -> Result<PathBuf> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join("report.json");
    fs::write(&path, serde_json::to_vec_pretty(report)?).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The page: conditions, targets, every table.
pub(crate) fn page(env: &Value, outcome: &Outcome, targets: &[Target]) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit. Every subject forwards or drops the same 60-byte \
         packets on one core, all of them loaded at once, in shuffled rounds; the figures are nanoseconds a packet \
         including a generator and a veth that all share, the minimum of all samples first. *own* is the cost above \
         the floor of the same path. Ratios are the result; do not compare nanoseconds of different runs.\n\n\
         ## Conditions\n\n",
    );
    if let Some(env) = env.as_object() {
        for (name, value) in env {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
                other => other.to_string(),
            };
            text.push_str(&format!("- {}: {value}\n", name.replace('_', " ")));
        }
    }
    text.push_str(
        "\nA stage is measured in rounds until five of them agree on both floors (xdp-drop, xdp-fwd) within 8 %; the others \
         are thrown away by their floors alone, before anybody's figures are looked at. Floors of the rounds that count:\n\n",
    );
    for (stage, Stillness { drift, rounds, at }) in &outcome.stillness {
        text.push_str(&format!("- {stage}: {:.1} % apart, of {rounds} rounds taken, at {at:.0}\n", drift * 100.0));
    }
    text.push_str("\n## Targets\n\n");
    text.push_str(&target::render(targets, outcome.noisy));
    if !outcome.skipped.is_empty() {
        text.push_str("\nNot measured:\n\n");
        for why in &outcome.skipped {
            text.push_str(&format!("- {why}\n"));
        }
    }
    text.push_str("\n## Packets\n");
    for (stage, title) in table::titles(&outcome.cells) {
        text.push('\n');
        text.push_str(&table::render(&outcome.cells, stage, &title));
    }
    text.push_str("\n## Other figures\n");
    for group in figure::groups(&outcome.figures) {
        text.push('\n');
        text.push_str(&figure::render(&outcome.figures, group));
    }
    text
}

/// Ratios that differ by more than a tenth between two reports, one line each; cells only one of them has are counted.
pub(crate) fn compare(old: &Path, new: &Value) -> Result<Vec<String>> {
    let text = fs::read_to_string(old).with_context(|| format!("reading {}", old.display()))?;
    let old = ratios(&serde_json::from_str(&text).with_context(|| format!("{} is no report", old.display()))?);
    let new = ratios(new);
    let mut lines = Vec::new();
    let mut common = 0;
    for (name, now) in &new {
        let Some(before) = old.get(name) else { continue };
        common += 1;
        let change = now / before - 1.0;
        if change.abs() > SAME {
            lines.push(format!("{name}: {before:.3} before, {now:.3} now ({:+.0} %)", change * 100.0));
        }
    }
    let differ = lines.len();
    lines.push(format!("{differ} of {common} ratios that both reports have differ by more than {:.0} %", SAME * 100.0));
    Ok(lines)
}

/// Sekimori's ratios by name.
fn ratios(report: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for cell in report["cells"].as_array().into_iter().flatten() {
        let subject = cell["subject"].as_str().unwrap_or_default();
        if !subject.starts_with("sekimori") {
            continue;
        }
        for (peer, ratio) in cell["ratio_to"].as_object().into_iter().flatten() {
            let name = format!(
                "{} {} prefixes {} flows of {} open {}: {subject} ÷ {peer}",
                cell["traffic"].as_str().unwrap_or_default(),
                cell["prefixes"],
                cell["flows"],
                cell["flows_open"],
                cell["family"].as_str().unwrap_or_default(),
            );
            if let Some(ratio) = ratio.as_f64() {
                found.insert(name, ratio);
            }
        }
    }
    found
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_ratios_that_moved_by_more_than_a_tenth_are_named() {
        let report = |near: f64, far: f64| {
            let cell = |name: &str, ratio: f64| {
                json!({"traffic": name, "prefixes": 1000, "flows": 0, "flows_open": 0, "family": "ipv4",
                    "subject": "sekimori", "ratio_to": {"kernel": ratio}})
            };
            json!({"cells": [cell("near", near), cell("far", far)]})
        };
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old.json");
        fs::write(&old, report(0.50, 0.50).to_string()).unwrap();
        let lines = compare(&old, &report(0.54, 0.60)).unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("far ") && lines[0].contains("+20 %"), "{lines:?}");
        assert!(lines[1].starts_with("1 of 2 "), "{lines:?}");
    }
}
