//! One entry added or removed while everything runs.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

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

/// Adds and removes one entry of a group, again and again.
pub(crate) fn measure(sekimori: &Sekimori, ruler: &mut Ruler, _seed: u64) -> Result<Vec<Figure>> {
    let bound = Bound::Most(1.0);
    let help = sekimori.command(&["group", "--help"], COMMAND)?;
    if !help.ok() {
        let why = "skipped: this build has no `sekimori group add` and `sekimori group remove`";
        return Ok(vec![
            Figure::new("apply", "sekimori", "add one entry at 1M, request to enforced, p99", None, "ms")
                .target("T7", bound)
                .note(why),
        ]);
    }
    ruler.peers(Place::Listed, &[IpAddr::V4(ENTRY)])?;
    let mut plan = NEW.plan(sekimori.gateway())?;
    let mut figures = Vec::new();
    let mut took: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for turn in 0..TIMES {
        for (verb, expected) in [("add", true), ("remove", false)] {
            let start = Instant::now();
            let said = sekimori.command(&["group", verb, "allowed", &ENTRY.to_string()], COMMAND)?;
            let answered = start.elapsed();
            if !said.ok() {
                bail!("`sekimori group {verb}`: {}{}", said.out.trim(), said.err.trim());
            }
            // Every probe opens a flow of its own, or the flow would answer for the entry.
            plan.port = 20_000 + u32::try_from(turn)?;
            if probe(ruler, sekimori.gateway(), &plan)? != expected {
                bail!("after `group {verb}` had answered, the entry was not as said");
            }
            took[usize::from(expected)].push(answered.as_secs_f64() * 1e3);
        }
    }
    for (verb, mut times) in ["remove", "add"].into_iter().zip(took) {
        times.sort_by(f64::total_cmp);
        let p99 = times.get(times.len() * 99 / 100).copied();
        figures.push(
            Figure::new("apply", "sekimori", format!("{verb} one entry at 1M, request to enforced, p99"), p99, "ms")
                .target("T7", bound)
                .note("the command's own start included"),
        );
    }
    Ok(figures)
}
