//! The room as a whole, on events and rings that are made here.

#![expect(clippy::unwrap_used, reason = "tests")]

mod disk;
mod grouping;
mod packets;

use jiff::Timestamp;
use sekimori_ebpf::detect::abi::Detector;

use super::{Action, Sighting};

pub(super) const SECOND: u64 = 1_000_000_000;
/// 2026-12-01T01:00:00Z.
pub(super) const BEGIN: i64 = 1_796_086_800;

/// One event of a host of the office, `at` seconds after the beginning.
pub(super) fn seen(host: &str, detector: Detector, at: i64, hits: u32) -> Sighting {
    Sighting {
        at: Timestamp::from_second(BEGIN + at).unwrap(),
        detector: detector as u32,
        action: Action::Alert,
        host: host.into(),
        zone: "office".into(),
        device: None,
        owner: None,
        mac: Some("02:00:00:00:10:17".into()),
        interface: Some("lan0".into()),
        destination: Some(format!("198.51.100.{}", hits % 250).parse().unwrap()),
        port: Some(u16::try_from(hits % 60_000).unwrap() + 1),
        list: None,
        hits,
        value: hits,
        still: false,
        refused: 0,
        reason: Some("no_rule".into()),
        rule: None,
        revision: None,
        blocked_until: None,
    }
}
