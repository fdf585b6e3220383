//! Typed handles to every map of one instance, pinned or private.

use std::path::Path;

use aya::maps::{Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf, lpm_trie::Key};
use sekimori_ebpf::abi::{
    Active, Budget, Counter, CutWord, DeviceEntry, FragEntry, FragKey, GenConfig, HostPaceSet, IfaceEntry, LimitEntry,
    MacEntry, MacKey, ManagementEntry, NetEntry, OverlayEntry, Place, PortKey, PrivateContext, Quarantine, Refused,
    RuleCounter, RuleEntry, RuleSet, Schedule, SeatSet, Settings, Stage, View, ViewKey, ViewKey4,
};
use sekimori_ebpf::classify::Line;
use sekimori_ebpf::detect::abi::{ExemptKey, Host, HostKey, Kept, Wanted, Watched};

use super::error::{Error, While};

/// An address as a map key.
pub type Addr = [u8; 16];
type Generations<V> = ArrayOfMaps<MapData, V>;

/// Names of the maps that are pinned.
pub const NAMES: &[&str] = &[
    "ACTIVE",
    "FAST",
    "PLACES",
    "SETTINGS",
    "IFACES",
    "CUT",
    "CUT_NETS",
    "CUT_PREFIXES",
    "CUT_MACS",
    "CUT_REFUSED",
    "STAGE",
    "STAGED",
    "MANAGEMENT",
    "QUARANTINE",
    "QUARANTINED",
    "QUARANTINE_REFUSED",
    "WATCHED",
    "TRAPS",
    "EXEMPT",
    "THREATS",
    "G_CONFIG",
    "G_PORTS",
    "G_NETS",
    "G_SPACE",
    "G_OVERLAY",
    "G_MACS",
    "G_BINDINGS",
    "G_DEVICES",
    "G_SERVICES",
    "G_SETS",
    "G_RULES",
    "G_LIMITS",
    "G_SCHEDULES",
    "FLOWS4",
    "OPENING4",
    "FLOWS6",
    "OPENING6",
    "FRAGMENTS",
    "RULE_PACES",
    "HOST_PACES",
    "SEATS",
    "SECRET",
    "COUNTERS",
    "RULE_COUNTERS",
    "EVENTS",
    "BUDGET",
    "HOSTS",
    "STRANGERS",
    "BLANK",
    "REACHES",
    "PAIRS",
    "DETECTIONS",
    "KEPT",
    "KEPT_NEXT",
    "WANTED",
    "CAPTURED",
    "SIGHT",
    "SCRATCH_IN",
    "SCRATCH_OUT",
    "PRIVATE_CONTEXT",
    "PRIVATE_RESULT",
];

macro_rules! handles {
    ($(#[doc = $what:literal])* $maps:ident; $($(#[doc = $doc:literal])* $field:ident: $ty:ty = $name:literal,)*) => {
        $(#[doc = $what])*
        pub struct $maps { $($(#[doc = $doc])* pub $field: $ty,)* }

        impl $maps {
            /// Opens every map through `get`.
            pub fn open(mut get: impl FnMut(&str) -> Result<Map, Error>) -> Result<Self, Error> {
                Ok(Self { $($field: <$ty>::try_from(get($name)?).doing(concat!("open the map ", $name))?,)* })
            }

            /// Opens the maps pinned in `dir`.
            pub fn pinned(dir: &Path) -> Result<Self, Error> {
                Self::open(|name| pin(dir, name))
            }
        }
    };
}

handles! {
    /// What says who is cut off; apart from the others, so that a cut waits for nobody who works on those.
    CutMaps;
    /// The cut-off word.
    word: Array<MapData, CutWord> = "CUT",
    /// Cut nets.
    nets: Array<MapData, u32> = "CUT_NETS",
    /// Cut prefixes: the slot under which what they refuse counts.
    prefixes: LpmTrie<MapData, Addr, u32> = "CUT_PREFIXES",
    /// Cut MACs: likewise.
    macs: HashMap<MapData, [u8; 6], u32> = "CUT_MACS",
    /// What was refused, by slot.
    refused: PerCpuArray<MapData, Refused> = "CUT_REFUSED",
    /// Services that pass again first.
    stage: Array<MapData, Stage> = "STAGE",
    /// Hosts that pass again first, by address or MAC.
    listed: HashMap<MapData, Addr, u32> = "STAGED",
}

handles! {
    /// What the detectors tell, and the packets that prove it.
    DetectMaps;
    /// Events.
    detections: RingBuf<MapData> = "DETECTIONS",
    /// Kept packets.
    kept: Array<MapData, Kept> = "KEPT",
    /// The number of the last of them.
    next: Array<MapData, u64> = "KEPT_NEXT",
}

handles! {
    /// Live capture.
    CaptureMaps;
    /// Which packets are wanted.
    wanted: Array<MapData, Wanted> = "WANTED",
    /// Those packets.
    captured: RingBuf<MapData> = "CAPTURED",
}

handles! {
    /// What says what inside hosts are watched for. A private instance keeps its own as they are made: empty, so that it
    /// watches nobody.
    WatchMaps;
    /// By zone and parity.
    watched: Array<MapData, Watched> = "WATCHED",
    /// Addresses that nobody uses.
    traps: HashMap<MapData, Addr, u32> = "TRAPS",
    /// Who is exempt from what, by parity.
    exempt: HashMap<MapData, ExemptKey, u64> = "EXEMPT",
    /// Addresses on threat lists: the list's number.
    threats: LpmTrie<MapData, Addr, u32> = "THREATS",
    /// Hosts that were answered once.
    hosts: HashMap<MapData, HostKey, Host> = "HOSTS",
    /// Hosts that were not.
    strangers: HashMap<MapData, HostKey, Host> = "STRANGERS",
}

handles! {
    /// Conversations; for whoever walks over them without keeping others from the instance.
    ViewMaps;
    /// Established views of IPv4.
    flows4: HashMap<MapData, ViewKey4, View> = "FLOWS4",
    /// Opening views of IPv4.
    opening4: HashMap<MapData, ViewKey4, View> = "OPENING4",
    /// Established views of IPv6.
    flows6: HashMap<MapData, ViewKey, View> = "FLOWS6",
    /// Opening views of IPv6.
    opening6: HashMap<MapData, ViewKey, View> = "OPENING6",
}

handles! {
    /// The maps of one instance but for [`CutMaps`] and [`WatchMaps`].
    Maps;
    /// The active generation.
    active: Array<MapData, Active> = "ACTIVE",
    /// The fast path's epoch, 0 while nothing may take it.
    fast: Array<MapData, u32> = "FAST",
    /// (interface, tag) to net, by hash.
    places: Array<MapData, Place> = "PLACES",
    /// Settings outside the policy.
    settings: Array<MapData, Settings> = "SETTINGS",
    /// Interfaces by kernel index.
    ifaces: HashMap<MapData, u32, IfaceEntry> = "IFACES",
    /// Management paths.
    management: Array<MapData, ManagementEntry> = "MANAGEMENT",
    /// Who is in quarantine, roughly.
    quarantine: Array<MapData, Quarantine> = "QUARANTINE",
    /// Who is in quarantine: slots by address or MAC.
    quarantined: HashMap<MapData, Addr, u32> = "QUARANTINED",
    /// What was refused in quarantine, by slot.
    quarantine_refused: PerCpuArray<MapData, Refused> = "QUARANTINE_REFUSED",
    /// Generation: description.
    config: Generations<Array<MapData, GenConfig>> = "G_CONFIG",
    /// Generation: (interface, tags) to net.
    ports: Generations<HashMap<MapData, PortKey, u32>> = "G_PORTS",
    /// Generation: nets.
    nets: Generations<Array<MapData, NetEntry>> = "G_NETS",
    /// Generation: classes of addresses.
    space: Generations<Array<MapData, Line>> = "G_SPACE",
    /// Generation: prefixes changed at run time.
    overlay: Generations<LpmTrie<MapData, Addr, OverlayEntry>> = "G_OVERLAY",
    /// Generation: MACs.
    macs: Generations<HashMap<MapData, MacKey, MacEntry>> = "G_MACS",
    /// Generation: registered addresses.
    bindings: Generations<HashMap<MapData, Addr, u32>> = "G_BINDINGS",
    /// Generation: devices.
    devices: Generations<Array<MapData, DeviceEntry>> = "G_DEVICES",
    /// Generation: services.
    services: Generations<Array<MapData, u64>> = "G_SERVICES",
    /// Generation: rule sets.
    sets: Generations<Array<MapData, RuleSet>> = "G_SETS",
    /// Generation: rules.
    rules: Generations<Array<MapData, RuleEntry>> = "G_RULES",
    /// Generation: limits.
    limits: Generations<Array<MapData, LimitEntry>> = "G_LIMITS",
    /// Generation: schedules.
    schedules: Generations<Array<MapData, Schedule>> = "G_SCHEDULES",
    /// Established views of IPv4.
    flows4: HashMap<MapData, ViewKey4, View> = "FLOWS4",
    /// Opening views of IPv4.
    opening4: HashMap<MapData, ViewKey4, View> = "OPENING4",
    /// Established views of IPv6.
    flows6: HashMap<MapData, ViewKey, View> = "FLOWS6",
    /// Opening views of IPv6.
    opening6: HashMap<MapData, ViewKey, View> = "OPENING6",
    /// Fragmented datagrams.
    fragments: HashMap<MapData, FragKey, FragEntry> = "FRAGMENTS",
    /// What rules admitted.
    rule_paces: Array<MapData, u64> = "RULE_PACES",
    /// What hosts were admitted.
    host_paces: Array<MapData, HostPaceSet> = "HOST_PACES",
    /// Places of conversations.
    seats: Array<MapData, SeatSet> = "SEATS",
    /// Verdict counters.
    counters: PerCpuArray<MapData, Counter> = "COUNTERS",
    /// Rule counters.
    rule_counters: PerCpuArray<MapData, RuleCounter> = "RULE_COUNTERS",
    /// Sampled events.
    events: RingBuf<MapData> = "EVENTS",
    /// Events and clock, by CPU.
    budget: PerCpuArray<MapData, Budget> = "BUDGET",
    /// Private instances: what the kernel would say.
    private_context: Array<MapData, PrivateContext> = "PRIVATE_CONTEXT",
    /// Private instances: what was decided.
    private_result: Array<MapData, [u32; 4]> = "PRIVATE_RESULT",
}

/// A view's key in its family's own form.
#[derive(Debug, Clone, Copy)]
pub enum ViewAt<'a> {
    /// IPv4.
    V4(&'a ViewKey4),
    /// IPv6.
    V6(&'a ViewKey),
}

impl Maps {
    /// Puts a view into the established or the opening room of its family.
    pub fn insert_view(&mut self, key: &ViewKey, view: &View, established: bool) -> Result<(), Error> {
        let inserted = match (key.is_v4(), established) {
            (true, true) => self.flows4.insert(key.short(), view, 0),
            (true, false) => self.opening4.insert(key.short(), view, 0),
            (false, true) => self.flows6.insert(key, view, 0),
            (false, false) => self.opening6.insert(key, view, 0),
        };
        inserted.doing("insert a view")
    }
}

fn pin(dir: &Path, name: &str) -> Result<Map, Error> {
    let path = dir.join(name);
    let data = MapData::from_pin(&path).doing(format!("open the pinned map {}", path.display()))?;
    Map::from_map_data(data).doing(format!("read the pinned map {}", path.display()))
}

impl Maps {
    /// Removes a view, in whichever room it is.
    pub fn remove_view(&mut self, key: &ViewKey) -> Result<(), Error> {
        let removed = if key.is_v4() {
            let key = key.short();
            [self.flows4.remove(&key), self.opening4.remove(&key)]
        } else {
            [self.flows6.remove(key), self.opening6.remove(key)]
        };
        removed.into_iter().try_for_each(|removed| gone(removed).doing("forget a conversation"))
    }
}

/// Removing what is not there is no error.
pub(super) fn gone(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// The key of a prefix in the 128-bit space.
pub fn prefix_key(length: u32, addr: Addr) -> Key<Addr> {
    Key::new(length, addr)
}

/// An address in its 16-byte form.
pub fn mapped(addr: std::net::IpAddr) -> Addr {
    match addr {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    }
}

/// The next item of a ring; one too short to be it is passed over.
pub fn item<T: aya::Pod>(ring: &mut RingBuf<MapData>) -> Option<T> {
    loop {
        let bytes = ring.next()?;
        if bytes.len() >= size_of::<T>() {
            // SAFETY: long enough, and any bytes are a valid value of plain data.
            return Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) });
        }
    }
}

/// The address that these 16 bytes stand for.
pub fn unmapped(addr: Addr) -> std::net::IpAddr {
    std::net::Ipv6Addr::from(addr).to_canonical()
}

/// A prefix in the 128-bit space: length and network.
pub fn mapped_prefix(prefix: ipnet::IpNet) -> (u32, Addr) {
    let extra = if matches!(prefix, ipnet::IpNet::V4(_)) { 96 } else { 0 };
    (u32::from(prefix.prefix_len()) + extra, mapped(prefix.network()))
}
