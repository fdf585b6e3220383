//! IPv4 segments to chunks and leaves.

use sekimori_ebpf::classify::{
    CHUNKS, Line,
    v4::{Chunk, DENSE, LEAF_RUNS, WIDE, WIDE_RUNS},
};

use super::{next, packed};
use crate::compile::error::CompileError;

/// Addresses of a chunk (a /18).
const CHUNK_BITS: u32 = 14;
/// /24s of a chunk.
const BLOCKS: u32 = 64;
/// Addresses of a /24.
const BLOCK: u32 = 256;
/// /24s of one class, but not the chunk's, that get a leaf each; if there are more, the chunk gets a wide line. It costs the
/// leaves one line more to look up, and at most so many lines a chunk are spent where a few bits would do.
const LEAVES_OF_ONE: u32 = 4;

/// A run of whole /24s of one class.
struct Run {
    first: u32,
    count: u32,
    class: u16,
}

/// Takes segments in ascending order.
pub(super) struct Builder {
    /// The chunk being collected.
    chunk: u32,
    /// Its segments: first address in the chunk, class.
    segments: Vec<(u32, u16)>,
    runs: Vec<Run>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { chunk: 0, segments: Vec::new(), runs: Vec::new() }
    }

    /// From `start` on, addresses are of `class`. The first segment starts at 0.
    pub(super) fn segment(&mut self, lines: &mut Vec<Line>, start: u32, class: u16) -> Result<(), CompileError> {
        let chunk = start >> CHUNK_BITS;
        let offset = start & ((1 << CHUNK_BITS) - 1);
        if chunk != self.chunk {
            let before = self.close(lines)?;
            for between in self.chunk + 1..chunk {
                put(lines, between, Chunk { class: before, ..Chunk::default() });
            }
            self.chunk = chunk;
            if offset != 0 {
                self.segments.push((0, before));
            }
        }
        self.segments.push((offset, class));
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self, lines: &mut Vec<Line>) -> Result<(), CompileError> {
        let last = self.close(lines)?;
        for after in self.chunk + 1..1 << (32 - CHUNK_BITS) {
            put(lines, after, Chunk { class: last, ..Chunk::default() });
        }
        Ok(())
    }

    /// Writes the present chunk; the class at its end.
    fn close(&mut self, lines: &mut Vec<Line>) -> Result<u16, CompileError> {
        let segments = std::mem::take(&mut self.segments);
        let last = segments.last().map_or(0, |&(_, class)| class);
        let chunk = match segments.as_slice() {
            [] | [_] => Chunk { class: last, ..Chunk::default() },
            several => self.lay_out(lines, several)?,
        };
        put(lines, self.chunk, chunk);
        self.segments = segments;
        self.segments.clear();
        Ok(last)
    }

    fn lay_out(&mut self, lines: &mut Vec<Line>, segments: &[(u32, u16)]) -> Result<Chunk, CompileError> {
        let mixed = self.split(segments);
        let whole = BLOCKS - mixed.count_ones();
        let class = self.most_common(segments);
        let others: u64 = self.runs.iter().filter(|run| run.class != class).map(|run| bits(run.first, run.count)).sum();
        if others.count_ones() <= LEAVES_OF_ONE {
            let base = next(lines)?;
            leaves(lines, segments, mixed | others)?;
            return Ok(Chunk { bits: mixed | others, base, class, kind: 0 });
        }
        debug_assert!(whole > LEAVES_OF_ONE, "only whole /24s are others");
        let base = next(lines)?;
        self.wide(lines, mixed)?;
        leaves(lines, segments, mixed)?;
        Ok(Chunk { bits: 0, base, class: 0, kind: WIDE })
    }

    /// Finds the runs of whole /24s; the others as bits.
    fn split(&mut self, segments: &[(u32, u16)]) -> u64 {
        self.runs.clear();
        let (mut mixed, mut block, mut at) = (0, 0, 0);
        while block < BLOCKS {
            let start = block * BLOCK;
            at += segments[at + 1..].iter().take_while(|&&(next, _)| next <= start).count();
            let end = segments.get(at + 1).map_or(BLOCKS * BLOCK, |&(next, _)| next);
            let count = (end - start) / BLOCK;
            if count == 0 {
                mixed |= 1u64 << block;
                block += 1;
            } else {
                self.runs.push(Run { first: block, count, class: segments[at].1 });
                block += count;
            }
        }
        mixed
    }

    /// The class of most whole /24s.
    fn most_common(&self, segments: &[(u32, u16)]) -> u16 {
        let mut counts: Vec<(u16, u32)> = Vec::new();
        for run in &self.runs {
            match counts.iter_mut().find(|(class, _)| *class == run.class) {
                Some((_, count)) => *count += run.count,
                None => counts.push((run.class, run.count)),
            }
        }
        counts.iter().max_by_key(|(_, count)| *count).map_or(segments[0].1, |(class, _)| *class)
    }

    fn wide(&self, lines: &mut Vec<Line>, mixed: u64) -> Result<(), CompileError> {
        let mut starts = 0u64;
        let mut classes: Vec<u16> = Vec::new();
        for run in &self.runs {
            if classes.last() != Some(&run.class) {
                // What is before the first run has leaves, and is never asked for.
                if !classes.is_empty() {
                    starts |= 1 << run.first;
                }
                classes.push(run.class);
            }
        }
        let at = next(lines)?;
        let many = if classes.len() > WIDE_RUNS { at + 1 } else { 0 };
        let base = if many == 0 { at + 1 } else { at + 3 };
        let mut line = Line::default();
        line.words[0] = mixed;
        if many == 0 {
            line.words[1] = starts;
            for (word, classes) in line.words[3..].iter_mut().zip(classes.chunks(4)) {
                *word = packed(classes);
            }
        }
        line.words[2] = u64::from(many) << 32 | u64::from(base);
        lines.push(line);
        if many != 0 {
            let mut each = [0u16; BLOCKS as usize];
            for run in &self.runs {
                each[run.first as usize..(run.first + run.count) as usize].fill(run.class);
            }
            listed(lines, &each);
        }
        Ok(())
    }
}

/// `count` bits from `first` on.
fn bits(first: u32, count: u32) -> u64 {
    (u64::MAX >> (64 - count)) << first
}

fn put(lines: &mut [Line], number: u32, chunk: Chunk) {
    let words = &mut lines[(CHUNKS + number / 4) as usize].words;
    let at = (number % 4) as usize * 2;
    words[at] = chunk.bits;
    words[at + 1] = u64::from(chunk.kind) << 48 | u64::from(chunk.class) << 32 | u64::from(chunk.base);
}

/// A class for each of many, 32 a line.
fn listed(lines: &mut Vec<Line>, classes: &[u16]) {
    for classes in classes.chunks(32) {
        let mut line = Line::default();
        for (word, classes) in line.words.iter_mut().zip(classes.chunks(4)) {
            *word = packed(classes);
        }
        lines.push(line);
    }
}

/// Appends a leaf for each /24 in `wanted`, one after the other, then what they refer to.
fn leaves(lines: &mut Vec<Line>, segments: &[(u32, u16)], wanted: u64) -> Result<(), CompileError> {
    let first = next(lines)?;
    let mut dense: Vec<(u32, usize)> = Vec::new();
    let (mut at, mut left) = (0, wanted);
    while left != 0 {
        let block = left.trailing_zeros();
        left &= left - 1;
        let start = block * BLOCK;
        at += segments[at + 1..].iter().take_while(|&&(next, _)| next <= start).count();
        let runs = 1 + segments[at + 1..].iter().take_while(|&&(next, _)| next < start + BLOCK).count();
        if runs > LEAF_RUNS {
            dense.push((block, at));
        }
        lines.push(leaf(start, &segments[at..at + runs]));
    }
    for (block, at) in dense {
        let line = first + (wanted & (bits(0, block + 1) >> 1)).count_ones();
        lines[line as usize].words[0] = u64::from(next(lines)?);
        let mut each = [0; BLOCK as usize];
        let start = block * BLOCK;
        for (index, &(from, class)) in
            segments[at..].iter().enumerate().take_while(|(_, (from, _))| *from < start + BLOCK)
        {
            let from = if index == 0 { start } else { from };
            each[(from - start) as usize..].fill(class);
        }
        listed(lines, &each);
    }
    Ok(())
}

/// The leaf of the /24 at `start` with these segments; a dense one still without its line.
fn leaf(start: u32, segments: &[(u32, u16)]) -> Line {
    let mut bytes = [0u8; 64];
    if segments.len() > LEAF_RUNS {
        bytes[LEAF_RUNS - 1..LEAF_RUNS + 1].copy_from_slice(&DENSE.to_ne_bytes());
    } else {
        bytes[..LEAF_RUNS - 1].fill(255);
        for (byte, (from, _)) in bytes.iter_mut().zip(&segments[1..]) {
            *byte = (from - start) as u8;
        }
        let last = segments.last().map_or(0, |&(_, class)| class);
        let classes = segments.iter().map(|&(_, class)| class).chain(std::iter::repeat(last));
        for (pair, class) in bytes[LEAF_RUNS + 1..].chunks_mut(2).zip(classes) {
            pair.copy_from_slice(&class.to_ne_bytes());
        }
    }
    let mut line = Line::default();
    for (word, bytes) in line.words.iter_mut().zip(bytes.chunks(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    line
}
