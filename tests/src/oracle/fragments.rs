//! Pieces of datagrams (step 6).

use jiff::{Timestamp, ToSpan};
use sekimori::policy::model::{self, Port};
use sekimori_ebpf::reason::Reason;

use super::{
    Passed,
    ip::{Fragment, Packet},
    state::{Datagram, Mark, OracleState},
    transport,
};

/// Disjoint ranges a datagram may have.
const RANGES: usize = 4;

/// Where a fragment was seen.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Interface and tags.
    pub port: &'a Port,
    /// Leaving rather than entering.
    pub leaving: bool,
}

/// What the fragment alone says.
pub fn sound(packet: &Packet) -> Result<(), Reason> {
    let Some(fragment) = packet.fragment else {
        return Ok(());
    };
    let first = fragment.offset == 0;
    if first && packet.payload.len() < transport::minimum(packet.proto) {
        return Err(Reason::FragmentTiny);
    }
    if fragment.len == 0 || (fragment.more && fragment.len % 8 != 0) {
        return Err(Reason::FragmentTiny);
    }
    if fragment.offset + fragment.len > 65_535 {
        return Err(Reason::FragmentBounds);
    }
    Ok(())
}

fn find<'s>(
    state: &'s mut OracleState,
    place: Place<'_>,
    packet: &Packet,
    fragment: Fragment,
    now: Timestamp,
) -> Option<&'s mut Datagram> {
    state.datagrams.iter_mut().find(|datagram| {
        datagram.port == *place.port
            && datagram.leaving == place.leaving
            && (datagram.src, datagram.dst) == (packet.src, packet.dst)
            && (datagram.id, datagram.proto) == (fragment.id, fragment.family_proto)
            && now <= datagram.opened.saturating_add(30.seconds()).unwrap_or(datagram.opened)
    })
}

/// A later fragment takes its first's verdict.
pub(crate) fn later(
    state: &mut OracleState,
    place: Place<'_>,
    packet: &Packet,
    now: Timestamp,
) -> Result<Passed, Reason> {
    let Some(fragment) = packet.fragment else {
        return Err(Reason::FragmentOrphan);
    };
    let (stage, restored) = (state.stage, state.cut.staged.nets.clone());
    let Some(datagram) = find(state, place, packet, fragment, now) else {
        return Err(Reason::FragmentOrphan);
    };
    if !datagram.poisoned && packet.quarantined && !datagram.quarantined {
        return Err(Reason::Quarantined);
    }
    if !datagram.poisoned && stage.any && !datagram.listed {
        if let Some(reason) = stage.reason {
            return Err(reason);
        }
        if let Some(Mark::Forward { net: model::Place::Net(net), .. }) = &datagram.mark
            && restored.contains(net)
        {
            return Err(Reason::CutNetwork);
        }
    }
    let (start, end) = (fragment.offset, fragment.offset + fragment.len);
    let mut ranges = datagram.ranges.clone();
    ranges.push((start, end));
    ranges = merged(ranges);
    let ends_early = !fragment.more && datagram.ranges.iter().any(|(_, to)| *to > end);
    let ends_twice = !fragment.more && datagram.total.is_some_and(|total| total != end);
    let overlaps = datagram.ranges.iter().any(|(from, to)| start < *to && *from < end);
    let wrong = if datagram.poisoned {
        Some(Reason::FragmentOverlap)
    } else if datagram.total.is_some_and(|total| end > total) || ends_twice {
        Some(Reason::FragmentBounds)
    } else if overlaps {
        Some(Reason::FragmentOverlap)
    } else if ranges.len() > RANGES {
        Some(Reason::FragmentTooMany)
    } else if ends_early {
        Some(Reason::FragmentBounds)
    } else {
        None
    };
    if let Some(reason) = wrong {
        datagram.poisoned = true;
        return Err(reason);
    }
    datagram.ranges = ranges;
    if !fragment.more {
        datagram.total = Some(end);
    }
    let passed = Passed { reason: Reason::Fragment, rule: datagram.rule.clone(), mark: datagram.mark.clone() };
    let listed = datagram.listed;
    state.stage.listed |= listed;
    Ok(passed)
}

fn merged(mut ranges: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    ranges.sort_unstable();
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (start, end) in ranges {
        match out.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => out.push((start, end)),
        }
    }
    out
}

/// A first fragment of a datagram that is already known overlaps it.
pub fn again(state: &mut OracleState, place: Place<'_>, packet: &Packet, now: Timestamp) -> Result<(), Reason> {
    let Some(fragment) = packet.fragment.filter(|_| !packet.is_later_fragment()) else {
        return Ok(());
    };
    match find(state, place, packet, fragment, now) {
        Some(datagram) => {
            datagram.poisoned = true;
            Err(Reason::FragmentOverlap)
        }
        None => Ok(()),
    }
}

/// Remembers a first fragment that passed.
pub(crate) fn remember(state: &mut OracleState, place: Place<'_>, packet: &Packet, passed: &Passed, now: Timestamp) {
    let Some(fragment) = packet.fragment.filter(|_| !packet.is_later_fragment()) else {
        return;
    };
    state.datagrams.retain(|datagram| {
        !(datagram.port == *place.port
            && datagram.leaving == place.leaving
            && (datagram.src, datagram.dst) == (packet.src, packet.dst)
            && (datagram.id, datagram.proto) == (fragment.id, fragment.family_proto))
    });
    state.datagrams.push(Datagram {
        port: place.port.clone(),
        leaving: place.leaving,
        src: packet.src,
        dst: packet.dst,
        id: fragment.id,
        proto: fragment.family_proto,
        opened: now,
        rule: passed.rule.clone(),
        quarantined: packet.quarantined,
        listed: state.stage.listed,
        mark: passed.mark.clone(),
        total: None,
        poisoned: false,
        ranges: vec![(0, fragment.len)],
    });
}
