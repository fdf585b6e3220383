//! Interfaces of cut objects at level `link`: down, held down, and up again.

use std::collections::BTreeSet;

use super::{fault::Fault, keeper::Keeper};
use crate::{
    cli::text::{self, Lang},
    cutoff::{Cut, Level, Object},
    dataplane::link,
    policy::model::Policy,
};

impl Keeper {
    /// Interfaces an object is behind, by the policy in force.
    pub(super) fn interfaces_of(&self, object: &Object) -> Vec<String> {
        let Some(policy) = self.live.as_ref().map(|live| &live.policy) else { return Vec::new() };
        let here = |name: Option<&str>| {
            let nets = policy.nets.iter().filter(|net| name.is_none_or(|name| net.name == name));
            let all: BTreeSet<String> = nets.flat_map(|net| &net.ports).map(|port| port.interface.clone()).collect();
            all.into_iter().collect()
        };
        match object {
            Object::All => here(None),
            Object::Network { name } | Object::Zone { name } => here(Some(name)),
            Object::Host { .. } | Object::Prefix { .. } => Vec::new(),
        }
    }

    /// Those of them that may be taken down, and why others may not.
    fn takeable(&self, object: &Object, including_management: bool, lang: Lang) -> (Vec<String>, Vec<String>) {
        let Some(policy) = self.live.as_ref().map(|live| live.policy.clone()) else { return Default::default() };
        let mut problems = Vec::new();
        let mut names = self.interfaces_of(object);
        names.retain(|interface| {
            if !including_management && self.config.management.iter().any(|path| path.interface == *interface) {
                problems.push(text::cut_link_management(lang, interface));
                return false;
            }
            if let Some(other) = self.shared_with(&policy, object, interface) {
                problems.push(text::cut_link_shared(lang, interface, other));
                return false;
            }
            true
        });
        (names, problems)
    }

    /// Another zone or network on the interface that is not cut.
    fn shared_with(&self, policy: &Policy, object: &Object, interface: &str) -> Option<String> {
        let cut = |name: &str| {
            let is = |object: &Object| match object {
                Object::All => true,
                Object::Network { name: its } | Object::Zone { name: its } => its == name,
                _ => false,
            };
            is(object) || self.overlay.cuts.iter().any(|cut| is(&cut.object))
        };
        let on_it = policy.nets.iter().filter(|net| net.ports.iter().any(|port| port.interface == interface));
        on_it.map(|net| net.name.clone()).find(|name| !cut(name))
    }

    /// Takes the interfaces of a cut object down; what could not be, and why.
    pub(super) fn take_links_down(&mut self, object: &Object, lang: Lang) -> Vec<String> {
        let including = self.overlay.cuts.iter().any(|cut| cut.object.is(object) && cut.including_management);
        let (names, mut problems) = self.takeable(object, including, lang);
        let mut taken = Vec::new();
        for name in names {
            match link::set_up(&name, false) {
                Ok(true) => taken.push(name),
                // Down already: if another cut did it, it is this one's to hold as well.
                Ok(false) if self.overlay.cuts.iter().any(|cut| cut.links.contains(&name)) => taken.push(name),
                Ok(false) => {}
                Err(error) => problems.push(text::cut_link_failed(lang, name, error)),
            }
        }
        if let Some(cut) = self.overlay.cuts.iter_mut().find(|cut| cut.object.is(object)) {
            cut.links.extend(taken.into_iter().filter(|name| !cut.links.contains(name)).collect::<Vec<_>>());
        }
        problems
    }

    /// Whatever brought an interface up that a cut took down: it goes down again.
    pub fn hold_links(&mut self) {
        let deep = self.overlay.cuts.iter().filter(|cut| cut.level == Level::Link && !cut.staged);
        let objects: Vec<Object> = deep.map(|cut| cut.object.clone()).collect();
        let before = self.overlay.clone();
        for object in &objects {
            // One that was down or not there when it was cut comes to it now. What cannot be taken down was said then.
            let _ = self.take_links_down(object, Lang::En);
        }
        if self.overlay != before {
            let saved = self.cut_store.save(&self.overlay).map_err(|error| error.to_string());
            self.faults.track(saved, Fault::CutNotKept);
        }
        let wanted: BTreeSet<String> = self
            .overlay
            .cuts
            .iter()
            .filter(|cut| cut.level == Level::Link && !cut.staged)
            .flat_map(|cut| cut.links.clone())
            .collect();
        for name in wanted {
            match link::set_up(&name, false) {
                Ok(true) => tracing::error!(
                    interface = name,
                    "was brought up although a cut-off holds it down; it is down again"
                ),
                Ok(false) => {}
                Err(error) => tracing::debug!(interface = name, %error, "cannot be held down"),
            }
        }
    }

    /// Brings up again what lifted cuts had taken down and no other cut holds; what could not be, and why.
    pub(super) fn bring_links_up(&self, gone: &[Cut], lang: Lang) -> Vec<String> {
        let held: BTreeSet<&String> = self.overlay.cuts.iter().flat_map(|cut| &cut.links).collect();
        let names: BTreeSet<&String> =
            gone.iter().flat_map(|cut| &cut.links).filter(|name| !held.contains(name)).collect();
        names
            .into_iter()
            .filter_map(|name| link::set_up(name, true).err().map(|error| text::restore_link_failed(lang, name, error)))
            .collect()
    }

    /// What is left for two people to do.
    pub(super) fn checklist(&self, objects: &[Object], lang: Lang) -> Vec<String> {
        let names: BTreeSet<String> = objects.iter().flat_map(|object| self.interfaces_of(object)).collect();
        let mut lines = vec![text::cable_head(lang)];
        lines.extend(names.iter().map(|name| text::cable_line(lang, name)));
        lines.push(text::cable_signed(lang));
        lines
    }
}
