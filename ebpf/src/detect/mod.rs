//! The detectors: what inside hosts *attempt*, seen at the gate they must pass.
//!
//! They are fed after the parse and once the verdict is known but not yet counted, so that what is malformed, spoofed or
//! refused counts as an attempt too. What belongs to an answered conversation is not looked at: it costs one comparison.
//! State is kept per host in tables of fixed size ([`abi::Host`]); a host that was never answered cannot take the place of one
//! that was. `docs/detectors.md` names each detector's method and source.

pub mod abi;
mod act;
pub mod host;
mod pace;
mod reach;
mod signs;
#[cfg(test)]
mod tests;
pub mod walk;
pub mod watch;

use abi::{ACTION_OFF, ACTION_THROTTLE, Detector, HostKey, WATCHED, Watched};

use crate::{
    abi::proto,
    packet::Packet,
    reason::Reason,
    tables::{Addr, Tables},
};
pub use watch::Watch;

/// What one packet was found to be part of. Lives in scratch memory, like the packet.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Sight {
    /// Whose state was used.
    pub host: HostKey,
    /// [`Detector`] that spoke; 0 for none.
    pub detector: u32,
    /// Its action.
    pub action: u32,
    /// Its own figure.
    pub value: u32,
    /// Packets beyond the threshold so far.
    pub hits: u32,
    /// Packets refused by its blocks so far.
    pub refused: u32,
    /// 1: the agent is to hear of it.
    pub tell: u32,
    /// 1: keep the packet as evidence.
    pub keep: u32,
    /// Until when the host is blocked.
    pub until: u64,
    /// Where the state of a newcomer is: its own, its MAC's or the crowd's.
    pub state: HostKey,
    /// The detector that says why it has none of its own; 0 if it has, or none says so.
    pub why: u32,
    /// What that counted.
    pub count: u32,
    /// How much what was found so far weighs; see [`found`].
    pub weight: u32,
    /// 1: the state is that of many hosts, none of whom can be named.
    pub shared: u32,
    /// 1: nothing was seen in this packet; an earlier block refuses it.
    pub still: u32,
    /// Bits of the detectors the sender is exempt from.
    pub spared: u64,
}

/// No part of a conversation under way.
pub const CONTACT_NONE: u8 = 0;
/// Way in: a packet of a conversation that nobody has answered yet, sent by who opened it.
pub const CONTACT_UNANSWERED: u8 = 1;
/// Way out: the first answer to it.
pub const CONTACT_ANSWERED: u8 = 2;
/// Way out: it was refused (TCP reset, ICMP error).
pub const CONTACT_REFUSED: u8 = 3;

/// Whether a packet that got this reason may be an attempt, as far as the packet alone tells. What is left out is the bulk of
/// the traffic: answered conversations.
#[inline(always)]
pub fn attempts(packet: &Packet, reason: u32) -> bool {
    reason != Reason::Flow as u32
        || packet.contact == CONTACT_UNANSWERED
        || packet.proto == proto::ICMP
        || packet.proto == proto::ICMPV6
        || signs::long_question(packet)
}

/// Looks at a packet that came in and got `reason`. Returns the reason it leaves with.
#[inline(always)]
pub fn attempt<T: Watch>(tables: &T, packet: &Packet, sight: &mut Sight, reason: u32) -> u32 {
    sight.detector = 0;
    sight.action = 0;
    sight.value = 0;
    sight.tell = 0;
    sight.keep = 0;
    sight.until = 0;
    sight.why = 0;
    sight.weight = 0;
    sight.shared = 0;
    sight.still = 0;
    let whose = tables.whose(packet, sight, reason);
    if whose == host::UNWATCHED {
        return reason;
    }
    let mut leaves = tables.look(packet, sight, reason);
    if leaves == NOBODY {
        tables.newcomer(packet, sight, whose);
        leaves = tables.look(packet, sight, reason);
    }
    if leaves == NOBODY { reason } else { leaves }
}

/// No reason: there is no state yet.
const NOBODY: u32 = u32::MAX;

/// The second part of [`attempt`], for whose state is at `sight.state`; [`NOBODY`] if there is none.
#[inline(always)]
pub fn look<T: Watch>(tables: &T, packet: &Packet, sight: &mut Sight, reason: u32) -> u32 {
    let (state, watched) = (tables.host(&sight.state), tables.watched(packet.generation, packet.net));
    if state.is_null() || watched.is_null() {
        return NOBODY;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let watched = unsafe { &*watched };
    // SAFETY: as above.
    let host = unsafe { &mut *state };
    host.seen = packet.now;
    sight.keep = host::keep(host, packet.now) as u32;
    if act::blocked(tables, host, packet, reason) && !act::exempt(sight, host.blamed) {
        return act::still(tables, host, packet, watched, sight, reason);
    }
    signs::look(tables, host, packet, watched, sight, reason);
    // What it does says more than why it has no state of its own.
    let count = sight.count;
    if sight.why == Detector::SpoofedSource as u32 {
        found(sight, watched, Detector::SpoofedSource, count);
    } else if sight.why == Detector::RandomMac as u32 {
        found(sight, watched, Detector::RandomMac, count);
    }
    act::act(tables, host, packet, watched, sight, reason)
}

/// Looks at a packet on its way to an inside host that tells whether what the host attempted was answered.
#[inline(always)]
pub fn heard<T: Watch>(tables: &T, packet: &Packet, sight: &mut Sight) {
    let watched = tables.watched(packet.generation, packet.net);
    if watched.is_null() {
        return;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let watched = unsafe { &*watched };
    if watched.flags & WATCHED == 0 {
        return;
    }
    let lines = tables.reach(packet.net);
    if lines.is_null() {
        return;
    }
    // SAFETY: as above.
    let lines = unsafe { &mut *lines };
    // A reset shows as well as an answer does that the line is up; an ICMP error may come from this side of what is down.
    if packet.contact == CONTACT_ANSWERED || packet.proto == proto::TCP {
        reach::answered(lines, reach::line(tables, packet, &packet.src), packet.now);
    }
    sight.host = HostKey { addr: packet.dst, net: packet.net as u32 };
    let mut own = tables.host(&sight.host);
    if packet.contact == CONTACT_ANSWERED && !own.is_null() {
        own = tables.host_proven(&sight.host, own);
    }
    if !own.is_null() {
        // SAFETY: as above.
        return signs::answered(tables, unsafe { &mut *own }, packet, lines);
    }
    // Whoever shares a state shares its answers; which one it is, only the contact itself tells.
    let key = HostKey { addr: crate::abi::quarantine_mac(&packet.dst_mac), net: packet.net as u32 };
    for key in [key, HostKey::crowd(packet.net)] {
        let shared = tables.host(&key);
        if !shared.is_null() {
            // SAFETY: as above.
            signs::answered(tables, unsafe { &mut *shared }, packet, lines);
        }
    }
}

/// Whether this detector does anything here.
#[inline(always)]
fn on(watched: &Watched, detector: Detector) -> bool {
    watched.thresholds[detector as usize].action != ACTION_OFF
}

/// Notes what was found. The strongest action is heard; of two equals the first, who says more of a single packet. Else what
/// only alerts would hide what blocks.
#[inline(always)]
fn found(sight: &mut Sight, watched: &Watched, detector: Detector, value: u32) {
    weigh(sight, watched, detector, value, 0);
}

/// The same of what is seldom found, because it took many packets: it goes before its equals.
#[inline(always)]
fn concluded(sight: &mut Sight, watched: &Watched, detector: Detector, value: u32) {
    weigh(sight, watched, detector, value, 1);
}

#[inline(always)]
fn weigh(sight: &mut Sight, watched: &Watched, detector: Detector, value: u32, seldom: u32) {
    let spared = (sight.spared >> detector as u32) as u32 & 1;
    let weight = (2 * watched.thresholds[detector as usize].action + seldom) * (1 - spared);
    if weight > sight.weight {
        sight.weight = weight;
        sight.detector = detector as u32;
        sight.value = value;
    }
}

/// Whether what was found so far refuses the packet.
#[inline(always)]
fn refuses(sight: &Sight) -> bool {
    sight.weight >= 2 * ACTION_THROTTLE
}

/// An address as two numbers.
#[inline(always)]
fn halves(addr: &Addr) -> (u64, u64) {
    let half = |at: usize| {
        u64::from_ne_bytes([
            addr[at],
            addr[at + 1],
            addr[at + 2],
            addr[at + 3],
            addr[at + 4],
            addr[at + 5],
            addr[at + 6],
            addr[at + 7],
        ])
    };
    (half(0), half(8))
}

/// A number nobody outside can steer: multiply and fold (after Thorup, "High speed hashing for integers and strings", 2015).
#[inline(always)]
fn mix(secret: u64, high: u64, low: u64) -> u64 {
    let mut x = (high ^ secret).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 32;
    x = (x ^ low.rotate_left(23)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    x ^= x >> 29;
    x = x.wrapping_mul(0x1656_67b1_9e37_79f9);
    x ^ (x >> 32)
}

/// The service a packet is for, as a number: destination, protocol, port.
#[inline(always)]
fn service<T: Tables>(tables: &T, addr: &Addr, proto: u8, port: u16) -> u64 {
    let (high, low) = halves(addr);
    mix(tables.secret() ^ (proto as u64) << 16 ^ port as u64, high, low)
}

/// The destination alone.
#[inline(always)]
fn place<T: Tables>(tables: &T, addr: &Addr) -> u64 {
    let (high, low) = halves(addr);
    mix(tables.secret(), high, low)
}

/// The detectors' reason for a packet that would pass; another is refused for its own.
#[inline(always)]
fn refused(reason: u32, instead: Reason) -> u32 {
    if passes(reason) { instead as u32 } else { reason }
}

/// Whether the packet passes.
#[inline(always)]
fn passes(reason: u32) -> bool {
    reason < Reason::NoPolicy as u32
}
