use super::*;
use crate::packet::tcp::{ACK, FIN, PSH, RST, SYN};

const PASSED: u32 = 0;
const STATE: u32 = Reason::TcpState as u32;
const WINDOW: u32 = Reason::TcpWindow as u32;
/// Initial sequence numbers, chosen so that the initiator's wraps within a few segments.
const A: u32 = u32::MAX - 50;
const B: u32 = 7_000;

fn segment(flags: u8, seq: u32, ack: u32, payload: u32) -> Packet {
    Packet { tcp_flags: flags, seq, ack, payload, window: 1_000, scale: NO_SCALE, ..Packet::default() }
}

fn opening() -> View {
    let mut view = View::default();
    open(&mut view, &segment(SYN, A, 0, 0));
    view
}

fn established() -> View {
    let mut view = opening();
    assert_eq!(track(&mut view, &segment(SYN | ACK, B, A.wrapping_add(1), 0), 1), PASSED);
    assert_eq!(view.state, STATE_OPENING);
    assert_eq!(track(&mut view, &segment(ACK, A.wrapping_add(1), B + 1, 0), 0), PASSED);
    assert_eq!(view.state, STATE_ESTABLISHED);
    view
}

#[test]
fn nothing_is_established_before_the_third_segment() {
    let mut view = opening();
    assert_eq!(track(&mut view, &segment(ACK, A.wrapping_add(1), B + 1, 0), 0), STATE, "no answer yet");
    assert_eq!(track(&mut view, &segment(ACK, B, A.wrapping_add(1), 0), 1), STATE, "an answer without SYN");
    assert_eq!(track(&mut view, &segment(SYN | ACK, B, A.wrapping_add(2), 0), 1), STATE, "acknowledges another SYN");
    assert_eq!(track(&mut view, &segment(SYN, A, 0, 0), 0), PASSED, "the SYN again");
    assert_eq!(track(&mut view, &segment(SYN | ACK, B, A.wrapping_add(1), 0), 1), PASSED);
    assert_eq!(
        track(&mut view, &segment(ACK | PSH, B + 1, A.wrapping_add(1), 10), 1),
        STATE,
        "data before the handshake is over"
    );
    assert_eq!(track(&mut view, &segment(ACK, A.wrapping_add(1), B + 2, 0), 0), STATE, "completes another handshake");
    assert_eq!(view.state, STATE_OPENING);
}

/// RFC 9293 §3.5.1, figure 9: the other side never learned that the last conversation of these ports is over.
#[test]
fn a_half_open_conversation_is_reset_and_the_next_begins() {
    let mut view = opening();
    assert_eq!(track(&mut view, &segment(RST, 900, 0, 0), 0), STATE, "nothing to reset yet");
    assert_eq!(track(&mut view, &segment(ACK | PSH, 500, 900, 5), 1), STATE, "data is no challenge");
    assert_eq!(track(&mut view, &segment(ACK, 500, 900, 0), 1), PASSED, "what the other side waits for");
    assert_eq!(track(&mut view, &segment(ACK, 901, 501, 0), 0), STATE, "the handshake is no further");
    assert_eq!(track(&mut view, &segment(RST, 901, 0, 0), 0), STATE, "another reset");
    assert_eq!(track(&mut view, &segment(RST, 900, 0, 0), 0), PASSED);
    assert_eq!(view.state, STATE_OPENING, "it was of the old one");
    assert_eq!(track(&mut view, &segment(SYN, A, 0, 0), 0), PASSED, "the SYN again");
    assert_eq!(track(&mut view, &segment(SYN | ACK, B, A.wrapping_add(1), 0), 1), PASSED);
    assert_eq!(track(&mut view, &segment(ACK, 500, 900, 0), 1), STATE, "it has answered by now");
    assert_eq!(track(&mut view, &segment(ACK, A.wrapping_add(1), B + 1, 0), 0), PASSED);
    assert_eq!(view.state, STATE_ESTABLISHED);
    assert_eq!(view.tcp[0].flags & SIDE_KNOCKS, 0);
}

#[test]
fn a_refusal_must_acknowledge_the_syn() {
    let mut view = opening();
    assert_eq!(track(&mut view, &segment(RST | ACK, 0, A, 0), 1), STATE);
    assert_eq!(track(&mut view, &segment(RST | ACK, 0, A.wrapping_add(1), 0), 1), PASSED);
    assert_eq!(view.state, STATE_CLOSED);
    assert!(restarts(&view, &segment(SYN, 42, 0, 0)));
}

#[test]
fn data_stays_within_what_the_other_side_allows_across_the_wrap() {
    let mut view = established();
    let mut seq = A.wrapping_add(1);
    for _ in 0..20 {
        assert_eq!(track(&mut view, &segment(ACK | PSH, seq, B + 1, 500), 0), PASSED);
        seq = seq.wrapping_add(500);
        assert_eq!(track(&mut view, &segment(ACK, B + 1, seq, 0), 1), PASSED);
    }
    // The other side allows 1,000 bytes past what it acknowledged.
    assert_eq!(track(&mut view, &segment(ACK, seq.wrapping_add(1_000), B + 1, 1), 0), PASSED, "the edge itself");
    assert_eq!(track(&mut view, &segment(ACK, seq.wrapping_add(100_001), B + 1, 1), 0), WINDOW);
    assert_eq!(track(&mut view, &segment(ACK, seq.wrapping_sub(200_000), B + 1, 1), 0), WINDOW, "long gone");
    assert_eq!(
        track(&mut view, &segment(ACK, B + 1, seq.wrapping_add(5_000), 0), 1),
        WINDOW,
        "acknowledges what was never sent"
    );
    assert_eq!(
        track(&mut view, &segment(ACK, B + 1, seq.wrapping_sub(70_000), 0), 1),
        WINDOW,
        "an ancient acknowledgement"
    );
}

#[test]
fn only_the_exact_reset_closes() {
    let mut view = established();
    assert_eq!(track(&mut view, &segment(RST, B + 2, 0, 0), 1), PASSED, "in the window: the receiver's to challenge");
    assert_eq!(view.state, STATE_ESTABLISHED);
    assert_eq!(track(&mut view, &segment(RST, B + 1 + 100_000, 0, 0), 1), WINDOW);
    assert_eq!(view.state, STATE_ESTABLISHED);
    assert_eq!(track(&mut view, &segment(RST, B + 1, 0, 0), 1), PASSED);
    assert_eq!(view.state, STATE_CLOSED);
}

#[test]
fn a_syn_in_the_middle_ends_nothing() {
    let mut view = established();
    let sides = view.tcp[1];
    assert_eq!(track(&mut view, &segment(SYN | ACK, B, A.wrapping_add(1), 0), 1), PASSED, "the handshake's, repeated");
    assert_eq!(track(&mut view, &segment(SYN, 99, 0, 0), 0), PASSED, "a restarted host: the other side challenges");
    assert_eq!(track(&mut view, &segment(SYN, 99, 0, 0), 1), STATE, "never from the other side");
    assert_eq!(track(&mut view, &segment(SYN | ACK, 99, 0, 0), 0), STATE, "never with an acknowledgement");
    assert_eq!(track(&mut view, &segment(SYN | ACK, B + 9, A.wrapping_add(1), 0), 1), STATE);
    assert_eq!((view.state, view.tcp[1]), (STATE_ESTABLISHED, sides));
    assert!(!restarts(&view, &segment(SYN, 99, 0, 0)));
    assert_eq!(track(&mut view, &segment(ACK | PSH, A.wrapping_add(1), B + 1, 10), 0), PASSED, "and goes on");
}

#[test]
fn both_fins_must_be_acknowledged() {
    let mut view = established();
    let a = A.wrapping_add(1);
    assert_eq!(track(&mut view, &segment(FIN | ACK, a, B + 1, 0), 0), PASSED);
    assert_eq!(view.state, STATE_CLOSING);
    assert_eq!(
        track(&mut view, &segment(ACK | PSH, B + 1, a.wrapping_add(1), 300), 1),
        PASSED,
        "half open: the other side still speaks"
    );
    assert_eq!(track(&mut view, &segment(FIN | ACK, B + 301, a.wrapping_add(1), 0), 1), PASSED);
    assert_eq!(view.state, STATE_CLOSING);
    assert_eq!(track(&mut view, &segment(ACK, a.wrapping_add(1), B + 302, 0), 0), PASSED);
    assert_eq!(view.state, STATE_CLOSED);
    assert!(restarts(&view, &segment(SYN, 5, 0, 0)));
}

#[test]
fn scaling_counts_only_if_both_offer_it() {
    for (both, allowed) in [(true, 1_000 << 7), (false, 1_000)] {
        let mut view = View::default();
        open(&mut view, &Packet { scale: 7, ..segment(SYN, A, 0, 0) });
        let answer = Packet { scale: if both { 7 } else { NO_SCALE }, ..segment(SYN | ACK, B, A.wrapping_add(1), 0) };
        assert_eq!(track(&mut view, &answer, 1), PASSED);
        assert_eq!(track(&mut view, &segment(ACK, A.wrapping_add(1), B + 1, 0), 0), PASSED);
        assert_eq!(track(&mut view, &segment(ACK, B + 1, A.wrapping_add(1), 0), 1), PASSED);
        let edge = A.wrapping_add(1).wrapping_add(allowed);
        assert_eq!(track(&mut view, &segment(ACK, edge, B + 1, 0), 0), PASSED, "both: {both}");
        assert_eq!(track(&mut view, &segment(ACK, edge.wrapping_add(1), B + 1, 0), 0), WINDOW, "both: {both}");
    }
}

#[test]
fn an_adopted_stream_has_no_window_but_can_end() {
    let mut view = View::default();
    adopt(&mut view, &segment(ACK, 123_456, 654_321, 100), 0);
    assert_eq!(view.state, STATE_ESTABLISHED);
    assert_eq!(track(&mut view, &segment(ACK, 900_000_000, 654_321, 100), 0), PASSED);
    assert_eq!(track(&mut view, &segment(ACK, 654_321, 900_000_100, 0), 1), PASSED);
    assert_eq!(track(&mut view, &segment(RST, 900_000_100, 0, 0), 0), PASSED);
    assert_eq!(view.state, STATE_CLOSED);
}

#[test]
fn an_error_may_quote_only_what_was_sent() {
    let view = established();
    assert!(may_have_sent(&view, 0, A.wrapping_add(1)));
    assert!(!may_have_sent(&view, 0, A.wrapping_add(5_000)));
    assert!(!may_have_sent(&view, 0, A.wrapping_sub(1_300_000_000)));
    assert!(may_have_sent(&view, 1, B));
    assert!(!may_have_sent(&opening(), 1, 0), "a side that has not spoken");
}

/// A client that gives up with data on the way says its last word at the end of what it sent, not where the other side
/// has acknowledged so far.
#[test]
fn an_abort_with_data_on_the_way_closes() {
    let mut view = established();
    let a = A.wrapping_add(1);
    assert_eq!(track(&mut view, &segment(ACK | PSH, a, B + 1, 900), 0), PASSED);
    assert_eq!(track(&mut view, &segment(RST | ACK, a.wrapping_add(900), B + 1, 0), 0), PASSED);
    assert_eq!(view.state, STATE_CLOSED);
    assert!(restarts(&view, &segment(SYN, 5, 0, 0)));
}

/// The other side has forgotten the conversation and accepts the initiator's new SYN instead of challenging it.
#[test]
fn an_accepted_knock_starts_anew() {
    let mut view = established();
    assert_eq!(track(&mut view, &segment(SYN, 500, 0, 0), 0), PASSED);
    assert_eq!(track(&mut view, &segment(SYN, 600, 0, 0), 0), PASSED, "the last one counts");
    assert_eq!(track(&mut view, &segment(SYN | ACK, 9_000, 501, 0), 1), STATE, "accepts the first one");
    assert_eq!(view.state, STATE_ESTABLISHED);
    assert_eq!(track(&mut view, &segment(SYN | ACK, 9_000, 601, 0), 1), PASSED);
    assert_eq!(view.state, STATE_OPENING);
    assert_eq!(track(&mut view, &segment(ACK, 601, 9_001, 0), 0), PASSED);
    assert_eq!(view.state, STATE_ESTABLISHED);
    assert_eq!(track(&mut view, &segment(ACK | PSH, 601, 9_001, 700), 0), PASSED);
    assert_eq!(track(&mut view, &segment(ACK, 9_001, 1_301, 0), 1), PASSED);
    assert_eq!(track(&mut view, &segment(ACK | PSH, A.wrapping_add(1), B + 1, 10), 0), WINDOW, "the old conversation");
}

/// An old acknowledgement that is late on its way does not move what the other side waits for.
#[test]
fn a_late_acknowledgement_changes_nothing() {
    let mut view = established();
    let a = A.wrapping_add(1);
    assert_eq!(track(&mut view, &segment(ACK | PSH, B + 1, a.wrapping_sub(60_000), 1), 1), PASSED);
    assert_eq!(track(&mut view, &segment(ACK | PSH, a, B + 1, 500), 0), PASSED);
    assert_eq!(track(&mut view, &segment(RST, a, 0, 0), 0), PASSED);
    assert_eq!(view.state, STATE_CLOSED, "exactly what the other side has acknowledged");
}
