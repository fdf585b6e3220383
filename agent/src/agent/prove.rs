//! Looking at a cut: tables, counters that stand still, packets made for the purpose, conversations, interfaces.

use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use sekimori_ebpf::{
    abi::{NET_LAST, ViewKey},
    reason::{Reason, Verdict},
};

use super::{
    clock,
    cuts::micros,
    keeper::{Keeper, report},
};
use crate::{
    cli::text::{self, Lang},
    cutoff::{
        Covers, Cut, InterfaceProof, Level, Object, ObjectProof, Overlay, Proof, Thrown, object::read_mac, resolve,
    },
    dataplane::{
        InterfaceState, ManagementPath, NetCounter, link,
        probe::{NOBODY, Probe},
    },
    policy::model::NetKind,
};

/// How long counters are watched.
const WATCH: Duration = Duration::from_millis(100);
/// How often they are read meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// `membarrier(2)`: returns when every CPU has left what it was doing in the kernel (`synchronize_rcu`).
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
/// Addresses nobody has (RFC 5737, RFC 3849).
const STRANGERS: [&str; 2] = ["192.0.2.250", "2001:db8:ffff::250"];

/// Waits until no program judges a packet by what it read before this call.
fn settle() -> io::Result<Duration> {
    let began = Instant::now();
    // SAFETY: no pointers are passed.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done == 0 { Ok(began.elapsed()) } else { Err(io::Error::last_os_error()) }
}

impl Keeper {
    /// What can be seen of these cuts now. `conversations` were open before, by object.
    pub(super) fn prove(
        &mut self,
        objects: &[Object],
        conversations: &[u64],
        thrown: Option<&Thrown>,
        lang: Lang,
    ) -> Proof {
        self.look(objects, conversations, thrown, true, lang)
    }

    /// The same without a cut: whether it could be seen.
    pub(super) fn rehearse(&mut self, objects: &[Object], conversations: &[u64], lang: Lang) -> Proof {
        self.look(objects, conversations, None, false, lang)
    }

    fn look(
        &mut self,
        objects: &[Object],
        conversations: &[u64],
        thrown: Option<&Thrown>,
        cut: bool,
        lang: Lang,
    ) -> Proof {
        let mut unverified = Vec::new();
        let settled = settle();
        if let Err(error) = &settled {
            unverified.push(text::proof_unsettled(lang, error));
        }
        let (passed, watched) = self.watch(objects, &mut unverified, lang);
        let found = self.switch.read().map_err(|error| unverified.push(report(&error))).unwrap_or_default();
        let states = self.dataplane.as_ref().ok().and_then(|dataplane| dataplane.interfaces().ok());
        if self.interfaces_of(&Object::All).is_empty() {
            unverified.push(text::proof_no_policy(lang));
        }
        let mut proofs = Vec::new();
        for ((object, passed), conversations) in objects.iter().zip(passed).zip(conversations) {
            let known = self.overlay.cuts.iter().find(|its| its.object.is(object)).cloned();
            let proof = ObjectProof {
                object: object.to_string(),
                in_tables: known.as_ref().is_some_and(|cut| self.is_within(cut, &found)),
                passed,
                conversations: *conversations,
                interfaces: self.interfaces_seen(object, states.as_deref().unwrap_or_default()),
                ..ObjectProof::default()
            };
            let proof = if cut { self.tried(proof, object, known.as_ref(), &mut unverified, lang) } else { proof };
            for interface in proof.interfaces.iter().filter(|interface| !interface.guarded) {
                unverified.push(text::proof_unguarded(lang, object, &interface.name));
            }
            let absent: Vec<&str> = proof
                .interfaces
                .iter()
                .filter(|interface| interface.up.is_none())
                .map(|its| its.name.as_str())
                .collect();
            let strangers = if absent.is_empty() { Vec::new() } else { self.strangers() };
            if !strangers.is_empty() {
                unverified.push(text::proof_strangers(lang, object, absent.join(", "), strangers.join(", ")));
            }
            if cut {
                self.judge(&proof, known.as_ref(), &mut unverified, lang);
            }
            proofs.push(proof);
        }
        Proof {
            proven: cut && unverified.is_empty(),
            management_open: !self.management_open(objects).is_empty(),
            switched_at: thrown.map(|thrown| micros(thrown.at)),
            switch_us: thrown.map(|thrown| thrown.micros),
            settled_ms: settled.ok().map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            watched_ms: u64::try_from(watched.as_millis()).unwrap_or(u64::MAX),
            objects: proofs,
            unverified,
        }
    }

    /// Interfaces that are up and in no policy: one that has gone may be back under such a name.
    fn strangers(&self) -> Vec<String> {
        let known = self.interfaces_of(&Object::All);
        let mut names = link::names();
        names.retain(|name| name != "lo" && !known.contains(name) && link::is_up(name).unwrap_or(true));
        names
    }

    /// What speaks against it.
    fn judge(&self, proof: &ObjectProof, known: Option<&Cut>, unverified: &mut Vec<String>, lang: Lang) {
        let object = &proof.object;
        if !proof.in_tables {
            unverified.push(text::proof_not_in_tables(lang, object));
        }
        if known.is_some_and(|cut| cut.staged) {
            let first = self.overlay.stage.first.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return unverified.push(text::proof_staged(lang, object, first));
        }
        if let Some(passed @ 1..) = proof.passed {
            unverified.push(text::proof_passed(lang, object, passed));
        }
        if proof.probes_dropped < proof.probes {
            unverified.push(text::proof_probe_passed(lang, object, proof.probes - proof.probes_dropped));
        }
        if known.is_some_and(|cut| cut.level == Level::Link) {
            for interface in proof.interfaces.iter().filter(|interface| interface.up == Some(true)) {
                unverified.push(text::proof_link_up(lang, object, &interface.name));
            }
        }
    }

    /// Packets counted as passing each object while its counters are watched; `None` where no counter is its alone.
    fn watch(&self, objects: &[Object], unverified: &mut Vec<String>, lang: Lang) -> (Vec<Option<u64>>, Duration) {
        let began = Instant::now();
        let Some(first) = self.passes(objects) else {
            unverified.push(text::proof_no_counters(lang));
            return (vec![None; objects.len()], Duration::ZERO);
        };
        let mut last = first.clone();
        if first.iter().any(Option::is_some) {
            while began.elapsed() < WATCH {
                std::thread::sleep(LOOK);
                let Some(now) = self.passes(objects) else {
                    unverified.push(text::proof_no_counters(lang));
                    break;
                };
                last = now;
                if last != first {
                    break;
                }
            }
        }
        let moved = first.iter().zip(&last).map(|(first, last)| first.zip(*last).map(|(first, last)| last - first));
        (moved.collect(), began.elapsed())
    }

    /// What passed each object until now, all CPUs together; what only the management path lets through is not counted.
    fn passes(&self, objects: &[Object]) -> Option<Vec<Option<u64>>> {
        let counters = self.dataplane.as_ref().ok()?.counters().ok()?;
        let passes = |counter: &&NetCounter| {
            Reason::from_number(counter.reason)
                .is_some_and(|reason| reason.verdict() == Verdict::Pass && reason != Reason::Management)
        };
        let sum = |net: Option<u16>| {
            let mine = counters.iter().filter(passes).filter(|counter| net.is_none_or(|net| counter.net == net));
            mine.map(|counter| counter.counter.packets).sum::<u64>()
        };
        let number = |name: &str| self.numbers.as_ref().and_then(|numbers| numbers.net(name));
        Some(
            objects
                .iter()
                .map(|object| match object {
                    Object::All => Some(sum(None)),
                    Object::Network { name } | Object::Zone { name } => number(name).map(|net| sum(Some(net))),
                    _ => None,
                })
                .collect(),
        )
    }

    /// What each net's cut refused until now, and what everything's did: packets and bytes.
    pub(super) fn refused_by_net(&self) -> Vec<NetCounter> {
        let counters = self.dataplane.as_ref().ok().and_then(|dataplane| dataplane.counters().ok()).unwrap_or_default();
        let cut = [Reason::CutAll as u32, Reason::CutNetwork as u32];
        counters.into_iter().filter(|counter| cut.contains(&counter.reason)).collect()
    }

    /// As it counts for this object; nothing for hosts and prefixes, which have counters of their own.
    pub(super) fn refused_as_net(&self, object: &Object, counters: &[NetCounter]) -> (u64, u64) {
        let sum = |reason: Reason, net: Option<u16>| {
            let its =
                |counter: &&NetCounter| counter.reason == reason as u32 && net.is_none_or(|net| counter.net == net);
            counters
                .iter()
                .filter(its)
                .fold((0, 0), |(packets, bytes), its| (packets + its.counter.packets, bytes + its.counter.bytes))
        };
        match object {
            Object::All => sum(Reason::CutAll, None),
            Object::Network { name } | Object::Zone { name } => {
                let net = self.numbers.as_ref().and_then(|numbers| numbers.net(name));
                net.filter(|net| *net <= NET_LAST).map_or((0, 0), |net| sum(Reason::CutNetwork, Some(net)))
            }
            Object::Host { .. } | Object::Prefix { .. } => (0, 0),
        }
    }

    /// What a cut refused since it was placed: packets and bytes.
    pub(super) fn refused_since(&self, cut: &Cut, counters: &[NetCounter]) -> (u64, u64) {
        let listed = match &cut.object {
            Object::Prefix { prefix } => Some((vec![*prefix], Vec::new())),
            Object::Host { .. } => Some((prefixes_of(&cut.covers), macs_of(&cut.covers))),
            _ => None,
        };
        let (packets, bytes) = match listed {
            Some((prefixes, macs)) => {
                let refused = self.switch.refused(&prefixes, &macs).unwrap_or_default();
                (refused.packets, refused.bytes)
            }
            None => self.refused_as_net(&cut.object, counters),
        };
        let (before, probed) = (cut.refused_before, cut.probed);
        (packets.saturating_sub(before.0 + probed.0), bytes.saturating_sub(before.1 + probed.1))
    }

    /// Whether the tables have all that this cut asks for.
    fn is_within(&self, cut: &Cut, found: &crate::dataplane::CutTables) -> bool {
        let overlay = Overlay { cuts: vec![cut.clone()], stage: self.overlay.stage.clone() };
        let (wanted, unknown) = overlay.tables(|name| self.numbers.as_ref().and_then(|numbers| numbers.net(name)));
        // Something else may hold it whole.
        let (staged, kept) = (&wanted.staged, &found.staged);
        unknown.is_empty()
            && wanted.all <= found.all
            && wanted.nets.iter().all(|net| found.nets.contains(net))
            && wanted.prefixes.iter().all(|prefix| found.prefixes.contains(&prefix.trunc()))
            && wanted.macs.iter().all(|mac| found.macs.contains(mac))
            && (!staged.all || kept.all || found.all > 0)
            && staged.nets.iter().all(|net| kept.nets.contains(net) || found.nets.contains(net))
            && staged.prefixes.iter().all(|prefix| {
                kept.prefixes.contains(&prefix.trunc()) || found.prefixes.iter().any(|whole| whole.contains(prefix))
            })
            && staged.macs.iter().all(|mac| kept.macs.contains(mac) || found.macs.contains(mac))
            && (staged.is_empty() || staged.list == kept.list)
    }

    fn interfaces_seen(&self, object: &Object, states: &[InterfaceState]) -> Vec<InterfaceProof> {
        let seen = |name: String| {
            let up = link::is_up(&name).ok();
            let state = states.iter().find(|state| state.name == name && state.ifindex != 0);
            // A program of somebody else's in front of ours decides before it.
            let whole = |state: &InterfaceState| state.xdp != "missing" && state.tcx && state.error.is_none();
            let guarded = up.is_none() || state.is_some_and(whole);
            InterfaceProof { name, guarded, up }
        };
        // A host or a prefix may be met anywhere.
        let anywhere = matches!(object, Object::Host { .. } | Object::Prefix { .. });
        let names = self.interfaces_of(if anywhere { &Object::All } else { object });
        names.into_iter().map(seen).collect()
    }

    /// Gives the programs in force packets from and to the object, and reads what was refused since.
    fn tried(
        &mut self,
        mut proof: ObjectProof,
        object: &Object,
        known: Option<&Cut>,
        unverified: &mut Vec<String>,
        lang: Lang,
    ) -> ObjectProof {
        if let Some(cut) = known {
            (proof.refused_packets, proof.refused_bytes) = self.refused_since(cut, &self.refused_by_net());
        }
        // What passes for the list cannot be told from what would pass for it alone.
        if known.is_some_and(|cut| cut.staged) {
            proof.passed = None;
            return proof;
        }
        let probes = self.probes(object, known.map(|cut| &cut.covers));
        let mut names = proof.interfaces.iter().map(|interface| interface.name.clone()).collect::<Vec<_>>();
        if names.is_empty() {
            names = self.interfaces_of(&Object::All);
        }
        // Where every interface is down or gone nothing passes, and nothing can be tried.
        if probes.is_empty() && names.iter().any(|name| link::is_up(name).unwrap_or(false)) {
            unverified.push(text::proof_no_probe(lang, object));
        }
        let mut own = (0, 0);
        for probe in probes {
            // Both are dropped, and for the cut: what the policy refuses anyway proves nothing.
            let before = self.refused_as_cut();
            let Ok(dataplane) = self.dataplane.as_mut() else {
                unverified.push(text::proof_no_counters(lang));
                return proof;
            };
            match dataplane.probe(&probe) {
                Ok(dropped) => {
                    proof.probes += 2;
                    let dropped = dropped.iter().filter(|dropped| **dropped).count() as u64;
                    let dropped = dropped.min(self.refused_as_cut().saturating_sub(before));
                    proof.probes_dropped += dropped;
                    own = (own.0 + dropped, own.1 + dropped * probe.bytes());
                }
                Err(error) => unverified.push(report(&error)),
            }
        }
        if let Some(cut) = known {
            self.leave_out(cut, own, (proof.refused_packets, proof.refused_bytes));
        }
        proof
    }

    /// Test packets are no evidence of anybody's trying: what this cut's counters have of them counts for nothing.
    fn leave_out(&mut self, cut: &Cut, own: (u64, u64), before: (u64, u64)) {
        // Where something else holds the object as well, that counted them.
        let after = self.refused_since(cut, &self.refused_by_net());
        let own = (own.0.min(after.0.saturating_sub(before.0)), own.1.min(after.1.saturating_sub(before.1)));
        if let Some(cut) = self.overlay.cuts.iter_mut().find(|its| its.object.is(&cut.object)) {
            cut.probed = (cut.probed.0 + own.0, cut.probed.1 + own.1);
        }
    }

    /// Packets that any cut refused until now.
    fn refused_as_cut(&self) -> u64 {
        let counters = self.dataplane.as_ref().ok().and_then(|dataplane| dataplane.counters().ok()).unwrap_or_default();
        let cut = [Reason::CutAll as u32, Reason::CutNetwork as u32, Reason::CutHost as u32];
        counters.iter().filter(|counter| cut.contains(&counter.reason)).map(|counter| counter.counter.packets).sum()
    }

    /// Packets from or to the object at one interface: its own, or for hosts and prefixes the one they live behind.
    fn probes(&self, object: &Object, covers: Option<&Covers>) -> Vec<Probe> {
        let Some(policy) = self.live.as_ref().map(|live| &live.policy) else { return Vec::new() };
        let strangers: Vec<IpAddr> = STRANGERS.iter().filter_map(|text| text.parse().ok()).collect();
        let stranger = |v6: bool| strangers.iter().copied().find(|addr| addr.is_ipv6() == v6);
        let addresses: Vec<IpAddr> = match object {
            Object::Host { .. } => covers.map(|covers| covers.addresses.clone()).unwrap_or_default(),
            Object::Prefix { prefix } => vec![inside(*prefix)],
            _ => policy.box_addresses.iter().copied().take(1).collect(),
        };
        let macs: Vec<[u8; 6]> = covers.map(macs_of).unwrap_or_default();
        let lives =
            |addr: IpAddr| policy.nets.iter().find(|net| net.prefixes.iter().any(|prefix| prefix.contains(&addr)));
        let port_of = |net: Option<&crate::policy::model::Net>| {
            let mut ports = net.into_iter().chain(&policy.nets).flat_map(|net| &net.ports);
            ports.find_map(|port| {
                // A device that is down takes no test packets, and passes no others.
                let up = link::is_up(&port.interface).unwrap_or(false);
                up.then(|| (link::index(&port.interface), [port.outer, port.inner]))
            })
        };
        let own = match object {
            Object::Network { name } | Object::Zone { name } => policy.nets.iter().find(|net| net.name == *name),
            _ => None,
        };
        let mut probes = Vec::new();
        for address in addresses {
            let Some((ifindex, tags)) = port_of(own.or_else(|| lives(address))) else { continue };
            let Some(other) = stranger(address.is_ipv6()) else { continue };
            probes.push(Probe { ifindex, tags, addresses: (address, other), mac: NOBODY });
            probes.push(Probe { ifindex, tags, addresses: (other, address), mac: NOBODY });
        }
        for mac in macs {
            let device = policy.devices.iter().find(|device| device.mac.0 == mac);
            let net = device.and_then(|device| policy.nets.get(device.net));
            let (Some((ifindex, tags)), [v4, ..]) = (port_of(net), strangers.as_slice()) else { continue };
            probes.push(Probe { ifindex, tags, addresses: (*v4, IpAddr::from([198, 51, 100, 250])), mac });
        }
        if own.is_some() || *object == Object::All {
            // Interfaces that are not there carry nothing.
            let there = |probe: &Probe| {
                own.is_none_or(|net| net.ports.iter().any(|port| link::index(&port.interface) == probe.ifindex))
            };
            probes.retain(there);
        }
        probes
    }

    /// Live conversations of each object.
    pub(super) fn conversations(&self, objects: &[Object]) -> Vec<Vec<ViewKey>> {
        let views = match &self.dataplane {
            Ok(dataplane) => dataplane.views(clock::boottime_ns()).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let live = self.live.as_ref();
        let policy = live.map(|live| &live.policy);
        let ports = live.map(|live| live.compiled.ports.as_slice()).unwrap_or_default();
        let at = |key: &ViewKey| {
            let here = ports
                .iter()
                .find(|(port, _)| (port.iface, port.outer, port.inner) == (key.iface, key.outer, key.inner));
            here.map(|(_, net)| *net)
        };
        let number = |name: &str| self.numbers.as_ref().and_then(|numbers| numbers.net(name));
        let address = |raw: [u8; 16]| {
            let addr = std::net::Ipv6Addr::from(raw);
            addr.to_ipv4_mapped().map_or(IpAddr::V6(addr), IpAddr::V4)
        };
        objects
            .iter()
            .map(|object| {
                let covers = resolve::covers(object, policy.map(|policy| policy.as_ref())).unwrap_or_default();
                let net = match object {
                    Object::Network { name } | Object::Zone { name } => number(name),
                    _ => None,
                };
                let mine = |addr: IpAddr| match object {
                    Object::Prefix { prefix } => prefix.contains(&addr),
                    Object::Host { .. } => covers.addresses.contains(&addr),
                    _ => false,
                };
                // A published server is behind a translated view: by the rule that leads to it.
                let server = |rule: u16| {
                    let rule = policy.and_then(|policy| policy.rules.get(usize::from(rule)));
                    rule.and_then(|rule| rule.published.as_ref()).map(|server| server.address)
                };
                views
                    .iter()
                    .filter(|(key, view)| match object {
                        Object::All => true,
                        Object::Network { .. } | Object::Zone { .. } => {
                            net.is_some_and(|net| at(key) == Some(net) || view.net == net)
                        }
                        _ => mine(address(key.peer)) || mine(address(key.far)) || server(view.rule).is_some_and(mine),
                    })
                    .map(|(key, _)| *key)
                    .collect()
            })
            .collect()
    }

    /// Forgets conversations.
    pub(super) fn forget(&mut self, keys: &[ViewKey]) -> Result<(), String> {
        let dataplane = self.dataplane.as_mut().map_err(|why| why.clone())?;
        dataplane.forget(keys).map_err(|error| report(&error))
    }

    /// Rules from or to a zone or network.
    pub(super) fn rules_of(&self, name: &str) -> Vec<String> {
        let Some(policy) = self.live.as_ref().map(|live| &live.policy) else { return Vec::new() };
        let Some(net) = policy.nets.iter().position(|net| net.name == name) else { return Vec::new() };
        let here = |party: &crate::policy::model::Party| party.place.contains(&crate::policy::model::Place::Net(net));
        policy.rules.iter().filter(|rule| here(&rule.from) || here(&rule.to)).map(|rule| rule.id.clone()).collect()
    }

    /// What the level cannot stop.
    pub(super) fn limits_of(&self, level: Level, objects: &[Object], lang: Lang) -> Vec<String> {
        let mut notes = Vec::new();
        match level {
            Level::Drop => notes.push(text::cut_level(lang)),
            Level::Flush => {
                notes.push(text::cut_level(lang));
                notes.push(text::cut_flushed(lang));
            }
            Level::Link => notes.push(text::cut_level_link(lang)),
        }
        let mac_only = |object: &&Object| {
            let cut = self.overlay.cuts.iter().find(|cut| cut.object.is(object));
            cut.is_some_and(|cut| cut.covers.addresses.is_empty() && !cut.covers.macs.is_empty())
        };
        let address_only = |object: &&Object| {
            let Some(cut) = self.overlay.cuts.iter().find(|cut| cut.object.is(object)) else { return false };
            matches!(object, Object::Host { .. })
                && cut.covers.macs.is_empty()
                && cut.covers.addresses.iter().any(|address| self.is_inside(*address))
        };
        notes.extend(objects.iter().filter(address_only).map(|object| text::cut_address_only(lang, object)));
        if level == Level::Flush {
            notes.extend(objects.iter().filter(mac_only).map(|object| text::cut_flush_by_mac(lang, object)));
        }
        notes.extend(self.management_open(objects).into_iter().map(|path| {
            let sources = path.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            text::cut_management_open(lang, &path.interface, sources, path.port)
        }));
        notes
    }

    /// Whether the address is of an inside zone.
    fn is_inside(&self, address: IpAddr) -> bool {
        let nets = self.live.iter().flat_map(|live| &live.policy.nets);
        let mut zones = nets.filter(|net| matches!(net.kind, NetKind::Zone { .. }));
        zones.any(|net| net.prefixes.iter().any(|prefix| prefix.contains(&address)))
    }

    /// Management paths among what the objects name, that stay open.
    fn management_open(&self, objects: &[Object]) -> Vec<&ManagementPath> {
        if self.overlay.cuts.iter().any(|cut| cut.including_management) {
            return Vec::new();
        }
        let within = |path: &&ManagementPath| objects.iter().any(|object| self.touches(object, path));
        self.config.management.iter().filter(within).collect()
    }

    /// Whether somebody on this management path is among what the object names.
    fn touches(&self, object: &Object, path: &ManagementPath) -> bool {
        match object {
            Object::All => true,
            Object::Network { name } | Object::Zone { name } => self.live.as_ref().is_some_and(|live| {
                let net = live.policy.nets.iter().find(|net| net.name == *name);
                net.is_some_and(|net| net.ports.iter().any(|port| port.interface == path.interface))
            }),
            Object::Prefix { prefix } => {
                path.sources.iter().any(|source| source.contains(prefix) || prefix.contains(source))
                    || self.reaches_box(path, |address| prefix.contains(&address))
            }
            Object::Host { .. } => {
                let cut = self.overlay.cuts.iter().find(|cut| cut.object.is(object));
                cut.is_some_and(|cut| {
                    let address = |address| path.sources.iter().any(|source| source.contains(address));
                    cut.covers.addresses.iter().any(address)
                        || self.reaches_box(path, |address| cut.covers.addresses.contains(&address))
                        || path.macs.iter().any(|mac| cut.covers.macs.iter().any(|its| its.eq_ignore_ascii_case(mac)))
                })
            }
        }
    }

    /// Whether the path ends at an address of the box among these.
    fn reaches_box(&self, path: &ManagementPath, among: impl Fn(IpAddr) -> bool) -> bool {
        let Some(live) = &self.live else { return false };
        let here = live.policy.nets.iter().filter(|net| net.ports.iter().any(|port| port.interface == path.interface));
        let prefixes: Vec<&IpNet> = here.flat_map(|net| &net.prefixes).collect();
        live.policy.box_addresses.iter().any(|address| {
            among(*address)
                && prefixes.iter().any(|prefix| prefix.contains(address))
                && path.sources.iter().any(|source| source.addr().is_ipv4() == address.is_ipv4())
        })
    }
}

fn prefixes_of(covers: &Covers) -> Vec<IpNet> {
    covers.addresses.iter().map(|address| IpNet::from(*address)).collect()
}

fn macs_of(covers: &Covers) -> Vec<[u8; 6]> {
    covers.macs.iter().filter_map(|mac| read_mac(mac)).collect()
}

/// An address inside a prefix: not the network's own where there is another.
fn inside(prefix: IpNet) -> IpAddr {
    prefix.hosts().next().unwrap_or_else(|| prefix.addr())
}
