//! What is known only after the packets have passed, found in flow records as they are made: hosts that call at regular times, and
//! hosts that scan too slowly for the data plane to remember. Exempt hosts and zones that do not watch for it are left out; what
//! is found is an incident like any other.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use sekimori_ebpf::{
    abi::proto,
    detect::abi::{ACTION_OFF, Detection, Detector, Watched},
    reason::Reason,
};
use tokio::time::{MissedTickBehavior, interval};

use super::{clock::boottime_ns, handler::Desk, keeper::Keeper};
use crate::{
    dataplane::maps::unmapped,
    detect::{
        beacon::{Beacon, Beacons, Pair},
        slow::{Contact, Search, Searches},
    },
    flows::{Kind, Record},
    policy::model::NetKind,
};

/// How often new records are looked at: recorders publish every ten seconds or slower.
const EVERY: Duration = Duration::from_secs(5);
/// Batches that may wait.
const DEPTH: usize = 64;
/// What is not answered of the web counts only if somebody of the zone was answered from so long before on, milliseconds:
/// otherwise the line is down, and a browser is no scanner for trying.
const LINE: i64 = 300_000;

/// Runs until it is dropped. The instance is locked for moments only: a cut-off must not wait until records are read.
pub(super) async fn watch(desk: Desk) {
    let keeper = desk.keeper();
    let reader = keeper.lock().await.flow_records().feed().subscribe(DEPTH);
    let mut hindsight = Hindsight::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        while let Some(batch) = reader.try_next() {
            let limits = keeper.lock().await.limits();
            let found = tokio::task::block_in_place(|| hindsight.look(&limits, &batch));
            if !found.is_empty() {
                let mut keeper = keeper.lock().await;
                tokio::task::block_in_place(|| keeper.hindsight(&found));
            }
        }
    }
}

/// What was found in a record.
enum Found {
    Calls(Beacon),
    Search { search: Search, limit: u32 },
}

/// What was seen so far.
#[derive(Default)]
struct Hindsight {
    beacons: Beacons,
    searches: Searches,
    /// When somebody in a zone was last answered, milliseconds of Unix time.
    answered: HashMap<Arc<str>, i64>,
}

impl Hindsight {
    /// `limits`: as [`Keeper::limits`] says.
    fn look(&mut self, limits: &HashMap<String, u32>, batch: &[Record]) -> Vec<(Found, Record)> {
        let mut records: Vec<&Record> = batch.iter().collect();
        records.sort_by_key(|record| record.first);
        for record in records.iter().filter(|record| record.answered) {
            let last = self.answered.entry(Arc::clone(&record.zone)).or_insert(i64::MIN);
            *last = record.last.max(*last);
        }
        let mut found = Vec::new();
        for record in records {
            let limit = limits.get(&*record.zone).copied();
            let both = [self.calls(record), limit.and_then(|limit| self.search(record, limit))];
            found.extend(both.into_iter().flatten().map(|what| (what, record.clone())));
        }
        found
    }

    /// Regular calls.
    fn calls(&mut self, record: &Record) -> Option<Found> {
        if !matches!(record.kind, Kind::Began | Kind::Whole) {
            return None;
        }
        let began = Timestamp::from_millisecond(record.first).ok()?;
        let (host, peer) = (unmapped(record.host), unmapped(record.peer));
        let pair = Pair { host, peer, port: record.peer_port, proto: record.proto };
        self.beacons.note(pair, began).map(Found::Calls)
    }

    /// Contacts that stay unanswered, one now and then.
    fn search(&mut self, record: &Record, limit: u32) -> Option<Found> {
        let answered = outcome(record)?;
        if !answered && web(record) {
            let line = self.answered.get(&record.zone).copied().unwrap_or(i64::MIN);
            if line < record.first.saturating_sub(LINE) {
                return None;
            }
        }
        let (host, peer) = (unmapped(record.host), unmapped(record.peer));
        let contact = Contact { host, peer, port: record.peer_port, proto: record.proto };
        let search = self.searches.note(contact, answered, record.last, limit)?;
        Some(Found::Search { search, limit })
    }
}

/// Whether a contact was answered; `None` while that is open, or if the record tells nothing of it.
fn outcome(record: &Record) -> Option<bool> {
    match record.kind {
        kind if kind.over() => Some(record.answered),
        kind if kind.passed() && record.answered => Some(true),
        // What the policy refuses never left. It is somebody's search only where intruders look first: programs and telephones try
        // all kinds of other services all day that an allow-list refuses.
        Kind::Refused if !record.outwards && record.reason == Reason::NoRule as u8 && sought(record) => Some(false),
        _ => None,
    }
}

/// The services that browsers try.
fn web(record: &Record) -> bool {
    matches!(record.peer_port, 80 | 443)
}

/// The services by which intruders go from machine to machine: remote shells and desktops, files, databases.
fn sought(record: &Record) -> bool {
    record.proto == proto::TCP
        && matches!(record.peer_port, 21..=23 | 135..=139 | 445 | 1433 | 2323 | 3306 | 3389 | 5432 | 5900 | 5985)
}

impl Keeper {
    /// How many failures make a slow scan, in the zones that watch for them.
    fn limits(&self) -> HashMap<String, u32> {
        let Some(live) = self.live.as_ref() else { return HashMap::new() };
        let limit = |watched: &Watched| {
            let threshold = watched.thresholds.get(Detector::SlowScan as usize)?;
            (threshold.action != ACTION_OFF).then_some(threshold.count)
        };
        let names = live.compiled.net_names.iter();
        names
            .filter_map(|(name, id)| {
                let (_, watched) = live.compiled.watching.zones.iter().find(|(zone, _)| zone == id)?;
                Some((name.to_string(), limit(watched)?))
            })
            .collect()
    }

    /// Makes incidents of what was found.
    fn hindsight(&mut self, found: &[(Found, Record)]) {
        let detections: Vec<Detection> =
            found.iter().filter_map(|(found, record)| self.in_hindsight(found, record)).collect();
        // No packet is kept for them: what proves them are the flow records.
        let _wishes = self.detected(&detections);
    }

    fn in_hindsight(&self, found: &Found, record: &Record) -> Option<Detection> {
        let (host, peer) = (unmapped(record.host), unmapped(record.peer));
        match found {
            Found::Calls(beacon) => {
                let nets = &self.live.as_ref()?.policy.nets;
                let outside = nets
                    .iter()
                    .any(|net| net.name.as_str() == &*record.network && matches!(net.kind, NetKind::External(_)));
                let detection = self.afterwards(Detector::Beacon, record).filter(|_| outside)?;
                tracing::info!(%host, %peer, period = ?beacon.period, "regular calls");
                let hits = u32::try_from(beacon.calls).unwrap_or(u32::MAX);
                let value = u32::try_from(beacon.period.as_secs()).unwrap_or(u32::MAX);
                Some(Detection { hits, value, ..detection })
            }
            Found::Search { search, limit } => {
                // Who may scan quickly may do so slowly.
                let quick = match search {
                    Search::Service { .. } => Detector::HorizontalScan,
                    Search::Address { .. } => Detector::VerticalScan,
                };
                if self.exempt(quick, record) {
                    return None;
                }
                let detection = self.afterwards(Detector::SlowScan, record)?;
                tracing::info!(%host, %peer, port = record.peer_port, as_if = quick.code(), "a slow scan");
                Some(Detection { hits: *limit, value: *limit, ..detection })
            }
        }
    }

    /// The id of a record's zone, and what it watches for.
    fn watched(&self, record: &Record) -> Option<(u16, &Watched)> {
        let compiled = &self.live.as_ref()?.compiled;
        let (_, zone) = compiled.net_names.iter().find(|(name, _)| **name == *record.zone)?;
        let (_, watched) = compiled.watching.zones.iter().find(|(id, _)| id == zone)?;
        Some((*zone, watched))
    }

    fn exempt(&self, detector: Detector, record: &Record) -> bool {
        let Some(live) = self.live.as_ref() else { return false };
        let exempt = live.compiled.watching.exempt_at(Timestamp::now());
        exempt.get(&record.host).is_some_and(|mask| mask >> detector as u32 & 1 != 0)
    }

    /// What a detector found in flow records, as if the data plane had; `None` where the zone does not watch for it or the host is
    /// exempt.
    fn afterwards(&self, detector: Detector, record: &Record) -> Option<Detection> {
        let (zone, watched) = self.watched(record)?;
        let action = watched.thresholds.get(detector as usize)?.action;
        if action == ACTION_OFF || self.exempt(detector, record) {
            return None;
        }
        Some(Detection {
            time: boottime_ns(),
            host: record.host,
            src: record.host,
            dst: record.peer,
            net: zone,
            detector: detector as u32,
            action,
            reason: if record.kind.passed() { Reason::Flow as u32 } else { record.reason.into() },
            sport: record.host_port,
            dport: record.peer_port,
            vlan: record.vlan,
            proto: record.proto,
            ..Detection::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::testing::Day;

    #[test]
    fn a_contact_counts_once_its_outcome_is_known() {
        let of = |kind, answered| {
            outcome(&Record { kind, answered, proto: proto::TCP, peer_port: 9_100, ..Day::new(3).conversation() })
        };
        assert_eq!([Kind::Began, Kind::GoesOn, Kind::Others, Kind::Refused].map(|kind| of(kind, false)), [None; 4]);
        assert_eq!([Kind::Ended, Kind::Whole].map(|kind| of(kind, false)), [Some(false); 2]);
        assert_eq!([Kind::Began, Kind::Whole].map(|kind| of(kind, true)), [Some(true); 2]);
    }

    #[test]
    fn what_is_refused_counts_where_intruders_look_first() {
        let of = |peer_port, reason: Reason, outwards| {
            let kind = Kind::Refused;
            let reason = reason as u8;
            outcome(&Record { kind, reason, outwards, proto: proto::TCP, peer_port, ..Day::new(3).conversation() })
        };
        assert_eq!(of(445, Reason::NoRule, false), Some(false));
        assert_eq!(of(5_223, Reason::NoRule, false), None);
        assert_eq!(of(445, Reason::NoRule, true), None);
        assert_eq!(of(445, Reason::TcpNotSyn, false), None);
    }

    /// A hundred thousand conversations, one in twenty without an answer.
    #[test]
    fn a_day_of_a_town_hall_holds_no_slow_scan() {
        let mut day = Day::new(5);
        let mut hindsight = Hindsight::default();
        let records: Vec<Record> = (0..100_000).map(|_| day.conversation()).collect();
        let limits = HashMap::from([(records[0].zone.to_string(), 8)]);
        let found = records.chunks(1_000).flat_map(|batch| hindsight.look(&limits, batch));
        assert_eq!(found.filter(|(found, _)| matches!(found, Found::Search { .. })).count(), 0);
    }

    /// The web of a line that is down is no scan; of one that is up it is.
    #[test]
    fn an_outage_is_no_slow_scan() {
        for (up, expected) in [(false, 0), (true, 1)] {
            let mut hindsight = Hindsight::default();
            let mut day = Day::new(6);
            let like = Record { kind: Kind::Whole, proto: proto::TCP, ..day.conversation() };
            let limits = HashMap::from([(like.zone.to_string(), 8)]);
            let batch: Vec<Record> = (0..12_u8)
                .flat_map(|number| {
                    let first = like.first + i64::from(number) * LINE * 2;
                    let peer = std::net::Ipv4Addr::new(198, 51, 100, number).to_ipv6_mapped().octets();
                    let failed = Record { first, last: first, peer, peer_port: 443, answered: false, ..like.clone() };
                    let other = Record { host: peer, answered: up, peer_port: 80, peer: like.host, ..failed.clone() };
                    [other, failed]
                })
                .collect();
            let found = hindsight.look(&limits, &batch);
            let hosts = found.iter().filter(|(what, of)| matches!(what, Found::Search { .. }) && of.host == like.host);
            assert_eq!(hosts.count(), expected, "{up}");
        }
    }
}
