//! The loaded programs, their maps and links: load or adopt, stage and switch, read back.

pub mod object;
pub mod seed;

use std::path::PathBuf;

use sekimori_ebpf::abi::{Counter, Event, RuleCounter, Schedule, Settings, View, ViewKey};

use crate::compile::tables::Compiled;

/// Where an instance lives.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory on a bpffs that holds this instance's pins.
    pub bpffs: PathBuf,
    /// Refuse generic mode.
    pub require_native: bool,
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

/// What went wrong, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct Error {
    /// What was being done.
    pub what: String,
    /// Why it failed.
    #[source]
    pub source: anyhow::Error,
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

/// The data plane of one instance.
#[derive(Debug)]
pub struct Dataplane {
    options: Options,
}

impl Dataplane {
    /// Adopts the pinned programs, maps and links of this instance, or loads and pins new ones.
    pub fn open(options: Options) -> Result<Self, Error> {
        Ok(Self { options })
    }
    /// Adopts what is pinned; an error if nothing is. For commands that work without the agent.
    pub fn adopt(options: Options) -> Result<Self, Error> {
        Ok(Self { options })
    }
    /// Whether `open` found pinned state rather than loading anew.
    pub fn adopted(&self) -> bool {
        false
    }
    /// Stages `tables`, reads them back, runs `canaries`, then switches. On error nothing has changed.
    pub fn apply(&mut self, _tables: &Compiled, _schedules: &[Schedule]) -> Result<Switched, Error> {
        Err(Error { what: self.options.bpffs.display().to_string(), source: anyhow::anyhow!("not built") })
    }
    /// Replaces the windows of the active generation as a whole.
    pub fn refresh_schedules(&mut self, _schedules: &[Schedule]) -> Result<(), Error> {
        Ok(())
    }
    /// The active generation, 0 for none.
    pub fn generation(&self) -> Result<u32, Error> {
        Ok(0)
    }
    /// Attaches to every interface of `interfaces` (name, id) that exists, replaces what is attached in place,
    /// detaches from others, and puts up or refreshes the nftables guard. Idempotent; called on every netlink change.
    pub async fn attach(&mut self, _interfaces: &[(String, u16)]) -> Result<Vec<InterfaceState>, Error> {
        Ok(Vec::new())
    }
    /// The interfaces as they are in the kernel now.
    pub fn interfaces(&self) -> Result<Vec<InterfaceState>, Error> {
        Ok(Vec::new())
    }
    /// Writes the cut tables and then the cut word (opening: the word first).
    pub fn set_cut(&mut self, _cut: &CutTables) -> Result<(), Error> {
        Ok(())
    }
    /// Writes the management paths.
    pub fn set_management(&mut self, _paths: &[ManagementPath], _interfaces: &[(String, u16)]) -> Result<(), Error> {
        Ok(())
    }
    /// Writes the settings.
    pub fn set_settings(&mut self, _settings: &Settings) -> Result<(), Error> {
        Ok(())
    }
    /// Every counter that is not zero.
    pub fn counters(&self) -> Result<Vec<NetCounter>, Error> {
        Ok(Vec::new())
    }
    /// Every rule counter that is not zero, by stable slot.
    pub fn rule_counters(&self) -> Result<Vec<(u32, RuleCounter)>, Error> {
        Ok(Vec::new())
    }
    /// Packets the nftables guard dropped, by its counter's name.
    pub fn guard_counters(&self) -> Result<Vec<(String, u64, u64)>, Error> {
        Ok(Vec::new())
    }
    /// Events lost because the ring was full or the rate limit was reached.
    pub fn lost_events(&self) -> Result<u64, Error> {
        Ok(0)
    }
    /// Events waiting in the ring; never blocks. `events_fd` becomes readable when there are some.
    pub fn drain_events(&mut self, _sink: &mut dyn FnMut(&Event)) -> Result<(), Error> {
        Ok(())
    }
    /// Live views.
    pub fn views(&self) -> Result<Vec<(ViewKey, View)>, Error> {
        Ok(Vec::new())
    }
    /// How full the tables are.
    pub fn fill(&self) -> Result<Vec<Fill>, Error> {
        Ok(Vec::new())
    }
    /// Opens the gate: removes links, pins and the guard.
    pub async fn detach(self) -> Result<(), Error> {
        Ok(())
    }
}
