//! One instance as it is: the data plane, the revision in force, the cut-offs, the record, the clock.

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use sekimori_ebpf::abi::{Schedule, Settings};
use tokio::sync::Notify;

use super::{
    by_hand,
    clock::{self, HighWater, seconds},
    config::Config,
    early::{Early, Saved},
    event::EventLine,
    fault::{Fault, Faults},
    incidents::Incidents,
    layout::Layouts,
    ledger::Ledger,
    preflight::{self, Lock},
    rooms::{self, Numbers},
    state::{Current, State},
};
use crate::{
    api::{
        report::{Detached, PolicyFile},
        roles::{self, Peer},
    },
    cli::text::Lang,
    compile::tables::Compiled,
    cutoff::{self, Names, Object, Overlay, Switch},
    dataplane::{self, CutTables, Dataplane, Options},
    detect, flows,
    http::Tally,
    policy::{members::Members, model::Policy},
    quarantine,
    record::{self, Action, Actor, Draft, Line, Origin, Outcome, RevisionRef, reader::Filter, verify::Wrong},
    threat, tokens,
};

/// Drop events per second and CPU that reach user space.
const EVENT_RATE: u32 = 1_000;
/// How long an agent that starts waits for a command that works on the instance.
const AGENT_PATIENCE: Duration = Duration::from_secs(15);

/// The revision in force and what it was made of.
#[derive(Debug, Clone)]
pub struct Live {
    /// As in the state folder.
    pub current: Current,
    /// The policy.
    pub policy: Arc<Policy>,
    /// Its tables, without the prefixes.
    pub compiled: Arc<Compiled>,
    /// What changes of groups mean for them; `None` if that has to be compiled anew.
    pub layouts: Option<Layouts>,
}

/// Who asks, in which language, by which door.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the record.
    pub actor: Actor,
    /// For the record.
    pub from: Origin,
    /// For texts.
    pub lang: Lang,
}

impl Caller {
    /// The agent itself.
    pub fn agent() -> Self {
        let peer = Peer {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            pid: nix::unistd::getpid().as_raw(),
        };
        Self { actor: roles::actor(peer, "agent", None), from: Origin::Agent, lang: Lang::En }
    }
}

/// See the module documentation. Whoever holds one holds the instance's lock.
pub struct Keeper {
    pub(super) config: Config,
    pub(super) state: State,
    /// `None`: the file could not be read, and numbers must not be given anew.
    pub(super) numbers: Option<Numbers>,
    pub(super) dataplane: Result<Dataplane, String>,
    pub(super) live: Option<Live>,
    /// Run-time members of groups.
    pub(super) members: Members,
    /// Why they could not be read: whom they put out nobody knows, so nothing is put into force without them.
    pub(super) members_unread: Option<String>,
    pub(super) overlay: Overlay,
    /// Writes what the overlay says into the data plane, and cuts before anybody asks the instance.
    pub(super) switch: Switch,
    pub(super) cut_store: cutoff::Store,
    /// Notes of `sekimori-cut` are among the cuts, and not yet on disk or in the tables.
    pub(super) notes_taken: bool,
    /// What was in force without a note on disk when the instance was opened.
    pub(super) found_cut: Vec<Object>,
    /// How long each cut took since the agent started, from the request to the tables.
    pub(super) switched: prometheus::Histogram,
    /// The last drill.
    pub(super) drilled: Option<Timestamp>,
    pub(super) plans: cutoff::Plans,
    pub(super) plan_store: cutoff::PlanStore,
    /// Why they could not be read: then none is carried out, and none is made.
    pub(super) plans_unread: Option<String>,
    /// When a plan that could not be carried out is tried again.
    pub(super) plans_retry: Option<Instant>,
    /// Restorations that wait for a second person.
    pub(super) requests: Vec<cutoff::Request>,
    pub(super) quarantines: quarantine::List,
    /// Why they could not be read, as long as the tables do not say it either: then nothing is put in force.
    pub(super) quarantine_unread: Option<String>,
    /// What detectors saw.
    pub(super) incidents: Incidents,
    /// Who may come by the network.
    pub(super) tokens: tokens::Shared,
    /// Why that could not be read: then nobody may, and nobody is added.
    pub(super) tokens_unread: Option<String>,
    /// What the HTTP API answered since the agent started.
    pub(super) http_tally: Tally,
    /// Lists that others keep.
    pub(super) threats: threat::Lists,
    pub(super) ledger: Ledger,
    pub(super) high: HighWater,
    pub(super) steps: u64,
    pub(super) faults: Faults,
    /// What the thread that records flows shares with the instance.
    pub(super) flow_records: flows::Shared,
    /// What numbers in views mean, as long as it stays so.
    pub(super) flow_names: Option<Arc<flows::walk::Names>>,
    pub(super) detached: Option<Detached>,
    pub(super) policy_file: PolicyFile,
    /// Of the last apply.
    pub(super) apply_time: Option<Duration>,
    /// Applies since the agent started: done, refused or failed.
    pub(super) applies: (u64, u64),
    pub(super) agent_running: bool,
    pub(super) fast_due: Option<Instant>,
    pub(super) attached: Arc<Notify>,
    /// The revision to put in force, being read; only while the agent starts.
    pub(super) early: Option<Early>,
    _lock: Lock,
}

/// How an instance is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By the agent: loads what is not there.
    Agent,
    /// By a command while no agent runs: takes what is pinned.
    Command,
}

impl Keeper {
    /// Opens an instance. Only what makes it impossible to keep anything is an error; all else becomes a fault,
    /// because an agent that refuses to start after a reboot leaves the gate open.
    pub fn open(config: Config, mode: Mode) -> Result<Self, preflight::Error> {
        preflight::root()?;
        preflight::kernel()?;
        preflight::bpffs(&config.bpffs)?;
        preflight::state_folder(&config.state)?;
        // A command that works on the pinned state is soon done; an agent that gave up for it would leave the gate open.
        let lock = Lock::wait(&config.state, if mode == Mode::Agent { AGENT_PATIENCE } else { Duration::ZERO })?;
        let state = State::new(&config.state);
        let mut faults = Faults::default();

        let record = state.path("records.jsonl");
        let record_gone = !record.exists() && state.current().is_ok_and(|current| current.is_some());
        let (ledger, torn) = Ledger::open(&record);
        let torn = faults.track(torn, Fault::Record).flatten();

        // The cut-off comes before anything that could let a packet pass.
        let cut_store = cutoff::Store::new(&config.state);
        let begun = state.current().is_ok_and(|current| current.is_some());
        let overlay =
            cut_store.load(begun).unwrap_or_else(|error| unreadable_cut(&cut_store, &error.to_string(), &mut faults));
        let quarantines = quarantine::Store::new(&config.state).load().map_err(|error| error.to_string());
        let quarantine_unread = quarantines.as_ref().err().cloned();
        let registry = state.path("registry.json");
        // New numbers would be others, and what is cut off by number would pass.
        let lost = !registry.exists() && state.current().is_ok_and(|current| current.is_some());
        let numbers = if lost {
            Err(format!("{}: it is gone, although a policy was in force", registry.display()))
        } else {
            Numbers::load(&registry)
        };
        let numbers = faults.track(numbers, |why| Fault::State("registry", why));
        let (high, error) = HighWater::open(state.path("clock"));
        if let Some(error) = error {
            faults.raise(Fault::State("clock", error.to_string()));
        }
        let detached = faults
            .track(state.detached().map_err(|error| error.to_string()), |why| Fault::State("detached", why))
            .flatten();

        let members = state.members().map_err(|error| error.to_string());
        let members_unread = members.as_ref().err().cloned();
        let members = faults.track(members, |why| Fault::State("group members", why)).unwrap_or_default();

        let listed = tokens::Store::new(&config.state).load().map_err(|error| error.to_string());
        let tokens_unread = listed.as_ref().err().cloned();
        let tokens = tokens::Shared::default();
        if let Some(list) = faults.track(listed, Fault::TokensUnread) {
            tokens.replace(list);
        }

        let plan_store = cutoff::PlanStore::new(&config.state);
        let plans = plan_store.load();
        let plans_unread = plans.as_ref().err().cloned();
        let plans = faults.track(plans, Fault::PlansUnread).unwrap_or_default();

        let drilled = state.drilled().map_err(|error| error.to_string());
        let drilled = faults.track(drilled, |why| Fault::State("last drill", why)).flatten();
        // Whoever asked asks again: what cannot be read restores nothing.
        let requests = state.requests().map_err(|error| error.to_string());
        let requests = faults.track(requests, |why| Fault::State("restore requests", why)).unwrap_or_default();
        let policy_file = PolicyFile { path: config.policy.clone(), ..PolicyFile::default() };
        let incidents = Incidents::new(detect::Store::new(&config.state));
        let mut keeper = Self {
            dataplane: Err(String::new()),
            config,
            state,
            numbers,
            live: None,
            members,
            members_unread,
            overlay,
            switch: Switch::default(),
            cut_store,
            notes_taken: false,
            found_cut: Vec::new(),
            switched: crate::metrics::family::switch_times(),
            drilled,
            plans,
            plan_store,
            plans_unread,
            plans_retry: None,
            requests,
            quarantines: quarantines.unwrap_or_default(),
            quarantine_unread,
            incidents,
            tokens,
            tokens_unread,
            http_tally: Tally::default(),
            threats: threat::Lists::default(),
            ledger,
            high,
            steps: 0,
            faults,
            flow_records: flows::Shared::default(),
            flow_names: None,
            detached,
            policy_file,
            apply_time: None,
            applies: (0, 0),
            agent_running: mode == Mode::Agent,
            fast_due: None,
            attached: Arc::default(),
            early: None,
            _lock: lock,
        };
        if let Some(torn) = torn {
            keeper.faults.raise(Fault::TornLine(torn.line));
            let message = format!("line {} ({} bytes, sha256 {}) is cut short", torn.line, torn.bytes, torn.sha256);
            let result = Outcome { ok: false, message };
            keeper.note(&Caller::agent(), Action::TornLine, None, Vec::new(), None, result);
        }
        keeper.say_how_plans_stand();
        if record_gone {
            keeper.say_the_record_is_damaged("1", "the record is gone, although a policy was in force");
        }
        if keeper.ledger.disturbed() || mode == Mode::Agent {
            keeper.look_over_the_record();
        }
        if keeper.detached.is_none() {
            // What else it is that cannot be read is found, and said, when the revision is put in force.
            let current = if mode == Mode::Agent { keeper.state.current().ok().flatten() } else { None };
            keeper.early = current.and_then(|current| Early::begin(keeper.saved(&current)));
            keeper.open_dataplane(mode);
        }
        if mode == Mode::Command {
            keeper.read_incidents();
        }
        Ok(keeper)
    }

    /// Lines that are missing or were changed are said, in the record as well, once for what is found.
    fn look_over_the_record(&mut self) {
        let found = match record::verify(self.ledger.path()) {
            Ok(found) if found.whole => return,
            Ok(found) => found,
            Err(error) => return self.faults.raise(Fault::Record(error.to_string())),
        };
        let lines = |said: bool| {
            let of = found.problems.iter().filter(|problem| (problem.what == Wrong::Said) == said);
            of.map(|problem| problem.line.to_string()).collect::<Vec<_>>().join(", ")
        };
        let (found, said) = (lines(false), lines(true));
        if found.is_empty() {
            return self.faults.raise(Fault::RecordDamaged(said));
        }
        let message = format!("the record is not whole at line(s) {found}");
        let filter = Filter { action: Some(Action::RecordDamaged), ..Filter::default() };
        let last = record::reader::list(self.ledger.path(), 1, &filter).unwrap_or_default();
        if matches!(last.as_slice(), [Line::Entry(entry)] if entry.result.message == message) {
            return self.faults.raise(Fault::RecordDamaged(found));
        }
        self.say_the_record_is_damaged(&found, &message);
    }

    fn say_the_record_is_damaged(&mut self, lines: &str, message: &str) {
        self.faults.raise(Fault::RecordDamaged(lines.to_owned()));
        let result = Outcome { ok: false, message: message.to_owned() };
        self.note(&Caller::agent(), Action::RecordDamaged, None, Vec::new(), None, result);
        // That line goes into what is there now.
        self.ledger.disturbed();
    }

    /// A revision that was in force, and what it takes to put it in force again.
    pub(super) fn saved(&self, current: &Current) -> Saved {
        let members = self.deltas();
        Saved::new(&self.state, current, self.numbers.clone(), members, self.members_unread.clone())
    }

    /// Opens the data plane and at once puts the cut-offs into it.
    pub(super) fn open_dataplane(&mut self, mode: Mode) {
        let options = self.options();
        let opened = match mode {
            Mode::Agent => Dataplane::open(options),
            Mode::Command => Dataplane::adopt(options),
        };
        self.dataplane = opened.map_err(|error| report(&error));
        self.connect_switch();
        self.take_notes();
        self.keep_what_is_cut();
        let cut = self.write_cut();
        self.faults.track(cut, |why| Fault::State("cut-off", why));
        self.keep_who_is_in_quarantine();
        if mode == Mode::Agent {
            // What was permitted may have become forbidden while nobody looked.
            self.hold_fast_path();
            let settings = self.write_settings();
            self.faults.track(settings, |why| Fault::State("settings", why));
        }
    }

    /// A cut that is in force but not on disk (the disk was full, or the agent died in between) stays in force: the tables
    /// know better than the notes.
    fn keep_what_is_cut(&mut self) {
        let Ok(dataplane) = self.dataplane.as_ref() else { return };
        if !dataplane.adopted() {
            // Its counters begin at nothing.
            for cut in &mut self.overlay.cuts {
                (cut.refused_before, cut.probed) = Default::default();
            }
            return;
        }
        match self.switch.begin() {
            Ok(found) => self.keep_found(found),
            Err(error) => self.faults.raise(Fault::State("cut-off", report(&error))),
        }
    }

    /// What `found` cuts and nobody here knows of becomes a cut like any other: with the reason that `sekimori-cut` left, if
    /// it was that.
    fn keep_found(&mut self, found: CutTables) {
        // Without the registry numbers have no names; `write_cut` leaves them as they are.
        let mut found = found;
        if self.numbers.is_none() {
            found.nets.clear();
            found.staged.nets.clear();
        }
        let numbers = self.numbers.as_ref();
        let net = |name: &str| numbers.and_then(|numbers| numbers.net(name));
        let name = |id| numbers?.nets().find(|(_, its)| *its == id).map(|(name, _)| name.to_owned());
        let missing = self.overlay.missing(&found, net, name);
        if missing.is_empty() {
            return;
        }
        for (object, covers, including_management) in missing {
            tracing::error!(%object, "is cut off without a note on disk; it stays cut");
            let reason = "in force without a note on disk".to_owned();
            let (agent, now) = (Caller::agent().actor, seconds(Timestamp::now()));
            let cut = cutoff::Cut::new(object.clone(), including_management, covers, reason, agent, now);
            if self.overlay.place(cut, &clock::all()) == cutoff::Placed::New && !self.agent_running {
                self.found_cut.push(object);
            }
        }
        self.keep_overlay();
    }

    fn keep_overlay(&mut self) -> bool {
        let saved = self.cut_store.save(&self.overlay).map_err(|error| error.to_string());
        let kept = saved.is_ok();
        self.faults.track(saved, Fault::CutNotKept);
        kept
    }

    /// What `sekimori-cut` left notes of becomes a cut like any other, whether the tables still have it (they are gone after a
    /// reboot) or not. Each note is taken once; it goes when the cut is on disk and in the tables.
    fn take_notes(&mut self) {
        if self.notes_taken || !by_hand::any(&self.config.state) {
            return;
        }
        let policy = self.live.as_ref().map(|live| Arc::clone(&live.policy));
        for note in by_hand::claim(&self.config.state) {
            let caller = note.caller();
            for object in note.objects() {
                tracing::error!(%object, reason = note.reason, "was cut off without the agent, which takes it over");
                let covers = cutoff::resolve::covers(&object, policy.as_deref()).unwrap_or_default();
                let (names, including) = (vec![object.to_string()], note.including_management && object == Object::All);
                let (actor, now) = (caller.actor.clone(), seconds(Timestamp::now()));
                let mut cut = cutoff::Cut::new(object, including, covers, note.reason.clone(), actor, now);
                let message = "cut off without the agent, which has taken it over".to_owned();
                let result = Outcome { ok: true, message };
                let reason = Some(note.reason.clone());
                cut.recorded = self.note(&caller, Action::Cutoff, reason, names, None, result).is_none();
                self.overlay.place(cut, &clock::all());
            }
        }
        self.notes_taken = true;
        self.keep_overlay();
    }

    /// The notes are on disk and in the tables: they go.
    fn drop_notes(&mut self) {
        if self.notes_taken && self.keep_overlay() {
            by_hand::remove(&self.config.state);
            self.notes_taken = false;
        }
    }

    pub(super) fn options(&self) -> Options {
        Options {
            bpffs: self.config.bpffs.clone(),
            xdp: self.config.xdp,
            flows_max: self.config.flows.established,
            opening_max: self.config.flows.opening,
        }
    }

    fn connect_switch(&mut self) {
        let maps = self.dataplane.as_ref().ok().map(|dataplane| Ok((dataplane.cut_maps()?, dataplane.cut_maps()?)));
        match maps.transpose() {
            Ok(maps) => self.switch.connect(maps, &self.config.state),
            Err(error) => {
                let error: dataplane::Error = error;
                self.switch.connect(None, &self.config.state);
                self.faults.raise(Fault::State("cut-off switch", report(&error)));
            }
        }
    }

    /// Tells the switch what names mean now.
    pub(super) fn name_for_switch(&self) {
        let nets = self.numbers.iter().flat_map(Numbers::nets).map(|(name, id)| (name.to_owned(), id)).collect();
        let policy = self.live.as_ref().map(|live| Arc::clone(&live.policy));
        self.switch.name(Names { policy, nets });
    }

    /// The switch, for whoever must not wait for the instance.
    pub fn cut_switch(&self) -> Switch {
        self.switch.clone()
    }

    /// The overlay as it stands, into the data plane. Returns the objects that have no number.
    pub(super) fn write_cut(&mut self) -> Result<Vec<Object>, String> {
        self.name_for_switch();
        // Somebody may have used the tables without us; a write must not lift what they cut.
        self.take_notes();
        match self.switch.foreign() {
            Ok(found) if found != CutTables::default() => self.keep_found(found),
            _ => {}
        }
        let (mut tables, unknown) =
            self.overlay.tables(|name| self.numbers.as_ref().and_then(|numbers| numbers.net(name)));
        self.dataplane.as_ref().map_err(|why| why.clone())?;
        if self.numbers.is_none() {
            // Nobody knows which number is whose: what is cut stays cut.
            let found = self.switch.read().map_err(|error| report(&error))?;
            tables.nets.extend(found.nets.iter().filter(|id| !tables.nets.contains(id)).collect::<Vec<_>>());
            if tables.staged.is_empty() {
                tables.staged.list = found.staged.list;
            }
            tables.staged.nets.extend(found.staged.nets.iter().filter(|id| !tables.nets.contains(id)));
            tables.staged.nets.dedup();
        }
        self.switch.write(&tables).map_err(|error| report(&error))?;
        self.drop_notes();
        Ok(unknown)
    }

    /// The cut tables as they are or would be in the data plane.
    pub fn cut_tables(&self) -> CutTables {
        self.overlay.tables(|name| self.numbers.as_ref().and_then(|numbers| numbers.net(name))).0
    }

    fn write_settings(&mut self) -> Result<(), String> {
        let mut runtime = self.state.runtime();
        let dataplane = self.dataplane.as_mut().map_err(|why| why.clone())?;
        if !dataplane.adopted() {
            let span = u64::from(self.config.adopt_seconds) * 1_000_000_000;
            runtime.adopt_until = clock::boottime_ns().saturating_add(span);
            self.state.set_runtime(&runtime).map_err(|error| error.to_string())?;
        }
        for warning in self.config.timeouts.warnings(Lang::En) {
            tracing::warn!("{warning}");
        }
        let settings = Settings {
            adopt_until: runtime.adopt_until,
            mark_shift: self.config.mark_shift,
            event_rate: EVENT_RATE,
            timeouts: self.config.timeouts.0,
            ..Settings::default()
        };
        dataplane.set_settings(&settings).map_err(|error| report(&error))
    }

    /// The windows of a compiled policy from now on; closed as long as the clock is behind.
    pub(super) fn windows(&mut self, compiled: &Compiled, policy: &Policy) -> Vec<Schedule> {
        let now = Timestamp::now();
        let boottime = clock::boottime_ns();
        let mut schedules = rooms::windows(compiled, policy, now, boottime);
        let observed = self.high.observe(now).map_err(|error| error.to_string());
        let behind = self.high.behind(now);
        self.faults.track(observed, |why| Fault::State("clock", why));
        if !behind.is_zero() {
            let nanoseconds = u64::try_from(behind.as_nanos()).unwrap_or(u64::MAX);
            clock::close_until(&mut schedules, boottime.saturating_add(nanoseconds));
        }
        schedules
    }

    /// Lays the schedules of the revision in force out anew.
    pub fn refresh_schedules(&mut self) {
        let Some(live) = self.live.clone() else {
            return;
        };
        let schedules = self.windows(&live.compiled, &live.policy);
        if let Ok(dataplane) = self.dataplane.as_mut() {
            let refreshed = dataplane.refresh_schedules(&schedules).map_err(|error| report(&error));
            self.faults.track(refreshed, Fault::Schedules);
        }
        self.refresh_exemptions();
    }

    /// Notes the time, and whether the record is as it was left; called every minute, so that the latest time seen is on disk.
    pub fn observe_clock(&mut self) {
        if self.ledger.disturbed() {
            self.look_over_the_record();
        }
        let observed = self.high.observe(Timestamp::now()).map_err(|error| error.to_string());
        self.faults.track(observed, |why| Fault::State("clock", why));
    }

    /// The clock was set: schedules are laid out anew.
    pub fn clock_stepped(&mut self) {
        self.steps += 1;
        let behind = self.high.behind(Timestamp::now());
        tracing::warn!(behind_seconds = behind.as_secs(), "the clock was set; schedules are laid out anew");
        self.refresh_schedules();
    }

    /// Attaches to the interfaces of the revision in force; also called on every netlink change.
    pub async fn attach(&mut self) -> Result<(), String> {
        if self.detached.is_some() {
            return Ok(());
        }
        let Some(interfaces) = self.guarded_names() else {
            return Ok(());
        };
        let Ok(dataplane) = self.dataplane.as_mut() else {
            return Ok(());
        };
        let attached = match dataplane.attach(&interfaces).await {
            Ok(states) => {
                let errors: Vec<_> = states
                    .iter()
                    .filter_map(|state| state.error.as_ref().map(|error| format!("{}: {error}", state.name)))
                    .collect();
                if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
            }
            Err(error) => Err(report(&error)),
        };
        self.faults.track(attached.clone(), Fault::Attach);
        self.attached.notify_one();
        attached
    }

    /// Puts the guard up again if somebody else's change of the ruleset took it down.
    pub async fn guard_again(&mut self) {
        let down = self.dataplane.as_ref().is_ok_and(|dataplane| !dataplane.guard().up);
        let wanted = self.detached.is_none() && self.guarded_names().is_some();
        if down && wanted {
            tracing::error!("the nftables guard was taken down by somebody else; it is put up again");
            // What is wrong is kept as a fault and shown by `status`.
            let _ = self.attach().await;
        }
    }

    /// Names and ids of the guarded interfaces.
    pub(super) fn guarded_names(&self) -> Option<Vec<(String, u16)>> {
        match &self.live {
            Some(live) => Some(live.compiled.interfaces.clone()),
            None => self.state.current().ok().flatten().map(|current| current.interfaces),
        }
    }

    /// The management paths of the configuration, into the data plane.
    pub(super) fn write_management(&mut self) -> Result<(), String> {
        let Some(interfaces) = self.guarded_names() else {
            return Ok(());
        };
        let dataplane = self.dataplane.as_mut().map_err(|why| why.clone())?;
        dataplane.set_management(&self.config.management, &interfaces).map_err(|error| report(&error))
    }

    /// The revision in force, for the record.
    pub(super) fn revision(&self) -> Option<RevisionRef> {
        self.live.as_ref().map(|live| live.current.revision.clone())
    }

    /// Records an action that did not change the revision.
    pub(super) fn note(
        &mut self,
        caller: &Caller,
        action: Action,
        reason: Option<String>,
        objects: Vec<String>,
        snapshot: Option<crate::record::SnapshotRef>,
        result: Outcome,
    ) -> Option<String> {
        let revision = self.revision();
        self.write_record(Draft {
            reason,
            objects,
            before: revision.clone(),
            after: revision,
            snapshot,
            ..Draft::new(caller.actor.clone(), caller.from, action, result)
        })
    }

    /// Records; what went wrong comes back as text.
    pub(super) fn write_record(&mut self, draft: Draft) -> Option<String> {
        let says_so = draft.action == Action::RecordDamaged;
        let unwritten = match self.ledger.append(draft) {
            Ok(_) => None,
            Err(why) => {
                self.faults.raise(Fault::Record(why.clone()));
                Some(why)
            }
        };
        if !says_so && self.ledger.disturbed() {
            self.look_over_the_record();
        }
        unwritten
    }

    /// Records that the agent stops; enforcement goes on.
    pub fn stopping(&mut self, caller: &Caller, why: &str) {
        let kept = self.high.keep().map_err(|error| error.to_string());
        self.faults.track(kept, |why| Fault::State("clock", why));
        self.save_incidents(usize::MAX);
        let result = Outcome { ok: true, message: "the agent stopped; enforcement goes on".into() };
        self.note(caller, Action::Stop, Some(why.to_owned()), Vec::new(), None, result);
    }

    /// Where the control socket, the metrics and the rest of this instance are.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The record's file.
    pub fn record_path(&self) -> &std::path::Path {
        self.ledger.path()
    }

    /// The revision in force.
    pub fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// The comparison of the policy on disk with the revision in force.
    pub fn set_policy_file(&mut self, file: PolicyFile) {
        self.policy_file = file;
    }

    /// A descriptor that becomes readable when events wait; `None` while there is no data plane.
    pub fn events_fd(&self) -> Option<OwnedFd> {
        self.dataplane.as_ref().ok()?.events_fd().ok()
    }

    /// Writes waiting events to the log: flows opened under a rule with `log: true`, and, for debugging, sampled drops. Hands
    /// sampled drops to the flow records.
    /// And frees what a switch left behind.
    pub fn drain_events(&mut self) {
        let Ok(dataplane) = self.dataplane.as_mut() else { return };
        let compiled = self.live.as_ref().map(|live| &live.compiled);
        let recorded = self.config.flow_records.size != 0;
        let mut refusals = self.flow_records.refusals();
        let drained = dataplane.drain_events(&mut |event| {
            if recorded {
                refusals.note(event);
            }
            let net = compiled.and_then(|c| c.net_names.iter().find(|(_, id)| *id == event.net));
            let slot = event.slot.checked_sub(1);
            let rule = compiled.and_then(|c| {
                let position = c.rules.iter().position(|rule| Some(rule.slot) == slot)?;
                c.rule_ids.get(position)
            });
            EventLine { event, net: net.map(|(name, _)| name.as_str()), rule: rule.map(String::as_str) }.log();
        });
        if let Err(error) = drained {
            tracing::debug!(%error, "events could not be read");
        }
        if let Err(error) = dataplane.retire() {
            tracing::warn!(%error, "the tables of the generation before stay until the next apply");
        }
    }
}

/// Unreadable cut-off state must not open anything: everything is cut, and the file is kept for a look.
fn unreadable_cut(store: &cutoff::Store, why: &str, faults: &mut Faults) -> Overlay {
    let aside = match store.set_aside() {
        Ok(path) => Some(path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(error.to_string()),
    };
    faults.raise(Fault::CutUnreadable { aside, why: why.to_owned() });
    let mut overlay = Overlay::default();
    let reason = format!("the cut-off state could not be read: {why}");
    let (agent, now) = (Caller::agent().actor, seconds(Timestamp::now()));
    overlay.place(cutoff::Cut::new(Object::All, false, cutoff::Covers::default(), reason, agent, now), &clock::all());
    if let Err(error) = store.save(&overlay) {
        faults.raise(Fault::CutNotKept(error.to_string()));
    }
    overlay
}

/// An error with everything that caused it, on one line.
pub(super) fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
