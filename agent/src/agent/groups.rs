//! Members of groups at run time: added and taken out without applying a policy.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    apply::{Site, layout, put},
    clock::seconds,
    fault::Fault,
    keeper::{Caller, Keeper, Live, report},
    layout::Layouts,
    rooms,
};
use crate::{
    api::protocol::{GroupChange, Reply},
    cli::text,
    compile::{members::Start, tables::Compiled},
    policy::{
        addresses::Group,
        members::{self, Deltas, MAX_MEMBERS, Members},
        model::{Place, Policy},
    },
    record::{Action, Outcome},
};

/// One group as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupRow {
    /// Its name.
    pub group: String,
    /// Whether the policy in force has it; run-time members of others wait until one has.
    pub in_policy: bool,
    /// Prefixes the policy says it has, after merging.
    pub policy_members: usize,
    /// Those themselves, if this group was asked for; the first of them if they are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<String>,
    /// Added at run time.
    pub added: Vec<AddedRow>,
    /// Taken out at run time.
    pub removed: Vec<String>,
}

/// A member added at run time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddedRow {
    /// Which addresses.
    pub prefix: String,
    /// When it goes by itself, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What a change did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupDone {
    /// The group.
    pub group: String,
    /// `added` or `removed`.
    pub done: String,
    /// What.
    pub prefixes: Vec<String>,
    /// When it goes by itself.
    pub until: Option<String>,
    /// Generation in the data plane from which it holds.
    pub generation: u32,
    /// Microseconds from the request to the switch.
    pub enforced_us: u64,
    /// Microseconds of that in the data plane.
    pub dataplane_us: u64,
    /// Whether the policy had to be compiled anew.
    pub compiled: bool,
    /// What else is to be known.
    pub notes: Vec<String>,
}

/// Prefixes of the policy that a listing shows of one group.
const MAX_SHOWN: usize = 10_000;

/// What the switch took.
struct Enforced {
    generation: u32,
    total: u64,
    inside: u64,
    compiled: bool,
}

impl Site {
    /// The policy with run-time members.
    pub fn effective(&self, policy: &Arc<Policy>) -> Arc<Policy> {
        members::effective(policy, &self.members)
    }
}

impl Keeper {
    /// Run-time members as sets.
    pub fn deltas(&self) -> Deltas {
        self.members.deltas()
    }

    /// The groups, or one of them in full.
    pub fn groups(&self, wanted: Option<&str>, lang: text::Lang) -> Reply {
        let groups: &[Arc<Group>] = self.live.as_ref().map_or(&[], |live| &live.policy.groups);
        let mut rows: BTreeMap<&str, GroupRow> = BTreeMap::new();
        let names =
            groups.iter().map(|group| group.name.as_str()).chain(self.members.groups.keys().map(String::as_str));
        for name in names.filter(|name| wanted.is_none_or(|wanted| wanted == *name)) {
            let group = groups.iter().find(|group| group.name == name);
            let changed = self.members.groups.get(name).cloned().unwrap_or_default();
            let shown = group
                .filter(|_| wanted.is_some())
                .map(|group| group.prefixes.iter().take(MAX_SHOWN).map(|prefix| prefix.to_string()).collect());
            let row = GroupRow {
                group: name.to_owned(),
                in_policy: group.is_some(),
                policy_members: group.map_or(0, |group| group.prefixes.len()),
                policy: shown.unwrap_or_default(),
                added: changed
                    .added
                    .iter()
                    .map(|added| AddedRow { prefix: added.prefix.to_string(), until: added.until.map(time) })
                    .collect(),
                removed: changed.removed.iter().map(IpNet::to_string).collect(),
            };
            rows.insert(name, row);
        }
        match wanted {
            Some(name) if rows.is_empty() => Reply::refused(text::group_unknown(lang, name, self.group_names())),
            _ => Reply::done(rows.into_values().collect::<Vec<_>>()),
        }
    }

    /// Run-time members by group.
    pub fn member_counts(&self) -> BTreeMap<String, usize> {
        let count = |changed: &members::Changed| changed.added.len() + changed.removed.len();
        self.members.groups.iter().map(|(name, changed)| (name.clone(), count(changed))).collect()
    }

    fn group_names(&self) -> String {
        let names: Vec<&str> = self.live.iter().flat_map(|live| &live.policy.groups).map(|g| g.name.as_str()).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(", ") }
    }

    /// Adds or takes out a batch, which comes into force at one instant. `asked` is when the request came.
    pub fn change_group(&mut self, change: &GroupChange, caller: &Caller, asked: Instant) -> Reply {
        let lang = caller.lang;
        if let Some(why) = &self.members_unread {
            return Reply::failed(text::members_unread(lang, why));
        }
        let (policy, group) = match self.group_of(change, lang) {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        let prefixes = match parse(&change.prefixes, lang) {
            Ok(prefixes) => prefixes,
            Err(why) => return Reply::usage(why),
        };
        if let Err(why) = self.ledger.ready() {
            return Reply::failed(text::group_failed(lang, &change.group, why));
        }
        let until = change.seconds.map(|seconds| Timestamp::now().as_second().saturating_add_unsigned(seconds));
        let mut next = self.members.clone();
        let mut notes = Vec::new();
        if change.add {
            next.add(&change.group, &prefixes, until);
        } else {
            if let Some(reply) = self.may_remove(&policy, &group, &prefixes, lang) {
                return reply;
            }
            let wider = prefixes.iter().filter_map(|prefix| {
                group.prefixes.around(prefix).filter(|held| held != prefix).map(|held| (prefix, held))
            });
            notes.extend(wider.map(|(prefix, held)| text::group_wider(lang, prefix, held)));
            next.remove(&change.group, &prefixes, &group.prefixes);
        }
        if next.len() > MAX_MEMBERS {
            return Reply::refused(text::group_full(lang, MAX_MEMBERS));
        }
        // In force first, on disk before the answer: a crash in between leaves the stricter of both, because an agent that
        // starts trusts the tables only as far as its notes explain them, and a restriction that cannot be noted stands.
        let before = std::mem::replace(&mut self.members, next);
        let enforced = match self.enforce(&policy, &prefixes, asked) {
            Ok(enforced) => enforced,
            Err(why) => {
                self.members = before;
                return self.group_failed(change, caller, why);
            }
        };
        let mut wrong = Vec::new();
        let kept = self.keep_members(&self.members.clone());
        if let (true, Err(why)) = (change.add, &kept) {
            return self.take_back(change, caller, before, (&policy, &prefixes), why.clone());
        }
        wrong.extend(kept.clone().err());
        self.faults.track(kept, |why| Fault::State("group members", why));
        let message = if change.add { "members added" } else { "members taken out" };
        let result = Outcome { ok: true, message: message.to_owned() };
        wrong.extend(self.note(caller, action(change), Some(change.reason.clone()), objects(change), None, result));
        let mut reply = Reply::done(GroupDone {
            group: change.group.clone(),
            done: if change.add { "added" } else { "removed" }.to_owned(),
            prefixes: prefixes.iter().map(IpNet::to_string).collect(),
            until: until.map(time),
            generation: enforced.generation,
            enforced_us: enforced.total,
            dataplane_us: enforced.inside,
            compiled: enforced.compiled,
            notes,
        });
        if !wrong.is_empty() {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", text::group_not_kept(lang, wrong.join("; "))).error;
        }
        reply
    }

    /// A permission nobody could note must not last: it would come back after a restart, or go with one, unexplained.
    fn take_back(
        &mut self,
        change: &GroupChange,
        caller: &Caller,
        before: members::Members,
        (policy, prefixes): (&Arc<Policy>, &[IpNet]),
        why: String,
    ) -> Reply {
        let after = std::mem::replace(&mut self.members, before);
        let why = match self.enforce(policy, prefixes, Instant::now()) {
            Ok(_) => why,
            Err(undo) => {
                self.members = after;
                self.faults.raise(Fault::State("group members", why.clone()));
                text::group_not_taken_back(caller.lang, why, undo)
            }
        };
        self.group_failed(change, caller, why)
    }

    fn group_failed(&mut self, change: &GroupChange, caller: &Caller, why: String) -> Reply {
        let result = Outcome { ok: false, message: why.clone() };
        self.note(caller, action(change), Some(change.reason.clone()), objects(change), None, result);
        Reply::failed(text::group_failed(caller.lang, &change.group, why))
    }

    fn group_of(&self, change: &GroupChange, lang: text::Lang) -> Result<(Arc<Policy>, Arc<Group>), Reply> {
        if self.detached.is_some() {
            return Err(Reply::refused(text::group_failed(lang, &change.group, text::group_open(lang))));
        }
        let Some(live) = &self.live else {
            return Err(Reply::failed(text::why_no_policy(lang)));
        };
        match live.policy.groups.iter().find(|group| group.name == change.group) {
            Some(group) => Ok((Arc::clone(&live.policy), Arc::clone(group))),
            None => Err(Reply::refused(text::group_unknown(lang, &change.group, self.group_names()))),
        }
    }

    /// Why these must not be taken out, if anything speaks against it.
    fn may_remove(&self, policy: &Policy, group: &Group, prefixes: &[IpNet], lang: text::Lang) -> Option<Reply> {
        let deltas = self.members.groups.get(&group.name).map(|_| self.deltas());
        let delta = deltas.as_ref().and_then(|deltas| deltas.get(&group.name)).map(Arc::as_ref);
        if let Some(prefix) = prefixes.iter().find(|prefix| !members::touches_now(&group.prefixes, delta, prefix)) {
            return Some(Reply::refused(text::group_absent(lang, prefix, &group.name)));
        }
        let names = |addresses: &Option<crate::policy::addresses::Addresses>| {
            addresses.iter().flat_map(|addresses| &addresses.groups).any(|named| named.name == group.name)
        };
        let manages = policy.rules.iter().any(|rule| {
            rule.to.place.contains(&Place::Box) && (names(&rule.from.prefixes) || names(&rule.to.prefixes))
        });
        let mut sources = self.config.management.iter().flat_map(|path| &path.sources);
        let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let hit = sources.find_map(|source| prefixes.iter().find(|prefix| overlap(source, prefix)));
        hit.filter(|_| manages).map(|prefix| Reply::refused(text::group_management(lang, prefix, &group.name)))
    }

    /// Brings the run-time members into force, as far as they changed inside `regions`.
    fn enforce(&mut self, policy: &Arc<Policy>, regions: &[IpNet], asked: Instant) -> Result<Enforced, String> {
        let deltas = self.deltas();
        let us = |since: Instant| u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let layouts = self.live.as_ref().and_then(|live| live.layouts.clone());
        if let Some(layouts) = layouts
            && self.dataplane.as_ref().is_ok_and(crate::dataplane::Dataplane::publishes)
        {
            if let Ok(change) = layouts.change(deltas, regions.to_vec()) {
                let dataplane = self.dataplane.as_mut().map_err(|why| why.clone())?;
                let started = Instant::now();
                match dataplane.publish(&change) {
                    Ok(generation) => {
                        let (total, inside) = (us(asked), us(started));
                        return Ok(Enforced { generation, total, inside, compiled: false });
                    }
                    Err(error) => {
                        tracing::warn!("compiling anew, because a change could not be written: {}", report(&error))
                    }
                }
            }
            // It knows of a change that is not in the tables.
            if let Some(live) = &mut self.live {
                live.layouts = None;
            }
        }
        let started = Instant::now();
        let generation = self.compile_anew(policy)?;
        Ok(Enforced { generation, total: us(asked), inside: us(started), compiled: true })
    }

    /// Compiles the policy in force with its run-time members and switches to that.
    fn compile_anew(&mut self, policy: &Arc<Policy>) -> Result<u32, String> {
        let mut numbers = self.numbers.clone().ok_or("registry.json cannot be read")?;
        let deltas = self.deltas();
        let now = members::effective(policy, &deltas);
        let compiled = Arc::new(rooms::compile(&now, &mut numbers)?);
        let schedules = self.windows(&compiled, &now);
        let dataplane = self.dataplane.as_mut().map_err(|why| why.clone())?;
        let switched = put(dataplane, &compiled, &schedules, &[])?;
        let Some(live) = self.live.as_ref() else { return Ok(switched.generation) };
        let mut current = live.current.clone();
        current.generation = switched.generation;
        current.layout = layout(&compiled, &self.members);
        let kept = self.state.set_current(&current).map_err(|error| error.to_string());
        self.faults.track(kept, |why| Fault::State("revision in force", why));
        self.live = Some(Live::of(current, Arc::clone(policy), compiled));
        self.refresh_exemptions();
        Ok(switched.generation)
    }

    fn keep_members(&self, members: &Members) -> Result<(), String> {
        self.state.set_members(members).map_err(|error| error.to_string())
    }

    /// How long until a member goes by itself.
    pub fn members_due(&self) -> Option<std::time::Duration> {
        let until = self.members.next_end()?;
        Some(std::time::Duration::from_secs(u64::try_from(until - Timestamp::now().as_second()).unwrap_or(0)))
    }

    /// Takes out members whose time is over.
    pub fn expire_members(&mut self) {
        let mut next = self.members.clone();
        let gone = next.expire(Timestamp::now());
        let Some(policy) = self.live.as_ref().map(|live| Arc::clone(&live.policy)) else { return };
        if gone.is_empty() {
            return;
        }
        let regions: Vec<IpNet> = gone.iter().flat_map(|(_, prefixes)| prefixes.clone()).collect();
        let before = std::mem::replace(&mut self.members, next);
        let enforced =
            if self.detached.is_some() { Ok(()) } else { self.enforce(&policy, &regions, Instant::now()).map(drop) };
        if enforced.is_err() {
            self.members = before;
        } else {
            let kept = self.keep_members(&self.members.clone());
            self.faults.track(kept, |why| Fault::State("group members", why));
            for (group, prefixes) in gone {
                let objects = std::iter::once(format!("group {group}")).chain(prefixes.iter().map(IpNet::to_string));
                let result = Outcome { ok: true, message: "their time is over".to_owned() };
                self.note(&Caller::agent(), Action::GroupExpire, None, objects.collect(), None, result);
            }
        }
        self.faults.track(enforced, |why| Fault::State("ended group members", why));
    }
}

impl Live {
    /// What is in force, of tables with all their prefixes.
    pub fn of(current: super::state::Current, policy: Arc<Policy>, compiled: Arc<Compiled>) -> Self {
        let start = (!policy.groups.is_empty()).then(|| Start::of(&compiled).ok()).flatten();
        let layouts = start.and_then(|start| Layouts::start(Arc::clone(&policy), start));
        let compiled = Arc::new(Arc::unwrap_or_clone(compiled).lean());
        Self { current, policy, compiled, layouts }
    }
}

fn action(change: &GroupChange) -> Action {
    if change.add { Action::GroupAdd } else { Action::GroupRemove }
}

fn objects(change: &GroupChange) -> Vec<String> {
    let seconds = change.seconds.map(|seconds| format!("for {seconds} s"));
    std::iter::once(format!("group {}", change.group)).chain(change.prefixes.iter().cloned()).chain(seconds).collect()
}

fn time(at: i64) -> String {
    Timestamp::from_second(at).map(seconds).unwrap_or_default()
}

/// Prefixes as an administrator writes them.
fn parse(texts: &[String], lang: text::Lang) -> Result<Vec<IpNet>, String> {
    if texts.is_empty() {
        return Err(text::group_nothing(lang));
    }
    let one = |text: &String| {
        let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        let net = parsed.map_err(|_| text::group_no_prefix(lang, text))?;
        if net.trunc() != net {
            return Err(text::group_host_bits(lang, text, net.trunc()));
        }
        let mapped = matches!(net, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
        if net.prefix_len() == 0 || mapped {
            return Err(text::group_everything(lang, text));
        }
        Ok(net)
    };
    texts.iter().map(one).collect()
}
