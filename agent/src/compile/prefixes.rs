//! The prefix table: what the longest prefix that holds an address says of it.
//!
//! The data plane asks once per address, so every entry carries what all shorter prefixes say too. Claims are sorted
//! so that each prefix follows those that hold it; a stack of the open ones then hands down what is inherited: linear
//! in the number of claims, however deep they nest.

use std::net::IpAddr;

use ipnet::IpNet;
use sekimori_ebpf::abi::{AddrEntry, MAX_PREFIXES, NET_NONE, NetEntry};

use super::{
    claims::{Claim, MAPPED_LEN, Sources},
    classes::{Class, Classes, Overflow},
    error::CompileError,
    sets::{Full, Sets},
};
use crate::policy::{model::Policy, prefixes::Bits};

/// The table: prefix length, address, entry; see [`super::tables::Compiled::addrs`].
pub type Entries = Vec<(u32, [u8; 16], AddrEntry)>;

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

/// Builds the table. `net_ids` are the stable ids by position in [`Policy::nets`], `nets` the nets by id.
pub(super) fn table(
    policy: &Policy,
    net_ids: &[u16],
    nets: &[NetEntry],
    sets: &mut Sets,
) -> Result<Entries, CompileError> {
    let sources = Sources::new(policy, net_ids)?;
    let base = base(policy, net_ids, sets)?;
    let mut classes = Classes::new(&sources, sets, nets, base);
    let mut entries = Entries::new();
    let claims = sources.v6(0, 0);
    let mut count = lay_out(&claims, &mut classes, &mut entries).map_err(|at| classes.error(at.overflow, at.prefix))?;
    drop(claims);
    let claims = sources.v4(0, 0);
    entries.reserve_exact(claims.len().min(MAX_PREFIXES as usize));
    count += lay_out(&claims, &mut classes, &mut entries).map_err(|at| classes.error(at.overflow, at.prefix))?;
    if count > MAX_PREFIXES as usize {
        return Err(sources.too_many(count));
    }
    entries.shrink_to_fit();
    Ok(entries)
}

/// What is said of an address of which nobody says anything.
pub(super) fn base(policy: &Policy, net_ids: &[u16], sets: &mut Sets) -> Result<AddrEntry, CompileError> {
    let full = |_: Full| CompileError::Sets { at: "addresses of rules without an address condition".to_owned() };
    let any_source = policy.rules.iter().enumerate().filter(|(_, rule)| rule.from.prefixes.is_none());
    let any_destination =
        policy.rules.iter().enumerate().filter(|(_, rule)| rule.to.prefixes.is_none() && rule.published.is_none());
    Ok(AddrEntry {
        owner: policy.nets.iter().position(|net| net.is_default).map_or(NET_NONE, |index| net_ids[index]),
        src_set: sets.of(any_source.map(|(index, _)| index)).map_err(full)?,
        dst_set: sets.of(any_destination.map(|(index, _)| index)).map_err(full)?,
        flags: 0,
    })
}

/// A prefix that has no class.
pub(super) struct At {
    overflow: Overflow,
    prefix: String,
}

/// Appends the entries of sorted claims, all of a family or all that lie inside and around one prefix, and says how
/// many there are; more than the table holds are not kept. An entry that says what the one around it says is left out.
pub(super) fn lay_out<C: Claim>(
    claims: &[C],
    classes: &mut Classes<'_, '_>,
    entries: &mut Entries,
) -> Result<usize, At> {
    let mut open: Vec<(C::Addr, u8, Class)> = Vec::new();
    let mut count = 0;
    for here in claims.chunk_by(|a, b| a.prefix() == b.prefix()) {
        let (addr, len) = here[0].prefix();
        while open.last().is_some_and(|&(around, its, _)| !around.holds(its, addr)) {
            open.pop();
        }
        let around = open.last().map(|&(_, _, class)| class);
        let class = classes
            .inside(around.unwrap_or(Classes::BASE), here)
            .map_err(|overflow| At { overflow, prefix: written::<C>(addr, len) })?;
        let entry = classes.entry(class);
        if around != Some(class) && around.map(|around| classes.entry(around)) != Some(entry) {
            count += 1;
            if entries.len() < MAX_PREFIXES as usize {
                let (length, bytes) = C::key(addr, len);
                entries.push((length, bytes, entry));
            }
        }
        if len < C::Addr::WIDTH {
            open.push((addr, len, class));
        }
    }
    Ok(count)
}

/// A prefix as administrators write it.
fn written<C: Claim>(addr: C::Addr, len: u8) -> String {
    let (length, bytes) = C::key(addr, len);
    let addr = std::net::Ipv6Addr::from(bytes);
    match addr.to_ipv4_mapped() {
        Some(v4) if length >= u32::from(MAPPED_LEN) => format!("{v4}/{len}"),
        _ => format!("{addr}/{len}"),
    }
}
