//! The judge of every replay: the programs themselves, loaded once more, unpinned and attached to nothing.

use std::collections::HashMap;

use anyhow::Context as _;
use jiff::Timestamp;

use super::judge::{Judge, Judged, Origin};
use crate::{
    compile::{
        schedule::{Clock, windows},
        tables::Compiled,
    },
    dataplane::private::{self, CameFrom, Instance},
    policy::model::Policy,
};

/// Views each room holds: as many as a live instance has by default.
pub const FLOWS: u32 = 262_144;
/// An interface id no policy gives: the programs know no such interface.
const UNKNOWN: u16 = u16::MAX;

/// A private instance with one policy.
pub struct Programs<'p> {
    instance: Instance,
    policy: &'p Policy,
    tables: Compiled,
    ids: HashMap<String, u16>,
    staged: bool,
}

impl<'p> Programs<'p> {
    /// Loads the programs. The policy is staged when the first packet's time is known.
    ///
    /// # Errors
    /// The programs cannot be loaded: not root, or a kernel that lacks something.
    pub fn load(policy: &'p Policy, tables: Compiled, flows: u32) -> anyhow::Result<Self> {
        let instance = Instance::load(flows).context("replay runs the real programs: run it as root")?;
        let ids = tables.interfaces.iter().cloned().collect();
        Ok(Self { instance, policy, tables, ids, staged: false })
    }

    fn id(&self, interface: &str) -> u16 {
        self.ids.get(interface).copied().unwrap_or(UNKNOWN)
    }
}

impl Judge for Programs<'_> {
    fn head(&self) -> usize {
        private::LONGEST
    }

    fn set_clock(&mut self, at: Timestamp) -> anyhow::Result<()> {
        // Schedule 0 is unused: a policy without hours or end dates is staged once.
        if self.staged && self.tables.schedules.len() <= 1 {
            return Ok(());
        }
        let boottime_ns = u64::try_from(at.as_nanosecond()).unwrap_or_default();
        let schedules = windows(&self.tables.schedules, self.policy, Clock { wall: at, boottime_ns });
        self.instance.policy(&self.tables, &schedules)?;
        self.staged = true;
        Ok(())
    }

    fn ingress(&mut self, frame: &[u8], interface: &str, now: u64) -> anyhow::Result<Judged> {
        let iface = self.id(interface);
        Ok(judged(self.instance.ingress(frame, iface, now)?))
    }

    fn egress(&mut self, frame: &[u8], interface: &str, origin: Origin<'_>, now: u64) -> anyhow::Result<Judged> {
        let from = match origin {
            Origin::Box => CameFrom::Box,
            Origin::Interface { name, mark } => CameFrom::Guarded(self.id(name), mark),
        };
        let iface = self.id(interface);
        Ok(judged(self.instance.egress(frame, iface, from, now)?))
    }
}

fn judged(found: private::Judged) -> Judged {
    Judged { reason: found.reason, rule: found.rule.map(usize::from), mark: found.mark }
}
