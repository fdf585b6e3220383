//! The prefix table as the data plane looks it up: lines of the table in [`sekimori_ebpf::classify`].
//!
//! Prefixes that hold one another become a sequence of segments (`segments`); each family lays its segments out
//! (`v4`, `v6`). All of it is linear in the number of prefixes. A /24 gets lines of its own only if a prefix longer than
//! /24 lies in it, and an IPv6 prefix adds at most two keys and one line, so what [`MAX_PREFIXES`] prefixes need is bounded:
//! see [`MAX_LINES`].
//!
//! [`MAX_PREFIXES`]: sekimori_ebpf::abi::MAX_PREFIXES

mod classes;
mod segments;
mod v4;
mod v6;

#[cfg(test)]
mod tests;

use sekimori_ebpf::{
    abi::AddrEntry,
    classify::{CLASSES, FREE, Line, MAX_LINES},
};

use self::classes::Classes;
use super::error::CompileError;

/// A prefix of the table: length in the 128-bit space, address, what it says.
pub type Prefix = (u32, [u8; 16], AddrEntry);

/// `::ffff:0:0/96`, where IPv4 lives in the 128-bit space.
const MAPPED: u128 = 0xffff;

/// The lines of one generation's table.
#[derive(Debug, Clone)]
pub struct Space {
    lines: Vec<Line>,
}

/// An error if the prefixes are of more classes than a table holds.
///
/// # Errors
/// [`CompileError::Classes`].
pub fn fits(prefixes: &[Prefix]) -> Result<(), CompileError> {
    let mut classes = Classes::new();
    prefixes.iter().try_for_each(|(_, addr, entry)| classes.of(*entry, addr).map(|_| ()))
}

/// What the classes of a table of these prefixes stand for, by number.
///
/// # Errors
/// [`CompileError::Classes`].
pub fn classes(prefixes: &[Prefix]) -> Result<Vec<AddrEntry>, CompileError> {
    let mut classes = Classes::new();
    prefixes.iter().try_for_each(|(_, addr, entry)| classes.of(*entry, addr).map(|_| ()))?;
    Ok(classes.into_list())
}

/// The line of the table that has class `number`, and which it is.
pub fn class_line(classes: &[AddrEntry], number: u16) -> (u32, Line) {
    let first = usize::from(number) & !7;
    let mut line = Line::default();
    for (entry, word) in classes[first..].iter().zip(&mut line.words) {
        *word = classes::word(*entry);
    }
    (CLASSES + (u32::from(number) >> 3), line)
}

impl Space {
    /// Lays the prefixes out. They are sorted so that each follows those that hold it, IPv4 behind `::`, and the first of
    /// each family holds all of it.
    ///
    /// # Errors
    /// [`CompileError::Classes`]; [`CompileError::Space`] beyond what [`MAX_LINES`] allows for.
    pub fn build(prefixes: &[Prefix]) -> Result<Self, CompileError> {
        let mut classes = Classes::new();
        let mut lines = vec![Line::default(); FREE as usize];
        let is_v4 = |(len, addr, _): &Prefix| *len >= 96 && u128::from_be_bytes(*addr) >> 32 == MAPPED;
        let (six, four) = prefixes.split_at(prefixes.iter().position(is_v4).unwrap_or(prefixes.len()));

        let mut v6 = v6::Builder::new();
        segments::walk(six, &mut classes, |start, class| v6.segment(&mut lines, start, class))?;
        v6.finish(&mut lines)?;
        let mut v4 = v4::Builder::new();
        segments::walk(four, &mut classes, |start, class| v4.segment(&mut lines, start as u32, class))?;
        v4.finish(&mut lines)?;

        for (entries, line) in classes.into_list().chunks(8).zip(&mut lines[CLASSES as usize..]) {
            for (entry, word) in entries.iter().zip(&mut line.words) {
                *word = classes::word(*entry);
            }
        }
        Ok(Self { lines })
    }

    /// The line with this index.
    pub fn line(&self, index: u32) -> Option<&Line> {
        self.lines.get(index as usize)
    }

    /// Replaces a line.
    pub fn set_line(&mut self, index: u32, line: Line) {
        if let Some(place) = self.lines.get_mut(index as usize) {
            *place = line;
        }
    }

    /// All of them.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

/// The index the next line will get.
fn next(lines: &[Line]) -> Result<u32, CompileError> {
    let index = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    if index < MAX_LINES { Ok(index) } else { Err(CompileError::Space) }
}

/// Four 16-bit numbers as they lie in memory.
fn packed(numbers: &[u16]) -> u64 {
    numbers.iter().rev().fold(0, |word, number| word << 16 | u64::from(*number))
}
