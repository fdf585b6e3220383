//! Which rule permits it: six classes, six rule sets, one AND, first open bit.

use crate::{
    abi::{NET_BOX, RULE_PUBLISHED, RULE_WORDS, RuleSet, SCHEDULE_WINDOWS, service_index},
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
    /// Zero.
    pub pad: [u8; 3],
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
pub fn judge<T: Tables>(tables: &T, question: &Question, answer: &mut Answer) {
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

    let sets = [
        tables.set(generation, from.from_set),
        tables.set(generation, src.src_set),
        tables.set(generation, device.set),
        tables.set(generation, to.to_set),
        tables.set(generation, dst.dst_set),
        tables.set(generation, service),
    ];
    if sets[0].is_null()
        || sets[1].is_null()
        || sets[2].is_null()
        || sets[3].is_null()
        || sets[4].is_null()
        || sets[5].is_null()
    {
        return;
    }
    // SAFETY: as above.
    let [a, b, c, d, e, f]: [&RuleSet; 6] = unsafe {
        [
            &*sets[0], &*sets[1], &*sets[2], &*sets[3], &*sets[4], &*sets[5],
        ]
    };

    let mut device_until = u64::MAX;
    if device.schedule != 0 {
        device_until = open_until(tables, generation, device.schedule, question.now);
    }

    answer.reason = Reason::NoRule as u32;
    let mut summary = a.summary & b.summary & c.summary & d.summary & e.summary & f.summary;
    let mut word = 0u64;
    let mut index = 0usize;
    let mut turn = 0;
    while turn < 2 * MAX_CLOSED {
        turn += 1;
        if word == 0 {
            if summary == 0 {
                break;
            }
            index = crate::bytes::opaque(summary.trailing_zeros() as usize) & (RULE_WORDS - 1);
            summary &= summary - 1;
            word = a.words[index]
                & b.words[index]
                & c.words[index]
                & d.words[index]
                & e.words[index]
                & f.words[index];
            continue;
        }
        let bit = word.trailing_zeros() as usize & 63;
        word &= word - 1;
        let number = (index * 64 + bit) as u16;
        let rule = tables.rule(generation, number);
        if rule.is_null() {
            answer.reason = Reason::Internal as u32;
            break;
        }
        // SAFETY: as above.
        let rule = unsafe { &*rule };
        let mut until = u64::MAX;
        if rule.schedule != 0 {
            until = open_until(tables, generation, rule.schedule, question.now);
        }
        if until != 0 {
            answer.reason = Reason::Rule as u32;
            answer.rule = number;
            answer.slot = rule.slot as u16;
            answer.flags = rule.flags;
            answer.net = if rule.flags & RULE_PUBLISHED != 0 {
                rule.real_net
            } else {
                dst.owner
            };
            answer.deadline = earlier(until, device_until);
            break;
        }
        if answer.reason != Reason::RuleClosed as u32 {
            answer.reason = Reason::RuleClosed as u32;
            answer.rule = number;
            answer.slot = rule.slot as u16;
        }
    }
}

/// Whether an answer leads to the box itself.
#[inline(always)]
pub fn for_box(answer: &Answer) -> bool {
    answer.net == NET_BOX
}
