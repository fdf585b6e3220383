//! Hosts that call at regular times, found in flow records as they are made. Exempt hosts and zones that do not watch for it are
//! left out; what is found is an incident like any other.

use std::time::Duration;

use jiff::Timestamp;
use sekimori_ebpf::{
    detect::abi::{ACTION_OFF, Detection, Detector},
    reason::Reason,
};
use tokio::time::{MissedTickBehavior, interval};

use super::{clock::boottime_ns, handler::Desk, keeper::Keeper};
use crate::{
    dataplane::maps::unmapped,
    detect::beacon::{Beacon, Beacons, Pair},
    flows::{Kind, Record},
    policy::model::NetKind,
};

/// How often new records are looked at: recorders publish every ten seconds or slower.
const EVERY: Duration = Duration::from_secs(5);
/// Batches that may wait.
const DEPTH: usize = 64;

/// Runs until it is dropped.
pub(super) async fn watch(desk: Desk) {
    let keeper = desk.keeper();
    let reader = keeper.lock().await.flow_records().feed().subscribe(DEPTH);
    let mut beacons = Beacons::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut found = Vec::new();
        while let Some(batch) = reader.try_next() {
            let mut began: Vec<&Record> =
                batch.iter().filter(|record| matches!(record.kind, Kind::Began | Kind::Whole)).collect();
            began.sort_by_key(|record| record.first);
            for record in began {
                let Ok(time) = Timestamp::from_millisecond(record.first) else { continue };
                if let Some(beacon) = beacons.note(pair(record), time) {
                    found.push((beacon, record.clone()));
                }
            }
        }
        if !found.is_empty() {
            let mut keeper = keeper.lock().await;
            tokio::task::block_in_place(|| keeper.beacons(&found));
        }
    }
}

fn pair(record: &Record) -> Pair {
    let (host, peer) = (unmapped(record.host), unmapped(record.peer));
    Pair { host, peer, port: record.peer_port, proto: record.proto }
}

impl Keeper {
    /// Makes incidents of regular calls from zones that watch for them to external networks.
    fn beacons(&mut self, found: &[(Beacon, Record)]) {
        let detections: Vec<Detection> =
            found.iter().filter_map(|(beacon, record)| self.beacon(beacon, record)).collect();
        // No packet is kept for them: what proves them are the flow records.
        let _wishes = self.detected(&detections);
    }

    fn beacon(&self, beacon: &Beacon, record: &Record) -> Option<Detection> {
        let live = self.live.as_ref()?;
        let net = |name: &str| live.compiled.net_names.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
        let zone = net(&record.zone)?;
        let (_, watched) = live.compiled.watching.zones.iter().find(|(id, _)| *id == zone)?;
        let action = watched.thresholds[Detector::Beacon as usize].action;
        let outside = live
            .policy
            .nets
            .iter()
            .any(|net| net.name.as_str() == &*record.network && matches!(net.kind, NetKind::External(_)));
        let exempt = live.compiled.watching.exempt_at(Timestamp::now());
        let mask = exempt.get(&record.host).copied().unwrap_or(0);
        if action == ACTION_OFF || !outside || mask >> Detector::Beacon as u32 & 1 != 0 {
            return None;
        }
        tracing::info!(host = %beacon.pair.host, peer = %beacon.pair.peer, period = ?beacon.period, "regular calls");
        Some(Detection {
            time: boottime_ns(),
            host: record.host,
            src: record.host,
            dst: record.peer,
            net: zone,
            detector: Detector::Beacon as u32,
            action,
            hits: u32::try_from(beacon.calls).unwrap_or(u32::MAX),
            value: u32::try_from(beacon.period.as_secs()).unwrap_or(u32::MAX),
            reason: Reason::Flow as u32,
            sport: record.host_port,
            dport: record.peer_port,
            vlan: record.vlan,
            proto: record.proto,
            ..Detection::default()
        })
    }
}
