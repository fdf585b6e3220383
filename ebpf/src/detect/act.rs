//! What follows: nothing, a word to the agent, or a drop; and blocks that last.

use super::{
    Sight,
    abi::{ACTION_QUARANTINE, ACTION_THROTTLE, BLOCKS, DETECTORS, Detector, Host, Watched, block},
    refused, service,
    walk::{self, Known},
    watch::Watch,
};
use crate::{
    abi::{proto, tick},
    bytes::opaque,
    decide::cut,
    packet::{FRAG_NONE, Packet, tcp},
    reason::Reason,
};

/// Not an action of a policy: a first contact that waits for others to be answered.
pub(super) const HOLD: u32 = 0x100;
/// A quarantine that the agent has not placed yet lasts at least so long, nanoseconds.
const UNTIL_PLACED: u64 = 60_000_000_000;

/// Where a detector's own things are, in a bound that the kernel sees.
#[inline(always)]
fn index(detector: u32) -> usize {
    opaque(detector as usize) & (DETECTORS - 1)
}

/// The block that what this detector sees is under.
#[inline(always)]
fn kind(detector: u32) -> usize {
    const SYN: u32 = Detector::SynFlood as u32;
    const UDP: u32 = Detector::UdpFlood as u32;
    const ICMP: u32 = Detector::IcmpFlood as u32;
    const FRAGMENT: u32 = Detector::FragmentFlood as u32;
    const SMTP: u32 = Detector::SmtpBurst as u32;
    const DNS: u32 = Detector::DnsTunnel as u32;
    const WORM: u32 = Detector::WormPort as u32;
    const AMPLIFIER: u32 = Detector::Amplification as u32;
    match detector {
        SYN => block::SYN,
        UDP | AMPLIFIER => block::UDP,
        ICMP => block::ICMP,
        FRAGMENT => block::FRAGMENT,
        SMTP => block::SMTP,
        DNS => block::DNS,
        WORM => block::WORM,
        _ => block::CONTACTS,
    }
}

/// Whether a block of the host is for this packet.
#[inline(always)]
pub(super) fn blocked<T: Watch>(tables: &T, host: &Host, packet: &Packet, reason: u32) -> bool {
    let now = packet.now;
    let b = &host.blocks;
    let under_way = super::signs::under_way(packet, reason) || reason == Reason::Builtin as u32;
    let mut until = 0;
    let mut add = |at: u64| {
        if at > until {
            until = at;
        }
    };
    match packet.proto {
        proto::TCP if packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN => {
            add(b[block::SYN]);
            if packet.dport == 25 {
                add(b[block::SMTP]);
            }
        }
        proto::UDP => {
            if !under_way {
                add(b[block::UDP]);
            }
            if packet.dport == 53 {
                add(b[block::DNS]);
            }
        }
        proto::ICMP | proto::ICMPV6 if reason != Reason::Builtin as u32 => add(b[block::ICMP]),
        _ => {}
    }
    if packet.frag != FRAG_NONE {
        add(b[block::FRAGMENT]);
    }
    if !under_way {
        add(b[block::ALL]);
        if super::signs::worm(packet) {
            add(b[block::WORM]);
        }
    }
    if until > now {
        return true;
    }
    if under_way || b[block::CONTACTS] <= now {
        return false;
    }
    // What answered before goes on.
    let service = service(tables, &packet.dst, packet.proto, super::signs::port(packet));
    walk::known(host, service) != Known::Answered
}

/// A packet of a host that is blocked: refused, unless it was anyway or it is the administrator's.
#[inline(always)]
pub(super) fn still<T: Watch>(
    tables: &T,
    host: &mut Host,
    packet: &Packet,
    watched: &Watched,
    sight: &mut Sight,
    reason: u32,
) -> u32 {
    if cut::managed(tables, packet) {
        return reason;
    }
    host.refused += 1;
    sight.still = 1;
    sight.detector = host.blamed;
    sight.action = watched.thresholds[index(host.blamed)].action;
    tell(host, packet, sight);
    sight.until = host.blocks[kind(host.blamed)];
    refused(reason, Reason::Blocked)
}

/// Whether the sender is exempt from this detector.
#[inline(always)]
pub(super) fn exempt(sight: &Sight, detector: u32) -> bool {
    sight.spared >> index(detector) & 1 != 0
}

/// Lets the agent hear of it, once a second.
#[inline(always)]
fn tell(host: &mut Host, packet: &Packet, sight: &mut Sight) {
    let index = index(sight.detector);
    let now = tick(packet.now);
    sight.tell = (host.told[index] != now) as u32;
    host.told[index] = now;
    sight.hits = host.hits[index];
    sight.refused = host.refused;
}

/// Does what the policy says about what was found. Returns the reason the packet leaves with.
#[inline(always)]
pub(super) fn act<T: Watch>(
    tables: &T,
    host: &mut Host,
    packet: &Packet,
    watched: &Watched,
    sight: &mut Sight,
    reason: u32,
) -> u32 {
    let mut reason = reason;
    if sight.action == HOLD && !cut::managed(tables, packet) {
        reason = refused(reason, Reason::Held);
    }
    sight.action = 0;
    if sight.detector == 0 {
        return reason;
    }
    let index = index(sight.detector);
    let threshold = &watched.thresholds[index];
    sight.action = threshold.action;
    host.hits[index] += 1;
    tell(host, packet, sight);
    if sight.action < ACTION_THROTTLE || cut::managed(tables, packet) {
        return reason;
    }
    if sight.action == ACTION_THROTTLE {
        return refused(reason, Reason::Throttled);
    }
    // Who is in quarantine has what stands in for it, and keeps what quarantine permits.
    if sight.action == ACTION_QUARANTINE && reason == Reason::Quarantined as u32 {
        return reason;
    }
    // Of a crowd everything is never blocked: those who come into it are not those who did it.
    let block = if sight.action == ACTION_QUARANTINE && sight.shared == 0 { block::ALL } else { kind(sight.detector) };
    let mut hold = threshold.hold;
    if sight.action == ACTION_QUARANTINE && hold < UNTIL_PLACED {
        hold = UNTIL_PLACED;
    }
    let until = packet.now.saturating_add(hold);
    host.blocks[opaque(block) & (BLOCKS - 1)] = until;
    host.blamed = sight.detector;
    sight.until = until;
    refused(reason, Reason::Blocked)
}
