//! TCP as the perimeter sees it: states from both directions, sequence windows after van Rooij, resets after RFC 5961.

use crate::{
    abi::{
        SIDE_FIN, SIDE_FIN_ACKED, SIDE_KNOCKS, SIDE_LOOSE, SIDE_SCALES, SIDE_SEEN, STATE_CLOSED, STATE_CLOSING,
        STATE_ESTABLISHED, STATE_OPENING, TcpSide, View,
    },
    packet::{NO_SCALE, Packet, tcp},
    reason::Reason,
};

/// Least distance below the highest acknowledged byte that an acknowledgement may lag (van Rooij's MAXACKWINDOW).
const ACK_LAG: u32 = 66_000;

/// `a` lies before `b` in sequence space.
#[inline(always)]
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Starts tracking at a SYN from side 0.
#[inline(always)]
pub fn open(view: &mut View, packet: &Packet) {
    view.state = STATE_OPENING;
    view.tcp = [TcpSide::default(), TcpSide::default()];
    syn(&mut view.tcp[0], packet);
}

/// Starts tracking in the middle of a stream: no window is known, so none is enforced.
#[inline(always)]
pub fn adopt(view: &mut View, packet: &Packet, side: usize) {
    view.state = STATE_ESTABLISHED;
    view.tcp = [TcpSide::default(), TcpSide::default()];
    view.tcp[0].flags = SIDE_SEEN | SIDE_LOOSE;
    view.tcp[1].flags = SIDE_SEEN | SIDE_LOOSE;
    let end = packet.seq.wrapping_add(packet.payload);
    let sender = &mut view.tcp[side & 1];
    sender.end = end;
    sender.acked = packet.ack;
    view.tcp[(side & 1) ^ 1].end = packet.ack;
}

#[inline(always)]
fn syn(side: &mut TcpSide, packet: &Packet) {
    side.end = packet.seq.wrapping_add(1);
    side.max_end = side.end;
    side.max_window = if packet.window == 0 { 1 } else { packet.window as u32 };
    side.flags = SIDE_SEEN;
    side.scale = 0;
    if packet.scale != NO_SCALE {
        side.flags |= SIDE_SCALES;
        side.scale = packet.scale;
    }
}

/// Whether a SYN from the initiator starts over: the old conversation is closed, or never got an answer.
#[inline(always)]
pub fn restarts(view: &View, packet: &Packet) -> bool {
    let flags = packet.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN);
    flags == tcp::SYN
        && (view.state == STATE_CLOSED
            || (view.state == STATE_OPENING
                && view.tcp[1].flags & SIDE_SEEN == 0
                && view.tcp[0].end != packet.seq.wrapping_add(1)))
}

/// Follows one packet of side `side` (0: the initiator). A reason number to drop it by, or 0.
#[inline(always)]
pub fn track(view: &mut View, packet: &Packet, side: u32) -> u32 {
    if view.state == STATE_OPENING {
        let verdict = if side == 0 { opening_initiator(view, packet) } else { opening_other(view, packet) };
        if verdict != CONTINUE {
            return verdict;
        }
    }
    if packet.tcp_flags & tcp::SYN != 0 {
        return late_syn(view, packet, side);
    }
    if side == 0 {
        let [a, b] = &mut view.tcp;
        window(&mut view.state, a, b, packet)
    } else {
        let [a, b] = &mut view.tcp;
        window(&mut view.state, b, a, packet)
    }
}

/// A SYN in an open conversation.
#[inline(always)]
fn late_syn(view: &mut View, packet: &Packet, side: u32) -> u32 {
    let answers = packet.tcp_flags & tcp::ACK != 0;
    if side == 0 && !answers {
        // A restarted host. It changes nothing by itself: the other side challenges it (RFC 5961 §4), or, having
        // forgotten the old conversation, accepts it.
        view.tcp[0].flags |= SIDE_KNOCKS;
        view.knock = packet.seq.wrapping_add(1);
        view.knock_window = packet.window;
        view.knock_scale = packet.scale;
        return PASS;
    }
    if side == 0 || !answers {
        return Reason::TcpState as u32;
    }
    // The handshake's own SYN+ACK, repeated because our initiator's ACK was lost.
    if view.tcp[1].end == packet.seq.wrapping_add(1) && packet.payload == 0 && view.tcp[0].flags & SIDE_KNOCKS == 0 {
        return PASS;
    }
    if view.tcp[0].flags & SIDE_KNOCKS == 0 || packet.ack != view.knock {
        return Reason::TcpState as u32;
    }
    let again = Packet {
        seq: view.knock.wrapping_sub(1),
        window: view.knock_window,
        scale: view.knock_scale,
        ..Packet::default()
    };
    open(view, &again);
    opening_other(view, packet)
}

const PASS: u32 = 0;
/// Go on with the established checks.
const CONTINUE: u32 = u32::MAX;

#[inline(always)]
fn opening_initiator(view: &mut View, packet: &Packet) -> u32 {
    let f = packet.tcp_flags;
    let [s, r] = &mut view.tcp;
    if f & tcp::SYN != 0 {
        let again = f & tcp::ACK == 0 && s.end == packet.seq.wrapping_add(1) && packet.payload == 0;
        return if again { PASS } else { Reason::TcpState as u32 };
    }
    if f & tcp::RST != 0 {
        // Ends what the other side still holds of an earlier conversation; the SYN is sent again.
        if s.flags & SIDE_KNOCKS != 0 && packet.seq == view.knock {
            return PASS;
        }
        if packet.seq != s.end {
            return Reason::TcpState as u32;
        }
        view.state = STATE_CLOSED;
        return PASS;
    }
    let completes = r.flags & SIDE_SEEN != 0 && f & tcp::ACK != 0 && packet.ack == r.end && packet.seq == s.end;
    if !completes {
        return Reason::TcpState as u32;
    }
    s.flags &= !SIDE_KNOCKS;
    view.state = STATE_ESTABLISHED;
    CONTINUE
}

#[inline(always)]
fn opening_other(view: &mut View, packet: &Packet) -> u32 {
    let f = packet.tcp_flags;
    let [s, r] = &mut view.tcp;
    if f & tcp::RST != 0 {
        let exact =
            if f & tcp::ACK != 0 { packet.ack == s.end } else { r.flags & SIDE_SEEN != 0 && packet.seq == r.end };
        if !exact {
            return Reason::TcpState as u32;
        }
        view.state = STATE_CLOSED;
        return PASS;
    }
    // An earlier conversation of the same ports, which is over here and not there: the other side says what it waits for, and our
    // initiator resets it (RFC 9293 §3.5.1, "half-open connections").
    let challenges = f & (tcp::SYN | tcp::ACK | tcp::FIN) == tcp::ACK && packet.payload == 0 && packet.ack != s.end;
    if challenges && r.flags & SIDE_SEEN == 0 {
        s.flags |= SIDE_KNOCKS;
        view.knock = packet.ack;
        return PASS;
    }
    let answers = f & tcp::SYN != 0 && f & tcp::ACK != 0 && packet.ack == s.end && packet.payload == 0;
    let repeats = r.flags & SIDE_SEEN == 0 || r.end == packet.seq.wrapping_add(1);
    if !answers || !repeats {
        return Reason::TcpState as u32;
    }
    syn(r, packet);
    r.flags |= SIDE_ACKED_ONCE;
    if s.flags & r.flags & SIDE_SCALES == 0 {
        s.scale = 0;
        r.scale = 0;
    }
    r.acked = packet.ack;
    r.max_end = r.end.wrapping_add(s.max_window);
    s.max_end = packet.ack.wrapping_add(r.max_window);
    PASS
}

/// Sender `s`, receiver `r`: the four bounds, then what the packet teaches.
#[inline(always)]
fn window(state: &mut u8, s: &mut TcpSide, r: &mut TcpSide, packet: &Packet) -> u32 {
    let f = packet.tcp_flags;
    let has_ack = f & tcp::ACK != 0;
    let fin = (f & tcp::FIN != 0) as u32;
    let end = packet.seq.wrapping_add(packet.payload).wrapping_add(fin);
    let advertised = (packet.window as u32) << (s.scale & 15);
    let loose = (s.flags | r.flags) & SIDE_LOOSE != 0;
    if !loose {
        let lag = if s.max_window > ACK_LAG { s.max_window } else { ACK_LAG };
        let outside = before(s.max_end, packet.seq)
            || before(end, s.end.wrapping_sub(r.max_window))
            || (has_ack && before(r.end, packet.ack))
            || (has_ack && before(packet.ack, r.end.wrapping_sub(lag)));
        if outside {
            return Reason::TcpWindow as u32;
        }
    }
    if f & tcp::RST != 0 {
        // The very next byte the receiver waits for ends the conversation, and so does the last word of a side that gives
        // up with data on the way; any other reset in the window is the receiver's to challenge.
        if packet.seq == r.acked || packet.seq == s.end {
            *state = STATE_CLOSED;
        }
        return PASS;
    }
    if advertised > s.max_window {
        s.max_window = advertised;
    }
    if before(s.end, end) {
        s.end = end;
    }
    if has_ack {
        if before(s.acked, packet.ack) || s.flags & SIDE_ACKED_ONCE == 0 {
            s.acked = packet.ack;
            s.flags |= SIDE_ACKED_ONCE;
        }
        // A zero window still admits the probe of one byte (RFC 9293 §3.8.6.1).
        let room = if advertised == 0 { 1 } else { advertised };
        let limit = packet.ack.wrapping_add(room);
        if before(r.max_end, limit) {
            r.max_end = limit;
        }
        if r.flags & SIDE_FIN != 0 && packet.ack == r.end {
            r.flags |= SIDE_FIN_ACKED;
        }
    }
    if fin != 0 && end == s.end {
        s.flags |= SIDE_FIN;
        if *state == STATE_ESTABLISHED {
            *state = STATE_CLOSING;
        }
    }
    if s.flags & r.flags & SIDE_FIN_ACKED != 0 {
        *state = STATE_CLOSED;
    }
    PASS
}

/// This side's first acknowledgement was seen, so `acked` can be compared.
const SIDE_ACKED_ONCE: u8 = 1 << 5;

/// Whether an ICMP error's quoted sequence number is one this flow's side `side` may have sent.
#[inline(always)]
pub fn may_have_sent(view: &View, side: u32, seq: u32) -> bool {
    let (s, r) = if side == 0 { (&view.tcp[0], &view.tcp[1]) } else { (&view.tcp[1], &view.tcp[0]) };
    if (s.flags | r.flags) & SIDE_LOOSE != 0 {
        return true;
    }
    if s.flags & SIDE_SEEN == 0 {
        return false;
    }
    let back = if r.max_window > ACK_LAG { r.max_window } else { ACK_LAG };
    !before(s.end, seq) && !before(seq, s.end.wrapping_sub(back))
}

#[cfg(test)]
mod tests;
