//! Step 16: how many conversations a rule lets live at once, and how fast it lets new ones begin.
//!
//! Nobody tells the data plane that a view has expired or was evicted, so conversations are not counted: each holds a
//! numbered place, and a place whose conversation is gone is free. Rates are one instant each: the time until which
//! what was admitted has been used up. Tables are of fixed size; when one is crowded, newcomers get less, never more.

use crate::{
    abi::{HOST_PACES, HostPaceSet, LimitEntry, RULE_LIMITED, SEATS, STATE_CLOSED, Seat, SeatSet, ViewKey},
    atomic,
    bytes::opaque,
    decide::{converse::Work, flow},
    reason::Reason,
    tables::{Addr, Tables},
};

/// Places looked at for one packet. A limit up to this is exact; above it a free place may be missed.
pub const LOOKS: u32 = 16;
/// Sets full of other conversations that are looked past.
const CROWDED: u32 = 2;
/// Attempts to get a lock that is held for some hundred nanoseconds.
const PATIENCE: u32 = 64;

/// A packet that opens no view: it counts for rates only.
pub const ONE_WAY: u32 = 0;
/// A first packet that opens `work.view`.
pub const OPENS: u32 = 1;
/// A running conversation is taken over: it takes places if there are any, and is never refused.
pub const ADOPTS: u32 = 2;

/// No place; else the place's number plus one.
const NO_PLACE: u32 = 0;

/// Whether the rule that was found limits anything.
#[inline(always)]
pub const fn limited(flags: u32) -> bool {
    flags & RULE_LIMITED != 0
}

/// Admits what the rules permitted and, unless it is [`ONE_WAY`], inserts its view: 0, or the reason against it.
#[inline(always)]
pub fn admit<T: Tables>(tables: &T, work: &Work, now: u64, what: u32) -> u32 {
    let limit = tables.limit(work.question.generation, work.answer.rule);
    if limit.is_null() {
        return Reason::Internal as u32;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let limit = unsafe { &*limit };
    if what != ADOPTS && !tables.paces(work, now, 0) {
        return Reason::TooFast as u32;
    }
    if what == ONE_WAY {
        return if tables.paces(work, now, 1) { 0 } else { Reason::TooFast as u32 };
    }
    let mut reason = 0;
    let mut of_rule = NO_PLACE;
    let mut of_host = NO_PLACE;
    if limit.flows != 0 {
        of_rule = tables.claim(work, now, limit.flows, 0);
        if of_rule == NO_PLACE {
            reason = Reason::TooManyFlows as u32;
        }
    }
    if reason == 0 && limit.flows_per_host != 0 {
        of_host = tables.claim(work, now, limit.flows_per_host, 1);
        if of_host == NO_PLACE {
            reason = Reason::TooManyFlows as u32;
        }
    }
    if what == ADOPTS {
        reason = 0;
    } else if reason == 0 && !tables.paces(work, now, 1) {
        reason = Reason::TooFast as u32;
    }
    if reason == 0 && !tables.enter(work, what) {
        reason = Reason::TableFull as u32;
    }
    let opened = if reason == 0 { work.view.opened } else { 0 };
    settle(tables, of_rule, opened);
    settle(tables, of_host, opened);
    reason
}

/// Inserts the view that was admitted; false if the table refused.
#[inline(always)]
pub fn enter<T: Tables>(tables: &T, work: &Work, what: u32) -> bool {
    let adopting = what == ADOPTS;
    // A view of this key in the other room is dead or restarted; it must not be found first.
    tables.view_remove(&work.key, !adopting);
    tables.view_insert(&work.key, &work.view, adopting)
}

/// Whether both rates let one more begin; `take`: it begins.
#[inline(always)]
pub fn paces<T: Tables>(tables: &T, work: &Work, now: u64, take: u32) -> bool {
    let limit = tables.limit(work.question.generation, work.answer.rule);
    if limit.is_null() {
        return false;
    }
    // SAFETY: as in `admit`.
    let limit = unsafe { &*limit };
    if limit.host_cost != 0 && !host_pace(tables, work, limit, now, take != 0) {
        return false;
    }
    limit.new_cost == 0 || rule_pace(tables, work, limit, now, take != 0)
}

/// The new instant, or 0 if that would be further ahead than it may be.
#[inline(always)]
fn advance(until: u64, now: u64, cost: u64, most: u64) -> u64 {
    let start = if until > now { until } else { now };
    let next = start.saturating_add(cost);
    if next - now > most { 0 } else { next }
}

#[inline(always)]
fn rule_pace<T: Tables>(tables: &T, work: &Work, limit: &LimitEntry, now: u64, take: bool) -> bool {
    let pace = tables.rule_pace(work.answer.slot as u32);
    if pace.is_null() {
        return false;
    }
    let mut turn = 0;
    while turn < LOOKS {
        turn += 1;
        // SAFETY: not null and aligned; volatile, because other processors write it.
        let until = unsafe { core::ptr::read_volatile(pace) };
        let next = advance(until, now, limit.new_cost, limit.new_most);
        if next == 0 {
            return false;
        }
        // SAFETY: as above, and nobody writes it but by atomic operations.
        if !take || unsafe { atomic::replace_if(pace, until, next) } == until {
            return true;
        }
    }
    false
}

#[inline(always)]
fn host_pace<T: Tables>(tables: &T, work: &Work, limit: &LimitEntry, now: u64, take: bool) -> bool {
    let slot = work.answer.slot as u32;
    let host = &work.question.src;
    let set = tables.host_paces(hash(tables.secret(), slot, host) as u32);
    if set.is_null() {
        return false;
    }
    // SAFETY: not null and aligned, and nobody reads or writes the lock but by atomic operations.
    let lock = unsafe { &raw mut (*set).lock };
    // SAFETY: as above.
    if take && !unsafe { atomic::lock(lock, PATIENCE) } {
        return false;
    }
    // SAFETY: not null; without the lock what is read may be torn, and decides nothing.
    let set = unsafe { &mut *set };
    let at = opaque(host_at(set, slot, host)) & (HOST_PACES - 1);
    let pace = &mut set.hosts[at];
    let next = advance(pace.until, now, limit.host_cost, limit.host_most);
    if take {
        if next != 0 {
            pace.host = *host;
            pace.slot = slot;
            pace.until = next;
        }
        // SAFETY: as above, and locked.
        unsafe { atomic::unlock(lock) };
    }
    next != 0
}

/// Where the host is, or else the one whose instant comes first. The newcomer goes on from that instant: so nobody who
/// is pushed out and comes back, to whatever instant is then the first, has gained by it.
#[inline(always)]
fn host_at(set: &HostPaceSet, slot: u32, host: &Addr) -> usize {
    let mut first = 0;
    let mut least = u64::MAX;
    let mut i = 0;
    while i < HOST_PACES {
        let pace = &set.hosts[i];
        if pace.slot == slot && pace.host == *host {
            return i;
        }
        if pace.until < least {
            least = pace.until;
            first = i;
        }
        i += 1;
    }
    first
}

/// Takes a place below `limit` for `work.key`, of the rule or of the rule and its host, and leaves its set locked:
/// the place's number plus one, or [`NO_PLACE`].
#[inline(always)]
pub fn claim<T: Tables>(tables: &T, work: &Work, now: u64, limit: u32, per_host: u32) -> u32 {
    let slot = work.answer.slot as u32;
    let secret = tables.secret();
    // A rule's places and its hosts' are in different halves: the hash need not tell them apart.
    let whose = if per_host != 0 { hash(secret, slot, &work.question.src) } else { mix(secret ^ slot as u64) };
    // From a random place where not all are looked at, else in order.
    let start = if limit > LOOKS { mix(secret ^ now) as u32 % limit } else { 0 };
    let mut full = 0;
    let mut n = 0;
    while n < LOOKS {
        if n >= limit || full >= CROWDED {
            break;
        }
        let mut index = start + n;
        if index >= limit {
            index -= limit;
        }
        n += 1;
        let number = tables.seat_set(per_host, mix(whose ^ index as u64) as u32);
        let at = tables.sit(work, now, number, index, per_host);
        if at < SEATS as u32 {
            return number * SEATS as u32 + at + 1;
        }
        if at == ALL_TAKEN {
            full += 1;
        }
    }
    NO_PLACE
}

/// [`sit`]: the place is held.
const HELD: u32 = SEATS as u32;
/// [`sit`]: the place is free, but there is no room to note who takes it.
const ALL_TAKEN: u32 = SEATS as u32 + 1;

/// Takes the place `index` in the set `number`: where in that set it is noted, and the set stays locked; or one of the
/// two constants above.
#[inline(always)]
pub fn sit<T: Tables>(tables: &T, work: &Work, now: u64, number: u32, index: u32, per_host: u32) -> u32 {
    let set = tables.seats(number);
    if set.is_null() {
        return ALL_TAKEN;
    }
    // SAFETY: as in `host_pace`.
    let lock = unsafe { &raw mut (*set).lock };
    // SAFETY: as above.
    if !unsafe { atomic::lock(lock, 1) } {
        return HELD;
    }
    // SAFETY: not null, and locked.
    let set = unsafe { &mut *set };
    let at = vacant(tables, set, work, now, index, per_host);
    if at >= SEATS {
        // SAFETY: as above, and locked.
        unsafe { atomic::unlock(lock) };
        return at as u32;
    }
    let place = &mut set.seats[opaque(at) & (SEATS - 1)];
    place.key = work.key;
    place.slot = work.answer.slot as u32;
    place.host = work.question.src;
    place.opened = 0;
    place.index = index;
    at as u32
}

#[inline(always)]
fn vacant<T: Tables>(tables: &T, set: &SeatSet, work: &Work, now: u64, index: u32, per_host: u32) -> usize {
    let mut unused = SEATS;
    let mut i = 0;
    while i < SEATS {
        let place = &set.seats[i];
        if place.opened == 0 {
            unused = i;
        } else if place.index == index
            && place.slot == work.answer.slot as u32
            && (per_host == 0 || place.host == work.question.src)
        {
            return if tables.held(place, &work.key, now) != 0 { HELD as usize } else { i };
        }
        i += 1;
    }
    if unused < SEATS {
        return unused;
    }
    i = 0;
    while i < SEATS {
        if tables.held(&set.seats[i], &work.key, now) == 0 {
            return i;
        }
        i += 1;
    }
    ALL_TAKEN as usize
}

/// 1 while the conversation that took the place lives and is not the one that `key` is about to replace.
#[inline(always)]
pub fn held<T: Tables>(tables: &T, place: &Seat, key: &ViewKey, now: u64) -> u32 {
    if place.key == *key {
        return 0;
    }
    let view = flow::live(tables, &place.key, now);
    if view.is_null() {
        return 0;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let view = unsafe { &*view };
    (view.state != STATE_CLOSED && view.opened == place.opened) as u32
}

/// Ends what [`claim`] began: the place is held by the view opened then, or by nobody.
#[inline(always)]
fn settle<T: Tables>(tables: &T, claimed: u32, opened: u64) {
    if claimed == NO_PLACE {
        return;
    }
    let number = claimed - 1;
    let set = tables.seats(number / SEATS as u32);
    if set.is_null() {
        return;
    }
    let at = opaque(number as usize) & (SEATS - 1);
    // SAFETY: not null, and locked by `claim`.
    unsafe {
        (&mut (*set).seats)[at].opened = opened;
        atomic::unlock(&raw mut (*set).lock);
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014): the mix of `SplitMix64`.
#[inline(always)]
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Spreads; with a secret, because whoever chooses addresses would otherwise choose whose set they crowd.
#[inline(always)]
fn hash(secret: u64, slot: u32, host: &Addr) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *host;
    let high = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let low = u64::from_ne_bytes([i, j, k, l, m, n, o, p]);
    mix(mix(mix(secret ^ slot as u64) ^ high) ^ low)
}
