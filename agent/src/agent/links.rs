//! Interfaces of cut objects at level `link`: down, held down, and up again.

use std::collections::{BTreeMap, BTreeSet};

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

    /// Those of them that may be taken down while all of `named` is cut, and why others may not.
    fn takeable(
        &self,
        object: &Object,
        named: &[Object],
        including_management: bool,
        lang: Lang,
    ) -> (Vec<String>, Vec<String>) {
        let Some(policy) = self.live.as_ref().map(|live| live.policy.clone()) else { return Default::default() };
        let mut problems = Vec::new();
        let mut names = self.interfaces_of(object);
        names.retain(|interface| {
            if !including_management && self.config.management.iter().any(|path| path.interface == *interface) {
                problems.push(text::cut_link_management(lang, interface));
                return false;
            }
            if let Some(other) = self.shared_with(&policy, named, interface) {
                problems.push(text::cut_link_shared(lang, interface, other));
                return false;
            }
            true
        });
        (names, problems)
    }

    /// Another zone or network on the interface that is not cut.
    fn shared_with(&self, policy: &Policy, named: &[Object], interface: &str) -> Option<String> {
        let cut = |name: &str| {
            let is = |object: &Object| match object {
                Object::All => true,
                Object::Network { name: its } | Object::Zone { name: its } => its == name,
                _ => false,
            };
            named.iter().any(is) || self.overlay.cuts.iter().any(|cut| is(&cut.object))
        };
        let on_it = policy.nets.iter().filter(|net| net.ports.iter().any(|port| port.interface == interface));
        on_it.map(|net| net.name.clone()).find(|name| !cut(name))
    }

    /// Takes the interfaces of a cut object down; what could not be, and why.
    pub(super) fn take_links_down(&mut self, object: &Object, lang: Lang) -> Vec<String> {
        let including = self.overlay.cuts.iter().any(|cut| cut.object.is(object) && cut.including_management);
        let (names, mut problems) = self.takeable(object, std::slice::from_ref(object), including, lang);
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

    /// Brings up what the cuts that are gone took down and no other cut holds; what came up is what they keep of it. What
    /// could not be, and why.
    pub(super) fn bring_links_up(&self, gone: &mut [Cut], lang: Lang) -> Vec<String> {
        let held: BTreeSet<&String> = self.overlay.cuts.iter().flat_map(|cut| &cut.links).collect();
        let names: BTreeSet<String> = gone.iter().flat_map(|cut| cut.links.clone()).collect();
        let (mut up, mut wrong) = (BTreeSet::new(), Vec::new());
        for name in names.into_iter().filter(|name| !held.contains(name)) {
            match link::set_up(&name, true) {
                Ok(_) => drop(up.insert(name)),
                Err(error) => wrong.push(text::restore_link_failed(lang, name, error)),
            }
        }
        gone.iter_mut().for_each(|cut| cut.links.retain(|name| up.contains(name)));
        wrong
    }

    /// What is left for two people to do.
    pub(super) fn checklist(&self, objects: &[Object], including_management: bool, lang: Lang) -> Vec<String> {
        let including = including_management || self.overlay.cuts.iter().any(|cut| cut.including_management);
        let mut cables = BTreeMap::new();
        for object in objects {
            let (out, _) = self.takeable(object, objects, including, lang);
            for name in self.interfaces_of(object) {
                let goes = out.contains(&name);
                *cables.entry(name).or_insert(false) |= goes;
            }
        }
        let line = |(name, goes): (&String, &bool)| {
            if *goes { text::cable_line(lang, name) } else { text::cable_stays(lang, name) }
        };
        let mut lines = vec![text::cable_head(lang)];
        lines.extend(cables.iter().map(line));
        lines.push(text::cable_signed(lang));
        lines
    }
}
