//! What an address can be: every distinct combination of what is said of it, worked out once.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use sekimori_ebpf::abi::{ADDR_BROADCAST, ADDR_LISTED, ADDR_OPENS, AddrEntry, NET_BOX, NetEntry, RuleSet};
use sekimori_ebpf::classify::NO_CLASS;

use super::{
    claims::{Claim, Rules, Says, Sources},
    error::{CompileError, Crowd},
    sets::{Full, Sets, insert},
};

/// Distinct entries one table may have; `space` numbers them.
pub(super) const MAX_CLASSES: usize = NO_CLASS as usize;

/// A distinct entry, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class(u32);

/// A multiplication is all that small numbers of our own need.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

/// All classes so far.
#[derive(Debug)]
pub(super) struct Classes<'s, 'p> {
    sources: &'s Sources<'p>,
    sets: &'s mut Sets,
    /// By net id.
    nets: &'s [NetEntry],
    entries: Vec<AddrEntry>,
    ids: HashMap<AddrEntryKey, Class>,
    /// The first way to each class: the class around it and who spoke.
    origins: Vec<(Class, Box<[u32]>)>,
    /// Class and single source → class, which is how nearly all prefixes go.
    one: HashMap<u64, Class, BuildHasherDefault<Mix>>,
    /// The last of them: lists come in runs.
    last: (u64, Class),
    many: HashMap<(u32, Box<[u32]>), Class>,
}

type AddrEntryKey = (u16, u16, u16, u16);

/// What has no room.
#[derive(Debug)]
pub(super) struct Overflow(Crowd);

impl<'s, 'p> Classes<'s, 'p> {
    /// Only the class of addresses of which nobody says anything.
    pub(super) fn new(sources: &'s Sources<'p>, sets: &'s mut Sets, nets: &'s [NetEntry], base: AddrEntry) -> Self {
        let mut classes = Self {
            sources,
            sets,
            nets,
            entries: Vec::new(),
            ids: HashMap::new(),
            origins: Vec::new(),
            one: HashMap::default(),
            last: (u64::MAX, Self::BASE),
            many: HashMap::new(),
        };
        let base = AddrEntry { flags: classes.flags(&base, 0), ..base };
        classes.entries.push(base);
        classes.ids.insert((base.owner, base.src_set, base.dst_set, base.flags), Self::BASE);
        classes.origins.push((Self::BASE, Box::default()));
        classes
    }

    /// See [`Self::new`].
    pub(super) const BASE: Class = Class(0);

    /// As the table writes it.
    pub(super) fn entry(&self, class: Class) -> AddrEntry {
        self.entries[class.0 as usize]
    }

    /// The class of a prefix of which `claims` say something, inside one of class `around`.
    pub(super) fn inside<C: Claim>(&mut self, around: Class, claims: &[C]) -> Result<Class, Overflow> {
        if let [claim] = claims {
            let source = claim.source();
            let key = u64::from(around.0) << 32 | u64::from(source);
            if self.last.0 != key {
                let class = match self.one.get(&key) {
                    Some(class) => *class,
                    None => {
                        let class = self.work_out(around, &[source])?;
                        self.one.insert(key, class);
                        class
                    }
                };
                self.last = (key, class);
            }
            return Ok(self.last.1);
        }
        let key = (around.0, claims.iter().map(|claim| claim.source()).collect::<Box<[u32]>>());
        if let Some(class) = self.many.get(&key) {
            return Ok(*class);
        }
        let class = self.work_out(around, &key.1)?;
        self.many.insert(key, class);
        Ok(class)
    }

    fn work_out(&mut self, around: Class, speakers: &[u32]) -> Result<Class, Overflow> {
        let before = self.entries[around.0 as usize];
        let (mut entry, mut flags) = (before, 0);
        let sources = self.sources;
        let says = || speakers.iter().map(|source| &sources.list[*source as usize].says);
        for word in says() {
            match word {
                Says::Exists | Says::Rules { .. } => {}
                Says::Owner(net) => entry.owner = *net,
                Says::Box => entry.owner = NET_BOX,
                Says::Broadcast => flags |= ADDR_BROADCAST,
                Says::Server => flags |= ADDR_LISTED,
            }
        }
        let rules = |from: bool| {
            says().filter_map(move |word| match word {
                Says::Rules { from: sources, to: destinations } => Some(if from { sources } else { destinations }),
                _ => None,
            })
        };
        let full = |Full| Overflow(Crowd::Sets);
        entry.src_set = union(self.sets, before.src_set, rules(true)).map_err(full)?;
        entry.dst_set = union(self.sets, before.dst_set, rules(false)).map_err(full)?;
        entry.flags = self.flags(&entry, flags);
        let key = (entry.owner, entry.src_set, entry.dst_set, entry.flags);
        if let Some(class) = self.ids.get(&key) {
            return Ok(*class);
        }
        if self.entries.len() >= MAX_CLASSES {
            return Err(Overflow(Crowd::Classes));
        }
        let class = Class(self.entries.len() as u32);
        self.entries.push(entry);
        self.ids.insert(key, class);
        self.origins.push((around, speakers.into()));
        Ok(class)
    }

    /// `flags` and whether the entry opens and is listed: some rule could permit a packet from it, or from or to it, as far as
    /// owner and address decide.
    fn flags(&self, entry: &AddrEntry, flags: u16) -> u16 {
        let net = self.nets.get(usize::from(entry.owner)).copied().unwrap_or_default();
        let meets = |a: u16, b: u16| self.sets.meet(a, b);
        let opens = meets(entry.src_set, net.from_set);
        let listed = opens || entry.owner == NET_BOX || meets(entry.dst_set, net.to_set);
        flags | if opens { ADDR_OPENS } else { 0 } | if listed { ADDR_LISTED } else { 0 }
    }

    /// The error of a prefix that has no class, with those whose overlaps make the most of them. A source that is in
    /// all classes, or in one, makes none: those in about half of them do.
    pub(super) fn error(&self, overflow: Overflow, prefix: String) -> CompileError {
        let mut counts = vec![0usize; self.sources.list.len()];
        for at in 0..self.origins.len() {
            let mut at = at;
            loop {
                let (around, speakers) = &self.origins[at];
                speakers.iter().for_each(|source| counts[*source as usize] += 1);
                if at == around.0 as usize {
                    break;
                }
                at = around.0 as usize;
            }
        }
        let all = self.origins.len();
        let most = self.sources.worst(|source| counts[source].min(all.saturating_sub(counts[source])));
        CompileError::Overlaps { crowd: overflow.0, prefix, most }
    }
}

/// The set of those in `base` and `rules`.
fn union<'r>(sets: &mut Sets, base: u16, rules: impl Iterator<Item = &'r Rules>) -> Result<u16, Full> {
    let mut set: Option<RuleSet> = None;
    for rules in rules.filter(|rules| !rules.list.is_empty()) {
        let set = set.get_or_insert_with(|| *sets.get(base));
        match &rules.set {
            Some(more) => {
                set.summary |= more.summary;
                set.words.iter_mut().zip(&more.words).for_each(|(word, more)| *word |= more);
            }
            None => rules.list.iter().for_each(|rule| insert(set, usize::from(*rule))),
        }
    }
    set.map_or(Ok(base), |set| sets.intern(&set))
}
