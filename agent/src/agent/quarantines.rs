//! Putting hosts in quarantine and releasing them. The tables come first, disk and record follow; a release is on disk first.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use sekimori_ebpf::abi::{Refused, quarantine_mac};
use serde::{Deserialize, Serialize};

use super::{
    clock::{self, seconds},
    fault::Fault,
    keeper::{Caller, Keeper, report},
};
use crate::{
    api::{protocol::Reply, report::QuarantineRow},
    cli::text::{self, Lang},
    cutoff::{
        Covers, End, Object, dates,
        object::{mac_text, read_mac},
        resolve,
    },
    dataplane::{maps::mapped, watch::Lifted},
    policy::model::Policy,
    quarantine::{self, Entry, List, MAX_AT_ONCE, MAX_SECONDS, Placed, Wish},
    record::{Action, Origin, Outcome},
};

/// What became of one host.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HostDone {
    /// As named, normalised.
    pub host: String,
    /// `quarantined`, `quarantined_again`, `released`, or `unblocked`: it was not in quarantine, but detectors blocked it.
    pub done: String,
    /// In the data plane now.
    pub in_force: bool,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its MACs.
    pub macs: Vec<String>,
    /// When it ends by itself, RFC 3339 with the offset of the policy's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What a quarantine or a release says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QuarantineDone {
    /// Each host that was named.
    pub hosts: Vec<HostDone>,
    /// Rules that hold in quarantine.
    pub permitted: Vec<String>,
    /// What else to know, in the reader's language.
    pub notes: Vec<String>,
    /// Who else is in quarantine.
    pub others: Vec<String>,
}

impl Caller {
    /// Nobody asked: a detector, an alert.
    fn automatic(&self) -> bool {
        matches!(self.from, Origin::Agent | Origin::Webhook)
    }
}

impl Keeper {
    /// Puts hosts in quarantine, all or none of them; `lasting` seconds, or until somebody releases them. For requests and
    /// for the agent's own detectors alike: whose caller is the agent never gets at a device marked critical.
    pub fn quarantine(&mut self, objects: Vec<Object>, reason: String, lasting: Option<u64>, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if let Some(why) = &self.quarantine_unread {
            return Reply::failed(text::quarantine_unread(lang, why));
        }
        let now = clock::all();
        let until = match lasting {
            None => None,
            Some(lasting @ 1..=MAX_SECONDS) => End::after(Duration::from_secs(lasting), &now),
            Some(_) => return Reply::usage(text::quarantine_seconds(lang, MAX_SECONDS)),
        };
        let named = match self.named(objects, lang) {
            Ok(named) => named,
            Err(reply) => return reply,
        };
        let names: Vec<String> = named.iter().map(|(host, _)| format!("host {host}")).collect();
        if let Some(why) = self.refusal(&named, caller.automatic(), lang) {
            tracing::error!(hosts = names.join(", "), "no quarantine: {}", self.said_plainly(&named, caller));
            let result = Outcome { ok: false, message: self.said_plainly(&named, caller) };
            self.note(caller, Action::Quarantine, Some(reason), names, None, result);
            return Reply::refused(why);
        }
        let mut list = self.quarantines.clone();
        let mut done = Vec::new();
        for (host, covers) in named {
            let wish = Wish {
                host: host.clone(),
                covers,
                reason: reason.clone(),
                placed_by: caller.actor.clone(),
                automatic: caller.automatic(),
                until: until.clone(),
            };
            match list.place(wish, seconds(now.wall), &now) {
                Ok(placed) => done.push((host, placed)),
                Err(full) => return Reply::refused(text::quarantine_full(lang, full)),
            }
        }
        let before = std::mem::replace(&mut self.quarantines, list);
        let in_force = match self.write_quarantine() {
            Ok(()) => true,
            Err(_) if self.detached.is_some() => false,
            Err(why) => {
                self.quarantines = before;
                let result = Outcome { ok: false, message: why.clone() };
                self.note(caller, Action::Quarantine, Some(reason), names.clone(), None, result);
                return Reply::failed(text::quarantine_failed(lang, names.join(", "), why));
            }
        };
        let mut wrong = Vec::new();
        if in_force {
            // What quarantine permits is permitted from now on, whatever stood in for it or came before.
            let placed = self.quarantines.hosts.iter().filter(|entry| done.iter().any(|(host, _)| *host == entry.host));
            let states: Vec<_> = placed.flat_map(|entry| states(&entry.covers)).collect();
            wrong.extend(self.lift_blocks(&states, Lifted::Everything).err());
        }
        if let Err(why) = self.keep_quarantine() {
            wrong.push(why);
        }
        let message = if in_force { "in quarantine" } else { "kept, NOT in force" };
        let result = Outcome { ok: in_force, message: message.to_owned() };
        wrong.extend(self.note(caller, Action::Quarantine, Some(reason), names.clone(), None, result));
        let mut notes = Vec::new();
        if !in_force {
            notes.push(text::quarantine_not_in_force(lang));
        }
        let permitted = self.permitted();
        if permitted.is_empty() {
            notes.push(text::quarantine_nothing_permitted(lang));
        }
        let zone = self.zone();
        let hosts: Vec<HostDone> = done
            .iter()
            .filter_map(|(host, placed)| {
                let entry = self.quarantines.hosts.iter().find(|entry| entry.host == *host)?;
                if entry.covers.macs.is_empty() {
                    notes.push(text::quarantine_no_mac(lang, host));
                }
                let done = if *placed == Placed::New { "quarantined" } else { "quarantined_again" };
                Some(host_done(entry, done, in_force, &zone))
            })
            .collect();
        let others = self.others_quarantined(&hosts);
        let mut reply = Reply::done(QuarantineDone { hosts, permitted, notes, others });
        if !in_force {
            reply.exit = 2;
        } else if !wrong.is_empty() {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", text::quarantine_not_kept(lang, wrong.join("; "))).error;
        }
        reply
    }

    /// Lets hosts go, all or none of them: out of quarantine, and out of what detectors block them for.
    pub fn release(&mut self, objects: Vec<Object>, reason: String, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if let Some(why) = &self.quarantine_unread {
            return Reply::failed(text::quarantine_unread(lang, why));
        }
        let mut list = self.quarantines.clone();
        let (mut gone, mut blocked) = (Vec::new(), Vec::new());
        if objects.is_empty() || objects.len() > MAX_AT_ONCE {
            return Reply::usage(text::quarantine_how_many(lang, MAX_AT_ONCE));
        }
        for object in objects {
            let host = match host_of(object, lang) {
                Ok(host) => host,
                Err(reply) => return reply,
            };
            match list.lift(&host) {
                Some(entry) => gone.push(entry),
                None if let Some(covers) = self.blocked(&host) => blocked.push((host, covers)),
                None => {
                    let known: Vec<String> = self.quarantines.hosts.iter().map(|entry| entry.host.clone()).collect();
                    let known = if known.is_empty() { text::nothing(lang) } else { known.join(", ") };
                    return Reply::refused(text::release_absent(lang, host, known));
                }
            }
        }
        let named = gone.iter().map(|entry| &entry.host).chain(blocked.iter().map(|(host, _)| host));
        let names: Vec<String> = named.map(|host| format!("host {host}")).collect();
        if let Err(why) = self.ledger.ready() {
            return Reply::failed(text::release_failed(lang, names.join(", "), why));
        }
        let covers = gone.iter().map(|entry| &entry.covers).chain(blocked.iter().map(|(_, covers)| covers));
        let states: Vec<_> = covers.flat_map(states).collect();
        // First: a packet that a block refuses must not say of a host that was let go what it said before.
        let lifted = self.lift_blocks(&states, Lifted::Everything);
        if let Err(why) = lifted.and_then(|()| if gone.is_empty() { Ok(()) } else { self.replace_quarantine(list) }) {
            let result = Outcome { ok: false, message: why.clone() };
            self.note(caller, Action::Release, Some(reason), names.clone(), None, result);
            return Reply::failed(text::release_failed(lang, names.join(", "), why));
        }
        let message =
            if gone.is_empty() { "not in quarantine; what detectors blocked it for is lifted" } else { "released" };
        let result = Outcome { ok: true, message: message.into() };
        let unrecorded = self.note(caller, Action::Release, Some(reason), names, None, result);
        let zone = self.zone();
        let released = gone.iter().map(|entry| host_done(entry, "released", false, &zone));
        let unblocked = blocked.into_iter().map(|(host, covers)| unblocked(host, &covers));
        let hosts: Vec<HostDone> = released.chain(unblocked).collect();
        let others = self.others_quarantined(&hosts);
        let mut reply = Reply::done(QuarantineDone { hosts, permitted: self.permitted(), notes: Vec::new(), others });
        if let Some(why) = unrecorded {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", why).error;
        }
        reply
    }

    /// What of this host detectors block now; `None`: nothing, as far as can be told.
    fn blocked(&mut self, host: &str) -> Option<Covers> {
        let policy = self.live.as_ref().map(|live| live.policy.clone());
        let covers = resolve::covers(&Object::Host { name: host.to_owned() }, policy.as_deref()).ok()?;
        let dataplane = self.dataplane.as_mut().ok()?;
        let blocked = dataplane.is_blocked(&states(&covers), clock::boottime_ns()).unwrap_or(false);
        blocked.then_some(covers)
    }

    /// Ends what detectors block the hosts with these states for.
    pub(super) fn lift_blocks(&mut self, hosts: &[[u8; 16]], lifted: Lifted) -> Result<(), String> {
        let dataplane = self.dataplane.as_mut().map_err(|why| why.clone())?;
        dataplane.lift_blocks(hosts, lifted, clock::boottime_ns()).map_err(|error| report(&error))
    }

    /// Hosts by name with what they cover; an error names nobody.
    fn named(&self, objects: Vec<Object>, lang: Lang) -> Result<Vec<(String, Covers)>, Reply> {
        if objects.is_empty() || objects.len() > MAX_AT_ONCE {
            return Err(Reply::usage(text::quarantine_how_many(lang, MAX_AT_ONCE)));
        }
        let policy = self.live.as_ref().map(|live| live.policy.clone());
        objects
            .into_iter()
            .map(|object| {
                let host = host_of(object, lang)?;
                let object = Object::Host { name: host.clone() };
                let covers = resolve::covers(&object, policy.as_deref()).map_err(|no| Reply::usage(no.text(lang)))?;
                Ok((host, covers))
            })
            .collect()
    }

    /// Why one of these must not be put in quarantine.
    fn refusal(&self, named: &[(String, Covers)], automatic: bool, lang: Lang) -> Option<String> {
        let policy = self.live.as_ref().map(|live| live.policy.as_ref())?;
        named.iter().find_map(|(host, covers)| {
            if covers.addresses.iter().any(|address| policy.box_addresses.contains(address)) {
                return Some(text::quarantine_is_box(lang, host));
            }
            let router = |mac: &String| read_mac(mac).is_some_and(|mac| is_router(policy, mac));
            if covers.macs.iter().any(router) {
                return Some(text::quarantine_is_router(lang, host));
            }
            let critical = automatic.then(|| critical(policy, covers)).flatten();
            critical.map(|device| text::quarantine_critical(lang, host, device))
        })
    }

    /// The same in English, for the record.
    fn said_plainly(&self, named: &[(String, Covers)], caller: &Caller) -> String {
        self.refusal(named, caller.automatic(), Lang::En).unwrap_or_default()
    }

    /// Rules that hold in quarantine.
    fn permitted(&self) -> Vec<String> {
        let rules = self.live.iter().flat_map(|live| &live.policy.rules);
        rules.filter(|rule| rule.quarantined).map(|rule| rule.id.clone()).collect()
    }

    fn others_quarantined(&self, named: &[HostDone]) -> Vec<String> {
        let others = self.quarantines.hosts.iter().filter(|entry| named.iter().all(|done| done.host != entry.host));
        others.map(|entry| entry.host.clone()).collect()
    }

    /// The list as it stands, into the data plane.
    pub(super) fn write_quarantine(&mut self) -> Result<(), String> {
        let tables = self.quarantines.tables();
        let dataplane = self.dataplane.as_mut().map_err(|why| why.clone())?;
        dataplane.set_quarantine(&tables).map_err(|error| report(&error))
    }

    /// The list onto the disk.
    fn keep_quarantine(&mut self) -> Result<(), String> {
        let kept = quarantine::Store::new(&self.config.state).save(&self.quarantines);
        let kept = kept.map_err(|error| error.to_string());
        self.faults.track(kept.clone(), Fault::QuarantineNotKept);
        kept
    }

    /// A shorter list: on disk first, so that a reboot does not bring back who was released; taken back if the tables refuse.
    fn replace_quarantine(&mut self, list: List) -> Result<(), String> {
        let before = std::mem::replace(&mut self.quarantines, list);
        let kept = self.keep_quarantine();
        let lifted = kept.and_then(|()| match self.write_quarantine() {
            Err(why) if self.detached.is_none() => Err(why),
            _ => Ok(()),
        });
        if lifted.is_err() {
            self.quarantines = before;
            // What is wrong with the disk is a fault already.
            let _ = self.keep_quarantine();
        }
        lifted
    }

    /// At the start: what the tables say stays, whatever the disk says. Without either, nothing can be put in force.
    pub(super) fn keep_who_is_in_quarantine(&mut self) {
        let Ok(dataplane) = self.dataplane.as_ref() else { return };
        if dataplane.adopted() {
            let found = match dataplane.quarantine_in_force() {
                Ok(found) => found,
                Err(error) => return self.faults.raise(Fault::State("quarantine", report(&error))),
            };
            let (agent, now) = (Caller::agent().actor, seconds(Timestamp::now()));
            let unread = self.quarantine_unread.take().is_some();
            if self.quarantines.adopt(&found, &agent, &now) || unread {
                tracing::error!(
                    hosts = self.quarantines.hosts.len(),
                    "quarantines in force without a note on disk stay"
                );
                // A disk that refuses is a fault.
                let _ = self.keep_quarantine();
            }
        }
        if let Some(why) = &self.quarantine_unread {
            return self.faults.raise(Fault::QuarantineUnread(why.clone()));
        }
        let written = self.write_quarantine();
        self.faults.track(written, |why| Fault::State("quarantine", why));
    }

    /// A new policy may know more addresses and MACs of a host in quarantine: its reach grows, it never shrinks.
    pub(super) fn widen_quarantine(&mut self) -> Result<(), String> {
        let policy = self.live.as_ref().map(|live| live.policy.clone());
        let mut changed = false;
        for entry in &mut self.quarantines.hosts {
            if let Ok(covers) = resolve::covers(&Object::Host { name: entry.host.clone() }, policy.as_deref()) {
                let before = entry.covers.clone();
                entry.covers.widen(&covers);
                changed |= entry.covers != before;
            }
        }
        if changed {
            // A disk that refuses is a fault.
            let _ = self.keep_quarantine();
        }
        let written = self.write_quarantine();
        self.faults.track(written.clone(), |why| Fault::State("quarantine", why));
        written
    }

    /// When the next quarantine ends by itself.
    pub fn quarantine_due(&self) -> Option<Duration> {
        let left = self.quarantines.next_end(&clock::all())?;
        Some(left.try_into().unwrap_or(Duration::ZERO))
    }

    /// Releases hosts whose time is over.
    pub fn expire_quarantine(&mut self) {
        let mut list = self.quarantines.clone();
        let gone = list.expire(&clock::all());
        if gone.is_empty() {
            return;
        }
        let released = self.replace_quarantine(list);
        if released.is_ok() {
            for entry in gone {
                let result = Outcome { ok: true, message: "its time is over".to_owned() };
                let names = vec![format!("host {}", entry.host)];
                self.note(&Caller::agent(), Action::Release, None, names, None, result);
            }
        }
        self.faults.track(released, |why| Fault::State("ended quarantine", why));
    }

    /// Who is in quarantine.
    pub fn quarantined(&self) -> Vec<QuarantineRow> {
        let (now, zone) = (clock::all(), self.zone());
        let dataplane = self.dataplane.as_ref().ok();
        let row = |entry: &Entry| {
            let refused = dataplane
                .map_or(Refused::default(), |dataplane| dataplane.quarantine_refused(entry.slot).unwrap_or_default());
            let age = entry.placed_at.parse::<Timestamp>().map_or(0, |at| now.wall.duration_since(at).as_secs().max(0));
            QuarantineRow {
                host: entry.host.clone(),
                reason: entry.reason.clone(),
                placed_by: entry.placed_by.clone(),
                automatic: entry.automatic,
                placed_at: entry.placed_at.clone(),
                age_seconds: age,
                until: entry.until.as_ref().map(|end| dates::local(end.wall(&now), &zone)),
                addresses: entry.covers.addresses.iter().map(ToString::to_string).collect(),
                macs: entry.covers.macs.clone(),
                in_force: dataplane.is_some(),
                refused_packets: refused.packets,
                refused_bytes: refused.bytes,
            }
        };
        self.quarantines.hosts.iter().map(row).collect()
    }

    /// The tables as they are or would be in the data plane.
    pub fn quarantine_tables(&self) -> Vec<crate::dataplane::quarantine::Host> {
        self.quarantines.tables()
    }
}

fn host_of(object: Object, lang: Lang) -> Result<String, Reply> {
    match object.checked() {
        Ok(Object::Host { name }) => Ok(name),
        Ok(other) => Err(Reply::usage(text::quarantine_hosts_only(lang, other))),
        Err(error) => Err(Reply::usage(error.text(lang))),
    }
}

fn host_done(entry: &Entry, done: &str, in_force: bool, zone: &TimeZone) -> HostDone {
    HostDone {
        host: entry.host.clone(),
        done: done.to_owned(),
        in_force,
        addresses: entry.covers.addresses.iter().map(ToString::to_string).collect(),
        macs: entry.covers.macs.clone(),
        until: entry.until.as_ref().map(|end| dates::local(end.wall(&clock::all()), zone)),
    }
}

fn unblocked(host: String, covers: &Covers) -> HostDone {
    HostDone {
        host,
        done: "unblocked".to_owned(),
        in_force: false,
        addresses: covers.addresses.iter().map(ToString::to_string).collect(),
        macs: covers.macs.clone(),
        until: None,
    }
}

/// Under which names the data plane watches a host.
fn states(covers: &Covers) -> Vec<[u8; 16]> {
    let macs = covers.macs.iter().filter_map(|mac| read_mac(mac)).map(|mac| quarantine_mac(&mac));
    covers.addresses.iter().map(|address| mapped(*address)).chain(macs).collect()
}

fn is_router(policy: &Policy, mac: [u8; 6]) -> bool {
    policy.nets.iter().any(|net| net.routers.iter().any(|router| router.0 == mac))
}

/// A device of these that is marked critical.
fn critical<'p>(policy: &'p Policy, covers: &Covers) -> Option<&'p str> {
    let is_it = |device: &&crate::policy::model::Device| {
        let address = device.addresses.iter().any(|address| covers.addresses.contains(address));
        device.critical && (address || covers.macs.contains(&mac_text(device.mac.0)))
    };
    policy.devices.iter().find(is_it).map(|device| device.name.as_str())
}
