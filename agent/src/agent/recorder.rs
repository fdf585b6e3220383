//! The thread that keeps flow records: a walk over the live views now and then, at a low priority.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use sekimori_ebpf::{
    abi::DIR_OUT,
    reason::{Reason, Verdict},
};
use tokio::sync::Mutex;

use super::{
    clock,
    fault::Fault,
    keeper::{Keeper, report},
    state,
};
use crate::{
    dataplane::{self, maps::ViewAt},
    flows::{
        self, Record, Shared, Store,
        refused::Class,
        store::Appended,
        walk::{Names, Scene, Tracker},
    },
};

/// A walk may take this part of a processor at most: the next one waits the longer.
const PART: u32 = 50;
/// When no rule opened a conversation for so many turns, only the end of one can be news ...
const LATELY: u32 = 9;
/// ... and that may wait for this many: a gate at night is not read over and over.
const QUIET: u32 = 30;
/// Lower than everything that judges or answers, not so low that a busy box keeps the instance's lock waiting for us.
const NICE: libc::c_int = 10;
/// Records handed on at a time: a walk over a million new conversations needs no room for all of them.
const BATCH: usize = 4_096;
/// Conversations that nobody answered get room at a rate that would fill the disk in so many days, and no faster after they
/// used up what [`BURST`] saves: whoever scans or floods must not push out the memory of months.
const UNANSWERED_DAYS: u64 = 30;
/// Seconds of that rate that may come at once.
const BURST: u64 = 3_600;
/// Bytes a record takes, roughly.
const RECORD: u64 = 10;
/// How long an agent that stops waits for the last walk.
const LAST: Duration = Duration::from_secs(10);

/// What a walk is told of an instance.
pub(super) struct Told {
    scene: Scene,
    options: dataplane::Options,
    /// Refused packets so far, exactly.
    exact: HashMap<Class, u64>,
}

impl Keeper {
    /// What a walk needs to know; `None` while there is no data plane.
    pub(super) fn flow_scene(&mut self) -> Option<Result<Told, String>> {
        // Before the counters: what begins meanwhile is counted as found and not as missing.
        let now = clock::boottime_ns();
        let dataplane = self.dataplane.as_ref().ok()?;
        let read =
            dataplane.counters().and_then(|counters| Ok((counters, dataplane.rule_counters()?, dataplane.base()?)));
        let (counters, rules, base) = match read {
            Ok(read) => read,
            Err(error) => return Some(Err(report(&error))),
        };
        let settings = dataplane.settings();
        let dropped = |reason| Reason::from_number(reason).is_none_or(|reason| reason.verdict() == Verdict::Drop);
        let exact = counters
            .into_iter()
            .filter(|line| dropped(line.reason))
            .filter_map(|line| {
                let reason = u8::try_from(line.reason).ok()?;
                let class = Class { net: line.net, reason, outwards: line.direction == DIR_OUT };
                Some((class, line.counter.packets))
            })
            .collect();
        // After the counters: what was counted by then and sampled has its event here.
        self.drain_events();
        let scene = Scene {
            names: self.flow_names(base),
            settings,
            now,
            wall: Timestamp::now().as_millisecond(),
            opened: rules.iter().map(|(_, counter)| counter.flows).sum(),
        };
        Some(Ok(Told { scene, options: self.options(), exact }))
    }

    /// What numbers mean now. Made anew with each revision.
    fn flow_names(&mut self, base: u32) -> Arc<Names> {
        if let Some(names) = self.flow_names.as_ref().filter(|names| names.base == base) {
            return Arc::clone(names);
        }
        let (nets, rules) = self.names();
        let compiled = self.live.as_ref().map(|live| &live.compiled);
        let mut names = Names {
            base,
            nets: nets.into_iter().map(|(id, name)| (id, name.into())).collect(),
            rules: rules.into_iter().map(|(slot, name)| (slot, name.into())).collect(),
            interfaces: self
                .guarded_names()
                .unwrap_or_default()
                .into_iter()
                .map(|(name, id)| (id, name.into()))
                .collect(),
            ..Names::default()
        };
        if let Some(compiled) = compiled {
            names.ports = compiled.ports.iter().copied().collect();
            names.devices = compiled.device_names.iter().map(|name| name.as_str().into()).collect();
            let devices = compiled.macs.iter().filter(|(_, entry)| entry.device != 0);
            names.by_mac = devices.map(|(key, entry)| (*key, entry.device)).collect();
            names.by_address = compiled.bindings.iter().copied().collect();
            self.flow_names = Some(Arc::new(names.clone()));
        }
        Arc::new(names)
    }

    /// What is shared with the thread that records.
    pub fn flow_records(&self) -> &Shared {
        &self.flow_records
    }

    /// Where flow records are.
    pub fn flow_folder(&self) -> PathBuf {
        self.config.state.join(flows::FOLDER)
    }

    fn track_flow_records(&mut self, outcome: Result<(), String>) {
        self.faults.track(outcome, Fault::FlowRecords);
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Recorder {
    stop: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Recorder {
    /// Starts it; `None` if the configuration wants no records.
    ///
    /// # Errors
    /// The system gives no thread.
    pub async fn start(keeper: &Arc<Mutex<Keeper>>) -> io::Result<Option<Self>> {
        let (options, folder, shared) = {
            let keeper = keeper.lock().await;
            (keeper.config().flow_records, keeper.flow_folder(), keeper.flow_records().clone())
        };
        if options.size == 0 {
            return Ok(None);
        }
        shared.update(|stats| stats.limit = options.size);
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let keeper = Arc::clone(keeper);
        thread::Builder::new().name("flow-records".into()).spawn(move || {
            run(&keeper, &shared, &folder, options, &stopped);
            // Nobody may wait for it any more.
            let _ = end.send(());
        })?;
        Ok(Some(Self { stop, ended }))
    }

    /// Records once more, and waits for that.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.ended.recv_timeout(LAST).is_err() {
            tracing::error!("the last flow records were not written in time; what lives on is found by the next agent");
        }
    }
}

fn run(
    keeper: &Arc<Mutex<Keeper>>,
    shared: &Shared,
    folder: &std::path::Path,
    options: flows::Options,
    stopped: &mpsc::Receiver<()>,
) {
    // SAFETY: a plain system call; on Linux it concerns the calling thread alone.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        tracing::warn!(error = %io::Error::last_os_error(), "flow records are kept at the usual priority");
    }
    let mut writer = None;
    loop {
        let started = Instant::now();
        let every = Duration::from_secs(options.every.into());
        let outcome =
            writer_of(&mut writer, folder, options, shared).and_then(|writer| writer.turn(keeper, shared, every));
        let took = started.elapsed();
        shared.update(|stats| {
            if let Some(writer) = &writer {
                writer.stats(stats, shared);
                if writer.walked.is_some_and(|walked| walked.at >= started) {
                    stats.walk_seconds = took.as_secs_f64();
                }
            }
            stats.error = outcome.as_ref().err().cloned();
        });
        keeper.blocking_lock().track_flow_records(outcome);
        let pause = Duration::from_secs(options.every.into()).max(took.saturating_mul(PART - 1));
        if !matches!(stopped.recv_timeout(pause), Err(mpsc::RecvTimeoutError::Timeout)) {
            break;
        }
    }
    if let Some(mut writer) = writer {
        let turn = writer.turn(keeper, shared, Duration::ZERO);
        let last = turn.and_then(|()| writer.store.sync().map_err(|error| error.to_string()));
        if let Err(error) = last {
            tracing::error!(error, "the last flow records");
        }
    }
}

/// The writer, opened if it is not; tried again at every turn.
fn writer_of<'w>(
    writer: &'w mut Option<Writer>,
    folder: &std::path::Path,
    options: flows::Options,
    shared: &Shared,
) -> Result<&'w mut Writer, String> {
    if writer.is_none() {
        let store = Store::open(folder, options.size).map_err(|error| error.to_string())?;
        let tracker = Tracker::new(store.walk(), boot_id());
        shared.update(|stats| store.stats(stats));
        let allowance = Allowance::new(options.size, Instant::now());
        *writer = Some(Writer { store, tracker, allowance, walked: None });
    }
    writer.as_mut().ok_or_else(String::new)
}

/// What is known from one walk to the next.
struct Writer {
    store: Store,
    tracker: Tracker,
    allowance: Allowance,
    walked: Option<Walked>,
}

/// The last time the views were read, all of them.
#[derive(Debug, Clone, Copy)]
struct Walked {
    at: Instant,
    /// Conversations the rules had opened by then.
    opened: u64,
    /// When that was first so.
    since: Instant,
}

impl Walked {
    /// What a walk at `at` leaves behind.
    fn next(before: Option<Self>, at: Instant, opened: u64) -> Self {
        let since = before.filter(|before| before.opened == opened).map_or(at, |before| before.since);
        Self { at, opened, since }
    }

    /// Whether the views can be left alone at `now`, with turns `every` apart.
    fn rests(self, now: Instant, opened: u64, every: Duration) -> bool {
        let ago = |then| now.saturating_duration_since(then);
        opened == self.opened && ago(self.since) >= every * LATELY && ago(self.at) < every * QUIET
    }
}

/// Room for records of conversations that nobody answered.
struct Allowance {
    /// Records a day.
    rate: u64,
    left: u64,
    since: Instant,
    /// Records that found no room.
    skipped: u64,
}

impl Allowance {
    fn new(size: u64, now: Instant) -> Self {
        let rate = size / UNANSWERED_DAYS / RECORD;
        Self { rate, left: rate * BURST / 86_400, since: now, skipped: 0 }
    }

    /// Time has passed.
    fn earn(&mut self, now: Instant) {
        let earned = now.duration_since(self.since).as_millis() * u128::from(self.rate) / 86_400_000;
        // What is less than a record is not lost: it is earned the next time.
        if earned > 0 {
            self.since = now;
            let most = self.rate * BURST / 86_400;
            self.left = self.left.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)).min(most);
        }
    }

    /// Whether a record is kept.
    fn keeps(&mut self, record: &Record) -> bool {
        if record.answered || !record.kind.passed() {
            return true;
        }
        if self.left == 0 {
            self.skipped += 1;
            return false;
        }
        self.left -= 1;
        true
    }
}

impl Writer {
    /// What is new. Turns are `every` apart; 0: this one must not rest.
    fn turn(&mut self, keeper: &Arc<Mutex<Keeper>>, shared: &Shared, every: Duration) -> Result<(), String> {
        let told = keeper.blocking_lock().flow_scene();
        let Some(told) = told else { return Ok(()) };
        let Told { scene, options, exact } = told?;
        let before = self.store.walk();
        self.allowance.earn(Instant::now());
        let mut out = Out {
            store: &mut self.store,
            allowance: &mut self.allowance,
            shared,
            batch: Vec::new(),
            sealed: false,
            problem: None,
        };
        let mut sink = |record| out.take(record, before);
        let offset = self.tracker.offset(&scene);
        let (seen, walk) = if self.walked.is_some_and(|walked| walked.rests(Instant::now(), scene.opened, every)) {
            (Ok(()), before)
        } else {
            let mut walking = self.tracker.begin(&scene, &mut sink);
            let seen = dataplane::each_view(&options, |at, view| match at {
                ViewAt::V4(key) => walking.see4(key, view),
                ViewAt::V6(key) => walking.see6(key, view),
            });
            // Half a walk says nothing of what is over; the next one says it.
            self.walked = seen.is_ok().then(|| Walked::next(self.walked, Instant::now(), scene.opened));
            let walk = if seen.is_ok() { walking.finish() } else { before };
            (seen, walk)
        };
        // Gathered first: whoever hands over events must not wait for the disk.
        let mut refused = Vec::new();
        shared.refusals().take(&exact, scene.now, offset, &scene.names, &mut |record| refused.push(record));
        refused.into_iter().for_each(&mut sink);
        out.flush(walk);
        let (sealed, problem) = (out.sealed, out.problem);
        if sealed {
            // What is in a block is not added to any more.
            shared.refusals().begin(&exact, scene.now);
        }
        seen.map_err(|error| report(&error))?;
        problem.map_or(Ok(()), Err)
    }

    fn stats(&self, stats: &mut flows::Stats, shared: &Shared) {
        self.store.stats(stats);
        stats.missed = self.tracker.missed();
        stats.skipped = self.allowance.skipped;
        stats.live = self.tracker.live() as u64;
        stats.unattributed = shared.refusals().unattributed();
    }
}

/// Where records of a walk go.
struct Out<'a> {
    store: &'a mut Store,
    allowance: &'a mut Allowance,
    shared: &'a Shared,
    batch: Vec<Record>,
    sealed: bool,
    problem: Option<String>,
}

impl Out<'_> {
    /// `before`: while a walk is not over, a crash goes back to the one before.
    fn take(&mut self, record: Record, before: flows::format::Walk) {
        self.batch.push(record);
        if self.batch.len() >= BATCH {
            self.flush(before);
        }
    }

    fn flush(&mut self, walk: flows::format::Walk) {
        let mut batch = std::mem::take(&mut self.batch);
        self.shared.feed().publish(&batch);
        batch.retain(|record| self.allowance.keeps(record));
        match self.store.append(batch, walk) {
            Ok(Appended::Sealed) => self.sealed = true,
            Ok(Appended::Tail) => {}
            Err(error) => self.problem = Some(error.to_string()),
        }
    }
}

/// The kernel's name of this boot; zero if it has none, which no record has.
fn boot_id() -> [u8; 16] {
    let digits: String = state::boot_id().chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::testing::Day;

    #[test]
    fn a_boot_has_a_name() {
        assert_ne!(boot_id(), [0; 16]);
        assert_eq!(boot_id(), boot_id());
    }

    #[test]
    fn views_are_left_alone_while_nothing_opens_and_not_for_ever() {
        let every = Duration::from_secs(10);
        let start = Instant::now();
        let after = |turns: u32| start + every * turns;
        let first = Walked::next(None, start, 7);
        // What was just opened may be over any time.
        assert!(!first.rests(after(LATELY - 1), 7, every));
        let later = Walked::next(Some(first), after(LATELY), 7);
        assert!(later.rests(after(LATELY), 7, every));
        // Something opened; all counters began anew; the agent ends; it is long ago.
        assert!(!later.rests(after(LATELY), 8, every));
        assert!(!later.rests(after(LATELY), 0, every));
        assert!(!later.rests(after(LATELY), 7, Duration::ZERO));
        assert!(!later.rests(after(LATELY + QUIET), 7, every));
        let news = Walked::next(Some(later), after(LATELY + 1), 8);
        assert!(!news.rests(after(LATELY + 2), 8, every));
    }

    #[test]
    fn a_flood_without_answers_pushes_out_no_memory() {
        let start = Instant::now();
        let mut allowance = Allowance::new(2 << 30, start);
        let mut day = Day::new(41);
        let mut kept = |allowance: &mut Allowance, answered: bool, times: usize| {
            let record = Record { answered, ..day.conversation() };
            (0..times).filter(|_| allowance.keeps(&record)).count() as u64
        };
        let hour = (2 << 30) / 300 / 24;
        assert_eq!(kept(&mut allowance, true, 1_000_000), 1_000_000);
        let burst = kept(&mut allowance, false, 1_000_000);
        assert!(burst.abs_diff(hour) <= 1, "{burst} of {hour}");
        assert_eq!(allowance.skipped, 1_000_000 - burst);
        allowance.earn(start + Duration::from_secs(10));
        assert!(kept(&mut allowance, false, 1_000_000).abs_diff(hour / 360) <= 1);
        allowance.earn(start + Duration::from_secs(86_400));
        assert!(kept(&mut allowance, false, 1_000_000).abs_diff(hour) <= 1);
    }
}
