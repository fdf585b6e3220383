//! Cutting off and restoring. The cut comes first; disk and record follow, and what fails there is said loudly
//! while the cut stands (laws 3 and 10).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    clock::seconds,
    fault::Fault,
    keeper::{Caller, Keeper, report},
};
use crate::{
    api::{protocol::Reply, report::Detached},
    cli::text,
    cutoff::{Cut, Object, Placed, resolve},
    dataplane,
    record::{Action, Outcome},
};

/// What a cut-off or a restoration says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CutDone {
    /// As on the command line.
    pub object: String,
    /// `cut`, `cut_again` or `restored`.
    pub done: String,
    /// In the data plane now.
    pub in_force: bool,
    /// Always `drop` in this version.
    pub level: String,
    /// What else to know, in the reader's language.
    pub notes: Vec<String>,
    /// What is still cut off.
    pub others: Vec<String>,
}

impl Keeper {
    /// Cuts an object off.
    pub fn cutoff(&mut self, object: Object, reason: String, including_management: bool, caller: &Caller) -> Reply {
        let lang = caller.lang;
        let object = match object.checked() {
            Ok(object) => object,
            Err(error) => return Reply::usage(error.text(lang)),
        };
        if including_management && object != Object::All {
            return Reply::usage(text::management_only_all(lang));
        }
        let policy = self.live.as_ref().map(|live| live.policy.clone());
        if let Err(unknown) = policy.as_deref().map_or(Ok(()), |policy| resolve::exists(&object, policy))
            && !self.retired(&object)
        {
            return Reply::usage(unknown.text(lang));
        }
        let covers = match resolve::covers(&object, policy.as_deref()) {
            Ok(covers) => covers,
            Err(unknown) => return Reply::usage(unknown.text(lang)),
        };
        let mut overlay = self.overlay.clone();
        let placed = overlay.place(Cut {
            object: object.clone(),
            including_management,
            reason: reason.clone(),
            placed_by: caller.actor.clone(),
            placed_at: seconds(Timestamp::now()),
            covers,
        });
        let before = std::mem::replace(&mut self.overlay, overlay);
        let objects = vec![object.to_string()];
        let in_force = match self.write_cut() {
            Ok(unknown) => !unknown.contains(&object),
            Err(_) if self.detached.is_some() => false,
            Err(why) => {
                self.overlay = before;
                let result = Outcome { ok: false, message: why.clone() };
                self.note(caller, Action::Cutoff, Some(reason), objects, None, result);
                return Reply::failed(text::cut_failed(lang, &object, why));
            }
        };
        let mut wrong = Vec::new();
        if let Err(error) = self.cut_store.save(&self.overlay) {
            self.faults.raise(Fault::CutNotKept(error.to_string()));
            wrong.push(error.to_string());
        }
        let (done, message) = match placed {
            Placed::New => ("cut", "cut off"),
            Placed::Again => ("cut_again", "was cut off already"),
        };
        let message = if in_force { message.to_owned() } else { format!("{message}; NOT in force") };
        let result = Outcome { ok: in_force, message };
        wrong.extend(self.note(caller, Action::Cutoff, Some(reason), objects, None, result));
        let mut notes = vec![text::cut_level(lang)];
        if !in_force {
            let why = if self.detached.is_some() { text::cut_not_in_force } else { text::cut_without_number };
            notes.insert(0, why(lang, &object));
        }
        let mut reply = Reply::done(CutDone {
            others: self.others(&object),
            object: object.to_string(),
            done: done.into(),
            in_force,
            level: "drop".into(),
            notes,
        });
        if !in_force {
            reply.exit = 2;
        } else if !wrong.is_empty() {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", text::cut_not_kept(lang, wrong.join("; "))).error;
        }
        reply
    }

    /// Lifts the cut of exactly this object.
    pub fn restore(&mut self, object: Object, reason: String, caller: &Caller) -> Reply {
        let lang = caller.lang;
        let object = match object.checked() {
            Ok(object) => object,
            Err(error) => return Reply::usage(error.text(lang)),
        };
        let mut overlay = self.overlay.clone();
        if overlay.lift(&object).is_none() {
            let others = self.others(&object);
            let list = if others.is_empty() { text::nothing(lang) } else { others.join(", ") };
            return Reply::refused(text::restore_absent(lang, &object, list));
        }
        if let Err(why) = self.ledger.ready() {
            return Reply::failed(text::restore_failed(lang, &object, why));
        }
        let before = std::mem::replace(&mut self.overlay, overlay);
        let objects = vec![object.to_string()];
        // Disk first: a crash in between leaves the cut in force, and a reboot does not bring it back.
        let kept = self.cut_store.save(&self.overlay).map_err(|error| error.to_string());
        let lifted = kept.and_then(|()| match self.write_cut() {
            Err(why) if self.detached.is_none() => Err(why),
            _ => Ok(()),
        });
        if let Err(why) = lifted {
            self.overlay = before;
            let saved = self.cut_store.save(&self.overlay).map_err(|error| error.to_string());
            self.faults.track(saved, Fault::CutNotKept);
            let result = Outcome { ok: false, message: why.clone() };
            self.note(caller, Action::Restore, Some(reason), objects, None, result);
            return Reply::failed(text::restore_failed(lang, &object, why));
        }
        self.faults.clear(&Fault::CutNotKept(String::new()));
        if object == Object::All {
            self.faults.clear(&Fault::CutUnreadable { aside: String::new(), why: String::new() });
        }
        let result = Outcome { ok: true, message: "restored".into() };
        let unrecorded = self.note(caller, Action::Restore, Some(reason), objects, None, result);
        let others = self.others(&object);
        let notes = if others.is_empty() { Vec::new() } else { vec![text::others_cut(lang, others.join(", "))] };
        let mut reply = Reply::done(CutDone {
            object: object.to_string(),
            done: "restored".into(),
            in_force: false,
            level: "drop".into(),
            notes,
            others,
        });
        if let Some(why) = unrecorded {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", why).error;
        }
        reply
    }

    /// Whether an earlier policy had the zone or network: it can be cut, its packets may be why there is a new one.
    fn retired(&self, object: &Object) -> bool {
        let (Object::Network { name } | Object::Zone { name }) = object else {
            return false;
        };
        let named_now = self.live.as_ref().is_some_and(|live| live.policy.nets.iter().any(|net| net.name == *name));
        !named_now && self.numbers.as_ref().is_some_and(|numbers| numbers.net(name).is_some())
    }

    fn others(&self, object: &Object) -> Vec<String> {
        self.overlay.cuts.iter().filter(|cut| cut.object != *object).map(|cut| cut.object.to_string()).collect()
    }

    /// A new policy may know more addresses and MACs of a host that is cut: the cut grows, it never shrinks.
    pub(super) fn widen_cuts(&mut self) {
        let policy = self.live.as_ref().map(|live| live.policy.clone());
        let mut changed = false;
        for cut in &mut self.overlay.cuts {
            if let Ok(covers) = resolve::covers(&cut.object, policy.as_deref()) {
                let before = cut.covers.clone();
                cut.covers.widen(&covers);
                changed |= cut.covers != before;
            }
        }
        if changed {
            let saved = self.cut_store.save(&self.overlay).map_err(|error| error.to_string());
            self.faults.track(saved, Fault::CutNotKept);
        }
    }

    /// Opens the gate.
    pub fn detach(&mut self, reason: String, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if let Err(why) = self.ledger.ready() {
            return Reply::failed(text::detach_failed(lang, why));
        }
        let snapshot = self.revision().and_then(|revision| self.snapshot(revision.number));
        let detached = Detached { by: caller.actor.clone(), at: seconds(Timestamp::now()), reason: reason.clone() };
        // On disk first: an agent that dies in between must not close a gate that somebody needs open.
        if let Err(error) = self.state.set_detached(Some(&detached)) {
            return Reply::failed(text::detach_failed(lang, error));
        }
        // Our own handles go first: what is still open would outlive its pin. This works without them, too.
        self.dataplane = Err(text::why_no_policy(text::Lang::En));
        let opened = dataplane::detach(&self.options()).map_err(|error| report(&error));
        self.detached = Some(detached);
        let result = match &opened {
            Ok(()) => Outcome { ok: true, message: "the gate is open".into() },
            Err(why) => Outcome { ok: false, message: why.clone() },
        };
        let unrecorded = self.note(caller, Action::Detach, Some(reason), Vec::new(), snapshot, result);
        match (opened, unrecorded) {
            (Err(why), _) => Reply::failed(text::detach_failed(lang, why)),
            (Ok(()), Some(why)) => Reply::problem(1, "unrecorded", why),
            (Ok(()), None) => Reply::done(serde_json::json!({ "detached": true })),
        }
    }
}
