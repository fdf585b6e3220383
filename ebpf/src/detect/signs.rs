//! What a packet is a sign of, in the order of how much a single packet says.

use super::{
    CONTACT_UNANSWERED, Sight,
    abi::{
        ACTION_THROTTLE, Detector, Host, PAIRS, Reach, Threshold, WATCHED_THREATS, WATCHED_TRAPS, Watched,
        pace as paces,
    },
    concluded, found, host as hosts, on, pace, passes, place, reach, refuses, service,
    walk::{self, Known},
    watch::Watch,
};
use crate::{
    abi::{DIR_IN, NET_BOX, NET_FLAG_ZONE, proto, tick},
    bytes::mac_number,
    packet::{CLASS_DHCP_REPLY, CLASS_ICMP_ERROR, CLASS_NDP, FRAG_LATER, FRAG_NONE, Packet, ethertype, tcp},
    reason::Reason,
    tables::{Addr, Tables},
};

/// Bytes of a DNS message that nobody wonders at: a header, a name of 32 bytes, and what EDNS adds.
pub(super) const DNS_PLAIN: u32 = 8 + 12 + 32 + 4 + 12;
/// The half of the table of pairs that is for destinations, and the bit that makes it the other, which is for logins: neither
/// may use up what the other counts.
const LOWER: u64 = PAIRS as u64 / 2 - 1;
const UPPER: u64 = PAIRS as u64 / 2;
/// MAC changes are counted within so many ticks.
const MAC_TICKS: u32 = 60;

/// Looks at one packet of `host`.
#[inline(always)]
pub(super) fn look<T: Watch>(
    tables: &T,
    host: &mut Host,
    packet: &Packet,
    watched: &Watched,
    sight: &mut Sight,
    reason: u32,
) {
    impostors(packet, watched, sight, reason);
    if packet.family == 0 {
        if packet.ethertype == ethertype::ARP {
            return arp(tables, host, packet, watched, sight);
        }
        // Its header was not believed, nor read any further.
        return malformed(host, packet, watched, sight, reason);
    }
    malformed(host, packet, watched, sight, reason);
    single(host, packet, watched, sight, reason);
    let counted = match packet.proto {
        proto::ICMP | proto::ICMPV6 => packet.class != CLASS_NDP && !asked_for(packet, reason),
        proto::UDP => packet.class != CLASS_DHCP_REPLY && !under_way(packet, reason),
        proto::TCP => packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN,
        _ => !under_way(packet, reason),
    };
    if packet.frag != FRAG_NONE || counted {
        floods(tables, host, packet, watched, sight, reason);
    }
    if completes(packet, reason) {
        pace::refund(&mut host.paces[paces::SYN], &watched.thresholds[Detector::SynFlood as usize]);
    }
    if long_question(packet) {
        dns(host, packet, watched, sight);
    }
    if packet.frag == FRAG_LATER || under_way(packet, reason) || !begins(packet, reason) {
        return;
    }
    let lines = tables.reach(packet.net);
    if lines.is_null() {
        return;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let lines = unsafe { &mut *lines };
    let line = reach::line(tables, packet, &packet.dst);
    let service = service(tables, &packet.dst, packet.proto, port(packet));
    let known = walk::known(host, service);
    reach::asked(lines, line, packet.now, known == Known::Answered && passes(reason));
    walk::turn(host, packet.now, lines);
    named(tables, packet, watched, sight);
    services(tables, host, packet, watched, sight, service, known);
    if sight.host.addr[0] != 0xff && on(watched, Detector::FanOut) {
        hosts::spread(host, packet.now, place(tables, &packet.dst));
        let threshold = &watched.thresholds[Detector::FanOut as usize];
        if host.spread_count > threshold.count {
            found(sight, watched, Detector::FanOut, host.spread_count);
        }
    }
    // What a flood is refused for is no contact.
    if known == Known::New && !refuses(sight) {
        contact(tables, host, packet, watched, sight, reason, &Whither { service, line, lines });
    }
}

/// The third segment of a handshake. The answer alone shows nothing: floods are answered until the victim's room is used up.
#[inline(always)]
fn completes(packet: &Packet, reason: u32) -> bool {
    packet.proto == proto::TCP
        && packet.contact == CONTACT_UNANSWERED
        && reason == Reason::Flow as u32
        && packet.tcp_flags & (tcp::SYN | tcp::RST | tcp::ACK) == tcp::ACK
}

/// A DNS question that carries more than a plain one.
#[inline(always)]
pub(super) fn long_question(packet: &Packet) -> bool {
    packet.dport == 53 && packet.proto == proto::UDP && packet.l4_len > DNS_PLAIN
}

/// Part of a conversation that was answered.
#[inline(always)]
pub(super) fn under_way(packet: &Packet, reason: u32) -> bool {
    reason == Reason::Flow as u32 && packet.contact != CONTACT_UNANSWERED
        || reason == Reason::Related as u32
        || reason == Reason::Adopted as u32
        || reason == Reason::Management as u32
}

/// ICMP by which the host answers what somebody else sends it: a reply to a ping, an error about a packet of a conversation it did
/// not begin. As many of them leave as others ask for, and nobody may have a server blamed by asking. An error about what the
/// host itself began, and nobody has answered, is about a packet that never came.
#[inline(always)]
fn asked_for(packet: &Packet, reason: u32) -> bool {
    if packet.class == CLASS_ICMP_ERROR {
        return reason == Reason::Related as u32 && packet.contact != CONTACT_UNANSWERED;
    }
    let reply = if packet.proto == proto::ICMP { 0 } else { 129 };
    packet.icmp_type == reply && reason == Reason::Flow as u32
}

/// The port by which a contact is known.
#[inline(always)]
pub(super) fn port(packet: &Packet) -> u16 {
    contacted(packet.proto, packet.dport)
}

/// Of the ports of UDP by which a way is traced, a new one for each of 30 hops and 3 probes, the first stands for all: whoever
/// traces asks one address one question. ICMP echo has no port.
#[inline(always)]
fn contacted(protocol: u8, port: u16) -> u16 {
    match protocol {
        proto::UDP if (TRACED..=TRACED + 100).contains(&port) => TRACED,
        proto::TCP | proto::UDP => port,
        _ => 0,
    }
}

/// Where traceroute begins (IANA: `traceroute`, 33434/udp).
const TRACED: u16 = 33_434;

/// Whether the packet is one that would begin a conversation with somebody, and got a verdict about that.
#[inline(always)]
fn begins(packet: &Packet, reason: u32) -> bool {
    let kind = match packet.proto {
        // The third segment comes before its conversation counts as answered, and begins nothing.
        proto::TCP if passes(reason) => packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN,
        // Not resets and late ends of conversations: those are what is left of something that was permitted.
        proto::TCP => packet.tcp_flags & (tcp::RST | tcp::FIN) == 0,
        proto::ICMP => packet.icmp_type == 8,
        proto::ICMPV6 => packet.icmp_type == 128,
        _ => packet.class != CLASS_ICMP_ERROR && packet.class != CLASS_DHCP_REPLY,
    };
    kind && (passes(reason) && reason != Reason::Builtin as u32 || refusal(reason))
}

/// Refused because of where it wanted to go.
#[inline(always)]
fn refusal(reason: u32) -> bool {
    reason == Reason::NoRule as u32
        || reason == Reason::RuleClosed as u32
        || reason == Reason::Unlisted as u32
        || reason == Reason::NotLocal as u32
        || reason == Reason::TcpNotSyn as u32
}

/// Who sends what only somebody else may.
#[inline(always)]
fn impostors(packet: &Packet, watched: &Watched, sight: &mut Sight, reason: u32) {
    let forged = reason == Reason::SpoofedSource as u32 || reason == Reason::OwnAddress as u32;
    let other = forged || reason == Reason::MacMismatch as u32;
    if packet.ethertype == ethertype::ARP {
        if other && !self_assigned(packet) && on(watched, Detector::RogueArp) {
            found(sight, watched, Detector::RogueArp, 1);
        }
        return;
    }
    if packet.class == CLASS_NDP {
        // Advertisements of routers (134) and neighbours (136), redirects (137): refused ones only.
        let speaks = packet.icmp_type == 134 || packet.icmp_type == 136 && other;
        if speaks && !passes(reason) && on(watched, Detector::RogueNdp) {
            found(sight, watched, Detector::RogueNdp, packet.icmp_type as u32);
        }
        return;
    }
    if packet.class == CLASS_DHCP_REPLY && !passes(reason) && on(watched, Detector::RogueDhcp) {
        return found(sight, watched, Detector::RogueDhcp, 1);
    }
    if forged && !self_assigned(packet) {
        if amplifier(packet) && on(watched, Detector::Amplification) {
            found(sight, watched, Detector::Amplification, packet.dport as u32);
        }
        if on(watched, Detector::SpoofedSource) {
            found(sight, watched, Detector::SpoofedSource, 1);
        }
    }
    if reason == Reason::MacMismatch as u32 && on(watched, Detector::IdentityChange) {
        found(sight, watched, Detector::IdentityChange, 1);
    }
}

/// 169.254.0.0/16: a machine that found no DHCP server (RFC 3927), not one that lies.
#[inline(always)]
fn self_assigned(packet: &Packet) -> bool {
    packet.src[12] == 169 && packet.src[13] == 254 && crate::parse::is_v4(&packet.src)
}

/// Servers that answer with far more than they were asked (CISA alert TA14-017A): UDP ports.
#[inline(always)]
fn amplifier(packet: &Packet) -> bool {
    packet.proto == proto::UDP
        && matches!(packet.dport, 17 | 19 | 53 | 69 | 111 | 123 | 137 | 161 | 389 | 1900 | 3702 | 5353 | 10001 | 11211)
}

/// What one packet is enough for.
#[inline(always)]
fn single(host: &mut Host, packet: &Packet, watched: &Watched, sight: &mut Sight, reason: u32) {
    if reason == Reason::Land as u32 && on(watched, Detector::Land) {
        found(sight, watched, Detector::Land, 1);
    }
    if packet.proto == proto::TCP && !passes(reason) {
        let f = packet.tcp_flags & 0x3f;
        let fin = f & tcp::FIN != 0;
        // NULL, FIN, XMAS, SYN+FIN: a real end of a conversation has ACK (RFC 9293, 3.10.4).
        let stealth = reason == Reason::TcpFlags as u32 && (f == 0 || fin || f & tcp::SYN != 0);
        if stealth && on(watched, Detector::StealthScan) {
            found(sight, watched, Detector::StealthScan, f as u32);
        }
    }
    changes(host, packet, watched, sight, reason);
}

/// Headers that contradict themselves.
#[inline(always)]
fn malformed(host: &mut Host, packet: &Packet, watched: &Watched, sight: &mut Sight, reason: u32) {
    // Reasons 30 to 58 are those of the parser.
    let contradicts = reason >= Reason::Ipv4Header as u32
        && reason <= Reason::IcmpType as u32
        && reason != Reason::Multicast as u32
        && reason != Reason::FragmentOrphan as u32
        && reason != Reason::TcpNotSyn as u32
        && reason != Reason::TcpWindow as u32
        && reason != Reason::TcpState as u32
        && reason != Reason::IcmpUnrelated as u32
        && (packet.family == 0 || !self_assigned(packet));
    if contradicts && rate(host, packet, watched, Detector::Malformed, paces::MALFORMED, 1) {
        found(sight, watched, Detector::Malformed, reason);
    }
}

/// An address whose MAC keeps changing.
#[inline(always)]
fn changes(host: &mut Host, packet: &Packet, watched: &Watched, sight: &mut Sight, reason: u32) {
    let mac = mac_number(&packet.src_mac);
    let changed = host.mac != 0 && host.mac != mac && passes(reason);
    if host.mac == 0 || changed {
        host.mac = mac;
    }
    if changed && on(watched, Detector::IdentityChange) {
        let now = tick(packet.now);
        if now.wrapping_sub(host.mac_tick) > MAC_TICKS {
            host.mac_tick = now;
            host.mac_changes = 0;
        }
        host.mac_changes += 1;
        if host.mac_changes >= watched.thresholds[Detector::IdentityChange as usize].count {
            found(sight, watched, Detector::IdentityChange, host.mac_changes);
        }
    }
}

/// Whether a unit more is beyond a rate of this host, where the detector does anything.
#[inline(always)]
fn rate(host: &mut Host, packet: &Packet, watched: &Watched, detector: Detector, index: usize, units: u64) -> bool {
    on(watched, detector)
        && pace::beyond(&mut host.paces[index], packet.now, &watched.thresholds[detector as usize], units)
}

/// More of something than anybody needs, of one host or of all towards one destination.
#[inline(always)]
fn floods<T: Watch>(tables: &T, host: &mut Host, packet: &Packet, watched: &Watched, sight: &mut Sight, reason: u32) {
    let units = packet.segments as u64;
    if packet.frag != FRAG_NONE && rate(host, packet, watched, Detector::FragmentFlood, paces::FRAGMENT, units) {
        found(sight, watched, Detector::FragmentFlood, 0);
    }
    if packet.frag == FRAG_LATER {
        return;
    }
    let (detector, index) = match packet.proto {
        proto::TCP => (Detector::SynFlood, paces::SYN),
        proto::ICMP | proto::ICMPV6 => (Detector::IcmpFlood, paces::ICMP),
        _ => (Detector::UdpFlood, paces::UDP),
    };
    if rate(host, packet, watched, detector, index, units) {
        found(sight, watched, detector, 0);
    }
    if amplifier(packet)
        && packet.dport != 53
        && rate(host, packet, watched, Detector::Amplification, paces::AMPLIFIER, units)
    {
        found(sight, watched, Detector::Amplification, packet.dport as u32);
    }
    // Who may flood uses up nothing of what others may send there.
    let spared = sight.spared >> detector as u32 | sight.spared >> Detector::DestinationFlood as u32;
    if !refuses(sight) && spared & 1 == 0 && passes(reason) && on(watched, Detector::DestinationFlood) {
        // Two places each, as in a count-min sketch (Cormode and Muthukrishnan 2005): both must be used up.
        let hash = place(tables, &packet.dst);
        let (first, second) = (tables.pair(hash & LOWER), tables.pair((hash >> 32 ^ 0x5bd1_e995) & LOWER));
        if first.is_null() || second.is_null() {
            return;
        }
        let threshold = &watched.thresholds[Detector::DestinationFlood as usize];
        // SAFETY: not null, so the table vouches for them until the decision returns.
        unsafe {
            if pace::would(*first, packet.now, threshold) && pace::would(*second, packet.now, threshold) {
                found(sight, watched, Detector::DestinationFlood, 0);
            } else {
                let _used = pace::beyond(&mut *first, packet.now, threshold, units);
                let _used = pace::beyond(&mut *second, packet.now, threshold, units);
            }
        }
    }
}

/// Questions longer than names are: bytes beyond what is plain, by rate. What is in them the agent reads in the evidence.
#[inline(always)]
fn dns(host: &mut Host, packet: &Packet, watched: &Watched, sight: &mut Sight) {
    let length = packet.l4_len;
    if length <= DNS_PLAIN || length > 0xffff {
        return;
    }
    let more = (length - DNS_PLAIN) as u64;
    if rate(host, packet, watched, Detector::DnsTunnel, paces::DNS, more) {
        found(sight, watched, Detector::DnsTunnel, length);
    }
}

/// Destinations that somebody named.
#[inline(always)]
fn named<T: Watch>(tables: &T, packet: &Packet, watched: &Watched, sight: &mut Sight) {
    if watched.flags & WATCHED_TRAPS != 0 && on(watched, Detector::TrapContact) && tables.trap(&packet.dst) {
        found(sight, watched, Detector::TrapContact, 1);
    }
    if watched.flags & WATCHED_THREATS != 0 && on(watched, Detector::ThreatContact) {
        let list = tables.threat(&packet.dst);
        if list != 0 {
            found(sight, watched, Detector::ThreatContact, list);
        }
    }
}

/// Worm ports, mail, logins.
#[inline(always)]
fn services<T: Watch>(
    tables: &T,
    host: &mut Host,
    packet: &Packet,
    watched: &Watched,
    sight: &mut Sight,
    service: u64,
    known: Known,
) {
    let opens = packet.proto == proto::TCP && packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
    if known == Known::New
        && worm(packet)
        && on(watched, Detector::WormPort)
        && outside(tables, packet, &packet.dst)
        && rate(host, packet, watched, Detector::WormPort, paces::WORM, 1)
    {
        found(sight, watched, Detector::WormPort, packet.dport as u32);
    }
    if opens && packet.dport == 25 && rate(host, packet, watched, Detector::SmtpBurst, paces::SMTP, 1) {
        found(sight, watched, Detector::SmtpBurst, 25);
    }
    // What a flood is refused for uses up nothing that others need.
    if opens && login(packet.dport) && !refuses(sight) && on(watched, Detector::BruteForce) {
        let (high, low) = super::halves(&packet.src);
        let pair = tables.pair(super::mix(service, high, low) & LOWER | UPPER);
        let threshold = &watched.thresholds[Detector::BruteForce as usize];
        // SAFETY: not null, so the table vouches for it until the decision returns.
        if !pair.is_null() && unsafe { pace::beyond(&mut *pair, packet.now, threshold, 1) } {
            found(sight, watched, Detector::BruteForce, packet.dport as u32);
        }
    }
}

/// Ports by which worms spread (MS-RPC, NetBIOS, SMB, RDP, Telnet and its second port, ADB, TR-064).
#[inline(always)]
pub(super) fn worm(packet: &Packet) -> bool {
    matches!(packet.dport, 23 | 135..=139 | 445 | 2323 | 3389 | 5555 | 7547)
        && (packet.proto == proto::TCP || packet.proto == proto::UDP)
}

/// Ports at which one logs in.
#[inline(always)]
fn login(port: u16) -> bool {
    matches!(port, 21 | 22 | 23 | 110 | 143 | 445 | 1433 | 3306 | 3389 | 5432 | 5900 | 5985)
}

/// Whether the address is no inside zone's.
#[inline(always)]
fn outside<T: Tables>(tables: &T, packet: &Packet, addr: &Addr) -> bool {
    let entry = tables.addr(packet.generation, addr);
    if entry.is_null() {
        return true;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let owner = unsafe { (*entry).owner };
    if owner == NET_BOX {
        return false;
    }
    let net = tables.net(packet.generation, owner);
    // SAFETY: as above.
    net.is_null() || unsafe { (*net).flags & NET_FLAG_ZONE == 0 }
}

/// ARP for ever new neighbours.
#[inline(always)]
fn arp<T: Watch>(tables: &T, host: &mut Host, packet: &Packet, watched: &Watched, sight: &mut Sight) {
    if packet.arp_op != 1 || packet.src == packet.dst {
        return;
    }
    if watched.flags & WATCHED_TRAPS != 0 && on(watched, Detector::TrapContact) && tables.trap(&packet.dst) {
        found(sight, watched, Detector::TrapContact, 2);
    }
    if !on(watched, Detector::AddressSweep) {
        return;
    }
    let service = service(tables, &packet.dst, 0, 1);
    if walk::known(host, service) != Known::New {
        return;
    }
    // Its place in the table is all that is needed: the walk stays.
    walk::fail(host, service, 0);
    // One a second goes on for ever; a neighbourhood of 64 at once is looked up by whoever comes to work.
    let threshold = Threshold { cost: 1_000_000_000, most: 64_000_000_000, hold: 0, count: 0, action: 0 };
    if pace::beyond(&mut host.paces[paces::ARP], packet.now, &threshold, 1) {
        found(sight, watched, Detector::AddressSweep, 64);
    }
}

/// Where a first contact goes.
struct Whither<'a> {
    service: u64,
    line: usize,
    lines: &'a Reach,
}

/// A first contact: a step of the walk, or one that is not let begin.
#[inline(always)]
fn contact<T: Watch>(
    tables: &T,
    host: &mut Host,
    packet: &Packet,
    watched: &Watched,
    sight: &mut Sight,
    reason: u32,
    &Whither { service, line, lines }: &Whither<'_>,
) {
    let icmp = packet.proto == proto::ICMP || packet.proto == proto::ICMPV6;
    let dst = place(tables, &packet.dst);
    let places = host.places | 1 << (dst & 63);
    let ports = host.ports | 1 << (port(packet) & 63);
    let detector = if icmp {
        Detector::AddressSweep
    } else if places.count_ones() >= ports.count_ones() {
        Detector::HorizontalScan
    } else {
        Detector::VerticalScan
    };
    if !on(watched, detector) || super::act::exempt(sight, detector as u32) {
        return;
    }
    let threshold = &watched.thresholds[detector as usize];
    let most = (threshold.count & 0xffff) as i32 * walk::FAILURE;
    let acts = threshold.action >= ACTION_THROTTLE;
    let web = packet.dport == 443 || packet.dport == 80;
    if passes(reason) {
        let slow = Threshold { cost: 1_000_000_000, most: 1_000_000_000, hold: 0, count: 0, action: 0 };
        if threshold.action == ACTION_THROTTLE && host.walk >= most {
            // One new contact a second, until successes or time bring the walk down again.
            if pace::beyond(&mut host.paces[paces::CONTACT], packet.now, &slow, 1) {
                return concluded(sight, watched, detector, (host.walk / walk::FAILURE) as u32);
            }
            return walk::begin(host, service, line);
        }
        let ahead = walk::ahead(host);
        if acts && host.walk < most && !walk::busy(host) && ahead >= most + walk::PATIENCE * walk::FAILURE {
            if !reach::up(lines, line) || !walk::hold(host, service, web) {
                sight.action = super::act::HOLD;
                return;
            }
            arrived(host, threshold.action, most);
            return concluded(sight, watched, detector, (ahead / walk::FAILURE) as u32);
        }
        walk::begin(host, service, line);
    } else {
        // A page names dozens of servers, and programs call home all day: what an allow-list refuses of the web counts little, only
        // beyond 100 at once and 20 a minute, and not while a line is down: nothing then succeeds that would count for the host.
        let calls = Threshold { cost: 3_000_000_000, most: 300_000_000_000, hold: 0, count: 0, action: 0 };
        let weight = if web
            && (!pace::beyond(&mut host.paces[paces::REFUSED_WEB], packet.now, &calls, 1)
                || reach::any_down(lines, packet.now))
        {
            0
        } else if web || reason == Reason::TcpNotSyn as u32 {
            walk::SLIGHT
        } else {
            walk::FAILURE
        };
        walk::fail(host, service, weight);
        // What weighs nothing says nothing either.
        if weight == 0 {
            return;
        }
    }
    host.places = places;
    host.ports = ports;
    if host.walk >= most {
        let value = (host.walk / walk::FAILURE) as u32;
        arrived(host, threshold.action, most);
        concluded(sight, watched, detector, value);
    }
}

/// The walk is at its end: it starts again, but where new contacts are only slowed down it stays until it comes down by itself.
#[inline(always)]
fn arrived(host: &mut Host, action: u32, most: i32) {
    walk::restart(host);
    if action == ACTION_THROTTLE {
        host.walk = most;
    }
}

/// An ICMP error by which a router says that it knows no way (RFC 792, RFC 1122: net and host unreachable or unknown; RFC 4443,
/// 3.1: no route, address unreachable).
#[inline(always)]
fn lost(packet: &Packet) -> bool {
    match packet.proto {
        proto::ICMP => packet.icmp_type == 3 && matches!(packet.icmp_code, 0 | 1 | 6 | 7 | 11 | 12),
        _ => packet.icmp_type == 1 && matches!(packet.icmp_code, 0 | 3),
    }
}

/// Who answers, as a number: of IPv6 outside the first 64 bits, in which one machine may have all addresses.
#[inline(always)]
fn neighbourhood<T: Tables>(tables: &T, packet: &Packet) -> u64 {
    let (high, low) = super::halves(&packet.src);
    let many = !crate::parse::is_v4(&packet.src) && outside(tables, packet, &packet.src);
    super::mix(tables.secret(), high, low * (1 - many as u64))
}

/// The packet going to the host answers something it attempted, or refuses it.
#[inline(always)]
pub(super) fn answered<T: Watch>(tables: &T, host: &mut Host, packet: &Packet, lines: &Reach) {
    debug_assert!(packet.direction != DIR_IN);
    walk::turn(host, packet.now, lines);
    let answered = packet.contact == super::CONTACT_ANSWERED;
    if packet.class == CLASS_ICMP_ERROR {
        let port = contacted(packet.quoted_proto, packet.quoted_dport);
        // A router that has lost its line says so by ICMP; that is silence, not somebody's answer.
        if !lost(packet) {
            walk::settle(host, service(tables, &packet.quoted_dst, packet.quoted_proto, port), 0, packet.now, false);
        }
        return;
    }
    let port = contacted(packet.proto, packet.sport);
    let service = service(tables, &packet.src, packet.proto, port);
    walk::settle(host, service, neighbourhood(tables, packet), packet.now, answered);
}
