//! What the control socket asks, done on the instance.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, Notify};

use super::{
    apply::{self, Refusal},
    capture::Captures,
    evaluator::Evaluator,
    keeper::{Caller, Keeper},
    memory,
    rooms::{self, Finding, Numbers},
};
use crate::{
    api::{
        protocol::{Apply, Ask, CutoffAsk, MAX_REASON, MAX_ROWS, Problem, Question, Reply, Request},
        roles::{self, Peer, Role},
        server::Handler,
    },
    cli::text::{self, Lang},
    cutoff::{Switch, Thrown},
    flows::{self, report::Rows},
    policy::members,
    record::{self, Origin, reader},
};

/// An instance that several connections may ask. The keeper is held for short times only; an apply prepares
/// without it.
#[derive(Clone)]
pub struct Desk {
    pub(super) keeper: Arc<Mutex<Keeper>>,
    /// One apply at a time.
    applying: Arc<Mutex<()>>,
    /// One reader of flow records at a time.
    looking: Arc<Mutex<()>>,
    /// One look at lists at a time.
    reading: Arc<Mutex<()>>,
    /// There may be a plan that is nearer than all before.
    planned: Arc<Notify>,
    switch: Switch,
    pub(super) captures: Captures,
}

impl Desk {
    /// For this instance.
    pub fn new(keeper: Keeper) -> Self {
        let switch = keeper.cut_switch();
        Self {
            keeper: Arc::new(Mutex::new(keeper)),
            applying: Arc::default(),
            looking: Arc::default(),
            reading: Arc::default(),
            planned: Arc::default(),
            switch,
            captures: Captures::default(),
        }
    }

    /// The switch.
    pub fn switch(&self) -> Switch {
        self.switch.clone()
    }

    /// Told whenever something was planned.
    pub fn planned(&self) -> Arc<Notify> {
        Arc::clone(&self.planned)
    }

    /// The instance itself.
    pub fn keeper(&self) -> Arc<Mutex<Keeper>> {
        Arc::clone(&self.keeper)
    }

    /// Keeps others from reading lists meanwhile.
    pub(super) async fn reading(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().await
    }

    /// Does what is asked. The caller's role was checked.
    pub async fn answer(&self, ask: Ask, caller: &Caller) -> Reply {
        self.answer_thrown(ask, caller, None).await
    }

    /// The same, after a cut-off was thrown already.
    pub async fn answer_thrown(&self, ask: Ask, caller: &Caller, thrown: Option<Thrown>) -> Reply {
        let asked = Instant::now();
        let lang = caller.lang;
        match ask {
            Ask::Status {} => {
                let status = {
                    let keeper = self.keeper.lock().await;
                    tokio::task::block_in_place(|| keeper.status(lang))
                };
                Reply::with(u8::from(!status.enforcing), status)
            }
            Ask::Flows { limit } => {
                let keeper = self.keeper.lock().await;
                let flows = tokio::task::block_in_place(|| keeper.flows(limit.min(MAX_ROWS)));
                flows.map_or_else(Reply::failed, Reply::done)
            }
            Ask::FlowRecords { limit, filter } => {
                self.look(move |folder| flow_records(folder, &filter, limit.min(MAX_ROWS), lang)).await
            }
            Ask::BackCheck { listed, since, until } => {
                self.look(move |folder| back_check(folder, &listed, (since, until), lang)).await
            }
            Ask::Explain(question) => self.explain(question, lang).await,
            Ask::Check {} => {
                let path = self.keeper.lock().await.config().policy.clone();
                tokio::task::block_in_place(|| check(&path, lang))
            }
            Ask::Records { limit, filter } => {
                let path = self.keeper.lock().await.record_path().to_path_buf();
                match tokio::task::block_in_place(|| reader::list(&path, limit.min(MAX_ROWS), &filter)) {
                    Ok(lines) => Reply::done(lines),
                    Err(error) => Reply::failed(format!("{}: {error}", path.display())),
                }
            }
            Ask::VerifyRecords {} => {
                let path = self.keeper.lock().await.record_path().to_path_buf();
                tokio::task::block_in_place(|| verify_record(&path))
            }
            Ask::Apply(apply) => self.apply(apply, caller).await,
            Ask::Cutoff(mut ask) => {
                let thrown = thrown.or_else(|| self.throw(&ask, asked));
                ask.reason = match spoken(ask.reason, lang) {
                    Ok(reason) => reason,
                    Err(reply) => {
                        self.take_back(thrown).await;
                        return reply;
                    }
                };
                let mut keeper = self.keeper.lock().await;
                tokio::task::block_in_place(|| keeper.cutoff(ask, thrown, caller))
            }
            Ask::Restore(mut ask) => {
                ask.reason = match ask.dry_run {
                    true => String::new(),
                    false => match spoken(ask.reason, lang) {
                        Ok(reason) => reason,
                        Err(reply) => return reply,
                    },
                };
                let mut keeper = self.keeper.lock().await;
                tokio::task::block_in_place(|| keeper.restore(ask, caller))
            }
            Ask::Confirm(mut ask) => {
                ask.reason = match ask.reason.map(|reason| spoken(reason, lang)).transpose() {
                    Ok(reason) => reason,
                    Err(reply) => return reply,
                };
                let mut keeper = self.keeper.lock().await;
                tokio::task::block_in_place(|| keeper.confirm(ask, caller))
            }
            Ask::Cuts {} => {
                let mut keeper = self.keeper.lock().await;
                Reply::done(tokio::task::block_in_place(|| {
                    keeper.take_over_by_hand();
                    keeper.cutoffs()
                }))
            }
            Ask::Plan(mut ask) => match spoken(ask.reason, lang) {
                Ok(reason) => {
                    ask.reason = reason;
                    let mut keeper = self.keeper.lock().await;
                    let reply = tokio::task::block_in_place(|| keeper.plan(ask, caller));
                    self.planned.notify_one();
                    reply
                }
                Err(reply) => reply,
            },
            Ask::Unplan { number, reason } => match spoken(reason, lang) {
                Ok(reason) => {
                    let mut keeper = self.keeper.lock().await;
                    tokio::task::block_in_place(|| keeper.unplan(number, &reason, caller))
                }
                Err(reply) => reply,
            },
            Ask::Plans {} => Reply::done(self.keeper.lock().await.plan_rows(lang)),
            Ask::VerifyCuts { objects } => {
                let mut keeper = self.keeper.lock().await;
                tokio::task::block_in_place(|| keeper.verify_cuts(&objects, caller))
            }
            Ask::Quarantine { objects, reason, lasting } => match spoken(reason, lang) {
                Ok(reason) => {
                    let mut keeper = self.keeper.lock().await;
                    tokio::task::block_in_place(|| keeper.quarantine(objects, reason, lasting, caller))
                }
                Err(reply) => reply,
            },
            Ask::Release { objects, reason } => match spoken(reason, lang) {
                Ok(reason) => {
                    let mut keeper = self.keeper.lock().await;
                    tokio::task::block_in_place(|| keeper.release(objects, reason, caller))
                }
                Err(reply) => reply,
            },
            ask @ (Ask::Incidents { .. }
            | Ask::Incident { .. }
            | Ask::CloseIncidents { .. }
            | Ask::ExportIncident { .. }) => {
                let mut keeper = self.keeper.lock().await;
                tokio::task::block_in_place(|| incidents(&mut keeper, ask, caller))
            }
            Ask::Capture(ask) => self.capture(ask, caller).await,
            Ask::Quarantines {} => Reply::done(self.keeper.lock().await.quarantined()),
            Ask::Groups { name } => self.keeper.lock().await.groups(name.as_deref(), lang),
            Ask::Group(mut change) => {
                change.reason = match spoken(change.reason, lang) {
                    Ok(reason) => reason,
                    Err(reply) => return reply,
                };
                // An apply that is being prepared must not miss it.
                let _applying = self.applying.lock().await;
                let mut keeper = self.keeper.lock().await;
                tokio::task::block_in_place(|| keeper.change_group(&change, caller, asked))
            }
            Ask::Lists {} => Reply::done(self.keeper.lock().await.threat_rows(lang)),
            Ask::ReloadLists(mut ask) => {
                ask.reason = match ask.reason.map(|reason| spoken(reason, lang)).transpose() {
                    Ok(None) if ask.accept_shrunk => return Reply::usage(text::reason_needed(lang)),
                    Ok(reason) => reason,
                    Err(reply) => return reply,
                };
                self.reload_lists(ask, caller).await
            }
            Ask::Tokens {} => Reply::done(self.keeper.lock().await.token_rows()),
            Ask::TokenAdd(_) | Ask::TokenRevoke { .. } if !caller.actor.is_root() => {
                Reply::problem(2, "forbidden", text::token_root(lang))
            }
            Ask::TokenAdd(mut ask) => {
                ask.reason = match spoken(ask.reason, lang) {
                    Ok(reason) => reason,
                    Err(reply) => return reply,
                };
                let mut keeper = self.keeper.lock().await;
                tokio::task::block_in_place(|| keeper.add_token(ask, caller))
            }
            Ask::TokenRevoke { id, reason } => match spoken(reason, lang) {
                Ok(reason) => {
                    let mut keeper = self.keeper.lock().await;
                    tokio::task::block_in_place(|| keeper.revoke_token(&id, reason, caller))
                }
                Err(reply) => reply,
            },
            Ask::Detach { reason } => match spoken(reason, lang) {
                Ok(reason) => {
                    let _applying = self.applying.lock().await;
                    let mut keeper = self.keeper.lock().await;
                    tokio::task::block_in_place(|| keeper.detach(reason, caller))
                }
                Err(reply) => reply,
            },
        }
    }

    /// Reads flow records: one reader at a time, and nobody else waits for it.
    async fn look(&self, read: impl FnOnce(&Path) -> Reply + Send + 'static) -> Reply {
        let _looking = self.looking.lock().await;
        let folder = self.keeper.lock().await.flow_folder();
        let read = tokio::task::spawn_blocking(move || {
            let reply = read(&folder);
            memory::give_back();
            reply
        });
        read.await.unwrap_or_else(|error| Reply::failed(error.to_string()))
    }

    /// Cuts before the instance is asked, which may be busy. A reason that says nothing cuts nothing.
    fn throw(&self, ask: &CutoffAsk, asked: Instant) -> Option<Thrown> {
        let real = !ask.drill && !ask.reason.trim().is_empty();
        real.then(|| self.switch.throw(&ask.objects, ask.including_management, asked)).flatten()
    }

    async fn take_back(&self, thrown: Option<Thrown>) {
        if let Some(thrown) = thrown {
            self.keeper.lock().await.unthrow(Some(thrown));
        }
    }

    /// Prepares, then switches. What takes long happens while the instance is free for a cut-off.
    pub async fn apply(&self, mut apply: Apply, caller: &Caller) -> Reply {
        let lang = caller.lang;
        apply.reason = match apply.reason.map(|reason| spoken(reason, lang)).transpose() {
            Ok(reason) => reason,
            Err(reply) => return reply,
        };
        let _applying = self.applying.lock().await;
        let site = self.keeper.lock().await.site();
        let anywhere = caller.actor.is_root() || apply.path.as_ref().is_none_or(|path| *path == site.policy);
        // The agent reads as root and quotes what it finds wrong: other users get no file of their choice read.
        let prepared = if anywhere {
            tokio::task::block_in_place(|| apply::prepare(&site, &apply, caller))
        } else {
            Err(Reply::problem(2, "forbidden", text::path_for_root(lang, site.policy.display())))
        };
        let mut keeper = self.keeper.lock().await;
        let mut reply = match prepared {
            Ok(prepared) => keeper.commit(prepared, &apply, caller).await,
            Err(reply) => keeper.refused(&apply, caller, reply),
        };
        drop(keeper);
        // A delivery that is no good keeps no policy from being applied, and is said.
        if reply.body.get("revision").is_some() {
            let refused = self.lists_of_new_policy(lang).await;
            if let Some(notes) = reply.body.get_mut("notes").and_then(Value::as_array_mut) {
                notes.extend(refused.into_iter().map(Value::from));
            }
        }
        memory::give_back();
        reply
    }

    /// Takes out members of groups whose time is over.
    pub async fn expire_members(&self) {
        let _applying = self.applying.lock().await;
        let mut keeper = self.keeper.lock().await;
        tokio::task::block_in_place(|| keeper.expire_members());
    }

    async fn explain(&self, question: Question, lang: Lang) -> Reply {
        let (live, numbers, cut, quarantine, members) = {
            let keeper = self.keeper.lock().await;
            (
                keeper.live().cloned(),
                keeper.site().numbers,
                keeper.cut_tables(),
                keeper.quarantine_tables(),
                keeper.deltas(),
            )
        };
        let Some(live) = live else {
            return Reply::failed(text::why_no_policy(lang));
        };
        tokio::task::block_in_place(|| {
            let policy = members::effective(&live.policy, &members);
            // The tables in force are in the kernel only; every name has its number already, so these are the same.
            let compiled = numbers
                .ok_or_else(|| "registry.json cannot be read".to_owned())
                .and_then(|mut numbers| rooms::compile(&policy, &mut numbers));
            let reply = match compiled {
                Ok(compiled) => {
                    let mut evaluator = Evaluator::of(&policy, Arc::new(compiled));
                    evaluator.cut(&cut);
                    evaluator.quarantine(&quarantine);
                    match evaluator.ask(&question, lang) {
                        Ok(explained) => Reply::with(u8::from(!explained.pass()), explained),
                        Err(why) => Reply::usage(why),
                    }
                }
                Err(why) => Reply::failed(why),
            };
            memory::give_back();
            reply
        })
    }
}

impl Handler for Desk {
    async fn answer(&self, peer: Peer, role: Role, request: Request, thrown: Option<Thrown>) -> Reply {
        let claims_from = request.claims_from.map(|claim| claim.chars().take(256).collect());
        let caller =
            Caller { actor: roles::actor(peer, role.name(), claims_from), from: Origin::Socket, lang: request.lang };
        self.answer_thrown(request.ask, &caller, thrown).await
    }
}

/// What concerns incidents. An agent that has just started may not have read them yet.
fn incidents(keeper: &mut Keeper, ask: Ask, caller: &Caller) -> Reply {
    keeper.read_incidents();
    match ask {
        Ask::Incidents { filter, limit } => Reply::done(keeper.incidents(filter, limit.min(MAX_ROWS))),
        Ask::Incident { id } => keeper.incident(id, caller),
        Ask::CloseIncidents { ids, reason } => match spoken(reason, caller.lang) {
            Ok(reason) => keeper.close_incidents(&ids, &reason, caller),
            Err(reply) => reply,
        },
        Ask::ExportIncident { id } => keeper.export_incident(id, caller),
        other => Reply::usage(format!("{other:?} is not about incidents")),
    }
}

/// A reason that says something, on one line: what would move a cursor or begin another line becomes a space.
fn spoken(reason: String, lang: Lang) -> Result<String, Reply> {
    let reason = reason.replace(char::is_control, " ");
    let reason = reason.trim();
    if reason.is_empty() {
        Err(Reply::usage(text::reason_needed(lang)))
    } else if reason.len() > MAX_REASON {
        Err(Reply::usage(text::reason_too_long(lang, MAX_REASON)))
    } else {
        Ok(reason.to_owned())
    }
}

/// Whether the record at `path` is whole; exit 1 if not.
pub fn verify_record(path: &std::path::Path) -> Reply {
    match record::verify(path) {
        Ok(found) => Reply::with(u8::from(!found.whole), found),
        Err(error) => Reply::failed(format!("{}: {error}", path.display())),
    }
}

/// How long a search through flow records may take: less than a client waits.
const SEARCH: Duration = Duration::from_secs(120);

/// The newest flow records in `folder` that fit; exit 2 if some could not be looked at.
pub fn flow_records(folder: &Path, filter: &flows::Filter, limit: usize, lang: Lang) -> Reply {
    match flows::query::list(folder, filter, limit, Some(Instant::now() + SEARCH)) {
        Ok(found) => {
            let rows = Rows::from(found);
            let mut reply = Reply::with(0, &rows);
            incomplete(&mut reply, rows.damaged, rows.late, false, lang);
            reply
        }
        Err(error) => Reply::failed(text::flow_unreadable(lang, folder.display(), error)),
    }
}

/// Who talked to any of `listed`; exit 1 if nobody, 2 if that cannot be said for certain.
pub fn back_check(
    folder: &Path,
    listed: &[IpNet],
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    lang: Lang,
) -> Reply {
    match flows::query::back_check(folder, listed, since, until, Some(Instant::now() + SEARCH)) {
        Ok(found) => {
            let mut reply = Reply::with(u8::from(found.contacts.is_empty()), &found);
            incomplete(&mut reply, found.damaged, found.late, found.crowded, lang);
            reply
        }
        Err(error) => Reply::failed(text::flow_unreadable(lang, folder.display(), error)),
    }
}

/// Says what of the records was not looked at.
fn incomplete(reply: &mut Reply, damaged: u64, late: bool, crowded: bool, lang: Lang) {
    let mut why = Vec::new();
    if damaged > 0 {
        why.push(text::flow_damaged(lang, damaged));
    }
    if late {
        why.push(text::flow_late(lang, SEARCH.as_secs()));
    }
    if crowded {
        why.push(text::flow_crowded(lang));
    }
    if !why.is_empty() {
        reply.exit = 2;
        reply.error = Some(Problem { code: "incomplete".into(), message: why.join(" ") });
    }
}

/// What is wrong with the policy at `path`; exit 1 if anything is.
pub fn check(path: &std::path::Path, lang: Lang) -> Reply {
    let (read, mut findings) = rooms::load(path, lang);
    let (mut failed_tests, mut notes) = (Vec::new(), Vec::new());
    let (mut rules, mut tests) = (0, 0);
    if let Some(read) = &read {
        rules = read.policy.rules.len();
        tests = read.policy.tests.len();
        let (warnings, skipped) = rooms::lint(read, lang);
        findings.extend(warnings);
        findings.extend(rooms::lint_lists(read, path, lang));
        notes.extend(skipped);
        match rooms::compile(&read.policy, &mut Numbers::none()) {
            Ok(compiled) => failed_tests = rooms::failing_tests(&read.policy, &Arc::new(compiled), lang),
            Err(why) => return Reply::failed(why),
        }
    }
    let good = read.is_some() && failed_tests.is_empty() && !findings.iter().any(Finding::is_error);
    let refusal = Refusal { findings, failed_tests };
    Reply::with(
        u8::from(!good),
        json!({
            "valid": good,
            "rules": rules,
            "tests": tests,
            "findings": refusal.findings,
            "failed_tests": refusal.failed_tests,
            "notes": notes,
        }),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_to_say_something() {
        assert_eq!(spoken("  worm \n".into(), Lang::En).unwrap(), "worm");
        assert_eq!(spoken("worm\r\n  7 \u{1b}[2Kall is well".into(), Lang::En).unwrap(), "worm    7  [2Kall is well");
        assert_eq!(spoken(" \t".into(), Lang::En).unwrap_err().exit, 2);
        assert!(spoken("あ".repeat(MAX_REASON / 3 + 1), Lang::Ja).is_err());
    }
}
