//! From an instance to samples.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sekimori_ebpf::detect::abi::ALL;

use super::family::{Families, Sample, labelled, plain};
use crate::{
    agent::{clock::boottime_ns, counters::Counters, incident_desk::IncidentGauges, keeper::Keeper},
    api::report::{FileState, Status},
    cli::text::Lang,
    flows::Stats,
};

/// Everything that is exported of an instance.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are 64-bit floats")]
pub fn collect(keeper: &Keeper) -> Families {
    let status = keeper.status(Lang::En);
    let mut families = of_status(&status);
    if let Ok(counters) = keeper.counters_by_name() {
        of_counters(&mut families, &counters, boot_time());
    }
    let gauges = keeper.gauges();
    families.events_lost_total = gauges.events_lost.map(|lost| plain(lost as f64)).unwrap_or_default();
    families.apply_duration_seconds = gauges.apply_time.map(|time| plain(time.as_secs_f64())).unwrap_or_default();
    families.applies_total = [("done", gauges.applies.0), ("refused", gauges.applies.1)]
        .map(|(result, n)| labelled([("result", result)], n as f64))
        .to_vec();
    if keeper.config().http.is_some() {
        let tally = keeper.http_tally();
        let answer = |(status, count): (u16, u64)| labelled([("status", &status.to_string())], count as f64);
        families.http_answers_total = tally.answers().into_iter().map(answer).collect();
        families.http_turned_away_total = plain(tally.without_seat() as f64);
    }
    of_incidents(&mut families, &keeper.incident_gauges());
    of_flow_records(&mut families, &keeper.flow_records().stats());
    families.histograms = prometheus::core::Collector::collect(&gauges.switch_times);
    families.cutoff_drill_timestamp_seconds = plain(gauges.drilled.map_or(0.0, |at| at.as_millisecond() as f64 / 1e3));
    families.cutoff_plans =
        gauges.plans.iter().map(|(state, count)| labelled([("state", state.name())], *count as f64)).collect();
    families.cutoff_plan_next_timestamp_seconds =
        plain(gauges.next_plan.map_or(0.0, |at| at.as_millisecond() as f64 / 1e3));
    families.cutoff_overdue_seconds = plain(gauges.overdue.as_secs_f64());
    families.cutoff_unrecorded = plain(gauges.unrecorded as f64);
    families.network_cut =
        gauges.networks.iter().map(|(name, cut)| labelled([("network", name)], f64::from(u8::from(*cut)))).collect();
    families
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are 64-bit floats")]
fn of_incidents(families: &mut Families, gauges: &IncidentGauges) {
    let open = gauges.open.iter();
    families.incidents_open = open
        .map(|((detector, zone), count)| labelled([("detector", detector), ("zone", zone)], *count as f64))
        .collect();
    families.incidents_kept = plain(gauges.kept as f64);
    families.incidents_undecided = plain(gauges.undecided as f64);
    let (closed, open) = gauges.counts.forgotten;
    families.incidents_forgotten_total =
        [("open", open), ("closed", closed)].map(|(state, n)| labelled([("state", state)], n as f64)).to_vec();
    // At zero from the start, so that the first one is seen as an increase.
    let mut detections: BTreeMap<&str, u64> = ALL.iter().map(|detector| (detector.code(), 0)).collect();
    detections.extend(gauges.counts.detections.iter().map(|(detector, count)| (detector.as_str(), *count)));
    families.detections_total =
        detections.into_iter().map(|(detector, n)| labelled([("detector", detector)], n as f64)).collect();
    families.detections_crowded_total = plain(gauges.counts.crowded as f64);
    let tally = &gauges.tally;
    let lost = [("overwritten", tally.overwritten), ("unwritten", tally.unwritten), ("rotated", tally.rotated)];
    families.evidence_lost_total = lost.map(|(why, n)| labelled([("why", why)], n as f64)).to_vec();
    families.evidence_bytes = plain(gauges.evidence_bytes as f64);
    families.quarantine_held_back_total = plain(tally.held_back as f64);
    families.quarantine_guard_holds = plain(f64::from(u8::from(gauges.guard_holds)));
}

fn of_flow_records(families: &mut Families, stats: &Stats) {
    let some = |value: Option<f64>| value.map(plain).unwrap_or_default();
    families.flow_records_limit_bytes = plain(stats.limit as f64);
    if stats.limit == 0 {
        return;
    }
    families.flow_records = plain(stats.records as f64);
    families.flow_records_bytes = plain(stats.bytes as f64);
    families.flow_records_oldest_timestamp_seconds = some(stats.oldest.map(|at| at as f64 / 1e3));
    families.flow_records_fit_days = some(stats.fit_days);
    families.flow_records_lost_total = plain(stats.lost as f64);
    families.flow_records_damaged_blocks = plain(stats.damaged as f64);
    families.flow_records_torn_bytes = plain(stats.torn as f64);
    families.flow_conversations_missed_total = plain(stats.missed as f64);
    families.flow_unanswered_skipped_total = plain(stats.skipped as f64);
    families.flow_refused_unattributed_total = plain(stats.unattributed as f64);
    families.flow_walk_duration_seconds = plain(stats.walk_seconds);
}

/// The wall time of the kernel's boot, seconds: `CLOCK_BOOTTIME` stamps plus this are wall times.
#[expect(clippy::cast_precision_loss, reason = "milliseconds are precise enough")]
fn boot_time() -> f64 {
    Timestamp::now().as_millisecond() as f64 / 1e3 - boottime_ns() as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are 64-bit floats")]
fn of_status(status: &Status) -> Families {
    let flag = |on: bool| f64::from(u8::from(on));
    let mut families = Families {
        enforcing: plain(flag(status.enforcing)),
        detached: plain(flag(status.detached.is_some())),
        revision: plain(status.revision.as_ref().map_or(0.0, |revision| revision.number as f64)),
        policy_file_changed: plain(flag(matches!(
            status.policy_file.state,
            FileState::Changed | FileState::Invalid | FileState::Missing
        ))),
        record_lines: plain(status.record.last as f64),
        record_failures_total: plain(status.record.failures as f64),
        clock_steps_total: plain(status.clock.steps as f64),
        clock_behind_seconds: plain(status.clock.behind_seconds as f64),
        clock_synchronised: plain(flag(status.clock.synchronised)),
        faults: plain(status.faults.len() as f64),
        build_info: vec![labelled([("version", &status.version)], 1.0)],
        ..Families::default()
    };
    if let Some(revision) = &status.revision {
        let number = revision.number.to_string();
        families.revision_info = vec![labelled([("revision", &number), ("hash", &revision.hash)], 1.0)];
        if let Ok(at) = revision.applied_at.parse::<Timestamp>() {
            families.revision_applied_timestamp_seconds = plain(at.as_millisecond() as f64 / 1e3);
        }
    }
    let attached = |interface: &crate::api::report::Interface| {
        interface.xdp != "missing" && interface.tcx && interface.error.is_none()
    };
    families.interface_attached = status
        .interfaces
        .iter()
        .map(|interface| {
            labelled([("interface", &interface.name), ("mode", &interface.xdp)], flag(attached(interface)))
        })
        .collect();
    let fast = |interface: &crate::api::report::Interface| interface.fast_path.way_in && interface.fast_path.way_out;
    families.fast_path = status
        .interfaces
        .iter()
        .map(|interface| labelled([("interface", &interface.name)], flag(fast(interface))))
        .collect();
    for guard in &status.guard {
        families.guard_packets_total.push(labelled([("counter", &guard.name)], guard.packets as f64));
        families.guard_bytes_total.push(labelled([("counter", &guard.name)], guard.bytes as f64));
    }
    for table in &status.tables {
        families.table_entries.push(labelled([("table", &table.table)], table.used as f64));
        families.table_capacity_entries.push(labelled([("table", &table.table)], table.capacity as f64));
    }
    for kind in ["network", "zone", "host", "prefix", "all"] {
        let of_kind = status.cutoffs.iter().filter(|cut| cut.object.split(' ').next() == Some(kind));
        let (mut count, mut oldest) = (0.0, 0);
        for cut in of_kind.filter(|cut| cut.in_force) {
            count += 1.0;
            oldest = oldest.max(cut.age_seconds);
        }
        families.cutoff_active.push(labelled([("kind", kind)], count));
        families.cutoff_age_seconds.push(labelled([("kind", kind)], oldest as f64));
    }
    for row in &status.threat_lists {
        let sample = |value: f64| labelled([("list", row.list.as_str())], value);
        families.threat_list_prefixes.push(sample(row.prefixes as f64));
        families.threat_list_age_seconds.push(sample(row.age_seconds as f64));
        families.threat_list_expired.push(sample(flag(row.expired)));
        families.threat_list_refused.push(sample(flag(row.refused.is_some())));
        families.threat_list_refusals_total.push(sample(row.refusals as f64));
    }
    for (by, automatic) in [("person", false), ("automatic", true)] {
        let hosts = status.quarantine.iter().filter(|row| row.automatic == automatic);
        let (count, oldest) = hosts.fold((0, 0), |(count, oldest), row| (count + 1, row.age_seconds.max(oldest)));
        families.quarantined_hosts.push(labelled([("by", by)], f64::from(count)));
        families.quarantine_age_seconds.push(labelled([("by", by)], oldest as f64));
    }
    for kind in ["rule", "device", "exemption"] {
        let of_kind = || status.permissions.iter().filter(|permission| permission.kind == kind);
        let expired = of_kind().filter(|permission| permission.expired).count();
        families.permissions_expired.push(labelled([("kind", kind)], expired as f64));
        families.permissions_ending.push(labelled([("kind", kind)], (of_kind().count() - expired) as f64));
    }
    families
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are 64-bit floats")]
fn of_counters(families: &mut Families, counters: &Counters, boot: f64) {
    let wall = |last: u64| {
        if last == 0 { 0.0 } else { boot + last as f64 / 1e9 }
    };
    let mut last: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for line in &counters.networks {
        let labels = [
            ("network", line.network.as_str()),
            ("direction", line.direction),
            ("verdict", line.verdict),
            ("reason", line.reason.as_str()),
        ];
        families.packets_total.push(labelled(labels, line.packets as f64));
        families.bytes_total.push(labelled(labels, line.bytes as f64));
        let seen = last.entry((&line.network, line.direction, line.verdict)).or_default();
        *seen = line.last.max(*seen);
    }
    families.last_packet_timestamp_seconds = last
        .into_iter()
        .map(|((network, direction, verdict), seen)| {
            labelled([("network", network), ("direction", direction), ("verdict", verdict)], wall(seen))
        })
        .collect();
    for line in &counters.rules {
        let rule = ("rule", line.rule.as_str());
        let both = |forward: u64, reply: u64| -> [Sample; 2] {
            [("forward", forward), ("reply", reply)]
                .map(|(direction, n)| labelled([rule, ("direction", direction)], n as f64))
        };
        families.rule_packets_total.extend(both(line.packets, line.reply_packets));
        families.rule_bytes_total.extend(both(line.bytes, line.reply_bytes));
        families.rule_flows_total.push(labelled([rule], line.flows as f64));
        families.rule_last_hit_timestamp_seconds.push(labelled([rule], wall(line.last)));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::agent::counters::{NetLine, RuleLine};

    #[test]
    fn counters_keep_their_names_and_last_hits_become_wall_time() {
        let mut families = Families::default();
        let counters = Counters {
            networks: ["no_rule", "land"]
                .iter()
                .zip([5_000_000_000, 7_000_000_000])
                .map(|(reason, last)| NetLine {
                    network: "internet".into(),
                    direction: "in",
                    verdict: "drop",
                    reason: (*reason).into(),
                    packets: 3,
                    bytes: 180,
                    last,
                })
                .collect(),
            rules: vec![RuleLine {
                rule: "office-web".into(),
                packets: 10,
                bytes: 1000,
                reply_packets: 8,
                reply_bytes: 9000,
                flows: 2,
                last: 0,
            }],
        };
        of_counters(&mut families, &counters, 1000.0);
        assert_eq!(families.packets_total.len(), 2);
        assert_eq!(families.last_packet_timestamp_seconds.len(), 1);
        assert!((families.last_packet_timestamp_seconds[0].value - 1007.0).abs() < 1e-9);
        assert_eq!(families.rule_last_hit_timestamp_seconds[0].value.to_bits(), 0f64.to_bits());
        let text = String::from_utf8(families.render().unwrap()).unwrap();
        assert!(
            text.contains("sekimori_rule_bytes_total{direction=\"reply\",rule=\"office-web\"} 9000")
                || text.contains("sekimori_rule_bytes_total{rule=\"office-web\",direction=\"reply\"} 9000"),
            "{text}"
        );
    }
}
