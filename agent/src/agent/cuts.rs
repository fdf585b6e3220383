//! Cutting off and restoring. The cut comes first; disk and record follow, and what fails there is said loudly
//! while the cut stands (laws 3 and 10). What was seen of it afterwards is a line of the record of its own.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    by_hand,
    clock::{self, seconds},
    fault::Fault,
    keeper::{Caller, Keeper, report},
};
use crate::{
    api::{
        protocol::{CutoffAsk, Reply},
        report::Detached,
    },
    cli::text::{self, Lang},
    cutoff::{Covers, Cut, End, Level, Object, Overlay, Placed, Proof, Thrown, dates, resolve, switch},
    dataplane,
    record::{Action, Draft, Origin, Outcome},
};

/// Longest a cut may be asked to last.
pub(super) const MAX_SECONDS: u64 = 3_650 * 86_400;

/// Longest that people may have taken for a drill, from its start to the command.
const LONGEST_DRILL: SignedDuration = SignedDuration::from_hours(12);

/// What became of one object.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ObjectDone {
    /// As on the command line.
    pub object: String,
    /// `cut`, `cut_again`, `drilled`, `restored`, `staged` if only the first of it is, `waiting` if a second person has to
    /// confirm it, or `unknown` if nobody knows the name: then it is not cut off, unlike the others.
    pub done: String,
    /// In the data plane now.
    pub in_force: bool,
    /// `drop`, `flush` or `link`.
    pub level: Level,
    /// When it lifts itself, RFC 3339 with the offset of the policy's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Conversations forgotten.
    #[serde(default)]
    pub forgotten: u64,
    /// Interfaces taken down, or brought up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
}

/// What a cut-off says.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct CutDone {
    /// Each object that was named.
    pub objects: Vec<ObjectDone>,
    /// Only rehearsed.
    pub drill: bool,
    /// What was seen afterwards.
    pub proof: Proof,
    /// Of a drill: each step with the milliseconds it took, and how it went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Of a drill: seconds from the start named by the caller to the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people_seconds: Option<i64>,
    /// What the cut cannot stop, and what else to know, in the reader's language.
    pub notes: Vec<String>,
    /// Of level `link`: what is left for two people to do, in the reader's language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checklist: Vec<String>,
    /// What else is cut off.
    pub others: Vec<String>,
}

/// One step of a drill.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// `resolve`, `tables`, `state`, `record`, `watch`.
    pub step: String,
    /// How long it took, milliseconds.
    pub ms: f64,
    /// What is wrong, in the reader's language; `None`: it would have worked.
    pub problem: Option<String>,
}

/// What a cut-off asks for, checked.
struct Wish {
    objects: Vec<Object>,
    /// Names that nobody knows, beside ones that are known, and what is to be said of each.
    strangers: Vec<(Object, String)>,
    until: Option<End>,
    /// What was said of the end and cannot be meant: there is none then.
    endless: Option<String>,
}

impl Keeper {
    /// Cuts objects off: all that are known, at one instant. A slip in the end, or in a name among several, is no reason to let
    /// packets pass; only a drill and a plan have the time to refuse. `thrown`: what was done before anybody asked the instance.
    pub fn cutoff(&mut self, ask: CutoffAsk, thrown: Option<Thrown>, caller: &Caller) -> Reply {
        let lang = caller.lang;
        let strict = ask.drill || caller.from == Origin::Plan;
        let checked = self.wish(&ask, strict, lang).and_then(|mut wish| {
            let cuts = self.cuts_of(&mut wish, &ask, strict, caller)?;
            Ok((cuts, wish))
        });
        let (mut cuts, wish) = match checked {
            Ok(checked) => checked,
            Err(mut reply) => {
                // Thrown before the instance was opened, it was found there like any other cut, and is kept: what was cut by
                // somebody else in the meantime must not be lifted by a slip.
                let kept = !self.agent_running && thrown.is_some();
                let undone = self.unthrow(thrown) && !kept;
                // Whoever is frightened must not take a message for a success, nor a cut for none.
                if let Some(problem) = reply.error.as_mut().filter(|_| !ask.drill) {
                    let and = if undone { text::and_nothing_cut } else { text::and_perhaps_cut };
                    problem.message = and(lang, &problem.message);
                }
                return reply;
            }
        };
        if ask.drill {
            return self.drill(&ask, &cuts, caller);
        }
        let thrown = thrown.or_else(|| self.switch.throw(&wish.objects, ask.including_management, Instant::now()));
        let mut overlay = self.overlay.clone();
        if !self.agent_running && thrown.is_some() {
            // This very command threw it before the instance was opened, which then found it. What was on disk is another's, and
            // what another left wider stays so.
            let found = |cut: &Cut| self.found_cut.iter().any(|found| found.is(&cut.object));
            for cut in &mut cuts {
                let its = overlay.cuts.iter().find(|its| its.object.is(&cut.object) && found(its));
                cut.including_management |= its.is_some_and(|its| its.including_management);
            }
            overlay.cuts.retain(|cut| !found(cut) || !wish.objects.iter().any(|object| cut.object.is(object)));
        }
        let now = clock::all();
        let placed: Vec<Placed> = cuts.iter().map(|cut| overlay.place(cut.clone(), &now)).collect();
        let before = std::mem::replace(&mut self.overlay, overlay);
        let names: Vec<String> = wish.objects.iter().map(ToString::to_string).collect();
        let unknown = match self.write_cut() {
            Ok(unknown) => unknown,
            Err(_) if self.detached.is_some() => wish.objects.clone(),
            // What was thrown stands; the rest could not be written.
            Err(why) if thrown.is_some() => {
                self.faults.raise(Fault::State("cut-off", why));
                Vec::new()
            }
            Err(why) => {
                self.overlay = before;
                self.notes_taken = false;
                let result = Outcome { ok: false, message: why.clone() };
                self.note(caller, Action::Cutoff, Some(ask.reason), names.clone(), None, result);
                return Reply::failed(text::cut_failed(lang, names.join(", "), why));
            }
        };
        if let Some(thrown) = &thrown {
            self.switch.noted(thrown);
            self.switched.observe(Duration::from_micros(thrown.micros).as_secs_f64());
        }
        let mut wrong = Vec::new();
        let mut forgotten = vec![0; wish.objects.len()];
        let conversations = self.conversations(&wish.objects);
        if ask.level >= Level::Flush {
            for (count, keys) in forgotten.iter_mut().zip(&conversations) {
                match self.forget(keys) {
                    Ok(()) => *count = keys.len() as u64,
                    Err(why) => wrong.push(why),
                }
            }
        }
        if ask.level >= Level::Link {
            for object in &wish.objects {
                wrong.extend(self.take_links_down(object, lang));
            }
        }
        if let Err(error) = self.cut_store.save(&self.overlay) {
            self.faults.raise(Fault::CutNotKept(error.to_string()));
            wrong.push(error.to_string());
        }
        let in_force = |object: &Object| !unknown.iter().any(|its| its.is(object));
        let all_in_force = wish.objects.iter().all(in_force);
        let again = placed.iter().all(|placed| *placed == Placed::Again);
        let message = if again { "was cut off already" } else { "cut off" };
        let mut message = if all_in_force { message.to_owned() } else { format!("{message}; NOT in force") };
        if let Some(why) = &wish.endless {
            message.push_str(&format!("; WITHOUT an end: {why}"));
        }
        for (object, _) in &wish.strangers {
            message.push_str(&format!("; NOT cut off, for nobody knows it: {object}"));
        }
        let result = Outcome { ok: all_in_force, message };
        let draft =
            Draft { level: Some(ask.level.name().to_owned()), ..self.draft(caller, Action::Cutoff, &names, result) };
        let details =
            thrown.as_ref().map(|thrown| json!({ "switched_at": micros(thrown.at), "switch_us": thrown.micros }));
        match self.write_record(Draft { reason: Some(ask.reason.clone()), details, ..draft }) {
            Some(why) => wrong.push(why),
            None => {
                self.mark_recorded(&wish.objects);
                // Nobody writes again: the next command would take it for one that nobody knows of.
                if !self.agent_running {
                    wrong.extend(self.cut_store.save(&self.overlay).err().map(|error| error.to_string()));
                }
            }
        }
        self.end_requests();

        let counts: Vec<u64> = conversations.iter().map(|keys| keys.len() as u64).collect();
        let proof = self.prove(&wish.objects, &counts, thrown.as_ref(), lang);
        wrong.extend(self.record_proof(&names, ask.level, &proof, caller));
        let mut notes = self.limits_of(ask.level, &wish.objects, lang);
        let zone = self.zone();
        if let (Some(written), Some(End::At(until))) = (&ask.until, &wish.until)
            && dates::read(written, &zone).is_none()
            && until.to_zoned(zone.clone()).date() != now.wall.to_zoned(zone.clone()).date()
        {
            notes.push(text::cut_until_tomorrow(lang, written));
        }
        if !self.agent_running {
            notes.push(text::cut_without_agent(lang));
        }
        for object in wish.objects.iter().filter(|object| !in_force(object)) {
            let why = if self.detached.is_some() { text::cut_not_in_force } else { text::cut_without_number };
            notes.insert(0, why(lang, object));
        }
        let objects = wish.objects.iter().zip(&placed).zip(&forgotten).map(|((object, placed), forgotten)| {
            let cut = self.overlay.cuts.iter().find(|cut| cut.object.is(object));
            ObjectDone {
                object: object.to_string(),
                done: if *placed == Placed::New { "cut" } else { "cut_again" }.to_owned(),
                in_force: in_force(object),
                level: cut.map_or(ask.level, |cut| cut.level),
                until: cut.and_then(|cut| cut.until.as_ref()).map(|end| dates::local(end.wall(&now), &zone)),
                forgotten: *forgotten,
                links: cut.map(|cut| cut.links.clone()).unwrap_or_default(),
            }
        });
        let checklist = if ask.level >= Level::Link {
            self.checklist(&wish.objects, ask.including_management, lang)
        } else {
            Vec::new()
        };
        let stranger = |(object, _): &(Object, String)| ObjectDone {
            object: object.to_string(),
            done: "unknown".to_owned(),
            level: ask.level,
            ..ObjectDone::default()
        };
        let proven = proof.proven;
        let objects = objects.chain(wish.strangers.iter().map(stranger)).collect();
        let mut reply = Reply::done(CutDone {
            others: self.others(&wish.objects),
            objects,
            proof,
            notes,
            checklist,
            ..CutDone::default()
        });
        let names = names.join(", ");
        let mut problems = Vec::new();
        if !wish.strangers.is_empty() {
            let whys: Vec<&str> = wish.strangers.iter().map(|(_, why)| why.as_str()).collect();
            problems.push((2, "unknown", text::cut_strangers(lang, whys.join("; "), &names)));
        }
        if let Some(why) = &wish.endless {
            problems.push((1, "endless", text::cut_endless(lang, &names, why)));
        }
        if !wrong.is_empty() {
            problems.push((1, "unrecorded", text::cut_not_kept(lang, wrong.join("; "))));
        }
        let worst = problems.iter().map(|(exit, ..)| *exit).max().unwrap_or(u8::from(!proven));
        reply.exit = if all_in_force { worst } else { 2 };
        if let Some((exit, code, _)) = problems.first() {
            let said: Vec<&str> = problems.iter().map(|(.., said)| said.as_str()).collect();
            reply.error = Reply::problem(*exit, code, said.join("\n")).error;
        }
        reply
    }

    /// What is asked for, if it can be understood. `strict`: in all its parts.
    fn wish(&self, ask: &CutoffAsk, strict: bool, lang: Lang) -> Result<Wish, Reply> {
        let objects = named(&ask.objects, ask.level, lang)?;
        if ask.including_management && objects != [Object::All] {
            return Err(Reply::usage(text::management_only_all(lang)));
        }
        let (until, endless) = match self.end(ask, lang) {
            Ok(until) => (until, None),
            Err(why) if strict => return Err(Reply::usage(why)),
            Err(why) => (None, Some(why)),
        };
        Ok(Wish { objects, strangers: Vec::new(), until, endless })
    }

    /// When a cut shall lift itself; why that is not known.
    fn end(&self, ask: &CutoffAsk, lang: Lang) -> Result<Option<End>, String> {
        let now = clock::all();
        match (ask.lasting, &ask.until, &ask.unread) {
            (_, _, Some(text)) => Err(text::cut_duration(lang, text)),
            (None, None, None) => Ok(None),
            (Some(lasting @ 1..=MAX_SECONDS), None, None) => Ok(End::after(Duration::from_secs(lasting), &now)),
            (None, Some(text), None) => match self.until(text, now.wall) {
                Some(until) if until > now.wall => Ok(Some(End::At(until))),
                Some(_) => Err(text::cut_until_past(lang, text)),
                None => Err(text::cut_until_what(lang, text)),
            },
            _ => Err(text::cut_lasting(lang)),
        }
    }

    /// RFC 3339, local time of the policy, or a time of day: then the next one.
    pub(super) fn until(&self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let zone = self.zone();
        dates::read(text, &zone).or_else(|| dates::next(dates::read_time(text)?, now, &zone))
    }

    /// The policy's time zone; without a policy, Japan's.
    pub(super) fn zone(&self) -> TimeZone {
        let own = self.live.as_ref().map(|live| live.policy.timezone.clone());
        own.or_else(|| TimeZone::get("Asia/Tokyo").ok()).unwrap_or(TimeZone::UTC)
    }

    /// The cuts of a wish, whose strangers are set aside if there are others and nobody is strict.
    fn cuts_of(&self, wish: &mut Wish, ask: &CutoffAsk, strict: bool, caller: &Caller) -> Result<Vec<Cut>, Reply> {
        let refused = self.refused_by_net();
        let mut cuts = Vec::new();
        let mut first = None;
        for object in std::mem::take(&mut wish.objects) {
            let covers = match self.known(&object, caller.lang) {
                Ok(covers) => covers,
                Err(reply) if strict => return Err(reply),
                Err(reply) => {
                    let why = reply.error.as_ref().map_or_else(String::new, |problem| problem.message.clone());
                    wish.strangers.push((object, why));
                    first.get_or_insert(reply);
                    continue;
                }
            };
            let (by, at) = (caller.actor.clone(), seconds(Timestamp::now()));
            let cut = Cut::new(object.clone(), ask.including_management, covers, ask.reason.clone(), by, at);
            let refused_before = self.refused_as_net(&object, &refused);
            cuts.push(Cut { level: ask.level, until: wish.until.clone(), refused_before, ..cut });
            wish.objects.push(object);
        }
        match first {
            Some(reply) if cuts.is_empty() => Err(reply),
            _ => Ok(cuts),
        }
    }

    /// What an object covers, if the policy in force or one before it has it.
    pub(super) fn known(&self, object: &Object, lang: Lang) -> Result<Covers, Reply> {
        let policy = self.live.as_ref().map(|live| live.policy.as_ref());
        let known = policy.map_or(Ok(()), |policy| resolve::exists(object, policy));
        let known = if self.retired(object) { Ok(()) } else { known };
        known.and_then(|()| resolve::covers(object, policy)).map_err(|unknown| Reply::usage(unknown.text(lang)))
    }

    /// The instance refuses what was thrown. Whether that is undone.
    pub(super) fn unthrow(&mut self, thrown: Option<Thrown>) -> bool {
        let Some(thrown) = thrown else { return true };
        self.switch.noted(&thrown);
        let written = self.write_cut().map(drop);
        let undone = written.is_ok();
        self.faults.track(written, |why| Fault::State("cut-off", why));
        undone
    }

    pub(super) fn draft(&self, caller: &Caller, action: Action, names: &[String], result: Outcome) -> Draft {
        let revision = self.revision();
        Draft {
            objects: names.to_vec(),
            before: revision.clone(),
            after: revision,
            ..Draft::new(caller.actor.clone(), caller.from, action, result)
        }
    }

    /// Kept with the cuts, and on disk with the next write: a cut without its line is worth an alert, not a delay.
    fn mark_recorded(&mut self, objects: &[Object]) {
        for cut in self.overlay.cuts.iter_mut().filter(|cut| objects.iter().any(|object| cut.object.is(object))) {
            cut.recorded = true;
        }
    }

    fn record_proof(&mut self, names: &[String], level: Level, proof: &Proof, caller: &Caller) -> Option<String> {
        let message = if proof.proven { "nothing passes" } else { "NOT proven" };
        let result = Outcome { ok: proof.proven, message: message.to_owned() };
        let draft = self.draft(caller, Action::CutoffProof, names, result);
        self.write_record(Draft {
            level: Some(level.name().to_owned()),
            details: serde_json::to_value(proof).ok(),
            ..draft
        })
    }

    /// Every step of a cut but the one that matters.
    fn drill(&mut self, ask: &CutoffAsk, cuts: &[Cut], caller: &Caller) -> Reply {
        let lang = caller.lang;
        let now = clock::all();
        let started = match ask.started.as_deref().map(|text| (text, self.started(text, now.wall))) {
            None => None,
            Some((_, Some(at))) => Some(now.wall.duration_since(at).as_secs()),
            Some((text, None)) => return Reply::usage(text::cut_started_what(lang, text)),
        };
        let mut steps = Vec::new();
        let mut time = |step: &str, began: Instant, problem: Option<String>| {
            steps.push(Step { step: step.to_owned(), ms: began.elapsed().as_secs_f64() * 1e3, problem });
        };
        let began = Instant::now();
        let objects: Vec<Object> = cuts.iter().map(|cut| cut.object.clone()).collect();
        let mut overlay = Overlay::default();
        for cut in cuts {
            overlay.place(cut.clone(), &now);
        }
        let (_, unknown) = overlay.tables(|name| self.numbers.as_ref().and_then(|numbers| numbers.net(name)));
        time("resolve", began, unknown.first().map(|object| text::cut_without_number(lang, object)));
        let began = Instant::now();
        let tables = self.switch.read();
        time("tables", began, tables.err().map(|error| report(&error)));
        let began = Instant::now();
        let kept = self.cut_store.save(&self.overlay);
        time("state", began, kept.err().map(|error| error.to_string()));
        let began = Instant::now();
        let ready = self.ledger.ready();
        time("record", began, ready.err());
        let began = Instant::now();
        let conversations = self.conversations(&objects);
        let counts: Vec<u64> = conversations.iter().map(|keys| keys.len() as u64).collect();
        let proof = self.rehearse(&objects, &counts, lang);
        time("watch", began, proof.unverified.first().cloned());

        let good = steps.iter().all(|step| step.problem.is_none());
        let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
        let message = if good { "everything would have worked" } else { "something would NOT have worked" };
        let result = Outcome { ok: good, message: message.to_owned() };
        let draft = self.draft(caller, Action::CutoffDrill, &names, result);
        let details = json!({ "steps": steps, "people_seconds": started, "conversations": counts });
        let unrecorded = self.write_record(Draft {
            drill: true,
            reason: Some(ask.reason.clone()),
            level: Some(ask.level.name().to_owned()),
            details: Some(details),
            ..draft
        });
        if unrecorded.is_none() {
            self.drilled = Some(now.wall);
            let kept = self.state.set_drilled(now.wall).map_err(|error| error.to_string());
            self.faults.track(kept, |why| Fault::State("last drill", why));
        }
        let object = |object: &Object| ObjectDone {
            object: object.to_string(),
            done: "drilled".to_owned(),
            // It may be cut off in earnest.
            in_force: self.overlay.cuts.iter().any(|cut| cut.object.is(object)),
            level: ask.level,
            ..ObjectDone::default()
        };
        let checklist = if ask.level >= Level::Link {
            self.checklist(&objects, ask.including_management, lang)
        } else {
            Vec::new()
        };
        let mut reply = Reply::done(CutDone {
            objects: objects.iter().map(object).collect(),
            drill: true,
            proof,
            steps,
            people_seconds: started,
            notes: self.limits_of(ask.level, &objects, lang),
            checklist,
            others: self.others(&objects),
        });
        reply.exit = u8::from(!good);
        if let Some(why) = unrecorded {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", why).error;
        }
        reply
    }

    /// When people were told: an instant, or the last such time of day; not to come, and not so long ago that it is a slip.
    fn started(&self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let zone = self.zone();
        let at = dates::read(text, &zone).or_else(|| dates::last(dates::read_time(text)?, now, &zone))?;
        (at <= now && now.duration_since(at) <= LONGEST_DRILL).then_some(at)
    }

    /// Looks at cuts again: of these objects, or of all.
    pub fn verify_cuts(&mut self, objects: &[Object], caller: &Caller) -> Reply {
        let lang = caller.lang;
        self.take_over_by_hand();
        let mut asked = match switch::checked(objects) {
            Ok(objects) => objects,
            Err(error) => return Reply::usage(error.text(lang)),
        };
        if let Some(absent) = asked.iter().find(|object| !self.overlay.cuts.iter().any(|cut| cut.object.is(object))) {
            return self.not_cut(absent, lang);
        }
        if asked.is_empty() {
            asked = self.overlay.cuts.iter().map(|cut| cut.object.clone()).collect();
        }
        if asked.is_empty() {
            return Reply::refused(text::cut_nothing(lang));
        }
        let counts = vec![0; asked.len()];
        let proof = self.prove(&asked, &counts, None, lang);
        let names: Vec<String> = asked.iter().map(ToString::to_string).collect();
        let level = self.overlay.cuts.iter().filter(|cut| asked.iter().any(|object| cut.object.is(object)));
        let level = level.map(|cut| cut.level).max().unwrap_or_default();
        let unrecorded = self.record_proof(&names, level, &proof, caller);
        if proof.proven {
            self.faults.clear(&Fault::PlanUnproven(String::new()));
        }
        let mut reply = Reply::with(u8::from(!proof.proven), proof);
        if let Some(why) = unrecorded {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", why).error;
        }
        reply
    }

    /// Takes over what `sekimori-cut` cut while we were running.
    pub fn take_over_by_hand(&mut self) {
        // Without a note, if there was no room for one, the tables alone tell.
        let foreign = || self.switch.foreign().is_ok_and(|found| found != crate::dataplane::CutTables::default());
        if self.dataplane.is_ok() && (by_hand::any(&self.config.state) || foreign()) {
            let written = self.write_cut().map(drop);
            self.faults.track(written, |why| Fault::State("cut-off", why));
        }
    }

    /// When the next cut lifts itself, or the next request for a restoration ends.
    pub fn cut_due(&self) -> Option<Duration> {
        let requests = self.requests.iter().map(|request| request.expires);
        let now = clock::all();
        let requests = requests.map(|expires| expires.duration_since(now.wall));
        let left = self.overlay.next_end(&now).into_iter().chain(requests).min()?;
        Some(left.try_into().unwrap_or(Duration::ZERO))
    }

    /// Lifts cuts whose time is over, and ends requests nobody confirmed.
    pub fn expire_cuts(&mut self) {
        self.end_requests();
        let ended = self.overlay.ended(&clock::all());
        if ended.is_empty() {
            return;
        }
        let mut overlay = self.overlay.clone();
        let mut gone: Vec<Cut> = ended.iter().filter_map(|object| overlay.lift(object)).collect();
        let lifted = self.lift(overlay);
        if lifted.is_ok() {
            let wrong = self.bring_links_up(&mut gone, Lang::En);
            for cut in &gone {
                tracing::info!(object = %cut.object, "its time is over: restored");
                let message = if wrong.is_empty() { "its time is over".to_owned() } else { wrong.join("; ") };
                let result = Outcome { ok: wrong.is_empty(), message };
                let names = vec![cut.object.to_string()];
                self.note(&Caller::agent(), Action::Restore, None, names, None, result);
            }
        }
        self.faults.track(lifted, |why| Fault::State("ended cut-off", why));
    }

    /// Whether an earlier policy had the zone or network: it can be cut, its packets may be why there is a new one.
    fn retired(&self, object: &Object) -> bool {
        let (Object::Network { name } | Object::Zone { name }) = object else {
            return false;
        };
        let named_now = self.live.as_ref().is_some_and(|live| live.policy.nets.iter().any(|net| net.name == *name));
        !named_now && self.numbers.as_ref().is_some_and(|numbers| numbers.net(name).is_some())
    }

    pub(super) fn others(&self, named: &[Object]) -> Vec<String> {
        let others = self.overlay.cuts.iter().filter(|cut| !named.iter().any(|object| cut.object.is(object)));
        others.map(|cut| cut.object.to_string()).collect()
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
        self.switch.connect(None, &self.config.state);
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

/// The objects that a cut at this level names, checked.
pub(super) fn named(asked: &[Object], level: Level, lang: Lang) -> Result<Vec<Object>, Reply> {
    if asked.is_empty() || asked.len() > switch::MAX_OBJECTS {
        return Err(Reply::usage(text::cut_how_many(lang, switch::MAX_OBJECTS)));
    }
    let objects = switch::checked(asked).map_err(|error| Reply::usage(error.text(lang)))?;
    let behind_interface = |object: &Object| !matches!(object, Object::Host { .. } | Object::Prefix { .. });
    match objects.iter().find(|object| level == Level::Link && !behind_interface(object)) {
        Some(object) => Err(Reply::usage(text::cut_link_of_what(lang, object))),
        None => Ok(objects),
    }
}

/// RFC 3339, UTC, microseconds.
pub(super) fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}
