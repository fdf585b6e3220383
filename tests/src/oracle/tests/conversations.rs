//! Flows, replies, ICMP errors, TCP.
use super::*;
use crate::oracle::generate::build::icmp;

fn there() -> (Ip, Vec<u8>) {
    (ip("192.168.10.17", "198.51.100.5", 17), udp(40_000, 443, 10))
}
fn back() -> (Ip, Vec<u8>) {
    (ip("198.51.100.5", "192.168.10.17", 17), udp(443, 40_000, 10))
}

#[test]
fn a_reply_needs_a_conversation() {
    let mut court = Court::new();
    let ((to, asks), (from, answers)) = (there(), back());
    assert_eq!(court.internet_sends(&from, &answers), "no_rule");
    assert_eq!(court.pc_sends(&to, &asks), "rule");
    assert_eq!(court.leaves("wan0", &to, &asks), "flow");
    assert_eq!(court.internet_sends(&from, &answers), "flow");
    assert_eq!(court.leaves("lan0", &from, &answers), "flow");
    assert_eq!(court.pc_sends(&to, &asks), "flow");
    assert_eq!(court.leaves("dmz0", &to, &asks), "wrong_way");
    court.wait(130);
    assert_eq!(court.internet_sends(&from, &answers), "no_rule");
    assert_eq!(court.pc_sends(&to, &asks), "rule");
}

#[test]
fn a_reply_nobody_at_the_inside_waits_for() {
    let mut court = Court::new();
    let ((to, asks), (from, answers)) = (there(), back());
    court.pc_sends(&to, &asks);
    court.leaves("wan0", &to, &asks);
    assert_eq!(court.internet_sends(&from, &answers), "flow");
    court.state.views.retain(|view| view.key.port.interface == "wan0");
    assert_eq!(court.leaves("lan0", &from, &answers), "no_flow");
}

#[test]
fn a_switch_ends_what_it_forbids() {
    let mut court = Court::new();
    let ((to, asks), (from, answers)) = (there(), back());
    court.pc_sends(&to, &asks);
    court.leaves("wan0", &to, &asks);
    court.policy.rules.remove(0);
    court.state.revision += 1;
    assert_eq!(court.internet_sends(&from, &answers), "flow");
    assert_eq!(court.leaves("lan0", &from, &answers), "flow_ended");
    assert_eq!(court.pc_sends(&to, &asks), "no_rule");
}

#[test]
fn echoes_by_identifier() {
    let mut court = Court::new();
    let request = |id: u8| icmp(8, 0, [0, id, 0, 1], &[]);
    let reply = |id: u8| icmp(0, 0, [0, id, 0, 1], &[]);
    let (to, from) = (ip("192.168.10.17", "198.51.100.5", 1), ip("198.51.100.5", "192.168.10.17", 1));
    assert_eq!(court.internet_sends(&from, &reply(7)), "no_flow");
    assert_eq!(court.pc_sends(&to, &request(7)), "rule");
    assert_eq!(court.leaves("wan0", &to, &request(7)), "flow");
    assert_eq!(court.internet_sends(&from, &reply(7)), "flow");
    assert_eq!(court.internet_sends(&from, &reply(8)), "no_flow");
    assert_eq!(court.pc_sends(&to, &reply(7)), "no_flow");
    assert_eq!(court.internet_sends(&from, &request(7)), "no_flow");
}

#[test]
fn icmp_errors_about_live_conversations() {
    let mut court = Court::new();
    let (to, asks) = there();
    court.pc_sends(&to, &asks);
    court.leaves("wan0", &to, &asks);
    let quote = to.bytes(&asks);
    let error = |quote: &[u8], mtu: u8| icmp(3, 4, [0, 0, 4, mtu], quote);
    let teller = ip("198.51.100.1", "192.168.10.17", 1);
    assert_eq!(court.internet_sends(&teller, &error(&quote, 0)), "related");
    assert_eq!(court.leaves("lan0", &teller, &error(&quote, 0)), "related");
    assert_eq!(court.internet_sends(&teller, &icmp(3, 4, [0, 0, 0, 67], &quote)), "icmp_unrelated");
    assert_eq!(court.internet_sends(&teller, &error(&quote[..27], 0)), "icmp_unrelated");
    let stranger = ip("192.168.10.17", "198.51.100.9", 17).bytes(&asks);
    assert_eq!(court.internet_sends(&teller, &error(&stranger, 0)), "icmp_unrelated");
    let elsewhere = ip("198.51.100.1", "192.168.10.18", 1);
    assert_eq!(court.internet_sends(&elsewhere, &error(&quote, 0)), "icmp_unrelated");
    court.policy.builtin.icmp_errors = false;
    assert_eq!(court.internet_sends(&teller, &error(&quote, 0)), "icmp_unrelated");
}

/// TCP between the terminal and a web server, judged at the terminal's side only.
struct Wire {
    court: Court,
}

impl Wire {
    fn open() -> Self {
        let mut wire = Self { court: Court::new() };
        assert_eq!(wire.client(999, 0, flag::SYN, 0), "rule");
        assert_eq!(wire.server(4_999, 1_000, flag::SYN | flag::ACK, 0), "flow");
        assert_eq!(wire.client(1_000, 5_000, flag::ACK, 0), "flow");
        wire
    }
    fn client(&mut self, seq: u32, ack: u32, flags: u8, data: usize) -> &'static str {
        let to = ip("192.168.10.17", "198.51.100.5", 6);
        let bytes = segment(40_000, 443, seq, ack, flags, data);
        let verdict = self.court.pc_sends(&to, &bytes);
        if ["rule", "flow"].contains(&verdict) {
            assert_eq!(self.court.leaves("wan0", &to, &bytes), "flow");
        }
        verdict
    }
    fn server(&mut self, seq: u32, ack: u32, flags: u8, data: usize) -> &'static str {
        let from = ip("198.51.100.5", "192.168.10.17", 6);
        let bytes = segment(443, 40_000, seq, ack, flags, data);
        assert_eq!(self.court.internet_sends(&from, &bytes), "flow");
        self.court.leaves("lan0", &from, &bytes)
    }
}

#[test]
fn tcp_opening() {
    let mut wire = Wire { court: Court::new() };
    assert_eq!(wire.client(999, 0, flag::SYN, 0), "rule");
    assert_eq!(wire.client(999, 0, flag::SYN, 0), "flow");
    assert_eq!(wire.client(1_000, 1, flag::ACK, 0), "tcp_state");
    assert_eq!(wire.server(4_999, 1_001, flag::SYN | flag::ACK, 0), "tcp_state");
    assert_eq!(wire.server(4_999, 1_000, flag::ACK, 0), "tcp_state");
    assert_eq!(wire.server(4_999, 1_000, flag::SYN | flag::ACK, 0), "flow");
    assert_eq!(wire.client(1_000, 5_001, flag::ACK, 0), "tcp_state");
    assert_eq!(wire.client(1_000, 5_000, flag::ACK, 0), "flow");
}

/// The server never learned that the last conversation of these ports is over (RFC 9293, 3.5.1).
#[test]
fn tcp_half_open() {
    let mut wire = Wire { court: Court::new() };
    assert_eq!(wire.client(999, 0, flag::SYN, 0), "rule");
    assert_eq!(wire.client(500, 0, flag::RST, 0), "tcp_state");
    assert_eq!(wire.server(7_000, 500, flag::ACK, 1), "tcp_state");
    assert_eq!(wire.server(7_000, 500, flag::ACK, 0), "flow");
    assert_eq!(wire.client(501, 0, flag::RST, 0), "tcp_state");
    assert_eq!(wire.client(500, 0, flag::RST, 0), "flow");
    assert_eq!(wire.client(999, 0, flag::SYN, 0), "flow");
    assert_eq!(wire.server(4_999, 1_000, flag::SYN | flag::ACK, 0), "flow");
    assert_eq!(wire.server(7_000, 500, flag::ACK, 0), "tcp_state");
    assert_eq!(wire.client(1_000, 5_000, flag::ACK, 0), "flow");
}

#[test]
fn tcp_windows() {
    let mut wire = Wire::open();
    assert_eq!(wire.client(1_000, 5_000, flag::ACK | flag::PSH, 100), "flow");
    assert_eq!(wire.server(5_000, 1_100, flag::ACK, 50), "flow");
    assert_eq!(wire.client(1_000 + 1_000_000, 5_050, flag::ACK, 1), "tcp_window");
    assert_eq!(wire.client(1_100, 5_050 + 1_000_000, flag::ACK, 1), "tcp_window");
    assert_eq!(wire.server(5_050u32.wrapping_sub(1_000_000), 1_100, flag::ACK, 1), "tcp_window");
    assert_eq!(wire.server(9, 0, flag::SYN, 0), "tcp_state");
    assert_eq!(wire.client(9, 0, flag::SYN, 0), "flow");
}

#[test]
fn tcp_closing() {
    let mut wire = Wire::open();
    assert_eq!(wire.client(1_000, 5_000, flag::FIN | flag::ACK, 0), "flow");
    assert_eq!(wire.server(5_000, 1_001, flag::FIN | flag::ACK, 0), "flow");
    assert_eq!(wire.client(1_001, 5_001, flag::ACK, 0), "flow");
    assert_eq!(wire.client(1_001, 5_001, flag::ACK, 0), "flow", "late, yet inside the windows");
    assert_eq!(wire.client(70_000, 0, flag::SYN, 0), "rule", "a new conversation");
    let mut wire = Wire::open();
    assert_eq!(wire.server(5_000, 1_000, flag::RST | flag::ACK, 0), "flow");
    wire.court.wait(11);
    assert_eq!(wire.client(1_000, 5_000, flag::ACK, 1), "tcp_not_syn");
}

#[test]
fn a_syn_after_the_handshake_counts_once_it_is_answered() {
    let mut court = Court::new();
    let (to, from) = (ip("192.168.10.17", "192.168.10.1", 6), ip("192.168.10.1", "192.168.10.17", 6));
    let here = |seq: u32, ack: u32, flags: u8| segment(40_000, 22, seq, ack, flags, 0);
    let there = |seq: u32, ack: u32| segment(22, 40_000, seq, ack, flag::SYN | flag::ACK, 0);
    assert_eq!(court.pc_sends(&to, &here(1000, 0, flag::SYN)), "rule");
    assert_eq!(court.leaves_as("lan0", &from, &there(5000, 1001), Origin::Box), "flow");
    assert_eq!(court.pc_sends(&to, &here(1001, 5001, flag::ACK)), "flow");
    assert_eq!(court.leaves_as("lan0", &from, &there(5000, 1001), Origin::Box), "flow");
    assert_eq!(court.leaves_as("lan0", &from, &there(9000, 8001), Origin::Box), "tcp_state");
    assert_eq!(court.pc_sends(&to, &here(8000, 0, flag::SYN)), "flow");
    assert_eq!(court.leaves_as("lan0", &from, &there(5000, 1001), Origin::Box), "tcp_state");
    assert_eq!(court.pc_sends(&to, &here(1001, 5001, flag::ACK)), "flow");
    assert_eq!(court.leaves_as("lan0", &from, &there(9000, 8001), Origin::Box), "flow");
    assert_eq!(court.pc_sends(&to, &here(1001, 5001, flag::ACK)), "tcp_state");
    assert_eq!(court.pc_sends(&to, &here(8001, 9001, flag::ACK)), "flow");
}
