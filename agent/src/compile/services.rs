//! The service table: for every protocol and port (or ICMP type and code) the rules that name it.

use sekimori_ebpf::abi::{RuleSet, SERVICE_SLOTS, SERVICE_WORDS, proto, service_index};

use super::{
    error::{CompileError, named},
    registry::Kind,
    sets::{Full, Sets, insert, remove},
};
use crate::policy::model::{Policy, Service};

/// First and last index of a service in the table.
pub fn range(service: &Service) -> (u32, u32) {
    let icmp = |protocol, kind: u8, code: Option<u8>| {
        let kind = u16::from(kind) << 8;
        let (first, last) = code.map_or((0, 0xff), |code| (u16::from(code), u16::from(code)));
        (service_index(protocol, kind | first), service_index(protocol, kind | last))
    };
    match *service {
        Service::Tcp(first, last) => (service_index(proto::TCP, first), service_index(proto::TCP, last)),
        Service::Udp(first, last) => (service_index(proto::UDP, first), service_index(proto::UDP, last)),
        Service::Icmp(kind, code) => icmp(proto::ICMP, kind, code),
        Service::Icmpv6(kind, code) => icmp(proto::ICMPV6, kind, code),
        Service::Protocol(number) => (service_index(number, 0), service_index(number, 0)),
    }
}

/// Builds the packed table: `SERVICE_WORDS` words of four set ids each, lowest 16 bits first.
///
/// Sweeps the index space once; the set changes only where some range begins or ends.
pub(super) fn table(policy: &Policy, sets: &mut Sets) -> Result<Vec<u64>, CompileError> {
    let mut edges: Vec<(u32, usize, bool)> = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        for service in &rule.services {
            let (first, last) = range(service);
            edges.push((first, index, true));
            edges.push((last + 1, index, false));
        }
    }
    edges.sort_unstable();

    let mut words = vec![0u64; SERVICE_WORDS as usize];
    let mut holding = vec![0u32; policy.rules.len()];
    let mut current = RuleSet::EMPTY;
    let mut rest = edges.as_slice();
    while let Some(&(at, rule, _)) = rest.first() {
        let here = rest.partition_point(|edge| edge.0 == at);
        for &(_, rule, begins) in &rest[..here] {
            // A rule may name overlapping ranges: it is in the set until the last of them ends.
            if begins {
                holding[rule] += 1;
                insert(&mut current, rule);
            } else {
                holding[rule] -= 1;
                if holding[rule] == 0 {
                    remove(&mut current, rule);
                }
            }
        }
        rest = &rest[here..];
        let end = rest.first().map_or(SERVICE_SLOTS, |edge| edge.0).min(SERVICE_SLOTS);
        let set = sets.intern(&current).map_err(|Full| CompileError::Sets {
            at: format!("the services of {}", named(Kind::Rule, &policy.rules[rule].id)),
        })?;
        for index in at..end {
            words[(index / 4) as usize] |= u64::from(set) << (16 * (index % 4));
        }
    }
    Ok(words)
}
