//! What a policy means: valid by construction. Whoever holds a [`Policy`] need not check anything again.
//!
//! The document (`document.rs`) says what the YAML said, with spans; `validate.rs` turns one into the other.
//! Indexes (`NetIndex`, …) are positions in the policy's own vectors, in the order of the document.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use ipnet::IpNet;
use sekimori_ebpf::detect::abi::Detector;

use super::{
    addresses::{Addresses, Group},
    prefixes::PrefixSet,
};
use crate::threat::Format;

/// Position in [`Policy::nets`].
pub type NetIndex = usize;
/// Position in [`Policy::devices`].
pub type DeviceIndex = usize;
/// Position in [`Policy::hours`].
pub type HoursIndex = usize;

/// One whole policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Name of the organisation, free text.
    pub organisation: String,
    /// IANA time zone in which `hours` and dates are read.
    pub timezone: jiff::tz::TimeZone,
    /// Days on which `hours` with `holidays: closed` stay closed.
    pub holidays: Vec<jiff::civil::Date>,
    /// The box's own addresses (never a legitimate source on a wire, never forwarded to).
    pub box_addresses: Vec<IpAddr>,
    /// Zones and networks. At most 250.
    pub nets: Vec<Net>,
    /// Registered terminals.
    pub devices: Vec<Device>,
    /// Named hours.
    pub hours: Vec<Hours>,
    /// Groups, resolved; rules share them.
    pub groups: Vec<Arc<Group>>,
    /// Services of its own by name, resolved.
    pub services: BTreeMap<String, Vec<Service>>,
    /// Permissions, in document order; the first that matches and is open decides.
    pub rules: Vec<Rule>,
    /// Who may deliver alerts, and whom they may put in quarantine.
    pub alert_receivers: Vec<AlertReceiver>,
    /// What is watched for among inside hosts; `None`: nothing.
    pub detection: Option<Detection>,
    /// Lists of addresses that others keep. Their contents are no part of the policy: they change without it.
    pub threat_lists: Vec<ThreatList>,
    /// What is demanded of whoever lifts a cut-off.
    pub restoring: Restoring,
    /// The built-in set.
    pub builtin: Builtin,
    /// The policy's own tests.
    pub tests: Vec<PolicyTest>,
    /// Every file read, list files included, in order of reading.
    pub files: Vec<PathBuf>,
    /// SHA-256 of each of them.
    pub digests: Vec<[u8; 32]>,
    /// SHA-256 over the names and contents of those files: names the revision.
    pub hash: [u8; 32],
}

/// What is demanded of whoever lifts a cut-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restoring {
    /// A second person has to confirm it.
    pub second_person: bool,
    /// How many seconds the second person has.
    pub seconds: u64,
}

impl Default for Restoring {
    fn default() -> Self {
        Self { second_person: false, seconds: 3_600 }
    }
}

/// A zone or an external network.
#[derive(Debug, Clone)]
pub struct Net {
    /// Unique among zones and networks; never `box`.
    pub name: String,
    /// Zone or external.
    pub kind: NetKind,
    /// (interface, VLAN) pairs; each belongs to one net only.
    pub ports: Vec<Port>,
    /// Prefixes that live here, host bits zero. Equal prefixes never belong to two nets; nested ones may:
    /// an address lives in the net of its longest matching prefix.
    pub prefixes: Vec<IpNet>,
    /// Whatever no other net claims lives here (both families). At most one net.
    pub is_default: bool,
    /// Router MACs. On a zone: behind them devices are known by address only. On a network: the only sources.
    pub routers: Vec<Mac>,
    /// Built-in services on this net.
    pub builtin: NetBuiltin,
}

/// The two kinds.
#[derive(Debug, Clone)]
pub enum NetKind {
    /// Managed by the organisation.
    Zone { devices: DeviceMode },
    /// Managed by somebody else.
    External(External),
}

/// What a zone demands of the terminals in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceMode {
    /// MAC and address must be a registered pair.
    Registered,
    /// The MAC must be registered.
    Known,
    /// Any, but a registered address may not be used with another MAC.
    Any,
}

/// The survey record and the like; kept for reports.
#[derive(Debug, Clone, Default)]
pub struct External {
    /// Who runs it.
    pub owner: String,
    /// Kind of line (fibre, leased, …), free text.
    pub line: String,
    /// The survey before connecting (field name → text), in document order: date, surveyor, topology, …
    pub survey: BTreeMap<String, String>,
}

/// Built-in services of one net.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetBuiltin {
    /// The box serves DHCP here.
    pub dhcp_server: bool,
    /// The box is a DHCP client here.
    pub dhcp_client: bool,
    /// Router advertisements from this network's routers are accepted.
    pub ra_client: bool,
    /// The box sends router advertisements here.
    pub ra_server: bool,
}

/// An interface, with the VLAN tags it is seen with; `outer: 0` is untagged (or a priority tag).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Kernel name.
    pub interface: String,
    /// Outer VLAN id, 0..=4094.
    pub outer: u16,
    /// Inner VLAN id (QinQ), 0..=4094.
    pub inner: u16,
}

/// A unicast MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// A registered terminal.
#[derive(Debug, Clone)]
pub struct Device {
    /// Unique.
    pub name: String,
    /// The zone it lives in.
    pub net: NetIndex,
    /// Unique within the zone.
    pub mac: Mac,
    /// Empty: any address of the zone (DHCP). Unique over all devices.
    pub addresses: Vec<IpAddr>,
    /// Responsible person or section.
    pub owner: String,
    /// Registration ends at this instant (a date in the document means the end of that day).
    pub until: Option<jiff::Timestamp>,
    /// Nothing automatic puts it in quarantine; a person may.
    pub critical: bool,
}

/// Weekly opening hours.
#[derive(Debug, Clone)]
pub struct Hours {
    /// Unique.
    pub name: String,
    /// Open spans: weekday (0 = Monday), minutes from midnight `from < to <= 1440`.
    pub spans: Vec<(u8, u16, u16)>,
    /// Closed on [`Policy::holidays`].
    pub closed_on_holidays: bool,
}

/// One permission. A published server is a rule whose [`Rule::published`] is set.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Stable, unique, `[a-z0-9][a-z0-9_-]*`.
    pub id: String,
    /// Who may open the conversation.
    pub from: Party,
    /// With whom.
    pub to: Party,
    /// Any of these. Never empty.
    pub services: Vec<Service>,
    /// Only within these hours.
    pub hours: Option<HoursIndex>,
    /// Ends at this instant.
    pub until: Option<jiff::Timestamp>,
    /// Why it exists, naming the clause it serves.
    pub purpose: String,
    /// Who answers for it.
    pub owner: String,
    /// Emit an event for each flow it opens.
    pub log: bool,
    /// How many conversations, and how fast.
    pub limits: Limits,
    /// It also holds for hosts in quarantine.
    pub quarantined: bool,
    /// Set on published servers: where DNAT (or plain routing) must lead.
    pub published: Option<Published>,
}

/// How many conversations a rule permits at once, and how fast new ones may begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// At once; at least 1.
    pub flows: Option<u32>,
    /// At once from one address; at least 1.
    pub flows_per_host: Option<u32>,
    /// New ones.
    pub new: Option<Rate>,
    /// New ones from one address.
    pub new_per_host: Option<Rate>,
}

/// A rate with its burst. `cost * burst` fits 63 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that each new conversation takes, rounded up; at least 1.
    pub cost: u64,
    /// How many may begin at one instant after a pause; at least 1.
    pub burst: u32,
}

/// One end of a rule. All three conditions must hold.
#[derive(Debug, Clone)]
pub struct Party {
    /// Nets; an address matches if it lives in one of them. For a published server's `to` this is ignored:
    /// the public address decides. Never empty otherwise.
    pub place: Vec<Place>,
    /// If set, the address must be one of these.
    pub prefixes: Option<Addresses>,
    /// Only on `from`: if set, the sender must be identified as one of these devices. (Devices named in a
    /// `to` are resolved to their addresses in `prefixes`.)
    pub devices: Option<Vec<DeviceIndex>>,
}

/// A net or the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The box itself.
    Box,
    /// A zone or network.
    Net(NetIndex),
}

/// A protocol with ports or types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// TCP destination ports, inclusive, 1..=65535.
    Tcp(u16, u16),
    /// UDP destination ports, inclusive, 1..=65535.
    Udp(u16, u16),
    /// ICMP type, and code unless any. Only types that may open a conversation or be sent alone: see
    /// `catalogue.rs`.
    Icmp(u8, Option<u8>),
    /// ICMPv6 type, and code unless any.
    Icmpv6(u8, Option<u8>),
    /// Any other IP protocol by number (not 1, 6, 17, 58, nor an IPv6 extension header).
    Protocol(u8),
}

/// Where a published service leads.
#[derive(Debug, Clone)]
pub struct Published {
    /// Public address, equal to the single prefix of the rule's `to`.
    pub public: IpAddr,
    /// Zone of the real server.
    pub net: NetIndex,
    /// Its address.
    pub address: IpAddr,
    /// Its port, where it differs from the public one (then the rule has a single one-port service).
    pub port: Option<u16>,
}

/// A receiver of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertReceiver {
    /// Unique.
    pub name: String,
    /// Id of the credential that delivers.
    pub token: String,
    /// The label that names the host.
    pub label: String,
    /// Zones whose hosts it may put in quarantine.
    pub zones: Vec<String>,
    /// Groups whose hosts it may put in quarantine.
    pub groups: Vec<String>,
    /// For how long; `None`: until somebody releases them.
    pub seconds: Option<u64>,
}

/// What is watched for, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// How many hosts detectors may put in quarantine.
    pub guard: Guard,
    /// Inside addresses that nobody uses.
    pub traps: Vec<IpAddr>,
    /// Every zone with what each detector does there, all detectors named.
    pub zones: Vec<(NetIndex, BTreeMap<Detector, Setting>)>,
    /// Who is exempt from what.
    pub exemptions: Vec<Exemption>,
}

/// The most hosts that detectors may put in quarantine within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Hosts, at least 1.
    pub hosts: u32,
    /// Seconds, at least 1.
    pub seconds: u64,
}

impl Default for Guard {
    /// More than the machines of one outbreak that is caught early, fewer than an office.
    fn default() -> Self {
        Self { hosts: 5, seconds: 600 }
    }
}

/// What one detector does in one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// What is done.
    pub action: Measure,
    /// How long a block or a quarantine lasts. `None`: a block [`super::detectors::BLOCK_SECONDS`], a quarantine until
    /// somebody releases the host.
    pub seconds: Option<u64>,
    /// From where on.
    pub limit: Limit,
}

/// What is done about what a detector sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Nothing is looked for.
    Off,
    /// Noted.
    Observe,
    /// An incident, and an alert.
    Alert,
    /// What is beyond the limit is dropped.
    Throttle,
    /// What the host does of this kind is dropped for a time.
    Block,
    /// The host is put in quarantine.
    Quarantine,
}

impl Measure {
    /// From the mildest on.
    pub const EACH: [Self; 6] = [Self::Off, Self::Observe, Self::Alert, Self::Throttle, Self::Block, Self::Quarantine];
}

/// From where on a detector speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// From the first packet on.
    None,
    /// So many.
    Count(u32),
    /// So many different ones.
    Distinct(u32),
    /// So many within a time.
    Rate(Rate),
}

/// Hosts that some detectors leave alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemption {
    /// The hosts as written.
    pub hosts: Vec<String>,
    /// Registered devices among them: all their addresses and their MAC.
    pub devices: Vec<DeviceIndex>,
    /// Addresses among them.
    pub addresses: Vec<IpAddr>,
    /// Which detectors. Never empty.
    pub detectors: Vec<Detector>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub purpose: String,
    /// Ends at this instant; `None`: at none that a clock could show.
    pub until: Option<jiff::Timestamp>,
}

/// A list of addresses that others keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreatList {
    /// Unique.
    pub name: String,
    /// A file or a folder of them, inside the folder of the policy as it was applied.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// Where it comes from, free text.
    pub source: String,
    /// Seconds for which a delivery counts as fresh.
    pub expires: u64,
    /// Addresses that are left out whatever the list says.
    pub except: PrefixSet,
    /// Why it is used, naming the clause it serves.
    pub purpose: String,
}

/// Global built-ins; every one can be switched in the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builtin {
    /// ARP within bindings. Default on.
    pub arp: bool,
    /// Neighbour discovery within bindings, DAD included. Default on.
    pub ndp: bool,
    /// The box's own MLD and IGMP. Default on.
    pub mld: bool,
    /// ICMP errors for live flows. Default on.
    pub icmp_errors: bool,
    /// The box's resets for live flows. Default on.
    pub resets: bool,
    /// VRRP (IP protocol 112) between each net's listed routers and the box. Default off.
    pub vrrp: bool,
    /// Spanning tree on bridges. Default drop.
    pub stp: L2Control,
    /// Link aggregation. Default drop.
    pub lacp: L2Control,
    /// Link layer discovery. Default drop.
    pub lldp: L2Control,
}

/// What happens to a bridge control protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L2Control {
    /// Dropped.
    Drop,
    /// Delivered to the box only.
    Local,
    /// Forwarded between bridge ports too.
    Forward,
}

/// One assertion the policy makes about itself.
#[derive(Debug, Clone)]
pub struct PolicyTest {
    /// Free text.
    pub name: String,
    /// Where the packet enters, or the box as its source.
    pub enters: Place,
    /// `tcp 192.168.10.17:40000 > 203.0.113.5:443`, parsed.
    pub packet: PacketSpec,
    /// Source MAC; default: the registered MAC of the source address, else a router of the net, else any.
    pub mac: Option<Mac>,
    /// Judged at this instant; default: the time of the run.
    pub at: Option<jiff::Timestamp>,
    /// Judged as if the sender were in quarantine.
    pub quarantined: bool,
    /// Must pass?
    pub pass: bool,
    /// Expected rule id, if asserted.
    pub rule: Option<String>,
    /// Expected reason code, if asserted.
    pub reason: Option<String>,
    /// File, line and column, for the report.
    pub at_source: (PathBuf, u32, u32),
}

/// A packet as administrators write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketSpec {
    /// Source address; its family is the destination's.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol and ports.
    pub l4: L4Spec,
}

/// Transport part of a [`PacketSpec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum L4Spec {
    /// First packet of a TCP connection.
    Tcp { sport: u16, dport: u16 },
    /// UDP.
    Udp { sport: u16, dport: u16 },
    /// ICMP or ICMPv6, by the addresses' family.
    Icmp { kind: u8, code: u8 },
    /// Bare protocol number.
    Protocol(u8),
}
