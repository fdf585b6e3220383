//! Records on disk: a tail of small blocks, appended at every walk, and files of large ones, made of the tail.
//!
//! `tail.flows` is what a crash must not cost. Its records are held in memory as well, so that what comes later of the same
//! conversation is merged there; when there are enough of them, or the day is over, they become one block at the end of
//! the newest `YYYYMMDD-NNNNNN.flows`, and the tail begins anew. Blocks are numbered, and those of the tail carry the number
//! their block will have: after a crash between the two steps the tail is recognised as written already.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};

use super::{
    Stats,
    format::{self, Damage, HEADER, Header, MAGIC, Walk},
    record::Record,
};
use crate::record::durable;

/// Name of the tail.
pub const TAIL: &str = "tail.flows";
/// Records that make a block. With the batch that makes it full they just fit a hash table of 32,768 places (at most 7/8 of them
/// are used), which is what a busy agent keeps of memory.
const BLOCK: usize = 24_576;
/// Bytes of tail that make a block, however few records come of it.
const TAIL_BYTES: u64 = 4 << 20;
/// A file is at most this part of what all may take: so much goes at a time when room is needed.
const PARTS: u64 = 32;
/// The least bytes a file may grow to.
const LEAST_FILE: u64 = 64 << 10;
/// Bytes that stay free on the file system: the record of administrators' actions and the cut-offs need room before this.
const RESERVE: u64 = 64 << 20;
/// How often the tail is synced: so much a power cut may cost. The death of the agent costs nothing.
const SYNC_EVERY: Duration = Duration::from_secs(60);

/// Something about a file.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct Error {
    /// Which.
    pub path: PathBuf,
    /// What.
    pub source: io::Error,
}

fn of(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error { path, source }
}

/// A block in a file.
#[derive(Debug, Clone, Copy)]
pub struct BlockAt {
    /// Where it begins.
    pub offset: u64,
    /// What it says of itself.
    pub header: Header,
}

/// The blocks of a file.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// In order.
    pub blocks: Vec<BlockAt>,
    /// Stretches between blocks that are none.
    pub damaged: u64,
    /// Where the last whole block ends.
    pub end: u64,
    /// Bytes behind it.
    pub rest: u64,
}

/// Finds the blocks of a file by their headers. What is no block is skipped up to the next one.
pub fn blocks(file: &mut File) -> io::Result<Blocks> {
    let length = file.metadata()?.len();
    let mut found = Blocks::default();
    let mut at = 0;
    while at < length {
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = [0; HEADER];
        let whole = read_up_to(file, &mut bytes)? == HEADER;
        match Header::read(&bytes) {
            Ok(header) if whole && at + header.block_bytes() <= length => {
                if at > found.end {
                    found.damaged += 1;
                }
                found.blocks.push(BlockAt { offset: at, header });
                at += header.block_bytes();
                found.end = at;
            }
            _ => match next_magic(file, at + 1)? {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    found.rest = length - found.end;
    Ok(found)
}

fn read_up_to(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn next_magic(file: &mut File, from: u64) -> io::Result<Option<u64>> {
    const CHUNK: usize = 1 << 20;
    let mut at = from;
    let mut bytes = vec![0; CHUNK];
    loop {
        file.seek(SeekFrom::Start(at))?;
        let count = read_up_to(file, &mut bytes)?;
        let read = bytes.get(..count).unwrap_or_default();
        if let Some(found) = read.windows(MAGIC.len()).position(|window| window == MAGIC) {
            return Ok(Some(at + found as u64));
        }
        if count < CHUNK {
            return Ok(None);
        }
        at += (count - MAGIC.len()) as u64;
    }
}

/// Bytes of a block behind its header: the names, then the columns.
pub fn read_at(file: &mut File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The files of finished blocks, oldest first.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name != TAIL && name.ends_with(".flows") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A tail as found.
#[derive(Debug, Default)]
pub struct Tail {
    /// Its blocks, in the order they were written.
    pub blocks: Vec<(Header, Vec<Record>)>,
    /// Where the last whole one ends.
    pub end: u64,
    /// Bytes behind it.
    pub rest: u64,
}

/// Reads the tail.
pub fn read_tail(folder: &Path) -> io::Result<Tail> {
    let bytes = match fs::read(folder.join(TAIL)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut tail = Tail::default();
    let mut rest = bytes.as_slice();
    while let Ok((header, records)) = format::decode(rest) {
        tail.blocks.push((header, records));
        tail.end += header.block_bytes();
        rest = usize::try_from(header.block_bytes()).ok().and_then(|length| rest.get(length..)).unwrap_or_default();
    }
    tail.rest = rest.len() as u64;
    Ok(tail)
}

/// Records by identity: what comes later of the same takes the place of what came before.
pub fn merged(records: impl IntoIterator<Item = Record>) -> HashMap<u64, Record> {
    let mut all = HashMap::new();
    merge(&mut all, records);
    all
}

fn merge(all: &mut HashMap<u64, Record>, records: impl IntoIterator<Item = Record>) {
    for record in records {
        match all.entry(record.identity()) {
            Entry::Occupied(mut known) => known.get_mut().merge(record),
            Entry::Vacant(free) => {
                free.insert(record);
            }
        }
    }
}

/// One file of finished blocks.
#[derive(Debug, Clone)]
struct Kept {
    path: PathBuf,
    bytes: u64,
    records: u64,
    /// Begin of the earliest record.
    oldest: i64,
    /// When its first and its last block were finished, milliseconds of Unix time.
    finished: (i64, i64),
}

/// See the module documentation. There is one an instance.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    limit: u64,
    files: Vec<Kept>,
    tail: File,
    tail_bytes: u64,
    /// The file does not hold what memory holds: it is written anew as a whole.
    tail_stale: bool,
    open: HashMap<u64, Record>,
    /// Number of the block the tail will become.
    number: u64,
    walk: Walk,
    began: i64,
    synced: Instant,
    torn: u64,
    damaged: u64,
    lost: u64,
    reserve: u64,
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is in the tail.
    Tail,
    /// The tail became a block: what comes later is no longer merged with what came before.
    Sealed,
}

impl Store {
    /// Opens the records in `folder`, which is made if need be. What a crash left half written at the ends is cut off;
    /// [`Store::stats`] says how much.
    pub fn open(folder: &Path, limit: u64) -> Result<Self, Error> {
        if !folder.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(of(folder))?;
        }
        let (mut kept, mut torn, mut damaged, mut number, mut walk) = (Vec::new(), 0, 0, 0, Walk::default());
        let paths = files(folder).map_err(of(folder))?;
        let newest = paths.last().cloned();
        for path in paths {
            let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(of(&path))?;
            let mut found = blocks(&mut file).map_err(of(&path))?;
            if newest.as_ref() == Some(&path) {
                // Only the block that was being written can be half there: its length may be on disk before its bytes.
                if let Some(last) = found.blocks.last().copied()
                    && whole(&mut file, &last).map_err(of(&path))?.is_err()
                {
                    found.blocks.pop();
                    found.rest += found.end - last.offset;
                    found.end = last.offset;
                }
                if found.rest > 0 {
                    tracing::error!(path = %path.display(), bytes = found.rest, "a crash left half a block; it is cut off");
                    file.set_len(found.end).and_then(|()| file.sync_all()).map_err(of(&path))?;
                    torn += found.rest;
                    found.rest = 0;
                }
            }
            let holes = found.damaged + u64::from(found.rest > 0);
            if holes > 0 {
                tracing::error!(path = %path.display(), holes, "flow records are damaged; what is whole is kept");
                damaged += holes;
            }
            if let Some(last) = found.blocks.last() {
                number = number.max(last.header.number);
                walk = last.header.walk;
            }
            kept.push(Kept::of(path, &found));
        }
        let tail_path = folder.join(TAIL);
        let Tail { blocks, end, rest } = read_tail(folder).map_err(of(&tail_path))?;
        let tail = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&tail_path)
            .map_err(of(&tail_path))?;
        if rest > 0 {
            tracing::error!(path = %tail_path.display(), bytes = rest, "a crash left half a block; it is cut off");
            tail.set_len(end).map_err(of(&tail_path))?;
            torn += rest;
        }
        let now = Timestamp::now().as_millisecond();
        let mut store = Self {
            folder: folder.to_path_buf(),
            limit,
            files: kept,
            tail,
            tail_bytes: end,
            tail_stale: false,
            open: HashMap::new(),
            number: number + 1,
            walk,
            began: now,
            synced: Instant::now(),
            torn,
            damaged,
            lost: 0,
            reserve: RESERVE,
        };
        for (header, records) in blocks {
            if header.number < store.number {
                // The block made of it was finished, and only the tail not yet emptied.
                store.tail_stale = true;
                continue;
            }
            store.walk = header.walk;
            merge(&mut store.open, records);
        }
        store.began = store.open.values().map(|record| record.first).min().unwrap_or(now);
        if store.tail_stale && store.open.is_empty() {
            store.empty_tail()?;
        }
        store.make_room(0);
        Ok(store)
    }

    /// Where the last walk that is on disk stood.
    pub fn walk(&self) -> Walk {
        self.walk
    }

    /// Adds what a walk found. An error loses nothing yet: records stay in memory and are tried again with the next ones,
    /// as long as there is room for them; what then goes is counted as lost.
    pub fn append(&mut self, mut records: Vec<Record>, walk: Walk) -> Result<Appended, Error> {
        self.walk = walk;
        let day_over = !self.open.is_empty() && day(self.began) != day(Timestamp::now().as_millisecond());
        if records.is_empty() && !self.tail_stale && !day_over {
            return Ok(Appended::Tail);
        }
        let written = if self.tail_stale { Ok(()) } else { self.write_tail(&mut records) };
        merge(&mut self.open, records);
        if self.open.len() >= BLOCK || self.tail_bytes >= TAIL_BYTES.min(self.file_most()) || day_over {
            let sealed = self.seal();
            if sealed.is_err() && self.open.len() >= 2 * BLOCK {
                self.lost += self.open.len() as u64;
                self.open.clear();
                self.tail_stale = true;
            }
            return sealed.map(|()| Appended::Sealed);
        }
        let result = written.and_then(|()| if self.tail_stale { self.rewrite_tail() } else { Ok(()) });
        self.tail_stale |= result.is_err();
        result?;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(Appended::Tail)
    }

    /// Makes what was appended survive a power cut.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.synced = Instant::now();
        self.tail.sync_data().map_err(of(&self.folder.join(TAIL)))
    }

    fn write_tail(&mut self, records: &mut [Record]) -> Result<(), Error> {
        let path = self.folder.join(TAIL);
        for chunk in records.chunks_mut(format::MAX_RECORDS) {
            let block = format::encode(chunk, self.number, self.walk).map_err(of(&path))?;
            if !self.make_room(block.len() as u64) {
                return Err(of(&path)(no_room()));
            }
            // Half a block in the middle would hide all that follows it.
            if let Err(error) = self.tail.write_all(&block) {
                let _ = self.tail.set_len(self.tail_bytes);
                return Err(of(&path)(error));
            }
            self.tail_bytes += block.len() as u64;
        }
        Ok(())
    }

    fn rewrite_tail(&mut self) -> Result<(), Error> {
        self.empty_tail()?;
        self.tail_stale = true;
        let mut all: Vec<Record> = self.open.values().cloned().collect();
        self.write_tail(&mut all)?;
        self.tail_stale = false;
        Ok(())
    }

    fn empty_tail(&mut self) -> Result<(), Error> {
        self.tail.set_len(0).map_err(of(&self.folder.join(TAIL)))?;
        self.tail_bytes = 0;
        self.tail_stale = false;
        Ok(())
    }

    /// The tail becomes a block.
    fn seal(&mut self) -> Result<(), Error> {
        let mut all: Vec<Record> = self.open.values().cloned().collect();
        for chunk in all.chunks_mut(format::MAX_RECORDS) {
            let block = format::encode(chunk, self.number, self.walk).map_err(of(&self.folder))?;
            if !self.make_room(block.len() as u64) {
                return Err(of(&self.folder)(no_room()));
            }
            self.finish(&block)?;
            self.number += 1;
        }
        // Its room goes as well: it may be night.
        self.open = HashMap::new();
        self.began = Timestamp::now().as_millisecond();
        // Until it is empty its blocks have the number of one that exists, so nobody reads them.
        self.tail_stale = true;
        self.empty_tail()?;
        self.make_room(0);
        Ok(())
    }

    /// Appends a finished block to the newest file, or to a new one.
    fn finish(&mut self, block: &[u8]) -> Result<(), Error> {
        let today = day(Timestamp::now().as_millisecond());
        let most = self.file_most();
        // A later day's is right as well: the clock went back.
        let fits = |kept: &&Kept| name_of(&kept.path) >= today && kept.bytes + block.len() as u64 <= most;
        let (path, before) = match self.files.last().filter(fits) {
            Some(kept) => (kept.path.clone(), kept.bytes),
            None => (self.new_file(&today), 0),
        };
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(of(&path))?;
        let written = file.write_all(block).and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = file.set_len(before);
            return Err(of(&path)(error));
        }
        if before == 0 {
            durable::sync_parent(&path).map_err(of(&path))?;
        }
        let header = Header::read(block).map_err(|damage| of(&path)(io::Error::other(damage)))?;
        let found = Blocks { blocks: vec![BlockAt { offset: before, header }], ..Blocks::default() };
        let mut added = Kept::of(path, &found);
        match self.files.last_mut().filter(|kept| kept.path == added.path) {
            Some(kept) => {
                kept.bytes += block.len() as u64;
                kept.records += added.records;
                kept.oldest = kept.oldest.min(added.oldest);
                kept.finished.1 = added.finished.1;
            }
            None => {
                added.bytes = block.len() as u64;
                self.files.push(added);
            }
        }
        Ok(())
    }

    fn new_file(&self, today: &str) -> PathBuf {
        // Behind the newest also if the clock went back: the order of names is the order of records.
        let last = self.files.last().map(|kept| name_of(&kept.path)).unwrap_or_default();
        let (last_day, last_number) = last.trim_end_matches(".flows").split_once('-').unwrap_or_default();
        let day = if last_day > today { last_day } else { today };
        let number = if last_day == day { last_number.parse::<u32>().unwrap_or(0) + 1 } else { 0 };
        self.folder.join(format!("{day}-{number:06}.flows"))
    }

    fn file_most(&self) -> u64 {
        (self.limit / PARTS).max(LEAST_FILE)
    }

    fn total(&self) -> u64 {
        self.files.iter().map(|kept| kept.bytes).sum::<u64>() + self.tail_bytes
    }

    /// Removes the oldest files until `more` bytes fit. Whether they do.
    fn make_room(&mut self, more: u64) -> bool {
        loop {
            let free = free_bytes(&self.folder);
            let scarce = free.is_some_and(|free| free < self.reserve + more);
            if self.total() + more <= self.limit && !scarce {
                return true;
            }
            let Some(oldest) = self.files.first() else {
                return !scarce;
            };
            if let Err(error) = fs::remove_file(&oldest.path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::error!(path = %oldest.path.display(), %error, "the oldest flow records cannot be removed");
                return false;
            }
            tracing::info!(path = %oldest.path.display(), scarce, "the oldest flow records made room");
            self.files.remove(0);
        }
    }

    /// Into the statistics, the parts of it that are this room's.
    pub fn stats(&self, stats: &mut Stats) {
        stats.bytes = self.total();
        stats.limit = self.limit;
        stats.records = self.files.iter().map(|kept| kept.records).sum::<u64>() + self.open.len() as u64;
        let oldest = self.files.iter().filter(|kept| kept.records > 0).map(|kept| kept.oldest);
        stats.oldest = oldest.chain(self.open.values().map(|record| record.first)).min();
        stats.fit_days = self.fit_days();
        stats.lost = self.lost;
        stats.torn = self.torn;
        stats.damaged = self.damaged;
    }

    /// From the rate of the blocks there are; before there are two, from the records that wait to become one.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn fit_days(&self) -> Option<f64> {
        const DAY: f64 = 86_400_000.0;
        /// Less says nothing.
        const LEAST: i64 = 600_000;
        /// A usual size, for want of a measured one.
        const RECORD: f64 = 12.0;
        let span = |from: i64, to: i64| Some((to - from) as f64 / DAY).filter(|_| to - from >= LEAST);
        let mut full = self.files.iter().filter(|kept| kept.records > 0);
        let first = full.next();
        if let Some((first, last)) = first.zip(full.next_back().or(first))
            && let Some(days) = span(first.finished.0, last.finished.1)
        {
            let bytes: u64 = self.files.iter().map(|kept| kept.bytes).sum();
            return Some(self.limit as f64 / (bytes.max(1) as f64 / days));
        }
        let days = span(self.began, Timestamp::now().as_millisecond())?;
        let bytes = self.open.len().max(1) as f64 * RECORD;
        Some(self.limit as f64 / (bytes / days))
    }
}

impl Kept {
    fn of(path: PathBuf, found: &Blocks) -> Self {
        let wall = |block: &BlockAt| {
            let at = i64::try_from(block.header.walk.at / 1_000_000).unwrap_or(i64::MAX);
            at.saturating_add(block.header.walk.offset)
        };
        Self {
            path,
            bytes: found.end + found.rest,
            records: found.blocks.iter().map(|block| u64::from(block.header.records)).sum(),
            oldest: found.blocks.iter().map(|block| block.header.first).min().unwrap_or(i64::MAX),
            finished: (found.blocks.first().map_or(0, wall), found.blocks.last().map_or(0, wall)),
        }
    }
}

fn no_room() -> io::Error {
    io::Error::new(
        io::ErrorKind::StorageFull,
        format!(
            "less than {} MiB are free on this file system, and there are no older flow records to remove",
            RESERVE >> 20
        ),
    )
}

/// Whether a block's bytes are what its header says.
fn whole(file: &mut File, block: &BlockAt) -> io::Result<Result<(), Damage>> {
    let length = usize::try_from(block.header.block_bytes()).map_err(io::Error::other)?;
    Ok(format::decode(&read_at(file, block.offset, length)?).map(drop))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `20261128`, UTC.
fn day(milliseconds: i64) -> String {
    let at = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).strftime("%Y%m%d").to_string()
}

/// Bytes that root may still write; `None` if the file system does not say.
fn free_bytes(folder: &Path) -> Option<u64> {
    let status = nix::sys::statvfs::statvfs(folder).ok()?;
    Some(status.blocks_available().saturating_mul(status.fragment_size()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::flows::{
        query::{self, Filter},
        record::Kind,
        testing::Day,
    };

    const ROOM: u64 = 64 << 20;

    fn at(number: u64) -> Walk {
        Walk { boot: [1; 16], at: number * 1_000_000_000, offset: 1_795_000_000_000, opened: number }
    }

    fn stats(store: &Store) -> Stats {
        let mut stats = Stats::default();
        store.stats(&mut stats);
        stats
    }

    fn all(folder: &Path) -> Vec<Record> {
        let mut found = Vec::new();
        query::list(folder, &Filter::default(), usize::MAX, None)
            .unwrap()
            .records
            .into_iter()
            .for_each(|r| found.push(r));
        found
    }

    #[test]
    fn records_outlive_the_store_and_merge_across_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("flows");
        let mut day = Day::new(1);
        let began = Record { kind: Kind::Began, ..day.conversation() };
        let mut store = Store::open(&folder, ROOM).unwrap();
        assert_eq!(store.append(vec![began.clone()], at(1)).unwrap(), Appended::Tail);
        drop(store);
        let mut store = Store::open(&folder, ROOM).unwrap();
        assert_eq!(store.walk(), at(1));
        let ended = Record { kind: Kind::Ended, last: began.first + 9_000, ..began.clone() };
        store.append(vec![ended.clone()], at(2)).unwrap();
        let whole = Record { kind: Kind::Whole, ..ended };
        assert_eq!(all(&folder), std::slice::from_ref(&whole));
        store.seal().unwrap();
        assert_eq!(all(&folder), std::slice::from_ref(&whole));
        assert_eq!(fs::metadata(folder.join(TAIL)).unwrap().len(), 0);
        drop(store);
        let store = Store::open(&folder, ROOM).unwrap();
        assert_eq!((store.walk(), stats(&store).records), (at(2), 1));
    }

    #[test]
    fn a_crash_between_block_and_tail_doubles_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), ROOM).unwrap();
        let records = Day::new(2).records(100);
        store.append(records.clone(), at(1)).unwrap();
        let tail = fs::read(dir.path().join(TAIL)).unwrap();
        store.seal().unwrap();
        drop(store);
        fs::write(dir.path().join(TAIL), &tail).unwrap();
        assert_eq!(all(dir.path()).len(), 100);
        let store = Store::open(dir.path(), ROOM).unwrap();
        assert_eq!(stats(&store).records, 100);
        assert_eq!(all(dir.path()).len(), 100);
    }

    #[test]
    fn half_a_block_is_cut_off_and_said_wherever_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), ROOM).unwrap();
        let mut day = Day::new(3);
        store.append(day.records(50), at(1)).unwrap();
        store.seal().unwrap();
        store.append(day.records(20), at(2)).unwrap();
        let whole_tail = fs::metadata(dir.path().join(TAIL)).unwrap().len();
        store.append(day.records(20), at(3)).unwrap();
        let tail = fs::read(dir.path().join(TAIL)).unwrap();
        let finished = files(dir.path()).unwrap();
        let block = fs::read(&finished[0]).unwrap();
        drop(store);
        for end in (whole_tail as usize + 1..tail.len()).step_by(7) {
            fs::write(dir.path().join(TAIL), &tail[..end]).unwrap();
            let store = Store::open(dir.path(), ROOM).unwrap();
            let found = stats(&store);
            assert_eq!((found.records, found.torn), (70, (end as u64) - whole_tail), "cut at {end}");
        }
        // A second block in the file of finished ones, half written or full of zeroes.
        fs::write(dir.path().join(TAIL), b"").unwrap();
        let header = Header::read(&block).unwrap();
        assert_eq!(header.records, 50);
        let mut zeroes = block[..HEADER].to_vec();
        zeroes.resize(block.len(), 0);
        for half in [&block[..HEADER - 1], &block[..HEADER + 3], &block[..block.len() - 1], &zeroes] {
            fs::write(&finished[0], [&block, half].concat()).unwrap();
            let store = Store::open(dir.path(), ROOM).unwrap();
            let found = stats(&store);
            assert_eq!((found.records, found.torn, found.damaged), (50, half.len() as u64, 0));
            assert_eq!(fs::read(&finished[0]).unwrap(), block);
        }
    }

    #[test]
    fn damage_in_the_middle_costs_what_it_hit_and_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), ROOM).unwrap();
        let mut day = Day::new(4);
        for turn in 0..3 {
            store.append(day.records(40), at(turn)).unwrap();
            store.seal().unwrap();
        }
        drop(store);
        let path = files(dir.path()).unwrap().remove(0);
        let bytes = fs::read(&path).unwrap();
        let second = blocks(&mut File::open(&path).unwrap()).unwrap().blocks[1].offset as usize;
        for hit in [second + 3, second + 30, second + HEADER + 5] {
            let mut damaged = bytes.clone();
            damaged[hit] ^= 0xff;
            fs::write(&path, &damaged).unwrap();
            let listed = query::list(dir.path(), &Filter::default(), usize::MAX, None).unwrap();
            assert_eq!((listed.records.len(), listed.damaged), (80, 1), "hit at {hit}");
            Store::open(dir.path(), ROOM).unwrap();
            assert_eq!(fs::read(&path).unwrap(), damaged, "nothing behind the damage is cut off");
        }
    }

    #[test]
    fn the_oldest_files_go_when_room_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let limit = 1 << 20;
        let mut store = Store::open(dir.path(), limit).unwrap();
        let mut day = Day::new(5);
        let mut written = 0;
        while written < 500_000 {
            let records = day.records(5_000);
            written += records.len();
            store.append(records, at(written as u64)).unwrap();
            let bytes: u64 =
                fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
            assert!(bytes <= limit, "{bytes} bytes are more than {limit}");
        }
        let found = stats(&store);
        assert!(found.records > 30_000 && found.records < 400_000, "{found:?}");
        assert_eq!((found.lost, found.damaged), (0, 0));
        let kept = all(dir.path());
        assert_eq!(kept.len() as u64, found.records);
        assert_eq!(kept.first().map(|record| record.first), found.oldest);
        // The newest are all there.
        let last = kept.last().unwrap().first;
        assert!(kept.iter().filter(|record| record.first > last - 60_000).count() > 100);
    }

    #[test]
    fn a_disk_without_room_costs_the_oldest_and_then_counts_what_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), ROOM).unwrap();
        let mut day = Day::new(6);
        store.append(day.records(100), at(1)).unwrap();
        store.seal().unwrap();
        // More than any disk has.
        store.reserve = u64::MAX / 2;
        let error = store.append(day.records(100), at(2)).unwrap_err();
        assert!(error.to_string().contains("free"), "{error}");
        assert_eq!(files(dir.path()).unwrap().len(), 0);
        assert_eq!(stats(&store).lost, 0);
        for turn in 0..4 {
            let _ = store.append(day.records(BLOCK), at(3 + turn)).unwrap_err();
        }
        assert!(stats(&store).lost >= 2 * BLOCK as u64, "{:?}", stats(&store));
        store.reserve = 0;
        store.append(day.records(10), at(9)).unwrap();
        assert!(!all(dir.path()).is_empty());
    }

    #[test]
    fn the_days_that_fit_follow_from_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), ROOM).unwrap();
        assert_eq!(stats(&store).fit_days, None);
        let mut day = Day::new(8);
        for hour in 0..24 {
            store.append(day.records(1_000), at(hour * 3_600)).unwrap();
            store.seal().unwrap();
        }
        let found = stats(&store);
        let per_day = found.bytes as f64 / (23.0 / 24.0);
        let days = found.fit_days.unwrap();
        assert!((days - ROOM as f64 / per_day).abs() < days / 50.0, "{days} {found:?}");
    }
}
