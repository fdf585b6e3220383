//! Hosts in quarantine ("Quarantine").

use sekimori::policy::model::Policy;

use super::{
    cut::{self, Subject},
    state::{OracleState, View},
};

/// Whether the packet is from or to such a host. The management path is open to it.
pub fn holds_back(policy: &Policy, state: &OracleState, subject: &Subject<'_>) -> bool {
    let quarantine = &state.quarantine;
    let address = subject
        .addresses
        .is_some_and(|(src, dst)| quarantine.addresses.contains(&src) || quarantine.addresses.contains(&dst));
    (address || quarantine.macs.contains(&subject.mac)) && !cut::is_management(policy, state, subject)
}

/// Whether the rule that permitted the view, still at its place in the policy, holds for hosts in quarantine.
pub fn permits(policy: &Policy, view: &View) -> bool {
    policy.rules.get(view.number).is_some_and(|rule| rule.id == view.rule && rule.quarantined)
}
