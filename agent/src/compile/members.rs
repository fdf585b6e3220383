//! What the tables in force say when members of groups change: only the changed prefixes are laid out anew.
//!
//! The data plane asks an overlay before the table of addresses. A prefix there hides what the table says of all its
//! addresses, so that a change writes every prefix the new layout has inside the changed ones.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use sekimori_ebpf::{
    abi::{AddrEntry, MAX_OVERLAY, MAX_SETS, NetEntry, RuleSet, SPARE_SETS},
    classify::{Line, NO_CLASS},
};

use super::{
    claims::{MAPPED, MAPPED_LEN, Sources},
    classes::Classes,
    error::CompileError,
    prefixes::{self, Entries},
    sets::Sets,
    space,
    tables::Compiled,
};
use crate::policy::{members::Deltas, model::Policy, prefixes::PrefixSet};

/// Entries one change may have; beyond, compiling anew is the better way.
const MAX_CHANGE: usize = 4_096;

/// What is to be written to tables in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// New rule sets by id.
    pub sets: Vec<(u16, RuleSet)>,
    /// Lines with new classes, by index.
    pub lines: Vec<(u32, Line)>,
    /// Entries of the overlay.
    pub entries: Vec<Entry>,
}

/// One entry of the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Prefix length in the 128-bit space.
    pub len: u32,
    /// Host bits zero.
    pub addr: [u8; 16],
    /// Class from the change on.
    pub after: u16,
    /// Class until then; [`NO_CLASS`]: what the table says.
    pub before: u16,
}

/// Why a change has to be compiled anew instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

/// The tables as they were switched on, as far as changes need them.
#[derive(Debug, Clone)]
pub struct Start {
    net_ids: Vec<u16>,
    nets: Vec<NetEntry>,
    sets: Vec<RuleSet>,
    classes: Vec<AddrEntry>,
}

impl Start {
    /// Of tables with all their prefixes.
    ///
    /// # Errors
    /// More classes than a table holds, which nobody can have switched on.
    pub fn of(tables: &Compiled) -> Result<Self, CompileError> {
        Ok(Self {
            net_ids: tables.net_names.iter().map(|(_, id)| *id).collect(),
            nets: tables.nets.clone(),
            sets: tables.sets.clone(),
            classes: space::classes(&tables.addrs)?,
        })
    }
}

/// The tables in force with all changes so far.
#[derive(Debug)]
pub struct Layout<'p> {
    sources: Sources<'p>,
    nets: Vec<NetEntry>,
    base: AddrEntry,
    sets: Sets,
    /// Sets the tables have, and have room for.
    known_sets: (usize, usize),
    classes: Vec<AddrEntry>,
    numbers: HashMap<(u16, u16, u16, u16), u16>,
    /// (address, length) to class.
    overlay: BTreeMap<(u128, u32), u16>,
    /// Entries of the overlay by length.
    lengths: [u32; 129],
}

impl<'p> Layout<'p> {
    /// Of a policy as it was read, without run-time members.
    ///
    /// # Errors
    /// The policy does not compile.
    pub fn new(policy: &'p Policy, start: Start) -> Result<Self, CompileError> {
        let Start { net_ids, nets, sets, classes } = start;
        let room = (sets.len() + SPARE_SETS as usize).min(MAX_SETS as usize);
        let known_sets = (sets.len(), room);
        let mut sets = Sets::with(sets);
        let base = prefixes::base(policy, &net_ids, &mut sets)?;
        let sources = Sources::apart(policy, &net_ids)?;
        let numbers = classes.iter().enumerate().map(|(number, entry)| (key(entry), number as u16)).collect();
        Ok(Self {
            sources,
            nets,
            base,
            sets,
            known_sets,
            classes,
            numbers,
            overlay: BTreeMap::new(),
            lengths: [0; 129],
        })
    }

    /// What has to be written when run-time members become `deltas`, given that nothing changes outside `regions`. After an
    /// error the layout is of no use any more.
    ///
    /// # Errors
    /// It is too much for the overlay.
    pub fn change(&mut self, deltas: &Deltas, regions: &[IpNet]) -> Result<Change, TooMuch> {
        self.sources.deltas.clone_from(deltas);
        let regions: PrefixSet = regions.iter().copied().collect();
        let mut wanted = Vec::new();
        for (addr, len) in regions.v4.iter() {
            let claims = self.sources.v4(addr, len);
            let inside = (MAPPED | u128::from(addr), u32::from(MAPPED_LEN) + u32::from(len));
            self.lay_out(
                inside,
                |classes, entries| prefixes::lay_out(&claims, classes, entries).map(drop),
                &mut wanted,
            )?;
        }
        for (addr, len) in regions.v6.iter() {
            // An IPv4 address must not find such a prefix.
            if u32::from(len) <= u32::from(MAPPED_LEN) && MAPPED & mask(u32::from(len)) == addr {
                return Err(TooMuch);
            }
            let claims = self.sources.v6(addr, len);
            let inside = (addr, u32::from(len));
            self.lay_out(
                inside,
                |classes, entries| prefixes::lay_out(&claims, classes, entries).map(drop),
                &mut wanted,
            )?;
        }
        self.write(&wanted)
    }

    /// Appends all that the overlay has to say inside one prefix.
    fn lay_out(
        &mut self,
        (addr, len): (u128, u32),
        lay: impl FnOnce(&mut Classes<'_, '_>, &mut Entries) -> Result<(), prefixes::At>,
        wanted: &mut Vec<(u128, u32, AddrEntry)>,
    ) -> Result<(), TooMuch> {
        let mut entries = Entries::new();
        let mut classes = Classes::new(&self.sources, &mut self.sets, &self.nets, self.base);
        lay(&mut classes, &mut entries).map_err(|_| TooMuch)?;
        let entries = entries.into_iter().map(|(len, addr, entry)| (u128::from_be_bytes(addr), len, entry));
        let (around, inside): (Vec<_>, Vec<_>) = entries.partition(|(_, its, _)| *its <= len);
        // Sorted: each lies in the one before it.
        let (_, _, itself) = *around.last().ok_or(TooMuch)?;
        let first = wanted.len();
        wanted.push((addr, len, itself));
        wanted.extend(inside);
        // What earlier changes wrote and this layout has no need of says what is said around it.
        let last = addr | u128::MAX.checked_shr(len).unwrap_or(0);
        let written: Vec<(u128, u32)> =
            self.overlay.range((addr, 0)..=(last, 128)).map(|(key, _)| *key).filter(|(_, its)| *its > len).collect();
        let mut new: BTreeMap<(u128, u32), AddrEntry> =
            wanted[first..].iter().map(|(addr, len, entry)| ((*addr, *len), *entry)).collect();
        for (addr, len) in written {
            if !new.contains_key(&(addr, len)) {
                let around =
                    (0..len).rev().find_map(|len| new.get(&(addr & mask(len), len)).copied()).ok_or(TooMuch)?;
                wanted.push((addr, len, around));
                new.insert((addr, len), around);
            }
        }
        if wanted.len() > MAX_CHANGE { Err(TooMuch) } else { Ok(()) }
    }

    fn write(&mut self, wanted: &[(u128, u32, AddrEntry)]) -> Result<Change, TooMuch> {
        let mut change = Change::default();
        let known_classes = self.classes.len();
        for (addr, len, entry) in wanted {
            let next = self.classes.len();
            let after = *self.numbers.entry(key(entry)).or_insert(next as u16);
            if usize::from(after) == next {
                self.classes.push(*entry);
            }
            if self.classes.len() > NO_CLASS as usize {
                return Err(TooMuch);
            }
            let before = self.says(*addr, *len);
            change.entries.push(Entry { len: *len, addr: addr.to_be_bytes(), after, before });
        }
        for entry in &change.entries {
            if self.overlay.insert((u128::from_be_bytes(entry.addr), entry.len), entry.after).is_none() {
                self.lengths[entry.len as usize] += 1;
            }
        }
        let (known, room) = self.known_sets;
        let new = self.sets.since(known);
        if known + new.len() > room || self.overlay.len() > MAX_OVERLAY as usize {
            return Err(TooMuch);
        }
        change.sets = new.iter().enumerate().map(|(at, set)| ((known + at) as u16, *set)).collect();
        self.known_sets.0 += new.len();
        let mut number = known_classes & !7;
        while known_classes < self.classes.len() && number < self.classes.len() {
            change.lines.push(space::class_line(&self.classes, number as u16));
            number += 8;
        }
        Ok(change)
    }

    /// The class the overlay gives a prefix; [`NO_CLASS`] if it says nothing.
    fn says(&self, addr: u128, len: u32) -> u16 {
        let at = |len: u32| self.overlay.get(&(addr & mask(len), len)).copied();
        (0..=len).rev().filter(|len| self.lengths[*len as usize] > 0).find_map(at).unwrap_or(NO_CLASS as u16)
    }
}

fn key(entry: &AddrEntry) -> (u16, u16, u16, u16) {
    (entry.owner, entry.src_set, entry.dst_set, entry.flags)
}

/// The first `len` bits of 128.
fn mask(len: u32) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - len) }
}
