//! What the oracle remembers between packets, and the overlay that is not part of the policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use jiff::Timestamp;
use sekimori::policy::model::{Mac, Place, Port, Service};
use sekimori_ebpf::reason::Reason;

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
    /// What cuts that are restored in stages mean for the packet under judgement.
    pub stage: Meets,
    /// Events whose way in found them on the list, to be forwarded.
    pub signed: BTreeSet<usize>,
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
    /// What is restored in stages; none of its prefixes lies in one above.
    pub staged: Staged,
}

/// Cuts that stand but for what is on a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staged {
    /// Everything.
    pub all: bool,
    /// Net indices.
    pub nets: Vec<usize>,
    /// Hosts and prefixes.
    pub prefixes: Vec<IpNet>,
    /// MACs.
    pub macs: Vec<Mac>,
    /// The list: addresses of hosts.
    pub addresses: Vec<IpAddr>,
    /// The list: MACs of hosts.
    pub list_macs: Vec<Mac>,
    /// The list: services.
    pub services: Vec<Service>,
}

/// What cuts that are restored in stages mean for one packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meets {
    /// There is such a cut, somewhere.
    pub any: bool,
    /// The packet meets one by itself.
    pub reason: Option<Reason>,
    /// The MAC beyond the interface.
    pub mac: Option<Mac>,
    /// The packet leaves.
    pub leaving: bool,
    /// The way in found it on the list.
    pub signed: bool,
    /// It met one and may pass.
    pub listed: bool,
    /// An error that its way in sends on like the conversation it is about.
    pub forward: bool,
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
    /// Whether the first fragment met a cut restored in stages and passed.
    pub listed: bool,
    /// The first fragment's mark.
    pub mark: Option<Mark>,
    /// Its end, once the last fragment was seen.
    pub total: Option<usize>,
    /// Overlapped once: nothing more of it passes.
    pub poisoned: bool,
    /// Bytes received, `start..end`, disjoint, merged.
    pub ranges: Vec<(usize, usize)>,
}
