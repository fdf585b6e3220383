//! The host build of the decision, driven through its public entry points.

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use sekimori::{
    compile::{
        compile,
        host::HostTables,
        registry::Registry,
        schedule::{Clock, windows},
    },
    dataplane::{CutTables, StageList, StagedCut},
    policy::model::{Policy, Service},
};
use sekimori_ebpf::{
    abi::{DIR_IN, DIR_OUT, IFACE_GUARDED, IfaceEntry, ManagementEntry, staged_service},
    decide::{self, converse::Work},
    packet::Packet,
    parse::parse,
    reason::Reason,
};
use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Event, Origin, Verdict, Way,
    generate::policy::base,
    state::{Cut, Management, Quarantine, Staged},
    subject::Subject,
};

/// `CLOCK_BOOTTIME` at [`base`]: ten days of uptime, so that windows that opened before fit.
const UPTIME: u64 = 864_000_000_000_000;
/// Kernel indexes nobody guards and nobody knows.
const UNGUARDED: u32 = 9_999;
const UNKNOWN: u32 = 9_998;

/// Tables in memory, the decision called as a function.
pub struct Host {
    tables: HostTables,
    registry: Registry,
    rules: Vec<String>,
    marks: BTreeMap<usize, (u32, u32)>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Default for Host {
    fn default() -> Self {
        Self {
            tables: HostTables::new(4_096),
            registry: Registry::default(),
            rules: Vec::new(),
            marks: BTreeMap::new(),
        }
    }
}

/// An instant on the boot clock.
pub fn boottime(at: Timestamp) -> u64 {
    let since = at.as_nanosecond() - base().as_nanosecond();
    u64::try_from(i128::from(UPTIME) + since).unwrap_or(0)
}

/// An address as the tables write it.
pub(crate) fn sixteen(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// A management path as the tables write it.
pub(crate) fn entry(path: &Management, iface: u16) -> ManagementEntry {
    let bits = u32::from(path.source.prefix_len()) + if path.source.addr().is_ipv4() { 96 } else { 0 };
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
    ManagementEntry { addr: sixteen(path.source.network()), mask: mask.to_be_bytes(), iface, port: path.port, used: 1 }
}

impl Subject for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn reset(&mut self) -> anyhow::Result<()> {
        *self = Self::default();
        Ok(())
    }

    fn load(&mut self, policy: &Policy, now: Timestamp) -> anyhow::Result<()> {
        let compiled = compile(policy, &mut self.registry).context("compile")?;
        let clock = Clock { wall: now, boottime_ns: boottime(now) };
        let schedules = windows(&compiled.schedules, policy, clock);
        self.rules.clone_from(&compiled.rule_ids);
        let interfaces = compiled.interfaces.clone();
        self.tables.switch(compiled, schedules);
        for (_, id) in interfaces {
            self.tables.set_iface(u32::from(id), IfaceEntry { id, flags: IFACE_GUARDED, ..IfaceEntry::default() });
        }
        self.tables.settle();
        Ok(())
    }

    fn overlay(&mut self, policy: &Policy, cut: &Cut, management: &[Management]) -> anyhow::Result<()> {
        let Some(compiled) = self.tables.compiled() else { bail!("no policy is loaded") };
        let id = |index: &usize| {
            let name = &policy.nets[*index].name;
            compiled.net_names.iter().find(|(known, _)| known == name).map_or(0, |(_, id)| *id)
        };
        let nets: Vec<u16> = cut.nets.iter().map(id).collect();
        let paths: Vec<ManagementEntry> = management
            .iter()
            .filter_map(|path| {
                let iface = self.tables.ifindex(&path.interface)?;
                Some(entry(path, iface as u16))
            })
            .collect();
        let macs: Vec<[u8; 6]> = cut.macs.iter().map(|mac| mac.0).collect();
        let staged = staged(&cut.staged, id);
        let tables = CutTables { all: cut.all, nets, prefixes: cut.prefixes.clone(), macs, staged };
        self.tables.set_cut(&tables);
        self.tables.set_management(&paths);
        Ok(())
    }

    fn quarantine(&mut self, quarantine: &Quarantine) -> anyhow::Result<()> {
        self.tables
            .set_quarantine(&[(quarantine.addresses.clone(), quarantine.macs.iter().map(|mac| mac.0).collect())]);
        Ok(())
    }

    fn judge(&mut self, event: &Event) -> anyhow::Result<Option<Verdict>> {
        let now = boottime(event.now);
        let index = |interface: &str| self.tables.ifindex(interface).unwrap_or(UNKNOWN);
        let mut packet = Packet { now, segments: 1, len: event.frame.len() as u32, ..Packet::default() };
        match &event.way {
            Way::In { interface } => {
                packet.ifindex = index(interface);
                packet.direction = DIR_IN;
            }
            Way::Out { interface, origin } => {
                packet.ifindex = index(interface);
                packet.direction = DIR_OUT;
                let any_guarded = self.tables.compiled().map_or(1, |compiled| u32::from(compiled.interfaces[0].1));
                (packet.came_from, packet.mark) = match origin {
                    Origin::Box => (0, 0),
                    Origin::Unguarded => (UNGUARDED, 0),
                    Origin::Unmarked => (any_guarded, 0),
                    Origin::Guarded { event } => self.marks.get(event).copied().unwrap_or((any_guarded, 0)),
                };
            }
        }
        let mut work = Work::default();
        let entering = packet.direction == DIR_IN;
        let number = if entering {
            decide::way_in(&self.tables, &event.frame.as_slice(), &mut packet, &mut work)
        } else {
            parse(&event.frame.as_slice(), 0, &mut packet);
            decide::egress(&self.tables, &mut packet, &mut work)
        };
        let reason = Reason::from_number(number).with_context(|| format!("reason number {number}"))?;
        let rule = (packet.out_rule as usize).checked_sub(1).and_then(|index| self.rules.get(index).cloned());
        let verdict = Verdict { reason, rule };
        if entering && verdict.passes() {
            self.marks.insert(event.number, (packet.ifindex, packet.out_mark));
        }
        Ok(Some(verdict))
    }
}

/// Cuts that are restored in stages, as the tables take them; `id` gives the number of a net.
pub(super) fn staged(staged: &Staged, id: impl Fn(&usize) -> u16) -> StagedCut {
    let number = |proto: u8, first: u16, last: u16| (staged_service(proto, first), staged_service(proto, last));
    let code = |kind: u8, code: Option<u8>| {
        let first = u16::from(kind) << 8;
        code.map_or((first, first | 0xff), |code| (first | u16::from(code), first | u16::from(code)))
    };
    let services = staged.services.iter().map(|service| match *service {
        Service::Tcp(first, last) => number(6, first, last),
        Service::Udp(first, last) => number(17, first, last),
        Service::Icmp(kind, its) => number(1, code(kind, its).0, code(kind, its).1),
        Service::Icmpv6(kind, its) => number(58, code(kind, its).0, code(kind, its).1),
        Service::Protocol(proto) => number(proto, 0, u16::MAX),
    });
    StagedCut {
        all: staged.all,
        nets: staged.nets.iter().map(id).collect(),
        prefixes: staged.prefixes.clone(),
        macs: staged.macs.iter().map(|mac| mac.0).collect(),
        list: StageList {
            addresses: staged.addresses.clone(),
            macs: staged.list_macs.iter().map(|mac| mac.0).collect(),
            services: services.collect(),
        },
    }
}
