//! Restoring, at once or in stages. What shall open is shown before; where the policy demands it, one person asks and another
//! one confirms.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use sekimori_ebpf::abi::MAX_STAGED_SERVICES;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    clock::{self, seconds},
    cuts::ObjectDone,
    fault::Fault,
    keeper::{Caller, Keeper},
};
use crate::{
    api::{
        protocol::{ConfirmAsk, Reply, RestoreAsk},
        report::Waiting,
    },
    cli::text::{self, Lang},
    cutoff::{Cut, First, Object, Overlay, Request, Stage, dates, first, same_person, switch},
    record::{Action, Draft, Outcome},
};

/// Most restorations that wait for a second person.
const MAX_REQUESTS: usize = 64;

/// What a restoration says.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct RestoreDone {
    /// Each object that was named.
    pub objects: Vec<ObjectDone>,
    /// Only shown, nothing was lifted.
    pub dry_run: bool,
    /// Nothing was lifted yet: a second person has to confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// What passes the objects again, as on the command line; empty: they are restored whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
    /// What passes again, in the reader's language.
    pub opens: Vec<String>,
    /// What else to know.
    pub notes: Vec<String>,
    /// What stays cut off.
    pub others: Vec<String>,
}

/// What a restoration would do.
struct Lifting {
    /// The cuts it is about.
    gone: Vec<Cut>,
    /// The cuts after it.
    left: Overlay,
    /// What was named to be restored first; empty: the cuts go.
    first: Vec<First>,
    /// What passes again, in the reader's language.
    opens: Vec<String>,
}

impl Keeper {
    /// Lifts the cuts of exactly these objects, all or none.
    pub fn restore(&mut self, ask: RestoreAsk, caller: &Caller) -> Reply {
        let lang = caller.lang;
        // A button pressed a moment ago counts: what it cut is not lifted unseen.
        self.take_over_by_hand();
        self.end_requests();
        let lifting = match self.lifting(&ask.objects, &ask.first, lang) {
            Ok(lifting) => lifting,
            Err(reply) => return reply,
        };
        let second_person = self.live.as_ref().is_some_and(|live| live.policy.restoring.second_person);
        if ask.dry_run {
            let notes = if second_person { vec![text::restore_two_people(lang)] } else { Vec::new() };
            return Reply::done(RestoreDone {
                objects: lifting.gone.iter().map(|cut| object_done(cut, "cut", &self.zone())).collect(),
                dry_run: true,
                waiting: None,
                first: lifting.list(),
                opens: lifting.opens,
                notes,
                others: names(&lifting.left.cuts),
            });
        }
        if second_person {
            return self.request(lifting, ask.reason, caller);
        }
        self.carry_out_restoration(lifting, ask.reason, None, caller)
    }

    /// Carries out what somebody else asked for.
    pub fn confirm(&mut self, ask: ConfirmAsk, caller: &Caller) -> Reply {
        let lang = caller.lang;
        self.take_over_by_hand();
        self.end_requests();
        let Some(request) = self.requests.iter().find(|request| request.id == ask.id).cloned() else {
            let waiting: Vec<String> = self.requests.iter().map(|request| request.id.to_string()).collect();
            let waiting = if waiting.is_empty() { text::nothing(lang) } else { waiting.join(", ") };
            return Reply::refused(text::confirm_absent(lang, ask.id, waiting));
        };
        let details = json!({
            "request": request.id,
            "asked_by": request.asked_by,
            "asked_at": request.asked_at,
            "confirmed_by": caller.actor,
            "confirm_reason": ask.reason,
        });
        if same_person(&request.asked_by, &caller.actor) {
            let result = Outcome { ok: false, message: "not confirmed: by the same account that asked".into() };
            let names: Vec<String> = request.objects().iter().map(ToString::to_string).collect();
            let draft = self.draft(caller, Action::Restore, &names, result);
            self.write_record(Draft { reason: Some(request.reason), details: Some(details), ..draft });
            return Reply::refused(text::confirm_same_person(lang, request.id, &request.asked_by.name));
        }
        let lifting = match self.lifting(&request.objects(), &request.first, lang) {
            Ok(lifting) => lifting,
            Err(reply) => return reply,
        };
        // On disk it stays until it is done: by then it is about nothing any more.
        self.requests.retain(|waiting| waiting.id != request.id);
        let reply = self.carry_out_restoration(lifting, request.reason.clone(), Some(details), caller);
        if reply.body.is_null() {
            self.requests.push(request);
        } else {
            self.keep_requests();
        }
        reply
    }

    /// What lifting these would do, or restoring the first of them.
    fn lifting(&self, objects: &[Object], first: &[First], lang: Lang) -> Result<Lifting, Reply> {
        if objects.is_empty() || objects.len() > switch::MAX_OBJECTS {
            return Err(Reply::usage(text::cut_how_many(lang, switch::MAX_OBJECTS)));
        }
        let objects = switch::checked(objects).map_err(|error| Reply::usage(error.text(lang)))?;
        let mut left = self.overlay.clone();
        let mut gone = Vec::new();
        for object in &objects {
            let Some(cut) = left.lift(object) else {
                return Err(self.not_cut(object, lang));
            };
            gone.push(cut);
        }
        if first.is_empty() {
            let opens = self.what_opens(&gone, &left, lang);
            return Ok(Lifting { gone, left, first: Vec::new(), opens });
        }
        // One list for all of them: what is restored in stages already must not open for what is named for another.
        let named = |cut: &&Cut| objects.iter().any(|object| cut.object.is(object));
        let others: Vec<String> =
            self.overlay.staged().filter(|cut| !named(cut)).map(|cut| cut.object.to_string()).collect();
        if !others.is_empty() {
            return Err(Reply::refused(text::stage_other(lang, others.join(", "), words(&self.overlay.stage.first))));
        }
        let policy = self.live.as_ref().map(|live| live.policy.clone());
        let stage = first::stage(first, policy.as_deref()).map_err(|error| Reply::usage(error.text(lang)))?;
        let mut left = self.overlay.clone();
        let first = stage.first.clone();
        left.restore_first(&objects, stage);
        if left.stage.services.len() > MAX_STAGED_SERVICES {
            return Err(Reply::usage(first::Error::Full(MAX_STAGED_SERVICES).text(lang)));
        }
        let all = left.cuts.iter().any(|cut| cut.object == Object::All && !cut.staged);
        let opens = gone.iter().map(|cut| match all {
            true => text::restore_still_all(lang, &cut.object),
            false => text::restore_opens_first(lang, &cut.object, words(&left.stage.first)),
        });
        let opens = opens.collect();
        Ok(Lifting { gone, left, first, opens })
    }

    /// Lifts. `details`: who asked for it, where somebody else did.
    fn carry_out_restoration(
        &mut self,
        lifting: Lifting,
        reason: String,
        details: Option<Value>,
        caller: &Caller,
    ) -> Reply {
        let lang = caller.lang;
        let list_now = lifting.list();
        let Lifting { mut gone, left, first, opens } = lifting;
        let names = names(&gone);
        let list = names.join(", ");
        if let Err(why) = self.ledger.ready() {
            return Reply::failed(text::restore_failed(lang, list, why));
        }
        let lifted = self.lift(left);
        let (done, details) = if first.is_empty() {
            ("restored", details)
        } else {
            let mut all = details.unwrap_or_else(|| json!({}));
            all["first"] = json!(first.iter().map(ToString::to_string).collect::<Vec<_>>());
            all["list"] = json!(list_now);
            ("staged", Some(all))
        };
        let happened = if first.is_empty() { "restored" } else { "restored in part; the rest stays cut off" };
        let message = lifted.as_ref().err().cloned().unwrap_or_else(|| happened.to_owned());
        let result = Outcome { ok: lifted.is_ok(), message };
        let draft = Draft { reason: Some(reason), details, ..self.draft(caller, Action::Restore, &names, result) };
        if let Err(why) = lifted {
            self.write_record(draft);
            return Reply::failed(text::restore_failed(lang, list, why));
        }
        let mut wrong = self.bring_links_up(&mut gone, lang);
        wrong.extend(self.write_record(draft));
        self.end_requests();
        let others = self.others(&[]);
        let notes = if others.is_empty() { Vec::new() } else { vec![text::others_cut(lang, others.join(", "))] };
        let mut reply = Reply::done(RestoreDone {
            objects: gone.iter().map(|cut| object_done(cut, done, &self.zone())).collect(),
            first: list_now,
            opens,
            notes,
            others,
            ..RestoreDone::default()
        });
        if !wrong.is_empty() {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", wrong.join("; ")).error;
        }
        reply
    }

    /// Notes that somebody wants it, for a second person to confirm.
    fn request(&mut self, lifting: Lifting, reason: String, caller: &Caller) -> Reply {
        let lang = caller.lang;
        let list_then = lifting.list();
        let Lifting { gone, left: _, first, opens } = lifting;
        let names = names(&gone);
        let list = names.join(", ");
        if self.requests.len() >= MAX_REQUESTS {
            return Reply::refused(text::request_full(lang, MAX_REQUESTS));
        }
        let now = Timestamp::now();
        let lasting = self.live.as_ref().map(|live| live.policy.restoring).unwrap_or_default().seconds;
        let span = SignedDuration::from_secs(i64::try_from(lasting).unwrap_or(i64::MAX));
        let expires = now.checked_add(span).unwrap_or(Timestamp::MAX);
        if let Err(why) = self.ledger.ready() {
            return Reply::failed(text::request_failed(lang, list, why));
        }
        let result = Outcome { ok: true, message: "asked for; waits for a second person".into() };
        let draft = self.draft(caller, Action::RestoreRequest, &names, result);
        let details = json!({ "expires": seconds(expires), "first": list_then });
        let written = self.ledger.append(Draft { reason: Some(reason.clone()), details: Some(details), ..draft });
        let id = match written {
            Ok(line) => line.n,
            Err(why) => {
                self.faults.raise(Fault::Record(why.clone()));
                return Reply::failed(text::request_failed(lang, list, why));
            }
        };
        let request = Request::of(id, (&gone, first), reason, caller.actor.clone(), (seconds(now), expires));
        let waiting = waiting(&request, &self.zone());
        self.requests.push(request);
        if let Some(why) = self.keep_requests() {
            self.requests.retain(|request| request.id != id);
            let result = Outcome { ok: false, message: format!("request {id} could not be kept: {why}") };
            self.note(caller, Action::RestoreRequest, None, names, None, result);
            return Reply::failed(text::request_failed(lang, list, why));
        }
        let mut reply = Reply::done(RestoreDone {
            objects: gone.iter().map(|cut| object_done(cut, "waiting", &self.zone())).collect(),
            waiting: Some(waiting),
            first: list_then,
            opens,
            others: self.others(&[]),
            ..RestoreDone::default()
        });
        reply.exit = 1;
        reply
    }

    /// Requests onto the disk; what went wrong comes back as text.
    fn keep_requests(&mut self) -> Option<String> {
        let kept = self.state.set_requests(&self.requests).map_err(|error| error.to_string());
        self.faults.track(kept.clone(), |why| Fault::State("restore requests", why));
        kept.err()
    }

    /// Requests whose time is over, or whose cut is not what it was when they were made, restore nothing any more.
    pub(super) fn end_requests(&mut self) {
        let now = Timestamp::now();
        let (stay, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.requests)
            .into_iter()
            .partition(|request| request.stands(&self.overlay) && !request.is_over(now));
        self.requests = stay;
        if gone.is_empty() {
            return;
        }
        // What stays on a disk that refuses is looked at again before it restores anything.
        self.keep_requests();
        for request in gone {
            let why = if request.stands(&self.overlay) {
                "nobody confirmed it in time"
            } else {
                "what it was about was lifted, or cut off again"
            };
            let result = Outcome { ok: false, message: format!("request {} ends: {why}", request.id) };
            let names = request.objects().iter().map(ToString::to_string).collect();
            self.note(&Caller::agent(), Action::RestoreRequest, Some(request.reason), names, None, result);
        }
    }

    /// What a request is about, if it waits.
    pub fn requested(&self, id: u64) -> Vec<Object> {
        self.requests.iter().find(|request| request.id == id).map(Request::objects).unwrap_or_default()
    }

    /// What passes a cut that is restored in stages, as on the command line.
    pub(super) fn first_of(&self, cut: &Cut) -> Vec<String> {
        if cut.staged { self.overlay.stage.first.iter().map(ToString::to_string).collect() } else { Vec::new() }
    }

    /// Requests that concern an object.
    pub(super) fn waiting_for(&self, object: &Object, now: Timestamp) -> Vec<Waiting> {
        let about = |request: &&Request| request.cuts.iter().any(|seen| seen.object.is(object));
        let live = |request: &&Request| request.stands(&self.overlay) && !request.is_over(now);
        self.requests.iter().filter(about).filter(live).map(|request| waiting(request, &self.zone())).collect()
    }

    /// Fewer cuts: on disk first, so that a crash in between leaves the cut in force and a reboot does not bring it back.
    pub(super) fn lift(&mut self, overlay: Overlay) -> Result<(), String> {
        let all = |overlay: &Overlay| overlay.cuts.iter().any(|cut| cut.object == Object::All);
        let all_lifted = all(&self.overlay) && !all(&overlay);
        let before = std::mem::replace(&mut self.overlay, overlay);
        let kept = self.cut_store.save(&self.overlay).map_err(|error| error.to_string());
        let lifted = kept.and_then(|()| match self.write_cut() {
            Err(why) if self.detached.is_none() => Err(why),
            _ => Ok(()),
        });
        if let Err(why) = lifted {
            self.overlay = before;
            self.notes_taken = false;
            let saved = self.cut_store.save(&self.overlay).map_err(|error| error.to_string());
            self.faults.track(saved, Fault::CutNotKept);
            return Err(why);
        }
        self.faults.clear(&Fault::CutNotKept(String::new()));
        if self.overlay.cuts.is_empty() {
            self.faults.clear(&Fault::PlanUnproven(String::new()));
        }
        if all_lifted {
            self.faults.clear(&Fault::CutUnreadable { aside: None, why: String::new() });
        }
        Ok(())
    }

    /// There is nothing to restore, or to look at.
    pub(super) fn not_cut(&self, object: &Object, lang: Lang) -> Reply {
        let others = self.others(&[]);
        let list = if others.is_empty() { text::nothing(lang) } else { others.join(", ") };
        let mut why = text::restore_absent(lang, object, list);
        if self.overlay.cuts.iter().any(|cut| cut.object == Object::All) {
            why.push_str(&text::restore_absent_all(lang));
        }
        Reply::refused(why)
    }

    /// What passes again, and what stays shut for another reason.
    fn what_opens(&self, gone: &[Cut], left: &Overlay, lang: Lang) -> Vec<String> {
        let mut opens = Vec::new();
        for cut in gone {
            let object = &cut.object;
            if left.cuts.iter().any(|cut| cut.object == Object::All) {
                opens.push(text::restore_still_all(lang, object));
                continue;
            }
            if let Some(other) = left.cuts.iter().find(|other| !other.staged && other.holds(cut)) {
                opens.push(text::restore_still_within(lang, object, &other.object));
                continue;
            }
            let views = self.conversations(std::slice::from_ref(object)).concat().len();
            opens.push(match object {
                Object::Network { name } | Object::Zone { name } => {
                    let rules = self.rules_of(name);
                    text::restore_opens_net(lang, object, rules.len(), rules.join(", "), views)
                }
                _ => text::restore_opens(lang, object, views),
            });
        }
        opens
    }
}

impl Lifting {
    /// What passes the cuts after it, as on the command line; empty if they are gone.
    fn list(&self) -> Vec<String> {
        let Stage { first, .. } = &self.left.stage;
        if self.first.is_empty() { Vec::new() } else { first.iter().map(ToString::to_string).collect() }
    }
}

fn words(first: &[First]) -> String {
    first.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn names(cuts: &[Cut]) -> Vec<String> {
    cuts.iter().map(|cut| cut.object.to_string()).collect()
}

fn object_done(cut: &Cut, done: &str, zone: &TimeZone) -> ObjectDone {
    ObjectDone {
        object: cut.object.to_string(),
        done: done.to_owned(),
        in_force: done != "restored",
        level: cut.level,
        // What is restored needs no end any more.
        until: cut.until.as_ref().filter(|_| done != "restored").map(|end| dates::local(end.wall(&clock::all()), zone)),
        links: cut.links.clone(),
        forgotten: 0,
    }
}

fn waiting(request: &Request, zone: &TimeZone) -> Waiting {
    Waiting {
        id: request.id,
        asked_by: request.asked_by.clone(),
        asked_at: request.asked_at.clone(),
        reason: request.reason.clone(),
        first: request.first.iter().map(ToString::to_string).collect(),
        expires: dates::local(request.expires, zone),
    }
}
