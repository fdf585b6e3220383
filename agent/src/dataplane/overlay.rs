//! Changing the tables in force: entries of the overlay, the classes they name, the rule sets those name.

use aya::maps::{Array, LpmTrie, MapData};
use sekimori_ebpf::{
    abi::{Active, OverlayEntry, RuleSet},
    classify::Line,
};

use super::{
    error::{Error, While},
    maps::{self, Addr},
};
use crate::compile::members::Change;

/// Tables in force that can be written to.
pub struct Handles {
    /// For its classes.
    pub space: Array<MapData, Line>,
    /// For new ones.
    pub sets: Array<MapData, RuleSet>,
    /// The overlay.
    pub overlay: LpmTrie<MapData, Addr, OverlayEntry>,
}

impl Handles {
    /// Writes a change that comes into force with generation `from`. Until then no packet sees any of it: sets and classes
    /// are new, and entries say what held before.
    pub fn write(&mut self, change: &Change, from: u32) -> Result<(), Error> {
        for (id, set) in &change.sets {
            self.sets.set(u32::from(*id), set, 0).doing("write a rule set")?;
        }
        for (index, line) in &change.lines {
            self.space.set(*index, line, 0).doing("write a class")?;
        }
        for entry in &change.entries {
            let value = OverlayEntry { from, after: entry.after, before: entry.before };
            let key = maps::prefix_key(entry.len, entry.addr);
            self.overlay.insert(&key, value, 0).doing("write the overlay")?;
        }
        Ok(())
    }
}

/// The generation that comes next with the same tables; `None` if the numbers end here.
pub fn next(active: Active) -> Option<u32> {
    // The parity names the slot and must stay.
    active.generation.checked_add(2).filter(|_| active.generation != 0)
}
