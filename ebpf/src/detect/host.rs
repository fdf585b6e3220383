//! Whose attempt it is, and where the state of that host is.
//!
//! An address is believed only where the decision (or the tables) found it to be the sender's; all else is laid at the door of
//! the MAC that sent it. A host gets a state of its own with its first attempt, unless its MAC has shown too many addresses
//! lately: then it shares that of its MAC; or made-up MACs are too many, or newcomers arrive faster than any network of real
//! machines lets them: then it shares one with all such of the zone, known ones apart from those nobody knows. Nobody passes unwatched. States of hosts that were answered once are kept apart, so that newcomers cannot push them out.

use super::{
    abi::{
        Detector, Host, HostKey, KEPT_OF_HOST, SPREAD_BITS, Threshold, WATCHED, WATCHED_EXEMPT, Watched, pace::CONTACT,
    },
    mix, on, pace, passes,
    watch::Watch,
};
use crate::{
    abi::{MAC_ROUTER, MacKey, NET_FLAG_KNOWN, NET_FLAG_REGISTERED, quarantine_mac, tick},
    bytes::{mac_number, opaque},
    decide::local,
    packet::Packet,
    parse::{is_v4, link_local},
    reason::Reason,
    tables::Tables,
};

/// How long distinct things are counted, nanoseconds: 2^36, 69 s.
const WINDOW: u64 = 1 << 36;
/// New hosts a zone may show: 20 a second, 1,000 at once.
const NEWCOMERS: Threshold = Threshold { cost: 50_000_000, most: 50_000_000_000, hold: 0, count: 0, action: 0 };

/// How many IPv6 addresses one MAC may show for each of IPv4.
const IPV6_TIMES: u32 = 4;

/// Nobody looks at the packet's zone.
pub const UNWATCHED: u32 = 0;
/// It is laid at the door of a MAC.
const BY_MAC: u32 = 1;
/// It is a host's by its address.
const BY_ADDRESS: u32 = 2;

/// Writes whose state the packet belongs to, and what its sender is exempt from. Returns [`UNWATCHED`], or by what it knows him.
#[inline(always)]
pub fn whose<T: Watch>(tables: &T, packet: &Packet, sight: &mut super::Sight, reason: u32) -> u32 {
    let watched = tables.watched(packet.generation, packet.net);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let flags = if watched.is_null() { 0 } else { unsafe { (*watched).flags } };
    if flags & WATCHED == 0 {
        return UNWATCHED;
    }
    sight.host.net = packet.net as u32;
    // 0.0.0.0 and ::, from which machines ask for an address (RFC 2131, RFC 4862), are nobody's.
    let own = packet.family != 0
        && packet.src[12..16] != [0; 4]
        && !link_local(&packet.src)
        && (passes(reason) || verified(tables, packet, reason));
    let mac = quarantine_mac(&packet.src_mac);
    sight.host.addr = if own { packet.src } else { mac };
    sight.state = sight.host;
    sight.spared = 0;
    if flags & WATCHED_EXEMPT != 0 {
        sight.spared = tables.exempt(packet.generation, &sight.host.addr) | tables.exempt(packet.generation, &mac);
    }
    if own { BY_ADDRESS } else { BY_MAC }
}

/// Whether the tables say that the source is the sender's, where the decision did not get as far as asking.
#[inline(always)]
fn verified<T: Tables>(tables: &T, packet: &Packet, reason: u32) -> bool {
    if reason == Reason::SpoofedSource as u32
        || reason == Reason::OwnAddress as u32
        || reason == Reason::MacMismatch as u32
        || reason == Reason::UnknownDevice as u32
    {
        return false;
    }
    let entry = tables.addr(packet.generation, &packet.src);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    if entry.is_null() || unsafe { (*entry).owner } != packet.net {
        return false;
    }
    let net = tables.net(packet.generation, packet.net);
    if net.is_null() {
        return false;
    }
    let bound = tables.binding(packet.generation, &packet.src);
    let mac = tables.mac(packet.generation, &MacKey { mac: packet.src_mac, net: packet.net });
    let (mut device, mut router) = (0, false);
    if !mac.is_null() {
        // SAFETY: as above.
        let mac = unsafe { &*mac };
        (device, router) = (mac.device, mac.flags & MAC_ROUTER != 0);
    }
    // SAFETY: as above.
    let strict = unsafe { (*net).flags } & (NET_FLAG_REGISTERED | NET_FLAG_KNOWN) != 0;
    router || device == bound && device != 0 || bound == 0 && (device != 0 || !strict)
}

/// Gives a newcomer a state of its own, or says which one it shares and, if a detector tells, why; `sight.host` is then the MAC or
/// the zone. `sight.state` is its key.
#[inline(always)]
pub fn newcomer<T: Watch>(tables: &T, packet: &Packet, sight: &mut super::Sight, whose: u32) {
    let own = whose == BY_ADDRESS;
    let watched = tables.watched(packet.generation, packet.net);
    if watched.is_null() {
        return;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let watched = unsafe { &*watched };
    // Keys are built in `sight`, which is not on the stack: that is short here.
    sight.state = HostKey::newcomers(packet.net, own);
    let zone = state(tables, &sight.state, true);
    if zone.is_null() {
        return;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let zone = unsafe { &mut *zone };
    zone.seen = packet.now;
    let mac = mac_number(&packet.src_mac);
    sight.state = HostKey::sender(packet);
    let hash = super::place(tables, &packet.src);
    // What is behind an inside router has addresses only.
    let by_mac = own && !local::from_router(tables, packet);
    if by_mac {
        let sender = tables.host(&sight.state);
        if !sender.is_null() {
            // SAFETY: as above.
            let sender = unsafe { &mut *sender };
            sender.seen = packet.now;
            // A host has one or two IPv4 addresses, but a new one of IPv6 now and then (RFC 8981).
            let times = if is_v4(&packet.src) { 1 } else { IPV6_TIMES };
            if crowded(sender, packet, hash, watched, Detector::SpoofedSource, times) {
                sight.why = Detector::SpoofedSource as u32;
                sight.count = sender.spread_count;
                sight.host = sight.state;
                return;
            }
        }
    }
    // Locally administered (IEEE 802c): made up by somebody.
    if packet.src_mac[0] & 2 != 0
        && crowded(zone, packet, mix(tables.secret(), mac, 0), watched, Detector::RandomMac, 1)
    {
        sight.why = Detector::RandomMac as u32;
        sight.count = zone.spread_count;
        return crowd(tables, packet, sight, own);
    }
    if pace::beyond(&mut zone.paces[CONTACT], packet.now, &NEWCOMERS, 1) {
        return crowd(tables, packet, sight, own);
    }
    // Only now: a flood of MACs must not push out what is known of others.
    if by_mac {
        let sender = state(tables, &sight.state, false);
        if !sender.is_null() {
            // SAFETY: as above.
            let sender = unsafe { &mut *sender };
            sender.seen = packet.now;
            spread(sender, packet.now, hash);
        }
    }
    sight.state = sight.host;
    tables.host_new(&sight.state);
}

/// What those without a state share.
#[inline(always)]
fn crowd<T: Watch>(tables: &T, packet: &Packet, sight: &mut super::Sight, own: bool) {
    sight.host = HostKey::zone(packet.net);
    sight.state = if own { HostKey::crowd(packet.net) } else { HostKey::unknown(packet.net) };
    sight.shared = 1;
    let crowd = state(tables, &sight.state, true);
    if !crowd.is_null() {
        // Its members have MACs of their own; that is no change of anybody's.
        // SAFETY: not null, so the table vouches for it until the decision returns.
        unsafe { (*crowd).mac = mac_number(&packet.src_mac) };
    }
}

/// The state of a MAC or a zone.
#[inline(always)]
fn state<T: Watch>(tables: &T, key: &HostKey, lasting: bool) -> *mut Host {
    let host = tables.host(key);
    if !host.is_null() {
        return host;
    }
    let host = tables.host_new(key);
    if host.is_null() || !lasting { host } else { tables.host_proven(key, host) }
}

/// Adds to what was seen lately; true if that is more than so many times what the detector allows, and it does anything here.
#[inline(always)]
fn crowded(host: &mut Host, packet: &Packet, hash: u64, watched: &Watched, detector: Detector, times: u32) -> bool {
    let threshold = &watched.thresholds[detector as usize];
    if !on(watched, detector) {
        return false;
    }
    if host.spread_count >= threshold.count.saturating_mul(times) && packet.now.wrapping_sub(host.window) <= WINDOW {
        return true;
    }
    spread(host, packet.now, hash);
    false
}

/// Adds something to the sketch of distinct things; starts it again when its time is over.
#[inline(always)]
pub(super) fn spread(host: &mut Host, now: u64, hash: u64) {
    if now.wrapping_sub(host.window) > WINDOW {
        host.window = now;
        host.spread = [0; super::abi::SPREAD_WORDS];
        host.spread_count = 0;
    }
    let bit = opaque(hash as usize) & (SPREAD_BITS as usize - 1);
    let word = opaque(bit >> 6) & (super::abi::SPREAD_WORDS - 1);
    let mask = 1 << (bit & 63);
    let before = host.spread[word];
    host.spread[word] = before | mask;
    host.spread_count += (before & mask == 0) as u32;
}

/// Whether another packet of this host may be kept as evidence now.
#[inline(always)]
pub(super) fn keep(host: &mut Host, now: u64) -> bool {
    let tick = tick(now);
    if host.kept_tick != tick {
        host.kept_tick = tick;
        host.kept = 0;
    }
    host.kept += 1;
    host.kept <= KEPT_OF_HOST
}
