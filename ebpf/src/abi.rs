//! The layouts that user space and the data plane share: map keys and values, identifiers, limits.
//!
//! Every struct is `repr(C)` without padding and every field is an integer, so that any bit pattern a map
//! hands over is a valid value. Addresses are 16 bytes: IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2); real
//! IPv4-mapped addresses on a wire are martian and never get this far.

/// Rules one policy may hold.
pub const MAX_RULES: usize = 4096;
/// 64-bit words in a rule set.
pub const RULE_WORDS: usize = MAX_RULES / 64;
/// Network and zone identifiers: 0 is none, `1..=250` are configured, [`NET_BOX`] is the box itself.
pub const MAX_NETS: u32 = 256;
/// No zone or network.
pub const NET_NONE: u16 = 0;
/// The box itself.
pub const NET_BOX: u16 = 255;
/// Largest identifier a configured zone or network gets.
pub const NET_LAST: u16 = 250;
/// Stable counter slots for rules; a rule id keeps its slot across revisions.
pub const RULE_SLOTS: u32 = 8192;
/// Windows one schedule carries ahead.
pub const SCHEDULE_WINDOWS: usize = 16;
/// Distinct rule sets one compiled policy may hold.
pub const MAX_SETS: u32 = 16_384;
/// Schedules one compiled policy may hold.
pub const MAX_SCHEDULES: u32 = 4_096;
/// Devices one compiled policy may hold.
pub const MAX_DEVICES: u32 = 16_384;
/// Prefixes one compiled policy may hold.
pub const MAX_PREFIXES: u32 = 1 << 22;
/// (interface, tags) pairs one compiled policy may hold.
pub const MAX_PORTS: u32 = 4_096;
/// (MAC, zone or network) pairs one compiled policy may hold.
pub const MAX_MACS: u32 = 32_768;
/// Registered addresses one compiled policy may hold.
pub const MAX_BINDINGS: u32 = 65_536;
/// Management paths.
pub const MAX_MANAGEMENT: usize = 16;

/// Index of the service table: see [`service_index`].
pub const SERVICE_SLOTS: u32 = 4 * 65_536 + 256;
/// Service values are packed four to a 64-bit word, because the kernel rounds array values up to 8 bytes.
pub const SERVICE_WORDS: u32 = SERVICE_SLOTS / 4;

/// IANA protocol numbers used here.
pub mod proto {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// IGMP (RFC 3376).
    pub const IGMP: u8 = 2;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// VRRP (RFC 9568).
    pub const VRRP: u8 = 112;
}

/// Position of a protocol and port (or ICMP type and code) in the service table.
///
/// TCP ports first, then UDP ports, ICMP `type << 8 | code`, ICMPv6 likewise, then the bare protocol number.
#[inline(always)]
pub const fn service_index(protocol: u8, port: u16) -> u32 {
    match protocol {
        proto::TCP => port as u32,
        proto::UDP => 65_536 + port as u32,
        proto::ICMP => 131_072 + port as u32,
        proto::ICMPV6 => 196_608 + port as u32,
        other => 262_144 + other as u32,
    }
}

/// An interface as the data plane knows it, found by its kernel index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IfaceEntry {
    /// The agent's stable number for the interface name; 0 for a derived device.
    pub id: u16,
    /// [`IFACE_GUARDED`] and the others.
    pub flags: u16,
    /// [`IFACE_VLAN`]: the VLAN id this device stands for.
    pub tag: u16,
    /// Zero.
    pub pad: u16,
    /// [`IFACE_VLAN`]: kernel index of the guarded port under it; else 0.
    pub lower: u32,
}
/// Our programs are attached to it.
pub const IFACE_GUARDED: u16 = 1;
/// A bridge or VLAN device every lower port of which is guarded.
pub const IFACE_DERIVED: u16 = 2;
/// Packets of established flows that come in here may be forwarded by the way in itself.
pub const IFACE_FAST_IN: u16 = 4;
/// Such packets may leave by it.
pub const IFACE_FAST_OUT: u16 = 8;
/// A VLAN device: packets leave by `lower` with tag `tag`.
pub const IFACE_VLAN: u16 = 16;

/// Which tables are in force. Written as a whole, read once a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Active {
    /// The generation; 0 when no policy is loaded. Its parity picks the slot of every table. A run-time change to a group
    /// adds 2: same tables, but everything judged before is judged again.
    pub generation: u32,
    /// The generation these tables were switched on with.
    pub base: u32,
}

/// Where packets with this tag on this interface belong: what `IFACES`, `G_PORTS` and the link say, in one line.
///
/// A shortcut: an entry that is missing, another pair's or another base's only costs time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    /// Kernel index of the guarded interface; 0 in an unused entry.
    pub ifindex: u32,
    /// [`Active::base`] this entry was written for.
    pub base: u32,
    /// Kernel index of the device the stack routes these packets as coming from (a VLAN device, or the interface itself).
    pub routed: u32,
    /// VLAN id, 0 for none.
    pub outer: u16,
    /// Zone or network.
    pub net: u16,
    /// The MAC that packets to be routed are sent to.
    pub mac: [u8; 6],
    /// [`IfaceEntry::id`].
    pub iface: u16,
    /// Learnt by the data plane: a class of addresses that live here and that no rule names, in the lower half; the
    /// [`Active::base`] it was learnt under in the upper.
    pub unlisted: u64,
}
/// Entries of the place table.
pub const PLACES: u32 = 4096;
/// Index into the place table.
#[inline(always)]
pub const fn place_index(ifindex: u32, outer: u16) -> u32 {
    // Multiplicative hashing (Knuth, TAOCP 3, 6.4): neighbouring numbers spread over the upper bits.
    (ifindex.wrapping_mul(0x9e37_79b1) ^ (outer as u32).wrapping_mul(0x85eb_ca6b)) >> 20
}

/// (interface, VLAN tags as seen on the wire, outer first; 0 where there is none).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortKey {
    /// [`IfaceEntry::id`].
    pub iface: u16,
    /// Outer VLAN id.
    pub outer: u16,
    /// Inner VLAN id.
    pub inner: u16,
    /// Zero.
    pub pad: u16,
}

/// A zone, an external network or the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NetEntry {
    /// [`NET_FLAG_ZONE`] and the others.
    pub flags: u32,
    /// Rule set satisfied by packets that come from here.
    pub from_set: u16,
    /// Rule set satisfied by packets that go here.
    pub to_set: u16,
}
/// An inside zone (external network if unset).
pub const NET_FLAG_ZONE: u32 = 1;
/// Exists in this generation.
pub const NET_FLAG_LIVE: u32 = 1 << 1;
/// Router MACs are listed: an external packet must come from one of them.
pub const NET_FLAG_ROUTERS: u32 = 1 << 2;
/// Zone `devices: registered`: MAC and address must be a registered pair.
pub const NET_FLAG_REGISTERED: u32 = 1 << 3;
/// Zone `devices: known`: the MAC must be registered.
pub const NET_FLAG_KNOWN: u32 = 1 << 4;
/// The box serves DHCP here.
pub const NET_FLAG_DHCP_SERVER: u32 = 1 << 5;
/// The box is a DHCP client here.
pub const NET_FLAG_DHCP_CLIENT: u32 = 1 << 6;
/// Router advertisements from this network's routers are accepted.
pub const NET_FLAG_RA_CLIENT: u32 = 1 << 7;
/// The box sends router advertisements here.
pub const NET_FLAG_RA_SERVER: u32 = 1 << 8;

/// What the longest matching prefix says of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct AddrEntry {
    /// The zone or network the address lives in; [`NET_BOX`] for the box's own; 0 for nobody's.
    pub owner: u16,
    /// Rule set satisfied by the address as a source.
    pub src_set: u16,
    /// Rule set satisfied by the address as a destination.
    pub dst_set: u16,
    /// [`ADDR_BROADCAST`] and the others.
    pub flags: u16,
}
/// The directed broadcast address of a zone's or network's prefix.
pub const ADDR_BROADCAST: u16 = 1;
/// Some rule may permit a packet from or to the address, as far as address and owner decide; without it the address has
/// no business here.
pub const ADDR_LISTED: u16 = 2;
/// Some rule may permit a packet from the address, as far as address and owner decide; without it the address may at most
/// answer.
pub const ADDR_OPENS: u16 = 4;

/// A prefix of which something else is to be said than the table of addresses says: a group changed at run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OverlayEntry {
    /// The generation from which `after` holds. Packets of an earlier one see `before`, so that everything written for one
    /// generation comes into force at one instant.
    pub from: u32,
    /// Class of the addresses.
    pub after: u16,
    /// Their class until then; [`crate::classify::NO_CLASS`]: what the table of addresses says.
    pub before: u16,
}
/// Prefixes that one generation's tables can have in their overlay.
pub const MAX_OVERLAY: u32 = 65_536;
/// Rule sets that one generation's tables have room for beside those of the policy, for the overlay.
pub const SPARE_SETS: u32 = 1_024;

/// Key of the MAC table: who speaks with this MAC in this zone or network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MacKey {
    /// The MAC as on the wire.
    pub mac: [u8; 6],
    /// Zone or network id.
    pub net: u16,
}
/// Value of the MAC table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MacEntry {
    /// Device number, 0 for a router.
    pub device: u32,
    /// [`MAC_ROUTER`].
    pub flags: u32,
}
/// A router of this zone or network: what is behind it is known by address only.
pub const MAC_ROUTER: u32 = 1;

/// A registered terminal. Device 0 is "no device".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DeviceEntry {
    /// Rule set satisfied by packets this device sends.
    pub set: u16,
    /// The zone it lives in.
    pub net: u16,
    /// [`DEVICE_HAS_ADDRESSES`].
    pub flags: u32,
    /// Schedule that ends with the registration; 0 for no end.
    pub schedule: u32,
    /// Zero.
    pub pad: u32,
}
/// Addresses are registered: the device may use no others.
pub const DEVICE_HAS_ADDRESSES: u32 = 1;

/// The rules satisfied by one class, and which of its words are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RuleSet {
    /// Bit w set: `words[w]` is not zero.
    pub summary: u64,
    /// Bit r of word w: rule `64 * w + r`.
    pub words: [u64; RULE_WORDS],
}
impl RuleSet {
    /// The set no rule is in.
    pub const EMPTY: Self = Self { summary: 0, words: [0; RULE_WORDS] };
}

/// One permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleEntry {
    /// Stable counter slot.
    pub slot: u32,
    /// [`RULE_LOG`] and the others.
    pub flags: u32,
    /// Schedule, 0 for always.
    pub schedule: u32,
    /// Published server: the port the packet must leave for; 0 for any other rule.
    pub real_port: u16,
    /// Published server: the zone it must leave by.
    pub real_net: u16,
    /// Published server: the address it must leave for.
    pub real_addr: [u8; 16],
}
/// Emit an event for each flow this rule opens.
pub const RULE_LOG: u32 = 1;
/// A published server: the way out checks `real_addr` and `real_port`.
pub const RULE_PUBLISHED: u32 = 1 << 1;
/// The destination is the box.
pub const RULE_TO_BOX: u32 = 1 << 2;
/// The rule has a [`LimitEntry`].
pub const RULE_LIMITED: u32 = 1 << 3;
/// The rule also holds for hosts in quarantine.
pub const RULE_QUARANTINED: u32 = 1 << 4;

/// What a rule limits; all zero for a rule without limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LimitEntry {
    /// New conversations: nanoseconds each one takes; 0 for no limit.
    pub new_cost: u64,
    /// How far ahead of the clock they may get: burst times `new_cost`.
    pub new_most: u64,
    /// The same for those of one host.
    pub host_cost: u64,
    /// As `new_most`.
    pub host_most: u64,
    /// Conversations at once; 0 for no limit.
    pub flows: u32,
    /// The same for those of one host.
    pub flows_per_host: u32,
}

/// How far one host's new conversations under one rule have got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HostPace {
    /// The host.
    pub host: [u8; 16],
    /// `CLOCK_BOOTTIME` nanoseconds at which nothing is owed any more.
    pub until: u64,
    /// Stable slot of the rule.
    pub slot: u32,
    /// Zero.
    pub pad: u32,
}
/// Hosts that share a set.
pub const HOST_PACES: usize = 8;
/// Sets of hosts; a power of two.
pub const HOST_PACE_SETS: u32 = 8_192;
/// The same in a private instance.
pub const HOST_PACE_SETS_PRIVATE: u32 = 1_024;
/// Hosts whose hash is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HostPaceSet {
    /// 1 while a processor writes here.
    pub lock: u64,
    /// In no order.
    pub hosts: [HostPace; HOST_PACES],
}

/// A place that a conversation holds: one of those its rule, or its rule for one host, has to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Seat {
    /// The conversation's view.
    pub key: ViewKey,
    /// Stable slot of the rule.
    pub slot: u32,
    /// Who opened the conversation; whose place it is, in the half for hosts.
    pub host: [u8; 16],
    /// [`View::opened`] of the conversation that holds it; 0 for nobody.
    pub opened: u64,
    /// Number of the place, below the limit.
    pub index: u32,
    /// Zero.
    pub pad: u32,
}
/// Places that share a set.
pub const SEATS: usize = 4;
/// Sets of places, one half for rules and one for hosts; a power of two.
pub const SEAT_SETS: u32 = 65_536;
/// The same in a private instance.
pub const SEAT_SETS_PRIVATE: u32 = 8_192;
/// Places whose hash is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SeatSet {
    /// 1 while a processor decides here.
    pub lock: u64,
    /// In no order.
    pub seats: [Seat; SEATS],
}

/// When a timed permission is open, in `CLOCK_BOOTTIME` nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Window {
    /// First instant at which it is open.
    pub open: u64,
    /// First instant at which it is closed again.
    pub close: u64,
}
/// The windows of one schedule; those past `count` are zero. Past the last one the schedule is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Schedule {
    /// Windows in use.
    pub count: u32,
    /// Zero.
    pub pad: u32,
    /// In ascending order, not overlapping.
    pub windows: [Window; SCHEDULE_WINDOWS],
}

/// What one generation says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GenConfig {
    /// The generation these tables were built for.
    pub generation: u32,
    /// [`BUILTIN_ARP`] and the others.
    pub builtin: u32,
    /// Rules in use.
    pub rules: u32,
    /// Zero.
    pub pad: u32,
}
/// ARP within bindings.
pub const BUILTIN_ARP: u32 = 1;
/// Neighbour discovery within bindings, duplicate address detection included.
pub const BUILTIN_NDP: u32 = 1 << 1;
/// The box's own MLD and IGMP reports.
pub const BUILTIN_MLD: u32 = 1 << 2;
/// ICMP errors for live flows.
pub const BUILTIN_ICMP_ERRORS: u32 = 1 << 3;
/// TCP resets by the box for live flows.
pub const BUILTIN_RESETS: u32 = 1 << 4;
/// VRRP between the routers named in the policy and the box.
pub const BUILTIN_VRRP: u32 = 1 << 5;
/// Bridge control traffic: two bits each, [`L2_DROP`], [`L2_LOCAL`] or [`L2_FORWARD`].
pub const BUILTIN_STP_SHIFT: u32 = 16;
/// LACP, as STP.
pub const BUILTIN_LACP_SHIFT: u32 = 18;
/// LLDP, as STP.
pub const BUILTIN_LLDP_SHIFT: u32 = 20;
/// Dropped.
pub const L2_DROP: u32 = 0;
/// Delivered to the box, never forwarded.
pub const L2_LOCAL: u32 = 1;
/// Forwarded between bridge ports too.
pub const L2_FORWARD: u32 = 2;

/// Settings that are not part of a policy. One entry, rewritten as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Until this `CLOCK_BOOTTIME` instant a permitted mid-stream TCP packet may open a flow.
    pub adopt_until: u64,
    /// Lowest of the mark bits in use; see `decide::mark`.
    pub mark_shift: u32,
    /// Drop events per second and CPU; further ones are counted as lost.
    pub event_rate: u32,
    /// Idle limits in seconds, by [`timeout`] index.
    pub timeouts: [u32; 8],
    /// [`SETTING_NO_METADATA`].
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}
/// The way in hands nothing over, as with a driver that has no room in front of a packet: TCX ingress looks the view up
/// again. For tests, and for drivers whose metadata is broken.
pub const SETTING_NO_METADATA: u32 = 1;
/// Indexes into [`Settings::timeouts`].
pub mod timeout {
    /// TCP before the three-way handshake is complete.
    pub const TCP_OPENING: usize = 0;
    /// TCP established (RFC 5382 REQ-5: at least 2 h 4 min).
    pub const TCP_ESTABLISHED: usize = 1;
    /// TCP after a FIN.
    pub const TCP_CLOSING: usize = 2;
    /// TCP after both sides closed or reset.
    pub const TCP_CLOSED: usize = 3;
    /// UDP with packets one way only.
    pub const UDP_ONEWAY: usize = 4;
    /// UDP with packets both ways (RFC 4787 REQ-5: at least 2 min).
    pub const UDP_STREAM: usize = 5;
    /// ICMP echo.
    pub const ICMP: usize = 6;
    /// Any other protocol.
    pub const OTHER: usize = 7;
    /// Seconds, in the order above.
    pub const DEFAULTS: [u32; 8] = [60, 7_440, 120, 10, 30, 120, 30, 120];
}

/// The cut-off word: read first, written as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CutWord {
    /// 0: open; 1: everything but the management path is cut; 2: that too; [`CUT_ALL_STAGED`].
    pub all: u32,
    /// [`CUT_ANY_NET`] | [`CUT_ANY_PREFIX`] | [`CUT_ANY_MAC`]: which cut tables hold anything; [`CUT_ANY_STAGED`].
    pub any: u32,
}
/// Everything is cut, and what is on the list passes again ([`Stage`]).
pub const CUT_ALL_STAGED: u32 = 3;
/// Some network or zone is cut.
pub const CUT_ANY_NET: u32 = 1;
/// Some prefix or host address is cut.
pub const CUT_ANY_PREFIX: u32 = 1 << 1;
/// Some MAC is cut.
pub const CUT_ANY_MAC: u32 = 1 << 2;

/// Something is being restored in stages.
pub const CUT_ANY_STAGED: u32 = 1 << 3;

/// A zone or network that is cut whole.
pub const CUT_WHOLE: u32 = 1;
/// A zone or network that is being restored in stages: what is on the list passes again.
pub const CUT_STAGED: u32 = 2;
/// Beside the slot of a cut prefix or MAC: the same of it.
pub const SLOT_STAGED: u32 = 1 << 31;

/// What passes again while a cut is restored in stages, beside the hosts in `STAGED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Stage {
    /// Services; the unused ones hold nothing.
    pub services: [StagedService; MAX_STAGED_SERVICES],
}
impl Stage {
    /// Nothing.
    pub const EMPTY: Self = Self { services: [StagedService::NONE; MAX_STAGED_SERVICES] };
}
/// Protocols with ranges of ports, as [`staged_service`] numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StagedService {
    /// The first one.
    pub first: u32,
    /// How many more.
    pub more: u32,
}
impl StagedService {
    /// No service: no protocol has this number.
    pub const NONE: Self = Self { first: u32::MAX, more: 0 };
}
/// Services on the list.
pub const MAX_STAGED_SERVICES: usize = 32;
/// Addresses and MACs on the list.
pub const MAX_STAGED: u32 = 8_192;
/// A protocol and the port (ICMP: type and code) that a conversation asks for, in one number.
#[inline(always)]
pub const fn staged_service(proto: u8, port: u16) -> u32 {
    (proto as u32) << 16 | port as u32
}

/// So many cut prefixes and MACs have a counter of their own; what further ones refuse counts by network and reason only.
pub const MAX_CUT_SLOTS: u32 = 8_192;

/// Who is in quarantine, roughly: what the glance asks. Exactly is `QUARANTINED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Quarantine {
    /// 1 if anybody is.
    pub any: u32,
    /// Zero.
    pub pad: u32,
    /// A bit for each address and MAC in quarantine; others may have the same.
    pub filter: [u64; QUARANTINE_WORDS],
}
impl Quarantine {
    /// Nobody.
    pub const EMPTY: Self = Self { any: 0, pad: 0, filter: [0; QUARANTINE_WORDS] };
}
/// Words of the filter; a power of two.
pub const QUARANTINE_WORDS: usize = 512;
/// Hosts that can be in quarantine: their slots are 1 to this.
pub const MAX_QUARANTINES: u32 = 1_023;
/// Addresses and MACs of theirs.
pub const MAX_QUARANTINED: u32 = 8_192;
/// A MAC among addresses in quarantine: no address of a host begins like this (RFC 4291, 2.7).
#[inline(always)]
pub const fn quarantine_mac(mac: &[u8; 6]) -> [u8; 16] {
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]
}
/// What was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Refused {
    /// Packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

/// A way by which the administrator reaches the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ManagementEntry {
    /// Source network, host bits zero.
    pub addr: [u8; 16],
    /// Its mask.
    pub mask: [u8; 16],
    /// [`IfaceEntry::id`].
    pub iface: u16,
    /// TCP port on the box.
    pub port: u16,
    /// 1 if the entry is in use.
    pub used: u32,
}

/// A view's key: the flow as seen at one (interface, VLAN), normalised so that both directions give the same
/// key. `peer` is the end beyond that interface, `far` the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ViewKey {
    /// The end on the interface's side.
    pub peer: [u8; 16],
    /// The end on the box's side.
    pub far: [u8; 16],
    /// Port of `peer`; ICMP echo: the identifier.
    pub peer_port: u16,
    /// Port of `far`; ICMP echo: the identifier.
    pub far_port: u16,
    /// [`IfaceEntry::id`].
    pub iface: u16,
    /// Outer VLAN id.
    pub outer: u16,
    /// Inner VLAN id.
    pub inner: u16,
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}

/// TCP sequence bookkeeping of one sender (after van Rooij, "Real stateful TCP packet filtering in IP Filter").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TcpSide {
    /// Highest sequence number sent, plus one.
    pub end: u32,
    /// Highest sequence number the other side allows.
    pub max_end: u32,
    /// Largest window this side advertised, scaled.
    pub max_window: u32,
    /// Highest acknowledgement this side sent.
    pub acked: u32,
    /// Window scale shift (RFC 7323), 0 if none.
    pub scale: u8,
    /// [`SIDE_SEEN`] and the others.
    pub flags: u8,
    /// Zero.
    pub pad: u16,
}
/// This side has sent something.
pub const SIDE_SEEN: u8 = 1;
/// This side offered window scaling.
pub const SIDE_SCALES: u8 = 1 << 1;
/// This side sent a FIN.
pub const SIDE_FIN: u8 = 1 << 2;
/// This side's FIN was acknowledged.
pub const SIDE_FIN_ACKED: u8 = 1 << 3;
/// Numbers were taken from the middle of a stream: windows are not enforced on this side.
pub const SIDE_LOOSE: u8 = 1 << 4;
/// This side sent a SYN into an open conversation: if the other side accepts it, the conversation starts anew.
pub const SIDE_KNOCKS: u8 = 1 << 6;

/// A [`ViewKey`] of IPv4, in the 20 bytes that tell it apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ViewKey4 {
    /// The end on the interface's side, its bytes in the order of the wire.
    pub peer: u32,
    /// The end on the box's side.
    pub far: u32,
    /// As in [`ViewKey`].
    pub peer_port: u16,
    /// As in [`ViewKey`].
    pub far_port: u16,
    /// As in [`ViewKey`].
    pub iface: u16,
    /// As in [`ViewKey`].
    pub outer: u16,
    /// As in [`ViewKey`].
    pub inner: u16,
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}
impl ViewKey {
    /// Whether both ends are IPv4.
    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        crate::parse::is_v4(&self.peer)
    }
    /// The short form; meaningful if [`Self::is_v4`].
    #[inline(always)]
    pub const fn short(&self) -> ViewKey4 {
        ViewKey4 {
            peer: u32::from_ne_bytes([self.peer[12], self.peer[13], self.peer[14], self.peer[15]]),
            far: u32::from_ne_bytes([self.far[12], self.far[13], self.far[14], self.far[15]]),
            peer_port: self.peer_port,
            far_port: self.far_port,
            iface: self.iface,
            outer: self.outer,
            inner: self.inner,
            proto: self.proto,
            pad: 0,
        }
    }
}
impl ViewKey4 {
    /// The form with 16-byte addresses.
    pub fn long(&self) -> ViewKey {
        ViewKey {
            peer: crate::parse::mapped(self.peer.to_ne_bytes()),
            far: crate::parse::mapped(self.far.to_ne_bytes()),
            peer_port: self.peer_port,
            far_port: self.far_port,
            iface: self.iface,
            outer: self.outer,
            inner: self.inner,
            proto: self.proto,
            pad: 0,
        }
    }
}

/// One guarded interface's view of a flow. What an established packet needs stands in the first 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct View {
    /// Last packet, `CLOCK_BOOTTIME` nanoseconds, refreshed at most once a second.
    pub seen: u64,
    /// When the permission ends; `u64::MAX` for never.
    pub deadline: u64,
    /// The generation that last judged this flow.
    pub generation: u32,
    /// The generation under which `mac` was found to be the sender's; 0 for never.
    pub mac_generation: u32,
    /// The generation under which `out_…` was learnt; 0 for never.
    pub out_generation: u32,
    /// The fast path's epoch then.
    pub out_epoch: u32,
    /// Kernel index of the guarded interface by which packets of this view left.
    pub out_ifindex: u32,
    /// [`tick`] of the last packet that took the slow way out.
    pub slow_at: u32,
    /// Index of the permitting rule in that generation.
    pub rule: u16,
    /// Stable counter slot of that rule.
    pub slot: u16,
    /// The zone or network the flow was judged for (where it must leave).
    pub net: u16,
    /// Zone or network of `out_ifindex`.
    pub out_net: u16,
    /// VLAN id they left with.
    pub out_tag: u16,
    /// [`IfaceEntry::id`] of `out_ifindex`.
    pub out_iface: u16,
    /// [`ROLE_INITIATOR`] and the others.
    pub role: u8,
    /// [`STATE_OPENING`] and the others.
    pub state: u8,
    /// [`OUT_ROUTED`] or [`OUT_BRIDGED`]; 0 for unknown.
    pub out_mode: u8,
    /// That SYN's window scale; see `knock`.
    pub knock_scale: u8,
    /// Way in: the sender's MAC, if `mac_generation` says so.
    pub mac: [u8; 6],
    /// That SYN's window; see `knock`.
    pub knock_window: u16,
    /// TCP: the acknowledgement that would accept the initiator's last SYN in an open conversation; see [`SIDE_KNOCKS`].
    pub knock: u32,
    /// Device number of the initiator.
    pub device: u32,
    /// TCP: `[0]` the side the first packet came from, `[1]` the other.
    pub tcp: [TcpSide; 2],
    /// When the first packet passed.
    pub opened: u64,
    /// [`tick`] of the last time the opposite view learnt its way out from here.
    pub linked_at: u32,
    /// Bridged: the MAC they were sent to.
    pub out_mac: [u8; 6],
    /// Zero.
    pub pad: [u8; 6],
}
/// Packets leave as the kernel routes them.
pub const OUT_ROUTED: u8 = 1;
/// Packets cross a bridge unchanged.
pub const OUT_BRIDGED: u8 = 2;
/// Coarse time for what is compared in seconds: units of 2^30 ns of `CLOCK_BOOTTIME`, never 0.
#[inline(always)]
pub const fn tick(now: u64) -> u32 {
    (now >> 30) as u32 | 0x8000_0000
}
/// The flow's first packet came in here: this view judges it.
pub const ROLE_INITIATOR: u8 = 1;
/// The flow's first packet went out here: this view only proves that a reply is one.
pub const ROLE_RESPONDER: u8 = 2;
/// The box itself opened the flow here: this view judges it.
pub const ROLE_BOX_OUT: u8 = 3;
/// The flow's first packet came in here for the box itself: this view judges it.
pub const ROLE_BOX_IN: u8 = 4;
/// Only one side has spoken, or the TCP handshake is not complete.
pub const STATE_OPENING: u8 = 1;
/// Both sides have spoken; TCP: handshake complete.
pub const STATE_ESTABLISHED: u8 = 2;
/// TCP: a FIN was sent.
pub const STATE_CLOSING: u8 = 3;
/// TCP: both FINs acknowledged, or a valid reset.
pub const STATE_CLOSED: u8 = 4;

/// Packets, bytes and the time of the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counter {
    /// Packets (segments, where the kernel merged several).
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// `CLOCK_BOOTTIME` nanoseconds.
    pub last: u64,
}
/// Counters of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleCounter {
    /// Packets in the initiator's direction.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets in the other direction.
    pub reply_packets: u64,
    /// Their bytes.
    pub reply_bytes: u64,
    /// Flows opened.
    pub flows: u64,
    /// `CLOCK_BOOTTIME` nanoseconds of the last packet.
    pub last: u64,
}
/// Direction of a guarded interface: packets coming in.
pub const DIR_IN: u32 = 0;
/// Packets going out.
pub const DIR_OUT: u32 = 1;
/// Index into the counter table.
#[inline(always)]
pub const fn counter_index(net: u16, direction: u32, reason: u32) -> u32 {
    ((net as u32) * 2 + direction) * crate::reason::REASON_SLOTS + reason
}
/// Entries of the counter table.
pub const COUNTER_SLOTS: u32 = MAX_NETS * 2 * crate::reason::REASON_SLOTS;

/// Fragments of one datagram (RFC 791, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragKey {
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Identification.
    pub id: u32,
    /// [`IfaceEntry::id`].
    pub iface: u16,
    /// Outer VLAN id.
    pub outer: u16,
    /// Inner VLAN id.
    pub inner: u16,
    /// IP protocol.
    pub proto: u8,
    /// [`DIR_IN`] or [`DIR_OUT`].
    pub direction: u8,
}
/// Disjoint received ranges kept per datagram.
pub const FRAG_RANGES: usize = 4;
/// What is known of a fragmented datagram whose first fragment passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragEntry {
    /// When the first fragment passed.
    pub opened: u64,
    /// The first fragment's mark.
    pub mark: u32,
    /// Payload length once the last fragment was seen, 0 before.
    pub total: u32,
    /// Stable slot of the rule, for counting.
    pub slot: u32,
    /// 1: the datagram is dropped whole.
    pub poisoned: u16,
    /// 1: the first fragment passed by a rule that holds in quarantine, and its host was in one.
    pub quarantined: u8,
    /// 1: the first fragment met a cut that is restored in stages, and was on the list.
    pub listed: u8,
    /// Received byte ranges, `start < end`; unused ones are 0..0.
    pub ranges: [FragRange; FRAG_RANGES],
}
/// Received bytes `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragRange {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}
/// Seconds a datagram may take to arrive.
pub const FRAG_TIMEOUT: u64 = 30;

/// A sampled event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// `CLOCK_BOOTTIME` nanoseconds.
    pub time: u64,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Source port, or ICMP type << 8 | code.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Kernel interface index.
    pub ifindex: u32,
    /// Zone or network of the interface.
    pub net: u16,
    /// Outer VLAN id.
    pub vlan: u16,
    /// Source MAC.
    pub mac: [u8; 6],
    /// EtherType.
    pub ethertype: u16,
    /// Reason number.
    pub reason: u32,
    /// Generation.
    pub generation: u32,
    /// Stable rule slot plus one, 0 for none.
    pub slot: u32,
    /// Bytes on the wire.
    pub len: u32,
    /// IP protocol.
    pub proto: u8,
    /// [`DIR_IN`] or [`DIR_OUT`].
    pub direction: u8,
    /// Zero.
    pub pad: [u8; 10],
}

/// One CPU's events and clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Budget {
    /// The window of the event rate limit.
    pub second: u64,
    /// Events sent in it.
    pub used: u64,
    /// Events it has room for.
    pub rate: u64,
    /// Events not delivered, since the start.
    pub lost: u64,
    /// The kernel's `jiffies64` when the clock was last read.
    pub jiffies: u64,
    /// What it said, `CLOCK_BOOTTIME` nanoseconds.
    pub now: u64,
}

/// The programs' constant `PRIVATE` as built: frames come from interfaces.
pub const PRIVATE_NO: u32 = 0x4c49_5645;
/// The same as patched at load: one frame at a time, with [`PrivateContext`].
pub const PRIVATE_YES: u32 = 0x5052_4956;

/// What a private instance is told instead of what the kernel would say.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PrivateContext {
    /// `CLOCK_BOOTTIME` nanoseconds.
    pub now: u64,
    /// Interface index.
    pub ifindex: u32,
    /// Way out: interface index it came in by, 0 for the box.
    pub came_from: u32,
    /// Way out: unshifted mark.
    pub mark: u32,
    /// Bytes on the wire, if more than are there.
    pub len: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct whose fields fill it has no padding to leak or to compare.
    #[test]
    fn shared_structs_have_no_padding() {
        assert_eq!(size_of::<IfaceEntry>(), 12);
        assert_eq!(size_of::<PortKey>(), 8);
        assert_eq!(size_of::<NetEntry>(), 8);
        assert_eq!(size_of::<AddrEntry>(), 8);
        assert_eq!(size_of::<OverlayEntry>(), 8);
        assert_eq!(size_of::<MacKey>(), 8);
        assert_eq!(size_of::<MacEntry>(), 8);
        assert_eq!(size_of::<DeviceEntry>(), 16);
        assert_eq!(size_of::<RuleSet>(), 8 + 8 * RULE_WORDS);
        assert_eq!(size_of::<RuleEntry>(), 32);
        assert_eq!(size_of::<LimitEntry>(), 40);
        assert_eq!(size_of::<HostPaceSet>(), 8 + 32 * HOST_PACES);
        assert_eq!(size_of::<SeatSet>(), 8 + 80 * SEATS);
        assert_eq!(size_of::<Schedule>(), 8 + 16 * SCHEDULE_WINDOWS);
        assert_eq!(size_of::<GenConfig>(), 16);
        assert_eq!(size_of::<Settings>(), 56);
        assert_eq!(size_of::<CutWord>(), 8);
        assert_eq!(size_of::<Quarantine>(), 8 + 8 * QUARANTINE_WORDS);
        assert_eq!(size_of::<Stage>(), 8 * MAX_STAGED_SERVICES);
        assert_eq!(size_of::<Refused>(), 16);
        assert_eq!(size_of::<ManagementEntry>(), 40);
        assert_eq!(size_of::<ViewKey>(), 44);
        assert_eq!(size_of::<TcpSide>(), 20);
        assert_eq!(size_of::<View>(), 64 + 8 + 40 + 24);
        assert_eq!(size_of::<ViewKey4>(), 20);
        assert_eq!(size_of::<Active>(), 8);
        assert_eq!(size_of::<Place>(), 32);
        assert_eq!(size_of::<Counter>(), 24);
        assert_eq!(size_of::<RuleCounter>(), 48);
        assert_eq!(size_of::<FragKey>(), 44);
        assert_eq!(size_of::<FragEntry>(), 24 + 8 * FRAG_RANGES);
        assert_eq!(size_of::<Event>(), 88);
        assert_eq!(size_of::<PrivateContext>(), 24);
    }
}
