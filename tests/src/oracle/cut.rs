//! The emergency switch (step 8, "Cut-off").

use std::net::IpAddr;

use sekimori::policy::model::{Mac, Policy};
use sekimori_ebpf::reason::Reason;

use super::{
    state::{Management, OracleState},
    transport::Transport,
};

/// What the cut-off looks at.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Kernel name of the interface.
    pub interface: &'a str,
    /// Its net.
    pub net: usize,
    /// Leaving rather than entering.
    pub leaving: bool,
    /// The MAC beyond the interface: source on the way in, destination on the way out.
    pub mac: Mac,
    /// Source and destination, where there are addresses.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The transport header.
    pub transport: &'a Transport,
}

/// Whether the cut-off stops it.
pub fn check(policy: &Policy, state: &OracleState, subject: &Subject<'_>) -> Result<(), Reason> {
    let cut = &state.cut;
    if cut.all < 2 && is_management(policy, state, subject) {
        return Ok(());
    }
    if cut.all > 0 {
        return Err(Reason::CutAll);
    }
    if cut.nets.contains(&subject.net) {
        return Err(Reason::CutNetwork);
    }
    let held = |addr: IpAddr| cut.prefixes.iter().any(|prefix| prefix.contains(&addr));
    let host = subject.addresses.is_some_and(|(src, dst)| held(src) || held(dst));
    if host || cut.macs.contains(&subject.mac) {
        return Err(Reason::CutHost);
    }
    Ok(())
}

pub(super) fn is_management(policy: &Policy, state: &OracleState, subject: &Subject<'_>) -> bool {
    let (Some((src, dst)), Transport::Tcp(tcp)) = (subject.addresses, subject.transport) else {
        return false;
    };
    let (person, here, port) = if subject.leaving { (dst, src, tcp.sport) } else { (src, dst, tcp.dport) };
    let leads_here =
        |path: &Management| path.interface == subject.interface && path.port == port && path.source.contains(&person);
    policy.box_addresses.contains(&here) && state.management.iter().any(leads_here)
}
