//! Lists that others keep, on an instance: read after every apply, when their files change, and when somebody says so.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    clock::seconds,
    handler::Desk,
    keeper::{Caller, Keeper},
};
use crate::{
    api::{
        protocol::{ReloadAsk, Reply},
        report::{RefusedRow, ThreatListRow},
    },
    cli::text::{self, Lang},
    record::{Action, Outcome},
    threat::{Answer, Event, Held, Protected, Question, State, Store, ThreatSet, Wish, folder_of},
};

/// What a reload did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReloadDone {
    /// The lists, those that were not read among them.
    pub lists: Vec<ThreatListRow>,
    /// What was taken, by name.
    pub taken: Vec<String>,
    /// What was refused, by name.
    pub refused: Vec<String>,
}

impl Keeper {
    /// The lists in use, as they are now.
    pub fn threats(&self) -> Arc<ThreatSet> {
        self.threats.set()
    }

    /// What has to be read; `None` while no policy is in force, or where it has no lists and had none.
    fn threat_question(&self, wish: Wish) -> Option<Question> {
        let live = self.live.as_ref()?;
        let lists = &live.policy.threat_lists;
        if lists.is_empty() && self.threats.held().is_empty() {
            return None;
        }
        let folder = live.current.folder.clone().unwrap_or_else(|| folder_of(&self.config.policy));
        let protected = Protected::of(&live.policy, &self.config.management);
        let store = Store::new(&self.config.state);
        Some(self.threats.question(live.current.revision.number, lists, folder, protected, store, wish))
    }

    /// Takes over what was read, unless another policy came into force meanwhile.
    fn take_threats(&mut self, answer: Answer) -> Option<Vec<Event>> {
        let live = self.live.as_ref()?;
        if live.current.revision.number != answer.revision {
            return None;
        }
        let names: Vec<&str> = live.policy.threat_lists.iter().map(|list| list.name.as_str()).collect();
        Store::new(&self.config.state).retain(&names);
        let before = self.threats.set().version();
        let events = self.threats.take(answer);
        let set = self.threats.set();
        if set.version() != before {
            self.watch_for(&set);
        }
        for Event { list, what } in &events {
            match what {
                Ok(taken) => tracing::info!(list, prefixes = taken.prefixes, sha256 = taken.sha256, "list taken"),
                Err(refused) => {
                    tracing::error!(list, code = refused.code(), "list refused: {}", refused.text(Lang::En));
                }
            }
        }
        Some(events)
    }

    /// Gives the data plane the lists, numbered in the policy's order from 1.
    fn watch_for(&mut self, set: &ThreatSet) {
        let mut prefixes = Vec::new();
        for (number, (_, list)) in (1..).zip(set.lists()) {
            prefixes.extend(list.iter().map(|prefix| (prefix, number)));
        }
        let Ok(dataplane) = &mut self.dataplane else { return };
        match dataplane.set_threats(&prefixes) {
            Ok(written) => tracing::info!(added = written.added, removed = written.removed, "threat lists in force"),
            Err(error) => tracing::error!(%error, "the lists are not watched for"),
        }
    }

    /// Records what nobody asked for and somebody should know.
    fn note_threats(&mut self, events: &[Event]) {
        for Event { list, what } in events {
            let (action, result) = match what {
                Ok(taken) if !taken.news => continue,
                Ok(taken) => {
                    (Action::ListTaken, outcome(true, format!("{} prefixes, sha256 {}", taken.prefixes, taken.sha256)))
                }
                Err(refused) => {
                    (Action::ListRefused, outcome(false, format!("{}: {}", refused.code(), refused.text(Lang::En))))
                }
            };
            self.note(&Caller::agent(), action, None, vec![format!("list {list}")], None, result);
        }
    }

    /// The lists.
    pub fn threat_rows(&self, lang: Lang) -> Vec<ThreatListRow> {
        let now = Timestamp::now();
        self.threats.held().iter().map(|held| row(held, now, lang)).collect()
    }

    /// What somebody has to look after.
    pub(super) fn threat_troubles(&self, lang: Lang) -> Vec<String> {
        let now = Timestamp::now();
        let mut troubles = Vec::new();
        for held in self.threats.held() {
            let name = &held.list.name;
            if let Some((refused, _)) = &held.refused {
                let why = refused.text(lang);
                troubles.push(match held.state() {
                    State::None => text::list_none(lang, name, why),
                    _ => text::list_kept(lang, name, why),
                });
            }
            if held.expired(now) {
                let at = held.expires_at().map_or_else(String::new, time);
                troubles.push(text::list_expired(lang, name, at, &held.list.source));
            }
            if let Some(why) = &held.unkept {
                troubles.push(text::list_unkept(lang, name, why));
            }
        }
        troubles
    }
}

impl Desk {
    /// Looks whether files of lists changed, and reads those that did.
    pub async fn look_at_lists(&self, wish: Wish) {
        self.read_lists(wish, true).await;
    }

    /// Reads lists apart from the instance; what happened to each. One at a time.
    pub(super) async fn read_lists(&self, wish: Wish, note: bool) -> Vec<Event> {
        let _reading = self.reading().await;
        // Twice at most: another policy in between brings its own look.
        for _ in 0..2 {
            let keeper = self.keeper();
            let question = keeper.lock().await.threat_question(wish.clone());
            let Some(question) = question else { break };
            let answer = tokio::task::block_in_place(|| question.answer());
            let mut keeper = keeper.lock().await;
            let events = tokio::task::block_in_place(|| {
                let events = keeper.take_threats(answer)?;
                if note {
                    keeper.note_threats(&events);
                }
                Some(events)
            });
            if let Some(events) = events {
                return events;
            }
        }
        Vec::new()
    }

    /// After an apply: what the lists of the new policy came to, where that is no good.
    pub(super) async fn lists_of_new_policy(&self, lang: Lang) -> Vec<String> {
        let events = self.read_lists(Wish { anew: true, ..Wish::default() }, true).await;
        let refused = events.into_iter().filter_map(|event| Some((event.list, event.what.err()?)));
        refused.map(|(list, refused)| text::list_refused(lang, list, refused.text(lang))).collect()
    }

    /// Reads lists again because somebody says so.
    pub(super) async fn reload_lists(&self, ask: ReloadAsk, caller: &Caller) -> Reply {
        let lang = caller.lang;
        let known: Vec<String> = {
            let keeper = self.keeper();
            let mut keeper = keeper.lock().await;
            if let Err(why) = keeper.ledger.ready() {
                return Reply::failed(text::list_not_reloaded(lang, why));
            }
            let Some(live) = keeper.live() else { return Reply::failed(text::why_no_policy(lang)) };
            live.policy.threat_lists.iter().map(|list| list.name.clone()).collect()
        };
        if let Some(unknown) = ask.lists.iter().find(|name| !known.contains(name)) {
            let known = if known.is_empty() { text::nothing(lang) } else { known.join(", ") };
            return Reply::refused(text::list_unknown(lang, unknown, known));
        }
        let wish = Wish { anew: true, accept_shrunk: ask.accept_shrunk, only: ask.lists.clone() };
        let events = self.read_lists(wish, false).await;
        let keeper = self.keeper();
        let mut keeper = keeper.lock().await;
        let said = |event: &Event| match &event.what {
            Ok(taken) => format!("{}: {} prefixes, sha256 {}", event.list, taken.prefixes, taken.sha256),
            Err(refused) => format!("{}: refused ({}): {}", event.list, refused.code(), refused.text(Lang::En)),
        };
        let named = |taken: bool| -> Vec<String> {
            events.iter().filter(|event| event.what.is_ok() == taken).map(|event| event.list.clone()).collect()
        };
        let (taken, refused) = (named(true), named(false));
        let message = events.iter().map(said).collect::<Vec<_>>().join("; ");
        let mut objects: Vec<String> = events.iter().map(|event| format!("list {}", event.list)).collect();
        if ask.accept_shrunk {
            objects.push("accept-shrunk".into());
        }
        let result = outcome(refused.is_empty(), message);
        let unrecorded = keeper.note(caller, Action::ListReload, ask.reason, objects, None, result);
        let rows = keeper.threat_rows(lang);
        let mut reply = Reply::done(ReloadDone { lists: rows, taken, refused: refused.clone() });
        if !refused.is_empty() {
            reply.exit = 1;
            let whys = events.iter().filter_map(|event| {
                let why = event.what.as_ref().err()?.text(lang);
                Some(text::list_refused(lang, &event.list, why))
            });
            reply.error = Reply::problem(1, "refused", whys.collect::<Vec<_>>().join("; ")).error;
        }
        if let Some(why) = unrecorded {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", why).error;
        }
        reply
    }
}

fn outcome(ok: bool, message: String) -> Outcome {
    Outcome { ok, message }
}

fn row(held: &Held, now: Timestamp, lang: Lang) -> ThreatListRow {
    let list = &held.list;
    let meta = held.good.as_ref().map(|good| &good.meta);
    ThreatListRow {
        list: list.name.clone(),
        state: match held.state() {
            State::Used => "used",
            State::Kept => "kept",
            State::None => "none",
        }
        .to_owned(),
        expired: held.expired(now),
        path: list.path.clone(),
        format: list.format.word().to_owned(),
        formats: meta.iter().flat_map(|meta| &meta.formats).map(|format| format.word().to_owned()).collect(),
        source: list.source.clone(),
        purpose: list.purpose.clone(),
        prefixes: held.good.as_ref().map_or(0, |good| good.prefixes.len()),
        entries: meta.map_or(0, |meta| meta.entries),
        names: meta.map_or(0, |meta| meta.names),
        bad: meta.map_or(0, |meta| meta.bad),
        written: meta.map(|meta| time(meta.written)),
        taken: meta.map(|meta| time(meta.taken)),
        age_seconds: meta.map_or(0, |meta| (now.as_second() - meta.written).max(0)),
        expires: held.expires_at().map(time),
        sha256: meta.map(|meta| meta.sha256.clone()),
        refused: held.refused.as_ref().map(|(refused, at)| RefusedRow {
            code: refused.code().to_owned(),
            message: refused.text(lang),
            at: Some(time(*at)),
        }),
        refusals: held.refusals,
    }
}

fn time(at: i64) -> String {
    Timestamp::from_second(at).map(seconds).unwrap_or_default()
}
