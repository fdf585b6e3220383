//! Restoring in stages: a cut that stands, but for the hosts and services on one list.
//!
//! The cut-off leaves such a packet to whoever judges its conversation, where both ends are seen untranslated and the
//! permission is known: the view of the initiator, or the rules. The way in tells the way out by the mark what it found on
//! the list, because behind a translation the way out could not see it. A reply is let in as one, and meets the list where it
//! leaves. Built-ins of the link pass: without them nobody on the list could be reached.
//!
//! [`Packet::staged`] is 0 while nothing is restored in stages, [`ELSEWHERE`], [`LISTED`], or the reason by which the packet
//! is dropped unless its conversation is on the list.

use crate::{
    abi::{
        CUT_STAGED, DIR_IN, MAX_STAGED_SERVICES, RULE_PUBLISHED, SLOT_STAGED, ViewKey, proto, quarantine_mac,
        staged_service,
    },
    decide::flow,
    mark,
    packet::{CLASS_ICMP_ERROR, Packet},
    reason::Reason,
    tables::Tables,
};

/// Something is restored in stages, and this packet meets no such cut by itself: where its conversation leads may.
pub const ELSEWHERE: u8 = 1;
/// It met such a cut and may pass it.
pub const LISTED: u8 = 2;

/// Names no rule.
pub const NO_RULE: u16 = u16::MAX;

/// Whether the packet itself meets a cut that is restored in stages, and was not found on the list yet.
#[inline(always)]
pub const fn held(packet: &Packet) -> bool {
    packet.staged > LISTED
}

/// The port (ICMP: type and code) that the conversation of a view with this key and role asks for.
#[inline(always)]
pub fn port(packet: &Packet, key: &ViewKey, to_peer: bool) -> u16 {
    let echo = packet.class == CLASS_ICMP_ERROR || flow::conversational(packet);
    match key.proto {
        proto::ICMP => {
            if echo {
                8 << 8
            } else {
                packet.dport
            }
        }
        proto::ICMPV6 => {
            if echo {
                128 << 8
            } else {
                packet.dport
            }
        }
        _ => {
            if to_peer {
                key.peer_port
            } else {
                key.far_port
            }
        }
    }
}

/// Judges a packet of the conversation with this key that leads to `net` by `rule`: 0, or the reason to drop it by. `port`:
/// what the conversation asks for.
#[inline(always)]
pub fn refused<T: Tables>(tables: &T, packet: &mut Packet, key: &ViewKey, net: u16, rule: u16, port: u16) -> u32 {
    let rule = tables.rule(packet.generation, rule);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let published = !rule.is_null() && unsafe { (*rule).flags & RULE_PUBLISHED != 0 };
    let mut reason = packet.staged as u32;
    if reason <= LISTED as u32 {
        reason = 0;
        if tables.cut_net(net) == CUT_STAGED {
            reason = Reason::CutNetwork as u32;
        } else if published {
            // SAFETY: published, so not null.
            let slot = tables.cut_addr(unsafe { &(*rule).real_addr });
            if slot & SLOT_STAGED != 0 {
                packet.cut = slot & !SLOT_STAGED;
                reason = Reason::CutHost as u32;
            }
        }
    }
    if reason == 0 {
        return 0;
    }
    let mac = if packet.direction == DIR_IN { &packet.src_mac } else { &packet.dst_mac };
    let mut listed = tables.staged(&key.peer) || tables.staged(&key.far) || tables.staged(&quarantine_mac(mac));
    if !listed && published {
        // SAFETY: as above.
        listed = tables.staged(unsafe { &(*rule).real_addr });
    }
    if !listed && service(tables, staged_service(key.proto, port)) == 0 {
        return reason;
    }
    packet.staged = LISTED;
    0
}

/// 1 if the service with this number is on the list, else 0. Without branches: the kernel follows each.
#[inline(always)]
fn service<T: Tables>(tables: &T, number: u32) -> u64 {
    let stage = tables.stage();
    if stage.is_null() {
        return 0;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let services = unsafe { &(*stage).services };
    let mut hit = 0;
    let mut i = 0;
    while i < MAX_STAGED_SERVICES {
        let past = number.wrapping_sub(services[i].first) as u64;
        hit |= past.wrapping_sub(services[i].more as u64 + 1) >> 63;
        i += 1;
    }
    hit
}

/// The same on the way out, where a view proves replies: what the way in found, or what is seen here.
#[inline(always)]
pub fn leaving<T: Tables>(tables: &T, packet: &mut Packet, key: &ViewKey, to_peer: bool) -> u32 {
    if !held(packet) {
        return 0;
    }
    // The mark of the box's own packets is anybody's.
    if packet.came_from != 0 && mark::is_listed(packet.mark) {
        packet.staged = LISTED;
        return 0;
    }
    let port = port(packet, key, to_peer);
    tables.unlisted(packet, key, 0, NO_RULE, port)
}

/// The mark of a packet that was judged, with the sign of the list.
#[inline(always)]
pub fn signed(packet: &Packet, mark: u32) -> u32 {
    if packet.staged == LISTED { mark::listed(mark) } else { mark }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Stage, StagedService};

    #[test]
    fn services_hold_their_range_and_nothing_else() {
        let hit = |stage: &Stage, number: u32| {
            stage.services.iter().any(|service| {
                let past = number.wrapping_sub(service.first) as u64;
                past.wrapping_sub(service.more as u64 + 1) >> 63 == 1
            })
        };
        let mut stage = Stage::EMPTY;
        assert!(!hit(&stage, 0) && !hit(&stage, staged_service(255, u16::MAX)));
        stage.services[31] = StagedService { first: staged_service(proto::TCP, 8000), more: 10 };
        for (proto, port, expected) in [
            (proto::TCP, 8000, true),
            (proto::TCP, 8010, true),
            (proto::TCP, 7999, false),
            (proto::TCP, 8011, false),
            (proto::UDP, 8000, false),
            (0, 0, false),
        ] {
            assert_eq!(hit(&stage, staged_service(proto, port)), expected, "{proto} {port}");
        }
    }
}
