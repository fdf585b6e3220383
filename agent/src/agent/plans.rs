//! Planned cut-offs: on disk and recorded before anybody is told that they are; carried out at their time by the very path of
//! a cut by hand. A plan whose time came while no agent ran is carried out late, or, if its end has passed, missed: then it
//! stays in sight until somebody puts it away.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    clock::seconds,
    cuts::{MAX_SECONDS, named},
    fault::Fault,
    keeper::{Caller, Keeper},
};
use crate::{
    api::{
        protocol::{CutoffAsk, PlanAsk, Reply},
        report::PlanRow,
    },
    cli::text::{self, Lang},
    cutoff::{Notice, Object, Plan, PlanState, Plans, dates, notice::Stop, plan::MAX_PLANS},
    record::{Action, Draft, Origin, Outcome},
};

/// How long to wait before a plan that could not be carried out is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// What is carried out later than this after its time is said to be late.
const LATE: SignedDuration = SignedDuration::from_secs(5);

/// What planning, or taking back, says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PlanDone {
    /// `planned` or `taken_back`.
    pub done: String,
    /// Which.
    pub plan: PlanRow,
    /// What else to know, in the reader's language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What to tell the people concerned, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// Where the command put it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_file: Option<String>,
}

impl Keeper {
    /// Plans a cut-off.
    pub fn plan(&mut self, ask: PlanAsk, caller: &Caller) -> Reply {
        match self.planned(ask, caller) {
            Ok(reply) | Err(reply) => reply,
        }
    }

    fn planned(&mut self, ask: PlanAsk, caller: &Caller) -> Result<Reply, Reply> {
        let lang = caller.lang;
        self.plans_read(lang)?;
        let objects = named(&ask.objects, ask.level, lang)?;
        for object in &objects {
            self.known(object, lang)?;
        }
        let now = Timestamp::now();
        let behind = self.high.behind(now);
        if !behind.is_zero() {
            // What this clock calls to come may be over already, and would be carried out at once, or missed.
            let behind = text::age(lang, i64::try_from(behind.as_secs()).unwrap_or(i64::MAX));
            return Err(Reply::refused(text::plan_clock_behind(lang, behind)));
        }
        let (at, until) = self.times(&ask, now, lang)?;
        let (left, lead) = (at.duration_since(now), SignedDuration::from_secs(self.config.plan_lead_time.into()));
        if left < lead && !ask.urgent {
            let spelled = |span: SignedDuration| text::age(lang, span.as_secs());
            return Err(Reply::refused(text::plan_too_soon(lang, spelled(left), spelled(lead))));
        }
        let list = list(&objects);
        let fail = |why: String| Reply::failed(text::plan_failed(lang, list.join(", "), why));
        self.ledger.ready().map_err(fail)?;
        let mut plans = self.plans.clone();
        let plan = Plan {
            number: 0,
            objects,
            level: ask.level,
            at,
            until,
            reason: ask.reason,
            planned_by: caller.actor.clone(),
            planned_at: seconds(now),
            urgent: left < lead,
            state: PlanState::Pending,
            why: None,
        };
        let beside: Vec<&Plan> = self.plans.open().filter(|other| other.overlaps(&plan)).collect();
        let notes =
            beside.iter().map(|other| text::plan_overlaps(lang, other.number, self.plan_row(other, lang).period));
        let notes = notes.collect();
        let full = || Reply::refused(text::plan_full(lang, MAX_PLANS));
        let plan = plans.add(plan).cloned().ok_or_else(full)?;
        self.keep_plans(plans).map_err(fail)?;
        let notice = ask.notice.then(|| {
            let policy = self.live.as_ref().map(|live| live.policy.as_ref());
            let zone = self.zone();
            Stop { objects: &plan.objects, at, until, reason: &plan.reason, zone: &zone, policy }.notice()
        });
        let result = Outcome { ok: true, message: format!("planned: {}", self.window(&plan)) };
        let unrecorded = self.note_plan(caller, Action::Plan, &plan, &plan.reason, result, json!({}));
        let mut reply = Reply::done(PlanDone {
            done: "planned".into(),
            plan: self.plan_row(&plan, lang),
            notes,
            notice,
            notice_file: None,
        });
        if let Some(why) = unrecorded {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", text::plan_unrecorded(lang, why)).error;
        }
        Ok(reply)
    }

    /// From when until when.
    fn times(&self, ask: &PlanAsk, now: Timestamp, lang: Lang) -> Result<(Timestamp, Option<Timestamp>), Reply> {
        let longest = SignedDuration::from_secs(i64::try_from(MAX_SECONDS).unwrap_or(i64::MAX));
        let at = self.until(&ask.at, now).ok_or_else(|| Reply::usage(text::plan_at_what(lang, &ask.at)))?;
        if at <= now {
            return Err(Reply::usage(text::plan_at_past(lang, &ask.at)));
        }
        if at.duration_since(now) > longest {
            return Err(Reply::usage(text::plan_at_far(lang, &ask.at)));
        }
        let until = match (ask.lasting, &ask.until) {
            (None, None) => None,
            (Some(lasting @ 1..=MAX_SECONDS), None) => {
                let span = SignedDuration::from_secs(i64::try_from(lasting).unwrap_or(i64::MAX));
                at.checked_add(span).ok()
            }
            (None, Some(written)) => match self.until(written, at) {
                Some(until) if until > at && until.duration_since(at) <= longest => Some(until),
                Some(_) => return Err(Reply::usage(text::plan_until_before(lang, written))),
                None => return Err(Reply::usage(text::plan_until_what(lang, written))),
            },
            _ => return Err(Reply::usage(text::plan_lasting(lang))),
        };
        Ok((at, until))
    }

    /// Takes a plan back, or puts one away that was missed.
    pub fn unplan(&mut self, number: u64, reason: &str, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if let Err(reply) = self.plans_read(lang) {
            return reply;
        }
        let mut plans = self.plans.clone();
        let Some(plan) = plans.remove(number) else {
            let known: Vec<String> = plans.plans.iter().map(|plan| plan.number.to_string()).collect();
            let known = if known.is_empty() { text::nothing(lang) } else { known.join(", ") };
            return Reply::refused(text::plan_absent(lang, number, known));
        };
        if let Err(why) = self.ledger.ready().and_then(|()| self.keep_plans(plans)) {
            return Reply::failed(text::unplan_failed(lang, number, why));
        }
        self.say_how_plans_stand();
        let missed = plan.state == PlanState::Missed;
        let message = if missed { "put away: it was missed" } else { "taken back" };
        let result = Outcome { ok: true, message: format!("{message}: {}", self.window(&plan)) };
        let unrecorded = self.note_plan(caller, Action::Unplan, &plan, reason, result, json!({}));
        let row = self.plan_row(&plan, lang);
        let mut reply = Reply::done(PlanDone {
            done: "taken_back".into(),
            plan: row,
            notes: Vec::new(),
            notice: None,
            notice_file: None,
        });
        if let Some(why) = unrecorded {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", text::unplan_unrecorded(lang, why)).error;
        }
        reply
    }

    /// What a plan would cut off, if there is one of this number.
    pub fn planned_objects(&self, number: u64) -> Vec<Object> {
        let plan = self.plans.plans.iter().find(|plan| plan.number == number);
        plan.map(|plan| plan.objects.clone()).unwrap_or_default()
    }

    /// What is planned, the earliest first.
    pub fn plan_rows(&self, lang: Lang) -> Vec<PlanRow> {
        let mut plans: Vec<&Plan> = self.plans.plans.iter().collect();
        plans.sort_by_key(|plan| (plan.at, plan.number));
        plans.into_iter().map(|plan| self.plan_row(plan, lang)).collect()
    }

    fn plan_row(&self, plan: &Plan, lang: Lang) -> PlanRow {
        let zone = self.zone();
        PlanRow {
            number: plan.number,
            objects: list(&plan.objects),
            level: plan.level,
            at: dates::local(plan.at, &zone),
            until: plan.until.map(|until| dates::local(until, &zone)),
            period: dates::period(plan.at, plan.until, &zone, lang),
            reason: plan.reason.clone(),
            planned_by: plan.planned_by.clone(),
            planned_at: plan.planned_at.clone(),
            urgent: plan.urgent,
            state: plan.state,
            why: plan.why.clone(),
        }
    }

    /// How long until a plan is to be carried out, or tried again.
    pub fn plan_due(&self) -> Option<Duration> {
        let now = self.high.latest(Timestamp::now());
        let wait = self.plans_retry.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        let left = |plan: &Plan| {
            let left = plan.at.duration_since(now).try_into().unwrap_or(Duration::ZERO);
            if plan.state == PlanState::Failing { wait.max(left) } else { left }
        };
        self.plans.open().map(left).min()
    }

    /// Carries out the plans whose time has come.
    pub fn carry_out_plans(&mut self) {
        let now = self.high.latest(Timestamp::now());
        for plan in self.plans.due(now) {
            if plan.until.is_some_and(|until| until <= now) {
                self.miss(plan);
            } else {
                self.carry_out(&plan, now);
            }
        }
        self.say_how_plans_stand();
    }

    fn carry_out(&mut self, plan: &Plan, now: Timestamp) {
        let ask = CutoffAsk {
            objects: plan.objects.clone(),
            reason: plan.reason.clone(),
            level: plan.level,
            until: plan.until.map(|until| until.to_string()),
            ..CutoffAsk::default()
        };
        // It is still the wish of whoever planned it.
        let caller = Caller { actor: plan.planned_by.clone(), from: Origin::Plan, lang: Lang::En };
        let reply = self.cutoff(ask, None, &caller);
        let problem = reply.error.map(|problem| problem.message);
        if reply.body.is_null() {
            return self.fail(plan, problem.unwrap_or_else(|| "no reason was given".into()));
        }
        let late = now.duration_since(plan.at);
        let when = match late > LATE {
            true => format!("carried out {} s late: it could not be at its time", late.as_secs()),
            false => "carried out at its time".to_owned(),
        };
        let message = match (reply.exit, &problem) {
            (0, _) => when,
            (1, Some(problem)) => format!("{when}, but: {problem}"),
            (1, None) => {
                self.faults.raise(Fault::PlanUnproven(plan.number.to_string()));
                format!("{when}; NOT proven, see `sekimori cutoff verify`")
            }
            _ => "noted, NOT in force".to_owned(),
        };
        tracing::warn!(plan = plan.number, objects = %list(&plan.objects).join(", "), "planned cut-off: {message}");
        let mut plans = self.plans.clone();
        plans.remove(plan.number);
        self.keep_plans_or_say(plans);
        let result = Outcome { ok: reply.exit < 2, message };
        let more = json!({ "late_seconds": late.as_secs(), "exit": reply.exit, "problem": problem });
        // What went wrong with the record is a fault already.
        let _ = self.note_plan(&due(), Action::PlanDue, plan, &plan.reason, result, more);
    }

    /// Nothing was cut: tried again until the plan's end, and said once for each cause.
    fn fail(&mut self, plan: &Plan, why: String) {
        self.plans_retry = Some(Instant::now() + RETRY);
        if plan.why.as_ref() == Some(&why) {
            return;
        }
        tracing::error!(plan = plan.number, why, "a planned cut-off FAILED; it is tried again");
        self.stand(plan, PlanState::Failing, &why);
        let result = Outcome { ok: false, message: format!("NOT carried out, tried again: {why}") };
        let _ = self.note_plan(&due(), Action::PlanDue, plan, &plan.reason, result, json!({}));
    }

    fn miss(&mut self, plan: Plan) {
        let why = plan.why.clone().unwrap_or_else(|| "no agent ran from its beginning to its end".to_owned());
        tracing::error!(plan = plan.number, why, "a planned cut-off was MISSED");
        self.stand(&plan, PlanState::Missed, &why);
        let result = Outcome { ok: false, message: format!("MISSED: {why}: {}", self.window(&plan)) };
        let _ = self.note_plan(&due(), Action::PlanMissed, &plan, &plan.reason, result, json!({}));
    }

    fn stand(&mut self, plan: &Plan, state: PlanState, why: &str) {
        let mut plans = self.plans.clone();
        if let Some(plan) = plans.get_mut(plan.number) {
            plan.state = state;
            plan.why = Some(why.to_owned());
        }
        self.keep_plans_or_say(plans);
    }

    /// What is missed or fails is a fault until it is no more.
    pub(super) fn say_how_plans_stand(&mut self) {
        let of = |state| self.plans.plans.iter().filter(move |plan| plan.state == state);
        let missed: Vec<String> = of(PlanState::Missed).map(|plan| plan.number.to_string()).collect();
        let why = |plan: &Plan| format!("{} ({})", plan.number, plan.why.as_deref().unwrap_or("?"));
        let failing: Vec<String> = of(PlanState::Failing).map(why).collect();
        for (found, fault) in
            [(missed, Fault::PlansMissed as fn(String) -> Fault), (failing, Fault::PlansFailing as fn(String) -> Fault)]
        {
            if found.is_empty() {
                self.faults.clear(&fault(String::new()));
            } else {
                self.faults.raise(fault(found.join(", ")));
            }
        }
    }

    /// Nothing changes as long as nobody knows what was planned.
    fn plans_read(&self, lang: Lang) -> Result<(), Reply> {
        match &self.plans_unread {
            Some(why) => Err(Reply::failed(text::plans_unread(lang, why))),
            None => Ok(()),
        }
    }

    /// On disk first.
    fn keep_plans(&mut self, plans: Plans) -> Result<(), String> {
        self.plan_store.save(&plans)?;
        self.plans = plans;
        self.faults.clear(&Fault::PlansNotKept(String::new()));
        Ok(())
    }

    /// What has happened holds, whatever the disk says.
    fn keep_plans_or_say(&mut self, plans: Plans) {
        let saved = self.plan_store.save(&plans);
        self.plans = plans;
        self.faults.track(saved, Fault::PlansNotKept);
    }

    fn note_plan(
        &mut self,
        caller: &Caller,
        action: Action,
        plan: &Plan,
        reason: &str,
        result: Outcome,
        more: serde_json::Value,
    ) -> Option<String> {
        let mut details = json!({ "plan": plan });
        if let (Some(details), serde_json::Value::Object(more)) = (details.as_object_mut(), more) {
            details.extend(more);
        }
        let draft = self.draft(caller, action, &list(&plan.objects), result);
        self.write_record(Draft {
            reason: Some(reason.to_owned()),
            level: Some(plan.level.name().to_owned()),
            details: Some(details),
            ..draft
        })
    }

    fn window(&self, plan: &Plan) -> String {
        let zone = self.zone();
        let at = dates::local(plan.at, &zone);
        match plan.until {
            Some(until) => format!("from {at} until {}", dates::local(until, &zone)),
            None => format!("from {at}"),
        }
    }
}

/// The agent, at a plan's time.
fn due() -> Caller {
    Caller { from: Origin::Plan, ..Caller::agent() }
}

fn list(objects: &[Object]) -> Vec<String> {
    objects.iter().map(ToString::to_string).collect()
}
