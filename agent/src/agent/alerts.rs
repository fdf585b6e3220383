//! Alerts that ask for a quarantine: by receivers the policy names, of hosts where the policy lets them, and never of a device
//! marked critical. An alert that is over releases nobody: that is for a person, or for the time the policy sets.

use std::{net::SocketAddr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    keeper::{Caller, Keeper},
    quarantines::QuarantineDone,
};
use crate::{
    cli::text,
    cutoff::{Covers, Object, resolve},
    policy::{
        addresses::Group,
        members,
        model::{AlertReceiver, Policy},
    },
    record::{Action, Outcome},
};

/// What became of one alert.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct AlertDone {
    /// Its name.
    pub alert: String,
    /// The host it named, as it named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `quarantined`, `quarantined_again`, `refused`, `failed`, or `resolved`: nothing to do.
    pub done: String,
    /// In the data plane now.
    pub in_force: bool,
    /// When the quarantine ends by itself, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why not, or what else to know, in the reader's language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Keeper {
    /// The receiver of this name, if the policy in force has it and this credential may deliver to it.
    pub fn alert_receiver(&self, name: &str, credential: &str) -> Option<AlertReceiver> {
        let receivers = self.live.iter().flat_map(|live| &live.policy.alert_receivers);
        receivers.into_iter().find(|known| known.name == name && known.token == credential).cloned()
    }

    /// Puts the host in quarantine that an alert of this name gives, if the receiver may.
    pub fn alert(
        &mut self,
        receiver: &AlertReceiver,
        alert: String,
        host: &str,
        reason: String,
        caller: &Caller,
    ) -> AlertDone {
        let lang = caller.lang;
        let row = AlertDone { alert, host: Some(host.to_owned()), ..AlertDone::default() };
        let refused = |message| AlertDone { done: "refused".into(), message: Some(message), ..row.clone() };
        // Prometheus writes the port behind an instance's address.
        let address = host.parse().map(|address: SocketAddr| address.ip().to_string());
        let object = match Object::host(address.as_deref().unwrap_or(host)) {
            Ok(object) => object,
            Err(error) => return refused(error.text(lang)),
        };
        let Some(policy) = self.live.as_ref().map(|live| members::effective(&live.policy, &self.deltas())) else {
            return refused(text::why_no_policy(lang));
        };
        let covers = match resolve::covers(&object, Some(&policy)) {
            Ok(covers) => covers,
            Err(unknown) => return refused(unknown.text(lang)),
        };
        if !permitted(&policy, receiver, &covers) {
            let message = format!("{} may not put it in quarantine", receiver.name);
            tracing::error!(%object, "{message}");
            let result = Outcome { ok: false, message };
            self.note(caller, Action::Quarantine, Some(reason), vec![object.to_string()], None, result);
            return refused(text::alert_not_permitted(lang, &receiver.name, object));
        }
        let reply = self.quarantine(vec![object], reason, receiver.seconds, caller);
        let message = reply.error.as_ref().map(|problem| problem.message.clone());
        let done = serde_json::from_value::<QuarantineDone>(reply.body).ok();
        match done.as_ref().and_then(|done| done.hosts.first()) {
            Some(host) => AlertDone {
                done: host.done.clone(),
                in_force: host.in_force,
                until: host.until.clone(),
                message,
                ..row
            },
            None => {
                let failed = reply.error.is_none_or(|problem| problem.code == "failed");
                AlertDone { done: if failed { "failed" } else { "refused" }.into(), message, ..row }
            }
        }
    }
}

/// Whether all of a host lies in one of the receiver's zones or groups.
fn permitted(policy: &Arc<Policy>, receiver: &AlertReceiver, covers: &Covers) -> bool {
    let in_group = |name: &String| {
        let group = policy.groups.iter().find(|group| group.name == *name);
        let holds = |group: &&Arc<Group>| covers.addresses.iter().all(|address| group.prefixes.contains(*address));
        !covers.addresses.is_empty() && group.filter(holds).is_some()
    };
    receiver.zones.iter().any(|zone| resolve::lives_in(policy, covers, zone)) || receiver.groups.iter().any(in_group)
}
