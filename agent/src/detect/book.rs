//! All incidents: which event belongs to which, and what happens when there are too many.
//!
//! Nobody who sends packets decides how much is kept. An event of a host without an incident opens one while there is room in
//! the rate; beyond that it goes into one incident of *many hosts* of its zone and detector. So every event is in some incident,
//! and their number is bounded by time; beyond [`Bounds::keep`] the oldest go, those first that nobody has to look at any more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    incident::{Closed, Incident, State, many_hosts},
    sighting::{Sighting, detector_code},
};
use crate::record::Actor;

/// How much is kept, and for how long events belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Incidents at most.
    pub keep: usize,
    /// An episode ends after so long without an event.
    pub episode: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { keep: 10_000, episode: Duration::from_secs(600) }
    }
}

/// Incidents that may open at one instant after a pause.
const BURST: u64 = 64;
/// And one more after each of these spans: 14,400 a day, some 20 MB of the record.
const EVERY: u64 = 6_000_000_000;

/// What an event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed {
    /// It opened this incident, or made one of level `observe` an alert: somebody has to be told.
    Opened(u64),
    /// It is the first of this incident of level `observe`.
    Noted(u64),
    /// It belongs to this one.
    Grown(u64),
}

impl Noticed {
    /// The incident.
    pub fn id(self) -> u64 {
        match self {
            Self::Opened(id) | Self::Noted(id) | Self::Grown(id) => id,
        }
    }
}

/// Whose incidents belong together: detector, zone, host.
type Key = (String, String, String);

/// Numbers since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events by detector.
    pub detections: BTreeMap<String, u64>,
    /// Events that went into an incident of many hosts because too many incidents opened at once.
    pub crowded: u64,
    /// Incidents that made room: looked at, and not.
    pub forgotten: (u64, u64),
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Book {
    bounds: Bounds,
    incidents: BTreeMap<u64, Incident>,
    latest: HashMap<Key, u64>,
    next: u64,
    /// How far openings are ahead of the clock.
    ahead: u64,
    /// Not on disk as they are.
    dirty: BTreeSet<u64>,
    /// Gone, and still on disk.
    gone: BTreeSet<u64>,
    counts: Counts,
}

fn key(incident: &Incident) -> Key {
    (incident.detector.clone(), incident.zone.clone(), incident.host.clone())
}

impl Book {
    /// With what was on disk; `next` is above every number that was ever given.
    pub fn new(bounds: Bounds, incidents: Vec<Incident>, next: u64) -> Self {
        let mut book = Self { bounds, next: next.max(1), ..Self::default() };
        for incident in incidents {
            book.next = book.next.max(incident.id.saturating_add(1));
            let latest = book.latest.entry(key(&incident)).or_default();
            *latest = incident.id.max(*latest);
            book.incidents.insert(incident.id, incident);
        }
        while book.incidents.len() > bounds.keep.max(1) {
            book.forget();
        }
        book
    }

    /// Takes an event in; `now` is `CLOCK_BOOTTIME` nanoseconds.
    pub fn add(&mut self, sighting: &Sighting, now: u64) -> Noticed {
        let detector = detector_code(sighting.detector);
        *self.counts.detections.entry(detector.clone()).or_default() += 1;
        let own = (detector, sighting.zone.clone(), sighting.host.clone());
        let before = self.latest.get(&own).copied();
        if let Some(id) = before.filter(|id| self.runs(*id, sighting.at)) {
            return self.grow(id, sighting);
        }
        if self.may_open(now) {
            let counters = before.and_then(|id| self.incidents.get(&id)).map(|incident| incident.counters);
            return self.open(own, |id| Incident::new(id, sighting, counters));
        }
        self.counts.crowded += 1;
        let many = (own.0, own.1, many_hosts(&sighting.zone));
        match self.latest.get(&many).copied().filter(|id| self.runs(*id, sighting.at)) {
            Some(id) => self.grow(id, sighting),
            // Bounded by detectors and zones, so it takes no room in the rate.
            None => self.open(many, |id| Incident::of_many(id, sighting)),
        }
    }

    /// Whether an event at `at` belongs to this one: its episode lasts, and nobody has closed it.
    fn runs(&self, id: u64, at: Timestamp) -> bool {
        let gap = SignedDuration::try_from(self.bounds.episode).unwrap_or(SignedDuration::MAX);
        self.incidents
            .get(&id)
            .is_some_and(|incident| incident.state != State::Closed && at.duration_since(incident.last_seen) <= gap)
    }

    fn grow(&mut self, id: u64, sighting: &Sighting) -> Noticed {
        let Some(incident) = self.incidents.get_mut(&id) else { return Noticed::Grown(id) };
        let before = incident.state;
        incident.add(sighting);
        self.dirty.insert(id);
        if incident.state == before { Noticed::Grown(id) } else { Noticed::Opened(id) }
    }

    /// The rate: [`BURST`] at once, then one [`EVERY`] so often.
    fn may_open(&mut self, now: u64) -> bool {
        let ahead = self.ahead.max(now) + EVERY;
        let may = ahead - now <= BURST * EVERY;
        if may {
            self.ahead = ahead;
        }
        may
    }

    fn open(&mut self, key: Key, make: impl FnOnce(u64) -> Incident) -> Noticed {
        while self.incidents.len() >= self.bounds.keep.max(1) {
            self.forget();
        }
        let id = self.next;
        self.next = self.next.saturating_add(1);
        let incident = make(id);
        let open = incident.state == State::Open;
        self.incidents.insert(id, incident);
        self.latest.insert(key, id);
        self.dirty.insert(id);
        if open { Noticed::Opened(id) } else { Noticed::Noted(id) }
    }

    /// The oldest goes: first of those nobody has to look at.
    fn forget(&mut self) {
        let least = self.incidents.values().min_by_key(|one| (one.state == State::Open, one.last_seen, one.id));
        let Some(id) = least.map(|incident| incident.id) else { return };
        let Some(incident) = self.incidents.remove(&id) else { return };
        let key = key(&incident);
        if self.latest.get(&key) == Some(&id) {
            self.latest.remove(&key);
        }
        match incident.state {
            State::Open => self.counts.forgotten.1 += 1,
            State::Noted | State::Closed => self.counts.forgotten.0 += 1,
        }
        self.dirty.remove(&id);
        self.gone.insert(id);
    }

    /// Somebody has looked at it. `None`: there is none, or it is closed.
    pub fn close(&mut self, id: u64, by: Actor, at: Timestamp, reason: String) -> Option<&Incident> {
        let incident = self.incidents.get_mut(&id).filter(|incident| incident.state != State::Closed)?;
        incident.state = State::Closed;
        incident.closed = Some(Closed { by, at, reason });
        self.dirty.insert(id);
        Some(incident)
    }

    /// Changes one; it is written again.
    pub fn change(&mut self, id: u64, change: impl FnOnce(&mut Incident)) {
        if let Some(incident) = self.incidents.get_mut(&id) {
            change(incident);
            self.dirty.insert(id);
        }
    }

    /// One of them.
    pub fn get(&self, id: u64) -> Option<&Incident> {
        self.incidents.get(&id)
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Incident> {
        self.incidents.values()
    }

    /// Numbers since the agent started.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The number the next one gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Some that are not on disk as they are, oldest first.
    pub fn unsaved(&self, most: usize) -> Vec<u64> {
        self.dirty.iter().take(most).copied().collect()
    }

    /// It is on disk as it is.
    pub fn saved(&mut self, id: u64) {
        self.dirty.remove(&id);
    }

    /// Those that are gone and still on disk; asked once.
    pub fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone).into_iter().collect()
    }
}
