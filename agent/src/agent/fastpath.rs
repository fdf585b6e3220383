//! The fast path of an instance: where it may be used, and saying so.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use tokio::sync::Notify;

use super::{
    fault::Fault,
    keeper::{Keeper, report},
};
use crate::{
    api::report::{FastNet, FastReason, FastWay, Interface},
    cli::text::{self, Lang},
    dataplane::fastpath::{Answer, Choice, Question, Reason, Verdict, Way},
};

impl Keeper {
    /// Stops it at once: something changed, and [`Self::fast_path`] is about to find out what.
    pub fn hold_fast_path(&mut self) {
        if let Ok(dataplane) = self.dataplane.as_mut()
            && let Err(error) = dataplane.hold_fast_path()
        {
            self.faults.raise(Fault::State("fast path", report(&error)));
        }
    }

    /// Netfilter rules changed.
    pub fn netfilter_changed(&mut self) {
        self.hold_fast_path();
        self.forget_rules();
    }

    /// The next look reads the netfilter rules again.
    pub fn forget_rules(&mut self) {
        if let Ok(dataplane) = self.dataplane.as_mut() {
            dataplane.forget_rules();
        }
    }

    /// What has to be found out for [`Self::fast_path`]; `None` where there is nothing to decide.
    pub fn fast_question(&mut self) -> Option<Question> {
        self.fast_due = None;
        self.guarded_names().filter(|_| self.detached.is_none())?;
        let (choice, unknown) = self.fast_choice();
        // Before a policy is in force nobody can know the names.
        let known = if unknown.is_empty() || self.live.is_none() { Ok(()) } else { Err(unknown.join(", ")) };
        self.faults.track(known, Fault::FastExcept);
        Some(self.dataplane.as_ref().ok()?.fast_question(choice))
    }

    /// Decides by what was found out, and tells the data plane.
    pub fn fast_path(&mut self, answer: Answer) {
        let Some(interfaces) = self.guarded_names().filter(|_| self.detached.is_none()) else { return };
        let Ok(dataplane) = self.dataplane.as_mut() else { return };
        let decided = dataplane.fast_path(&interfaces, answer).map_err(|error| report(&error));
        let decided = self.faults.track(decided, |why| Fault::State("fast path", why));
        self.fast_due = decided.flatten().map(|left| Instant::now() + left);
    }

    /// Notified after every attachment.
    pub fn attached(&self) -> Arc<Notify> {
        Arc::clone(&self.attached)
    }

    /// When to look again because something has to stand for a while.
    pub fn fast_due(&self) -> Option<Instant> {
        self.fast_due
    }

    /// The configuration's wishes, as interfaces, and the names nobody has: they were meant to keep something off.
    fn fast_choice(&self) -> (Choice, Vec<String>) {
        let interfaces: BTreeSet<String> =
            self.guarded_names().unwrap_or_default().into_iter().map(|(name, _)| name).collect();
        let (mut except, mut unknown) = (BTreeSet::new(), Vec::new());
        for name in &self.config.fast_path_except {
            let nets = self.live.iter().flat_map(|live| &live.policy.nets).filter(|net| net.name == *name);
            let ports: Vec<String> = nets.flat_map(|net| &net.ports).map(|port| port.interface.clone()).collect();
            if interfaces.contains(name) {
                except.insert(name.clone());
            } else if ports.is_empty() {
                unknown.push(name.clone());
            }
            except.extend(ports);
        }
        (Choice { off: !self.config.fast_path, except }, unknown)
    }

    /// Per interface, and summed up per zone or network.
    pub(super) fn fast_report(&self, lang: Lang, interfaces: &mut [Interface]) -> Vec<FastNet> {
        let Ok(dataplane) = &self.dataplane else { return Vec::new() };
        let names: Vec<(String, u16)> = self.guarded_names().unwrap_or_default();
        let verdicts = dataplane.fast_verdicts(&names, self.fast_choice().0);
        for interface in interfaces.iter_mut() {
            if let Some(verdict) = verdicts.iter().find(|verdict| verdict.name == interface.name) {
                interface.fast_path = way(verdict, lang);
            }
        }
        let mut nets: Vec<&str> = Vec::new();
        for net in interfaces.iter().flat_map(|interface| &interface.nets) {
            if !nets.contains(&net.as_str()) {
                nets.push(net);
            }
        }
        nets.sort_unstable();
        nets.into_iter().map(|net| sum(net, interfaces)).collect()
    }
}

fn way(verdict: &Verdict, lang: Lang) -> FastWay {
    let reasons = verdict.objections.iter().map(|one| FastReason {
        code: one.reason.code().to_owned(),
        way: one.way.code().to_owned(),
        interface: verdict.name.clone(),
        about: one.about.clone(),
        text: said(one.reason, &one.about, one.way, lang),
    });
    FastWay { way_in: verdict.way_in, way_out: verdict.way_out, reasons: reasons.collect() }
}

/// A network is on if packets may take it in and out by every interface of it.
fn sum(net: &str, interfaces: &[Interface]) -> FastNet {
    let of_net = || interfaces.iter().filter(|interface| interface.nets.iter().any(|name| name == net));
    FastNet {
        network: net.to_owned(),
        on: of_net().all(|one| one.fast_path.way_in && one.fast_path.way_out),
        reasons: of_net().flat_map(|one| one.fast_path.reasons.clone()).collect(),
    }
}

/// A reason for people.
fn said(reason: Reason, about: &str, way: Way, lang: Lang) -> String {
    let text = match reason {
        Reason::Configured => text::fast_configured(lang),
        Reason::NotAttached => text::fast_not_attached(lang),
        Reason::GenericXdp => text::fast_generic(lang),
        Reason::NoRedirect => text::fast_no_redirect(lang),
        Reason::NoTransmit => text::fast_no_transmit(lang),
        Reason::Nat => text::fast_nat(lang, about),
        Reason::Netfilter => text::fast_netfilter(lang, about),
        Reason::LegacyTables => text::fast_legacy(lang, about),
        Reason::TrafficControl => text::fast_tc(lang, about),
        Reason::Shaping => text::fast_shaping(lang, about),
        Reason::RoutingRule => text::fast_routing_rule(lang, about),
        Reason::Ipsec => text::fast_ipsec(lang),
        Reason::NotForwarding => text::fast_not_forwarding(lang, about),
        Reason::BridgeStp => text::fast_bridge_stp(lang, about),
        Reason::BridgeVlans => text::fast_bridge_vlans(lang, about),
        Reason::BridgePort => text::fast_bridge_port(lang, about),
        Reason::UpperDevice => text::fast_upper(lang, about),
        Reason::DeviceKind => text::fast_kind(lang, about),
        Reason::Unknown => text::fast_unknown(lang, about),
        Reason::Settling => text::fast_settling(lang),
    };
    match way {
        Way::Both => text,
        Way::In => text::fast_only_in(lang, text),
        Way::Out => text::fast_only_out(lang, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_said_in_both_languages_and_has_a_code_of_its_own() {
        let mut seen = BTreeSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.code()));
            for lang in [Lang::En, Lang::Ja] {
                assert!(seen.insert(Box::leak(said(*reason, "x", Way::Both, lang).into_boxed_str())), "{reason:?}");
            }
        }
    }

    #[test]
    fn a_network_is_on_only_if_every_interface_of_it_is() {
        let interface = |name: &str, way_out| Interface {
            name: name.into(),
            nets: vec!["office".into()],
            fast_path: FastWay { way_in: true, way_out, reasons: Vec::new() },
            ..Interface::default()
        };
        assert!(sum("office", &[interface("a", true), interface("b", true)]).on);
        assert!(!sum("office", &[interface("a", true), interface("b", false)]).on);
    }
}
