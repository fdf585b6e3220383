//! Putting a policy in force. What takes long happens before the instance is touched, so that a cut-off never
//! waits for it; a failure at any point leaves what was in force (law 8).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use jiff::Timestamp;
use sekimori_ebpf::abi::Schedule;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    clock::{boottime_ns, seconds},
    early::{Early, Ready},
    evaluator::Evaluator,
    fault::Fault,
    keeper::{Caller, Keeper, Live, Mode, report},
    management,
    marks::{Conflict, Marks},
    memory,
    rooms::{self, FailedTest, Finding, Numbers, Read},
    state::{self, Current, Kept, State},
};
use crate::{
    api::{
        protocol::{Apply, Reply},
        report::{FileState, PolicyFile},
    },
    cli::text,
    compile::tables::Compiled,
    cutoff::Object,
    dataplane::{Canary, Dataplane, ManagementPath, Switched},
    policy::{
        members::{Deltas, Members},
        model::Policy,
    },
    record::{Action, Draft, Outcome, RevisionRef, SnapshotRef, room::hex, snapshot},
    threat::folder_of,
};

/// What an apply needs to know beforehand; a copy, so that the instance is free meanwhile.
#[derive(Debug, Clone)]
pub struct Site {
    /// State folder.
    pub state: State,
    /// Stable numbers; `None` if they cannot be read.
    pub numbers: Option<Numbers>,
    /// Ways that must stay open.
    pub management: Vec<ManagementPath>,
    /// The configured policy.
    pub policy: PathBuf,
    /// Mark bits in use, and by whom.
    pub marks: Marks,
    /// Run-time members of groups.
    pub members: Deltas,
    /// Why they could not be read.
    pub members_unread: Option<String>,
}

/// A policy ready to be switched to.
#[derive(Debug)]
pub struct Prepared {
    number: u64,
    entry: PathBuf,
    policy: Arc<Policy>,
    compiled: Arc<Compiled>,
    numbers: Numbers,
    warnings: Vec<Finding>,
    note: Option<String>,
    source: PathBuf,
    canaries: Vec<Canary>,
}

/// What an apply says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Applied {
    /// The revision now in force.
    pub revision: RevisionRef,
    /// Its generation in the data plane.
    pub generation: u32,
    /// Map entries written.
    pub entries: u64,
    /// Milliseconds of staging and verifying.
    pub staged_ms: u64,
    /// Warnings of the policy.
    pub warnings: Vec<Finding>,
    /// What went wrong beside it; the policy is in force.
    pub notes: Vec<String>,
}

/// A refusal, and what is wrong in the policy.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Refusal {
    /// Errors and warnings.
    pub findings: Vec<Finding>,
    /// Tests of the policy that failed.
    pub failed_tests: Vec<FailedTest>,
}

/// Everything before the switch: reads, validates, tests, compiles, checks the management path, keeps a copy of
/// the files. The reply says why not.
pub fn prepare(site: &Site, apply: &Apply, caller: &Caller) -> Result<Prepared, Reply> {
    let lang = caller.lang;
    let source = apply.path.clone().unwrap_or_else(|| site.policy.clone());
    let (read, mut warnings) = rooms::load(&source, lang);
    let Some(read) = read else {
        let count = warnings.iter().filter(|finding| finding.is_error()).count();
        return Err(invalid(text::apply_invalid(lang, count), warnings, Vec::new()));
    };
    let failed = |why: String| Reply::failed(text::apply_failed(lang, why));
    let number = site.state.next_number().map_err(|error| failed(error.to_string()))?;
    // The disk is slow, and the policy is looked at meanwhile.
    let (checked, kept) = thread::scope(|scope| {
        let copy = scope.spawn(|| site.state.keep_files(number, &source, &read.policy.files, &read.policy.digests));
        let checked = check(site, &read, apply, lang, &mut warnings);
        (checked, copy.join().unwrap_or_else(|_| Err(state::Error::thread(&source))))
    });
    let made = checked.and_then(|checked| {
        let Kept { entry, as_named } = kept.map_err(|error| failed(error.to_string()))?;
        let Checked { compiled, numbers, canaries, note } = checked;
        let policy = Arc::clone(&read.policy);
        let prepared = Prepared { number, entry, policy, compiled, numbers, warnings, note, source, canaries };
        // The copy is what a reboot will load: it must be what was just checked. File by file it is; where links lead
        // elsewhere, only loading it shows what it is as a whole.
        if !as_named {
            let (copy, _) = rooms::load(&site.state.revision_entry(&prepared.current(&Members::default())), lang);
            if copy.is_none_or(|copy| copy.policy.hash != prepared.policy.hash) {
                return Err(Reply::failed(text::apply_read_twice(lang)));
            }
        }
        Ok(prepared)
    });
    made.inspect_err(|_| site.state.discard_files(number))
}

/// What a policy that may be applied becomes.
struct Checked {
    compiled: Arc<Compiled>,
    numbers: Numbers,
    canaries: Vec<Canary>,
    note: Option<String>,
}

/// Lints, compiles, runs the policy's own tests, and sees whether the administrator still gets in.
fn check(
    site: &Site,
    read: &Read,
    apply: &Apply,
    lang: text::Lang,
    warnings: &mut Vec<Finding>,
) -> Result<Checked, Reply> {
    let failed = |why: String| Reply::failed(text::apply_failed(lang, why));
    let (found, note) = rooms::lint(read, lang);
    warnings.extend(found);
    if let Some(why) = &site.members_unread {
        return Err(failed(text::members_unread(lang, why)));
    }
    let mut numbers = site.numbers.clone().ok_or_else(|| failed("registry.json cannot be read".into()))?;
    let compiled =
        rooms::compile(&read.policy, &mut numbers).map_err(|why| Reply::refused(text::apply_failed(lang, why)))?;
    let compiled = Arc::new(compiled);
    // The policy is tested as it is written; in force it comes with the members that groups have at run time.
    let failing = rooms::failing_tests(&read.policy, &compiled, lang);
    if !failing.is_empty() {
        return Err(invalid(text::apply_tests_failed(lang, failing.len()), std::mem::take(warnings), failing));
    }
    let effective = site.effective(&read.policy);
    let compiled = if Arc::ptr_eq(&effective, &read.policy) {
        compiled
    } else {
        drop(compiled);
        let compiled = rooms::compile(&effective, &mut numbers);
        Arc::new(compiled.map_err(|why| Reply::refused(text::apply_failed(lang, why)))?)
    };
    if let Some(conflict) = site.marks.conflict().map_err(failed)? {
        return Err(Reply::refused(text::apply_failed(lang, conflict.text(lang))));
    }
    let mut evaluator = Evaluator::of(&effective, Arc::clone(&compiled));
    if !apply.allow_management_loss
        && let Some(loss) = management::lost(&effective, &mut evaluator, &site.management, lang)
    {
        return Err(Reply::refused(text::management_lost(lang, loss.path, loss.why)));
    }
    Ok(Checked { canaries: evaluator.canaries(), compiled, numbers, note })
}

fn invalid(message: String, findings: Vec<Finding>, failed_tests: Vec<FailedTest>) -> Reply {
    let mut reply = Reply::refused(message);
    reply.body = json!(Refusal { findings, failed_tests });
    reply
}

impl Prepared {
    fn current(&self, members: &Members) -> Current {
        Current {
            revision: RevisionRef { number: self.number, hash: hex(&self.policy.hash) },
            generation: 0,
            applied_at: seconds(Timestamp::now()),
            layout: layout(&self.compiled, members),
            interfaces: self.compiled.interfaces.clone(),
            entry: self.entry.clone(),
            folder: std::path::absolute(folder_of(&self.source)).ok(),
        }
    }
}

/// Changes when this program would lay the same policy out differently from the one that staged it, or with other members in
/// its groups.
pub(super) fn layout(compiled: &Compiled, members: &Members) -> String {
    let text = format!(
        "{} {:?} {:?} {:?} {:?} {:?} {members:?}",
        env!("CARGO_PKG_VERSION"),
        compiled.interfaces,
        compiled.schedules,
        compiled.rule_ids,
        compiled.device_names,
        compiled.watching
    );
    hex(&Sha256::digest(text))
}

/// Everything about one apply that the record wants.
struct Attempt<'a> {
    apply: &'a Apply,
    caller: &'a Caller,
    before: Option<RevisionRef>,
    snapshot: Option<SnapshotRef>,
}

impl Keeper {
    /// What [`prepare`] needs.
    pub fn site(&self) -> Site {
        Site {
            state: self.state.clone(),
            numbers: self.numbers.clone(),
            management: self.config.management.clone(),
            policy: self.config.policy.clone(),
            marks: self.marks(),
            members: self.deltas(),
            members_unread: self.members_unread.clone(),
        }
    }

    /// Records an apply that was refused before the switch, and hands its reply on.
    pub fn refused(&mut self, apply: &Apply, caller: &Caller, reply: Reply) -> Reply {
        self.applies.1 += 1;
        let attempt = Attempt { apply, caller, before: self.revision(), snapshot: None };
        let message = reply.error.as_ref().map_or_else(String::new, |error| error.message.clone());
        self.record_apply(attempt, Outcome { ok: false, message });
        reply
    }

    /// Switches to what was prepared.
    pub async fn commit(&mut self, prepared: Prepared, apply: &Apply, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if let Err(why) = self.ledger.ready() {
            self.state.discard_files(prepared.number);
            return self.refused(apply, caller, Reply::failed(text::apply_failed(lang, why)));
        }
        if let Some(why) = &self.quarantine_unread {
            let reply = Reply::failed(text::apply_failed(lang, text::quarantine_unread(lang, why)));
            self.state.discard_files(prepared.number);
            return self.refused(apply, caller, reply);
        }
        let lost = self.cuts_lost_by(&prepared.policy);
        if !lost.is_empty() {
            let reply = Reply::refused(text::apply_loses_cuts(lang, lost.join(", ")));
            self.state.discard_files(prepared.number);
            return self.refused(apply, caller, reply);
        }
        if apply.accept_clock {
            let accepted = self.high.accept(Timestamp::now()).map_err(|error| error.to_string());
            let message = accepted.as_ref().map_or_else(Clone::clone, |()| "the present time is taken as right".into());
            let result = Outcome { ok: accepted.is_ok(), message };
            self.note(caller, Action::AcceptClock, apply.reason.clone(), Vec::new(), None, result);
        }
        let reopened = self.detached.is_some() || self.dataplane.is_err();
        if reopened {
            // The gate was opened, or never closed: the cut-offs are in the new tables before anything else.
            self.open_dataplane(Mode::Agent);
        }
        let before = self.revision();
        let snapshot = before.as_ref().and_then(|revision| self.snapshot(revision.number));
        let attempt = Attempt { apply, caller, before, snapshot };
        let number = prepared.number;
        let started = Instant::now();
        match self.switch(&prepared).await {
            Ok((switched, current)) => {
                self.apply_time = Some(started.elapsed());
                self.applies.0 += 1;
                self.after_switch(prepared, current, switched, attempt).await
            }
            Err(why) => {
                self.state.discard_files(number);
                let reply = Reply::failed(text::apply_failed(lang, &why));
                self.applies.1 += 1;
                self.record_apply(attempt, Outcome { ok: false, message: why });
                reply
            }
        }
    }

    /// Zones and networks that are cut off and that the policy in force has, but this one does not: what is behind them would pass
    /// under another name.
    fn cuts_lost_by(&self, policy: &Policy) -> Vec<String> {
        let Some(live) = self.live.as_ref().map(|live| &live.policy) else { return Vec::new() };
        let has = |policy: &Policy, object: &Object| match object {
            Object::Network { name } | Object::Zone { name } => policy.nets.iter().any(|net| net.name == *name),
            Object::Host { .. } | Object::Prefix { .. } | Object::All => true,
        };
        let objects = self.overlay.cuts.iter().map(|cut| &cut.object);
        objects.filter(|object| has(live, object) && !has(policy, object)).map(ToString::to_string).collect()
    }

    /// The switch itself and what must be on disk around it.
    async fn switch(&mut self, prepared: &Prepared) -> Result<(Switched, Current), String> {
        let schedules = self.windows(&prepared.compiled, &prepared.policy);
        let registry = self.state.path("registry.json");
        let mut current = prepared.current(&self.members);
        self.state.set_pending(&current).map_err(|error| error.to_string())?;
        prepared.numbers.save(&registry)?;
        let dataplane = self.dataplane.as_mut().map_err(|why| why.clone());
        let switched = dataplane.and_then(|dataplane| {
            tokio::task::block_in_place(|| put(dataplane, &prepared.compiled, &schedules, &prepared.canaries))
        });
        match switched {
            Ok(switched) => {
                current.generation = switched.generation;
                Ok((switched, current))
            }
            Err(why) => {
                if let Some(numbers) = &self.numbers {
                    let saved = numbers.save(&registry);
                    self.faults.track(saved, |why| Fault::State("registry", why));
                }
                let dropped = self.state.drop_pending().map_err(|error| error.to_string());
                self.faults.track(dropped, |why| Fault::State("pending revision", why));
                Err(why)
            }
        }
    }

    /// The policy is in force: what follows can only be reported.
    async fn after_switch(
        &mut self,
        prepared: Prepared,
        current: Current,
        switched: Switched,
        attempt: Attempt<'_>,
    ) -> Reply {
        let lang = attempt.caller.lang;
        let mut notes = Vec::from_iter(prepared.note);
        let revision = current.revision.clone();
        let warnings = prepared.warnings;
        self.numbers = Some(prepared.numbers);
        if let Err(error) = self.state.set_current(&current) {
            self.faults.raise(Fault::State("revision in force", error.to_string()));
            notes.push(error.to_string());
        }
        if self.detached.take().is_some()
            && let Err(error) = self.state.set_detached(None)
        {
            notes.push(error.to_string());
        }
        let configured = prepared.source == self.config.policy;
        self.policy_file = PolicyFile {
            path: self.config.policy.clone(),
            state: if configured { FileState::Same } else { FileState::Unknown },
        };
        self.live = Some(Live::of(current, prepared.policy, prepared.compiled));
        self.refresh_exemptions();
        self.faults.clear(&Fault::FirstPolicy(String::new()));
        self.faults.clear(&Fault::Revision(0, String::new()));
        self.faults.clear(&Fault::Marks(Conflict::default()));
        self.widen_cuts();
        let cut = self.write_cut().map(drop);
        notes.extend(cut.as_ref().err().cloned());
        self.faults.track(cut, |why| Fault::State("cut-off", why));
        notes.extend(self.widen_quarantine().err());
        let management = self.write_management();
        notes.extend(management.as_ref().err().cloned());
        self.faults.track(management, |why| Fault::State("management path", why));
        if let Err(why) = self.attach().await {
            notes.push(text::attach_failed(lang, why));
        }
        let behind = self.high.behind(Timestamp::now());
        if !behind.is_zero() {
            notes.push(text::clock_behind(lang, behind.as_secs()));
        }
        let message = format!("revision {} is in force", revision.number);
        let unrecorded = self.record_apply(attempt, Outcome { ok: true, message });
        let applied = Applied {
            revision,
            generation: switched.generation,
            entries: switched.entries,
            staged_ms: switched.staged_ms,
            warnings,
            notes,
        };
        let mut reply = Reply::done(applied);
        // In force, and yet not every interface is guarded: a script that goes by the exit code must not believe it is.
        let status = self.status(lang);
        if !status.enforcing {
            reply.exit = 1;
            reply.error =
                Reply::problem(1, "not_enforcing", text::apply_not_enforcing(lang, status.why.join("; "))).error;
        }
        if let Some(why) = unrecorded {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", why).error;
        }
        reply
    }

    fn record_apply(&mut self, attempt: Attempt<'_>, result: Outcome) -> Option<String> {
        let path = attempt.apply.path.as_deref().unwrap_or(&self.config.policy);
        let mut objects = vec![format!("policy {}", path.display())];
        if attempt.apply.allow_management_loss {
            objects.push("allow-management-loss".into());
        }
        let after = self.revision();
        self.write_record(Draft {
            reason: attempt.apply.reason.clone(),
            objects,
            before: attempt.before,
            after,
            snapshot: attempt.snapshot,
            ..Draft::new(attempt.caller.actor.clone(), attempt.caller.from, Action::Apply, result)
        })
    }

    /// The counters as they are, kept beside the record under the revision they were counted in.
    pub(super) fn snapshot(&mut self, number: u64) -> Option<SnapshotRef> {
        let counters = tokio::task::block_in_place(|| self.counters_by_name()).ok()?;
        let written = snapshot::write(&self.state.path("snapshots"), &format!("revision-{number}"), &counters);
        self.faults.track(written.map_err(|error| error.to_string()), |why| Fault::State("counter snapshot", why))
    }

    /// At the start: finds the revision that was in force and puts it in force again. The policy on disk is not
    /// looked at, unless none was ever applied.
    pub async fn revive(&mut self) {
        if self.detached.is_some() {
            return;
        }
        let current = match self.settle_pending() {
            Ok(current) => current,
            Err(why) => {
                self.faults.raise(Fault::State("revision in force", why));
                return;
            }
        };
        if let Some(why) = self.state.damaged() {
            self.faults.raise(Fault::State("revision in force (its copy is used)", why));
        }
        let Some(current) = current else {
            if self.agent_running {
                self.first_policy().await;
            }
            return;
        };
        self.look_at_marks();
        let number = current.revision.number;
        let revived = self.revive_revision(current).await;
        memory::give_back();
        self.faults.track(revived, |why| Fault::Revision(number, why));
        self.name_for_switch();
        // Attached even if the revision could not be read: without a policy everything is dropped, which is
        // what a gate without a keeper has to do.
        let management = self.write_management();
        self.faults.track(management, |why| Fault::State("management path", why));
        if let Err(error) = self.attach().await {
            tracing::error!(%error, "attaching failed");
        }
    }

    /// What a crash in the middle of a switch left: the data plane says which side of it we are on.
    fn settle_pending(&mut self) -> Result<Option<Current>, String> {
        let current = self.state.current().map_err(|error| error.to_string())?;
        let Some(mut pending) = self.state.pending().map_err(|error| error.to_string())? else {
            return Ok(current);
        };
        let running = match &self.dataplane {
            Ok(dataplane) if dataplane.adopted() => dataplane.base().map_err(|error| report(&error))?,
            _ => 0,
        };
        if running != 0 && current.as_ref().is_none_or(|current| current.generation != running) {
            pending.generation = running;
            self.state.set_current(&pending).map_err(|error| error.to_string())?;
            return Ok(Some(pending));
        }
        self.state.drop_pending().map_err(|error| error.to_string())?;
        Ok(current)
    }

    async fn revive_revision(&mut self, mut current: Current) -> Result<(), String> {
        if let Some(why) = &self.quarantine_unread {
            return Err(text::quarantine_unread(text::Lang::En, why));
        }
        let (early, saved) = (self.early.take(), self.saved(&current));
        let Ready { policy, compiled } = tokio::task::block_in_place(|| Early::or_now(early, saved))?;
        let schedules = self.windows(&compiled, &policy);
        let layout = layout(&compiled, &self.members);
        let dataplane = self.dataplane.as_mut().map_err(|why| why.clone())?;
        let running = dataplane.generation().map_err(|error| report(&error))?;
        if dataplane.adopted() && running == current.generation && layout == current.layout {
            dataplane.refresh_schedules(&schedules).map_err(|error| report(&error))?;
        } else if self.agent_running {
            let switched = tokio::task::block_in_place(|| put(dataplane, &compiled, &schedules, &[]))?;
            current.generation = switched.generation;
            current.layout = layout;
            let kept = self.state.set_current(&current).map_err(|error| error.to_string());
            self.faults.track(kept, |why| Fault::State("revision in force", why));
            self.live = Some(Live::of(current, policy, compiled));
            self.refresh_exemptions();
            let message = "the saved revision is in force again".to_owned();
            self.note(&Caller::agent(), Action::Reapply, None, Vec::new(), None, Outcome { ok: true, message });
            return Ok(());
        }
        if let Ok(dataplane) = self.dataplane.as_mut() {
            dataplane.know(&compiled);
        }
        self.live = Some(Live::of(current, policy, compiled));
        self.refresh_exemptions();
        Ok(())
    }

    async fn first_policy(&mut self) {
        let caller = Caller::agent();
        let apply = Apply { reason: Some("first start".into()), ..Apply::default() };
        let site = self.site();
        let prepared = tokio::task::block_in_place(|| prepare(&site, &apply, &caller));
        let reply = match prepared {
            Ok(prepared) => self.commit(prepared, &apply, &caller).await,
            Err(reply) => {
                let why = describe(&reply, &self.config.policy);
                let reply = self.refused(&apply, &caller, reply);
                self.faults.raise(Fault::FirstPolicy(why));
                reply
            }
        };
        if reply.exit == 2 {
            self.faults.raise(Fault::FirstPolicy(describe(&reply, &self.config.policy)));
        }
    }
}

/// Stages and switches. The first policy of a data plane finds conversations that run already: they get their views
/// before anything is attached.
pub(super) fn put(
    dataplane: &mut Dataplane,
    compiled: &Arc<Compiled>,
    schedules: &[Schedule],
    canaries: &[Canary],
) -> Result<Switched, String> {
    let first = dataplane.generation().map_err(|error| report(&error))? == 0;
    let switched = dataplane.apply(compiled, schedules, canaries).map_err(|error| report(&error))?;
    if first {
        match dataplane.seed(compiled, schedules, boottime_ns()) {
            Ok(seeded) => tracing::info!(
                views = seeded.views,
                permitted = seeded.permitted,
                refused = seeded.refused,
                unread = seeded.unread.join("; "),
                "took over what was running"
            ),
            // Adoption still lets permitted TCP go on.
            Err(error) => tracing::warn!("what is running could not be taken over: {}", report(&error)),
        }
    }
    Ok(switched)
}

fn describe(reply: &Reply, path: &Path) -> String {
    let message = reply.error.as_ref().map_or("", |error| error.message.as_str());
    let first = serde_json::from_value::<Refusal>(reply.body.clone()).ok().and_then(|refusal| {
        let finding = refusal.findings.into_iter().find(Finding::is_error)?;
        Some(format!(" ({}:{}:{}: {})", finding.file, finding.line, finding.column, finding.message))
    });
    format!("{}: {message}{}", path.display(), first.unwrap_or_default())
}
