//! The prefix table: what the longest prefix that holds an address says of it.
//!
//! The data plane asks once per address, so every entry carries what all shorter prefixes say too. Prefixes are
//! sorted so that each one follows those that hold it; a stack of the open ones then hands down what is inherited:
//! O(n log n) in the number of (prefix, rule) pairs, however deep they nest.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use sekimori_ebpf::abi::{ADDR_BROADCAST, AddrEntry, MAX_PREFIXES, NET_BOX, NET_NONE};

use super::{
    error::{CompileError, named},
    registry::Kind,
    sets::{Full, Sets},
};
use crate::policy::model::{Policy, Rule};

/// `::ffff:0:0`, where IPv4 lives in the 128-bit space.
const MAPPED: u128 = 0xffff << 32;
/// Its length.
const MAPPED_LEN: u8 = 96;

/// An address as the tables hold it.
pub fn address(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A prefix as the tables hold it: address with host bits zero, length in the 128-bit space.
pub fn prefix(net: &IpNet) -> ([u8; 16], u32) {
    let base = match net {
        IpNet::V4(_) => u32::from(MAPPED_LEN),
        IpNet::V6(_) => 0,
    };
    (address(net.network()), base + u32::from(net.prefix_len()))
}

/// What somebody says of a prefix. The order of the variants decides where one prefix gets several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    /// It must have an entry.
    Exists,
    /// Its addresses live in this net.
    Owner(u16),
    /// It is the box's.
    Box,
    /// It is a directed broadcast address.
    Broadcast,
    /// This rule allows it as a source.
    Source(u16),
    /// This rule allows it as a destination.
    Destination(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    addr: u128,
    len: u8,
    says: Says,
}

/// One address family: they share the table but never each other's prefixes (`::/0` says nothing of IPv4).
#[derive(Debug)]
struct Family {
    root: (u128, u8),
    claims: Vec<Claim>,
}

/// Builds the table. `net_ids` are the stable ids by position in [`Policy::nets`].
pub(super) fn table(
    policy: &Policy,
    net_ids: &[u16],
    sets: &mut Sets,
) -> Result<Vec<(u32, [u8; 16], AddrEntry)>, CompileError> {
    let mut v4 = Family { root: (MAPPED, MAPPED_LEN), claims: Vec::new() };
    let mut v6 = Family { root: (0, 0), claims: Vec::new() };
    let mut claim = |net: &IpNet, says: Says| -> bool {
        let (addr, len) = prefix(net);
        let addr = u128::from_be_bytes(addr);
        let len = len as u8;
        let family = match net {
            IpNet::V4(_) => &mut v4,
            IpNet::V6(_) if len >= MAPPED_LEN && addr >> 32 == MAPPED >> 32 => return false,
            IpNet::V6(_) => &mut v6,
        };
        family.claims.push(Claim { addr, len, says });
        true
    };
    let mapped = |at: String, net: &IpNet| CompileError::Mapped { at, prefix: net.to_string() };

    for (net, &id) in policy.nets.iter().zip(net_ids) {
        for prefix in &net.prefixes {
            if !claim(prefix, Says::Owner(id)) {
                return Err(mapped(named(Kind::Net, &net.name), prefix));
            }
            if let IpNet::V4(v4) = prefix
                && (1..31).contains(&v4.prefix_len())
            {
                claim(&IpNet::from(IpAddr::V4(v4.broadcast())), Says::Broadcast);
            }
        }
    }
    for &addr in &policy.box_addresses {
        if !claim(&IpNet::from(addr), Says::Box) {
            return Err(mapped("box".to_owned(), &IpNet::from(addr)));
        }
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        let index = index as u16;
        for prefix in rule.from.prefixes.iter().flatten() {
            if !claim(prefix, Says::Source(index)) {
                return Err(mapped(named(Kind::Rule, &rule.id), prefix));
            }
        }
        if let Some(published) = &rule.published {
            let public = IpNet::from(published.public);
            if !claim(&public, Says::Destination(index)) {
                return Err(mapped(named(Kind::Rule, &rule.id), &public));
            }
        } else {
            for prefix in rule.to.prefixes.iter().flatten() {
                if !claim(prefix, Says::Destination(index)) {
                    return Err(mapped(named(Kind::Rule, &rule.id), prefix));
                }
            }
        }
    }

    let full = |_: Full| CompileError::Sets { at: "addresses of rules without an address condition".to_owned() };
    let any_source = policy.rules.iter().enumerate().filter(|(_, rule)| rule.from.prefixes.is_none());
    let any_destination =
        policy.rules.iter().enumerate().filter(|(_, rule)| rule.to.prefixes.is_none() && rule.published.is_none());
    let base = AddrEntry {
        owner: policy.nets.iter().position(|net| net.is_default).map_or(NET_NONE, |index| net_ids[index]),
        src_set: sets.of(any_source.map(|(index, _)| index)).map_err(full)?,
        dst_set: sets.of(any_destination.map(|(index, _)| index)).map_err(full)?,
        flags: 0,
    };

    let mut entries = Vec::new();
    for family in [v6, v4] {
        family.lay_out(base, sets, &mut entries).map_err(|claim| CompileError::Sets { at: claim.describe(policy) })?;
    }
    if entries.len() > MAX_PREFIXES as usize {
        return Err(too_many(policy, entries.len()));
    }
    Ok(entries)
}

impl Family {
    /// Appends this family's entries. An entry that says what the one around it says is left out.
    fn lay_out(
        mut self,
        base: AddrEntry,
        sets: &mut Sets,
        entries: &mut Vec<(u32, [u8; 16], AddrEntry)>,
    ) -> Result<(), Claim> {
        let (addr, len) = self.root;
        self.claims.push(Claim { addr, len, says: Says::Exists });
        self.claims.sort_unstable();
        self.claims.dedup();

        let mut open: Vec<(u128, u8, AddrEntry)> = Vec::new();
        let (mut sources, mut destinations) = (Vec::new(), Vec::new());
        for group in self.claims.chunk_by(|a, b| (a.addr, a.len) == (b.addr, b.len)) {
            let claim = group[0];
            while open.last().is_some_and(|&(addr, len, _)| !holds(addr, len, claim.addr)) {
                open.pop();
            }
            let around = open.last().map(|&(_, _, entry)| entry);
            let mut entry = around.unwrap_or(base);
            entry.flags = 0;
            sources.clear();
            destinations.clear();
            for claim in group {
                match claim.says {
                    Says::Exists => {}
                    Says::Owner(net) => entry.owner = net,
                    Says::Box => entry.owner = NET_BOX,
                    Says::Broadcast => entry.flags |= ADDR_BROADCAST,
                    Says::Source(rule) => sources.push(rule),
                    Says::Destination(rule) => destinations.push(rule),
                }
            }
            let last = group[group.len() - 1];
            entry.src_set = sets.extend(entry.src_set, &sources).map_err(|Full| last)?;
            entry.dst_set = sets.extend(entry.dst_set, &destinations).map_err(|Full| last)?;
            if around != Some(entry) {
                entries.push((u32::from(claim.len), claim.addr.to_be_bytes(), entry));
            }
            open.push((claim.addr, claim.len, entry));
        }
        Ok(())
    }
}

impl Claim {
    fn describe(&self, policy: &Policy) -> String {
        let addr = Ipv6Addr::from(self.addr);
        let prefix = match addr.to_ipv4_mapped() {
            Some(v4) if self.len >= MAPPED_LEN => format!("{v4}/{}", self.len - MAPPED_LEN),
            _ => format!("{addr}/{}", self.len),
        };
        match self.says {
            Says::Source(rule) | Says::Destination(rule) => {
                let rule = named(Kind::Rule, &policy.rules[usize::from(rule)].id);
                format!("{rule}, {prefix}")
            }
            _ => prefix,
        }
    }
}

/// Whether prefix `addr/len` holds `other`.
fn holds(addr: u128, len: u8, other: u128) -> bool {
    len == 0 || (addr ^ other) >> (128 - u32::from(len)) == 0
}

fn too_many(policy: &Policy, count: usize) -> CompileError {
    let size =
        |rule: &Rule| rule.from.prefixes.as_ref().map_or(0, Vec::len) + rule.to.prefixes.as_ref().map_or(0, Vec::len);
    let most = policy.rules.iter().max_by_key(|rule| size(rule));
    CompileError::Prefixes {
        count,
        rule: most.map(|rule| rule.id.clone()).unwrap_or_default(),
        of_rule: most.map_or(0, size),
    }
}
