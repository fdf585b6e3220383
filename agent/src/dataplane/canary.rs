//! Canary packets: before a switch, frames whose verdict is known run through the real programs over the staged tables.

use sekimori_ebpf::abi::Settings;

use super::{
    error::Error,
    private::{CameFrom, Instance},
    stage::Staged,
};
use crate::compile::tables::Compiled;

/// Views a canary run needs room for.
const ROOM: u32 = 1024;

/// One frame and what must become of it.
#[derive(Debug, Clone)]
pub struct Canary {
    /// What to call it in an error.
    pub name: String,
    /// The frame, from the destination MAC on.
    pub frame: Vec<u8>,
    /// Interface id.
    pub iface: u16,
    /// It is the box's own packet leaving there, rather than one coming in.
    pub from_box: bool,
    /// `CLOCK_BOOTTIME` nanoseconds at which it is judged.
    pub now: u64,
    /// Must it pass?
    pub pass: bool,
}

/// Runs every canary from a clean slate. Tables that misjudge one never go live.
pub fn run(
    cache: &mut Option<Instance>,
    staged: &Staged,
    generation: u32,
    tables: &Compiled,
    settings: &Settings,
    canaries: &[Canary],
) -> Result<(), Error> {
    if canaries.is_empty() {
        return Ok(());
    }
    let instance = match cache {
        Some(instance) => instance,
        None => cache.insert(Instance::load(ROOM)?),
    };
    instance.settings(&Settings { adopt_until: 0, event_rate: 0, ..*settings })?;
    instance.adopt(staged, generation, tables)?;
    for canary in canaries {
        instance.forget()?;
        let judged = if canary.from_box {
            instance.egress(&canary.frame, canary.iface, CameFrom::Box, canary.now)?
        } else {
            instance.ingress(&canary.frame, canary.iface, canary.now)?
        };
        if judged.passes() != canary.pass {
            return Err(Error::new(
                format!("run the canary \"{}\"", canary.name),
                format!(
                    "it must {} and would be judged {} ({}); the running policy stays",
                    if canary.pass { "pass" } else { "be dropped" },
                    judged.reason.code(),
                    judged.reason.en(),
                ),
            ));
        }
    }
    Ok(())
}
