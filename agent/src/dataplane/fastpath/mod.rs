//! Where packets of established flows may be forwarded by the way in itself, past the kernel's stack: nowhere where
//! something of somebody else's would be missed, or where the driver cannot. When in doubt, nowhere.
//!
//! Reverse path filtering (`rp_filter`) plays no part: the way in has refused sources that do not live behind the interface
//! long before. Neither does `bridge-nf-call-iptables`: what it would lead bridged packets to are the same rules.

mod facts;
mod judge;
mod kernel;
mod reason;
mod traffic;
mod wall;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

pub use facts::Facts;
pub use judge::{Asked, objections};
pub use kernel::generic;
pub use reason::{Objection, Reason, Way};
use sekimori_ebpf::abi::{IFACE_FAST_IN, IFACE_FAST_OUT, IFACE_GUARDED, IfaceEntry};
use serde_json::Value;
pub use wall::Hook;

use super::{
    Dataplane, attach,
    error::{Error, While},
    markbits,
};

/// How long nothing may have spoken against an interface before it is used.
pub const SETTLE: Duration = Duration::from_secs(3);
/// Both flags.
const BOTH: u16 = IFACE_FAST_IN | IFACE_FAST_OUT;

/// Where the administrator wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Nowhere.
    pub off: bool,
    /// Not on these interfaces.
    pub except: BTreeSet<String>,
}

/// What was decided about one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Kernel name.
    pub name: String,
    /// Kernel index; 0 if it does not exist.
    pub ifindex: u32,
    /// Packets that come in may take it: as in the data plane.
    pub way_in: bool,
    /// Packets may leave by it: as in the data plane.
    pub way_out: bool,
    /// What speaks against it.
    pub objections: Vec<Objection>,
}

/// Since when nothing speaks against (interface, flag).
type Since = BTreeMap<(u32, u16), Instant>;

/// What has to be found out, and what is known already. Answering it takes no instance, for it may take its time.
#[derive(Debug)]
pub struct Question {
    choice: Choice,
    hooks: Option<Vec<Hook>>,
    own_table: String,
    links: PathBuf,
}

/// What was found out.
#[derive(Debug)]
pub struct Answer {
    choice: Choice,
    /// `None`: could not be read.
    hooks: Option<Vec<Hook>>,
    facts: Facts,
}

impl Question {
    /// Asks the kernel, in the network namespace of the calling thread. Blocks.
    pub fn answer(self) -> Answer {
        if self.choice.off {
            // With nothing to decide, nothing is asked.
            return Answer { choice: self.choice, hooks: None, facts: Facts::default() };
        }
        let hooks = self.hooks.map_or_else(|| foreign_rules(&self.own_table), Ok);
        let kept = hooks.as_ref().ok().cloned();
        let facts = kernel::facts(hooks, &attach::own_programs(&self.links));
        Answer { choice: self.choice, hooks: kept, facts }
    }
}

impl Answer {
    fn objections(&self, asked: Asked) -> Vec<Objection> {
        if self.choice.off {
            vec![Objection::new(Reason::Configured, "", Way::Both)]
        } else {
            objections(&self.facts, asked)
        }
    }
}

fn foreign_rules(own: &str) -> Result<Vec<Hook>, String> {
    let ruleset: Value = markbits::ruleset().map_err(|error| error.to_string())?;
    Ok(wall::hooks(&ruleset, own))
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub struct Memory {
    /// Netfilter rules as last read; `None`: read them again.
    hooks: Option<Vec<Hook>>,
    since: Since,
    verdicts: Vec<Verdict>,
    /// The epoch to come back to after a hold.
    epoch: u32,
}

impl Dataplane {
    /// Stops the fast path at once, until the next [`Self::fast_path`]: something changed, and nobody knows yet what.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn hold_fast_path(&mut self) -> Result<(), Error> {
        let epoch = self.maps.fast.get(&0, 0).doing("read the fast path's epoch")?;
        if epoch != 0 {
            self.fast.epoch = epoch;
            self.maps.fast.set(0, 0, 0).doing("hold the fast path")?;
        }
        Ok(())
    }

    /// The netfilter rules have changed: the next look reads them.
    pub fn forget_rules(&mut self) {
        self.fast.hooks = None;
    }

    /// What has to be found out about the kernel.
    pub fn fast_question(&self, choice: Choice) -> Question {
        let links = self.options.links_dir();
        Question { choice, hooks: self.fast.hooks.clone(), own_table: self.options.guard_table(), links }
    }

    /// Takes away what is forbidden now, and gives what has long enough been permitted. Returns after how long to look
    /// again because something is waiting for its time.
    ///
    /// # Errors
    /// The maps cannot be read or written; what could not be found out about the kernel is an objection instead.
    pub fn fast_path(&mut self, interfaces: &[(String, u16)], answer: Answer) -> Result<Option<Duration>, Error> {
        self.fast.hooks.clone_from(&answer.hooks);
        let (mut verdicts, waiting, since) = self.judge(interfaces, &answer);
        self.fast.since = since;
        let mut lost = false;
        let mut any = false;
        for verdict in verdicts.iter_mut().filter(|verdict| verdict.ifindex != 0) {
            let Ok(held) = self.maps.ifaces.get(&verdict.ifindex, 0) else {
                (verdict.way_in, verdict.way_out) = (false, false);
                continue;
            };
            let wanted = flags(verdict.way_in, verdict.way_out);
            any |= wanted != 0;
            let taken = held.flags & BOTH & !wanted != 0;
            if taken && !lost {
                // What flows learnt about their way out is void from here on, whatever happens next.
                self.maps.fast.set(0, 0, 0).doing("stop the fast path")?;
                lost = true;
            }
            if held.flags & BOTH != wanted {
                let entry = IfaceEntry { flags: held.flags & !BOTH | wanted, ..held };
                self.maps.ifaces.insert(verdict.ifindex, entry, 0).doing("mark an interface for the fast path")?;
            }
        }
        self.set_epoch(any, lost)?;
        for verdict in &verdicts {
            let before = self.fast.verdicts.iter().find(|before| before.name == verdict.name);
            let was = before.map(|before| (before.way_in, before.way_out));
            if was != Some((verdict.way_in, verdict.way_out)) {
                let why: Vec<_> = verdict.objections.iter().map(|one| one.reason.code()).collect();
                tracing::info!(
                    interface = verdict.name,
                    way_in = verdict.way_in,
                    way_out = verdict.way_out,
                    ?why,
                    "fast path"
                );
            }
        }
        self.fast.verdicts = verdicts;
        Ok(waiting)
    }

    /// The verdicts of the last look. Without one (a command while no agent runs): what the data plane has been told,
    /// and what is to be said about it now.
    pub fn fast_verdicts(&self, interfaces: &[(String, u16)], choice: Choice) -> Vec<Verdict> {
        if !self.fast.verdicts.is_empty() {
            return self.fast.verdicts.clone();
        }
        let answer = self.fast_question(choice).answer();
        let on = self.maps.fast.get(&0, 0).is_ok_and(|epoch| epoch != 0);
        let about = |(name, _): &(String, u16)| {
            let asked = self.asked(name, &answer.choice);
            let held = self.maps.ifaces.get(&asked.ifindex, 0).map_or(0, |entry| entry.flags);
            Verdict {
                name: name.clone(),
                ifindex: asked.ifindex,
                way_in: on && held & IFACE_FAST_IN != 0,
                way_out: on && held & IFACE_FAST_OUT != 0,
                objections: answer.objections(asked),
            }
        };
        interfaces.iter().map(about).collect()
    }

    /// The entry of a guarded interface, as `attach` writes it: what is marked stays marked.
    pub(super) fn guarded_entry(&self, index: u32, id: u16) -> IfaceEntry {
        let held = self.maps.ifaces.get(&index, 0).ok().filter(|held| held.id == id).map_or(0, |held| held.flags);
        IfaceEntry { id, flags: IFACE_GUARDED | held & BOTH, ..IfaceEntry::default() }
    }

    fn asked(&self, name: &str, choice: &Choice) -> Asked {
        let state = attach::state(&self.options.links_dir(), name);
        Asked {
            ifindex: state.ifindex,
            attached: state.xdp != "missing" && state.tcx && state.error.is_none(),
            native: state.xdp == "native",
            wanted: !choice.off && !choice.except.contains(name),
        }
    }

    fn judge(&self, interfaces: &[(String, u16)], answer: &Answer) -> (Vec<Verdict>, Option<Duration>, Since) {
        let now = Instant::now();
        let mut since = BTreeMap::new();
        let mut waiting: Option<Duration> = None;
        let mut verdicts = Vec::new();
        for (name, _) in interfaces {
            let asked = self.asked(name, &answer.choice);
            let mut found = answer.objections(asked);
            let held = self.maps.ifaces.get(&asked.ifindex, 0).map_or(0, |entry| entry.flags);
            let mut settle = |flag: u16, forbidden: bool| {
                if forbidden {
                    return (false, false);
                }
                let start = *self.fast.since.get(&(asked.ifindex, flag)).unwrap_or(&now);
                since.insert((asked.ifindex, flag), start);
                let left = SETTLE.saturating_sub(now.duration_since(start));
                // What the data plane was told before we came was settled then.
                if held & flag != 0 || left.is_zero() {
                    return (true, false);
                }
                waiting = Some(waiting.map_or(left, |waiting| waiting.max(left)));
                (false, true)
            };
            let (way_in, in_waits) = settle(IFACE_FAST_IN, found.iter().any(|one| one.way.forbids_in()));
            let (way_out, out_waits) = settle(IFACE_FAST_OUT, found.iter().any(|one| one.way.forbids_out()));
            if in_waits || out_waits {
                let way = if in_waits && out_waits {
                    Way::Both
                } else if in_waits {
                    Way::In
                } else {
                    Way::Out
                };
                found.push(Objection::new(Reason::Settling, "", way));
            }
            verdicts.push(Verdict { name: name.clone(), ifindex: asked.ifindex, way_in, way_out, objections: found });
        }
        (verdicts, waiting, since)
    }

    /// A new epoch after a loss; the one before a hold where nothing was lost.
    fn set_epoch(&mut self, any: bool, lost: bool) -> Result<(), Error> {
        let current = self.maps.fast.get(&0, 0).doing("read the fast path's epoch")?;
        self.fast.epoch = self.fast.epoch.max(current);
        if lost || self.fast.epoch == 0 {
            // Tenths of a second since boot: no flow can have seen it under an earlier agent either.
            let tenths = u32::try_from(crate::agent::clock::boottime_ns() / 100_000_000).unwrap_or(u32::MAX);
            self.fast.epoch = tenths.max(self.fast.epoch.saturating_add(1));
        }
        let wanted = if any { self.fast.epoch } else { 0 };
        if wanted != current || lost {
            self.maps.fast.set(0, wanted, 0).doing("set the fast path's epoch")?;
        }
        Ok(())
    }
}

fn flags(way_in: bool, way_out: bool) -> u16 {
    (if way_in { IFACE_FAST_IN } else { 0 }) | (if way_out { IFACE_FAST_OUT } else { 0 })
}

#[cfg(test)]
mod tests;
