//! The rule that came closest to permitting a packet, and what it lacked.

use sekimori_ebpf::{
    abi::service_index,
    decide::rules::{Question, open_until},
    tables::Tables,
};
use serde::Serialize;

use crate::compile::{host::HostTables, sets::contains};

/// One condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The zone or network it comes from.
    From,
    /// The source address.
    Source,
    /// The sending device.
    Device,
    /// The zone or network it goes to.
    To,
    /// The destination address.
    Destination,
    /// Protocol and port.
    Service,
    /// The hours, or the end date.
    Hours,
}

impl Condition {
    const ALL: [Self; 7] =
        [Self::From, Self::Source, Self::Device, Self::To, Self::Destination, Self::Service, Self::Hours];

    /// What it is, in English.
    pub const fn en(self) -> &'static str {
        match self {
            Self::From => "where it comes from",
            Self::Source => "the source address",
            Self::Device => "the device",
            Self::To => "where it goes",
            Self::Destination => "the destination address",
            Self::Service => "the service",
            Self::Hours => "the hours or the end date",
        }
    }

    /// The same in Japanese.
    pub const fn ja(self) -> &'static str {
        match self {
            Self::From => "送信元の区域",
            Self::Source => "送信元アドレス",
            Self::Device => "端末",
            Self::To => "宛先の区域",
            Self::Destination => "宛先アドレス",
            Self::Service => "サービス",
            Self::Hours => "時間帯・期限",
        }
    }

    /// How far off a rule is that lacks it: a wrong hour is nearer than a wrong port, a wrong port nearer than
    /// a wrong side of the box.
    const fn distance(self) -> u32 {
        match self {
            Self::Hours => 1,
            Self::Service | Self::Device => 2,
            Self::Source | Self::Destination => 3,
            Self::From | Self::To => 5,
        }
    }
}

/// A rule lacking more than this is not near, whatever else it has.
const FARTHEST: u32 = 8;

/// A rule that nearly matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearestMiss {
    /// Its id.
    pub rule: String,
    /// What did not hold, at least one.
    pub failed: Vec<Condition>,
}

/// The nearest miss; the first in document order among equals. `None` if nothing is near, or the question does not
/// belong to the active generation.
pub fn nearest(tables: &HostTables, question: &Question) -> Option<NearestMiss> {
    let generation = question.generation;
    if generation != tables.active() {
        return None;
    }
    let compiled = tables.compiled()?;
    // SAFETY: the pointer is null or into `tables`, which is borrowed for the whole function.
    let entry = |addr| unsafe { tables.addr(generation, addr).as_ref() };
    let (src, dst) = (entry(&question.src)?, entry(&question.dst)?);
    let from = compiled.nets.get(usize::from(question.from))?;
    let to = compiled.nets.get(usize::from(dst.owner))?;
    let device = compiled.devices.get(question.device as usize)?;
    let service = tables.service(generation, service_index(question.proto, question.port));
    let set = |id: u16| compiled.sets.get(usize::from(id));
    let (from, src_set, device) = (set(from.from_set)?, set(src.src_set)?, set(device.set)?);
    let (to, dst_set, service) = (set(to.to_set)?, set(dst.dst_set)?, set(service)?);

    let mut best: Option<(u32, usize, Vec<Condition>)> = None;
    for (index, rule) in compiled.rules.iter().enumerate() {
        let open = || rule.schedule == 0 || open_until(tables, generation, rule.schedule, question.now) != 0;
        let holds = |condition: &Condition| match condition {
            Condition::From => contains(from, index),
            Condition::Source => contains(src_set, index),
            Condition::Device => contains(device, index),
            Condition::To => contains(to, index),
            Condition::Destination => contains(dst_set, index),
            Condition::Service => contains(service, index),
            Condition::Hours => open(),
        };
        let failed: Vec<Condition> = Condition::ALL.into_iter().filter(|condition| !holds(condition)).collect();
        let distance = failed.iter().map(|condition| condition.distance()).sum();
        if distance <= FARTHEST && best.as_ref().is_none_or(|&(least, _, _)| distance < least) {
            best = Some((distance, index, failed));
        }
    }
    let (_, index, failed) = best?;
    Some(NearestMiss { rule: compiled.rule_ids.get(index)?.clone(), failed })
}
