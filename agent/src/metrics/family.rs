//! The catalogue of metrics. A family's documentation is its HELP text.

use prometheus::{
    Encoder, Histogram, HistogramOpts, TextEncoder,
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

/// One value with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value. Counts above 2^53 lose their last digits, as everywhere in Prometheus.
    pub value: f64,
}

macro_rules! families {
    ($( #[doc = $help:literal] $name:ident: $kind:ident; )*) => {
        /// Every family with its samples.
        #[derive(Debug, Clone, Default)]
        pub struct Families {
            $( #[doc = $help] pub $name: Vec<Sample>, )*
            /// Families that are more than one value a sample.
            pub histograms: Vec<MetricFamily>,
        }

        impl Families {
            /// The text exposition format; families without a sample are left out.
            ///
            /// # Errors
            /// None is known; the encoder's signature has one.
            pub fn render(self) -> Result<Vec<u8>, prometheus::Error> {
                let families = [ $(
                    build(concat!("sekimori_", stringify!($name)), $help.trim(), MetricType::$kind, self.$name),
                )* ];
                let mut text = Vec::new();
                for family in families.into_iter().flatten().chain(self.histograms) {
                    TextEncoder::new().encode(&[family], &mut text)?;
                }
                Ok(text)
            }
        }
    };
}

families! {
    /// Packets judged on guarded interfaces, by zone or network, direction, verdict and reason.
    packets_total: COUNTER;
    /// Bytes of those packets.
    bytes_total: COUNTER;
    /// When the last packet with this verdict was judged.
    last_packet_timestamp_seconds: GAUGE;
    /// Packets of the conversations a rule permitted; direction is forward or reply.
    rule_packets_total: COUNTER;
    /// Bytes of the conversations a rule permitted.
    rule_bytes_total: COUNTER;
    /// Conversations a rule opened.
    rule_flows_total: COUNTER;
    /// When a packet last passed by a rule; 0 if none ever did.
    rule_last_hit_timestamp_seconds: GAUGE;
    /// Packets the nftables guard dropped.
    guard_packets_total: COUNTER;
    /// Bytes the nftables guard dropped.
    guard_bytes_total: COUNTER;
    /// Events that did not reach user space; their packets are counted all the same.
    events_lost_total: COUNTER;
    /// Entries in use in a table of the data plane.
    table_entries: GAUGE;
    /// Entries a table of the data plane can hold.
    table_capacity_entries: GAUGE;
    /// 1 if every guarded interface that exists judges its packets by a policy.
    enforcing: GAUGE;
    /// 1 if the gate was opened on purpose.
    detached: GAUGE;
    /// 1 if both hooks are attached to a guarded interface; mode is native, generic or missing.
    interface_attached: GAUGE;
    /// 1 if established flows may be forwarded by the way in, in and out by this interface.
    fast_path: GAUGE;
    /// Number of the revision in force, 0 for none.
    revision: GAUGE;
    /// The revision in force by its hash; always 1.
    revision_info: GAUGE;
    /// When the revision in force was applied.
    revision_applied_timestamp_seconds: GAUGE;
    /// 1 if the policy on disk is not the one in force.
    policy_file_changed: GAUGE;
    /// Cut-offs in force, by kind of object.
    cutoff_active: GAUGE;
    /// Age of the oldest cut-off of a kind.
    cutoff_age_seconds: GAUGE;
    /// How far the cut-off that should have lifted itself longest ago is past its time; 0 if none is.
    cutoff_overdue_seconds: GAUGE;
    /// Cut-offs in force without a line in the record.
    cutoff_unrecorded: GAUGE;
    /// Planned cut-offs, by state: pending, failing (its time has come, and it is tried again) or missed.
    cutoff_plans: GAUGE;
    /// When the next planned cut-off begins; 0 if none is planned.
    cutoff_plan_next_timestamp_seconds: GAUGE;
    /// When a cut-off was last rehearsed; 0 if never.
    cutoff_drill_timestamp_seconds: GAUGE;
    /// Hosts in quarantine, by who put them there: person or automatic.
    quarantined_hosts: GAUGE;
    /// Age of the oldest quarantine that a person or something automatic placed; 0 if there is none.
    quarantine_age_seconds: GAUGE;
    /// Incidents nobody has looked at, by detector and zone.
    incidents_open: GAUGE;
    /// Incidents kept, whatever their state.
    incidents_kept: GAUGE;
    /// Incidents since the agent started that made room for newer ones, by whether somebody had looked at them: open or closed.
    incidents_forgotten_total: COUNTER;
    /// Open incidents whose quarantine a person must decide about: refused, held back by the guard, or failed.
    incidents_undecided: GAUGE;
    /// Events of detectors since the agent started.
    detections_total: COUNTER;
    /// Events since the agent started that went into an incident of many hosts, because too many incidents opened at once.
    detections_crowded_total: COUNTER;
    /// Packets (overwritten) and files (unwritten, rotated) of evidence lost since the agent started.
    evidence_lost_total: COUNTER;
    /// Bytes of evidence on disk.
    evidence_bytes: GAUGE;
    /// Hosts since the agent started that the guard did not let detectors put in quarantine.
    quarantine_held_back_total: COUNTER;
    /// 1 while detectors may put no further host in quarantine.
    quarantine_guard_holds: GAUGE;
    /// Prefixes in use of a list that others keep; 0 if nothing of it is.
    threat_list_prefixes: GAUGE;
    /// Age of what is used of a list, since its newest file was written; 0 if nothing is.
    threat_list_age_seconds: GAUGE;
    /// 1 if what is used of a list is older than the policy lets it be.
    threat_list_expired: GAUGE;
    /// 1 if what is on disk of a list was refused: the last good delivery is used, or none.
    threat_list_refused: GAUGE;
    /// Deliveries of a list refused since the agent started.
    threat_list_refusals_total: COUNTER;
    /// 1 if this zone or network is cut off.
    network_cut: GAUGE;
    /// Rules and device registrations that have ended.
    permissions_expired: GAUGE;
    /// Rules and device registrations that end within 30 days.
    permissions_ending: GAUGE;
    /// How long the last policy switch took, staging and verifying included.
    apply_duration_seconds: GAUGE;
    /// Applies since the agent started, by result.
    applies_total: COUNTER;
    /// Answers of the HTTP API since the agent started, by status.
    http_answers_total: COUNTER;
    /// Connections to the HTTP API since the agent started that were turned away because too many were open.
    http_turned_away_total: COUNTER;
    /// Lines in the record of administrators' actions.
    record_lines: GAUGE;
    /// Lines of the record that could not be written since the agent started.
    record_failures_total: COUNTER;
    /// Flow records on disk.
    flow_records: GAUGE;
    /// Bytes that flow records take on disk.
    flow_records_bytes: GAUGE;
    /// Bytes that flow records may take on disk; 0 if none are kept.
    flow_records_limit_bytes: GAUGE;
    /// When the oldest conversation in the flow records began.
    flow_records_oldest_timestamp_seconds: GAUGE;
    /// Days of flow records that fit, at the rate of those there are; not there before ten minutes are recorded.
    flow_records_fit_days: GAUGE;
    /// Flow records that could not be kept since the agent started.
    flow_records_lost_total: COUNTER;
    /// Blocks of flow records that the agent found damaged when it started.
    flow_records_damaged_blocks: GAUGE;
    /// Bytes of flow records that a crash had left half written when the agent started.
    flow_records_torn_bytes: GAUGE;
    /// Conversations opened since the agent started that were gone before they could be recorded.
    flow_conversations_missed_total: COUNTER;
    /// Records of unanswered conversations since the agent started that a flood of such had no room for.
    flow_unanswered_skipped_total: COUNTER;
    /// Refused packets since the agent started that flow records attribute to nobody.
    flow_refused_unattributed_total: COUNTER;
    /// How long the last look at the live conversations took.
    flow_walk_duration_seconds: GAUGE;
    /// Times the wall clock was set since the agent started.
    clock_steps_total: COUNTER;
    /// How far the wall clock is behind the latest time ever seen; timed rules stay closed meanwhile.
    clock_behind_seconds: GAUGE;
    /// 1 if a time source disciplines the clock.
    clock_synchronised: GAUGE;
    /// Faults that `sekimori status` lists.
    faults: GAUGE;
    /// The version that serves this; always 1.
    build_info: GAUGE;
}

/// How long cut-offs took from the request to the tables; the last packet passes a few microseconds later.
///
/// # Panics
/// Never: name and buckets are constants of the right form, which a test proves.
#[expect(clippy::expect_used, reason = "constants")]
pub fn switch_times() -> Histogram {
    let help = "How long cut-offs took from the request to the tables of the data plane, since the agent started.";
    let buckets = vec![0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 1.0];
    let options = HistogramOpts::new("sekimori_cutoff_switch_seconds", help).buckets(buckets);
    Histogram::with_opts(options).expect("a name and ascending buckets")
}

fn build(name: &str, help: &str, kind: MetricType, samples: Vec<Sample>) -> Option<MetricFamily> {
    if samples.is_empty() {
        return None;
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples.into_iter().map(|sample| metric(kind, sample)).collect());
    Some(family)
}

fn metric(kind: MetricType, sample: Sample) -> Metric {
    let labels = sample.labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(labels.collect());
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(sample.value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(sample.value);
        metric.set_gauge(gauge);
    }
    metric
}

/// A sample without labels.
pub fn plain(value: f64) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value }]
}

/// A sample with labels.
pub fn labelled<const N: usize>(labels: [(&'static str, &str); N], value: f64) -> Sample {
    Sample { labels: labels.map(|(name, value)| (name, value.to_owned())).to_vec(), value }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    fn sample() -> Families {
        Families {
            packets_total: vec![labelled(
                [("network", "internet"), ("direction", "in"), ("verdict", "drop"), ("reason", "no_rule")],
                42.0,
            )],
            enforcing: plain(1.0),
            build_info: vec![labelled([("version", "0.1.0")], 1.0)],
            record_failures_total: plain(0.0),
            cutoff_age_seconds: vec![labelled([("kind", "network")], 1.5)],
            ..Families::default()
        }
    }

    #[test]
    fn cut_off_times_are_a_histogram() {
        let times = switch_times();
        times.observe(0.0004);
        let families = Families { histograms: prometheus::core::Collector::collect(&times), ..sample() };
        let text = String::from_utf8(families.render().unwrap()).unwrap();
        assert!(text.contains("sekimori_cutoff_switch_seconds_bucket{le=\"0.0005\"} 1"), "{text}");
    }

    #[test]
    fn the_documentation_is_the_help_text() {
        let text = String::from_utf8(sample().render().unwrap()).unwrap();
        assert!(text.contains("# HELP sekimori_enforcing 1 if every guarded interface that exists"), "{text}");
        assert!(text.contains("# TYPE sekimori_packets_total counter"), "{text}");
        assert!(
            text.contains(
                "sekimori_packets_total{direction=\"in\",network=\"internet\",reason=\"no_rule\",verdict=\"drop\"} 42"
            ) || text.contains(
                "sekimori_packets_total{network=\"internet\",direction=\"in\",verdict=\"drop\",reason=\"no_rule\"} 42"
            ),
            "{text}"
        );
        assert!(!text.contains("sekimori_guard"), "families without samples are left out");
    }

    /// Skipped where Prometheus is not installed; the behaviour tests demand it.
    #[test]
    fn promtool_has_nothing_to_say() {
        let spawned = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = spawned else { return };
        promtool.stdin.take().unwrap().write_all(&sample().render().unwrap()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
