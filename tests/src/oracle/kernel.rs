//! The loaded BPF programs, run by `BPF_PROG_TEST_RUN` in a private instance.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use sekimori::{
    compile::{
        compile,
        registry::Registry,
        schedule::{Clock, windows},
    },
    dataplane::{
        CutTables,
        private::{CameFrom, Instance},
        quarantine,
    },
    policy::model::Policy,
};

use super::{
    Event, Origin, Verdict, Way,
    host::{boottime, entry, staged},
    state::{Cut, Management, Quarantine},
    subject::Subject,
};

/// Views the instance has room for.
const FLOWS: u32 = 4_096;
/// An interface id no policy uses.
const UNKNOWN: u16 = 60_000;

/// The programs of one private instance.
pub struct Kernel {
    instance: Instance,
    registry: Registry,
    rules: Vec<String>,
    interfaces: Vec<(String, u16)>,
    nets: Vec<(String, u16)>,
    marks: BTreeMap<usize, (u16, u32)>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Kernel").finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads the programs; needs root and a bpf-capable kernel.
    pub fn load() -> anyhow::Result<Self> {
        Ok(Self {
            instance: Instance::load(FLOWS).context("private instance")?,
            registry: Registry::default(),
            rules: Vec::new(),
            interfaces: Vec::new(),
            nets: Vec::new(),
            marks: BTreeMap::new(),
        })
    }
}

/// `BPF_PROG_TEST_RUN` builds no socket buffer without the whole IP header its EtherType names: no answer on the way out.
fn is_refused(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.len() < 14 + 20,
        Some([0x86, 0xdd]) => frame.len() < 14 + 40,
        _ => false,
    }
}

impl Subject for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn reset(&mut self) -> anyhow::Result<()> {
        self.instance.forget()?;
        self.instance.cut(&CutTables::default())?;
        self.instance.quarantine(&[])?;
        self.instance.management(&[])?;
        self.marks.clear();
        Ok(())
    }

    fn load(&mut self, policy: &Policy, now: Timestamp) -> anyhow::Result<()> {
        let compiled = compile(policy, &mut self.registry).context("compile")?;
        let clock = Clock { wall: now, boottime_ns: boottime(now) };
        let schedules = windows(&compiled.schedules, policy, clock);
        self.instance.policy(&compiled, &schedules)?;
        self.rules.clone_from(&compiled.rule_ids);
        self.interfaces.clone_from(&compiled.interfaces);
        self.nets.clone_from(&compiled.net_names);
        Ok(())
    }

    fn overlay(&mut self, policy: &Policy, cut: &Cut, management: &[Management]) -> anyhow::Result<()> {
        let id = |index: &usize| {
            let name = &policy.nets[*index].name;
            self.nets.iter().find(|(known, _)| known == name).map_or(0, |(_, id)| *id)
        };
        let tables = CutTables {
            all: cut.all,
            nets: cut.nets.iter().map(id).collect(),
            prefixes: cut.prefixes.clone(),
            macs: cut.macs.iter().map(|mac| mac.0).collect(),
            staged: staged(&cut.staged, id),
        };
        self.instance.cut(&tables)?;
        let paths: Vec<_> = management
            .iter()
            .filter_map(|path| {
                let (_, id) = self.interfaces.iter().find(|(name, _)| *name == path.interface)?;
                Some(entry(path, *id))
            })
            .collect();
        Ok(self.instance.management(&paths)?)
    }

    fn quarantine(&mut self, quarantine: &Quarantine) -> anyhow::Result<()> {
        let macs = quarantine.macs.iter().map(|mac| mac.0).collect();
        let host = quarantine::Host { slot: 1, addresses: quarantine.addresses.clone(), macs };
        Ok(self.instance.quarantine(&[host])?)
    }

    fn judge(&mut self, event: &Event) -> anyhow::Result<Option<Verdict>> {
        let now = boottime(event.now);
        let id = |name: &str| self.interfaces.iter().find(|(known, _)| known == name).map_or(UNKNOWN, |(_, id)| *id);
        let any = self.interfaces.first().map_or(1, |(_, id)| *id);
        let judged = match &event.way {
            Way::In { interface } => {
                let iface = id(interface);
                let judged = self.instance.ingress(&event.frame, iface, now)?;
                if judged.passes() {
                    self.marks.insert(event.number, (iface, judged.mark));
                }
                judged
            }
            Way::Out { interface, origin } => {
                let from = match origin {
                    Origin::Box => CameFrom::Box,
                    Origin::Unguarded => CameFrom::Unguarded,
                    Origin::Unmarked => CameFrom::Guarded(any, 0),
                    Origin::Guarded { event } => {
                        let (iface, mark) = self.marks.get(event).copied().unwrap_or((any, 0));
                        CameFrom::Guarded(iface, mark)
                    }
                };
                if is_refused(&event.frame) {
                    return Ok(None);
                }
                let judged = self.instance.egress(&event.frame, id(interface), from, now);
                judged.with_context(|| format!("{} bytes", event.frame.len()))?
            }
        };
        let rule = judged.rule.and_then(|index| self.rules.get(usize::from(index)).cloned());
        Ok(Some(Verdict { reason: judged.reason, rule }))
    }
}
