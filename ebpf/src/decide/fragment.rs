//! Fragments: a later one shares the verdict of its first (step 6).

use crate::{
    abi::{CUT_STAGED, FRAG_RANGES, FRAG_TIMEOUT, FragEntry, FragKey, FragRange},
    decide::{flow::SECOND, staged},
    mark,
    packet::Packet,
    reason::Reason,
    tables::Tables,
};

#[inline(always)]
fn key(packet: &Packet) -> FragKey {
    FragKey {
        src: packet.src,
        dst: packet.dst,
        id: packet.frag_id,
        iface: packet.iface,
        outer: packet.outer,
        inner: packet.inner,
        // IPv6 identifies a datagram without the protocol (RFC 8200 §4.5).
        proto: if packet.family == 4 { packet.proto } else { 0 },
        direction: packet.direction as u8,
    }
}

/// Remembers a first fragment that passed. A repeated one of a datagram in flight overlaps.
#[inline(always)]
pub fn first<T: Tables>(tables: &T, packet: &Packet) -> u32 {
    let key = key(packet);
    let known = tables.frag(&key);
    if !known.is_null() {
        // SAFETY: not null, so the table vouches for it until the decision returns.
        let known = unsafe { &mut *known };
        if packet.now.saturating_sub(known.opened) <= FRAG_TIMEOUT * SECOND {
            known.poisoned = 1;
            return Reason::FragmentOverlap as u32;
        }
    }
    let mut entry = FragEntry {
        opened: packet.now,
        mark: packet.out_mark,
        total: 0,
        slot: packet.out_slot,
        poisoned: 0,
        quarantined: (packet.quarantine != 0) as u8,
        listed: (packet.staged == staged::LISTED) as u8,
        ranges: [FragRange::default(); FRAG_RANGES],
    };
    entry.ranges[0] = FragRange { start: 0, end: packet.frag_len };
    if tables.frag_insert(&key, &entry) { 0 } else { Reason::TableFull as u32 }
}

/// The mark that the first fragment of this one's datagram was given, 0 if there is none.
#[inline(always)]
pub fn mark_of<T: Tables>(tables: &T, packet: &Packet) -> u32 {
    let known = tables.frag(&key(packet));
    if known.is_null() {
        return 0;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let known = unsafe { &*known };
    if known.poisoned != 0 { 0 } else { known.mark }
}

/// Judges a later fragment; fills the decision from its first.
#[inline(always)]
pub fn later<T: Tables>(tables: &T, packet: &mut Packet) -> u32 {
    let known = tables.frag(&key(packet));
    if known.is_null() {
        return Reason::FragmentOrphan as u32;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let known = unsafe { &mut *known };
    if packet.now.saturating_sub(known.opened) > FRAG_TIMEOUT * SECOND {
        return Reason::FragmentOrphan as u32;
    }
    if known.poisoned != 0 {
        return Reason::FragmentOverlap as u32;
    }
    if packet.quarantine != 0 && known.quarantined == 0 {
        // The first passed before there was a quarantine.
        return Reason::Quarantined as u32;
    }
    if packet.staged != 0 && known.listed == 0 {
        // Likewise before it was restored in stages.
        if staged::held(packet) {
            return packet.staged as u32;
        }
        if tables.cut_net(mark::net(known.mark)) == CUT_STAGED {
            return Reason::CutNetwork as u32;
        }
    }
    let start = packet.frag_start;
    let end = start + packet.frag_len;
    let beyond =
        (known.total != 0 && end > known.total) || (packet.frag_more == 0 && known.total != 0 && end != known.total);
    if beyond {
        known.poisoned = 1;
        return Reason::FragmentBounds as u32;
    }
    let verdict = add(known, start, end);
    if verdict != 0 {
        known.poisoned = 1;
        return verdict;
    }
    if packet.frag_more == 0 {
        known.total = end;
        let mut i = 0;
        while i < FRAG_RANGES {
            if known.ranges[i].end > end {
                known.poisoned = 1;
                return Reason::FragmentBounds as u32;
            }
            i += 1;
        }
    }
    packet.out_mark = known.mark;
    packet.out_slot = known.slot;
    Reason::Fragment as u32
}

/// Adds `start..end` to the received ranges: joins a neighbour, or takes a free place.
#[inline(always)]
fn add(known: &mut FragEntry, start: u32, end: u32) -> u32 {
    let mut free = FRAG_RANGES;
    let mut joined = FRAG_RANGES;
    let mut i = 0;
    while i < FRAG_RANGES {
        let range = known.ranges[i];
        if range.end == 0 {
            if free == FRAG_RANGES {
                free = i;
            }
        } else if start < range.end && range.start < end {
            return Reason::FragmentOverlap as u32;
        }
        i += 1;
    }
    i = 0;
    while i < FRAG_RANGES {
        let range = &mut known.ranges[i];
        if range.end != 0 && joined == FRAG_RANGES {
            if range.end == start {
                range.end = end;
                joined = i;
            } else if range.start == end {
                range.start = start;
                joined = i;
            }
        }
        i += 1;
    }
    if joined == FRAG_RANGES {
        if free == FRAG_RANGES {
            return Reason::FragmentTooMany as u32;
        }
        known.ranges[free & (FRAG_RANGES - 1)] = FragRange { start, end };
        return 0;
    }
    // The hole between the joined range and another may just have closed.
    let merged = known.ranges[joined & (FRAG_RANGES - 1)];
    i = 0;
    while i < FRAG_RANGES {
        let range = known.ranges[i];
        if i != joined && range.end != 0 && (range.start == merged.end || range.end == merged.start) {
            let low = if range.start < merged.start { range.start } else { merged.start };
            let high = if range.end > merged.end { range.end } else { merged.end };
            known.ranges[joined & (FRAG_RANGES - 1)] = FragRange { start: low, end: high };
            known.ranges[i] = FragRange::default();
            return 0;
        }
        i += 1;
    }
    0
}

#[cfg(test)]
mod tests;
