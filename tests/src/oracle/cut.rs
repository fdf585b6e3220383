//! The emergency switch (step 8, "Cut-off").

use std::net::IpAddr;

use sekimori::policy::model::{Mac, Policy};
use sekimori_ebpf::reason::Reason;

use super::{
    staged,
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
    /// It asks for, or tells, somebody's MAC.
    pub neighbour: Option<Neighbour>,
}

/// How neighbours find each other.
#[derive(Debug, Clone, Copy)]
pub enum Neighbour {
    /// ARP: the subject's addresses are sender and target.
    Arp,
    /// A solicitation or an advertisement in due form.
    Discovery {
        /// A solicitation.
        asks: bool,
        /// Whom it is about.
        target: IpAddr,
    },
}

/// Whether the cut-off stops it; `Ok(true)` if it does not only because of the management path.
pub fn check(policy: &Policy, state: &mut OracleState, subject: &Subject<'_>) -> Result<bool, Reason> {
    let managed = check_whole(policy, state, subject)?;
    staged::note(state, subject, managed);
    Ok(managed)
}

fn check_whole(policy: &Policy, state: &OracleState, subject: &Subject<'_>) -> Result<bool, Reason> {
    // What is restored in stages is left to whoever judges the conversation, but for the management path.
    let reason = stops(state, subject);
    match reason.or_else(|| staged::met(state, subject)) {
        None => Ok(false),
        Some(_) if state.cut.all < 2 && (is_management(policy, state, subject) || finds_it(policy, state, subject)) => {
            Ok(true)
        }
        Some(_) => reason.map_or(Ok(false), Err),
    }
}

fn stops(state: &OracleState, subject: &Subject<'_>) -> Option<Reason> {
    let cut = &state.cut;
    if cut.all > 0 {
        return Some(Reason::CutAll);
    }
    if cut.nets.contains(&subject.net) {
        return Some(Reason::CutNetwork);
    }
    let held = |addr: IpAddr| cut.prefixes.iter().any(|prefix| prefix.contains(&addr));
    let host = subject.addresses.is_some_and(|(src, dst)| held(src) || held(dst));
    if host || cut.macs.contains(&subject.mac) {
        return Some(Reason::CutHost);
    }
    None
}

/// The box and the far end of a management path, or a listed router on its interface, ask for each other's MAC.
fn finds_it(policy: &Policy, state: &OracleState, subject: &Subject<'_>) -> bool {
    let (Some((src, dst)), Some(neighbour)) = (subject.addresses, subject.neighbour) else {
        return false;
    };
    let (there, here) = match (neighbour, subject.leaving) {
        (Neighbour::Arp, false) => (src, dst),
        (Neighbour::Arp, true) => (dst, src),
        (Neighbour::Discovery { asks: true, target }, false) => (src, target),
        (Neighbour::Discovery { asks: true, target }, true) => (target, src),
        (Neighbour::Discovery { asks: false, target }, false) => (target, dst),
        (Neighbour::Discovery { asks: false, target }, true) => (dst, target),
    };
    let router = policy.nets[subject.net].routers.contains(&subject.mac);
    let leads_there =
        |path: &Management| path.interface == subject.interface && (router || path.source.contains(&there));
    policy.box_addresses.contains(&here) && state.management.iter().any(leads_there)
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
