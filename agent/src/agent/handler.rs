//! What the control socket asks, done on the instance.

use std::{sync::Arc, time::Instant};

use serde_json::json;
use tokio::sync::{Mutex, Notify};

use super::{
    apply::{self, Refusal},
    evaluator::Evaluator,
    keeper::{Caller, Keeper},
    memory,
    rooms::{self, Finding, Numbers},
};
use crate::{
    api::{
        protocol::{Apply, Ask, CutoffAsk, MAX_REASON, MAX_ROWS, Question, Reply, Request},
        roles::{self, Peer, Role},
        server::Handler,
    },
    cli::text::{self, Lang},
    cutoff::{Switch, Thrown},
    policy::members,
    record::{self, Origin, reader},
};

/// An instance that several connections may ask. The keeper is held for short times only; an apply prepares
/// without it.
#[derive(Clone)]
pub struct Desk {
    keeper: Arc<Mutex<Keeper>>,
    /// One apply at a time.
    applying: Arc<Mutex<()>>,
    /// There may be a plan that is nearer than all before.
    planned: Arc<Notify>,
    switch: Switch,
}

impl Desk {
    /// For this instance.
    pub fn new(keeper: Keeper) -> Self {
        let switch = keeper.cut_switch();
        Self { keeper: Arc::new(Mutex::new(keeper)), applying: Arc::default(), planned: Arc::default(), switch }
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
            Ask::Cuts {} => {
                let keeper = self.keeper.lock().await;
                Reply::done(tokio::task::block_in_place(|| keeper.cutoffs()))
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
        let reply = match prepared {
            Ok(prepared) => keeper.commit(prepared, &apply, caller).await,
            Err(reply) => keeper.refused(&apply, caller, reply),
        };
        drop(keeper);
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

/// A reason that says something.
fn spoken(reason: String, lang: Lang) -> Result<String, Reply> {
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
        assert_eq!(spoken(" \t".into(), Lang::En).unwrap_err().exit, 2);
        assert!(spoken("あ".repeat(MAX_REASON / 3 + 1), Lang::Ja).is_err());
    }
}
