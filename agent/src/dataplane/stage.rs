//! Staging: a generation's tables are built beside the live ones, read back, and only then named active.

use std::{hash::Hash, thread};

use aya::maps::{Array, HashMap, InnerMap, LpmTrie, MapData, MapError, lpm_trie::Key};
use sekimori_ebpf::abi::{
    Active, DeviceEntry, GenConfig, LimitEntry, MAX_BINDINGS, MAX_DEVICES, MAX_MACS, MAX_NETS, MAX_OVERLAY, MAX_PORTS,
    MAX_RULES, MAX_SCHEDULES, MAX_SETS, MacEntry, MacKey, NetEntry, OverlayEntry, PortKey, RuleEntry, RuleSet,
    SERVICE_WORDS, SPARE_SETS, Schedule,
};
use sekimori_ebpf::classify::Line;

use super::{
    batch::{Building, Kind},
    error::{Error, While},
    maps::{Addr, Maps},
    overlay::Handles,
};
use crate::compile::tables::Compiled;

/// Inner arrays may differ in size.
const BPF_F_INNER_MAP: u32 = 1 << 12;
/// User space maps the array to fill it.
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// Tries are not preallocated.
const BPF_F_NO_PREALLOC: u32 = 1;
/// What the prefixes are called in errors.
const SPACE: &str = "the table of addresses";

/// The inner maps of one generation, filled and read back but not yet reachable by any packet.
pub struct Staged {
    config: Array<MapData, GenConfig>,
    ports: HashMap<MapData, PortKey, u32>,
    nets: Array<MapData, NetEntry>,
    space: Array<MapData, Line>,
    overlay: LpmTrie<MapData, Addr, OverlayEntry>,
    macs: HashMap<MapData, MacKey, MacEntry>,
    bindings: HashMap<MapData, Addr, u32>,
    devices: Array<MapData, DeviceEntry>,
    services: Array<MapData, u64>,
    sets: Array<MapData, RuleSet>,
    rules: Array<MapData, RuleEntry>,
    limits: Array<MapData, LimitEntry>,
    schedules: Array<MapData, Schedule>,
    /// Some rule has limits.
    pub limited: bool,
    /// Entries written.
    pub entries: u64,
}

fn array<V: aya::Pod + PartialEq>(name: &str, values: &[V], most: u32) -> Result<Array<MapData, V>, Error> {
    roomy(name, values, most, 0)
}

/// An array with room for `spare` values more, all zero.
fn roomy<V: aya::Pod + PartialEq>(name: &str, values: &[V], most: u32, spare: u32) -> Result<Array<MapData, V>, Error> {
    let len = u32::try_from(values.len()).unwrap_or(u32::MAX);
    if len > most {
        return Err(Error::new(format!("stage {name}"), format!("{len} entries, at most {most} fit")));
    }
    let map = Building::create::<u32, V>(Kind::Array, name, (len + spare).max(1), BPF_F_INNER_MAP)?;
    let keys: Vec<u32> = (0..len).collect();
    map.fill(&keys, values)?;
    map.verify_array(values)?;
    Array::try_from(map.finish()?).doing(format!("use {name}"))
}

fn hash<K: aya::Pod + Eq + Hash, V: aya::Pod + PartialEq>(
    name: &str,
    most: u32,
    entries: &[(K, V)],
) -> Result<HashMap<MapData, K, V>, Error> {
    if entries.len() > most as usize {
        return Err(Error::new(format!("stage {name}"), format!("{} entries, at most {most} fit", entries.len())));
    }
    let map = Building::create::<K, V>(Kind::Hash, name, most, 0)?;
    let (keys, values): (Vec<K>, Vec<V>) = entries.iter().copied().unzip();
    map.fill(&keys, &values)?;
    map.verify_hash(&keys, &values)?;
    HashMap::try_from(map.finish()?).doing(format!("use {name}"))
}

fn trie() -> Result<LpmTrie<MapData, Addr, OverlayEntry>, Error> {
    const NAME: &str = "the overlay";
    let map = Building::create::<Key<Addr>, OverlayEntry>(Kind::LpmTrie, NAME, MAX_OVERLAY, BPF_F_NO_PREALLOC)?;
    LpmTrie::try_from(map.finish()?).doing(format!("use {NAME}"))
}

fn lines(values: &[Line], name: &str) -> Result<Array<MapData, Line>, Error> {
    let len = u32::try_from(values.len()).unwrap_or(u32::MAX);
    let map = Building::create::<u32, Line>(Kind::Array, name, len, BPF_F_INNER_MAP | BPF_F_MMAPABLE)?;
    map.fill_mapped(values)?;
    Array::try_from(map.finish()?).doing(format!("use {name}"))
}

impl Staged {
    /// Creates, fills and reads back every table.
    pub fn build(tables: &Compiled, schedules: &[Schedule], generation: u32) -> Result<Self, Error> {
        let ports: Vec<(PortKey, u32)> = tables.ports.iter().map(|(key, net)| (*key, u32::from(*net))).collect();
        let config = GenConfig { generation, ..tables.config };
        let entries = tables.addrs.len()
            + tables.ports.len()
            + tables.nets.len()
            + tables.macs.len()
            + tables.bindings.len()
            + tables.devices.len()
            + tables.services.len()
            + tables.sets.len()
            + tables.rules.len()
            + tables.limits.len()
            + schedules.len();
        let space = tables.space().doing(format!("lay out {SPACE}"))?;
        Ok(Self {
            config: array("the generation", &[config], 1)?,
            ports: hash("the ports", MAX_PORTS, &ports)?,
            nets: array("the nets", &tables.nets, MAX_NETS)?,
            space: lines(space.lines(), SPACE)?,
            overlay: trie()?,
            macs: hash("the MAC table", MAX_MACS, &tables.macs)?,
            bindings: hash("the bindings", MAX_BINDINGS, &tables.bindings)?,
            devices: array("the devices", &tables.devices, MAX_DEVICES)?,
            services: array("the services", &tables.services, SERVICE_WORDS)?,
            sets: roomy("the rule sets", &tables.sets, MAX_SETS, SPARE_SETS)?,
            rules: array("the rules", &tables.rules, u32::try_from(MAX_RULES).unwrap_or(0))?,
            limits: array("the limits", &tables.limits, u32::try_from(MAX_RULES).unwrap_or(0))?,
            schedules: array("the schedules", schedules, MAX_SCHEDULES)?,
            limited: !tables.limits.is_empty(),
            entries: entries as u64,
        })
    }

    /// What is written to while the tables are in force. (Taking it from the kernel later takes CAP_SYS_ADMIN, which the
    /// agent does not have.)
    pub fn into_handles(self) -> Handles {
        Handles { space: self.space, sets: self.sets, overlay: self.overlay }
    }

    /// Puts the tables into the slot of `generation`, where no packet looks until it is named active.
    pub fn place(&self, maps: &mut Maps, generation: u32) -> Result<(), Error> {
        fn set<V: InnerMap>(outer: &mut aya::maps::ArrayOfMaps<MapData, V>, slot: u32, inner: &V) -> Result<(), Error> {
            outer.set(slot, inner, 0).doing("place a staged table")
        }
        let slot = generation & 1;
        // The kernel lets each of these wait until no packet uses the table before. After the first one, no packet is left
        // that read its generation when this slot was still in use.
        set(&mut maps.config, slot, &self.config)?;
        // The others may wait for that at the same time; one after the other, an apply would mostly be waiting.
        thread::scope(|scope| {
            let placed = [
                scope.spawn(|| set(&mut maps.ports, slot, &self.ports)),
                scope.spawn(|| set(&mut maps.nets, slot, &self.nets)),
                scope.spawn(|| set(&mut maps.space, slot, &self.space)),
                scope.spawn(|| set(&mut maps.overlay, slot, &self.overlay)),
                scope.spawn(|| set(&mut maps.macs, slot, &self.macs)),
                scope.spawn(|| set(&mut maps.bindings, slot, &self.bindings)),
                scope.spawn(|| set(&mut maps.devices, slot, &self.devices)),
                scope.spawn(|| set(&mut maps.services, slot, &self.services)),
                scope.spawn(|| set(&mut maps.sets, slot, &self.sets)),
                scope.spawn(|| set(&mut maps.rules, slot, &self.rules)),
                scope.spawn(|| set(&mut maps.limits, slot, &self.limits)),
                scope.spawn(|| set(&mut maps.schedules, slot, &self.schedules)),
            ];
            let panicked = || Error::new("place a staged table", "a thread panicked");
            placed.into_iter().try_for_each(|thread| thread.join().map_err(|_| panicked())?)
        })
    }
}

/// Replaces the windows of `generation` as a whole: a reader sees the old array or the new one, never a mixture.
pub fn replace_schedules(maps: &mut Maps, generation: u32, schedules: &[Schedule]) -> Result<(), Error> {
    let inner = array("the schedules", schedules, MAX_SCHEDULES)?;
    maps.schedules.set(generation & 1, &inner, 0).doing("replace the schedules")
}

/// Frees the table of addresses of the generation before `generation`, by far the largest of its tables: an empty one takes
/// its place. Only when no packet is left that was marked by that generation. The kernel frees an array page by page, in a
/// thread of its own.
pub fn retire(maps: &mut Maps, generation: u32) -> Result<(), Error> {
    let empty = lines(&[Line::default()], SPACE)?;
    maps.space.set((generation ^ 1) & 1, &empty, 0).doing("retire the generation before")
}

/// The number after `generation`; 0 is kept for "no policy".
pub fn next_generation(generation: u32) -> u32 {
    // Parity names the slot, so a wrap must keep alternating: from the odd maximum to 2.
    if generation == u32::MAX { 2 } else { generation + 1 }
}

/// Which tables are in force.
pub fn active(maps: &Maps) -> Result<Active, Error> {
    match maps.active.get(&0, 0) {
        Ok(active) => Ok(active),
        Err(MapError::KeyNotFound) => Ok(Active::default()),
        Err(error) => Err(error).doing("read the active generation"),
    }
}
