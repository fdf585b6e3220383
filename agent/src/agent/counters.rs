//! Counters under the names administrators gave: stable numbers turned back into zones, networks and rules.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use sekimori_ebpf::{
    abi::{Counter, DIR_IN, NET_BOX, NET_NONE, RuleCounter},
    reason::{Reason, Verdict},
};
use serde::Serialize;

use super::{
    clock,
    keeper::{Keeper, report},
};
use crate::cutoff::{Object, PlanState};

/// One counter of a zone or network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetLine {
    /// Zone, network, `box`, or `none` for an interface of no zone or network.
    pub network: String,
    /// `in` or `out`.
    pub direction: &'static str,
    /// `pass` or `drop`.
    pub verdict: &'static str,
    /// Reason code.
    pub reason: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// `CLOCK_BOOTTIME` nanoseconds of the last one.
    pub last: u64,
}

/// Counters of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleLine {
    /// Its id; `slot-N` if no policy is known to have named it.
    pub rule: String,
    /// Packets of the initiator's direction.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets of the other direction.
    pub reply_packets: u64,
    /// Their bytes.
    pub reply_bytes: u64,
    /// Flows opened.
    pub flows: u64,
    /// `CLOCK_BOOTTIME` nanoseconds of the last packet, 0 for none yet.
    pub last: u64,
}

/// Both, as kept beside the record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Zones and networks.
    pub networks: Vec<NetLine>,
    /// Rules.
    pub rules: Vec<RuleLine>,
}

/// Single values for the metrics.
#[derive(Debug, Clone)]
pub struct Gauges {
    /// Events lost; `None` if the data plane does not say.
    pub events_lost: Option<u64>,
    /// Of the last apply.
    pub apply_time: Option<Duration>,
    /// Applies done, refused or failed.
    pub applies: (u64, u64),
    /// Zones and networks of the revision in force, and whether each is cut off.
    pub networks: Vec<(String, bool)>,
    /// How long cut-offs took.
    pub switch_times: prometheus::Histogram,
    /// The last drill.
    pub drilled: Option<Timestamp>,
    /// How long the cut-off that should have lifted itself first is late.
    pub overdue: Duration,
    /// Cut-offs without a line in the record.
    pub unrecorded: usize,
    /// Planned cut-offs by how they stand.
    pub plans: [(PlanState, usize); 3],
    /// When the next of them begins.
    pub next_plan: Option<Timestamp>,
}

impl Keeper {
    /// See [`Gauges`].
    pub fn gauges(&self) -> Gauges {
        let cut = |name: &str| {
            self.overlay.cuts.iter().any(
                |cut| matches!(&cut.object, Object::Network { name: cut } | Object::Zone { name: cut } if cut == name),
            )
        };
        let nets = self.live.iter().flat_map(|live| &live.policy.nets);
        let overdue = self.overlay.next_end(&clock::all()).map(|left| -left);
        Gauges {
            events_lost: self.dataplane.as_ref().ok().and_then(|dataplane| dataplane.lost_events().ok()),
            apply_time: self.apply_time,
            applies: self.applies,
            networks: nets.map(|net| (net.name.clone(), cut(&net.name))).collect(),
            switch_times: self.switched.clone(),
            drilled: self.drilled,
            overdue: overdue.and_then(|late| late.try_into().ok()).unwrap_or_default(),
            unrecorded: self.overlay.cuts.iter().filter(|cut| !cut.recorded).count(),
            plans: [PlanState::Pending, PlanState::Failing, PlanState::Missed]
                .map(|state| (state, self.plans.count(state))),
            next_plan: self.plans.open().map(|plan| plan.at).min(),
        }
    }

    /// Every counter, named. Rules of the revision in force are listed even at zero.
    pub fn counters_by_name(&self) -> Result<Counters, String> {
        let dataplane = self.dataplane.as_ref().map_err(Clone::clone)?;
        let nets = dataplane.counters().map_err(|error| report(&error))?;
        let rules = dataplane.rule_counters().map_err(|error| report(&error))?;
        let (net_names, rule_names) = self.names();
        let networks =
            nets.iter().map(|line| net_line(&net_names, line.net, line.direction, line.reason, line.counter)).collect();
        let mut by_slot: BTreeMap<u32, RuleCounter> = rules.into_iter().collect();
        for slot in self.live.iter().flat_map(|live| &live.compiled.rules).map(|rule| rule.slot) {
            by_slot.entry(slot).or_default();
        }
        let rules = by_slot.into_iter().map(|(slot, counter)| rule_line(&rule_names, slot, counter)).collect();
        Ok(Counters { networks, rules })
    }

    /// Names of zones, networks and rules by number.
    pub(super) fn names(&self) -> (BTreeMap<u16, String>, BTreeMap<u32, String>) {
        let numbers = self.numbers.as_ref();
        let rules = numbers.iter().flat_map(|numbers| numbers.rules()).map(|(name, slot)| (slot, name.to_owned()));
        let nets = numbers.iter().flat_map(|numbers| numbers.nets()).map(|(name, id)| (id, name.to_owned()));
        let mut nets: BTreeMap<_, _> = nets.collect();
        nets.insert(NET_BOX, "box".into());
        nets.insert(NET_NONE, "none".into());
        (nets, rules.collect())
    }
}

fn net_line(names: &BTreeMap<u16, String>, net: u16, direction: u32, reason: u32, counter: Counter) -> NetLine {
    let known = Reason::from_number(reason);
    NetLine {
        network: names.get(&net).cloned().unwrap_or_else(|| format!("net-{net}")),
        direction: if direction == DIR_IN { "in" } else { "out" },
        verdict: match known.map(Reason::verdict) {
            Some(Verdict::Pass) => "pass",
            _ => "drop",
        },
        reason: known.map_or_else(|| format!("reason-{reason}"), |reason| reason.code().to_owned()),
        packets: counter.packets,
        bytes: counter.bytes,
        last: counter.last,
    }
}

fn rule_line(names: &BTreeMap<u32, String>, slot: u32, counter: RuleCounter) -> RuleLine {
    RuleLine {
        rule: names.get(&slot).cloned().unwrap_or_else(|| format!("slot-{slot}")),
        packets: counter.packets,
        bytes: counter.bytes,
        reply_packets: counter.reply_packets,
        reply_bytes: counter.reply_bytes,
        flows: counter.flows,
        last: counter.last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_nobody_names_are_shown_as_numbers() {
        let names = BTreeMap::from([(3, "internet".to_owned())]);
        let counter = Counter { packets: 2, bytes: 120, last: 9 };
        let line = net_line(&names, 3, DIR_IN, Reason::NoRule as u32, counter);
        assert_eq!(
            (&*line.network, line.direction, line.verdict, &*line.reason),
            ("internet", "in", "drop", "no_rule")
        );
        assert_eq!((line.packets, line.bytes, line.last), (2, 120, 9));
        let odd = net_line(&names, 9, 1, 127, counter);
        assert_eq!((&*odd.network, odd.direction, &*odd.reason, odd.verdict), ("net-9", "out", "reason-127", "drop"));
        assert_eq!(rule_line(&BTreeMap::new(), 5, RuleCounter::default()).rule, "slot-5");
    }
}
