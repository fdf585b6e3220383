//! The packets that prove an incident: looked for in the data plane's ring, which goes on being written, and put into a file.

use std::collections::BTreeMap;

use sekimori_ebpf::{
    detect::abi::{Detector, KEPT, KEPT_BYTES, Kept},
    reason::{Reason, Verdict},
};

use super::{
    pcapng::{Packet, Section},
    question,
    source::{Error, Source, slot},
};

/// Packets of one look that go into the file of one incident.
pub const MOST: usize = 1024;

/// Whose packets are wanted for which incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The incident.
    pub id: u64,
    /// As in [`Kept::host`].
    pub host: [u8; 16],
    /// Its zone.
    pub net: u16,
    /// Those with this number and below are in the file already.
    pub after: u64,
}

impl Wish {
    fn wants(&self, kept: &Kept) -> bool {
        // All that is known of the zone itself is that it is one.
        let its = kept.host == self.host && (self.host != [0; 16] || kept.net == self.net);
        its && kept.number > self.after
    }
}

/// What one look into the ring found.
#[derive(Debug, Default)]
pub struct Look {
    /// The number that was the last one.
    pub last: u64,
    /// Packets that were written over before or while they were read.
    pub overwritten: u64,
    /// By wish, in their order; each oldest first.
    pub packets: Vec<Vec<Kept>>,
}

/// Looks once for all of them: the newest [`MOST`] of each.
///
/// # Errors
/// The data plane does not answer.
pub fn look(source: &impl Source, wishes: &[Wish]) -> Result<Look, Error> {
    let last = source.last_kept()?;
    let mut look = Look { last, overwritten: 0, packets: vec![Vec::new(); wishes.len()] };
    let Some(after) = wishes.iter().map(|wish| wish.after).min() else { return Ok(look) };
    let oldest = last.saturating_sub(u64::from(KEPT));
    if after > 0 {
        look.overwritten += oldest.saturating_sub(after);
    }
    for number in oldest.max(after) + 1..=last {
        let kept = source.kept(slot(number))?;
        if kept.number != number {
            look.overwritten += 1;
            continue;
        }
        let mut wanted = wishes.iter().zip(&mut look.packets).filter(|(wish, _)| wish.wants(&kept)).peekable();
        if wanted.peek().is_none() {
            continue;
        }
        // A copy is whole if its number stood there before and after it was made: the number goes first when it is written over.
        if source.kept(slot(number))?.number != number {
            look.overwritten += 1;
            continue;
        }
        for (_, packets) in wanted {
            packets.push(kept);
        }
    }
    for packets in &mut look.packets {
        packets.drain(..packets.len().saturating_sub(MOST));
    }
    Ok(look)
}

/// What numbers are called.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Rules by slot.
    pub rules: BTreeMap<u32, String>,
    /// Zones and networks.
    pub nets: BTreeMap<u16, String>,
    /// Nanoseconds since 1970 at `CLOCK_BOOTTIME` 0.
    pub boot: i64,
}

impl Names {
    /// Wall time of a `CLOCK_BOOTTIME` stamp, nanoseconds since 1970.
    pub fn wall(&self, time: u64) -> u64 {
        u64::try_from(i128::from(self.boot) + i128::from(time)).unwrap_or(0)
    }

    /// A rule by its slot plus one.
    pub fn rule(&self, slot: u32) -> Option<String> {
        let slot = slot.checked_sub(1)?;
        Some(self.rules.get(&slot).cloned().unwrap_or_else(|| format!("slot-{slot}")))
    }

    /// A zone or network.
    pub fn net(&self, net: u16) -> String {
        self.nets.get(&net).cloned().unwrap_or_else(|| format!("net-{net}"))
    }

    /// What happened to a packet, in one line.
    pub fn comment(&self, kept: &Kept) -> String {
        let reason = Reason::from_number(kept.reason);
        let verdict = match reason.map(Reason::verdict) {
            Some(Verdict::Pass) => "pass",
            Some(Verdict::Drop) => "drop",
            None => "unknown",
        };
        let why = reason
            .map_or_else(|| format!("reason-{}", kept.reason), |reason| format!("{} ({})", reason.code(), reason.en()));
        let rule = self.rule(kept.slot).unwrap_or_else(|| "-".to_owned());
        let detector = match kept.detector {
            0 => "-".to_owned(),
            number => Detector::from_number(number.into())
                .map_or_else(|| format!("detector_{number}"), |detector| detector.code().to_owned()),
        };
        let net = self.net(kept.net);
        let asks = question::of_frame(bytes(kept)).map_or_else(String::new, |question| {
            let question::Question { name, kind, longest, entropy } = question;
            format!(" dns_question={name} type={kind} longest_label={longest} bits_a_letter={entropy:.1}")
        });
        let number = kept.number;
        format!("verdict={verdict} reason={why} rule={rule} detector={detector} network={net} number={number}{asks}")
    }
}

/// Name of an interface by its index.
pub fn interface(index: u32) -> String {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as long as the function wants it, and alive for the call.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    match (found.is_null(), std::str::from_utf8(name.get(..end).unwrap_or_default())) {
        (false, Ok(name)) => name.to_owned(),
        _ => format!("#{index}"),
    }
}

/// The bytes of a packet that are there.
pub fn bytes(kept: &Kept) -> &[u8] {
    let end = (kept.kept as usize).min(KEPT_BYTES).min(kept.len as usize);
    kept.bytes.get(..end).unwrap_or_default()
}

/// Packets as a section of a pcapng file.
pub fn section(packets: &[Kept], about: &str, names: &Names, interface: impl Fn(u32) -> String) -> Vec<u8> {
    let mut section = Section::new(about);
    let mut interfaces: BTreeMap<u32, String> = BTreeMap::new();
    for kept in packets {
        let interface = interfaces.entry(kept.ifindex).or_insert_with(|| interface(kept.ifindex));
        section.add(Packet {
            interface,
            time: names.wall(kept.time),
            wire: kept.len,
            data: bytes(kept),
            comment: &names.comment(kept),
        });
    }
    section.take()
}
