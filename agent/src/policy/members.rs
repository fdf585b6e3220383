//! Run-time members of groups: what administrators added and took out since the policy was written.

use std::{collections::BTreeMap, net::Ipv6Addr, sync::Arc};

use ipnet::{IpNet, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    addresses::Group,
    model::Policy,
    prefixes::{Bits, Builder, Family, PrefixSet},
};

/// Run-time members that one instance keeps.
pub const MAX_MEMBERS: usize = 65_536;

/// By name of the group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// Only groups that were changed.
    pub groups: BTreeMap<String, Changed>,
}

/// One group against the policy. No address is in both lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// Members beside those of the policy.
    pub added: Vec<Added>,
    /// Addresses that are no members although the policy says so.
    pub removed: Vec<IpNet>,
}

/// A member added at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Added {
    /// Which addresses.
    pub prefix: IpNet,
    /// When it goes by itself: seconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// What was added to one group and taken from it, as sets.
#[derive(Debug, Default)]
pub struct Delta {
    /// See [`Changed::added`].
    pub added: PrefixSet,
    /// See [`Changed::removed`].
    pub removed: PrefixSet,
}

/// By name of the group.
pub type Deltas = BTreeMap<String, Arc<Delta>>;

impl Members {
    /// Adds members to a group, until then. What was taken out comes back where they are.
    pub fn add(&mut self, group: &str, prefixes: &[IpNet], until: Option<i64>) {
        let changed = self.groups.entry(group.to_owned()).or_default();
        let new: PrefixSet = prefixes.iter().copied().collect();
        changed.removed = changed.removed.iter().flat_map(|held| without(held, &new)).collect();
        for prefix in prefixes {
            changed.added.retain(|added| added.prefix != *prefix);
            changed.added.push(Added { prefix: *prefix, until });
        }
        self.tidy();
    }

    /// Takes addresses out of a group of which the policy says it has these.
    pub fn remove(&mut self, group: &str, prefixes: &[IpNet], written: &PrefixSet) {
        let changed = self.groups.entry(group.to_owned()).or_default();
        let gone: PrefixSet = prefixes.iter().copied().collect();
        let left = changed.added.iter().flat_map(|added| {
            let until = added.until;
            without(&added.prefix, &gone).into_iter().map(move |prefix| Added { prefix, until })
        });
        changed.added = left.collect();
        let in_policy = prefixes.iter().filter(|prefix| touches(written, prefix));
        let removed: PrefixSet = changed.removed.iter().chain(in_policy).copied().collect();
        changed.removed = removed.iter().collect();
        self.tidy();
    }

    /// Forgets members whose time is over, and says which; by group.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(String, Vec<IpNet>)> {
        let over = |added: &Added| added.until.is_some_and(|until| until <= now.as_second());
        let mut gone = Vec::new();
        for (name, changed) in &mut self.groups {
            let ended: Vec<IpNet> =
                changed.added.iter().filter(|added| over(added)).map(|added| added.prefix).collect();
            if !ended.is_empty() {
                changed.added.retain(|added| !over(added));
                gone.push((name.clone(), ended));
            }
        }
        self.tidy();
        gone
    }

    /// When the next member goes by itself.
    pub fn next_end(&self) -> Option<i64> {
        self.groups.values().flat_map(|changed| &changed.added).filter_map(|added| added.until).min()
    }

    /// Entries of all groups.
    pub fn len(&self) -> usize {
        self.groups.values().map(|changed| changed.added.len() + changed.removed.len()).sum()
    }

    /// Whether no group was changed.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn tidy(&mut self) {
        self.groups.retain(|_, changed| !changed.added.is_empty() || !changed.removed.is_empty());
    }

    /// As sets.
    pub fn deltas(&self) -> Deltas {
        let delta = |changed: &Changed| Delta {
            added: changed.added.iter().map(|added| added.prefix).collect(),
            removed: changed.removed.iter().copied().collect(),
        };
        self.groups.iter().map(|(name, changed)| (name.clone(), Arc::new(delta(changed)))).collect()
    }
}

/// The policy with groups as they are at run time. Shares what is unchanged.
pub fn effective(policy: &Arc<Policy>, deltas: &Deltas) -> Arc<Policy> {
    if policy.groups.iter().all(|group| !deltas.contains_key(&group.name)) {
        return Arc::clone(policy);
    }
    let mut now = Policy::clone(policy);
    let changed: BTreeMap<&str, Arc<Group>> = policy
        .groups
        .iter()
        .filter_map(|group| {
            let delta = deltas.get(&group.name)?;
            let prefixes = Arc::new(delta.applied(&group.prefixes));
            Some((group.name.as_str(), Arc::new(Group { name: group.name.clone(), prefixes })))
        })
        .collect();
    let renew = |group: &mut Arc<Group>| {
        if let Some(new) = changed.get(group.name.as_str()) {
            *group = Arc::clone(new);
        }
    };
    now.groups.iter_mut().for_each(renew);
    for rule in &mut now.rules {
        for party in [&mut rule.from, &mut rule.to] {
            if let Some(addresses) = &mut party.prefixes {
                addresses.groups.iter_mut().for_each(renew);
            }
        }
    }
    Arc::new(now)
}

impl Delta {
    /// A whole set with the delta.
    pub fn applied(&self, set: &PrefixSet) -> PrefixSet {
        let mut builder = Builder::default();
        for (addr, len) in within(&set.v4, &self.added.v4, &self.removed.v4, 0, 0) {
            builder.add_v4(addr, len);
        }
        for (addr, len) in within(&set.v6, &self.added.v6, &self.removed.v6, 0, 0) {
            builder.add(&IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(addr), len)));
        }
        builder.finish()
    }
}

/// What a set with a delta has in `addr/len`: prefixes inside it that make up all of that. Some may hold others.
pub(crate) fn within<A: Bits>(
    set: &Family<A>,
    added: &Family<A>,
    removed: &Family<A>,
    addr: A,
    len: u8,
) -> Vec<(A, u8)> {
    let mut out = Vec::new();
    for (addr, len) in clip(set, addr, len) {
        carve(addr, len, removed, &mut out);
    }
    out.extend(clip(added, addr, len));
    out
}

/// The part of a set that lies in `addr/len`.
fn clip<A: Bits>(set: &Family<A>, addr: A, len: u8) -> Vec<(A, u8)> {
    match set.around(addr, len) {
        Some(_) => vec![(addr, len)],
        None => set.inside(addr, len).filter_map(|at| set.get(at)).collect(),
    }
}

/// `addr/len` without a set.
fn carve<A: Bits>(addr: A, len: u8, set: &Family<A>, out: &mut Vec<(A, u8)>) {
    if set.around(addr, len).is_some() {
        return;
    }
    if set.inside(addr, len).is_empty() {
        out.push((addr, len));
        return;
    }
    // Something longer lies inside, so there is a bit to split at.
    carve(addr, len + 1, set, out);
    carve(addr.sibling(len + 1), len + 1, set, out);
}

/// `prefix` without a set.
fn without(prefix: &IpNet, set: &PrefixSet) -> Vec<IpNet> {
    match prefix {
        IpNet::V4(net) => {
            let mut out = Vec::new();
            carve(net.network().to_bits(), net.prefix_len(), &set.v4, &mut out);
            let net = |(addr, len): (u32, u8)| IpNet::V4(ipnet::Ipv4Net::new_assert(addr.into(), len));
            out.into_iter().map(net).collect()
        }
        IpNet::V6(net) => {
            let mut out = Vec::new();
            carve(net.network().to_bits(), net.prefix_len(), &set.v6, &mut out);
            let net = |(addr, len): (u128, u8)| IpNet::V6(Ipv6Net::new_assert(addr.into(), len));
            out.into_iter().map(net).collect()
        }
    }
}

/// Whether a set has any address of a prefix.
pub fn touches(set: &PrefixSet, prefix: &IpNet) -> bool {
    let inside = match prefix {
        IpNet::V4(net) => !set.v4.inside(net.network().to_bits(), net.prefix_len()).is_empty(),
        IpNet::V6(net) => !set.v6.inside(net.network().to_bits(), net.prefix_len()).is_empty(),
    };
    inside || set.around(prefix).is_some()
}

/// Whether a set with a delta has any address of a prefix.
pub fn touches_now(set: &PrefixSet, delta: Option<&Delta>, prefix: &IpNet) -> bool {
    let Some(delta) = delta else { return touches(set, prefix) };
    match prefix {
        IpNet::V4(net) => {
            let (addr, len) = (net.network().to_bits(), net.prefix_len());
            !within(&set.v4, &delta.added.v4, &delta.removed.v4, addr, len).is_empty()
        }
        IpNet::V6(net) => {
            let (addr, len) = (net.network().to_bits(), net.prefix_len());
            !within(&set.v6, &delta.added.v6, &delta.removed.v6, addr, len).is_empty()
        }
    }
}
