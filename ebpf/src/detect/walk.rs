//! The random walk of a host's first contacts: does it know whom it talks to?
//!
//! Sequential hypothesis testing after Jung, Paxson, Berger and Balakrishnan, "Fast portscan detection using sequential
//! hypothesis testing" (2004): each first contact to a service (address, protocol, port) that fails is a step up, each that
//! succeeds a step down. With success probabilities of 0.8 for the benign and 0.2 for scanners both steps are as long, so the
//! walk counts in whole numbers; a threshold of 8 net failures stands for a false positive rate of 0.2^8 / 0.8^8, about
//! 1.5e-5 a walk. It stops at two successes below zero, so that a host with a good past is not given much more rope.
//!
//! A contact is a failure when it is refused, or not answered within two to four seconds although the line was up
//! ([`super::reach`]). Until then it is pending, and as
//! many may be pending as may fail, or as were answered these seconds: beyond that further first contacts are *held* (dropped;
//! TCP and QUIC try again), after Weaver, Staniford and Paxson, "Very fast containment of scanning worms" (2004). That is how
//! a scan stops within ten first contacts however fast it is, while a host whose contacts are answered goes on.
//!
//! Contacts are remembered in a small set-associative table, by hash under a secret: retries count once.

use super::{
    abi::{CONTACT_WAYS, CONTACTS, Host, LINES, Reach, SPREAD_WORDS, Threshold, pace::ANSWERS},
    pace, reach,
};
use crate::bytes::opaque;

/// A failure, in the walk's units.
pub const FAILURE: i32 = 4;
/// What a stale connection sends after its state is gone, and what is refused of the web: a quarter of a failure.
pub const SLIGHT: i32 = 1;
/// Where the walk stops going down: two successes.
const FLOOR: i32 = -2 * FAILURE;
/// Contacts that may be pending beyond the failures that would make a scan.
pub const PATIENCE: i32 = 2;
/// Services held without a single answer in between are a scan, too: about ten, counted in a word of bits (linear counting, Whang
/// et al. 1990), so that retries and parallel connections to one of them count once.
const HELD: u32 = 9;
/// Of the web about fifty: a browser that opens all of its tabs again asks dozens of servers within one round trip.
const HELD_WEB: u32 = 35;

/// Bits of a word of addresses that answered before it is begun anew: 96 to 128 addresses in all.
const CREDITED: u32 = 16;
/// Answers that count of addresses heard of already: a telephone exchange has many conversations with one carrier. One in four
/// seconds, four at once.
const AGAIN: Threshold = Threshold { cost: 4_000_000_000, most: 16_000_000_000, hold: 0, count: 0, action: 0 };

/// A slot's tag, kept in the upper half; never 0.
const TAG_SHIFT: u32 = 32;
const PENDING: u64 = 1;
const ANSWERED: u64 = 2;
const FAILED: u64 = 3;

/// What the table knows of a contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Tried for the first time (that is remembered).
    New,
    /// Tried before, not answered.
    Tried,
    /// Answered once.
    Answered,
}

/// Epochs last 2^31 ns.
#[inline(always)]
pub(super) const fn epoch(now: u64) -> u32 {
    (now >> 31) as u32
}

/// The first slot of the contact's set, and its tag.
#[inline(always)]
fn set(service: u64) -> (usize, u64) {
    let set = opaque(service as usize) & (CONTACTS / CONTACT_WAYS - 1);
    (set * CONTACT_WAYS, (service >> 32) << TAG_SHIFT | 1 << TAG_SHIFT)
}

/// 1 if `a < b`, else 0, by arithmetic: the compiler makes jumps of comparisons. `a` is small.
#[inline(always)]
fn less(a: u64, b: u64) -> u64 {
    // The first is the borrow unless `b` has its highest bit, which the second is.
    (opaque((a.wrapping_sub(b) >> 63) as usize) | opaque((b >> 63) as usize)) as u64
}

/// Where the contact is, or where a new one goes: an unused slot, else one whose outcome is known, else one that luck chooses.
/// And what is there.
#[inline(always)]
fn find(host: &Host, service: u64) -> (usize, u64, u64) {
    let (first, tag) = set(service);
    let luck = opaque((service >> 16) as usize);
    let mut at = first;
    let (mut found, mut best, mut way) = (0, 0, 0);
    // Without branches, or the verifier follows each way apart.
    while way < CONTACT_WAYS {
        let index = (first + (opaque(luck + way) & (CONTACT_WAYS - 1))) & (CONTACTS - 1);
        let entry = host.contacts[index];
        let same = 1 - less(0, entry & (u64::MAX << TAG_SHIFT) ^ tag);
        let free = 1 - less(0, entry);
        // What is still pending after two epochs has failed already.
        let age = host.epoch.wrapping_sub((entry >> 8) as u32) & 0xff_ffff;
        let over = less(0, entry & 3 ^ PENDING) | less(1, age as u64);
        let worth = 1 + over + 2 * free + 4 * same;
        let take = less(best, worth);
        at = at * (1 - take as usize) + index * take as usize;
        best = best * (1 - take) + worth * take;
        found |= entry * same;
        way += 1;
    }
    (at & (CONTACTS - 1), found, tag)
}

/// Turns what stayed unanswered too long into failures, unless the line was down, and lets the walk come down by a unit each
/// 34 s.
#[inline(always)]
pub(super) fn turn(host: &mut Host, now: u64, lines: &Reach) {
    let current = epoch(now);
    let passed = current.wrapping_sub(host.epoch);
    if passed == 0 {
        return;
    }
    let [fresh, old] = host.pending;
    let [lately, before] = host.tried;
    let mut failed = if old == 0 || reach::excused(lines, before, host.epoch.wrapping_sub(1)) { 0 } else { old };
    if passed != 1 && fresh != 0 && !reach::excused(lines, lately, host.epoch) {
        failed = failed.wrapping_add(fresh);
    }
    host.pending = if passed == 1 { [0, fresh] } else { [0, 0] };
    host.tried = if passed == 1 { [0, lately] } else { [0, 0] };
    host.answered = if passed == 1 { [0, host.answered[0]] } else { [0, 0] };
    host.epoch = current;
    let down = (current >> 4).wrapping_sub(current.wrapping_sub(passed) >> 4);
    if down != 0 {
        host.credited = [0; SPREAD_WORDS];
    }
    let down = if down > 1_000 { 1_000 } else { down as i32 };
    let mut walk = host.walk;
    if walk > 0 {
        walk = if walk > down { walk - down } else { 0 };
    }
    let failed = if failed > 1_000 { 1_000 } else { failed as i32 };
    host.walk = walk + failed * FAILURE;
}

/// What is known of the contact.
#[inline(always)]
pub(super) fn known(host: &Host, service: u64) -> Known {
    let (_, entry, _) = find(host, service);
    if entry == 0 {
        return Known::New;
    }
    if entry & 3 == ANSWERED { Known::Answered } else { Known::Tried }
}

/// How far the walk has got if all that is pending fails, in whole failures: what time took off meanwhile lets nobody try more.
#[inline(always)]
pub(super) fn ahead(host: &Host) -> i32 {
    let pending = host.pending[0].wrapping_add(host.pending[1]);
    let pending = if pending > 1_000 { 1_000 } else { pending as i32 };
    let ahead = host.walk + pending * FAILURE;
    // Up to the next whole one, also below zero.
    ahead + (-ahead & (FAILURE - 1))
}

/// Whether as many were answered these seconds as wait for an answer: somebody busy, not somebody searching.
#[inline(always)]
pub(super) fn busy(host: &Host) -> bool {
    host.answered[0].wrapping_add(host.answered[1]) > host.pending[0].wrapping_add(host.pending[1])
}

/// A contact is held while nothing is known to be wrong with the line; whether that makes a scan of them.
#[inline(always)]
pub(super) fn hold(host: &mut Host, service: u64, web: bool) -> bool {
    if web {
        host.held_web |= 1 << (service & 63);
        host.held_web.count_ones() >= HELD_WEB
    } else {
        host.held |= 1 << (service & 31);
        host.held.count_ones() >= HELD
    }
}

/// A new contact over that line whose outcome is open.
#[inline(always)]
pub(super) fn begin(host: &mut Host, service: u64, line: usize) {
    let (index, _, tag) = find(host, service);
    host.contacts[opaque(index) & (CONTACTS - 1)] = tag | (host.epoch as u64 & 0xff_ffff) << 8 | PENDING;
    host.pending[0] = host.pending[0].wrapping_add(1);
    host.tried[0] |= 1 << (line & (LINES - 1));
}

/// A new contact that failed at once.
#[inline(always)]
pub(super) fn fail(host: &mut Host, service: u64, weight: i32) {
    let (index, _, tag) = find(host, service);
    host.contacts[opaque(index) & (CONTACTS - 1)] = tag | FAILED;
    host.walk += weight;
}

/// The contact was answered, or refused by the other end, which is at `place`.
///
/// An address that was heard of these 34 s, one of the last hundred, brings the walk down more slowly, or whoever owns one that
/// answers at many ports would buy a contact with each.
#[inline(always)]
pub(super) fn settle(host: &mut Host, service: u64, place: u64, now: u64, answered: bool) {
    let (index, entry, tag) = find(host, service);
    if entry & 3 != PENDING {
        return;
    }
    let since = (entry >> 8) as u32 & 0xff_ffff;
    let age = (host.epoch & 0xff_ffff).wrapping_sub(since) & 0xff_ffff;
    let mut late = false;
    if age == 0 {
        host.pending[0] = host.pending[0].saturating_sub(1);
    } else if age == 1 {
        host.pending[1] = host.pending[1].saturating_sub(1);
    } else {
        late = true;
    }
    host.contacts[opaque(index) & (CONTACTS - 1)] = tag | if answered { ANSWERED } else { FAILED };
    let mut walk = host.walk;
    if answered {
        host.held = 0;
        host.held_web = 0;
        let word = opaque((place >> 6) as usize) & (SPREAD_WORDS - 1);
        let before = host.credited[word];
        // Who hears of very many is not remembered so long, or most of them would look known.
        let kept = before * (before.count_ones() < CREDITED) as u64;
        host.credited[word] = kept | 1 << (place & 63);
        let heard = before >> (place & 63) & 1 != 0;
        let counts = !heard || !pace::beyond(&mut host.paces[ANSWERS], now, &AGAIN, 1);
        host.answered[0] = host.answered[0].wrapping_add(counts as u32);
        // What was taken for a failure before is made good in any case.
        walk -= FAILURE * (counts as i32 + late as i32);
    } else if !late {
        walk += FAILURE;
    }
    host.walk = if walk < FLOOR { FLOOR } else { walk };
}

/// Starts the walk again, after it arrived.
#[inline(always)]
pub(super) fn restart(host: &mut Host) {
    host.walk = 0;
    host.pending = [0, 0];
    host.tried = [0, 0];
    host.held = 0;
    host.held_web = 0;
    host.places = 0;
    host.ports = 0;
}
