//! Reading back: counters, views, fill.

use aya::maps::{HashMap, IterableMap as _, MapData};
use sekimori_ebpf::{
    abi::{
        Counter, DIR_IN, DIR_OUT, NET_LAST, NET_NONE, RULE_SLOTS, RuleCounter, Settings, View, ViewKey, ViewKey4,
        counter_index,
    },
    decide::flow,
    reason::{self, REASON_SLOTS},
};

use super::{
    Fill, NetCounter, batch,
    error::{Error, While},
    maps::Maps,
};

/// Slots of rule counters read by one system call.
const CHUNK: u32 = 1024;

/// Every verdict counter that is not zero: of `nets`, or of every net there can be if that is empty, and of "no net".
pub fn counters(maps: &Maps, nets: &[u16]) -> Result<Vec<NetCounter>, Error> {
    let every: Vec<u16> = (1..=NET_LAST).collect();
    let nets = if nets.is_empty() { every.as_slice() } else { nets };
    let mut found = Vec::new();
    for net in std::iter::once(&NET_NONE).chain(nets) {
        // Both directions of a net lie side by side.
        let first = counter_index(*net, DIR_IN, 0);
        let (values, cpus) = batch::per_cpu::<Counter>(maps.counters.map(), "the counters", first, 2 * REASON_SLOTS)?;
        for direction in [DIR_IN, DIR_OUT] {
            for reason in reason::ALL {
                let reason = *reason as u32;
                let at = (counter_index(*net, direction, reason) - first) as usize;
                let counter = sum(values.chunks_exact(cpus).nth(at).unwrap_or_default());
                if counter.packets != 0 {
                    found.push(NetCounter { net: *net, direction, reason, counter });
                }
            }
        }
    }
    Ok(found)
}

fn sum(cpus: &[Counter]) -> Counter {
    let mut total = Counter::default();
    for one in cpus {
        total.packets += one.packets;
        total.bytes += one.bytes;
        total.last = total.last.max(one.last);
    }
    total
}

/// Every rule counter that is not zero, by stable slot.
pub fn rule_counters(maps: &Maps) -> Result<Vec<(u32, RuleCounter)>, Error> {
    let mut found = Vec::new();
    for first in (0..RULE_SLOTS).step_by(CHUNK as usize) {
        let (values, cpus) = batch::per_cpu::<RuleCounter>(
            maps.rule_counters.map(),
            "the rule counters",
            first,
            CHUNK.min(RULE_SLOTS - first),
        )?;
        for (slot, cpus) in (first..).zip(values.chunks_exact(cpus)) {
            let mut total = RuleCounter::default();
            for one in cpus {
                total.packets += one.packets;
                total.bytes += one.bytes;
                total.reply_packets += one.reply_packets;
                total.reply_bytes += one.reply_bytes;
                total.flows += one.flows;
                total.last = total.last.max(one.last);
            }
            if total != RuleCounter::default() {
                found.push((slot, total));
            }
        }
    }
    Ok(found)
}

/// Events that were not delivered.
pub fn lost(maps: &Maps) -> Result<u64, Error> {
    Ok(maps.budget.get(&0, 0).doing("read the lost events")?.iter().map(|budget| budget.lost).sum())
}

/// Live views of both rooms.
pub fn views(maps: &Maps, settings: &Settings, now: u64) -> Result<Vec<(ViewKey, View)>, Error> {
    let mut found = Vec::new();
    let mut see = |key: ViewKey, view: &View| {
        if now.saturating_sub(view.seen) <= flow::idle_limit(view, key.proto, settings) {
            found.push((key, *view));
        }
    };
    // The opening rooms first: a view goes from there to the others.
    for (room, name) in [(&maps.opening4, "OPENING4"), (&maps.flows4, "FLOWS4")] {
        batch::each(room.map(), name, |key: &ViewKey4, view| see(key.long(), view))?;
    }
    for (room, name) in [(&maps.opening6, "OPENING6"), (&maps.flows6, "FLOWS6")] {
        batch::each(room.map(), name, |key: &ViewKey, view| see(*key, view))?;
    }
    Ok(found)
}

/// A walk meets entries twice while others come and go, but never more than there can be.
pub(super) fn entries<K: aya::Pod, V: aya::Pod>(map: &HashMap<MapData, K, V>, capacity: u32) -> u64 {
    let capacity = capacity as usize;
    map.keys().filter(Result::is_ok).take(capacity).count() as u64
}

/// How full the tables are; expired views count until their room is needed.
pub fn fill(maps: &Maps, flows_max: u32, opening_max: u32) -> Result<Vec<Fill>, Error> {
    Ok(vec![
        Fill {
            table: "established",
            used: entries(&maps.flows4, flows_max) + entries(&maps.flows6, flows_max),
            capacity: u64::from(flows_max),
        },
        Fill {
            table: "opening",
            used: entries(&maps.opening4, opening_max) + entries(&maps.opening6, opening_max),
            capacity: u64::from(opening_max),
        },
        Fill { table: "fragments", used: entries(&maps.fragments, 4096), capacity: 4096 },
    ])
}
