//! Cut-offs that are planned, and their state on disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{level::Level, object::Object};
use crate::record::{Actor, durable};

/// Most plans kept at once, those that were missed and not yet put away included.
pub const MAX_PLANS: usize = 256;

/// A cut-off to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Counted from 1, never reused.
    pub number: u64,
    /// What, all at one instant.
    pub objects: Vec<Object>,
    /// How deep.
    pub level: Level,
    /// When it begins.
    pub at: Timestamp,
    /// When it ends; `None`: when somebody restores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// By whom.
    pub planned_by: Actor,
    /// When it was planned, RFC 3339 UTC.
    pub planned_at: String,
    /// Nearer than the lead time that people are promised.
    #[serde(default)]
    pub urgent: bool,
    /// How it stands.
    #[serde(default)]
    pub state: PlanState,
    /// Why it is not pending any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Plan {
    /// Whether both cut the same object at one time.
    pub fn overlaps(&self, other: &Self) -> bool {
        let before = |until: Option<Timestamp>, at: Timestamp| until.is_some_and(|until| until <= at);
        self.objects.iter().any(|object| other.objects.iter().any(|its| its.is(object)))
            && !before(self.until, other.at)
            && !before(other.until, self.at)
    }
}

/// How a plan stands. One that was carried out is a cut-off, and no plan any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Its time is to come.
    #[default]
    Pending,
    /// Its time has come, and nothing could be cut; it is tried again.
    Failing,
    /// Its time is over, and nothing was cut. Kept until somebody puts it away.
    Missed,
}

impl PlanState {
    /// As in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failing => "failing",
            Self::Missed => "missed",
        }
    }
}

/// All plans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plans {
    /// The highest number given.
    pub last: u64,
    /// In the order in which they were made.
    pub plans: Vec<Plan>,
}

impl Plans {
    /// Adds one; `None` if there is no room.
    pub fn add(&mut self, mut plan: Plan) -> Option<&Plan> {
        if self.plans.len() >= MAX_PLANS {
            return None;
        }
        self.last += 1;
        plan.number = self.last;
        self.plans.push(plan);
        self.plans.last()
    }

    /// Takes one out.
    pub fn remove(&mut self, number: u64) -> Option<Plan> {
        let at = self.plans.iter().position(|plan| plan.number == number)?;
        Some(self.plans.remove(at))
    }

    /// One of them.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Plan> {
        self.plans.iter_mut().find(|plan| plan.number == number)
    }

    /// Those that are still to be carried out.
    pub fn open(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter().filter(|plan| plan.state != PlanState::Missed)
    }

    /// Those whose time has come, the earliest first.
    pub fn due(&self, now: Timestamp) -> Vec<Plan> {
        let mut due: Vec<Plan> = self.open().filter(|plan| plan.at <= now).cloned().collect();
        due.sort_by_key(|plan| (plan.at, plan.number));
        due
    }

    /// How many stand so.
    pub fn count(&self, state: PlanState) -> usize {
        self.plans.iter().filter(|plan| plan.state == state).count()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    plans: Plans,
}

const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Clone)]
pub struct PlanStore {
    path: PathBuf,
}

impl PlanStore {
    /// In this state folder.
    pub fn new(state: &Path) -> Self {
        Self { path: state.join("plans.json") }
    }

    /// What was planned; nothing if nobody ever planned anything.
    pub fn load(&self) -> Result<Plans, String> {
        let fail = |why: &dyn std::fmt::Display| format!("{}: {why}", self.path.display());
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Plans::default()),
            Err(error) => return Err(fail(&error)),
        };
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| fail(&error))?;
        if document.version != VERSION {
            return Err(fail(&format_args!("version {} is not {VERSION}", document.version)));
        }
        Ok(document.plans)
    }

    /// On disk when it returns.
    pub fn save(&self, plans: &Plans) -> Result<(), String> {
        let document = Document { version: VERSION, plans: plans.clone() };
        serde_json::to_vec_pretty(&document)
            .map_err(io::Error::from)
            .and_then(|bytes| durable::write(&self.path, &bytes))
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn plan(at: &str) -> Plan {
        Plan {
            number: 0,
            objects: vec![Object::Network { name: "internet".into() }],
            level: Level::Drop,
            at: at.parse().unwrap(),
            until: None,
            reason: "回線の保守".into(),
            planned_by: Actor::process(0, "root", "operator", 1),
            planned_at: "2026-12-01T00:00:00Z".into(),
            urgent: false,
            state: PlanState::Pending,
            why: None,
        }
    }

    #[test]
    fn numbers_are_never_given_twice_not_even_over_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = PlanStore::new(dir.path());
        let mut plans = store.load().unwrap();
        assert_eq!(plans.add(plan("2026-12-05T09:00:00Z")).unwrap().number, 1);
        assert_eq!(plans.add(plan("2026-12-06T09:00:00Z")).unwrap().number, 2);
        assert!(plans.remove(2).is_some() && plans.remove(2).is_none());
        store.save(&plans).unwrap();
        let mut read = PlanStore::new(dir.path()).load().unwrap();
        assert_eq!(read, plans);
        assert_eq!(read.add(plan("2026-12-07T09:00:00Z")).unwrap().number, 3);
    }

    #[test]
    fn due_are_those_whose_time_has_come_and_that_were_not_missed() {
        let mut plans = Plans::default();
        for at in ["2026-12-06T09:00:00Z", "2026-12-05T09:00:00Z", "2026-12-05T08:00:00Z", "2026-12-05T09:00:01Z"] {
            plans.add(plan(at)).unwrap();
        }
        plans.get_mut(3).unwrap().state = PlanState::Missed;
        let due = |now: &str| plans.due(now.parse().unwrap()).iter().map(|plan| plan.number).collect::<Vec<_>>();
        assert_eq!(due("2026-12-05T08:59:59Z"), Vec::<u64>::new());
        assert_eq!(due("2026-12-05T09:00:00Z"), [2]);
        assert_eq!(due("2026-12-07T00:00:00Z"), [2, 4, 1]);
        assert_eq!((plans.count(PlanState::Pending), plans.count(PlanState::Missed)), (3, 1));
    }

    #[test]
    fn plans_overlap_if_one_object_is_cut_by_both_at_one_time() {
        let of = |at: &str, until: Option<&str>| Plan { until: until.map(|text| text.parse().unwrap()), ..plan(at) };
        let evening = of("2026-12-05T09:00:00Z", Some("2026-12-05T11:00:00Z"));
        for (other, overlaps) in [
            (of("2026-12-05T10:00:00Z", Some("2026-12-05T12:00:00Z")), true),
            (of("2026-12-05T11:00:00Z", Some("2026-12-05T12:00:00Z")), false),
            (of("2026-12-05T08:00:00Z", Some("2026-12-05T09:00:00Z")), false),
            (of("2026-12-01T00:00:00Z", None), true),
            (of("2026-12-06T00:00:00Z", None), false),
            (Plan { objects: vec![Object::All], ..evening.clone() }, false),
        ] {
            assert_eq!((evening.overlaps(&other), other.overlaps(&evening)), (overlaps, overlaps), "{other:?}");
        }
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut plans = Plans::default();
        (0..MAX_PLANS).for_each(|_| assert!(plans.add(plan("2026-12-05T09:00:00Z")).is_some()));
        assert!(plans.add(plan("2026-12-05T09:00:00Z")).is_none());
        assert_eq!(plans.last, MAX_PLANS as u64);
    }

    #[test]
    fn what_cannot_be_read_is_not_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = PlanStore::new(dir.path());
        for bad in [
            "",
            "{",
            r#"{"version":2,"plans":{"last":0,"plans":[]}}"#,
            r#"{"version":1,"plans":{"last":0,"plans":[],"x":1}}"#,
        ] {
            fs::write(dir.path().join("plans.json"), bad).unwrap();
            let why = store.load().unwrap_err();
            assert!(why.contains("plans.json"), "{why}");
        }
    }
}
