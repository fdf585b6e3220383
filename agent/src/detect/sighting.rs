//! One event of the data plane with its names, as an incident takes it in.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use sekimori_ebpf::{
    abi::proto,
    detect::abi::{ACTION_BLOCK, ACTION_OBSERVE, ACTION_QUARANTINE, ACTION_THROTTLE, Detection, Detector},
};
use serde::{Deserialize, Serialize};

use crate::{cutoff::object::mac_text, dataplane::maps::unmapped, record::RevisionRef};

/// What the data plane did, from the mildest to the hardest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Noted, nothing else.
    #[default]
    Observe,
    /// An alert.
    Alert,
    /// What was beyond the threshold was dropped.
    Throttle,
    /// What the host did of this kind was dropped for a time.
    Block,
    /// The host was to go into quarantine.
    Quarantine,
}

impl Action {
    /// By number. One of another build's counts as an alert: people look at it.
    pub fn from_number(number: u32) -> Self {
        match number {
            ACTION_OBSERVE => Self::Observe,
            ACTION_THROTTLE => Self::Throttle,
            ACTION_BLOCK => Self::Block,
            ACTION_QUARANTINE => Self::Quarantine,
            _ => Self::Alert,
        }
    }

    /// As in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Alert => "alert",
            Self::Throttle => "throttle",
            Self::Block => "block",
            Self::Quarantine => "quarantine",
        }
    }
}

/// Whose doing it is, as text that names one host: address, MAC, or the zone itself.
pub fn host_text(host: &[u8; 16], zone: &str) -> String {
    match *host {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => format!("zone {zone}"),
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, mac @ ..] => mac_text(mac),
        address => unmapped(address).to_string(),
    }
}

/// The address a host is known by, if it is known by one.
pub fn host_address(host: &[u8; 16]) -> Option<IpAddr> {
    let mac = host.starts_with(&[0xff; 10]);
    (*host != [0; 16] && !mac).then(|| unmapped(*host))
}

/// The MAC a host is known by, if it is known by one.
pub fn host_mac(host: &[u8; 16]) -> Option<[u8; 6]> {
    match *host {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, mac @ ..] => Some(mac),
        _ => None,
    }
}

/// Name of a detector; one of another build's keeps its number.
pub fn detector_code(number: u32) -> String {
    Detector::from_number(number).map_or_else(|| format!("detector_{number}"), |detector| detector.code().to_owned())
}

/// See the module documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// When.
    pub at: Timestamp,
    /// Detector's number.
    pub detector: u32,
    /// What was done.
    pub action: Action,
    /// As [`host_text`].
    pub host: String,
    /// Zone or network.
    pub zone: String,
    /// Registered device.
    pub device: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Its MAC, where it is seen.
    pub mac: Option<String>,
    /// Interface it came by.
    pub interface: Option<String>,
    /// Where it went.
    pub destination: Option<IpAddr>,
    /// To which port, if it has one.
    pub port: Option<u16>,
    /// The threat list that is about where it went.
    pub list: Option<String>,
    /// [`Detection::hits`].
    pub hits: u32,
    /// [`Detection::value`].
    pub value: u32,
    /// [`Detection::refused`].
    pub refused: u32,
    /// Reason code of the packet.
    pub reason: Option<String>,
    /// Rule that decided.
    pub rule: Option<String>,
    /// Revision in force.
    pub revision: Option<RevisionRef>,
    /// Nothing was seen in this packet: an earlier block refuses whatever the host does.
    pub still: bool,
    /// Until when it is blocked.
    pub blocked_until: Option<Timestamp>,
}

/// The port a packet goes to; of ICMP there is none.
pub fn port_of(detection: &Detection) -> Option<u16> {
    matches!(detection.proto, proto::TCP | proto::UDP).then_some(detection.dport).filter(|port| *port != 0)
}

/// Where a packet goes, if it has an address.
pub fn destination_of(detection: &Detection) -> Option<IpAddr> {
    (detection.dst != [0; 16]).then(|| unmapped(detection.dst))
}
