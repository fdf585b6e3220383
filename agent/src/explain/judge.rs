//! One frame, judged by the host build of the decision.

use sekimori_ebpf::{
    abi::{DIR_IN, DIR_OUT},
    decide::{self, converse::Work},
    packet::Packet,
    parse::parse,
    reason::{Reason, Verdict},
};

use crate::compile::host::HostTables;

/// What the decision said, and what it found on its way.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Why.
    pub reason: Reason,
    /// Index of the rule that permitted it, or that would but is closed.
    pub rule: Option<usize>,
    /// Unshifted mark for the way out; see [`sekimori_ebpf::mark`].
    pub mark: u32,
    /// The frame as parsed, with the decision's own fields.
    pub packet: Packet,
    /// The decision's scratch; its question is valid where the rules were asked.
    pub work: Work,
}

impl Judged {
    /// Whether it passes.
    pub fn passes(&self) -> bool {
        self.reason.verdict() == Verdict::Pass
    }
}

/// Judges a frame that comes in by a guarded interface at `now` (`CLOCK_BOOTTIME` nanoseconds).
pub fn way_in(tables: &HostTables, frame: &[u8], ifindex: u32, now: u64) -> Judged {
    judge(tables, frame, Packet { now, ifindex, direction: DIR_IN, ..Packet::default() })
}

/// Judges a frame that leaves by a guarded interface. `came_from` is the kernel index of the interface it came in by,
/// 0 for the box itself; `mark` what [`way_in`] gave it.
pub fn way_out(tables: &HostTables, frame: &[u8], ifindex: u32, came_from: u32, mark: u32, now: u64) -> Judged {
    judge(tables, frame, Packet { now, ifindex, came_from, mark, direction: DIR_OUT, ..Packet::default() })
}

/// As [`way_in`], but rules are asked even where no rule names the sender.
pub fn way_in_by_rules(tables: &HostTables, frame: &[u8], ifindex: u32, now: u64) -> Judged {
    judge(tables, frame, Packet { now, ifindex, direction: DIR_IN, glanced: 1, ..Packet::default() })
}

fn judge(tables: &HostTables, frame: &[u8], mut packet: Packet) -> Judged {
    packet.len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    packet.segments = 1;
    parse(&frame, 0, &mut packet);
    let mut work = Work::default();
    let number = if packet.direction == DIR_IN {
        decide::ingress(tables, &mut packet, &mut work)
    } else {
        decide::egress(tables, &mut packet, &mut work)
    };
    Judged {
        // A number nobody assigned is a fault of the decision, and never a pass.
        reason: Reason::from_number(number).unwrap_or(Reason::Internal),
        rule: packet.out_rule.checked_sub(1).map(|rule| rule as usize),
        mark: packet.out_mark,
        packet,
        work,
    }
}
