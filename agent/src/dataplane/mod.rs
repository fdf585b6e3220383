//! The loaded programs, their maps and links: load or adopt, stage and switch, read back.

pub mod attach;
pub mod batch;
pub mod canary;
pub mod cut;
pub mod detect;
pub mod error;
pub mod fastpath;
pub mod guard;
pub mod interfaces;
pub mod link;
pub mod look;
mod management;
mod mapped;
pub mod maps;
pub mod markbits;
pub mod object;
pub mod overlay;
mod places;
pub mod private;
pub mod probe;
pub mod quarantine;
pub mod read;
pub mod seed;
pub mod seeding;
pub mod stage;
mod syscall;
pub mod system;
pub mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aya::{
    maps::IterableMap as _,
    programs::{Program, SchedClassifier, Xdp},
};
use aya_obj::programs::XdpAttachType;
use jiff::Timestamp;
use sekimori_ebpf::abi::{
    Active, Counter, Event, FRAG_TIMEOUT, IfaceEntry, ManagementEntry, PortKey, RuleCounter, STATE_OPENING, Schedule,
    Settings, View, ViewKey,
};

pub use canary::Canary;
pub use error::Error;
use error::While as _;
use maps::{Maps, WatchMaps};

use crate::compile::{host::HostTables, members::Change, tables::Compiled};

/// Which XDP modes are acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpChoice {
    /// Native, or nothing.
    Native,
    /// Generic, where a driver's native mode is broken.
    Generic,
    /// Native where the driver has it, else generic, loudly.
    Any,
}

/// Where an instance lives.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory on a bpffs that holds this instance's pins.
    pub bpffs: PathBuf,
    /// Which XDP modes are acceptable.
    pub xdp: XdpChoice,
    /// Entries of the established room.
    pub flows_max: u32,
    /// Entries of the opening room.
    pub opening_max: u32,
}

/// What is cut, as a whole; written to the maps in an order that never opens anything by accident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CutTables {
    /// See [`sekimori_ebpf::abi::CutWord::all`].
    pub all: u32,
    /// Cut net ids.
    pub nets: Vec<u16>,
    /// Cut prefixes.
    pub prefixes: Vec<ipnet::IpNet>,
    /// Cut MACs.
    pub macs: Vec<[u8; 6]>,
    /// What is restored in stages; none of it is above.
    pub staged: StagedCut,
}

/// Cuts that stand but for what is on one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StagedCut {
    /// Everything.
    pub all: bool,
    /// Net ids.
    pub nets: Vec<u16>,
    /// Prefixes.
    pub prefixes: Vec<ipnet::IpNet>,
    /// MACs.
    pub macs: Vec<[u8; 6]>,
    /// The list.
    pub list: StageList,
}

/// What passes again first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageList {
    /// Addresses of hosts.
    pub addresses: Vec<std::net::IpAddr>,
    /// MACs of hosts.
    pub macs: Vec<[u8; 6]>,
    /// Services: the first and the last, as [`sekimori_ebpf::abi::staged_service`] numbers them.
    pub services: Vec<(u32, u32)>,
}

impl StagedCut {
    /// Nothing is restored in stages.
    pub fn is_empty(&self) -> bool {
        !self.all && self.nets.is_empty() && self.prefixes.is_empty() && self.macs.is_empty()
    }
}

impl CutTables {
    /// Cuts what the other cuts, too.
    pub fn add(&mut self, other: &Self) {
        self.all = self.all.max(other.all);
        self.nets.extend(&other.nets);
        self.prefixes.extend(&other.prefixes);
        self.macs.extend(&other.macs);
        // What is cut whole beats what is restored in stages.
        let Self { all, nets, prefixes, macs, staged } = self;
        staged.all &= *all == 0;
        staged.nets.retain(|net| !nets.contains(net));
        staged.prefixes.retain(|prefix| !prefixes.iter().any(|whole| whole.contains(prefix)));
        staged.macs.retain(|mac| !macs.contains(mac));
    }
}

/// A guarded interface as found in the kernel.
#[derive(Debug, Clone, serde::Serialize)]
pub struct InterfaceState {
    /// Kernel name.
    pub name: String,
    /// Kernel index; 0 if the interface does not exist now.
    pub ifindex: u32,
    /// `native`, `generic` or `missing`.
    pub xdp: &'static str,
    /// Both TCX programs attached.
    pub tcx: bool,
    /// What is wrong, if anything.
    pub error: Option<String>,
}

/// A management path as configured for the agent.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
pub struct ManagementPath {
    /// Interface name.
    pub interface: String,
    /// Source prefixes.
    pub sources: Vec<ipnet::IpNet>,
    /// Allowed source MACs; empty: any that the policy accepts.
    #[serde(default)]
    pub macs: Vec<String>,
    /// TCP port on the box.
    pub port: u16,
}

/// One counter of the counter table.
#[derive(Debug, Clone, Copy)]
pub struct NetCounter {
    /// Net id, 0 where the interface belongs to none.
    pub net: u16,
    /// `DIR_IN` or `DIR_OUT`.
    pub direction: u32,
    /// Reason number.
    pub reason: u32,
    /// Summed over CPUs.
    pub counter: Counter,
}

/// What one apply did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Switched {
    /// New generation.
    pub generation: u32,
    /// Map entries written.
    pub entries: u64,
    /// Milliseconds spent staging, verifying and running canaries.
    pub staged_ms: u64,
}

/// How full a table is.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Fill {
    /// Table name.
    pub table: &'static str,
    /// Entries in use.
    pub used: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

/// A removed link is released after a grace period of the kernel: how often, and how far apart, its place is asked for again.
const RELEASE_TRIES: u32 = 40;
/// See [`RELEASE_TRIES`].
const RELEASE_WAIT: Duration = Duration::from_millis(25);

/// How long the generation before stays for packets it has marked: they need milliseconds from one hook to the other, but
/// fragments may wait between the hooks for the rest of their datagram.
const RETIRE_AFTER: Duration = Duration::from_secs(FRAG_TIMEOUT + 5);

/// The data plane of one instance.
pub struct Dataplane {
    options: Options,
    maps: Maps,
    programs: attach::Programs,
    adopted: bool,
    settings: Settings,
    /// Where canaries run; loaded at the first apply.
    canaries: Option<private::Instance>,
    /// Nets whose counters are read; empty: all that could exist.
    nets: Vec<u16>,
    /// (interface id, tags) → net id of the tables in force.
    ports: Vec<(PortKey, u16)>,
    /// What the place table holds.
    places: places::Written,
    fast: fastpath::Memory,
    /// When the generation before may be freed.
    retire: Option<Instant>,
    /// What of the tables in force can be written to; `None` if another agent staged them.
    live: Option<overlay::Handles>,
    /// What inside hosts are watched for.
    watch: watch::Watch,
}

/// One IPv6 view has room for so many of IPv4.
const IPV6_PART: u32 = 4;

impl Options {
    fn maps_dir(&self) -> PathBuf {
        self.bpffs.join("maps")
    }
    fn links_dir(&self) -> PathBuf {
        self.bpffs.join("links")
    }
    fn programs_dir(&self) -> PathBuf {
        self.bpffs.join(format!("programs-{}", object::build_id()))
    }
    /// The guard's table: one an instance, named after its directory.
    pub fn guard_table(&self) -> String {
        let name = self.bpffs.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if clean.starts_with("sekimori") { clean } else { format!("sekimori_{clean}") }
    }
}

impl Dataplane {
    /// Adopts the pinned programs, maps and links of this instance, or loads and pins new ones. Programs of another build
    /// are loaded over the pinned maps and replaced in place by `attach`.
    pub fn open(options: Options) -> Result<Self, Error> {
        let adopted = options.maps_dir().join("ACTIVE").exists();
        for dir in [options.bpffs.clone(), options.maps_dir(), options.links_dir()] {
            create(&dir)?;
        }
        if !options.programs_dir().join(object::PROGRAM_OUT).exists() {
            load(&options)?;
        }
        let mut dataplane = Self::adopt(options)?;
        dataplane.adopted = adopted;
        dataplane.retire = Some(Instant::now() + RETIRE_AFTER);
        Ok(dataplane)
    }

    /// Adopts what is pinned; an error if nothing is. For commands that work without the agent.
    pub fn adopt(options: Options) -> Result<Self, Error> {
        let maps = Maps::pinned(&options.maps_dir())?;
        let watch = watch::Watch::new(WatchMaps::pinned(&options.maps_dir())?);
        let dir = options.programs_dir();
        let programs = attach::Programs {
            way_in: Xdp::from_pin(dir.join(object::PROGRAM_IN), XdpAttachType::Interface).doing("adopt the way in")?,
            mark: SchedClassifier::from_pin(dir.join(object::PROGRAM_MARK)).doing("adopt the mark")?,
            way_out: SchedClassifier::from_pin(dir.join(object::PROGRAM_OUT)).doing("adopt the way out")?,
        };
        let settings = maps.settings.get(&0, 0).doing("read the settings")?;
        Ok(Self {
            options,
            maps,
            programs,
            adopted: true,
            settings,
            canaries: None,
            nets: Vec::new(),
            ports: Vec::new(),
            places: places::Written::default(),
            fast: fastpath::Memory::default(),
            retire: None,
            live: None,
            watch,
        })
    }

    /// Whether `open` found pinned state rather than loading anew.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Stages `tables`, reads them back, runs the canaries over the staged tables, then switches. On error nothing has
    /// changed.
    pub fn apply(&mut self, tables: &Compiled, schedules: &[Schedule], canaries: &[Canary]) -> Result<Switched, Error> {
        let start = Instant::now();
        let generation = stage::next_generation(stage::active(&self.maps)?.generation);
        let staged = stage::Staged::build(tables, schedules, generation)?;
        canary::run(&mut self.canaries, &staged, generation, tables, &self.settings, canaries)?;
        // The slot of the generation before last: no packet has looked there since the last switch.
        staged.place(&mut self.maps, generation)?;
        // Likewise in a slot that no packet looks at; it has been left since the first of the tables was placed.
        let now = Timestamp::now();
        let watched = self.watch.stage(&tables.watching, generation, now)?;
        let wanted = Active { generation, base: generation };
        self.live = None;
        self.maps.active.set(0, wanted, 0).doing("switch the generation")?;
        self.retire = Some(Instant::now() + RETIRE_AFTER);
        let found = stage::active(&self.maps)?;
        if found != wanted {
            let found = found.generation;
            return Err(Error::new(
                "verify the switch",
                format!("generation {found} is active instead of {generation}"),
            ));
        }
        self.know(tables);
        self.write_places()?;
        self.watch.refresh(generation, now)?;
        let staged_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let entries = staged.entries + watched;
        self.live = Some(staged.into_handles());
        Ok(Switched { generation, entries, staged_ms })
    }

    /// Replaces the windows of the active generation as a whole.
    pub fn refresh_schedules(&mut self, schedules: &[Schedule]) -> Result<(), Error> {
        let generation = stage::active(&self.maps)?.generation;
        if generation == 0 {
            return Ok(());
        }
        stage::replace_schedules(&mut self.maps, generation, schedules)
    }

    /// Lets exemptions of the tables in force end that are over at `now`.
    pub fn refresh_exemptions(&mut self, now: Timestamp) -> Result<(), Error> {
        let generation = stage::active(&self.maps)?.generation;
        if generation == 0 { Ok(()) } else { self.watch.refresh(generation, now) }
    }

    /// Replaces what is on threat lists: prefixes with the number of their list, never 0. Only what changed is written.
    /// Contacts are looked for in all zones that are watched at all, as soon as there is a prefix.
    pub fn set_threats(&mut self, prefixes: &[(ipnet::IpNet, u32)]) -> Result<watch::Written, Error> {
        let generation = stage::active(&self.maps)?.generation;
        self.watch.threats(generation, prefixes)
    }

    /// See [`watch::Watch::forget_idle`].
    pub fn forget_idle_hosts(&mut self, now: u64, idle: u64) -> Result<usize, Error> {
        self.watch.forget_idle(now, idle)
    }

    /// See [`watch::Watch::lift`].
    pub fn lift_blocks(&mut self, hosts: &[maps::Addr], lifted: watch::Lifted, now: u64) -> Result<(), Error> {
        self.watch.lift(hosts, lifted, now)
    }

    /// See [`watch::Watch::blocks`].
    pub fn is_blocked(&self, hosts: &[maps::Addr], now: u64) -> Result<bool, Error> {
        self.watch.blocks(hosts, now)
    }

    /// The active generation, 0 for none.
    pub fn generation(&self) -> Result<u32, Error> {
        Ok(stage::active(&self.maps)?.generation)
    }

    /// The generation with which the tables in force were switched on; unlike [`Self::generation`], changes of groups leave
    /// it as it is. 0 for none.
    pub fn base(&self) -> Result<u32, Error> {
        Ok(stage::active(&self.maps)?.base)
    }

    /// Whether [`Self::publish`] can be used on the tables in force.
    pub fn publishes(&self) -> bool {
        self.live.is_some()
    }

    /// Changes what the tables in force say of some prefixes, all at one instant, and has every conversation judged again.
    /// An error changes nothing.
    pub fn publish(&mut self, change: &Change) -> Result<u32, Error> {
        let active = stage::active(&self.maps)?;
        let live = self.live.as_mut().ok_or_else(|| Error::new("change the tables", "another agent staged them"))?;
        let next = overlay::next(active)
            .ok_or_else(|| Error::new("change the tables", "no generation is left: apply the policy again"))?;
        if let Err(error) = live.write(change, next) {
            // Half of it is there, and must not come into force with the next change.
            self.live = None;
            return Err(error);
        }
        let wanted = Active { generation: next, base: active.base };
        self.maps.active.set(0, wanted, 0).doing("switch the generation")?;
        Ok(next)
    }

    /// Attaches to every interface of `interfaces` (name, id) that exists, replaces what is attached in place,
    /// detaches from others, and puts up or refreshes the nftables guard. Idempotent; called on every netlink change.
    /// Interfaces that cannot be attached are reported in the result, and stay outside the guard.
    pub async fn attach(&mut self, interfaces: &[(String, u16)]) -> Result<Vec<InterfaceState>, Error> {
        let dir = self.options.links_dir();
        let mut states = Vec::new();
        let mut guarded = BTreeSet::new();
        let wanted: Vec<(&str, u16, u32)> =
            interfaces.iter().map(|(name, id)| (name.as_str(), *id, link::index(name))).collect();
        // Known before the first program runs: no packet of ours is judged as unknown in between.
        for (_, id, index) in wanted.iter().filter(|(_, _, index)| *index != 0) {
            let entry = self.guarded_entry(*index, *id);
            self.maps.ifaces.insert(index, entry, 0).doing("name an interface")?;
        }
        let present: Vec<(&str, u32)> = wanted.iter().map(|(name, _, index)| (*name, *index)).collect();
        attach::settle(&dir, &present)?;
        let mut problems: BTreeMap<&str, String> = BTreeMap::new();
        for hook in attach::HOOKS {
            for (name, _, _) in wanted.iter().filter(|(_, _, index)| *index != 0) {
                // An interface that refused one hook gets no further ones: half a gate is reported, not used.
                if problems.contains_key(name) {
                    continue;
                }
                let mut tries = 0;
                let result = loop {
                    let result = attach::attach(&mut self.programs, &dir, name, hook, self.options.xdp);
                    tries += 1;
                    match result {
                        Err(error) if tries < RELEASE_TRIES && attach::still_taken(&error) => {
                            tokio::time::sleep(RELEASE_WAIT).await;
                        }
                        other => break other,
                    }
                };
                if let Err(error) = result {
                    problems.insert(name, error.to_string());
                }
            }
        }
        for (name, _, index) in &wanted {
            let mut state = attach::state(&dir, name);
            match problems.remove(name) {
                Some(problem) => state.error = Some(problem),
                None if *index != 0 => {
                    guarded.insert(*index);
                }
                None => {}
            }
            states.push(state);
        }
        let devices = interfaces::list().await?;
        let derived = interfaces::derived(&devices, &guarded);
        for index in &derived {
            let entry = interfaces::entry(devices.get(index), &guarded);
            self.maps.ifaces.insert(index, entry, 0).doing("name a derived device")?;
        }
        let all: Vec<u32> = guarded.union(&derived).copied().collect();
        let present = all.iter().filter_map(|index| devices.get(index)).map(|device| device.name.as_str());
        let absent = wanted.iter().filter(|(_, _, index)| *index == 0).map(|(name, _, _)| *name);
        let names: Vec<&str> = present.chain(absent).collect();
        let is_bridge = |index: &u32| devices.get(index).is_some_and(|device| device.bridge);
        let bridges: Vec<u32> = derived.iter().copied().filter(is_bridge).collect();
        let guard = guard::Guarded { indexes: &all, bridges: &bridges, names: &names };
        guard::put_up(&self.options.guard_table(), guard, self.settings.mark_shift)?;
        let known: Vec<u32> = self.maps.ifaces.keys().filter_map(Result::ok).collect();
        for index in known.into_iter().filter(|index| !all.contains(index)) {
            self.maps.ifaces.remove(&index).doing("forget an interface")?;
        }
        for name in attach::pinned_names(&dir).doing("list the links")? {
            if !interfaces.iter().any(|(wanted, _)| *wanted == name) {
                attach::detach(&dir, &name)?;
            }
        }
        self.write_places()?;
        self.drop_old_programs();
        Ok(states)
    }

    /// The interfaces with pinned links, as they are in the kernel now.
    pub fn interfaces(&self) -> Result<Vec<InterfaceState>, Error> {
        let dir = self.options.links_dir();
        let names = attach::pinned_names(&dir).doing("list the links")?;
        Ok(names.iter().map(|name| attach::state(&dir, name)).collect())
    }

    /// Handles of their own to the maps that say what is cut.
    pub fn cut_maps(&self) -> Result<maps::CutMaps, Error> {
        maps::CutMaps::pinned(&self.options.maps_dir())
    }

    /// Replaces who is in quarantine.
    pub fn set_quarantine(&mut self, hosts: &[quarantine::Host]) -> Result<(), Error> {
        quarantine::write(&mut self.maps, hosts)
    }

    /// Who is in quarantine in the tables themselves.
    pub fn quarantine_in_force(&self) -> Result<Vec<quarantine::Host>, Error> {
        quarantine::read(&self.maps)
    }

    /// What was refused to the host with this slot.
    pub fn quarantine_refused(&self, slot: u16) -> Result<sekimori_ebpf::abi::Refused, Error> {
        quarantine::refused(&self.maps, slot)
    }

    /// Writes the management paths. MACs are the policy's business; here an address on its interface is enough.
    pub fn set_management(&mut self, paths: &[ManagementPath], interfaces: &[(String, u16)]) -> Result<(), Error> {
        let mut entries = Vec::new();
        for path in paths {
            let Some((_, id)) = interfaces.iter().find(|(name, _)| *name == path.interface) else { continue };
            for source in &path.sources {
                let (length, addr) = maps::mapped_prefix(*source);
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0).to_be_bytes();
                entries.push(ManagementEntry { addr, mask, iface: *id, port: path.port, used: 1 });
            }
        }
        management::write(&mut self.maps, &entries)
    }

    /// Writes the settings.
    pub fn set_settings(&mut self, settings: &Settings) -> Result<(), Error> {
        self.maps.settings.set(0, *settings, 0).doing("write the settings")?;
        self.settings = *settings;
        Ok(())
    }

    /// Where this instance lives.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Remembers what `tables`, the ones in force, say of nets and ports. (The kernel's copy says it too, but opening an
    /// inner map takes CAP_SYS_ADMIN, which the agent does not have.)
    pub fn know(&mut self, tables: &Compiled) {
        self.nets = tables.net_names.iter().map(|(_, id)| *id).collect();
        self.ports.clone_from(&tables.ports);
        self.watch.know(&tables.watching);
    }

    /// Writes the shortcut from interface and tag to net.
    fn write_places(&mut self) -> Result<(), Error> {
        let base = stage::active(&self.maps)?.base;
        let known: Vec<(u32, IfaceEntry)> = self.maps.ifaces.iter().filter_map(Result::ok).collect();
        self.places.write(&mut self.maps.places, &places::of(&known, &self.ports, base, link::mac))
    }

    /// Every counter that is not zero.
    pub fn counters(&self) -> Result<Vec<NetCounter>, Error> {
        read::counters(&self.maps, &self.nets)
    }

    /// Every rule counter that is not zero, by stable slot.
    pub fn rule_counters(&self) -> Result<Vec<(u32, RuleCounter)>, Error> {
        read::rule_counters(&self.maps)
    }

    /// The nftables guard as it stands.
    pub fn guard(&self) -> look::Look {
        look::look(&self.options.guard_table())
    }

    /// Events lost because the ring was full or the rate limit was reached.
    pub fn lost_events(&self) -> Result<u64, Error> {
        read::lost(&self.maps)
    }

    /// A descriptor that becomes readable when events wait.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn events_fd(&self) -> io::Result<OwnedFd> {
        self.maps.events.as_fd().try_clone_to_owned()
    }

    /// Events waiting in the ring; never blocks.
    pub fn drain_events(&mut self, sink: &mut dyn FnMut(&Event)) -> Result<(), Error> {
        while let Some(event) = maps::item(&mut self.maps.events) {
            sink(&event);
        }
        Ok(())
    }

    /// Frees the memory of the generation before, once it is old enough; to be called now and then.
    pub fn retire(&mut self) -> Result<(), Error> {
        if self.retire.is_none_or(|due| Instant::now() < due) {
            return Ok(());
        }
        self.retire = None;
        let generation = stage::active(&self.maps)?.generation;
        if generation != 0 {
            stage::retire(&mut self.maps, generation)?;
        }
        self.canaries.as_mut().map_or(Ok(()), private::Instance::retire)
    }

    /// Live views at `now` (`CLOCK_BOOTTIME` nanoseconds).
    pub fn views(&self, now: u64) -> Result<Vec<(ViewKey, View)>, Error> {
        read::views(&self.maps, &self.settings, now)
    }

    /// Makes views of what already runs: the kernel's conntrack table and the box's own sockets, as far as `compiled`
    /// permits. To be called after the first `apply` and before the first `attach`; `now` in `CLOCK_BOOTTIME` nanoseconds.
    pub fn seed(
        &mut self,
        compiled: &Arc<Compiled>,
        schedules: &[Schedule],
        now: u64,
    ) -> Result<seeding::Seeded, Error> {
        let mut tables = HostTables::new(1);
        let generation = stage::active(&self.maps)?.generation;
        tables.switch(Arc::clone(compiled), schedules.to_vec());
        let mut unread = Vec::new();
        let mut read = |what: &str, error: seed::Error| unread.push(format!("{what}: {error}"));
        let conntrack = seed::conntrack().unwrap_or_else(|error| {
            read("conntrack", error);
            Vec::new()
        });
        let sockets = seed::sockets().unwrap_or_else(|error| {
            read("sockets", error);
            Vec::new()
        });
        let (views, mut seeded) = seeding::views(&tables, compiled, &conntrack, &sockets, now);
        for (key, mut view) in views {
            view.generation = generation;
            self.maps.insert_view(&key, &view, view.state != STATE_OPENING)?;
        }
        seeded.unread = unread;
        Ok(seeded)
    }

    /// Forgets these conversations, and takes no further running ones over: nothing of them resumes by itself.
    pub fn forget(&mut self, keys: &[ViewKey]) -> Result<(), Error> {
        for key in keys {
            self.maps.remove_view(key)?;
        }
        self.set_settings(&Settings { adopt_until: 0, ..self.settings })
    }

    /// Whether each of these is dropped, at the way in and at the way out.
    pub fn probe(&mut self, probe: &probe::Probe) -> Result<[bool; 2], Error> {
        Ok([probe::way_in(&mut self.programs.way_in, probe)?, probe::way_out(&mut self.programs.way_out, probe)?])
    }

    /// How full the tables are.
    pub fn fill(&self) -> Result<Vec<Fill>, Error> {
        let mut fill = read::fill(&self.maps, self.options.flows_max, self.options.opening_max)?;
        fill.extend(self.watch.fill());
        Ok(fill)
    }

    /// Opens the gate: removes links, the guard, programs and maps.
    pub async fn detach(self) -> Result<(), Error> {
        detach(&self.options)
    }

    /// Removes the pins of other builds' programs; the links hold the ones still in use.
    fn drop_old_programs(&self) {
        let current = self.options.programs_dir();
        let Ok(entries) = fs::read_dir(&self.options.bpffs) else { return };
        for entry in entries.filter_map(Result::ok) {
            let old = entry.file_name().to_string_lossy().starts_with("programs-") && entry.path() != current;
            if old && let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, path = %entry.path().display(), "cannot remove an old build's programs");
            }
        }
    }
}

/// Sees every view of an instance, live or not yet forgotten, through handles of its own: whoever works on the instance is
/// not waited for. Views that are promoted meanwhile may be seen twice, and none is missed.
pub fn each_view(options: &Options, mut see: impl FnMut(maps::ViewAt<'_>, &View)) -> Result<(), Error> {
    let maps = maps::ViewMaps::pinned(&options.maps_dir())?;
    // The opening rooms first: a view goes from there to the others.
    for (room, name) in [(&maps.opening4, "OPENING4"), (&maps.flows4, "FLOWS4")] {
        batch::each(room.map(), name, |key, view| see(maps::ViewAt::V4(key), view))?;
    }
    for (room, name) in [(&maps.opening6, "OPENING6"), (&maps.flows6, "FLOWS6")] {
        batch::each(room.map(), name, |key, view| see(maps::ViewAt::V6(key), view))?;
    }
    Ok(())
}

/// Opens the gate of an instance, with or without a working agent.
pub fn detach(options: &Options) -> Result<(), Error> {
    let dir = options.links_dir();
    if dir.exists() {
        for name in attach::pinned_names(&dir).doing("list the links")? {
            attach::detach(&dir, &name)?;
        }
    }
    guard::take_down(&options.guard_table())?;
    match fs::remove_dir_all(&options.bpffs) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).doing(format!("remove {}", options.bpffs.display())),
    }
}

fn create(dir: &Path) -> Result<(), Error> {
    match fs::create_dir(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).doing(format!(
            "create {} (is a bpffs mounted there? `mount -t bpf bpf /sys/fs/bpf` mounts one)",
            dir.display()
        )),
    }
}

fn verify(name: &str, program: &mut Program) -> Result<(), Error> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        other => return Err(Error::new(format!("load {name}"), format!("it is a {:?}", other.prog_type()))),
    }
    .doing(format!("load {name}"))
}

/// Loads the object over the pinned maps (creating those that are missing) and pins its programs.
fn load(options: &Options) -> Result<(), Error> {
    let mut loader = object::loader();
    let dir = options.maps_dir();
    for name in maps::NAMES {
        loader.map_pin_path(name, dir.join(name));
    }
    loader
        .map_max_entries("FLOWS4", options.flows_max)
        .map_max_entries("OPENING4", options.opening_max)
        .map_max_entries("FLOWS6", options.flows_max.div_ceil(IPV6_PART))
        .map_max_entries("OPENING6", options.opening_max.div_ceil(IPV6_PART));
    let mut ebpf = loader.load(object::OBJECT).doing(
        "load the BPF object (a verifier or permission error here is a bug or an unsupported kernel; needs root and 6.6)",
    )?;
    let programs = options.programs_dir();
    create(&programs)?;
    let mut wanted: Vec<(&str, &mut Program)> = ebpf
        .programs_mut()
        .filter(|(name, _)| [object::PROGRAM_IN, object::PROGRAM_MARK, object::PROGRAM_OUT].contains(name))
        .collect();
    if wanted.len() != 3 {
        return Err(Error::new("load the BPF object", "it lacks a program"));
    }
    // The kernel verifies each for a fifth of a second, and does so side by side.
    let loaded = thread::scope(|scope| {
        let loads: Vec<_> = wanted.iter_mut().map(|(name, program)| scope.spawn(|| verify(name, program))).collect();
        loads
            .into_iter()
            .map(|load| load.join().unwrap_or_else(|_| Err(Error::new("load", "a thread panicked"))))
            .collect()
    });
    let all: Result<Vec<()>, Error> = loaded;
    all?;
    // The way out last: its pin says that the directory is complete.
    wanted.sort_by_key(|(name, _)| *name == object::PROGRAM_OUT);
    for (name, program) in wanted {
        program.pin(programs.join(name)).doing(format!("pin {name}"))?;
    }
    Ok(())
}
