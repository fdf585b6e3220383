//! One entry added or removed while everything runs.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    apply::probe,
    figure::Figure,
    lists::Place,
    ruler::Ruler,
    subject::{Sekimori, Subject as _},
    target::Bound,
    traffic::NEW,
};

/// Additions and removals.
const TIMES: usize = 100;
const COMMAND: Duration = Duration::from_secs(20);
/// An address no list holds (documentation, RFC 5737).
const ENTRY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);

/// Adds and removes one entry of a group, again and again. The agent says how long it took from the request to the switch; a
/// probe right after its answer finds whether that is true. How long the whole command took is told beside.
pub(crate) fn measure(sekimori: &Sekimori, ruler: &mut Ruler, _seed: u64) -> Result<Vec<Figure>> {
    let entry = ENTRY.to_string();
    ruler.peers(Place::Listed, &[IpAddr::V4(ENTRY)])?;
    let mut plan = NEW.plan(sekimori.gateway())?;
    let mut enforced: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut answered: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for turn in 0..TIMES {
        for (verb, expected) in [("add", true), ("remove", false)] {
            let start = Instant::now();
            let arguments = ["group", verb, "allowed", &entry, "--reason", "measured", "--format", "json"];
            let said = sekimori.command(&arguments, COMMAND)?;
            answered[usize::from(expected)].push(start.elapsed().as_secs_f64() * 1e3);
            if !said.ok() {
                bail!("`sekimori group {verb}`: {}{}", said.out.trim(), said.err.trim());
            }
            let told: Value = serde_json::from_str(&said.out).context("the answer is not JSON")?;
            let us = told["enforced_us"].as_f64().context("the answer does not say when it was in force")?;
            enforced[usize::from(expected)].push(us / 1e3);
            // Every probe opens a flow of its own, or the flow would answer for the entry.
            plan.port = 20_000 + u32::try_from(turn)?;
            if probe(ruler, sekimori.gateway(), &plan)? != expected {
                bail!("after `group {verb}` had answered, the entry was not as said");
            }
        }
    }
    let mut figures = Vec::new();
    for (verb, times) in ["remove", "add"].into_iter().zip(&mut enforced) {
        let what = format!("{verb} one entry at 1M, request to enforced, p99");
        figures.push(
            Figure::new("apply", "sekimori", what, p99(times), "ms")
                .target("T7", Bound::Most(1.0))
                .note("by the agent's clock, and a probe after its answer"),
        );
    }
    for (verb, times) in ["remove", "add"].into_iter().zip(&mut answered) {
        let what = format!("{verb} one entry at 1M, the whole command, p99");
        figures.push(Figure::new("apply", "sekimori", what, p99(times), "ms").note("on disk and recorded"));
    }
    Ok(figures)
}

fn p99(times: &mut [f64]) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 99 / 100).copied()
}
