//! A private instance: the same programs over maps of their own, fed by `BPF_PROG_TEST_RUN`. No interface is touched.
//!
//! Interface indexes are interface ids here (the compiled tables' own numbers), and the clock is the caller's.

use aya::{
    Ebpf,
    programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use sekimori_ebpf::{
    abi::{
        Active, HOST_PACE_SETS_PRIVATE, HostPaceSet, IFACE_GUARDED, IfaceEntry, ManagementEntry, PrivateContext,
        RULE_SLOTS, Schedule, Settings, timeout,
    },
    reason::{Reason, Verdict},
};

use super::{
    CutTables, cut,
    error::{Error, While},
    management,
    maps::{CutMaps, Maps},
    object, places, quarantine,
    stage::{self, Staged},
};
use crate::compile::tables::Compiled;

/// Shortest frame the kernel runs a test with.
const SHORTEST: usize = 14;
/// Longest frame this runs: what fits beside headroom and tailroom in one page.
pub const LONGEST: usize = 3_520;
/// An interface index that no policy names: where unguarded traffic comes from.
const UNGUARDED: u32 = 0xffff_0000;

/// Where a packet on its way out came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameFrom {
    /// The box itself.
    Box,
    /// A guarded interface (its id), judged there with this mark.
    Guarded(u16, u32),
    /// Any other interface.
    Unguarded,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Why.
    pub reason: Reason,
    /// Index of the rule, where one decided.
    pub rule: Option<u16>,
    /// What the way in tells the way out.
    pub mark: u32,
}

impl Judged {
    /// Whether it passes.
    pub fn passes(&self) -> bool {
        self.reason.verdict() == Verdict::Pass
    }
}

/// See the module documentation.
pub struct Instance {
    ebpf: Ebpf,
    maps: Maps,
    cut: CutMaps,
    generation: u32,
    /// Some policy had limits: there is something to forget.
    limited: bool,
    places: places::Written,
}

impl Instance {
    /// Loads the programs with room for `flows` views.
    pub fn load(flows: u32) -> Result<Self, Error> {
        let mut ebpf = object::load_private(flows).doing("load a private instance")?;
        let xdp: &mut Xdp = program(&mut ebpf, object::PROGRAM_IN)?;
        xdp.load().doing("load the way in")?;
        let out: &mut SchedClassifier = program(&mut ebpf, object::PROGRAM_OUT)?;
        out.load().doing("load the way out")?;
        let mut take = |name: &str| {
            ebpf.take_map(name).ok_or_else(|| Error::new("load a private instance", format!("no map {name}")))
        };
        let (maps, cut) = (Maps::open(&mut take)?, CutMaps::open(&mut take)?);
        let mut instance = Self { ebpf, maps, cut, generation: 0, limited: false, places: places::Written::default() };
        instance.settings(&Settings { timeouts: timeout::DEFAULTS, ..Settings::default() })?;
        Ok(instance)
    }

    /// Stages and activates a policy; views stay, as in a live switch.
    pub fn policy(&mut self, tables: &Compiled, schedules: &[Schedule]) -> Result<(), Error> {
        let generation = stage::next_generation(self.generation);
        let staged = Staged::build(tables, schedules, generation)?;
        self.adopt(&staged, generation, tables)
    }

    /// Activates tables that were staged for another instance: canaries run over the very maps that will go live.
    pub fn adopt(&mut self, staged: &Staged, generation: u32, tables: &Compiled) -> Result<(), Error> {
        staged.place(&mut self.maps, generation)?;
        self.limited |= staged.limited;
        let ports = &tables.ports;
        for (_, id) in &tables.interfaces {
            let entry = IfaceEntry { id: *id, flags: IFACE_GUARDED, ..IfaceEntry::default() };
            self.maps.ifaces.insert(u32::from(*id), entry, 0).doing("name an interface")?;
        }
        self.maps.active.set(0, Active { generation, base: generation }, 0).doing("activate")?;
        let known: Vec<(u32, IfaceEntry)> = self.maps.ifaces.iter().filter_map(Result::ok).collect();
        self.places.write(&mut self.maps.places, &places::of(&known, ports, generation, |_| None))?;
        self.generation = generation;
        Ok(())
    }

    /// See [`stage::retire`].
    pub fn retire(&mut self) -> Result<(), Error> {
        stage::retire(&mut self.maps, self.generation)
    }

    /// Replaces the settings.
    pub fn settings(&mut self, settings: &Settings) -> Result<(), Error> {
        self.maps.settings.set(0, *settings, 0).doing("write the settings")
    }

    /// Replaces what is cut.
    pub fn cut(&mut self, tables: &CutTables) -> Result<(), Error> {
        cut::write(&mut self.cut, tables)
    }

    /// Replaces the management paths.
    pub fn management(&mut self, paths: &[ManagementEntry]) -> Result<(), Error> {
        management::write(&mut self.maps, paths)
    }

    /// Replaces who is in quarantine.
    pub fn quarantine(&mut self, hosts: &[quarantine::Host]) -> Result<(), Error> {
        quarantine::write(&mut self.maps, hosts)
    }

    /// Forgets every view and fragment.
    pub fn forget(&mut self) -> Result<(), Error> {
        fn clear<K: aya::Pod, V: aya::Pod>(
            map: &mut aya::maps::HashMap<aya::maps::MapData, K, V>,
        ) -> Result<(), Error> {
            let keys: Vec<K> = map.keys().filter_map(Result::ok).collect();
            for key in keys {
                match map.remove(&key) {
                    Ok(()) | Err(aya::maps::MapError::KeyNotFound) => {}
                    Err(error) => return Err(error).doing("forget a view"),
                }
            }
            Ok(())
        }
        clear(&mut self.maps.flows4)?;
        clear(&mut self.maps.opening4)?;
        clear(&mut self.maps.flows6)?;
        clear(&mut self.maps.opening6)?;
        clear(&mut self.maps.fragments)?;
        // Places are free without their conversations.
        self.slacken()
    }

    /// Forgets what rates admitted.
    fn slacken(&mut self) -> Result<(), Error> {
        if !self.limited {
            return Ok(());
        }
        for slot in 0..RULE_SLOTS {
            if self.maps.rule_paces.get(&slot, 0).doing("read a rate")? != 0 {
                self.maps.rule_paces.set(slot, 0, 0).doing("forget a rate")?;
            }
        }
        for set in 0..HOST_PACE_SETS_PRIVATE {
            if self.maps.host_paces.get(&set, 0).doing("read a host's rate")? != HostPaceSet::default() {
                self.maps.host_paces.set(set, HostPaceSet::default(), 0).doing("forget a host's rate")?;
            }
        }
        Ok(())
    }

    /// Judges a frame that comes in by the interface with this id. Frames longer than [`LONGEST`] are judged by their head.
    pub fn ingress(&mut self, frame: &[u8], iface: u16, now: u64) -> Result<Judged, Error> {
        if frame.len() < SHORTEST {
            return Ok(Judged { reason: Reason::Truncated, rule: None, mark: 0 });
        }
        self.context(frame, now, u32::from(iface), 0, 0)?;
        let head = head(frame);
        let xdp: &mut Xdp = program(&mut self.ebpf, object::PROGRAM_IN)?;
        xdp.test_run(TestRunOptions { data_in: Some(head), ..TestRunOptions::new() }).doing("run the way in")?;
        self.result()
    }

    /// Judges a frame that leaves by the interface with this id.
    pub fn egress(&mut self, frame: &[u8], iface: u16, from: CameFrom, now: u64) -> Result<Judged, Error> {
        if frame.len() < SHORTEST {
            return Ok(Judged { reason: Reason::Truncated, rule: None, mark: 0 });
        }
        let (came_from, mark) = match from {
            CameFrom::Box => (0, 0),
            CameFrom::Guarded(id, mark) => (u32::from(id), mark),
            CameFrom::Unguarded => (UNGUARDED, 0),
        };
        self.context(frame, now, u32::from(iface), came_from, mark)?;
        let head = head(frame);
        let out: &mut SchedClassifier = program(&mut self.ebpf, object::PROGRAM_OUT)?;
        out.test_run(TestRunOptions { data_in: Some(head), ..TestRunOptions::new() }).doing("run the way out")?;
        self.result()
    }

    fn context(&mut self, frame: &[u8], now: u64, ifindex: u32, came_from: u32, mark: u32) -> Result<(), Error> {
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let context = PrivateContext { now, ifindex, came_from, mark, len };
        self.maps.private_context.set(0, context, 0).doing("write the private context")?;
        self.maps.private_result.set(0, [0; 4], 0).doing("clear the private result")
    }

    fn result(&self) -> Result<Judged, Error> {
        let [reason, rule, mark, _slot] = self.maps.private_result.get(&0, 0).doing("read the private result")?;
        let reason = Reason::from_number(reason)
            .ok_or_else(|| Error::new("read the private result", format!("no reason has number {reason}")))?;
        Ok(Judged { reason, rule: rule.checked_sub(1).and_then(|r| u16::try_from(r).ok()), mark })
    }
}

fn head(frame: &[u8]) -> &[u8] {
    frame.get(..LONGEST).unwrap_or(frame)
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut T, Error>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program =
        ebpf.program_mut(name).ok_or_else(|| Error::new("find a program", format!("no {name} in the object")))?;
    program.try_into().doing(format!("use {name}"))
}
