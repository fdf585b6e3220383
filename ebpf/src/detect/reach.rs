//! Whether a line is down, as the hosts of one zone see it: what used to answer over it no longer does.
//!
//! Silence alone tells nothing, for a scan is answered by silence, too. A scanner does not ask what it knows, though, and all
//! others do: the resolver, the mail server, the page of yesterday. So a *line* (an external network, or another zone) is down
//! while a service that once answered was asked over it and nobody was answered over it since, for longer than [`PATIENCE`].
//! What stays unanswered from then on, and from the moment it was asked, is no failure of the host's.

use super::abi::{LINES, Reach};
use crate::{
    bytes::opaque,
    packet::Packet,
    tables::{Addr, Tables},
};

/// How long an answer may take (nanoseconds): round trips around the world and by satellite take less.
const PATIENCE: u64 = 1_000_000_000;

/// The line to this address: lines are as many as [`LINES`], by number of the network; that of addresses which no network
/// owns is 0.
#[inline(always)]
pub(super) fn line<T: Tables>(tables: &T, packet: &Packet, addr: &Addr) -> usize {
    let entry = tables.addr(packet.generation, addr);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let owner = if entry.is_null() { 0 } else { unsafe { (*entry).owner } };
    owner as usize & (LINES - 1)
}

/// A conversation is begun over the line; `known`: with a service that answered the host before.
#[inline(always)]
pub(super) fn asked(reach: &mut Reach, line: usize, now: u64, known: bool) {
    let line = opaque(line) & (LINES - 1);
    let asked = reach.asked[line];
    if reach.answered[line] >= asked {
        if known {
            reach.asked[line] = now;
        }
    } else if now.wrapping_sub(asked) > PATIENCE && !is_down(reach, line) {
        reach.from[line] = super::walk::epoch(asked);
        reach.until[line] = 0;
    }
}

/// Somebody was answered over the line, or refused.
#[inline(always)]
pub(super) fn answered(reach: &mut Reach, line: usize, now: u64) {
    let line = opaque(line) & (LINES - 1);
    reach.answered[line] = now;
    if is_down(reach, line) {
        reach.until[line] = super::walk::epoch(now);
    }
}

/// Whether nothing is asked that waits for its answer. Until that is known nobody is blamed.
#[inline(always)]
pub(super) fn up(reach: &Reach, line: usize) -> bool {
    let line = opaque(line) & (LINES - 1);
    reach.answered[line] >= reach.asked[line]
}

#[inline(always)]
fn is_down(reach: &Reach, line: usize) -> bool {
    reach.from[line] != 0 && reach.until[line] == 0
}

/// Whether any line is down, or was a moment ago.
#[inline(always)]
pub(super) fn any_down(reach: &Reach, now: u64) -> bool {
    excused(reach, u32::MAX, super::walk::epoch(now))
}

/// Whether one of the lines `tried` (a bit for each) was down when that was, or an epoch before or after: an answer may have
/// been lost on its way when the line went, and neighbours must be found anew when it returns.
///
/// A function of its own, for the sake of the stack of who calls it.
#[inline(never)]
pub(super) fn excused(reach: &Reach, tried: u32, epoch: u32) -> bool {
    let mut excused = 0;
    let mut line = 0;
    // Without branches, or the verifier follows each line apart.
    while line < LINES {
        let index = opaque(line) & (LINES - 1);
        let (from, until) = (reach.from[index], reach.until[index]);
        let since = (from != 0) as u32 & (epoch.wrapping_add(1) >= from) as u32;
        let still = (until == 0) as u32 | (epoch <= until.wrapping_add(1)) as u32;
        excused |= tried >> line & since & still;
        line += 1;
    }
    excused & 1 != 0
}
