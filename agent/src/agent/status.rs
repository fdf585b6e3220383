//! What an instance says of itself.

use jiff::{SignedDuration, Timestamp};

use super::{
    clock::all,
    detection::watched,
    keeper::{Keeper, report},
    timeouts::Timeouts,
};
use crate::dataplane::look::Look;
use crate::{
    api::report::{Clock, Cutoff, FastWay, Guard, GuardHolds, Interface, Permission, Record, Revision, Status, Table},
    cli::text::{self, Lang},
    cutoff::dates,
    dataplane::Dataplane,
    policy::model::{NetKind, Policy},
    record::clock,
};

/// Permissions that end within this time are listed.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Keeper {
    /// See [`Status`].
    pub fn status(&self, lang: Lang) -> Status {
        let mut interfaces = self.interfaces();
        let fast_path = self.fast_report(lang, &mut interfaces);
        let look = self.dataplane.as_ref().map(Dataplane::guard).unwrap_or_default();
        let guard_up = look.up;
        let guard = guards(look);
        let (enforcing, why) = self.enforcing(lang, &interfaces, guard_up);
        let (incidents, incidents_open) = self.open_incidents();
        let limit = self.guard_limit();
        let holds = GuardHolds { hosts: limit.hosts, seconds: limit.within.as_secs() };
        Status {
            enforcing,
            why,
            instance: self.config.instance.clone(),
            agent_running: self.agent_running,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: self.live.as_ref().map(|live| Revision {
                number: live.current.revision.number,
                hash: live.current.revision.hash.clone(),
                applied_at: live.current.applied_at.clone(),
                generation: live.current.generation,
                organisation: live.policy.organisation.clone(),
                rules: live.policy.rules.len(),
            }),
            policy_file: self.policy_file.clone(),
            interfaces,
            fast_path,
            guard,
            cutoffs: self.cutoffs(),
            plans: self.plan_rows(lang),
            quarantine: self.quarantined(),
            incidents,
            incidents_open,
            guard_holds: self.guard_holds().then_some(holds),
            threat_lists: self.threat_rows(lang),
            members: self.member_counts(),
            detection: self.live.as_ref().and_then(|live| watched(&live.policy)),
            tables: self.tables(),
            timeouts: self.timeouts().by_name(),
            permissions: self.live.as_ref().map(|live| permissions(&live.policy, Timestamp::now())).unwrap_or_default(),
            clock: Clock {
                synchronised: clock::synchronised(),
                behind_seconds: i64::try_from(self.high.behind(Timestamp::now()).as_secs()).unwrap_or(i64::MAX),
                steps: self.steps,
            },
            record: Record { last: self.ledger.last(), failures: self.ledger.failures() },
            unseen: self.unseen(lang),
            faults: self.faults.iter().map(|fault| fault.text(lang)).chain(self.threat_troubles(lang)).collect(),
            detached: self.detached.clone(),
        }
    }

    /// Whether every guarded interface that exists judges by a policy, and why not.
    fn enforcing(&self, lang: Lang, interfaces: &[Interface], guard_up: bool) -> (bool, Vec<String>) {
        let mut no = Vec::new();
        let mut weak = Vec::new();
        if let Some(detached) = &self.detached {
            no.push(text::why_detached(lang, &detached.by.name, &detached.at, &detached.reason));
            return (false, no);
        }
        match &self.dataplane {
            Err(why) => no.push(text::why_not_loaded(lang, why)),
            Ok(dataplane) => match dataplane.generation() {
                Ok(0) => no.push(text::why_no_policy(lang)),
                Ok(_) => {}
                Err(error) => no.push(text::why_not_loaded(lang, report(&error))),
            },
        }
        for interface in interfaces {
            let name = &interface.name;
            if interface.ifindex == 0 {
                weak.push(text::missing_interface(lang, name));
                continue;
            }
            if let Some(error) = &interface.error {
                no.push(text::why_interface(lang, name, error));
            } else if interface.xdp == "missing" {
                no.push(text::why_interface(lang, name, text::xdp_missing(lang)));
            } else if !interface.tcx {
                no.push(text::why_interface(lang, name, text::tcx_missing(lang)));
            }
            if interface.xdp == "generic" {
                weak.push(text::generic_interface(lang, name));
            }
        }
        if no.is_empty() && interfaces.iter().all(|interface| interface.ifindex == 0) {
            no.push(text::why_no_interfaces(lang));
        }
        if no.is_empty() && !guard_up {
            no.push(text::why_no_guard(lang));
        }
        let behind = self.high.behind(Timestamp::now());
        if !behind.is_zero() {
            weak.push(text::clock_behind(lang, behind.as_secs()));
        }
        weak.extend(self.timeouts().warnings(lang));
        (no.is_empty(), no.into_iter().chain(weak).collect())
    }

    /// Guarded interfaces as they are, those of the policy that do not exist included.
    pub(super) fn interfaces(&self) -> Vec<Interface> {
        let found = match &self.dataplane {
            Ok(dataplane) => dataplane.interfaces().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let nets = |name: &str| {
            let policy = self.live.as_ref().map(|live| &live.policy);
            policy
                .map(|policy| {
                    let on = |net: &&crate::policy::model::Net| net.ports.iter().any(|port| port.interface == name);
                    policy.nets.iter().filter(on).map(|net| net.name.clone()).collect()
                })
                .unwrap_or_default()
        };
        let mut interfaces: Vec<Interface> = found
            .into_iter()
            .map(|state| Interface {
                nets: nets(&state.name),
                name: state.name,
                ifindex: state.ifindex,
                xdp: state.xdp.to_owned(),
                tcx: state.tcx,
                error: state.error,
                fast_path: FastWay::default(),
            })
            .collect();
        for (name, _) in self.guarded_names().unwrap_or_default() {
            if !interfaces.iter().any(|interface| interface.name == name) {
                let ifindex = nix::net::if_::if_nametoindex(name.as_str()).unwrap_or(0);
                let nets = nets(&name);
                let xdp = "missing".into();
                interfaces.push(Interface { name, ifindex, xdp, nets, ..Interface::default() });
            }
        }
        interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        interfaces
    }

    /// The cut-offs, in force or kept.
    pub fn cutoffs(&self) -> Vec<Cutoff> {
        let number = |name: &str| self.numbers.as_ref().and_then(|numbers| numbers.net(name));
        let (_, unknown) = self.overlay.tables(number);
        let written = self.dataplane.is_ok();
        let (now, zone) = (all(), self.zone());
        let age = |at: &str| at.parse::<Timestamp>().map_or(0, |at| now.wall.duration_since(at).as_secs().max(0));
        let counters = if self.overlay.cuts.is_empty() { Vec::new() } else { self.refused_by_net() };
        self.overlay
            .cuts
            .iter()
            .map(|cut| {
                let (refused_packets, refused_bytes) = self.refused_since(cut, &counters);
                Cutoff {
                    object: cut.object.to_string(),
                    reason: cut.reason.clone(),
                    placed_by: cut.placed_by.clone(),
                    placed_at: cut.placed_at.clone(),
                    age_seconds: age(&cut.placed_at),
                    including_management: cut.including_management,
                    in_force: written && !unknown.contains(&cut.object),
                    level: cut.level,
                    until: cut.until.as_ref().map(|end| dates::local(end.wall(&now), &zone)),
                    refused_packets,
                    refused_bytes,
                    first: self.first_of(cut),
                    waiting: self.waiting_for(&cut.object, now.wall),
                }
            })
            .collect()
    }

    /// The idle limits in force; those of the configuration if there is no data plane.
    fn timeouts(&self) -> Timeouts {
        self.dataplane.as_ref().map_or(self.config.timeouts, |dataplane| Timeouts::of(&dataplane.settings()))
    }

    /// How full the tables are.
    pub(super) fn tables(&self) -> Vec<Table> {
        let fill = match &self.dataplane {
            Ok(dataplane) => dataplane.fill().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        fill.into_iter()
            .map(|fill| Table { table: fill.table.to_owned(), used: fill.used, capacity: fill.capacity })
            .collect()
    }

    /// What the box cannot see (law 9).
    fn unseen(&self, lang: Lang) -> Vec<String> {
        let mut unseen = vec![text::unseen_bypass(lang), text::unseen_afxdp(lang), text::unseen_physical(lang)];
        let zones = self.live.iter().flat_map(|live| &live.policy.nets);
        unseen.extend(
            zones
                .filter(|net| matches!(net.kind, NetKind::Zone { .. }) && !net.routers.is_empty())
                .map(|net| text::unseen_router(lang, &net.name)),
        );
        unseen
    }
}

/// Rules and registrations that ended or end soon, the nearest first.
fn permissions(policy: &Policy, now: Timestamp) -> Vec<Permission> {
    let rules = policy.rules.iter().filter_map(|rule| Some(("rule", rule.id.clone(), rule.until?)));
    let devices = policy.devices.iter().filter_map(|device| Some(("device", device.name.clone(), device.until?)));
    let exemptions = policy.detection.iter().flat_map(|detection| &detection.exemptions);
    let exemptions =
        exemptions.filter_map(|exemption| Some(("exemption", exemption.hosts.join(", "), exemption.until?)));
    let mut ending: Vec<_> =
        rules.chain(devices).chain(exemptions).filter(|(_, _, until)| until.duration_since(now) <= SOON).collect();
    ending.sort_by_key(|(_, _, until)| *until);
    ending
        .into_iter()
        .map(|(kind, name, until)| Permission {
            kind: kind.to_owned(),
            name,
            until: until.to_string(),
            expired: until <= now,
        })
        .collect()
}

/// The nftables guard's counters.
pub(super) fn guards(look: Look) -> Vec<Guard> {
    look.counters.into_iter().map(|(name, packets, bytes)| Guard { name, packets, bytes }).collect()
}
