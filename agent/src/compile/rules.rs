//! The rules' own entries, and the schedules they share.

use std::collections::HashMap;

use jiff::Timestamp;
use sekimori_ebpf::abi::{
    LimitEntry, MAX_SCHEDULES, RULE_LIMITED, RULE_LOG, RULE_PUBLISHED, RULE_QUARANTINED, RULE_TO_BOX, RuleEntry,
};

use super::{
    error::{CompileError, named},
    prefixes::address,
    registry::Kind,
    schedule::Plan,
};
use crate::policy::model::{HoursIndex, Limits, Place, Policy, Rate};

/// Interns plans. Schedule 0 is unused: it stands for "always".
#[derive(Debug)]
pub(super) struct Plans {
    list: Vec<Plan>,
    numbers: HashMap<(Option<HoursIndex>, Option<Timestamp>), u32>,
}

impl Plans {
    pub(super) fn new() -> Self {
        Self { list: vec![Plan { hours: None, until: None }], numbers: HashMap::from([((None, None), 0)]) }
    }

    /// The schedule of these hours that ends then; `at` names who needs it.
    pub(super) fn number(
        &mut self,
        hours: Option<HoursIndex>,
        until: Option<Timestamp>,
        at: impl Fn() -> String,
    ) -> Result<u32, CompileError> {
        if let Some(&number) = self.numbers.get(&(hours, until)) {
            return Ok(number);
        }
        let number = self.list.len() as u32;
        if number >= MAX_SCHEDULES {
            return Err(CompileError::Schedules { at: at() });
        }
        self.list.push(Plan { hours, until });
        self.numbers.insert((hours, until), number);
        Ok(number)
    }

    pub(super) fn into_list(self) -> Vec<Plan> {
        self.list
    }
}

/// The rules in document order. `slots` are their counter slots.
pub(super) fn entries(
    policy: &Policy,
    slots: &[u32],
    net_ids: &[u16],
    plans: &mut Plans,
) -> Result<Vec<RuleEntry>, CompileError> {
    let mut entries = Vec::with_capacity(policy.rules.len());
    for (rule, &slot) in policy.rules.iter().zip(slots) {
        let schedule = plans.number(rule.hours, rule.until, || named(Kind::Rule, &rule.id))?;
        let log = if rule.log { RULE_LOG } else { 0 };
        let mut entry = RuleEntry { slot, flags: log, schedule, ..RuleEntry::default() };
        if rule.limits != Limits::default() {
            entry.flags |= RULE_LIMITED;
        }
        if rule.quarantined {
            entry.flags |= RULE_QUARANTINED;
        }
        if let Some(published) = &rule.published {
            entry.flags |= RULE_PUBLISHED;
            entry.real_port = published.port.unwrap_or(0);
            entry.real_net = net_ids[published.net];
            entry.real_addr = address(published.address);
        } else if rule.to.place.contains(&Place::Box) {
            entry.flags |= RULE_TO_BOX;
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// What the rules limit, in document order; empty if none does.
pub(super) fn limits(policy: &Policy) -> Vec<LimitEntry> {
    if policy.rules.iter().all(|rule| rule.limits == Limits::default()) {
        return Vec::new();
    }
    let pace = |rate: Option<Rate>| rate.map_or((0, 0), |rate| (rate.cost, rate.cost * u64::from(rate.burst)));
    let entry = |limits: Limits| {
        let ((new_cost, new_most), (host_cost, host_most)) = (pace(limits.new), pace(limits.new_per_host));
        LimitEntry {
            new_cost,
            new_most,
            host_cost,
            host_most,
            flows: limits.flows.unwrap_or(0),
            flows_per_host: limits.flows_per_host.unwrap_or(0),
        }
    };
    policy.rules.iter().map(|rule| entry(rule.limits)).collect()
}
