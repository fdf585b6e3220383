//! The set of cuts in force, and the tables they become.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{
    end::{End, Now},
    first::First,
    level::Level,
    object::{Object, mac_text, read_mac},
};
use crate::{
    dataplane::{CutTables, StageList},
    record::Actor,
};

/// What a host's name covers: kept with the cut, so that a cut outlives the policy that explained the name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covers {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its MACs, as text.
    pub macs: Vec<String>,
}

impl Covers {
    /// Adds what is new in `other`.
    pub fn widen(&mut self, other: &Self) {
        for address in &other.addresses {
            if !self.addresses.contains(address) {
                self.addresses.push(*address);
            }
        }
        for mac in &other.macs {
            if !self.macs.contains(mac) {
                self.macs.push(mac.clone());
            }
        }
    }

    /// From binary MACs.
    pub fn new(addresses: Vec<IpAddr>, macs: impl IntoIterator<Item = [u8; 6]>) -> Self {
        Self { addresses, macs: macs.into_iter().map(mac_text).collect() }
    }
}

/// One cut in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// What is cut.
    pub object: Object,
    /// The management path too. Only on [`Object::All`].
    pub including_management: bool,
    /// Why.
    pub reason: String,
    /// By whom.
    pub placed_by: Actor,
    /// When, RFC 3339 UTC.
    pub placed_at: String,
    /// How often it was placed again since.
    #[serde(default)]
    pub again: u32,
    /// What a host's name stood for.
    #[serde(default)]
    pub covers: Covers,
    /// How deep.
    #[serde(default)]
    pub level: Level,
    /// When it lifts itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<End>,
    /// What the network's counters had refused before, packets and bytes.
    #[serde(default)]
    pub refused_before: (u64, u64),
    /// Test packets of proofs among what was refused since, packets and bytes.
    #[serde(default)]
    pub probed: (u64, u64),
    /// The line of the record that says so was written.
    #[serde(default)]
    pub recorded: bool,
    /// Interfaces that were up and that this cut took down; they come up again with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// It is restored in stages: what [`Overlay::stage`] lists passes again.
    #[serde(default)]
    pub staged: bool,
}

/// What passes cuts that are restored in stages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// As it was named.
    pub first: Vec<First>,
    /// What hosts stand for.
    pub covers: Covers,
    /// What services stand for: the first and the last, as the tables number them.
    pub services: Vec<(u32, u32)>,
}

impl Cut {
    /// At level `drop`, without an end.
    pub fn new(
        object: Object,
        including_management: bool,
        covers: Covers,
        reason: String,
        placed_by: Actor,
        placed_at: String,
    ) -> Self {
        Self {
            object,
            including_management,
            reason,
            placed_by,
            placed_at,
            again: 0,
            covers,
            level: Level::Drop,
            until: None,
            refused_before: (0, 0),
            probed: (0, 0),
            recorded: false,
            links: Vec::new(),
            staged: false,
        }
    }
}

impl Cut {
    /// Whether it alone keeps the whole of another cut's machine or prefix shut: the same machine by another name, or a prefix
    /// around it.
    pub fn holds(&self, other: &Self) -> bool {
        let its = &other.covers;
        match (&self.object, &other.object) {
            (Object::Prefix { prefix: own }, Object::Prefix { prefix }) => own.contains(prefix),
            (Object::Prefix { prefix: own }, Object::Host { .. }) => {
                !its.addresses.is_empty() && its.addresses.iter().all(|address| own.contains(address))
            }
            (Object::Host { .. }, Object::Host { .. }) => {
                let own = &self.covers;
                its.addresses.iter().all(|address| own.addresses.contains(address))
                    && its.macs.iter().all(|mac| own.macs.contains(mac))
            }
            _ => false,
        }
    }
}

/// Whether a cut is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It was not there.
    New,
    /// The object was cut already: the cut now has the wider reach and the newer reason.
    Again,
}

/// All cuts in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// In the order in which they were placed.
    pub cuts: Vec<Cut>,
    /// The one list of all cuts that are restored in stages.
    #[serde(default)]
    pub stage: Stage,
}

impl Overlay {
    /// Adds a cut. A second cut of the same object never narrows the first.
    pub fn place(&mut self, cut: Cut, now: &Now) -> Placed {
        match self.cuts.iter_mut().find(|placed| placed.object.is(&cut.object)) {
            Some(placed) => {
                placed.including_management |= cut.including_management;
                placed.covers.widen(&cut.covers);
                placed.level = placed.level.max(cut.level);
                // No end is later than any.
                placed.until = placed.until.take().zip(cut.until).map(|(its, new)| its.later(new, now));
                placed.reason = cut.reason;
                placed.placed_by = cut.placed_by;
                placed.again = placed.again.saturating_add(1);
                placed.staged = false;
                self.end_stage();
                Placed::Again
            }
            None => {
                self.cuts.push(cut);
                Placed::New
            }
        }
    }

    /// Cuts that are restored in stages.
    pub fn staged(&self) -> impl Iterator<Item = &Cut> {
        self.cuts.iter().filter(|cut| cut.staged)
    }

    /// From now on these are restored in stages, and what the stage says passes, beside what passed before.
    pub fn restore_first(&mut self, objects: &[Object], stage: Stage) {
        for cut in self.cuts.iter_mut().filter(|cut| objects.iter().any(|object| cut.object.is(object))) {
            cut.staged = true;
            // What nobody on the list can reach by an interface that is down.
            cut.links.clear();
        }
        let Stage { first, covers, services } = stage;
        let known = &mut self.stage;
        known.covers.widen(&covers);
        known.first.extend(first.into_iter().filter(|one| !known.first.contains(one)).collect::<Vec<_>>());
        known.services.extend(services.into_iter().filter(|one| !known.services.contains(one)).collect::<Vec<_>>());
    }

    /// A list for no cut is none.
    fn end_stage(&mut self) {
        if self.staged().next().is_none() {
            self.stage = Stage::default();
        }
    }

    /// Removes the cut of exactly this object.
    pub fn lift(&mut self, object: &Object) -> Option<Cut> {
        let at = self.cuts.iter().position(|cut| cut.object.is(object))?;
        let cut = self.cuts.remove(at);
        self.end_stage();
        Some(cut)
    }

    /// Those whose time is over.
    pub fn ended(&self, now: &Now) -> Vec<Object> {
        let over = |cut: &&Cut| cut.until.as_ref().is_some_and(|end| !end.left(now).is_positive());
        self.cuts.iter().filter(over).map(|cut| cut.object.clone()).collect()
    }

    /// How long until the next one lifts itself; negative if it is late.
    pub fn next_end(&self, now: &Now) -> Option<SignedDuration> {
        self.cuts.iter().filter_map(|cut| Some(cut.until.as_ref()?.left(now))).min()
    }

    /// The tables for the data plane. `net` gives the stable id of a zone or network that any policy ever named.
    /// Objects whose name has no id are returned beside: they are not in force.
    pub fn tables(&self, net: impl Fn(&str) -> Option<u16>) -> (CutTables, Vec<Object>) {
        let mut tables = CutTables::default();
        let mut unknown = Vec::new();
        for cut in &self.cuts {
            match &cut.object {
                Object::All if cut.staged => tables.staged.all = true,
                Object::All => tables.all = tables.all.max(1 + u32::from(cut.including_management)),
                Object::Network { name } | Object::Zone { name } => match net(name) {
                    Some(id) if cut.staged => tables.staged.nets.push(id),
                    Some(id) => tables.nets.push(id),
                    None => unknown.push(cut.object.clone()),
                },
                Object::Prefix { prefix } if cut.staged => tables.staged.prefixes.push(*prefix),
                Object::Prefix { prefix } => tables.prefixes.push(*prefix),
                Object::Host { .. } => {
                    if cut.covers.addresses.is_empty() && cut.covers.macs.is_empty() {
                        unknown.push(cut.object.clone());
                    }
                    let (prefixes, macs) = if cut.staged {
                        (&mut tables.staged.prefixes, &mut tables.staged.macs)
                    } else {
                        (&mut tables.prefixes, &mut tables.macs)
                    };
                    prefixes.extend(cut.covers.addresses.iter().map(|address| IpNet::from(*address)));
                    macs.extend(cut.covers.macs.iter().filter_map(|mac| read_mac(mac)));
                }
            }
        }
        tidy(&mut tables.nets);
        tidy(&mut tables.prefixes);
        tidy(&mut tables.macs);
        tidy(&mut tables.staged.nets);
        tidy(&mut tables.staged.prefixes);
        tidy(&mut tables.staged.macs);
        // What is cut whole as well stays so.
        tables.add(&CutTables::default());
        if !tables.staged.is_empty() {
            let Stage { covers, services, .. } = &self.stage;
            tables.staged.list = StageList {
                addresses: covers.addresses.clone(),
                macs: covers.macs.iter().filter_map(|mac| read_mac(mac)).collect(),
                services: services.clone(),
            };
            tidy(&mut tables.staged.list.addresses);
            tidy(&mut tables.staged.list.macs);
        }
        (tables, unknown)
    }

    /// What `found` cuts and this overlay does not: objects as an administrator would name them, with what they cover.
    /// `name` gives the name of a zone or network.
    pub fn missing(
        &self,
        found: &CutTables,
        net: impl Fn(&str) -> Option<u16>,
        name: impl Fn(u16) -> Option<String>,
    ) -> Vec<(Object, Covers, bool)> {
        let (known, _) = self.tables(net);
        // What is restored in stages without a note of it is cut whole: nobody knows any more what it was restored for.
        let (staged, kept) = (&found.staged, &known.staged);
        let mut missing = Vec::new();
        if found.all > known.all || (staged.all && !kept.all && known.all == 0) {
            missing.push((Object::All, Covers::default(), found.all > 1));
        }
        let lost = staged.nets.iter().filter(|id| !kept.nets.contains(id));
        for id in found.nets.iter().chain(lost).filter(|id| !known.nets.contains(id)) {
            // A number nobody can name any more: what it cuts has no other name than everything.
            let object = name(*id).map_or(Object::All, |name| Object::Network { name });
            missing.push((object, Covers::default(), false));
        }
        let lost = staged.prefixes.iter().filter(|prefix| !kept.prefixes.contains(prefix));
        for prefix in found.prefixes.iter().chain(lost).filter(|prefix| !known.prefixes.contains(prefix)) {
            missing.push(if prefix.prefix_len() == prefix.max_prefix_len() {
                let covers = Covers::new(vec![prefix.addr()], []);
                (Object::Host { name: prefix.addr().to_string() }, covers, false)
            } else {
                (Object::Prefix { prefix: *prefix }, Covers::default(), false)
            });
        }
        let lost = staged.macs.iter().filter(|mac| !kept.macs.contains(mac));
        for mac in found.macs.iter().chain(lost).filter(|mac| !known.macs.contains(mac)) {
            missing.push((Object::Host { name: mac_text(*mac) }, Covers::new(Vec::new(), [*mac]), false));
        }
        missing
    }
}

fn tidy<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use super::*;

    pub(in crate::cutoff) fn cut(object: Object, reason: &str) -> Cut {
        let actor = Actor::process(0, "root", "operator", 1);
        Cut::new(object, false, Covers::default(), reason.into(), actor, "2026-11-22T10:00:00Z".into())
    }

    fn network(name: &str) -> Object {
        Object::Network { name: name.into() }
    }

    #[test]
    fn a_second_cut_never_narrows_the_first() {
        let mut overlay = Overlay::default();
        let mut first = cut(Object::All, "worm");
        first.including_management = true;
        assert_eq!(overlay.place(first, &Now::default()), Placed::New);
        assert_eq!(overlay.place(cut(Object::All, "still there"), &Now::default()), Placed::Again);
        assert_eq!(overlay.tables(|_| None).0.all, 2);
        assert_eq!(overlay.cuts[0].reason, "still there");
        assert_eq!(overlay.cuts.len(), 1);
    }

    #[test]
    fn what_is_in_force_without_a_note_is_named_and_can_be_lifted() {
        let mut overlay = Overlay::default();
        overlay.place(cut(network("internet"), "a"), &Now::default());
        let ids = |name: &str| [("internet", 1), ("office", 2)].iter().find(|(n, _)| *n == name).map(|(_, id)| *id);
        let names = |id: u16| (id == 2).then(|| "office".to_owned());
        let found = CutTables {
            all: 0,
            nets: vec![1, 2],
            prefixes: vec!["10.0.0.0/8".parse().unwrap(), "192.0.2.1/32".parse().unwrap()],
            macs: vec![[2, 0, 0, 0, 0, 9]],
            ..CutTables::default()
        };
        for (object, covers, including_management) in overlay.missing(&found, ids, names) {
            overlay.place(Cut { covers, including_management, ..cut(object, "found") }, &Now::default());
        }
        assert_eq!(overlay.tables(ids), (found, Vec::new()));
        assert_eq!(overlay.missing(&overlay.tables(ids).0, ids, names), []);
        // Whether a name is a zone's or a network's does not matter: no two share one.
        assert!(overlay.lift(&Object::Zone { name: "office".into() }).is_some());
        assert!(overlay.lift(&Object::Host { name: "192.0.2.1".into() }).is_some());
    }

    #[test]
    fn a_stage_widens_and_ends_with_its_last_cut_or_with_a_new_one() {
        let mut overlay = Overlay::default();
        let ids = |name: &str| [("internet", 1), ("office", 2)].iter().find(|(n, _)| *n == name).map(|(_, id)| *id);
        overlay.place(cut(network("internet"), "worm"), &Now::default());
        overlay.place(cut(network("office"), "worm"), &Now::default());
        let list = |address: &str| Stage {
            first: vec![First::Host { name: address.into() }],
            covers: Covers::new(vec![address.parse().unwrap()], []),
            services: vec![(5, 9)],
        };
        overlay.restore_first(&[network("internet")], list("192.0.2.9"));
        overlay.restore_first(&[network("internet")], list("192.0.2.7"));
        let (tables, _) = overlay.tables(ids);
        assert_eq!((&tables.nets[..], &tables.staged.nets[..]), (&[2][..], &[1][..]));
        assert_eq!(tables.staged.list.addresses.len(), 2);
        assert_eq!(tables.staged.list.services, [(5, 9)]);
        // Without a note of it, it is cut whole.
        let names = |id: u16| (id == 1).then(|| "internet".to_owned());
        let mut lost = Overlay::default();
        lost.place(cut(network("office"), "worm"), &Now::default());
        let missing = lost.missing(&tables, ids, names);
        assert_eq!(missing, [(network("internet"), Covers::default(), false)]);
        assert_eq!(overlay.missing(&tables, ids, names), []);
        // So it is when it is cut off again.
        let mut again = overlay.clone();
        again.place(cut(network("internet"), "again"), &Now::default());
        assert_eq!(again.tables(ids).0.nets, [1, 2]);
        assert_eq!(again.stage, Stage::default());
        overlay.lift(&network("internet"));
        assert_eq!(overlay.stage, Stage::default());
    }

    #[test]
    fn what_is_cut_whole_beats_what_is_restored_in_stages() {
        let mut overlay = Overlay::default();
        let host = Object::Host { name: "192.0.2.9".into() };
        let mut staged = cut(host.clone(), "a");
        staged.covers = Covers::new(vec!["192.0.2.9".parse().unwrap()], []);
        overlay.place(staged, &Now::default());
        overlay.restore_first(&[host], Stage { services: vec![(5, 9)], ..Stage::default() });
        assert_eq!(overlay.tables(|_| None).0.staged.prefixes.len(), 1);
        overlay.place(cut(Object::prefix("192.0.2.0/24").unwrap(), "b"), &Now::default());
        let (tables, _) = overlay.tables(|_| None);
        // The longest prefix decides: the wide one alone says that it is cut.
        assert_eq!((tables.staged.prefixes.len(), tables.prefixes.len()), (0, 1));
    }

    #[test]
    fn lifting_one_leaves_the_others() {
        let mut overlay = Overlay::default();
        overlay.place(cut(network("internet"), "a"), &Now::default());
        overlay.place(cut(network("lgwan"), "b"), &Now::default());
        assert!(overlay.lift(&Object::All).is_none());
        assert!(overlay.lift(&network("internet")).is_some());
        let (tables, unknown) = overlay.tables(|name| (name == "lgwan").then_some(7));
        assert_eq!((tables.nets, tables.all, unknown.len()), (vec![7], 0, 0));
    }

    #[test]
    fn a_host_covers_its_addresses_and_macs_and_an_unknown_name_is_said() {
        let mut overlay = Overlay::default();
        let mut host = cut(Object::Host { name: "pc-017".into() }, "malware");
        host.covers = Covers::new(
            vec![IpAddr::from([192, 168, 10, 17]), IpAddr::from([192, 168, 10, 17])],
            [[2, 0, 0, 0, 16, 23]],
        );
        overlay.place(host, &Now::default());
        overlay.place(cut(network("gone"), "x"), &Now::default());
        let (tables, unknown) = overlay.tables(|_| None);
        assert_eq!(tables.prefixes, [IpNet::from(IpAddr::from([192, 168, 10, 17]))]);
        assert_eq!(tables.macs, [[2, 0, 0, 0, 16, 23]]);
        assert_eq!(unknown, [network("gone")]);
    }
}
