//! What the oracle remembers between packets, and the overlay that is not part of the policy.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use sekimori::policy::model::{Mac, Place, Port};

use super::{
    limits::{Pace, Place as Taken},
    rules::What,
    tcp::Track,
};

/// Everything outside the policy.
#[derive(Debug, Clone, Default)]
pub struct OracleState {
    /// What is cut.
    pub cut: Cut,
    /// Who is in quarantine.
    pub quarantine: Quarantine,
    /// How the administrator reaches the box.
    pub management: Vec<Management>,
    /// The packet under judgement passes a cut by the management path alone.
    pub by_management: bool,
    /// Counts switches: a view judged under another number is judged again.
    pub revision: u64,
    /// One entry a conversation and interface.
    pub views: Vec<View>,
    /// Datagrams whose first fragment passed.
    pub datagrams: Vec<Datagram>,
    /// Places that conversations took under rules with limits.
    pub places: Vec<Taken>,
    /// Paces of rules with limits.
    pub paces: Vec<Pace>,
    /// What passing packets carry to the way out, by event number.
    pub marks: BTreeMap<usize, Mark>,
}

/// The cut-off overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// 0 open, 1 all but management, 2 management too.
    pub all: u32,
    /// Net indices.
    pub nets: Vec<usize>,
    /// Hosts and prefixes.
    pub prefixes: Vec<IpNet>,
    /// MACs.
    pub macs: Vec<Mac>,
}

/// Hosts in quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quarantine {
    /// Addresses of theirs.
    pub addresses: Vec<IpAddr>,
    /// MACs of theirs.
    pub macs: Vec<Mac>,
}

/// One management path.
#[derive(Debug, Clone)]
pub struct Management {
    /// Interface.
    pub interface: String,
    /// Where the administrator sits.
    pub source: IpNet,
    /// TCP port on the box.
    pub port: u16,
}

/// What a packet that passed on its way in says to the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Permitted by a rule, to leave by a net.
    Forward {
        /// Rule id.
        rule: String,
        /// Where it must leave.
        net: Place,
    },
    /// Answers something we let out.
    Reply,
    /// A built-in.
    Local,
}

/// Who opened the flow, as seen at a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Somebody beyond this interface, to somebody beyond another one.
    Initiator,
    /// Somebody beyond another interface: this view proves replies.
    Responder,
    /// The box.
    BoxOut,
    /// Somebody beyond this interface, to the box.
    BoxIn,
}

impl Role {
    /// Whether the end beyond the interface opened the flow.
    pub fn peer_initiates(self) -> bool {
        matches!(self, Self::Initiator | Self::BoxIn)
    }
}

/// A conversation as seen at one (interface, tags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Interface and tags.
    pub port: Port,
    /// The end beyond the interface.
    pub peer: (IpAddr, u16),
    /// The other end.
    pub far: (IpAddr, u16),
    /// IP protocol.
    pub proto: u8,
}

/// One view.
#[derive(Debug, Clone)]
pub struct View {
    /// Which conversation, where.
    pub key: Key,
    /// Who opened it.
    pub role: Role,
    /// The permitting rule.
    pub rule: String,
    /// Its position in the policy that permitted.
    pub number: usize,
    /// Where the initiator's packets must leave.
    pub net: Place,
    /// Name of the initiator's device.
    pub device: Option<String>,
    /// What was asked of the rules.
    pub what: What,
    /// End of the permission.
    pub deadline: Option<Timestamp>,
    /// [`OracleState::revision`] of the last judgement.
    pub revision: u64,
    /// First packet.
    pub opened: Timestamp,
    /// Last packet that passed.
    pub seen: Timestamp,
    /// Both sides spoke.
    pub answered: bool,
    /// TCP only.
    pub tcp: Option<Track>,
}

/// A datagram in pieces.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Where it was seen.
    pub port: Port,
    /// Leaving rather than entering.
    pub leaving: bool,
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Identification.
    pub id: u32,
    /// IPv4: the protocol.
    pub proto: u8,
    /// When the first fragment passed.
    pub opened: Timestamp,
    /// The first fragment's rule.
    pub rule: Option<String>,
    /// Whether the first fragment's host was in quarantine.
    pub quarantined: bool,
    /// The first fragment's mark.
    pub mark: Option<Mark>,
    /// Its end, once the last fragment was seen.
    pub total: Option<usize>,
    /// Overlapped once: nothing more of it passes.
    pub poisoned: bool,
    /// Bytes received, `start..end`, disjoint, merged.
    pub ranges: Vec<(usize, usize)>,
}
