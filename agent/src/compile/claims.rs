//! Who says what of which addresses. A group says it once, however many rules name it, so that the work of a
//! million-entry group is a million claims whether one rule uses it or five hundred.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};
use sekimori_ebpf::abi::RuleSet;

use super::{
    error::{CompileError, named},
    registry::Kind,
    sets::insert,
};
use crate::policy::{
    members::{self, Deltas},
    model::{Party, Policy},
    prefixes::{Bits, Family, PrefixSet},
};

/// `::ffff:0:0`, where IPv4 lives in the 128-bit space.
pub(super) const MAPPED: u128 = 0xffff << 32;
/// Its length.
pub(super) const MAPPED_LEN: u8 = 96;
/// Sources one policy may have; each takes a few bits of every claim.
const MAX_SOURCES: usize = 1 << 24;
/// Rules of a source from which adding its words is cheaper than adding one rule after the other.
const MANY: usize = 64;

/// Rules in ascending order.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) list: Vec<u16>,
    /// The same as a set, where there are many.
    pub(super) set: Option<Box<RuleSet>>,
}

impl Rules {
    fn push(&mut self, rule: u16) {
        // A rule that names two groups of one list is still one rule.
        if self.list.last() != Some(&rule) {
            self.list.push(rule);
        }
    }

    fn finish(&mut self) {
        if self.list.len() > MANY {
            let mut set = Box::new(RuleSet::EMPTY);
            self.list.iter().for_each(|rule| insert(&mut set, usize::from(*rule)));
            self.set = Some(set);
        }
    }
}

/// What is said of an address. Where one prefix gets several, a later source decides.
#[derive(Debug)]
pub(super) enum Says {
    /// It must have an entry.
    Exists,
    /// Its addresses live in this net.
    Owner(u16),
    /// It is the box's.
    Box,
    /// It is a directed broadcast address.
    Broadcast,
    /// A real server, which answers by its own address.
    Server,
    /// These rules allow it as a source, and those as a destination.
    Rules { from: Rules, to: Rules },
}

#[derive(Debug)]
enum Prefixes<'p> {
    /// Canonical.
    Set(&'p PrefixSet),
    /// In any order, and one may hold another with something else in between.
    List(Vec<IpNet>),
}

/// Somebody who says something.
#[derive(Debug)]
pub(super) struct Source<'p> {
    pub(super) says: Says,
    prefixes: Prefixes<'p>,
    /// The group it is, if it is one.
    group: Option<&'p str>,
}

/// Everybody who does, in the order in which they count.
#[derive(Debug)]
pub(super) struct Sources<'p> {
    pub(super) list: Vec<Source<'p>>,
    policy: &'p Policy,
    /// Run-time members; empty in a policy that has them in its groups.
    pub(super) deltas: Deltas,
    /// Every group is a source of its own, also where it shares its list with others.
    apart: bool,
}

impl<'p> Sources<'p> {
    /// Of a policy; `net_ids` are the stable ids by position in [`Policy::nets`].
    pub(super) fn new(policy: &'p Policy, net_ids: &[u16]) -> Result<Self, CompileError> {
        Self::of(policy, net_ids, false)
    }

    /// The same with groups whose members may change.
    pub(super) fn apart(policy: &'p Policy, net_ids: &[u16]) -> Result<Self, CompileError> {
        Self::of(policy, net_ids, true)
    }

    fn of(policy: &'p Policy, net_ids: &[u16], apart: bool) -> Result<Self, CompileError> {
        let mut sources = Self { list: Vec::new(), policy, deltas: Deltas::new(), apart };
        let everything = [IpNet::from(Ipv6Net::default()), IpNet::V4(ipnet::Ipv4Net::default())];
        sources.say(Says::Exists, everything.to_vec());
        for (net, &id) in policy.nets.iter().zip(net_ids) {
            sources.refuse_mapped(|| named(Kind::Net, &net.name), &net.prefixes)?;
            sources.say(Says::Owner(id), net.prefixes.clone());
        }
        let box_addresses: Vec<IpNet> = policy.box_addresses.iter().map(|addr| IpNet::from(*addr)).collect();
        sources.refuse_mapped(|| "box".to_owned(), &box_addresses)?;
        sources.say(Says::Box, box_addresses);
        let broadcast = policy.nets.iter().flat_map(|net| &net.prefixes).filter_map(|prefix| match prefix {
            IpNet::V4(net) if (1..31).contains(&net.prefix_len()) => Some(IpNet::from(IpAddr::V4(net.broadcast()))),
            _ => None,
        });
        sources.say(Says::Broadcast, broadcast.collect());
        let servers = policy.rules.iter().filter_map(|rule| rule.published.as_ref());
        sources
            .say(Says::Server, servers.map(|server| IpNet::from(server.address)).filter(|net| !mapped(net)).collect());
        sources.rules()?;
        if sources.list.len() > MAX_SOURCES {
            return Err(sources.too_many(sources.list.len()));
        }
        Ok(sources)
    }

    fn say(&mut self, says: Says, prefixes: Vec<IpNet>) {
        if !prefixes.is_empty() {
            self.list.push(Source { says, prefixes: Prefixes::List(prefixes), group: None });
        }
    }

    fn refuse_mapped(&self, at: impl Fn() -> String, prefixes: &[IpNet]) -> Result<(), CompileError> {
        match prefixes.iter().find(|net| mapped(net)) {
            Some(prefix) => Err(CompileError::Mapped { at: at(), prefix: prefix.to_string() }),
            None => Ok(()),
        }
    }

    fn rules(&mut self) -> Result<(), CompileError> {
        let (policy, apart) = (self.policy, self.apart);
        let mut groups: HashMap<(*const PrefixSet, &str), usize> = HashMap::new();
        let mut inline: HashMap<&PrefixSet, usize> = HashMap::new();
        let mut add = |party: &'p Party, index: usize, from: bool| -> Result<(), CompileError> {
            let Some(addresses) = &party.prefixes else { return Ok(()) };
            let shared = addresses.groups.iter().map(|group| (Some(group.name.as_str()), group.prefixes.as_ref()));
            for (group, set) in shared
                .chain([(None, &addresses.inline)])
                .filter(|(group, set)| !set.is_empty() || (apart && group.is_some()))
            {
                let next = self.list.len();
                let at = match group {
                    Some(name) => {
                        *groups.entry((std::ptr::from_ref(set), if apart { name } else { "" })).or_insert(next)
                    }
                    None => *inline.entry(set).or_insert(next),
                };
                if at == next {
                    let none = Says::Rules { from: Rules::default(), to: Rules::default() };
                    self.list.push(Source { says: none, prefixes: Prefixes::Set(set), group });
                    if let Some((addr, len)) =
                        set.v6.get(set.v6.inside(MAPPED, MAPPED_LEN).start).filter(|(addr, _)| addr >> 32 == 0xffff)
                    {
                        let at = group.map_or_else(
                            || named(Kind::Rule, &policy.rules[index].id),
                            |name| format!("group `{name}`"),
                        );
                        return Err(CompileError::Mapped { at, prefix: format!("{}/{len}", Ipv6Addr::from(addr)) });
                    }
                }
                if let Says::Rules { from: sources, to: destinations } = &mut self.list[at].says {
                    if from { sources } else { destinations }.push(index as u16);
                }
            }
            Ok(())
        };
        for (index, rule) in policy.rules.iter().enumerate() {
            add(&rule.from, index, true)?;
            // For a published server this is its public address.
            add(&rule.to, index, false)?;
        }
        for source in &mut self.list {
            if let Says::Rules { from, to } = &mut source.says {
                from.finish();
                to.finish();
            }
        }
        Ok(())
    }

    /// Prefixes of a source.
    pub(super) fn size(&self, source: usize) -> usize {
        match &self.list[source].prefixes {
            Prefixes::Set(set) => set.len(),
            Prefixes::List(list) => list.len(),
        }
    }

    /// All IPv4 claims that lie inside a prefix or around it, sorted.
    pub(super) fn v4(&self, addr: u32, len: u8) -> Vec<V4> {
        self.gather(
            addr,
            len,
            |set| &set.v4,
            |net| match net {
                IpNet::V4(net) => Some((net.network().to_bits(), net.prefix_len())),
                IpNet::V6(_) => None,
            },
        )
    }

    /// All IPv6 claims that lie inside a prefix or around it, sorted.
    pub(super) fn v6(&self, addr: u128, len: u8) -> Vec<V6> {
        self.gather(
            addr,
            len,
            |set| &set.v6,
            |net| match net {
                IpNet::V4(_) => None,
                IpNet::V6(net) => Some((net.network().to_bits(), net.prefix_len())),
            },
        )
    }

    fn gather<C: Claim>(
        &self,
        addr: C::Addr,
        len: u8,
        family: impl Fn(&PrefixSet) -> &Family<C::Addr>,
        of: impl Fn(&IpNet) -> Option<(C::Addr, u8)>,
    ) -> Vec<C> {
        let count = |source: &Source<'_>| match &source.prefixes {
            Prefixes::Set(set) => family(set).inside(addr, len).len() + 1,
            Prefixes::List(list) => list.len(),
        };
        let mut claims = Vec::with_capacity(self.list.iter().map(count).sum());
        for (number, source) in self.list.iter().enumerate() {
            let number = number as u32;
            match &source.prefixes {
                Prefixes::Set(set) if let Some(delta) = source.group.and_then(|name| self.deltas.get(name)) => {
                    let (added, removed) = (family(&delta.added), family(&delta.removed));
                    let held = members::within(family(set), added, removed, addr, len);
                    claims.extend(held.into_iter().map(|(addr, len)| C::new(addr, len, number)));
                }
                Prefixes::Set(set) => {
                    let set = family(set);
                    // Itself comes with those inside.
                    let around = set.around(addr, len).filter(|(_, its)| *its < len);
                    claims.extend(around.map(|(addr, len)| C::new(addr, len, number)));
                    claims
                        .extend(set.inside(addr, len).filter_map(|at| set.get(at)).map(|(a, l)| C::new(a, l, number)));
                }
                Prefixes::List(list) => {
                    let near = |&(a, l): &(C::Addr, u8)| if l < len { a.holds(l, addr) } else { addr.holds(len, a) };
                    claims.extend(list.iter().filter_map(&of).filter(near).map(|(a, l)| C::new(a, l, number)));
                }
            }
        }
        // Runs of sorted claims: a stable sort merges them.
        claims.sort();
        claims.dedup();
        claims
    }

    /// How error texts call a source of rules: its group or rule, and who uses it.
    fn describe(&self, source: &Source<'_>) -> Option<String> {
        let Says::Rules { from, to } = &source.says else { return None };
        let mut rules: Vec<u16> = from.list.iter().chain(&to.list).copied().collect();
        rules.sort_unstable();
        rules.dedup();
        let names: Vec<String> =
            rules.iter().take(3).map(|rule| format!("`{}`", self.policy.rules[usize::from(*rule)].id)).collect();
        let more =
            if rules.len() > names.len() { format!(" and {} more", rules.len() - names.len()) } else { String::new() };
        let names = format!("rule {}{more}", names.join(", "));
        Some(match source.group {
            Some(group) => format!("group `{group}` ({names})"),
            None => format!("the addresses of {names}"),
        })
    }

    /// The sources of rules with the highest marks, best first, for an error text.
    pub(super) fn worst(&self, mark: impl Fn(usize) -> usize) -> String {
        let mut marks: Vec<(usize, usize)> =
            (0..self.list.len()).map(|source| (mark(source), source)).filter(|(mark, _)| *mark > 0).collect();
        marks.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let named = marks.iter().filter_map(|&(_, source)| self.describe(&self.list[source]));
        named.take(4).collect::<Vec<_>>().join(", ")
    }

    /// The error of `count` prefixes.
    pub(super) fn too_many(&self, count: usize) -> CompileError {
        CompileError::Prefixes { count, most: self.worst(|source| self.size(source)) }
    }
}

fn mapped(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.prefix_len() >= MAPPED_LEN && net.network().to_bits() >> 32 == MAPPED >> 32)
}

/// One source's word on one prefix, small enough to have millions. Sorts by address, then length, then source.
pub(super) trait Claim: Copy + Ord {
    /// Of which family.
    type Addr: Bits;
    fn new(addr: Self::Addr, len: u8, source: u32) -> Self;
    fn prefix(self) -> (Self::Addr, u8);
    fn source(self) -> u32;
    /// A prefix of this family as the tables hold it.
    fn key(addr: Self::Addr, len: u8) -> (u32, [u8; 16]);
}

/// An IPv4 claim: address, 6 bits of length, 26 bits of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct V4(u64);

impl Claim for V4 {
    type Addr = u32;
    fn new(addr: u32, len: u8, source: u32) -> Self {
        Self(u64::from(addr) << 32 | u64::from(len) << 26 | u64::from(source))
    }
    fn prefix(self) -> (u32, u8) {
        ((self.0 >> 32) as u32, (self.0 >> 26 & 63) as u8)
    }
    fn source(self) -> u32 {
        self.0 as u32 & ((1 << 26) - 1)
    }
    fn key(addr: u32, len: u8) -> (u32, [u8; 16]) {
        (u32::from(MAPPED_LEN) + u32::from(len), (MAPPED | u128::from(addr)).to_be_bytes())
    }
}

/// An IPv6 claim: the address in two halves (so that 24 bytes do), 8 bits of length, 24 bits of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct V6(u64, u64, u32);

impl Claim for V6 {
    type Addr = u128;
    fn new(addr: u128, len: u8, source: u32) -> Self {
        Self((addr >> 64) as u64, addr as u64, u32::from(len) << 24 | source)
    }
    fn prefix(self) -> (u128, u8) {
        (u128::from(self.0) << 64 | u128::from(self.1), (self.2 >> 24) as u8)
    }
    fn source(self) -> u32 {
        self.2 & ((1 << 24) - 1)
    }
    fn key(addr: u128, len: u8) -> (u32, [u8; 16]) {
        (u32::from(len), addr.to_be_bytes())
    }
}
