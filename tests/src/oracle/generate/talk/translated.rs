//! What NAT makes of the ends.

use std::net::IpAddr;

use sekimori::policy::model::{Policy, Service};

use super::super::{ends::Ends, rng::Rng};

/// The ends as seen beyond the box, after NAT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Translated {
    pub(super) src: (IpAddr, u16),
    pub(super) dst: (IpAddr, u16),
}

impl Translated {
    pub(super) fn of(rng: &mut Rng, policy: &Policy, ends: &Ends) -> Self {
        let mut out = Self { src: (ends.src, ends.sport), dst: (ends.dst, ends.dport) };
        let own: Vec<IpAddr> =
            policy.box_addresses.iter().copied().filter(|addr| addr.is_ipv6() == ends.src.is_ipv6()).collect();
        let echo = matches!(ends.service, Service::Icmp(..) | Service::Icmpv6(..));
        if let Some(addr) = rng.maybe(&own)
            && rng.chance(30)
        {
            out.src = (*addr, if echo { ends.sport } else { ends.sport.wrapping_add(11).max(1) });
        }
        if let Some((addr, port)) = ends.server
            && rng.chance(80)
        {
            out.dst = (addr, port.unwrap_or(ends.dport));
        }
        out
    }
}
