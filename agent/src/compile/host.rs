//! The tables of one generation in plain memory, for everything that judges outside the kernel: `explain`, a
//! policy's own tests, the oracle's counterpart, fuzzing.

use std::{
    cell::UnsafeCell,
    collections::{BTreeMap, HashMap, HashSet},
    ptr,
    sync::Arc,
};

use ipnet::IpNet;
use sekimori_ebpf::{
    abi::{
        Active, CUT_ALL_STAGED, CUT_ANY_MAC, CUT_ANY_NET, CUT_ANY_PREFIX, CUT_ANY_STAGED, CUT_STAGED, CUT_WHOLE,
        CutWord, DeviceEntry, FragEntry, FragKey, GenConfig, HostPaceSet, IFACE_GUARDED, IfaceEntry, LimitEntry,
        MAX_MANAGEMENT, MacEntry, MacKey, ManagementEntry, NetEntry, OverlayEntry, Place, PortKey, Quarantine,
        RuleEntry, RuleSet, SLOT_STAGED, Schedule, SeatSet, Settings, Stage, StagedService, View, ViewKey, ViewKey4,
        quarantine_mac, timeout,
    },
    classify::Line,
    tables::{Addr, Tables},
};

use crate::dataplane::{CutTables, maps::mapped};

use super::{
    limit_room::LimitRoom,
    members::{Change, Entry},
    prefixes::prefix,
    room::Room,
    tables::Compiled,
};

/// Tables in memory.
///
/// The trait hands out pointers, so entries a decision may write (views, fragments) live in cells that stay where
/// they are until [`Self::settle`]. Everything else changes through `&mut self` only, when no decision runs.
#[derive(Debug)]
pub struct HostTables {
    live: Option<Box<Generation>>,
    /// Packets marked just before a switch finish by it, as in the kernel.
    previous: Option<Box<Generation>>,
    generations: u32,
    settings: Box<Settings>,
    ifaces: BTreeMap<u32, IfaceEntry>,
    cut: Cut,
    quarantine: Box<Quarantine>,
    quarantined: HashMap<Addr, u32>,
    management: Vec<ManagementEntry>,
    established: Room<ViewKey, View>,
    opening: Room<ViewKey, View>,
    frags: Room<FragKey, FragEntry>,
    limits: LimitRoom,
}

/// One generation, with the indexes that the kernel's map types bring along.
#[derive(Debug)]
struct Generation {
    /// The one it was switched on with.
    number: u32,
    /// The one it has now.
    last: u32,
    overlay: BTreeMap<(u128, u32), OverlayEntry>,
    config: GenConfig,
    tables: Arc<Compiled>,
    schedules: Vec<Schedule>,
    ports: HashMap<PortKey, u16>,
    /// What decisions learn is written into them.
    places: HashMap<(u32, u16), Box<UnsafeCell<Place>>>,
    macs: HashMap<MacKey, usize>,
    bindings: HashMap<Addr, u32>,
}

#[derive(Debug)]
struct Cut {
    word: CutWord,
    nets: HashMap<u16, u32>,
    /// With their slots.
    prefixes: Vec<(u128, u32, u32)>,
    macs: HashMap<[u8; 6], u32>,
    stage: Box<Stage>,
    listed: HashSet<Addr>,
}

impl Default for Cut {
    fn default() -> Self {
        Self {
            word: CutWord::default(),
            nets: HashMap::new(),
            prefixes: Vec::new(),
            macs: HashMap::new(),
            stage: Box::new(Stage::EMPTY),
            listed: HashSet::new(),
        }
    }
}

impl HostTables {
    /// No policy yet, default time-outs, nothing cut. `flows` bounds each of the two rooms for views.
    pub fn new(flows: usize) -> Self {
        Self {
            live: None,
            previous: None,
            generations: 0,
            settings: Box::new(Settings { timeouts: timeout::DEFAULTS, ..Settings::default() }),
            ifaces: BTreeMap::new(),
            cut: Cut::default(),
            quarantine: Box::new(Quarantine::EMPTY),
            quarantined: HashMap::new(),
            management: vec![ManagementEntry::default(); MAX_MANAGEMENT],
            established: Room::new(flows),
            opening: Room::new(flows),
            frags: Room::new(flows),
            limits: LimitRoom::default(),
        }
    }

    /// Makes `tables` the active generation and returns its number. Views stay, as in the kernel. Every interface
    /// the policy names is guarded, under a kernel index equal to its stable id.
    pub fn switch(&mut self, tables: impl Into<Arc<Compiled>>, schedules: Vec<Schedule>) -> u32 {
        let tables = tables.into();
        self.generations += 1;
        for (_, id) in &tables.interfaces {
            self.ifaces.insert(u32::from(*id), IfaceEntry { id: *id, flags: IFACE_GUARDED, ..IfaceEntry::default() });
        }
        let next = Box::new(Generation::new(self.generations, tables, schedules));
        self.previous = self.live.replace(next);
        self.generations
    }

    /// Changes what the active generation's tables say of some prefixes; its number from now on.
    pub fn publish(&mut self, change: &Change) -> u32 {
        let Some(live) = &mut self.live else { return 0 };
        live.last += 2;
        self.generations = live.last;
        let tables = Arc::make_mut(&mut live.tables);
        tables.sets.extend(change.sets.iter().map(|(_, set)| *set));
        // Laid out before it changes; whoever shares it keeps what it was.
        let laid_out = tables.space().is_ok();
        if let Some(space) = Arc::make_mut(&mut tables.laid_out).get_mut().filter(|_| laid_out) {
            change.lines.iter().for_each(|(index, line)| space.set_line(*index, *line));
        }
        for Entry { len, addr, after, before } in &change.entries {
            let entry = OverlayEntry { from: live.last, after: *after, before: *before };
            live.overlay.insert((u128::from_be_bytes(*addr), *len), entry);
        }
        live.last
    }

    /// Replaces the windows of the active generation.
    pub fn set_schedules(&mut self, schedules: Vec<Schedule>) {
        if let Some(live) = &mut self.live {
            live.schedules = schedules;
        }
    }

    /// The active generation's tables.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.live.as_deref().map(|live| live.tables.as_ref())
    }

    /// The kernel index of an interface the policy names.
    pub fn ifindex(&self, interface: &str) -> Option<u32> {
        let interfaces = &self.compiled()?.interfaces;
        interfaces.iter().find(|(name, _)| name == interface).map(|(_, id)| u32::from(*id))
    }

    /// Adds or replaces an interface.
    pub fn set_iface(&mut self, ifindex: u32, entry: IfaceEntry) {
        self.ifaces.insert(ifindex, entry);
    }

    /// Replaces the settings.
    pub fn set_settings(&mut self, settings: Settings) {
        *self.settings = settings;
    }

    /// Replaces what is cut.
    pub fn set_cut(&mut self, cut: &CutTables) {
        let CutTables { all, nets, prefixes, macs, staged } = cut;
        let any = |empty: bool, flag: u32| if empty { 0 } else { flag };
        let slot = |net: &IpNet, sign: u32| {
            let (addr, len) = prefix(net);
            (u128::from_be_bytes(addr), len, 1 | sign)
        };
        let mut stage = Stage::EMPTY;
        for (service, (first, last)) in stage.services.iter_mut().zip(&staged.list.services) {
            *service = StagedService { first: *first, more: last.saturating_sub(*first) };
        }
        let addresses = staged.list.addresses.iter().map(|address| mapped(*address));
        self.cut = Cut {
            word: CutWord {
                all: if *all == 0 && staged.all { CUT_ALL_STAGED } else { *all },
                any: any(nets.is_empty() && staged.nets.is_empty(), CUT_ANY_NET)
                    | any(prefixes.is_empty() && staged.prefixes.is_empty(), CUT_ANY_PREFIX)
                    | any(macs.is_empty() && staged.macs.is_empty(), CUT_ANY_MAC)
                    | any(staged.is_empty(), CUT_ANY_STAGED),
            },
            nets: staged
                .nets
                .iter()
                .map(|net| (*net, CUT_STAGED))
                .chain(nets.iter().map(|net| (*net, CUT_WHOLE)))
                .collect(),
            prefixes: prefixes
                .iter()
                .map(|net| slot(net, 0))
                .chain(staged.prefixes.iter().map(|net| slot(net, SLOT_STAGED)))
                .collect(),
            macs: staged
                .macs
                .iter()
                .map(|mac| (*mac, 1 | SLOT_STAGED))
                .chain(macs.iter().map(|mac| (*mac, 1)))
                .collect(),
            stage: Box::new(stage),
            listed: addresses.chain(staged.list.macs.iter().map(quarantine_mac)).collect(),
        };
    }

    /// Replaces who is in quarantine: for each host its addresses and MACs.
    pub fn set_quarantine(&mut self, hosts: &[(Vec<std::net::IpAddr>, Vec<[u8; 6]>)]) {
        *self.quarantine = Quarantine::EMPTY;
        self.quarantined.clear();
        for (slot, (addresses, macs)) in (1..).zip(hosts) {
            let addresses = addresses.iter().map(|address| prefix(&IpNet::from(*address)).0);
            for key in addresses.chain(macs.iter().map(quarantine_mac)) {
                self.quarantine.add(&key);
                self.quarantined.entry(key).or_insert(slot);
            }
        }
    }

    /// Replaces the management paths; those past [`MAX_MANAGEMENT`] are left out.
    pub fn set_management(&mut self, paths: &[ManagementEntry]) {
        self.management =
            paths.iter().copied().chain(std::iter::repeat(ManagementEntry::default())).take(MAX_MANAGEMENT).collect();
    }

    /// Live views: key, view, whether in the established room. In no particular order.
    pub fn views(&self) -> Vec<(ViewKey, View, bool)> {
        let opening = self.opening.all().into_iter().map(|(key, view)| (key, view, false));
        self.established.all().into_iter().map(|(key, view)| (key, view, true)).chain(opening).collect()
    }

    /// Forgets all views and fragments, and what limits admitted.
    pub fn clear_flows(&mut self) {
        self.established.clear();
        self.opening.clear();
        self.frags.clear();
        self.limits = LimitRoom::default();
    }

    /// Frees what decisions removed since the last call. Without it removed entries pile up.
    pub fn settle(&mut self) {
        self.established.settle();
        self.opening.settle();
        self.frags.settle();
    }

    fn generation(&self, number: u32) -> Option<&Generation> {
        let mut both = self.live.iter().chain(&self.previous);
        both.find(|generation| {
            (generation.number..=generation.last).contains(&number) && (number - generation.number).is_multiple_of(2)
        })
        .map(Box::as_ref)
    }
}

impl Generation {
    fn new(number: u32, tables: Arc<Compiled>, schedules: Vec<Schedule>) -> Self {
        Self {
            number,
            last: number,
            overlay: BTreeMap::new(),
            config: GenConfig { generation: number, ..tables.config },
            ports: tables.ports.iter().copied().collect(),
            places: tables
                .ports
                .iter()
                .filter(|(port, _)| port.inner == 0)
                .map(|(port, net)| place(*port, *net, number))
                .collect(),
            macs: tables.macs.iter().enumerate().map(|(index, (key, _))| (*key, index)).collect(),
            bindings: tables.bindings.iter().copied().collect(),
            tables,
            schedules,
        }
    }
}

/// The shortcut to a port, whose interface's kernel index is its id.
fn place(port: PortKey, net: u16, base: u32) -> ((u32, u16), Box<UnsafeCell<Place>>) {
    let ifindex = u32::from(port.iface);
    let place =
        Place { ifindex, base, routed: ifindex, outer: port.outer, net, iface: port.iface, mac: [0; 6], unlisted: 0 };
    ((ifindex, port.outer), Box::new(UnsafeCell::new(place)))
}

/// The first `len` bits of 128.
fn mask(len: u32) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - len) }
}

fn pointer<T>(entry: Option<&T>) -> *const T {
    entry.map_or(ptr::null(), ptr::from_ref)
}

impl Tables for HostTables {
    fn in_force(&self) -> Active {
        let numbers = |live: &Generation| Active { generation: live.last, base: live.number };
        self.live.as_deref().map_or_else(Active::default, numbers)
    }
    fn place(&self, ifindex: u32, outer: u16) -> *mut Place {
        let place = self.live.as_deref().and_then(|live| live.places.get(&(ifindex, outer)));
        place.map_or(ptr::null_mut(), |place| place.get())
    }
    fn settings(&self) -> *const Settings {
        &raw const *self.settings
    }
    fn iface(&self, ifindex: u32) -> *const IfaceEntry {
        pointer(self.ifaces.get(&ifindex))
    }
    fn config(&self, generation: u32) -> *const GenConfig {
        pointer(self.generation(generation).map(|live| &live.config))
    }
    fn port(&self, generation: u32, key: &PortKey) -> u16 {
        self.generation(generation).and_then(|live| live.ports.get(key)).copied().unwrap_or(0)
    }
    fn net(&self, generation: u32, net: u16) -> *const NetEntry {
        pointer(self.generation(generation).and_then(|live| live.tables.nets.get(usize::from(net))))
    }
    fn line(&self, generation: u32, index: u32) -> *const Line {
        pointer(self.generation(generation).and_then(|live| live.tables.space().ok()?.line(index)))
    }
    fn overlay(&self, generation: u32, high: u64, low: u64) -> u64 {
        let addr = u128::from(high) << 64 | u128::from(low);
        let Some(live) = self.generation(generation) else { return 0 };
        let found = (0..=128u32).rev().find_map(|len| live.overlay.get(&(addr & mask(len), len)));
        found.map_or(0, |entry| u64::from(entry.from) | u64::from(entry.after) << 32 | u64::from(entry.before) << 48)
    }
    fn mac(&self, generation: u32, key: &MacKey) -> *const MacEntry {
        pointer(self.generation(generation).and_then(|live| live.macs.get(key).map(|&at| &live.tables.macs[at].1)))
    }
    fn binding(&self, generation: u32, addr: &Addr) -> u32 {
        self.generation(generation).and_then(|live| live.bindings.get(addr)).copied().unwrap_or(0)
    }
    fn device(&self, generation: u32, device: u32) -> *const DeviceEntry {
        pointer(self.generation(generation).and_then(|live| live.tables.devices.get(device as usize)))
    }
    fn service(&self, generation: u32, index: u32) -> u16 {
        let word = self.generation(generation).and_then(|live| live.tables.services.get((index / 4) as usize));
        word.map_or(0, |word| (word >> (16 * (index % 4))) as u16)
    }
    fn set(&self, generation: u32, set: u16) -> *const RuleSet {
        pointer(self.generation(generation).and_then(|live| live.tables.sets.get(usize::from(set))))
    }
    fn rule(&self, generation: u32, rule: u16) -> *const RuleEntry {
        pointer(self.generation(generation).and_then(|live| live.tables.rules.get(usize::from(rule))))
    }
    fn limit(&self, generation: u32, rule: u16) -> *const LimitEntry {
        pointer(self.generation(generation).and_then(|live| live.tables.limits.get(usize::from(rule))))
    }
    fn schedule(&self, generation: u32, schedule: u32) -> *const Schedule {
        pointer(self.generation(generation).and_then(|live| live.schedules.get(schedule as usize)))
    }

    fn cut(&self) -> CutWord {
        self.cut.word
    }
    fn cut_net(&self, net: u16) -> u32 {
        self.cut.nets.get(&net).copied().unwrap_or(0)
    }
    fn stage(&self) -> *const Stage {
        &raw const *self.cut.stage
    }
    fn staged(&self, key: &Addr) -> bool {
        self.cut.listed.contains(key)
    }
    fn cut_addr(&self, addr: &Addr) -> u32 {
        let addr = u128::from_be_bytes(*addr);
        let v4 = addr >> 32 == 0xffff;
        // `::/0` cuts no IPv4 address: the families share the space, not their prefixes.
        let holds = |&&(prefix, len, _): &&(u128, u32, u32)| addr & mask(len) == prefix && (len >= 96 || !v4);
        let longest = self.cut.prefixes.iter().filter(holds).max_by_key(|(_, len, _)| *len);
        longest.map_or(0, |(_, _, slot)| *slot)
    }
    fn cut_mac(&self, mac: &[u8; 6]) -> u32 {
        self.cut.macs.get(mac).copied().unwrap_or(0)
    }
    fn quarantine(&self) -> *const Quarantine {
        &raw const *self.quarantine
    }
    fn quarantined(&self, key: &Addr) -> u32 {
        self.quarantined.get(key).copied().unwrap_or(0)
    }
    fn management(&self, index: u32) -> *const ManagementEntry {
        pointer(self.management.get(index as usize))
    }

    fn view(&self, key: &ViewKey) -> *mut View {
        let found = self.established.get(key);
        if found.is_null() { self.opening.get(key) } else { found }
    }
    fn established4(&self, key: &ViewKey4) -> *mut View {
        self.established.get(&key.long())
    }
    fn opening4(&self, key: &ViewKey4) -> bool {
        !self.opening.get(&key.long()).is_null()
    }
    fn opening6(&self, key: &ViewKey) -> bool {
        !self.opening.get(key).is_null()
    }
    fn established6(&self, key: &ViewKey) -> *mut View {
        self.established.get(key)
    }
    fn view_insert(&self, key: &ViewKey, view: &View, established: bool) -> bool {
        self.room(established).insert(key, view)
    }
    fn view_remove(&self, key: &ViewKey, established: bool) {
        self.room(established).remove(key);
    }
    fn frag(&self, key: &FragKey) -> *mut FragEntry {
        self.frags.get(key)
    }
    fn frag_insert(&self, key: &FragKey, entry: &FragEntry) -> bool {
        self.frags.insert(key, entry)
    }

    fn rule_pace(&self, slot: u32) -> *mut u64 {
        self.limits.rule(slot)
    }
    fn host_paces(&self, hash: u32) -> *mut HostPaceSet {
        self.limits.hosts(hash)
    }
    fn seat_set(&self, half: u32, hash: u32) -> u32 {
        LimitRoom::seat_set(half, hash)
    }
    fn seats(&self, number: u32) -> *mut SeatSet {
        self.limits.seats(number)
    }
    fn secret(&self) -> u64 {
        1
    }
}

impl HostTables {
    fn room(&self, established: bool) -> &Room<ViewKey, View> {
        if established { &self.established } else { &self.opening }
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
