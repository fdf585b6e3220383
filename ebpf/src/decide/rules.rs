//! Which rule permits it: six classes, six rule sets, one AND, first open bit.

use crate::{
    abi::{MAX_RULES, NET_BOX, RULE_PUBLISHED, RULE_QUARANTINED, RULE_WORDS, RuleSet, SCHEDULE_WINDOWS, service_index},
    reason::Reason,
    tables::{Addr, Tables},
};

/// Matching but closed rules that are looked past for one packet. More than these are treated as closed too.
pub const MAX_CLOSED: u32 = 64;

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Question {
    /// `CLOCK_BOOTTIME` nanoseconds.
    pub now: u64,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Generation.
    pub generation: u32,
    /// Device number of the sender, 0 for none.
    pub device: u32,
    /// Zone or network it comes from, [`NET_BOX`] for the box.
    pub from: u16,
    /// Destination port; ICMP: `type << 8 | code`.
    pub port: u16,
    /// IP protocol.
    pub proto: u8,
    /// 1: only rules that hold for hosts in quarantine.
    pub quarantined: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Where a walk through the matching rules stands.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Cursor {
    /// Words not yet looked at.
    pub summary: u64,
    /// Bits of the current word not yet looked at.
    pub word: u64,
    /// The current word's position.
    pub index: u64,
    /// Generation.
    pub generation: u32,
    /// The six classes' sets: from, source, device, to, destination, service.
    pub sets: [u16; 6],
}

/// What is answered.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Answer {
    /// End of the permission, `u64::MAX` for never.
    pub deadline: u64,
    /// [`Reason::Rule`], or why not.
    pub reason: u32,
    /// Rule index; if closed, the first matching rule's.
    pub rule: u16,
    /// Stable counter slot.
    pub slot: u16,
    /// Rule flags.
    pub flags: u32,
    /// Zone or network the packet must leave by; [`NET_BOX`] if it is for the box.
    pub net: u16,
    /// Zero.
    pub pad: u16,
}

/// When a schedule that is open now closes; 0 if it is closed now.
#[inline(always)]
pub fn open_until<T: Tables>(tables: &T, generation: u32, schedule: u32, now: u64) -> u64 {
    let schedule = tables.schedule(generation, schedule);
    if schedule.is_null() {
        return 0;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let schedule = unsafe { &*schedule };
    let mut until = 0;
    let mut i = 0;
    while i < SCHEDULE_WINDOWS {
        let window = &schedule.windows[i];
        if now >= window.open && now < window.close {
            until = window.close;
            break;
        }
        i += 1;
    }
    until
}

#[inline(always)]
fn earlier(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

/// Judges a first packet (or a flow again).
#[inline(always)]
pub fn judge<T: Tables>(tables: &T, question: &Question, answer: &mut Answer, cursor: &mut Cursor) {
    answer.reason = Reason::Internal as u32;
    answer.rule = 0;
    answer.slot = 0;
    answer.flags = 0;
    answer.net = 0;
    answer.deadline = u64::MAX;
    let generation = question.generation;

    let from = tables.net(generation, question.from);
    let src = tables.addr(generation, &question.src);
    let dst = tables.addr(generation, &question.dst);
    let device = tables.device(generation, question.device);
    if from.is_null() || src.is_null() || dst.is_null() || device.is_null() {
        return;
    }
    // SAFETY: none of them is null, so the tables vouch for them until the decision returns.
    let (from, src, dst, device) = unsafe { (*from, *src, *dst, *device) };
    let to = tables.net(generation, dst.owner);
    if to.is_null() {
        return;
    }
    // SAFETY: as above.
    let to = unsafe { *to };
    let service = tables.service(generation, service_index(question.proto, question.port));

    cursor.generation = generation;
    cursor.sets = [from.from_set, src.src_set, device.set, to.to_set, dst.dst_set, service];
    cursor.index = 0;
    cursor.word = 0;
    cursor.summary = u64::MAX;

    let mut device_until = u64::MAX;
    if device.schedule != 0 {
        device_until = tables.open_until(generation, device.schedule, question.now);
    }

    answer.reason = Reason::NoRule as u32;
    let mut turn = 0;
    while turn < 2 * MAX_CLOSED {
        turn += 1;
        let number = tables.next_match(cursor);
        if number == AGAIN {
            continue;
        }
        if number >= MAX_RULES as u32 {
            if number == BROKEN {
                answer.reason = Reason::Internal as u32;
            }
            break;
        }
        let rule = tables.rule(generation, number as u16);
        if rule.is_null() {
            answer.reason = Reason::Internal as u32;
            break;
        }
        // SAFETY: as above.
        let rule = unsafe { &*rule };
        if question.quarantined != 0 && rule.flags & RULE_QUARANTINED == 0 {
            continue;
        }
        let mut until = u64::MAX;
        if rule.schedule != 0 {
            until = tables.open_until(generation, rule.schedule, question.now);
        }
        if until != 0 {
            answer.reason = Reason::Rule as u32;
            answer.rule = number as u16;
            answer.slot = rule.slot as u16;
            answer.flags = rule.flags;
            answer.net = if rule.flags & RULE_PUBLISHED != 0 { rule.real_net } else { dst.owner };
            answer.deadline = earlier(until, device_until);
            break;
        }
        if answer.reason != Reason::RuleClosed as u32 {
            answer.reason = Reason::RuleClosed as u32;
            answer.rule = number as u16;
            answer.slot = rule.slot as u16;
        }
    }
}

/// [`next_match`]: ask again.
pub const AGAIN: u32 = u32::MAX;
/// [`next_match`]: no further rule matches.
pub const NONE: u32 = u32::MAX - 1;
/// [`next_match`]: a set is missing.
pub const BROKEN: u32 = u32::MAX - 2;

/// Steps through the rules that all six sets hold, in document order: a rule's number, or one of the constants above.
#[inline(always)]
pub fn next_match<T: Tables>(tables: &T, cursor: &mut Cursor) -> u32 {
    if cursor.word == 0 {
        let mut summary = cursor.summary;
        if summary == 0 {
            return NONE;
        }
        let mut sets = [core::ptr::null::<RuleSet>(); 6];
        let mut i = 0;
        while i < 6 {
            sets[i] = tables.set(cursor.generation, cursor.sets[i]);
            if sets[i].is_null() {
                return BROKEN;
            }
            // SAFETY: not null, so the table vouches for it until the decision returns.
            summary &= unsafe { (*sets[i]).summary };
            i += 1;
        }
        if summary == 0 {
            return NONE;
        }
        let index = crate::bytes::opaque(summary.trailing_zeros() as usize) & (RULE_WORDS - 1);
        let mut word = u64::MAX;
        i = 0;
        while i < 6 {
            // SAFETY: as above.
            word &= unsafe { (&(*sets[i]).words)[index] };
            i += 1;
        }
        cursor.summary = summary & (summary - 1);
        cursor.index = index as u64;
        cursor.word = word;
        if word == 0 {
            return AGAIN;
        }
    }
    let word = cursor.word;
    cursor.word = word & (word - 1);
    (cursor.index as u32) * 64 + word.trailing_zeros()
}

/// Whether an answer leads to the box itself.
#[inline(always)]
pub fn for_box(answer: &Answer) -> bool {
    answer.net == NET_BOX
}
