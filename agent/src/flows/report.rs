//! Records as they are shown and sent.

use serde::{Deserialize, Serialize};

use super::{
    query::{Listing, time},
    record::{self, Kind, Record},
};
use crate::dataplane::maps::unmapped;

/// One record for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// First packet, RFC 3339.
    pub time: String,
    /// Last packet, to the second.
    pub last: String,
    /// Seconds between the two.
    pub seconds: i64,
    /// `pass` or `drop`.
    pub verdict: String,
    /// `open` while the end of a conversation is not known, `over`; `None` for refused packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Who sent the first packet; `None` for refused packets that are attributed to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its port; of ICMP echo, the identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// Its registered device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Whom it was sent to, as the sender addressed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The port asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_port: Option<u16>,
    /// IP protocol name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<String>,
    /// Zone or network in which the host is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Zone or network it was judged for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Interface the first packet came in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// VLAN id there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The rule that permitted it, or would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Reason code.
    pub reason: String,
    /// Of refused packets: `in` or `out`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Of conversations: whether the other side answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
    /// Conversations: 1; refused packets: how many.
    pub count: u64,
}

/// Rows, and how far the search went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// In order of their beginning.
    pub records: Vec<Row>,
    /// There are older ones beyond the limit.
    pub more: bool,
    /// Blocks that could not be read.
    pub damaged: u64,
    /// Time ran out before everything was looked at.
    pub late: bool,
}

impl From<Listing> for Rows {
    fn from(found: Listing) -> Self {
        let Listing { records, more, damaged, late } = found;
        Self { records: records.iter().map(Row::from).collect(), more, damaged, late }
    }
}

impl From<&Record> for Row {
    fn from(record: &Record) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let number = |number: u16| (number != 0).then_some(number);
        let passed = record.kind.passed();
        let named = record.kind != Kind::Others;
        let address = |addr| named.then(|| unmapped(addr).to_string());
        let words = |word: &str| word.to_owned();
        Self {
            time: time(record.first),
            last: time(record.last),
            seconds: (record.last - record.first) / 1000,
            verdict: words(if passed { "pass" } else { "drop" }),
            state: passed.then(|| words(if record.kind.over() { "over" } else { "open" })),
            host: address(record.host),
            host_port: number(record.host_port),
            device: text(&record.device),
            peer: address(record.peer),
            peer_port: number(record.peer_port),
            proto: named.then(|| record::protocol(record.proto)),
            zone: text(&record.zone),
            network: text(&record.network),
            interface: text(&record.interface),
            vlan: number(record.vlan),
            rule: text(&record.rule),
            reason: record::reason(record.reason),
            direction: (!passed).then(|| words(if record.outwards { "out" } else { "in" })),
            answered: passed.then_some(record.answered),
            count: record.count,
        }
    }
}
