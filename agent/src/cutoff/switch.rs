//! The switch itself: handles of its own on the cut tables, and what it takes to turn names into them. Whoever holds one can
//! cut without waiting for the instance, which may be busy with an apply, a scrape or a disk.
//!
//! What was thrown without the instance's knowledge is remembered until the instance has noted it: no write in between lifts it.

use std::{
    collections::HashMap,
    fs::File,
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use jiff::Timestamp;
use sekimori_ebpf::abi::Refused;

use super::{
    object::{self, Object},
    overlay::{Cut, Overlay},
    resolve,
};
use crate::{
    agent::clock,
    dataplane::{CutTables, Error, cut, maps::CutMaps},
    policy::model::Policy,
    record::Actor,
};

/// Most objects of one command.
pub const MAX_OBJECTS: usize = 64;

/// What names mean now.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// The policy in force.
    pub policy: Option<Arc<Policy>>,
    /// Ids of all zones and networks that any policy ever named.
    pub nets: HashMap<String, u16>,
}

impl Names {
    /// Whether an earlier policy had the zone or network: it can be cut, its packets may be why there is a new one.
    pub fn retired(&self, object: &Object) -> bool {
        let (Object::Network { name } | Object::Zone { name }) = object else {
            return false;
        };
        let now = self.policy.as_ref().is_some_and(|policy| policy.nets.iter().any(|net| net.name == *name));
        !now && self.nets.contains_key(name)
    }
}

/// A cut that is in the tables.
#[derive(Debug, Clone)]
pub struct Thrown {
    /// When the last word was written.
    pub at: Timestamp,
    /// The same on `CLOCK_BOOTTIME`, nanoseconds.
    pub boottime: u64,
    /// From the moment the request could be seen (the caller's `connect` had returned) to [`Self::at`], microseconds.
    pub micros: u64,
    tables: CutTables,
}

#[derive(Default)]
struct Hand {
    maps: Option<CutMaps>,
    names: Names,
    /// Not noted by the instance yet.
    thrown: Vec<CutTables>,
    /// What this switch wrote or found when it was connected; `None` before the first write.
    written: Option<CutTables>,
    /// Held while the tables are written: `sekimori-cut` writes them, too.
    shared: Option<File>,
}

/// How long somebody else who writes the tables is waited for; then they are written all the same.
const PATIENCE: u32 = 50;

/// The tables are ours while this lives, if they could be had.
struct Hold<'a>(Option<&'a File>);

impl<'a> Hold<'a> {
    fn take(file: Option<&'a File>) -> Self {
        let Some(file) = file else { return Self(None) };
        for _ in 0..PATIENCE {
            // SAFETY: a descriptor that is open as long as the file lives.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Self(Some(file));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Self(None)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            // SAFETY: as above.
            unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
        }
    }
}

/// Cut by `found` and not by `known`.
fn beyond(found: CutTables, known: &CutTables) -> CutTables {
    CutTables {
        all: if found.all > known.all { found.all } else { 0 },
        nets: found.nets.into_iter().filter(|net| !known.nets.contains(net)).collect(),
        prefixes: found.prefixes.into_iter().filter(|prefix| !known.prefixes.contains(prefix)).collect(),
        macs: found.macs.into_iter().filter(|mac| !known.macs.contains(mac)).collect(),
        ..CutTables::default()
    }
}

#[derive(Default)]
struct Shared {
    hand: Mutex<Hand>,
    /// Handles for looking, so that a look never keeps a hand waiting.
    eyes: Mutex<Option<CutMaps>>,
}

/// See the module documentation. Clones are the same switch.
#[derive(Clone, Default)]
pub struct Switch(Arc<Shared>);

/// The switch has no tables to write to.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nothing is loaded.
    #[error("no data plane is loaded")]
    Absent,
    /// The kernel refused.
    #[error(transparent)]
    Tables(#[from] Error),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind are whole values: tables are handles, names and lists are replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Switch {
    /// From now on it works these maps; one pair of handles to write, one to look. `None`: there is no data plane.
    pub fn connect(&self, maps: Option<(CutMaps, CutMaps)>, state: &Path) {
        let path = state.join("cut.lock");
        // A disk that answers no write still opens what is there.
        let made = || File::options().create(true).append(true).mode(0o600).open(&path);
        let shared = File::open(&path).or_else(|_| made());
        let (maps, eyes) = maps.unzip();
        let mut hand = lock(&self.0.hand);
        (hand.maps, hand.written, hand.shared) = (maps, None, shared.ok());
        drop(hand);
        *lock(&self.0.eyes) = eyes;
    }

    /// From now on names mean this.
    pub fn name(&self, names: Names) {
        lock(&self.0.hand).names = names;
    }

    /// Cuts these objects if every one of them can be understood, and nothing but that. `None`: the instance has to look at it.
    pub fn throw(&self, objects: &[Object], including_management: bool, seen: Instant) -> Option<Thrown> {
        if objects.is_empty() || objects.len() > MAX_OBJECTS {
            return None;
        }
        let mut hand = lock(&self.0.hand);
        let mut overlay = Overlay::default();
        for object in objects {
            let object = object.clone().checked().ok()?;
            if including_management && object != Object::All {
                return None;
            }
            let policy = hand.names.policy.as_deref();
            let known = policy.is_none_or(|policy| resolve::exists(&object, policy).is_ok());
            if !known && !hand.names.retired(&object) {
                return None;
            }
            let covers = resolve::covers(&object, policy).ok()?;
            overlay.place(Cut::bare(object, including_management, covers), &clock::all());
        }
        let (tables, unknown) = overlay.tables(|name| hand.names.nets.get(name).copied());
        if !unknown.is_empty() {
            return None;
        }
        let Hand { maps, shared, .. } = &mut *hand;
        let maps = maps.as_mut()?;
        let held = Hold::take(shared.as_ref());
        // What is listed already may be somebody else's, whom the instance does not know of yet.
        let new = cut::lacking(maps, &tables).ok()?;
        cut::close(maps, &tables).ok()?;
        drop(held);
        let (at, boottime) = (Timestamp::now(), clock::boottime_ns());
        let micros = u64::try_from(seen.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(written) = &mut hand.written {
            written.add(&new);
        }
        hand.thrown.push(tables.clone());
        Some(Thrown { at, boottime, micros, tables })
    }

    /// The instance has what was thrown among its cuts, or has refused it: the next write decides.
    pub fn noted(&self, thrown: &Thrown) {
        let mut hand = lock(&self.0.hand);
        if let Some(at) = hand.thrown.iter().position(|tables| *tables == thrown.tables) {
            hand.thrown.swap_remove(at);
        }
    }

    /// Replaces what is cut.
    pub fn write(&self, tables: &CutTables) -> Result<(), Fault> {
        let mut hand = lock(&self.0.hand);
        let mut all = tables.clone();
        for thrown in &hand.thrown {
            all.add(thrown);
        }
        let Hand { maps, shared, written, .. } = &mut *hand;
        let maps = maps.as_mut().ok_or(Fault::Absent)?;
        let _held = Hold::take(shared.as_ref());
        let mut whole = all.clone();
        if let Some(written) = written {
            // Whatever came since the instance last looked: [`Self::foreign`] tells of it the next time.
            whole.add(&beyond(cut::read(maps)?, written));
        }
        cut::write(maps, &whole)?;
        *written = Some(all);
        Ok(())
    }

    /// What is cut when the instance begins; from then on what somebody else adds is told from it.
    pub fn begin(&self) -> Result<CutTables, Fault> {
        let mut hand = lock(&self.0.hand);
        let found = cut::read(hand.maps.as_ref().ok_or(Fault::Absent)?)?;
        hand.written = Some(found.clone());
        Ok(found)
    }

    /// What somebody else wrote into the tables since the last write: it is cut, and a write that does not know of it would
    /// lift it. Nothing before the first write.
    pub fn foreign(&self) -> Result<CutTables, Fault> {
        let hand = lock(&self.0.hand);
        let maps = hand.maps.as_ref().ok_or(Fault::Absent)?;
        let Some(written) = &hand.written else { return Ok(CutTables::default()) };
        Ok(beyond(cut::read(maps)?, written))
    }

    /// What the tables say is cut.
    pub fn read(&self) -> Result<CutTables, Fault> {
        Ok(cut::read(lock(&self.0.eyes).as_ref().ok_or(Fault::Absent)?)?)
    }

    /// What was refused to these.
    pub fn refused(&self, prefixes: &[IpNet], macs: &[[u8; 6]]) -> Result<Refused, Fault> {
        Ok(cut::refused(lock(&self.0.eyes).as_ref().ok_or(Fault::Absent)?, prefixes, macs)?)
    }
}

impl Cut {
    /// With nothing but what it cuts.
    fn bare(object: Object, including_management: bool, covers: super::Covers) -> Self {
        Self::new(object, including_management, covers, String::new(), Actor::process(0, "", "", 0), String::new())
    }
}

/// The objects as they are compared: what was written, normalised.
pub fn checked(objects: &[Object]) -> Result<Vec<Object>, object::Error> {
    let mut all: Vec<Object> = Vec::new();
    for object in objects {
        let object = object.clone().checked()?;
        if !all.iter().any(|known| known.is(&object)) {
            all.push(object);
        }
    }
    Ok(all)
}
