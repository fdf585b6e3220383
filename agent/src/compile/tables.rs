//! What `compile` produces: every table of one generation as plain data, ready to be staged.

use std::sync::{Arc, OnceLock};

use sekimori_ebpf::abi::{
    AddrEntry, DeviceEntry, GenConfig, LimitEntry, MacEntry, MacKey, NetEntry, PortKey, RuleEntry, RuleSet,
};

use super::{detection::Watching, error::CompileError, space::Space};

/// The tables of one generation. Vectors indexed by id hold an entry for every id from 0.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Content hash of the policy: names the revision together with its number.
    pub hash: [u8; 32],
    /// `generation` is left 0 here; staging fills it in.
    pub config: GenConfig,
    /// Every interface name the policy mentions, with its stable id.
    pub interfaces: Vec<(String, u16)>,
    /// (interface id, tags) → net id.
    pub ports: Vec<(PortKey, u16)>,
    /// By net id, 256 entries; entry [`sekimori_ebpf::abi::NET_BOX`] is the box.
    pub nets: Vec<NetEntry>,
    /// Stable ids by name, for metrics and the command line.
    pub net_names: Vec<(String, u16)>,
    /// Prefix length in the 128-bit space (IPv4 `/n` is `96 + n`), address, entry; every address has a match
    /// (a `::/0` and a `::ffff:0:0/96` entry always exist).
    pub addrs: Vec<(u32, [u8; 16], AddrEntry)>,
    /// MAC table.
    pub macs: Vec<(MacKey, MacEntry)>,
    /// Registered address → device number.
    pub bindings: Vec<([u8; 16], u32)>,
    /// By device number; 0 is "no device".
    pub devices: Vec<DeviceEntry>,
    /// Device names by number.
    pub device_names: Vec<String>,
    /// Packed service table, `SERVICE_WORDS` words of four set ids, lowest 16 bits first.
    pub services: Vec<u64>,
    /// Rule sets by set id; 0 is the empty set.
    pub sets: Vec<RuleSet>,
    /// Rules in document order (the index is the bit in the sets).
    pub rules: Vec<RuleEntry>,
    /// What rules limit, in the same order; empty if none does.
    pub limits: Vec<LimitEntry>,
    /// Rule ids, in the same order.
    pub rule_ids: Vec<String>,
    /// What each schedule means, by schedule id; 0 is unused. Turned into windows by `schedule::windows`.
    pub schedules: Vec<super::schedule::Plan>,
    /// What inside hosts are watched for.
    pub watching: Watching,
    /// `addrs` as the data plane looks them up, once somebody asked; clones share it.
    pub laid_out: Arc<OnceLock<Space>>,
}

impl Compiled {
    /// Without the prefixes, which are most of it and needed by nobody who only names and counts.
    pub fn lean(mut self) -> Self {
        self.addrs = Vec::new();
        self.laid_out = Arc::default();
        self
    }

    /// `addrs` as the data plane looks them up: laid out at the first call.
    ///
    /// # Errors
    /// They do not fit, which `compile` rules out.
    pub fn space(&self) -> Result<&Space, CompileError> {
        if let Some(space) = self.laid_out.get() {
            return Ok(space);
        }
        let space = Space::build(&self.addrs)?;
        Ok(self.laid_out.get_or_init(|| space))
    }
}
