//! Quarantine: a host in it gets what rules for quarantined hosts permit, and nothing else.
//!
//! Whether a packet is from or to such a host is asked behind the cut-off; what that means is decided where a conversation
//! is ([`crate::decide::converse`]). The glance asks a filter only and leaves every doubt to the long way.

use crate::{
    abi::{DIR_IN, QUARANTINE_WORDS, Quarantine, RULE_QUARANTINED, quarantine_mac},
    bytes::mac_number,
    decide::cut,
    packet::Packet,
    reason::Reason,
    tables::{Addr, Tables},
};

/// The slot of the quarantine that the packet's source, destination or MAC is in; 0 for none. The management path stays open.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, packet: &Packet) -> u32 {
    let mac = if packet.direction == DIR_IN { &packet.src_mac } else { &packet.dst_mac };
    let mut slot = tables.quarantined(&packet.src);
    if slot == 0 {
        slot = tables.quarantined(&packet.dst);
    }
    if slot == 0 {
        slot = tables.quarantined(&quarantine_mac(mac));
    }
    if slot != 0 && cut::managed(tables, packet) { 0 } else { slot }
}

/// Notes in the packet which quarantine it is in.
#[inline(always)]
pub fn note<T: Tables>(tables: &T, packet: &mut Packet) {
    if any(tables.quarantine()) {
        packet.quarantine = tables.find_quarantine(packet) as u16;
    }
}

#[inline(always)]
fn any(quarantine: *const Quarantine) -> bool {
    // SAFETY: not null, so the table vouches for it until the decision returns.
    !quarantine.is_null() && unsafe { (*quarantine).any } != 0
}

/// [`Reason::Quarantined`] if the packet is in quarantine and the rule with this number and stable slot does not hold there,
/// else 0. A number that names another rule by now holds for nothing.
#[inline(always)]
pub fn refused<T: Tables>(tables: &T, packet: &Packet, rule: u16, slot: u16) -> u32 {
    if packet.quarantine == 0 {
        return 0;
    }
    let rule = tables.rule(packet.generation, rule);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let holds = !rule.is_null() && unsafe { (*rule).slot == slot as u32 && (*rule).flags & RULE_QUARANTINED != 0 };
    if holds { 0 } else { Reason::Quarantined as u32 }
}

/// Whether one of these may be in quarantine: two IPv4 addresses in the order of the wire, two MACs as
/// [`crate::bytes::mac_at`].
#[inline(always)]
pub fn suspect4<T: Tables>(tables: &T, src: u32, dst: u32, macs: [u64; 2]) -> bool {
    let quarantine = tables.quarantine();
    if !any(quarantine) {
        return false;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let quarantine = unsafe { &*quarantine };
    let [from, to] = macs;
    marked(quarantine, v4(src)) | marked(quarantine, v4(dst)) | marked(quarantine, from) | marked(quarantine, to)
}

/// The same for IPv6.
#[inline(always)]
pub fn suspect6<T: Tables>(tables: &T, src: &Addr, dst: &Addr, macs: [u64; 2]) -> bool {
    let quarantine = tables.quarantine();
    if !any(quarantine) {
        return false;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let quarantine = unsafe { &*quarantine };
    let [from, to] = macs;
    marked(quarantine, v6(src)) | marked(quarantine, v6(dst)) | marked(quarantine, from) | marked(quarantine, to)
}

/// The same for one MAC.
#[inline(always)]
pub fn suspect_mac<T: Tables>(tables: &T, mac: &[u8; 6]) -> bool {
    let quarantine = tables.quarantine();
    // SAFETY: not null, so the table vouches for it until the decision returns.
    any(quarantine) && marked(unsafe { &*quarantine }, mac_number(mac))
}

/// An IPv4 address, in the order of the wire, as the filter takes it.
#[inline(always)]
const fn v4(addr: u32) -> u64 {
    addr as u64 | 1 << 56
}

/// An IPv6 address, as the filter takes it.
#[inline(always)]
fn v6(addr: &Addr) -> u64 {
    let half = |at: usize| {
        let mut value = 0;
        let mut i = 0;
        while i < 8 {
            value = value << 8 | addr[at + i] as u64;
            i += 1;
        }
        value
    };
    half(0).rotate_left(23) ^ half(8)
}

/// Where the filter has its bit: word and shift. Multiplicative hashing (Knuth, TAOCP 3, 6.4).
#[inline(always)]
const fn bit(value: u64) -> (usize, u32) {
    let hash = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    ((hash >> 6) as usize & (QUARANTINE_WORDS - 1), hash as u32 & 63)
}

#[inline(always)]
fn marked(quarantine: &Quarantine, value: u64) -> bool {
    let (word, shift) = bit(value);
    quarantine.filter[crate::bytes::opaque(word) & (QUARANTINE_WORDS - 1)] >> shift & 1 != 0
}

impl Quarantine {
    /// Puts an address or a MAC ([`quarantine_mac`]) into the filter.
    pub fn add(&mut self, key: &Addr) {
        let value = if key[..10] == [0xff; 10] {
            mac_number(&[key[10], key[11], key[12], key[13], key[14], key[15]])
        } else if crate::parse::is_v4(key) {
            v4(u32::from_ne_bytes([key[12], key[13], key[14], key[15]]))
        } else {
            v6(key)
        };
        let (word, shift) = bit(value);
        self.filter[word] |= 1 << shift;
        self.any = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter may take a stranger for a quarantined host, but never the other way round.
    #[test]
    fn the_filter_misses_nobody() {
        let mut quarantine = Quarantine::EMPTY;
        let mac = [2, 0, 0, 0, 0x10, 0x17];
        let v4_addr = crate::parse::mapped([192, 168, 10, 17]);
        let v6_addr = [0x20, 1, 0xd, 0xb8, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x17];
        for key in [v4_addr, v6_addr, quarantine_mac(&mac)] {
            quarantine.add(&key);
        }
        assert_eq!(quarantine.filter.iter().map(|word| word.count_ones()).sum::<u32>(), 3);
        assert!(marked(&quarantine, v4(u32::from_ne_bytes([192, 168, 10, 17]))));
        assert!(marked(&quarantine, v6(&v6_addr)));
        let mut frame = [0; 14];
        frame[6..12].copy_from_slice(&mac);
        assert!(marked(&quarantine, crate::bytes::mac_at::<6, 10, 14>(&frame)));
        assert!(!marked(&quarantine, v4(u32::from_ne_bytes([192, 168, 10, 18]))));
    }
}
