//! Cuts that are restored in stages ("Restoring in stages").

use std::net::IpAddr;

use sekimori::policy::model::{Place, Policy};
use sekimori_ebpf::reason::Reason;

use super::{
    cut::Subject,
    rules::What,
    state::{Meets, OracleState, Staged},
};

/// Notes what such cuts mean for a packet that no whole cut stops. The management path is open to it.
pub fn note(state: &mut OracleState, subject: &Subject<'_>, managed: bool) {
    let staged = &state.cut.staged;
    let signed = state.stage.signed;
    state.stage = Meets { signed, mac: Some(subject.mac), leaving: subject.leaving, ..Meets::default() };
    if managed {
        return;
    }
    state.stage.any = exists(staged);
    state.stage.reason = met(state, subject);
}

/// Whether anything is restored in stages.
pub fn exists(staged: &Staged) -> bool {
    staged.all || !(staged.nets.is_empty() && staged.prefixes.is_empty() && staged.macs.is_empty())
}

/// The reason of the nearest such cut that the packet meets by itself.
pub fn met(state: &OracleState, subject: &Subject<'_>) -> Option<Reason> {
    let staged = &state.cut.staged;
    let held = |addr: IpAddr| staged.prefixes.iter().any(|prefix| prefix.contains(&addr));
    let host = subject.addresses.is_some_and(|(src, dst)| held(src) || held(dst));
    if host || staged.macs.contains(&subject.mac) {
        Some(Reason::CutHost)
    } else if staged.nets.contains(&subject.net) {
        Some(Reason::CutNetwork)
    } else if staged.all {
        Some(Reason::CutAll)
    } else {
        None
    }
}

/// A conversation, as its initiator sees it.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// Its ends, where the packet is.
    pub ends: (IpAddr, IpAddr),
    /// What it asks for.
    pub what: What,
    /// Where the initiator's packets must leave.
    pub net: Place,
    /// Position of the rule that permits it.
    pub number: usize,
}

/// Whether a permitted conversation may pass.
pub fn check(policy: &Policy, state: &mut OracleState, talk: &Talk) -> Result<(), Reason> {
    if !state.stage.any {
        return Ok(());
    }
    let cut = &state.cut;
    let server = policy.rules.get(talk.number).and_then(|rule| rule.published.as_ref()).map(|server| server.address);
    let restored = |net: Place| matches!(net, Place::Net(net) if cut.staged.nets.contains(&net));
    let held = |server: IpAddr| {
        let within = |prefixes: &[ipnet::IpNet]| prefixes.iter().any(|prefix| prefix.contains(&server));
        within(&cut.staged.prefixes) && !within(&cut.prefixes)
    };
    let reason = match state.stage.reason {
        Some(reason) => reason,
        None if restored(talk.net) => Reason::CutNetwork,
        None if server.is_some_and(held) => Reason::CutHost,
        None => return Ok(()),
    };
    if on_the_list(state, talk, server) {
        state.stage.listed = true;
        return Ok(());
    }
    Err(reason)
}

/// The same where a packet leaves by an interface whose view only proves replies.
pub fn leaving(state: &mut OracleState, trusted: bool, ends: (IpAddr, IpAddr), what: What) -> Result<(), Reason> {
    let Some(reason) = state.stage.reason.filter(|_| state.stage.any) else { return Ok(()) };
    let talk = Talk { ends, what, net: Place::Box, number: usize::MAX };
    if (trusted && state.stage.signed) || on_the_list(state, &talk, None) {
        state.stage.listed = true;
        return Ok(());
    }
    Err(reason)
}

fn on_the_list(state: &OracleState, talk: &Talk, server: Option<IpAddr>) -> bool {
    let staged = &state.cut.staged;
    let hosts = [Some(talk.ends.0), Some(talk.ends.1), server];
    hosts.into_iter().flatten().any(|host| staged.addresses.contains(&host))
        || state.stage.mac.is_some_and(|mac| staged.list_macs.contains(&mac))
        || staged.services.iter().any(|service| talk.what.is_in(service))
}
