//! The layout of a block of records.
//!
//! ```text
//! header, 100 bytes   magic, lengths, number, time range, the walk that ended it, three CRC-32
//! names, zstd         every text once, then the distinct hosts, peers and services of the block
//! columns             each compressed by itself: time, duration, kind, host, port, peer, service, count
//! ```
//!
//! A block explains itself: names are in it and not in some registry that may be gone, so a file can be read years later
//! and elsewhere. The names come first and apart because a reader that looks for an address finds there, without touching
//! the columns, whether the block has it: that is exact where a Bloom filter would only be probable, and nothing is
//! stored twice for it. Columns are apart because each has an alphabet of its own, which is most of what compresses them.
//! Numbers are little-endian; varints are LEB128.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::record::{Addr, Kind, Record};

/// First bytes of a block; the last but one is the version.
pub const MAGIC: [u8; 8] = *b"SKFLOW\x01\n";
/// Bytes of a header.
pub const HEADER: usize = 100;
/// Records one block may have.
pub const MAX_RECORDS: usize = 1 << 16;
/// Bytes a block's names and columns may have, compressed or not.
const MAX_PART: usize = 32 << 20;
/// Good compression at hundreds of megabytes a second; what the columns have left to gain is little.
const LEVEL: i32 = 6;
/// Columns of the body, in this order.
const COLUMNS: usize = 8;

/// What is wrong with bytes that should be a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends before its end.
    #[error("cut short")]
    Short,
    /// It does not begin like a block.
    #[error("no block begins here")]
    Magic,
    /// A checksum is wrong.
    #[error("a checksum does not match")]
    Checksum,
    /// It says something that cannot be.
    #[error("its contents contradict themselves")]
    Nonsense,
}

/// Which walk a block ended with: where a starting agent goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walk {
    /// The boot it belongs to.
    pub boot: [u8; 16],
    /// When it began, `CLOCK_BOOTTIME` nanoseconds.
    pub at: u64,
    /// Unix time minus `CLOCK_BOOTTIME`, milliseconds.
    pub offset: i64,
    /// Conversations all rules together had opened by then.
    pub opened: u64,
}

/// The fixed part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    names_raw: u32,
    names_len: u32,
    body_len: u32,
    /// Records in it.
    pub records: u32,
    /// Its number. Blocks of the tail carry the number that the block made of them will have.
    pub number: u64,
    /// Begin of the earliest record.
    pub first: i64,
    /// End of the latest.
    pub last: i64,
    /// See [`Walk`].
    pub walk: Walk,
    names_crc: u32,
    body_crc: u32,
}

impl Header {
    /// Bytes of the names as stored.
    pub const fn names_bytes(&self) -> usize {
        self.names_len as usize
    }

    /// Bytes of the columns as stored.
    pub const fn body_bytes(&self) -> usize {
        self.body_len as usize
    }

    /// Bytes of the whole block.
    pub const fn block_bytes(&self) -> u64 {
        HEADER as u64 + self.names_len as u64 + self.body_len as u64
    }

    /// From the first bytes of a block.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let bytes: &[u8; HEADER] = bytes.first_chunk().ok_or(Damage::Short)?;
        let mut at = Cursor(bytes);
        if at.take(8)? != MAGIC {
            return Err(Damage::Magic);
        }
        let header = Self {
            names_raw: at.u32()?,
            names_len: at.u32()?,
            body_len: at.u32()?,
            records: at.u32()?,
            number: at.u64()?,
            first: at.u64()?.cast_signed(),
            last: at.u64()?.cast_signed(),
            walk: Walk {
                boot: *at.take(16)?.first_chunk().ok_or(Damage::Short)?,
                at: at.u64()?,
                offset: at.u64()?.cast_signed(),
                opened: at.u64()?,
            },
            names_crc: at.u32()?,
            body_crc: at.u32()?,
        };
        let covered = HEADER - 4;
        if at.u32()? != crc32fast::hash(bytes.get(..covered).ok_or(Damage::Short)?) {
            return Err(Damage::Checksum);
        }
        let fits = |length: u32| length as usize <= MAX_PART;
        let sane = fits(header.names_raw) && fits(header.names_len) && fits(header.body_len);
        if sane && header.records as usize <= MAX_RECORDS { Ok(header) } else { Err(Damage::Nonsense) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend(MAGIC);
        for word in [self.names_raw, self.names_len, self.body_len, self.records] {
            out.extend(word.to_le_bytes());
        }
        for word in [self.number, self.first.cast_unsigned(), self.last.cast_unsigned()] {
            out.extend(word.to_le_bytes());
        }
        out.extend(self.walk.boot);
        for word in [self.walk.at, self.walk.offset.cast_unsigned(), self.walk.opened] {
            out.extend(word.to_le_bytes());
        }
        out.extend(self.names_crc.to_le_bytes());
        out.extend(self.body_crc.to_le_bytes());
        let crc = crc32fast::hash(out.get(from..).unwrap_or_default());
        out.extend(crc.to_le_bytes());
    }
}

/// Where a conversation comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Its address.
    pub host: Addr,
    /// Zone or network.
    pub zone: Arc<str>,
    /// Interface.
    pub interface: Arc<str>,
    /// VLAN id.
    pub vlan: u16,
    /// Device.
    pub device: Arc<str>,
}

/// What was asked for and what decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// IP protocol.
    pub proto: u8,
    /// Port asked for.
    pub port: u16,
    /// Zone or network judged for.
    pub network: Arc<str>,
    /// Rule.
    pub rule: Arc<str>,
    /// Reason number.
    pub reason: u8,
    /// See [`Record::outwards`].
    pub outwards: bool,
}

/// Every distinct end and service of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Where conversations come from.
    pub sources: Vec<Source>,
    /// Where they go.
    pub peers: Vec<Addr>,
    /// What for.
    pub services: Vec<Service>,
}

fn source(record: &Record) -> Source {
    Source {
        host: record.host,
        zone: Arc::clone(&record.zone),
        interface: Arc::clone(&record.interface),
        vlan: record.vlan,
        device: Arc::clone(&record.device),
    }
}

fn service(record: &Record) -> Service {
    Service {
        proto: record.proto,
        port: record.peer_port,
        network: Arc::clone(&record.network),
        rule: Arc::clone(&record.rule),
        reason: record.reason,
        outwards: record.outwards,
    }
}

/// A whole block. At most [`MAX_RECORDS`] records, which are put in order of their beginning.
pub fn encode(records: &mut [Record], number: u64, walk: Walk) -> std::io::Result<Vec<u8>> {
    if records.len() > MAX_RECORDS {
        return Err(std::io::Error::other(format!("{} records in one block", records.len())));
    }
    records.sort_by_key(|record| record.first);
    let (names, places) = gather(records);
    let raw = names.write();
    let stored = zstd::bulk::compress(&raw, LEVEL)?;
    let body = columns(records, &names, &places)?;
    let length = |bytes: usize| u32::try_from(bytes).map_err(std::io::Error::other);
    let header = Header {
        names_raw: length(raw.len())?,
        names_len: length(stored.len())?,
        body_len: length(body.len())?,
        records: length(records.len())?,
        number,
        first: records.first().map_or(0, |record| record.first),
        last: records.iter().map(|record| record.last).max().unwrap_or(0),
        walk,
        names_crc: crc32fast::hash(&stored),
        body_crc: crc32fast::hash(&body),
    };
    let mut block = Vec::with_capacity(HEADER + stored.len() + body.len());
    header.write(&mut block);
    block.extend(stored);
    block.extend(body);
    Ok(block)
}

/// A record's positions in [`Names`].
struct Place {
    source: u32,
    peer: u32,
    service: u32,
}

/// The distinct names in order, and where each record's are.
fn gather(records: &[Record]) -> (Names, Vec<Place>) {
    fn ranked<T: Ord + Clone + std::hash::Hash>(all: impl Iterator<Item = T>) -> (Vec<T>, HashMap<T, u32>) {
        let distinct: BTreeSet<T> = all.collect();
        let ranks = distinct.iter().cloned().zip(0..).collect();
        (distinct.into_iter().collect(), ranks)
    }
    let (sources, source_ranks) = ranked(records.iter().map(source));
    let (peers, peer_ranks) = ranked(records.iter().map(|record| record.peer));
    let (services, service_ranks) = ranked(records.iter().map(service));
    let places = records
        .iter()
        .map(|record| Place {
            source: source_ranks.get(&source(record)).copied().unwrap_or(0),
            peer: peer_ranks.get(&record.peer).copied().unwrap_or(0),
            service: service_ranks.get(&service(record)).copied().unwrap_or(0),
        })
        .collect();
    (Names { sources, peers, services }, places)
}

impl Names {
    fn write(&self) -> Vec<u8> {
        let texts: BTreeSet<&str> = self
            .sources
            .iter()
            .flat_map(|source| [&*source.zone, &*source.interface, &*source.device])
            .chain(self.services.iter().flat_map(|service| [&*service.network, &*service.rule]))
            .collect();
        let ranks: HashMap<&str, u64> = texts.iter().copied().zip(0..).collect();
        let rank = |text: &str| ranks.get(text).copied().unwrap_or(0);
        let mut out = Vec::new();
        varint(&mut out, texts.len() as u64);
        for text in &texts {
            varint(&mut out, text.len() as u64);
            out.extend(text.as_bytes());
        }
        varint(&mut out, self.sources.len() as u64);
        let mut before = 0;
        for source in &self.sources {
            let host = u128::from_be_bytes(source.host);
            varint128(&mut out, host.wrapping_sub(before));
            before = host;
            for number in [rank(&source.zone), rank(&source.interface), u64::from(source.vlan), rank(&source.device)] {
                varint(&mut out, number);
            }
        }
        varint(&mut out, self.peers.len() as u64);
        before = 0;
        for peer in &self.peers {
            let peer = u128::from_be_bytes(*peer);
            varint128(&mut out, peer.wrapping_sub(before));
            before = peer;
        }
        varint(&mut out, self.services.len() as u64);
        for service in &self.services {
            let flags = u64::from(service.outwards);
            let (proto, port, reason) = (u64::from(service.proto), u64::from(service.port), u64::from(service.reason));
            for number in [proto, port, rank(&service.network), rank(&service.rule), reason, flags] {
                varint(&mut out, number);
            }
        }
        out
    }

    /// From the stored bytes behind a header.
    pub fn read(header: &Header, stored: &[u8]) -> Result<Self, Damage> {
        if stored.len() != header.names_bytes() {
            return Err(Damage::Short);
        }
        if crc32fast::hash(stored) != header.names_crc {
            return Err(Damage::Checksum);
        }
        let raw = zstd::bulk::decompress(stored, header.names_raw as usize).map_err(|_| Damage::Nonsense)?;
        let mut at = Cursor(&raw);
        let texts: Vec<Arc<str>> = at.list(|at| {
            let length = at.number()?;
            let text = at.take(length)?;
            std::str::from_utf8(text).map(Arc::from).map_err(|_| Damage::Nonsense)
        })?;
        let text = |at: &mut Cursor<'_>| -> Result<Arc<str>, Damage> {
            let rank = at.number()?;
            texts.get(rank).cloned().ok_or(Damage::Nonsense)
        };
        let mut before = 0u128;
        let sources = at.list(|at| {
            before = before.wrapping_add(at.varint()?);
            let (zone, interface, vlan, device) = (text(at)?, text(at)?, at.small()?, text(at)?);
            Ok(Source { host: before.to_be_bytes(), zone, interface, vlan, device })
        })?;
        let mut before = 0u128;
        let peers = at.list(|at| {
            before = before.wrapping_add(at.varint()?);
            Ok(before.to_be_bytes())
        })?;
        let services = at.list(|at| {
            let (proto, port) = (at.small()?, at.small()?);
            let (network, rule) = (text(at)?, text(at)?);
            let (reason, flags): (u8, u8) = (at.small()?, at.small()?);
            Ok(Service { proto, port, network, rule, reason, outwards: flags & 1 != 0 })
        })?;
        if at.0.is_empty() { Ok(Self { sources, peers, services }) } else { Err(Damage::Nonsense) }
    }
}

/// Bits of the column of kinds.
const KIND_BITS: u8 = 0b0111;
const ANSWERED: u8 = 0b1000;

fn columns(records: &[Record], names: &Names, places: &[Place]) -> std::io::Result<Vec<u8>> {
    let mut columns: [Vec<u8>; COLUMNS] = Default::default();
    let [firsts, durations, kinds, sources, ports, peers, services, counts] = &mut columns;
    let mut before = records.first().map_or(0, |record| record.first);
    for record in records {
        varint(firsts, record.first.abs_diff(before));
        before = record.first;
        varint(durations, record.last.abs_diff(record.first) / 1000);
        kinds.push(record.kind as u8 | if record.answered { ANSWERED } else { 0 });
        varint(counts, record.count);
    }
    planes(ports, 2, records.iter().map(|record| u32::from(record.host_port)));
    planes(sources, width(names.sources.len()), places.iter().map(|place| place.source));
    planes(peers, width(names.peers.len()), places.iter().map(|place| place.peer));
    planes(services, width(names.services.len()), places.iter().map(|place| place.service));
    let mut body = Vec::new();
    for column in &columns {
        let stored = zstd::bulk::compress(column, LEVEL)?;
        // What does not get smaller stays as it is; equal lengths say so.
        let stored = if stored.len() < column.len() { &stored } else { column };
        varint(&mut body, column.len() as u64);
        varint(&mut body, stored.len() as u64);
        body.extend(stored);
    }
    Ok(body)
}

/// Bytes that number so many things.
const fn width(things: usize) -> usize {
    match things {
        0..=1 => 0,
        2..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 3,
    }
}

/// All lowest bytes, then all next ones: bytes of the same rank are alike.
fn planes(out: &mut Vec<u8>, width: usize, values: impl Iterator<Item = u32> + Clone) {
    for plane in 0..width {
        out.extend(values.clone().map(|value| value.to_le_bytes().get(plane).copied().unwrap_or(0)));
    }
}

/// The columns of a block, read one by one as they are needed.
#[derive(Debug)]
pub struct Body<'a> {
    records: usize,
    first: i64,
    stored: [(usize, &'a [u8]); COLUMNS],
}

/// One row, by number; names are to be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Begin.
    pub first: i64,
    /// End.
    pub last: i64,
    /// Kind.
    pub kind: Kind,
    /// See [`Record::answered`].
    pub answered: bool,
    /// See [`Record::host_port`].
    pub host_port: u16,
    /// Into [`Names::sources`].
    pub source: u32,
    /// Into [`Names::peers`].
    pub peer: u32,
    /// Into [`Names::services`].
    pub service: u32,
    /// See [`Record::count`].
    pub count: u64,
}

impl<'a> Body<'a> {
    /// From the stored bytes behind the names.
    pub fn read(header: &Header, stored: &'a [u8]) -> Result<Self, Damage> {
        if stored.len() != header.body_bytes() {
            return Err(Damage::Short);
        }
        if crc32fast::hash(stored) != header.body_crc {
            return Err(Damage::Checksum);
        }
        let mut at = Cursor(stored);
        let mut columns = [(0, &[][..]); COLUMNS];
        for column in &mut columns {
            let (raw, length) = (at.number()?, at.number()?);
            if raw > MAX_PART {
                return Err(Damage::Nonsense);
            }
            *column = (raw, at.take(length)?);
        }
        if at.0.is_empty() {
            Ok(Self { records: header.records as usize, first: header.first, stored: columns })
        } else {
            Err(Damage::Nonsense)
        }
    }

    fn column(&self, number: usize) -> Result<Vec<u8>, Damage> {
        let (raw, stored) = self.stored.get(number).copied().ok_or(Damage::Nonsense)?;
        if raw == stored.len() {
            return Ok(stored.to_vec());
        }
        zstd::bulk::decompress(stored, raw).ok().filter(|bytes| bytes.len() == raw).ok_or(Damage::Nonsense)
    }

    fn planes(&self, number: usize, width: usize) -> Result<Vec<u32>, Damage> {
        let bytes = self.column(number)?;
        if bytes.len() != width * self.records {
            return Err(Damage::Nonsense);
        }
        let mut values = vec![0u32; self.records];
        for (plane, bytes) in bytes.chunks_exact(self.records.max(1)).enumerate() {
            for (value, byte) in values.iter_mut().zip(bytes) {
                *value |= u32::from(*byte) << (8 * plane);
            }
        }
        Ok(values)
    }

    fn ranks(&self, number: usize, things: usize) -> Result<Vec<u32>, Damage> {
        let ranks = self.planes(number, width(things))?;
        if ranks.iter().all(|rank| (*rank as usize) < things) { Ok(ranks) } else { Err(Damage::Nonsense) }
    }

    /// The rows that may be wanted, in order. `wanted` is asked with positions in the names before anything else of
    /// a row is read; where it says no to all, nothing else is.
    pub fn rows(&self, names: &Names, wanted: impl Fn(u32, u32, u32) -> bool) -> Result<Vec<Row>, Damage> {
        let sources = self.ranks(3, names.sources.len())?;
        let peers = self.ranks(5, names.peers.len())?;
        let services = self.ranks(6, names.services.len())?;
        let picked: Vec<bool> =
            sources.iter().zip(&peers).zip(&services).map(|((s, p), v)| wanted(*s, *p, *v)).collect();
        let most = picked.iter().filter(|picked| **picked).count();
        let mut rows = Vec::with_capacity(most);
        if most == 0 {
            return Ok(rows);
        }
        let (firsts, durations, counts) = (self.column(0)?, self.column(1)?, self.column(7)?);
        let (mut firsts, mut durations, mut counts) = (Cursor(&firsts), Cursor(&durations), Cursor(&counts));
        let (kinds, ports) = (self.column(2)?, self.planes(4, 2)?);
        if kinds.len() != self.records {
            return Err(Damage::Nonsense);
        }
        let mut first = self.first;
        let places = sources.iter().zip(&peers).zip(&services);
        for (((picked, ((source, peer), service)), kind), port) in picked.iter().zip(places).zip(&kinds).zip(&ports) {
            let step = i64::try_from(firsts.varint()?).map_err(|_| Damage::Nonsense)?;
            let seconds = i64::try_from(durations.varint()?).map_err(|_| Damage::Nonsense)?;
            let count = u64::try_from(counts.varint()?).map_err(|_| Damage::Nonsense)?;
            first = first.checked_add(step).ok_or(Damage::Nonsense)?;
            if !picked {
                continue;
            }
            let last = seconds.checked_mul(1000).and_then(|span| first.checked_add(span)).ok_or(Damage::Nonsense)?;
            rows.push(Row {
                first,
                last,
                kind: Kind::of(kind & KIND_BITS).ok_or(Damage::Nonsense)?,
                answered: kind & ANSWERED != 0,
                host_port: u16::try_from(*port).map_err(|_| Damage::Nonsense)?,
                source: *source,
                peer: *peer,
                service: *service,
                count,
            });
        }
        Ok(rows)
    }
}

impl Names {
    /// The record a row stands for.
    pub fn record(&self, row: &Row) -> Result<Record, Damage> {
        let source = self.sources.get(row.source as usize).ok_or(Damage::Nonsense)?;
        let service = self.services.get(row.service as usize).ok_or(Damage::Nonsense)?;
        Ok(Record {
            kind: row.kind,
            first: row.first,
            last: row.last,
            host: source.host,
            host_port: row.host_port,
            peer: *self.peers.get(row.peer as usize).ok_or(Damage::Nonsense)?,
            peer_port: service.port,
            proto: service.proto,
            zone: Arc::clone(&source.zone),
            network: Arc::clone(&service.network),
            interface: Arc::clone(&source.interface),
            vlan: source.vlan,
            device: Arc::clone(&source.device),
            rule: Arc::clone(&service.rule),
            reason: service.reason,
            outwards: service.outwards,
            answered: row.answered,
            count: row.count,
        })
    }
}

/// Header and records of the block at the start of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<(Header, Vec<Record>), Damage> {
    let header = Header::read(bytes)?;
    let names_end = HEADER + header.names_bytes();
    let names = Names::read(&header, bytes.get(HEADER..names_end).ok_or(Damage::Short)?)?;
    let body = bytes.get(names_end..names_end + header.body_bytes()).ok_or(Damage::Short)?;
    let rows = Body::read(&header, body)?.rows(&names, |_, _, _| true)?;
    let records: Result<Vec<Record>, Damage> = rows.iter().map(|row| names.record(row)).collect();
    Ok((header, records?))
}

fn varint(out: &mut Vec<u8>, value: u64) {
    varint128(out, u128::from(value));
}

fn varint128(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes still to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(taken)
    }
    fn u32(&mut self) -> Result<u32, Damage> {
        Ok(u32::from_le_bytes(*self.take(4)?.first_chunk().ok_or(Damage::Short)?))
    }
    fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64::from_le_bytes(*self.take(8)?.first_chunk().ok_or(Damage::Short)?))
    }
    fn varint(&mut self) -> Result<u128, Damage> {
        let mut value = 0u128;
        for shift in (0..128).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Damage::Short)?;
            self.0 = rest;
            value |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage::Nonsense)
    }
    fn small<T: TryFrom<u128>>(&mut self) -> Result<T, Damage> {
        T::try_from(self.varint()?).map_err(|_| Damage::Nonsense)
    }
    fn number(&mut self) -> Result<usize, Damage> {
        self.small()
    }
    /// A count and so many of them; each takes a byte at least, so a count beyond the bytes is a lie.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T, Damage>) -> Result<Vec<T>, Damage> {
        let count = self.number()?;
        if count > self.0.len() {
            return Err(Damage::Nonsense);
        }
        let mut all = Vec::with_capacity(count.min(MAX_RECORDS));
        for _ in 0..count {
            all.push(one(self)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::flows::testing::Day;

    fn walk() -> Walk {
        Walk { boot: [7; 16], at: 12_345, offset: -3, opened: 99 }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for seed in 0..200 {
            let mut day = Day::new(seed);
            let mut records = if seed % 2 == 0 { day.records(seed as usize * 3) } else { day.odd(seed as usize) };
            let block = encode(&mut records, seed, walk()).unwrap();
            let (header, read) = decode(&block).unwrap();
            assert_eq!(read, records, "seed {seed}");
            assert_eq!((header.number, header.walk, header.records as usize), (seed, walk(), records.len()));
            assert_eq!(header.block_bytes(), block.len() as u64);
            assert!(records.iter().all(|record| record.first >= header.first && record.last <= header.last));
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found_and_none_is_a_panic() {
        let mut records = Day::new(3).records(40);
        let block = encode(&mut records, 1, walk()).unwrap();
        for end in 0..block.len() {
            assert!(decode(&block[..end]).is_err(), "cut at {end}");
        }
        for at in 0..block.len() {
            for change in [1, 0x80, 0xff] {
                let mut damaged = block.clone();
                damaged[at] ^= change;
                assert!(decode(&damaged).is_err(), "byte {at} changed by {change:#x}");
            }
        }
    }

    /// Damage that the checksums do not see, because somebody computed them anew.
    #[test]
    fn lies_with_good_checksums_are_errors_and_not_panics() {
        let mut records = Day::new(5).records(60);
        let block = encode(&mut records, 1, walk()).unwrap();
        let header = Header::read(&block).unwrap();
        let names_end = HEADER + header.names_bytes();
        let raw = zstd::bulk::decompress(&block[HEADER..names_end], header.names_raw as usize).unwrap();
        let body = &block[names_end..];
        let forged = |raw: &[u8], body: &[u8], records: u32| {
            let stored = zstd::bulk::compress(raw, 1).unwrap();
            let header = Header {
                names_raw: raw.len() as u32,
                names_len: stored.len() as u32,
                body_len: body.len() as u32,
                records,
                names_crc: crc32fast::hash(&stored),
                body_crc: crc32fast::hash(body),
                ..header
            };
            let mut out = Vec::new();
            header.write(&mut out);
            out.extend(stored);
            out.extend(body);
            // Whatever comes of it, it comes back.
            let _ = decode(&out);
        };
        for at in 0..raw.len() {
            for change in [1, 0x7f, 0x80, 0xff] {
                let mut lie = raw.clone();
                lie[at] ^= change;
                forged(&lie, body, header.records);
            }
            forged(&raw[..at], body, header.records);
        }
        for at in 0..body.len() {
            for change in [1, 0x80, 0xff] {
                let mut lie = body.to_vec();
                lie[at] ^= change;
                forged(&raw, &lie, header.records);
            }
        }
        for records in [0, 1, header.records - 1, header.records + 1, u32::MAX] {
            forged(&raw, body, records);
        }
    }

    #[test]
    fn rows_are_picked_by_their_names() {
        let mut records = Day::new(11).records(500);
        let block = encode(&mut records, 1, walk()).unwrap();
        let header = Header::read(&block).unwrap();
        let names_end = HEADER + header.names_bytes();
        let names = Names::read(&header, &block[HEADER..names_end]).unwrap();
        let body = Body::read(&header, &block[names_end..]).unwrap();
        let host = names.sources[0].host;
        let rows = body.rows(&names, |source, _, _| names.sources[source as usize].host == host).unwrap();
        let picked: Vec<Record> = rows.iter().map(|row| names.record(row).unwrap()).collect();
        let expected: Vec<Record> = records.iter().filter(|record| record.host == host).cloned().collect();
        assert_eq!(picked, expected);
        assert!(!picked.is_empty() && picked.len() < records.len());
    }
}
