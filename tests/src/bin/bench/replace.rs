//! A replacement of one entry in a hundred under traffic: nothing may pass or be dropped wrongly.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::{
    figure::Figure,
    lists::{List, Place},
    options::Options,
    ruler::Ruler,
    subject::{Sekimori, Subject as _},
    target::Bound,
    traffic::{FAR, Kind, NEW},
};

/// Packets a second meanwhile.
const RATE: u64 = 50_000;
/// The traffic goes on until the application is done, but no longer than this.
const LONGEST: Duration = Duration::from_secs(120);

/// Replaces the list twice: under first packets to entries that stay, and under packets from nowhere.
pub(crate) fn measure(
    sekimori: &mut Sekimori,
    ruler: &mut Ruler,
    before: &List,
    options: &Options,
) -> Result<Vec<Figure>> {
    let after = before.replaced(100, options.seed);
    let stay = before.peers_also_in(&after, options.seed)?;
    ruler.peers(Place::Listed, &stay)?;
    let nowhere: Vec<_> =
        before.peers(Place::Far, false, options.seed)?.into_iter().filter(|peer| !after.holds(*peer)).collect();
    // The table's last entries stay what they were before: repeat the first.
    let missing = crate::plan::PEERS as usize - nowhere.len();
    let filled: Vec<_> = nowhere.iter().chain(nowhere.iter().take(missing)).copied().collect();
    ruler.peers(Place::Far, &filled)?;
    let mut figures = Vec::new();
    for (kind, list, what) in [
        (NEW, &after, "permitted packets dropped while 1 % of the entries are replaced"),
        (FAR, before, "denied packets passed while 1 % of the entries are replaced"),
    ] {
        let (sent, arrived, took) = under(sekimori, ruler, kind, list)?;
        let wrong = if kind.new { sent - arrived.min(sent) } else { arrived };
        figures.push(
            Figure::new("apply", "sekimori", what, wrong as f64, "packets")
                .target("T6", Bound::Most(0.0))
                .note(format!("of {sent} during {:.1} s", took.as_secs_f64())),
        );
    }
    Ok(figures)
}

fn under(sekimori: &Sekimori, ruler: &mut Ruler, kind: Kind, list: &List) -> Result<(u64, u64, Duration)> {
    let policy = sekimori.write(list)?;
    let plan = kind.plan(sekimori.gateway())?;
    let done = AtomicBool::new(false);
    ruler.delivered(sekimori.gateway())?;
    thread::scope(|scope| {
        let done = &done;
        let applying = scope.spawn(move || {
            let took = sekimori.apply(&policy);
            done.store(true, Ordering::Release);
            took
        });
        let start = Instant::now();
        let outside = ruler.ns.clone();
        let stop = || done.load(Ordering::Acquire) || start.elapsed() > LONGEST;
        let (sent, _) = ruler.pace(&outside, &plan, RATE, stop)?;
        let expected = if kind.new { sent } else { 0 };
        let arrived = ruler.settled(sekimori.gateway(), kind.way(), expected)?;
        let took = applying.join().map_err(|_| anyhow!("the thread that applied panicked"))??;
        Ok((sent, arrived, took))
    })
}
