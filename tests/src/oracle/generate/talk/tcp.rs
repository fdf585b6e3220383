//! TCP conversations: what belongs, what does not, and the edges of the window.

use super::{
    super::{
        build::{Segment, tcp},
        ends::Ends,
    },
    Direction::{self, Back, Forth},
    Talker,
    translated::Translated,
};
use crate::oracle::transport::flag;

/// Far outside every window.
const WILD: u32 = 1 << 30;
/// Distances at which some bound turns: one byte, the window the segments advertise (16,384, shifted by up to two),
/// and the least room an acknowledgement has (66,000).
const EDGES: &[u32] = &[
    1,
    16_382,
    16_383,
    16_384,
    16_385,
    32_767,
    32_768,
    65_535,
    65_536,
    u32::MAX,
    0u32.wrapping_sub(16_383),
    0u32.wrapping_sub(16_384),
    0u32.wrapping_sub(16_385),
    0u32.wrapping_sub(65_536),
    0u32.wrapping_sub(65_999),
    0u32.wrapping_sub(66_000),
    0u32.wrapping_sub(66_001),
];

impl Talker<'_> {
    pub(super) fn tcp(&mut self, ends: &Ends, translated: &Translated) {
        let (mut client, mut server) = (self.rng.bits() as u32, self.rng.bits() as u32);
        let scale = self.rng.chance(30).then(|| self.rng.below(3) as u8);
        let mut send = |this: &mut Self, direction: Direction, flags: u8, data: usize, seq_off: u32, ack_off: u32| {
            let (seq, ack) = if direction == Direction::Forth { (client, server) } else { (server, client) };
            let ack = if flags & flag::ACK != 0 { ack.wrapping_add(ack_off) } else { 0 };
            let seq = seq.wrapping_add(seq_off);
            this.last_seq = seq;
            let offered = if flags & flag::SYN != 0 { scale } else { None };
            this.carry(ends, translated, direction, &|sport, dport| {
                tcp(&Segment { sport, dport, seq, ack, flags, data, scale: offered })
            });
            if seq_off == 0 && ack_off == 0 {
                let step = data as u32 + u32::from(flags & (flag::SYN | flag::FIN) != 0);
                if direction == Direction::Forth {
                    client = client.wrapping_add(step);
                } else {
                    server = server.wrapping_add(step);
                }
            }
        };
        let syn_flags = if self.rng.chance(20) { flag::SYN | flag::ECE | flag::CWR } else { flag::SYN };
        match self.rng.below(12) {
            0 => {
                let flags = self.rng.bits() as u8;
                send(self, Forth, flags, 0, 0, 0);
            }
            1 => send(self, Forth, flag::SYN, 10, 0, 0),
            _ => {}
        }
        if self.rng.chance(95) {
            send(self, Forth, syn_flags, 0, 0, 0);
            if !self.passed && self.rng.chance(85) {
                return;
            }
        }
        match self.rng.below(12) {
            0 => send(self, Forth, flag::SYN, 0, u32::MAX, 0),
            1 => send(self, Back, flag::SYN | flag::ACK, 0, WILD, 5),
            2 => return send(self, Back, flag::RST | flag::ACK, 0, 0, 0),
            3 => send(self, Back, flag::ACK, 0, WILD, 0),
            4 => send(self, Forth, flag::ACK, 0, WILD, 0),
            5 => send(self, Forth, flag::RST, 0, WILD, 0),
            _ => {}
        }
        send(self, Back, flag::SYN | flag::ACK, 0, 0, 0);
        if self.rng.chance(10) {
            send(self, Back, flag::ACK, 8, WILD, 0);
        }
        let early = if self.rng.chance(20) { 20 } else { 0 };
        send(self, Forth, flag::ACK, early, 0, 0);
        for _ in 0..self.rng.below(5) {
            self.happen();
            if self.rng.chance(12) {
                self.change();
            }
            let side = if self.rng.chance(50) { Forth } else { Back };
            let edge = *self.rng.pick(EDGES);
            let len = *self.rng.pick(&[0, 1, 2, 60]);
            match self.rng.below(20) {
                0 | 1 => send(self, side, flag::ACK, 5, WILD, 0),
                2 => send(self, Forth, flag::ACK, 0, 0, WILD),
                3 => send(self, Forth, flag::SYN, 0, WILD, 0),
                4 => send(self, Back, flag::SYN, 0, WILD, 0),
                5 => send(self, side, flag::RST, 0, WILD, 0),
                6 => send(self, side, flag::ACK, len, edge, 0),
                7 => send(self, side, flag::ACK, len, 0, edge),
                8 => send(self, Forth, flag::SYN | flag::ACK, 0, 0, 0),
                9 => send(self, side, flag::RST, 0, edge, 0),
                n if n % 2 == 0 => {
                    let len = self.rng.below(100);
                    send(self, Forth, flag::ACK | flag::PSH, len, 0, 0);
                    send(self, Back, flag::ACK, 0, 0, 0);
                }
                _ => {
                    let len = self.rng.below(100);
                    send(self, Back, flag::ACK, len, 0, 0);
                    send(self, Forth, flag::ACK, 0, 0, 0);
                }
            }
        }
        match self.rng.below(5) {
            0 => return,
            1 => send(self, Forth, flag::RST, 0, 0, 0),
            2 => send(self, Back, flag::RST | flag::ACK, 0, 0, 0),
            _ => {
                send(self, Forth, flag::FIN | flag::ACK, 0, 0, 0);
                send(self, Back, flag::ACK, 0, 0, 0);
                send(self, Back, flag::FIN | flag::ACK, 0, 0, 0);
                send(self, Forth, flag::ACK, 0, 0, 0);
            }
        }
        self.happen();
        match self.rng.below(4) {
            0 => send(self, Forth, flag::ACK, 0, 0, 0),
            1 => send(self, Forth, flag::SYN, 0, 100_000, 0),
            2 => send(self, Back, flag::ACK, 0, WILD, 0),
            _ => {}
        }
    }
}
