//! Reading records: the newest that fit a filter, or everybody who talked to some addresses.
//!
//! Bounded in time and memory: a reader goes through one block at a time, the newest first, reads no more of it than its names
//! where they say that nothing in it is wanted, and stops at its limits, which it says.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::File,
    io,
    path::Path,
    time::Instant,
};

use ipnet::IpNet;
use jiff::Timestamp;
use sekimori_ebpf::reason::{self, Reason};
use serde::{Deserialize, Serialize};

use super::{
    format::{self, Body, Damage, HEADER, Header, MAX_RECORDS, Names, Row, Service, Source},
    record::{self, Addr, Kind, Record},
    store::{self, BlockAt},
};
use crate::dataplane::maps::{mapped_prefix, unmapped};

/// Rows of a back-check, at most.
const MAX_PAIRS: usize = 100_000;
/// Conversations that are in several records, told apart by a back-check, at most.
const MAX_KNOWN: usize = 4 << 20;
/// Ports and rules named in one row of a back-check, at most.
const MAX_NAMED: usize = 8;

/// A host, as somebody names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// By an address or a prefix.
    Prefix(IpNet),
    /// By its device's name.
    Device(String),
}

/// Passed or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Conversations.
    Pass,
    /// Refused packets.
    Drop,
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// One end of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Who>,
    /// The other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpNet>,
    /// The port asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The IP protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<u8>,
    /// Something of it was not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Something of it was not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The rule's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Passed or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// What was found, and how far the search went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// In order of their beginning.
    pub records: Vec<Record>,
    /// There are older ones beyond the limit.
    pub more: bool,
    /// Blocks that could not be read.
    pub damaged: u64,
    /// Time ran out before everything was looked at.
    pub late: bool,
}

/// The newest `limit` records that fit. `deadline`: where to stop.
pub fn list(folder: &Path, filter: &Filter, limit: usize, deadline: Option<Instant>) -> io::Result<Listing> {
    let mut found = Listing::default();
    let mut known = HashSet::new();
    let wanted = Wanted::new(filter);
    let ends = walk(folder, wanted.range, deadline, |block| {
        if found.records.len() >= limit {
            found.more = true;
            return Ok(false);
        }
        let Some(picks) = wanted.picks(&block.names) else { return Ok(true) };
        let rows = block.rows(|source, peer, service| picks.fit(source, peer, service))?;
        for row in rows.iter().rev().filter(|row| wanted.in_time(row.first, row.last)) {
            let record = block.names.record(row)?;
            // A conversation's newest record says what its earlier ones do.
            if several(record.kind) && !known.insert(record.identity()) {
                continue;
            }
            if found.records.len() >= limit {
                found.more = true;
                return Ok(false);
            }
            found.records.push(record);
        }
        Ok(true)
    })?;
    (found.damaged, found.late) = ends;
    found.records.sort_by_key(|record| record.first);
    Ok(found)
}

/// Whether other records may tell of the same conversation.
fn several(kind: Kind) -> bool {
    kind.passed() && kind != Kind::Whole
}

/// Who talked to a listed address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The address or prefix as it was asked for.
    pub listed: IpNet,
    /// The address that was met.
    pub address: String,
    /// Who talked to it, or was talked to by it.
    pub host: String,
    /// The host's device, where it is known (who opened the conversation is).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `to`: the host asked the listed address; `from`: the listed address asked the host.
    pub direction: String,
    /// Conversations that a rule permitted.
    pub conversations: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Refused packets.
    pub refused: u64,
    /// The first packet of them all, RFC 3339.
    pub first: String,
    /// The last.
    pub last: String,
    /// What was asked for, as `tcp/443`; some of them if there are many.
    pub services: BTreeSet<String>,
    /// Rules that permitted it and reasons why not; some of them if there are many.
    pub because: BTreeSet<String>,
}

/// The answer to "had we known this, who talked to it?".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackCheck {
    /// Sorted by listed address, then host.
    pub contacts: Vec<Contact>,
    /// When the oldest record began, RFC 3339: nothing is known of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// Blocks that could not be read.
    pub damaged: u64,
    /// Time ran out before everything was looked at.
    pub late: bool,
    /// There were more pairs than are kept, or more long conversations than can be told apart.
    pub crowded: bool,
}

impl BackCheck {
    /// Whether "nobody" would mean nobody.
    pub fn complete(&self) -> bool {
        self.damaged == 0 && !self.late && !self.crowded
    }

    /// Adds what another part of the list gave.
    pub fn add(&mut self, other: Self) {
        self.contacts.extend(other.contacts);
        self.contacts.sort_by(|a, b| (a.listed, &a.address, &a.host).cmp(&(b.listed, &b.address, &b.host)));
        self.oldest = self.oldest.take().or(other.oldest);
        self.damaged = self.damaged.max(other.damaged);
        self.late |= other.late;
        self.crowded |= other.crowded;
    }
}

/// Addresses and prefixes, for finding the longest that holds an address.
struct Listed {
    by_length: Vec<(u32, HashMap<u128, IpNet>)>,
}

impl Listed {
    fn new(nets: &[IpNet]) -> Self {
        let mut by_length: HashMap<u32, HashMap<u128, IpNet>> = HashMap::new();
        for net in nets {
            let (length, addr) = mapped_prefix(*net);
            by_length.entry(length).or_default().insert(u128::from_be_bytes(addr), *net);
        }
        let mut by_length: Vec<_> = by_length.into_iter().collect();
        by_length.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self { by_length }
    }

    fn find(&self, addr: &Addr) -> Option<IpNet> {
        let addr = u128::from_be_bytes(*addr);
        let masked = |length: u32| addr & u128::MAX.checked_shl(128 - length).unwrap_or(0);
        self.by_length.iter().find_map(|(length, nets)| nets.get(&masked(*length)).copied())
    }
}

/// What is gathered for one contact.
#[derive(Default)]
struct Gathered {
    device: Option<String>,
    conversations: u64,
    answered: u64,
    refused: u64,
    first: i64,
    last: i64,
    services: BTreeSet<String>,
    because: BTreeSet<String>,
}

/// Everybody who talked to any of `nets`, or was talked to by any.
pub fn back_check(
    folder: &Path,
    nets: &[IpNet],
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    deadline: Option<Instant>,
) -> io::Result<BackCheck> {
    let listed = Listed::new(nets);
    let filter = Filter { since, until, ..Filter::default() };
    let wanted = Wanted::new(&filter);
    let mut found: HashMap<(IpNet, Addr, Addr, bool), Gathered> = HashMap::new();
    // Conversations counted, and those of them counted as answered.
    let (mut counted, mut answered) = (HashSet::new(), HashSet::new());
    let mut crowded = false;
    let ends = walk(folder, wanted.range, deadline, |block| {
        let sources: Vec<Option<IpNet>> = block.names.sources.iter().map(|source| listed.find(&source.host)).collect();
        let peers: Vec<Option<IpNet>> = block.names.peers.iter().map(|peer| listed.find(peer)).collect();
        let hit = |side: &[Option<IpNet>], at: u32| side.get(at as usize).copied().flatten();
        if sources.iter().chain(&peers).all(Option::is_none) {
            return Ok(true);
        }
        let rows = block.rows(|source, peer, _| hit(&peers, peer).is_some() || hit(&sources, source).is_some())?;
        // Named once a block and not once a row: everybody asks the same few services.
        let labels: Vec<(String, String)> = block.names.services.iter().map(labels).collect();
        for row in rows.iter().rev().filter(|row| wanted.in_time(row.first, row.last) && row.kind != Kind::Others) {
            let source = block.names.sources.get(row.source as usize).ok_or(Damage::Nonsense)?;
            let peer = block.names.peers.get(row.peer as usize).ok_or(Damage::Nonsense)?;
            let labels = labels.get(row.service as usize).ok_or(Damage::Nonsense)?;
            let identity = if several(row.kind) { Some(block.names.record(row)?.identity()) } else { None };
            for (net, outwards) in [(hit(&peers, row.peer), true), (hit(&sources, row.source), false)] {
                let Some(net) = net else { continue };
                let (address, host) = if outwards { (*peer, source.host) } else { (source.host, *peer) };
                let key = (net, address, host, outwards);
                if found.len() >= MAX_PAIRS && !found.contains_key(&key) || counted.len() >= MAX_KNOWN {
                    crowded = true;
                    continue;
                }
                let gathered = found.entry(key).or_insert_with(|| Gathered {
                    first: row.first,
                    last: row.last,
                    ..Gathered::default()
                });
                // One conversation may be in several records.
                let again = identity.is_some_and(|identity| !counted.insert((identity, outwards)));
                let answer = row.answered && identity.is_none_or(|identity| answered.insert((identity, outwards)));
                gathered.take(row, again, answer, labels);
                // The device is that of whoever sent the first packet.
                if outwards && !source.device.is_empty() {
                    gathered.device.get_or_insert_with(|| source.device.to_string());
                }
            }
        }
        Ok(true)
    })?;
    let contact = |((listed, address, host, outwards), gathered): (_, Gathered)| Contact {
        listed,
        address: unmapped(address).to_string(),
        host: unmapped(host).to_string(),
        device: gathered.device,
        direction: if outwards { "to" } else { "from" }.to_owned(),
        conversations: gathered.conversations,
        answered: gathered.answered,
        refused: gathered.refused,
        first: time(gathered.first),
        last: time(gathered.last),
        services: gathered.services,
        because: gathered.because,
    };
    let contacts = found.into_iter().map(contact).collect();
    let oldest = oldest(folder)?.map(time);
    let mut all = BackCheck { oldest, damaged: ends.0, late: ends.1, crowded, ..BackCheck::default() };
    all.add(BackCheck { contacts, ..BackCheck::default() });
    Ok(all)
}

impl Gathered {
    fn take(&mut self, row: &Row, again: bool, answered: bool, (service, because): &(String, String)) {
        self.first = self.first.min(row.first);
        self.last = self.last.max(row.last);
        if row.kind.passed() {
            self.conversations += u64::from(!again);
            self.answered += u64::from(answered);
        } else {
            self.refused += row.count;
        }
        for (set, text) in [(&mut self.services, service), (&mut self.because, because)] {
            if set.len() < MAX_NAMED && !set.contains(text) {
                set.insert(text.clone());
            }
        }
    }
}

/// What was asked for, and the rule that permitted it or the reason why not.
fn labels(service: &Service) -> (String, String) {
    let asked = match (service.port, record::protocol(service.proto)) {
        (0, protocol) => protocol,
        (port, protocol) => format!("{protocol}/{port}"),
    };
    let because = if passed(service) { service.rule.to_string() } else { record::reason(service.reason) };
    (asked, because)
}

fn passed(service: &Service) -> bool {
    Reason::from_number(u32::from(service.reason)).is_some_and(|reason| reason.verdict() == reason::Verdict::Pass)
}

/// RFC 3339, UTC, milliseconds.
pub fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).map_or_else(|_| milliseconds.to_string(), |at| format!("{at:.3}"))
}

/// When the oldest record began.
pub fn oldest(folder: &Path) -> io::Result<Option<i64>> {
    let mut oldest = None;
    let mut look = |first: i64| oldest = Some(oldest.map_or(first, |oldest: i64| oldest.min(first)));
    for (header, _) in store::read_tail(folder)?.blocks {
        look(header.first);
    }
    for path in store::files(folder)?.iter().take(2) {
        if let Some(mut file) = open(path)? {
            store::blocks(&mut file)?.blocks.iter().for_each(|block| look(block.header.first));
        }
    }
    Ok(oldest)
}

/// A filter made ready.
struct Wanted<'f> {
    filter: &'f Filter,
    host: Option<Prefix>,
    peer: Option<Prefix>,
    range: (i64, i64),
}

/// A prefix in the 128-bit space.
#[derive(Clone, Copy)]
struct Prefix {
    addr: u128,
    mask: u128,
}

impl Prefix {
    fn of(net: IpNet) -> Self {
        let (length, addr) = mapped_prefix(net);
        Self { addr: u128::from_be_bytes(addr), mask: u128::MAX.checked_shl(128 - length).unwrap_or(0) }
    }
    fn holds(self, addr: &Addr) -> bool {
        u128::from_be_bytes(*addr) & self.mask == self.addr
    }
}

/// Which names of a block are wanted.
struct Picks {
    /// As the host; as the other end.
    sources: Vec<(bool, bool)>,
    /// Likewise.
    peers: Vec<(bool, bool)>,
    services: Vec<bool>,
}

impl Picks {
    fn fit(&self, source: u32, peer: u32, service: u32) -> bool {
        let (Some(source), Some(peer), Some(service)) =
            (self.sources.get(source as usize), self.peers.get(peer as usize), self.services.get(service as usize))
        else {
            return false;
        };
        // Either end may be the host that was asked for; the other one then is its peer.
        *service && (source.0 && peer.1 || source.1 && peer.0)
    }
}

impl<'f> Wanted<'f> {
    fn new(filter: &'f Filter) -> Self {
        let host = match &filter.host {
            Some(Who::Prefix(net)) => Some(Prefix::of(*net)),
            _ => None,
        };
        let from = filter.since.map_or(i64::MIN, |since| since.as_millisecond());
        let to = filter.until.map_or(i64::MAX, |until| until.as_millisecond());
        Self { filter, host, peer: filter.peer.map(Prefix::of), range: (from, to) }
    }

    /// `last` is known to the second only.
    fn in_time(&self, first: i64, last: i64) -> bool {
        first <= self.range.1 && last.saturating_add(999) >= self.range.0
    }

    /// Which names fit; `None` if no row can.
    fn picks(&self, names: &Names) -> Option<Picks> {
        let host = |addr: &Addr, device: &str| match &self.filter.host {
            None => true,
            Some(Who::Prefix(_)) => self.host.is_some_and(|prefix| prefix.holds(addr)),
            Some(Who::Device(name)) => *name == *device,
        };
        let peer = |addr: &Addr| self.peer.is_none_or(|prefix| prefix.holds(addr));
        let source = |source: &Source| (host(&source.host, &source.device), peer(&source.host));
        let far = |addr: &Addr| (host(addr, ""), peer(addr));
        let picks = Picks {
            sources: names.sources.iter().map(source).collect(),
            peers: names.peers.iter().map(far).collect(),
            services: names.services.iter().map(|service| self.service(service)).collect(),
        };
        let any = |side: &[(bool, bool)], pick: fn(&(bool, bool)) -> bool| side.iter().any(pick);
        let outwards = any(&picks.sources, |one| one.0) && any(&picks.peers, |one| one.1);
        let inwards = any(&picks.sources, |one| one.1) && any(&picks.peers, |one| one.0);
        ((outwards || inwards) && picks.services.contains(&true)).then_some(picks)
    }

    fn service(&self, service: &Service) -> bool {
        self.filter.port.is_none_or(|port| port == service.port)
            && self.filter.proto.is_none_or(|proto| proto == service.proto)
            && self.filter.rule.as_ref().is_none_or(|rule| **rule == *service.rule)
            && self.filter.verdict.is_none_or(|verdict| (verdict == Verdict::Pass) == passed(service))
    }
}

/// A block whose names were read.
struct Block<'a> {
    header: Header,
    names: Names,
    body: &'a mut dyn FnMut(usize) -> io::Result<Vec<u8>>,
}

impl Block<'_> {
    fn rows(&mut self, wanted: impl Fn(u32, u32, u32) -> bool) -> Result<Vec<Row>, Trouble> {
        let bytes = (self.body)(self.header.body_bytes())?;
        Ok(Body::read(&self.header, &bytes)?.rows(&self.names, wanted)?)
    }
}

/// Why a block could not be read.
enum Trouble {
    Damage,
    Io(io::Error),
}
impl From<Damage> for Trouble {
    fn from(_: Damage) -> Self {
        Self::Damage
    }
}
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Goes through every block that may have something in a range of time, the newest first, until `see` says false. How many could
/// not be read, and whether time ran out.
fn walk(
    folder: &Path,
    range: (i64, i64),
    deadline: Option<Instant>,
    mut see: impl FnMut(&mut Block<'_>) -> Result<bool, Trouble>,
) -> io::Result<(u64, bool)> {
    let late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let in_range = |header: &Header| header.first <= range.1 && header.last.saturating_add(999) >= range.0;
    // The tail before the files: what moves from one to the other meanwhile is then seen twice rather than never, and known
    // by its block's number.
    let mut tail = store::read_tail(folder)?.blocks;
    let mut holes = 0;
    let mut newest_first = Vec::new();
    for path in store::files(folder)?.iter().rev() {
        // One that is gone made room.
        let Some(mut file) = open(path)? else { continue };
        let found = store::blocks(&mut file)?;
        // The end of the newest file may be in the middle of being written.
        holes += found.damaged + u64::from(found.rest > 0 && !newest_first.is_empty());
        newest_first.push((file, found.blocks));
    }
    let finished = newest_first.iter().flat_map(|(_, blocks)| blocks).map(|block| block.header.number).max();
    tail.retain(|(header, _)| finished.is_none_or(|finished| header.number > finished));
    let mut going = true;
    if let Some(header) = tail.last().map(|(header, _)| *header) {
        let mut records: Vec<Record> =
            store::merged(tail.into_iter().flat_map(|(_, records)| records)).into_values().collect();
        for chunk in records.chunks_mut(MAX_RECORDS) {
            let bytes = format::encode(chunk, header.number, header.walk)?;
            let Ok(header) = Header::read(&bytes) else { continue };
            let (names, body) = bytes.split_at(HEADER + header.names_bytes());
            let Ok(names) = Names::read(&header, names.get(HEADER..).unwrap_or_default()) else { continue };
            if going && in_range(&header) {
                let mut block = Block { header, names, body: &mut |_| Ok(body.to_vec()) };
                going = visit(&mut see, &mut block, &mut holes)?;
            }
        }
    }
    for (mut file, blocks) in newest_first {
        for BlockAt { offset, header } in blocks.into_iter().rev().filter(|block| in_range(&block.header)) {
            if !going {
                return Ok((holes, false));
            }
            if late() {
                return Ok((holes, true));
            }
            let from = offset + HEADER as u64;
            let stored = store::read_at(&mut file, from, header.names_bytes())?;
            let Ok(names) = Names::read(&header, &stored) else {
                holes += 1;
                continue;
            };
            let mut body = |length: usize| store::read_at(&mut file, from + header.names_bytes() as u64, length);
            going = visit(&mut see, &mut Block { header, names, body: &mut body }, &mut holes)?;
        }
    }
    Ok((holes, false))
}

/// One block; damage in it is counted and passed over. Whether to go on.
fn visit(
    see: &mut impl FnMut(&mut Block<'_>) -> Result<bool, Trouble>,
    block: &mut Block<'_>,
    holes: &mut u64,
) -> io::Result<bool> {
    match see(block) {
        Ok(go_on) => Ok(go_on),
        Err(Trouble::Damage) => {
            *holes += 1;
            Ok(true)
        }
        Err(Trouble::Io(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::flows::{Store, format::Walk, testing::Day};

    const ROOM: u64 = 1 << 30;

    /// A folder with these batches of records, some of them in blocks.
    fn folder(batches: &[Vec<Record>]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), ROOM).unwrap();
        for (number, batch) in batches.iter().enumerate() {
            store.append(batch.clone(), Walk { at: number as u64, ..Walk::default() }).unwrap();
        }
        dir
    }

    fn listed(dir: &tempfile::TempDir, filter: &Filter) -> Vec<Record> {
        list(dir.path(), filter, usize::MAX, None).unwrap().records
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_filter_finds_what_a_look_at_every_record_finds() {
        let mut day = Day::new(21);
        let batches: Vec<Vec<Record>> = (0..12).map(|_| day.records(8_000)).collect();
        let dir = folder(&batches);
        let all: Vec<Record> = batches.concat();
        assert_eq!(listed(&dir, &Filter::default()).len(), all.len());
        let middle = Timestamp::from_millisecond(all[all.len() / 2].first).unwrap();
        let some = &all[777];
        let host = IpNet::from(unmapped(some.host));
        let peer = IpNet::from(unmapped(some.peer));
        let inside = |net: IpNet| move |addr: &Addr| net.contains(&unmapped(*addr));
        type Same = Box<dyn Fn(&Record) -> bool>;
        let cases: Vec<(Filter, Same)> = vec![
            (
                Filter { host: Some(Who::Prefix(host)), ..Filter::default() },
                Box::new(move |r| inside(host)(&r.host) || inside(host)(&r.peer)),
            ),
            (
                Filter { host: Some(Who::Prefix(peer)), peer: Some(net("192.168.10.0/24")), ..Filter::default() },
                Box::new(move |r| inside(peer)(&r.peer) && inside(net("192.168.10.0/24"))(&r.host)),
            ),
            (
                Filter { host: Some(Who::Device("pc-017".into())), port: Some(443), ..Filter::default() },
                Box::new(|r| &*r.device == "pc-017" && r.peer_port == 443),
            ),
            (
                Filter { rule: Some("office-ntp".into()), proto: Some(17), ..Filter::default() },
                Box::new(|r| &*r.rule == "office-ntp"),
            ),
            (Filter { verdict: Some(Verdict::Drop), ..Filter::default() }, Box::new(|r| r.kind == Kind::Refused)),
            (
                Filter { since: Some(middle), ..Filter::default() },
                Box::new(move |r| r.last + 999 >= middle.as_millisecond()),
            ),
            (
                Filter { until: Some(middle), verdict: Some(Verdict::Pass), ..Filter::default() },
                Box::new(move |r| r.first <= middle.as_millisecond() && r.kind.passed()),
            ),
        ];
        for (filter, same) in cases {
            let mut found = listed(&dir, &filter);
            let mut expected: Vec<Record> = all.iter().filter(|record| same(record)).cloned().collect();
            for side in [&mut found, &mut expected] {
                side.sort_by_key(|record| (record.first, record.identity()));
            }
            assert!(found == expected, "{filter:?}: {} instead of {}", found.len(), expected.len());
            assert!(!found.is_empty(), "{filter:?}");
        }
    }

    #[test]
    fn a_limit_gives_the_newest_and_says_that_there_are_more() {
        let mut day = Day::new(22);
        let batches: Vec<Vec<Record>> = (0..6).map(|_| day.records(9_000)).collect();
        let dir = folder(&batches);
        let mut found = list(dir.path(), &Filter::default(), 10, None).unwrap();
        assert!(found.more);
        let mut newest = batches.concat().split_off(54_000 - 10);
        for side in [&mut found.records, &mut newest] {
            side.sort_by_key(|record| (record.first, record.identity()));
        }
        assert_eq!(found.records, newest);
        let late = list(dir.path(), &Filter::default(), usize::MAX, Some(Instant::now())).unwrap();
        assert!(late.late && late.records.len() < 54_000);
    }

    #[test]
    fn a_conversation_is_one_row_however_many_records_tell_of_it() {
        let mut day = Day::new(23);
        let began = Record { kind: Kind::Began, ..day.conversation() };
        let on = Record { kind: Kind::GoesOn, last: began.first + 3_600_000, ..began.clone() };
        let ended = Record { kind: Kind::Ended, last: began.first + 4_000_000, ..began.clone() };
        // Enough between them that each is in a block of its own.
        let dir =
            folder(&[vec![began.clone()], day.records(33_000), vec![on], day.records(33_000), vec![ended.clone()]]);
        let peer = IpNet::from(unmapped(began.peer));
        let filter =
            Filter { host: Some(Who::Device(began.device.to_string())), peer: Some(peer), ..Filter::default() };
        let rows = listed(&dir, &filter).into_iter().filter(|record| record.first == began.first).collect::<Vec<_>>();
        assert_eq!(rows, [ended]);
    }

    #[test]
    fn a_back_check_counts_what_a_look_at_every_record_counts() {
        let mut day = Day::new(24);
        let mut batches: Vec<Vec<Record>> = (0..9).map(|_| day.records(9_000)).collect();
        let long = Record { kind: Kind::Began, answered: false, ..day.conversation() };
        batches[0].push(long.clone());
        batches[5].push(Record { kind: Kind::GoesOn, answered: true, last: long.first + 3_600_000, ..long.clone() });
        batches[8].push(Record { kind: Kind::Ended, answered: true, last: long.first + 7_200_000, ..long.clone() });
        let dir = folder(&batches);
        let asp = net("10.80.1.10/31");
        let single = IpNet::from(unmapped(long.peer));
        let found = back_check(dir.path(), &[asp, single, net("203.0.113.0/24")], None, None, None).unwrap();
        assert!(found.complete() && found.oldest.is_some());
        let mut expected: HashMap<(String, String), (u64, u64)> = HashMap::new();
        let mut seen = HashSet::new();
        for record in batches.iter().flatten() {
            let peer = unmapped(record.peer);
            if !asp.contains(&peer) && !single.contains(&peer) {
                continue;
            }
            let entry = expected.entry((peer.to_string(), unmapped(record.host).to_string())).or_default();
            if !record.kind.passed() {
                entry.1 += record.count;
            } else if seen.insert(record.identity()) {
                entry.0 += 1;
            }
        }
        let counted: HashMap<(String, String), (u64, u64)> = found
            .contacts
            .iter()
            .map(|contact| ((contact.address.clone(), contact.host.clone()), (contact.conversations, contact.refused)))
            .collect();
        assert_eq!(counted, expected);
        let host = unmapped(long.host).to_string();
        let row = found.contacts.iter().find(|contact| contact.listed == single && contact.host == host).unwrap();
        assert!(row.answered >= 1 && row.answered <= row.conversations, "{row:?}");
        assert_eq!(row.device.as_deref(), Some(&*long.device));
        assert_eq!(row.direction, "to");
        assert!(row.last >= time(long.first + 7_200_000), "{row:?}");
        // Asked by the other end: who was reached by this host.
        let back = back_check(dir.path(), &[IpNet::from(unmapped(long.host))], None, None, None).unwrap();
        assert!(back.contacts.iter().all(|contact| contact.direction == "from"));
        let nobody = back_check(dir.path(), &[net("203.0.113.0/24")], None, None, None).unwrap();
        assert!(nobody.contacts.is_empty() && nobody.complete());
    }

    #[test]
    fn the_longest_listed_prefix_is_named() {
        let listed =
            Listed::new(&[net("203.0.113.0/24"), net("203.0.113.7/32"), net("2001:db8::/32"), net("0.0.0.0/0")]);
        let find = |text: &str| listed.find(&crate::dataplane::maps::mapped(text.parse().unwrap()));
        assert_eq!(find("203.0.113.7"), Some(net("203.0.113.7/32")));
        assert_eq!(find("203.0.113.8"), Some(net("203.0.113.0/24")));
        assert_eq!(find("192.0.2.1"), Some(net("0.0.0.0/0")));
        assert_eq!(find("2001:db8::1"), Some(net("2001:db8::/32")));
        assert_eq!(find("2001:db9::1"), None);
    }
}
