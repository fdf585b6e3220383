//! Classes: every distinct thing that prefixes say gets a number.

use std::collections::HashMap;

use sekimori_ebpf::{abi::AddrEntry, classify::NO_CLASS};

use crate::{compile::error::CompileError, dataplane::maps::unmapped};

/// Answers kept close: policies say few things over and over.
const CLOSE: usize = 1024;

/// Numbers in order of appearance.
#[derive(Debug)]
pub(super) struct Classes {
    list: Vec<AddrEntry>,
    numbers: HashMap<u64, u16>,
    /// By a hash of the word: the word and its number plus one.
    close: Vec<(u64, u32)>,
}

/// An entry as it lies in memory.
pub(super) fn word(entry: AddrEntry) -> u64 {
    super::packed(&[entry.owner, entry.src_set, entry.dst_set, entry.flags])
}

impl Classes {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), numbers: HashMap::new(), close: vec![(0, 0); CLOSE] }
    }

    /// The number of what `entry` says. `addr` is what wants it, for the error.
    pub(super) fn of(&mut self, entry: AddrEntry, addr: &[u8; 16]) -> Result<u16, CompileError> {
        let word = word(entry);
        let place = (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize;
        let (known, number) = self.close[place];
        if known == word && number != 0 {
            return Ok((number - 1) as u16);
        }
        let next = self.list.len();
        let number = *self.numbers.entry(word).or_insert(next as u16);
        if usize::from(number) == next {
            if next >= NO_CLASS as usize {
                return Err(CompileError::Classes { at: unmapped(*addr) });
            }
            self.list.push(entry);
        }
        self.close[place] = (word, u32::from(number) + 1);
        Ok(number)
    }

    /// What each number stands for.
    pub(super) fn into_list(self) -> Vec<AddrEntry> {
        self.list
    }
}
