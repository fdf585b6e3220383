//! The maps, and the [`Tables`] over them. Names are the contract with the agent's loader.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, lpm_trie::Key},
    helpers::bpf_get_prandom_u32,
    macros::btf_map,
};
use sekimori_ebpf::{
    abi::{
        Active, Budget, COUNTER_SLOTS, CUT_WHOLE, Counter, CutWord, DeviceEntry, Event, FragEntry, FragKey, GenConfig,
        HOST_PACE_SETS, HOST_PACE_SETS_PRIVATE, HostPaceSet, IfaceEntry, LimitEntry, MAX_BINDINGS, MAX_CUT_SLOTS,
        MAX_DEVICES, MAX_MACS, MAX_MANAGEMENT, MAX_NETS, MAX_OVERLAY, MAX_PORTS, MAX_QUARANTINED, MAX_QUARANTINES,
        MAX_RULES, MAX_SCHEDULES, MAX_SETS, MAX_STAGED, MacEntry, MacKey, ManagementEntry, NetEntry, OverlayEntry,
        PLACES as PLACE_SLOTS, PRIVATE_NO, PRIVATE_YES, Place, PortKey, PrivateContext, Quarantine, RULE_SLOTS,
        Refused, RuleCounter, RuleEntry, RuleSet, SEAT_SETS, SEAT_SETS_PRIVATE, SERVICE_WORDS, Schedule, Seat, SeatSet,
        Settings, Stage, View, ViewKey, ViewKey4, place_index,
    },
    atomic,
    classify::Line,
    decide::{converse::Work, rules::Cursor},
    detect::{
        Sight, Watch,
        abi::{
            Detection, ExemptKey, Host, HostKey, KEPT as KEPT_PACKETS, Kept, MAX_EXEMPT, MAX_HOSTS, MAX_STRANGERS,
            MAX_THREATS, MAX_TRAPS, PAIRS as PAIR_SLOTS, Reach, WATCHED_SLOTS, Wanted, Watched, watched_index,
        },
    },
    packet::Packet,
    tables::{Addr, Tables},
};

use crate::steps;

/// Inner arrays may differ in size (`BPF_F_INNER_MAP`).
const INNER: usize = 1 << 12;
/// Likewise, and user space maps it (`BPF_F_MMAPABLE`): values then start at a page, so that a line is a cache line.
const MAPPED: usize = INNER | 1 << 10;
/// Tries are not preallocated (`BPF_F_NO_PREALLOC`).
const LAZY: usize = 1;

/// Everything one packet needs that does not fit on the stack.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) packet: Packet,
    pub(crate) work: Work,
}

#[btf_map]
pub(crate) static ACTIVE: Array<Active, 1> = Array::new();
#[btf_map]
pub(crate) static FAST: Array<u32, 1> = Array::new();
#[btf_map]
pub(crate) static PLACES: Array<Place, { PLACE_SLOTS as usize }> = Array::new();
#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
pub(crate) static IFACES: HashMap<u32, IfaceEntry, 1024> = HashMap::new();
#[btf_map]
pub(crate) static CUT: Array<CutWord, 1> = Array::new();
#[btf_map]
pub(crate) static CUT_NETS: Array<u32, { MAX_NETS as usize }> = Array::new();
#[btf_map]
pub(crate) static CUT_PREFIXES: LpmTrie<Addr, u32, 65536, LAZY> = LpmTrie::new();
#[btf_map]
pub(crate) static CUT_MACS: HashMap<[u8; 6], u32, 4096> = HashMap::new();
#[btf_map]
pub(crate) static STAGE: Array<Stage, 1> = Array::new();
#[btf_map]
pub(crate) static STAGED: HashMap<Addr, u32, { MAX_STAGED as usize }> = HashMap::new();
#[btf_map]
pub(crate) static CUT_REFUSED: PerCpuArray<Refused, { MAX_CUT_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static MANAGEMENT: Array<ManagementEntry, MAX_MANAGEMENT> = Array::new();

#[btf_map]
pub(crate) static QUARANTINE: Array<Quarantine, 1> = Array::new();
#[btf_map]
pub(crate) static QUARANTINED: HashMap<Addr, u32, { MAX_QUARANTINED as usize }> = HashMap::new();
#[btf_map]
pub(crate) static QUARANTINE_REFUSED: PerCpuArray<Refused, { MAX_QUARANTINES as usize + 1 }> = PerCpuArray::new();

#[btf_map]
pub(crate) static G_CONFIG: ArrayOfMaps<Array<GenConfig, 1, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_PORTS: ArrayOfMaps<HashMap<PortKey, u32, { MAX_PORTS as usize }>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_NETS: ArrayOfMaps<Array<NetEntry, { MAX_NETS as usize }, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_SPACE: ArrayOfMaps<Array<Line, 1, MAPPED>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_OVERLAY: ArrayOfMaps<LpmTrie<Addr, OverlayEntry, { MAX_OVERLAY as usize }, LAZY>, 2> =
    ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_MACS: ArrayOfMaps<HashMap<MacKey, MacEntry, { MAX_MACS as usize }>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_BINDINGS: ArrayOfMaps<HashMap<Addr, u32, { MAX_BINDINGS as usize }>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_DEVICES: ArrayOfMaps<Array<DeviceEntry, { MAX_DEVICES as usize }, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_SERVICES: ArrayOfMaps<Array<u64, { SERVICE_WORDS as usize }, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_SETS: ArrayOfMaps<Array<RuleSet, { MAX_SETS as usize }, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_RULES: ArrayOfMaps<Array<RuleEntry, MAX_RULES, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_LIMITS: ArrayOfMaps<Array<LimitEntry, MAX_RULES, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static G_SCHEDULES: ArrayOfMaps<Array<Schedule, { MAX_SCHEDULES as usize }, INNER>, 2> = ArrayOfMaps::new();

#[btf_map]
pub(crate) static FLOWS4: LruHashMap<ViewKey4, View, 262_144> = LruHashMap::new();
#[btf_map]
pub(crate) static OPENING4: LruHashMap<ViewKey4, View, 65_536> = LruHashMap::new();
#[btf_map]
pub(crate) static FLOWS6: LruHashMap<ViewKey, View, 65_536> = LruHashMap::new();
#[btf_map]
pub(crate) static OPENING6: LruHashMap<ViewKey, View, 65_536> = LruHashMap::new();
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragKey, FragEntry, 4096> = LruHashMap::new();

#[btf_map]
pub(crate) static RULE_PACES: Array<u64, { RULE_SLOTS as usize }> = Array::new();
#[btf_map]
pub(crate) static HOST_PACES: Array<HostPaceSet, { HOST_PACE_SETS as usize }> = Array::new();
#[btf_map]
pub(crate) static SEATS: Array<SeatSet, { SEAT_SETS as usize }> = Array::new();
#[btf_map]
pub(crate) static SECRET: Array<u64, 1> = Array::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Counter, { COUNTER_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static RULE_COUNTERS: PerCpuArray<RuleCounter, { RULE_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { 1 << 20 }> = RingBuf::new();
#[btf_map]
pub(crate) static BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static WATCHED: Array<Watched, { WATCHED_SLOTS as usize }> = Array::new();
#[btf_map]
pub(crate) static HOSTS: HashMap<HostKey, Host, { MAX_HOSTS as usize }> = HashMap::new();
#[btf_map]
pub(crate) static STRANGERS: LruHashMap<HostKey, Host, { MAX_STRANGERS as usize }> = LruHashMap::new();
/// A host nobody has seen yet: too large for the stack.
#[btf_map]
pub(crate) static BLANK: Array<Host, 1> = Array::new();
#[btf_map]
pub(crate) static REACHES: Array<Reach, { MAX_NETS as usize }> = Array::new();
#[btf_map]
pub(crate) static PAIRS: Array<u64, { PAIR_SLOTS as usize }> = Array::new();
#[btf_map]
pub(crate) static THREATS: LpmTrie<Addr, u32, { MAX_THREATS as usize }, LAZY> = LpmTrie::new();
#[btf_map]
pub(crate) static TRAPS: HashMap<Addr, u32, { MAX_TRAPS as usize }> = HashMap::new();
#[btf_map]
pub(crate) static EXEMPT: HashMap<ExemptKey, u64, { MAX_EXEMPT as usize }> = HashMap::new();
#[btf_map]
pub(crate) static DETECTIONS: RingBuf<Detection, { 1 << 19 }> = RingBuf::new();
#[btf_map]
pub(crate) static KEPT: Array<Kept, { KEPT_PACKETS as usize }> = Array::new();
#[btf_map]
pub(crate) static KEPT_NEXT: Array<u64, 1> = Array::new();
#[btf_map]
pub(crate) static WANTED: Array<Wanted, 1> = Array::new();
#[btf_map]
pub(crate) static CAPTURED: RingBuf<Kept, { 1 << 20 }> = RingBuf::new();
#[btf_map]
pub(crate) static SIGHT: PerCpuArray<Sight, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static SCRATCH_IN: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static SCRATCH_OUT: PerCpuArray<Scratch, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static PRIVATE_CONTEXT: Array<PrivateContext, 1> = Array::new();
/// What the private instance decided: reason, rule index plus one, mark, slot plus one.
#[btf_map]
pub(crate) static PRIVATE_RESULT: Array<[u32; 4], 1> = Array::new();

/// [`PRIVATE_YES`] in a private instance: context and clock come from `PRIVATE_CONTEXT`. Constant, so that the verifier
/// removes the other half. Its value is like no other constant's: LLVM keeps equal constants in one place (a map key
/// `&0`, say), and patching one would patch them all.
#[unsafe(no_mangle)]
static PRIVATE: u32 = PRIVATE_NO;

/// Whether this is a private instance.
#[inline(always)]
pub(crate) fn private() -> bool {
    // SAFETY: a plain aligned read of our own constant; volatile because the loader patches it.
    unsafe { core::ptr::read_volatile(&raw const PRIVATE) == PRIVATE_YES }
}

/// The BPF maps as tables.
pub(crate) struct Maps;

#[inline(always)]
fn pointer<T>(value: Option<&T>) -> *const T {
    match value {
        Some(value) => value,
        None => core::ptr::null(),
    }
}

#[inline(always)]
fn slot(generation: u32) -> u32 {
    generation & 1
}

impl Tables for Maps {
    #[inline(always)]
    fn in_force(&self) -> Active {
        ACTIVE.get(0).copied().unwrap_or_default()
    }
    #[inline(always)]
    fn place(&self, ifindex: u32, outer: u16) -> *mut Place {
        PLACES.get_ptr_mut(place_index(ifindex, outer)).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn fast(&self) -> u32 {
        FAST.get(0).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn settings(&self) -> *const Settings {
        pointer(SETTINGS.get(0))
    }
    #[inline(always)]
    fn iface(&self, ifindex: u32) -> *const IfaceEntry {
        match IFACES.get_ptr(&ifindex) {
            Some(entry) => entry,
            None => core::ptr::null(),
        }
    }
    #[inline(always)]
    fn config(&self, generation: u32) -> *const GenConfig {
        pointer(G_CONFIG.get_value(slot(generation), &0))
    }
    #[inline(always)]
    fn port(&self, generation: u32, key: &PortKey) -> u16 {
        match G_PORTS.get_value_ptr_mut(slot(generation), key) {
            // SAFETY: a value the kernel just returned, readable until the program ends.
            Some(net) => unsafe { *net as u16 },
            None => 0,
        }
    }
    #[inline(always)]
    fn net(&self, generation: u32, net: u16) -> *const NetEntry {
        pointer(G_NETS.get_value(slot(generation), &(net as u32)))
    }
    #[inline(always)]
    fn line(&self, generation: u32, index: u32) -> *const Line {
        pointer(G_SPACE.get_value(slot(generation), &index))
    }
    #[inline(always)]
    fn overlay(&self, generation: u32, high: u64, low: u64) -> u64 {
        // Two halves in the order of the wire, side by side without a copy.
        let mut addr = [0u8; 16];
        addr[..8].copy_from_slice(&high.to_be_bytes());
        addr[8..].copy_from_slice(&low.to_be_bytes());
        match G_OVERLAY.get_value_ptr_mut(slot(generation), &Key::new(128, addr)) {
            // SAFETY: a value the kernel just returned: 8 bytes, aligned to them, readable until the program ends.
            Some(entry) => unsafe { core::ptr::read_volatile(entry.cast::<u64>()) },
            None => 0,
        }
    }
    #[inline(always)]
    fn overlaid(&self, generation: u32, high: u64, low: u64) -> u32 {
        steps::sekimori_overlaid(generation, high, low)
    }
    #[inline(always)]
    fn class_further(&self, generation: u32, addr: u32, step: u32) -> u32 {
        steps::sekimori_class_further(generation, addr, step)
    }
    #[inline(always)]
    fn class6(&self, generation: u32, high: u64, low: u64) -> u32 {
        steps::sekimori_class6(generation, high, low)
    }
    #[inline(always)]
    fn class6_step(&self, generation: u32, value: u32, key: u64, choice: u32) -> u32 {
        steps::sekimori_class6_step(generation, value, key, choice)
    }
    #[inline(always)]
    fn mac(&self, generation: u32, key: &MacKey) -> *const MacEntry {
        match G_MACS.get_value_ptr_mut(slot(generation), key) {
            Some(entry) => entry,
            None => core::ptr::null(),
        }
    }
    #[inline(always)]
    fn binding(&self, generation: u32, addr: &Addr) -> u32 {
        match G_BINDINGS.get_value_ptr_mut(slot(generation), addr) {
            // SAFETY: as in `port`.
            Some(device) => unsafe { *device },
            None => 0,
        }
    }
    #[inline(always)]
    fn device(&self, generation: u32, device: u32) -> *const DeviceEntry {
        pointer(G_DEVICES.get_value(slot(generation), &device))
    }
    #[inline(always)]
    fn service(&self, generation: u32, index: u32) -> u16 {
        match G_SERVICES.get_value(slot(generation), &(index >> 2)) {
            Some(word) => (*word >> ((index & 3) * 16)) as u16,
            None => 0,
        }
    }
    #[inline(always)]
    fn set(&self, generation: u32, set: u16) -> *const RuleSet {
        pointer(G_SETS.get_value(slot(generation), &(set as u32)))
    }
    #[inline(always)]
    fn rule(&self, generation: u32, rule: u16) -> *const RuleEntry {
        pointer(G_RULES.get_value(slot(generation), &(rule as u32)))
    }
    #[inline(always)]
    fn limit(&self, generation: u32, rule: u16) -> *const LimitEntry {
        pointer(G_LIMITS.get_value(slot(generation), &(rule as u32)))
    }
    #[inline(always)]
    fn schedule(&self, generation: u32, schedule: u32) -> *const Schedule {
        pointer(G_SCHEDULES.get_value(slot(generation), &schedule))
    }
    #[inline(always)]
    fn cut(&self) -> CutWord {
        // No word, no traffic: fail closed.
        CUT.get(0).copied().unwrap_or(CutWord { all: 2, any: 0 })
    }
    #[inline(always)]
    fn cut_net(&self, net: u16) -> u32 {
        CUT_NETS.get(net as u32).copied().unwrap_or(CUT_WHOLE)
    }
    #[inline(always)]
    fn stage(&self) -> *const Stage {
        pointer(STAGE.get(0))
    }
    #[inline(always)]
    fn staged(&self, key: &Addr) -> bool {
        STAGED.get_ptr(key).is_some()
    }
    #[inline(always)]
    fn unlisted(&self, packet: &mut Packet, key: &ViewKey, net: u16, rule: u16, port: u16) -> u32 {
        steps::sekimori_unlisted(packet, key, net as u32, rule as u32, port as u32)
    }
    #[inline(always)]
    fn leaves_listed(&self, packet: &mut Packet, key: &ViewKey, to_peer: bool) -> u32 {
        steps::sekimori_leaves_listed(packet, key, to_peer as u32)
    }
    #[inline(always)]
    fn cut_addr(&self, addr: &Addr) -> u32 {
        CUT_PREFIXES.get(&Key::new(128, *addr)).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn cut_mac(&self, mac: &[u8; 6]) -> u32 {
        match CUT_MACS.get_ptr(mac) {
            // SAFETY: as in `port`.
            Some(slot) => unsafe { *slot },
            None => 0,
        }
    }
    #[inline(always)]
    fn management(&self, index: u32) -> *const ManagementEntry {
        pointer(MANAGEMENT.get(index))
    }
    #[inline(always)]
    fn quarantine(&self) -> *const Quarantine {
        pointer(QUARANTINE.get(0))
    }
    #[inline(always)]
    fn quarantined(&self, key: &Addr) -> u32 {
        match QUARANTINED.get_ptr(key) {
            // SAFETY: as in `port`.
            Some(slot) => unsafe { *slot },
            None => 0,
        }
    }
    #[inline(always)]
    fn find_quarantine(&self, packet: &Packet) -> u32 {
        steps::sekimori_quarantine(packet)
    }
    #[inline(always)]
    fn view(&self, key: &ViewKey) -> *mut View {
        let found = if key.is_v4() {
            let key = key.short();
            FLOWS4.get_ptr_mut(&key).or_else(|| OPENING4.get_ptr_mut(&key))
        } else {
            FLOWS6.get_ptr_mut(key).or_else(|| OPENING6.get_ptr_mut(key))
        };
        found.unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn established4(&self, key: &ViewKey4) -> *mut View {
        FLOWS4.get_ptr_mut(key).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn opening4(&self, key: &ViewKey4) -> bool {
        OPENING4.get_ptr(key).is_some()
    }
    #[inline(always)]
    fn opening6(&self, key: &ViewKey) -> bool {
        OPENING6.get_ptr(key).is_some()
    }
    #[inline(always)]
    fn established6(&self, key: &ViewKey) -> *mut View {
        FLOWS6.get_ptr_mut(key).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn view_insert(&self, key: &ViewKey, view: &View, established: bool) -> bool {
        if key.is_v4() {
            let key = key.short();
            return if established { FLOWS4.insert(&key, view, 0) } else { OPENING4.insert(&key, view, 0) }.is_ok();
        }
        if established { FLOWS6.insert(key, view, 0) } else { OPENING6.insert(key, view, 0) }.is_ok()
    }
    #[inline(always)]
    fn view_remove(&self, key: &ViewKey, established: bool) {
        if key.is_v4() {
            let key = key.short();
            let _absent = if established { FLOWS4.remove(&key) } else { OPENING4.remove(&key) };
            return;
        }
        let _absent = if established { FLOWS6.remove(key) } else { OPENING6.remove(key) };
    }
    #[inline(always)]
    fn frag(&self, key: &FragKey) -> *mut FragEntry {
        match FRAGMENTS.get_ptr_mut(key) {
            Some(entry) => entry,
            None => core::ptr::null_mut(),
        }
    }
    #[inline(always)]
    fn frag_insert(&self, key: &FragKey, entry: &FragEntry) -> bool {
        FRAGMENTS.insert(key, entry, 0).is_ok()
    }
    #[inline(always)]
    fn rule_pace(&self, slot: u32) -> *mut u64 {
        RULE_PACES.get_ptr_mut(slot).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn host_paces(&self, hash: u32) -> *mut HostPaceSet {
        let sets = if private() { HOST_PACE_SETS_PRIVATE } else { HOST_PACE_SETS };
        HOST_PACES.get_ptr_mut(hash & (sets - 1)).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn seat_set(&self, half: u32, hash: u32) -> u32 {
        let half_size = if private() { SEAT_SETS_PRIVATE / 2 } else { SEAT_SETS / 2 };
        half * half_size + (hash & (half_size - 1))
    }
    #[inline(always)]
    fn seats(&self, number: u32) -> *mut SeatSet {
        SEATS.get_ptr_mut(number).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn secret(&self) -> u64 {
        let Some(secret) = SECRET.get_ptr_mut(0) else { return 0 };
        // SAFETY: a value the kernel just returned, aligned; volatile, because other processors write it.
        let known = unsafe { core::ptr::read_volatile(secret) };
        if known != 0 {
            return known;
        }
        // SAFETY: no arguments, no preconditions.
        let (high, low) = unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32()) };
        let drawn = (high as u64) << 32 | low as u64 | 1;
        // SAFETY: as above, and nobody writes it but by atomic operations.
        let before = unsafe { atomic::replace_if(secret, 0, drawn) };
        if before == 0 { drawn } else { before }
    }
    #[inline(always)]
    fn admit(&self, work: &Work, now: u64, what: u32) -> u32 {
        steps::sekimori_admit(work, now, what)
    }
    #[inline(always)]
    fn claim(&self, work: &Work, now: u64, most: u32, per_host: u32) -> u32 {
        steps::sekimori_claim(work, now, most, per_host)
    }
    #[inline(always)]
    fn paces(&self, work: &Work, now: u64, take: u32) -> bool {
        steps::sekimori_paces(work, now, take) != 0
    }
    #[inline(always)]
    fn enter(&self, work: &Work, what: u32) -> bool {
        steps::sekimori_enter(work, what) != 0
    }
    #[inline(always)]
    fn sit(&self, work: &Work, now: u64, number: u32, index: u32, per_host: u32) -> u32 {
        steps::sekimori_sit(work, now, number, index, per_host)
    }
    #[inline(always)]
    fn held(&self, place: &Seat, key: &ViewKey, now: u64) -> u32 {
        steps::sekimori_held(place, key, now)
    }
    #[inline(always)]
    fn judge(&self, work: &mut Work) {
        steps::sekimori_judge(work);
    }
    #[inline(always)]
    fn converse(&self, packet: &mut Packet, work: &mut Work, found: *mut View, what: u32, opens: u8) -> u32 {
        steps::sekimori_converse(packet, work, found, what, opens as u32)
    }
    #[inline(always)]
    fn forward(&self, packet: &mut Packet, work: &mut Work, found: *mut View) -> u32 {
        steps::sekimori_forward(packet, work, found)
    }
    #[inline(always)]
    fn link(&self, packet: &Packet, near: &mut View, role: u8) {
        if self.fast() != 0 {
            steps::sekimori_link(packet, near, role as u32);
        }
    }
    #[inline(always)]
    fn next_match(&self, cursor: &mut Cursor) -> u32 {
        steps::sekimori_next_match(cursor)
    }
    #[inline(always)]
    fn open_until(&self, generation: u32, schedule: u32, now: u64) -> u64 {
        steps::sekimori_open_until(generation, schedule, now)
    }
    #[inline(always)]
    fn identity(&self, packet: &mut Packet, addr: &Addr) -> u32 {
        steps::sekimori_identity(packet, addr)
    }
    #[inline(always)]
    fn track(&self, view: &mut View, packet: &Packet, side: u32) -> u32 {
        steps::sekimori_track(view, packet, side)
    }
    #[inline(always)]
    fn later_fragment(&self, packet: &mut Packet) -> u32 {
        steps::sekimori_later(packet)
    }
    #[inline(always)]
    fn first_fragment(&self, packet: &Packet) -> u32 {
        steps::sekimori_first(packet)
    }
    #[inline(always)]
    fn cut_off(&self, packet: &mut Packet) -> u32 {
        let word = self.cut();
        if word.all == 0 && word.any == 0 {
            return 0;
        }
        steps::sekimori_cut(packet)
    }
    #[inline(always)]
    fn control_in(&self, packet: &mut Packet, builtin: u32, net: u32) -> u32 {
        steps::sekimori_control(packet, builtin, net)
    }
}

impl Watch for Maps {
    #[inline(always)]
    fn watched(&self, generation: u32, net: u16) -> *const Watched {
        pointer(WATCHED.get(watched_index(generation, net)))
    }
    #[inline(always)]
    fn host(&self, key: &HostKey) -> *mut Host {
        HOSTS.get_ptr_mut(key).or_else(|| STRANGERS.get_ptr_mut(key)).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn host_new(&self, key: &HostKey) -> *mut Host {
        let Some(blank) = BLANK.get(0) else { return core::ptr::null_mut() };
        let _full = STRANGERS.insert(key, blank, 0);
        STRANGERS.get_ptr_mut(key).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn host_proven(&self, key: &HostKey, host: *mut Host) -> *mut Host {
        if let Some(proven) = HOSTS.get_ptr_mut(key) {
            return proven;
        }
        // SAFETY: a value the kernel returned for this key a moment ago.
        let _full = HOSTS.insert(key, unsafe { &*host }, 0);
        match HOSTS.get_ptr_mut(key) {
            Some(proven) => {
                let _absent = STRANGERS.remove(key);
                proven
            }
            None => host,
        }
    }
    #[inline(always)]
    fn whose(&self, packet: &Packet, sight: &mut Sight, reason: u32) -> u32 {
        steps::sekimori_whose(packet, sight, reason)
    }
    #[inline(always)]
    fn newcomer(&self, packet: &Packet, sight: &mut Sight, whose: u32) {
        steps::sekimori_newcomer(packet, sight, whose);
    }
    #[inline(always)]
    fn look(&self, packet: &Packet, sight: &mut Sight, reason: u32) -> u32 {
        steps::sekimori_look(packet, sight, reason)
    }
    #[inline(always)]
    fn reach(&self, net: u16) -> *mut Reach {
        REACHES.get_ptr_mut(net as u32).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn pair(&self, hash: u64) -> *mut u64 {
        PAIRS.get_ptr_mut(hash as u32 & (PAIR_SLOTS - 1)).unwrap_or(core::ptr::null_mut())
    }
    #[inline(always)]
    fn threat(&self, addr: &Addr) -> u32 {
        THREATS.get(&Key::new(128, *addr)).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn trap(&self, addr: &Addr) -> bool {
        TRAPS.get_ptr(addr).is_some()
    }
    #[inline(always)]
    fn exempt(&self, generation: u32, key: &Addr) -> u64 {
        match EXEMPT.get_ptr(&ExemptKey { addr: *key, parity: generation & 1 }) {
            // SAFETY: as in `port`.
            Some(mask) => unsafe { *mask },
            None => 0,
        }
    }
}
