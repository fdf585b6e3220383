//! Records like those of a day at a town hall, and records like those of no day at all.

use std::sync::Arc;

use sekimori_ebpf::{abi::proto, reason::Reason};

use super::record::{Addr, Kind, Record};

/// Terminals of the office.
const TERMINALS: u64 = 300;

/// A repeatable day (splitmix64).
pub(crate) struct Day {
    state: u64,
    now: i64,
    /// Milliseconds between two conversations, on average.
    pub(crate) pace: u64,
    texts: Vec<Arc<str>>,
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> Addr {
    std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().octets()
}

impl Day {
    pub(crate) fn new(seed: u64) -> Self {
        let names = ["", "office", "internet", "lan0", "office-web", "office-dns", "lgwan-asp", "lgwan", "office-ntp"];
        let devices = (0..TERMINALS).map(|number| format!("pc-{number:03}"));
        let texts = names.into_iter().map(Arc::from).chain(devices.map(Arc::from)).collect();
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), now: 1_795_000_000_000, pace: 43, texts }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Small numbers often, large ones seldom: as many of each order of magnitude.
    fn skewed(&mut self, end: u64) -> u64 {
        let magnitude = self.below(u64::from(end.max(2).ilog2()) + 1);
        self.below(1 << (magnitude + 1)).min(end - 1)
    }

    fn text(&self, number: usize) -> Arc<str> {
        self.texts.get(number).cloned().unwrap_or_else(|| Arc::from(""))
    }

    /// One conversation of the office, from beginning to end.
    pub(crate) fn conversation(&mut self) -> Record {
        let pace = self.pace;
        self.now += i64::try_from(self.below(2 * pace + 1)).unwrap_or(0);
        let terminal = self.below(TERMINALS);
        let kind = self.below(100);
        // Names, the web of some thousand sites, an application service on LGWAN, the time.
        let (proto, port, peer, network, rule, seconds) = match kind {
            0..45 => (proto::UDP, 53, v4(198, 51, 100, 53), 2, 5, self.below(2)),
            45..90 => {
                let site = self.skewed(20_000);
                let peer = v4(104, 16 + (site >> 10) as u8, (site >> 2) as u8, (site.wrapping_mul(97)) as u8);
                let proto = if site.is_multiple_of(3) { proto::UDP } else { proto::TCP };
                (proto, 443, peer, 2, 4, self.skewed(3_600))
            }
            90..98 => (proto::TCP, 443, v4(10, 80, 1, 10 + self.below(4) as u8), 7, 6, self.skewed(600)),
            _ => (proto::UDP, 123, v4(198, 51, 100, 123), 2, 8, 0),
        };
        let first = self.now;
        Record {
            kind: Kind::Whole,
            first,
            last: first + i64::try_from(seconds).unwrap_or(0) * 1000,
            host: v4(192, 168, 10 + (terminal / 250) as u8, 2 + (terminal % 250) as u8),
            host_port: 32_768 + self.below(28_232) as u16,
            peer,
            peer_port: port,
            proto,
            zone: self.text(1),
            network: self.text(network),
            interface: self.text(3),
            vlan: 0,
            device: self.text(9 + terminal as usize),
            rule: self.text(rule),
            reason: Reason::Rule as u8,
            outwards: false,
            answered: self.below(20) != 0,
            count: 1,
        }
    }

    /// Refused packets.
    pub(crate) fn refused(&mut self) -> Record {
        let like = self.conversation();
        let none = self.text(0);
        Record {
            kind: Kind::Refused,
            host_port: 0,
            peer_port: self.skewed(65_535) as u16,
            network: Arc::clone(&none),
            rule: none,
            interface: self.text(0),
            reason: Reason::NoRule as u8,
            answered: false,
            count: 1 + self.skewed(1_000),
            ..like
        }
    }

    /// A stretch of the day: one in thirty was refused.
    pub(crate) fn records(&mut self, count: usize) -> Vec<Record> {
        (0..count).map(|_| if self.below(30) == 0 { self.refused() } else { self.conversation() }).collect()
    }

    /// Anything a field can hold.
    pub(crate) fn odd(&mut self, count: usize) -> Vec<Record> {
        let mut all = Vec::new();
        for _ in 0..count {
            let mut addr = || {
                let both = u128::from(self.next()) << 64 | u128::from(self.next());
                (both >> self.below(128)).to_be_bytes()
            };
            let (host, peer) = (addr(), addr());
            let text = |day: &mut Self| -> Arc<str> {
                let letters = ['あ', 'a', '\0', '𠮟', ' ', '-'];
                (0..day.below(9)).map(|_| letters[day.below(6) as usize]).collect::<String>().into()
            };
            let first = (self.next() >> (2 + self.below(60))).cast_signed();
            all.push(Record {
                kind: Kind::of(self.below(6) as u8).unwrap_or(Kind::Whole),
                first,
                last: first + (self.skewed(1 << 40).cast_signed()) * 1000,
                host,
                host_port: self.next() as u16,
                peer,
                peer_port: self.next() as u16,
                proto: self.next() as u8,
                zone: text(self),
                network: text(self),
                interface: text(self),
                vlan: self.next() as u16,
                device: text(self),
                rule: text(self),
                reason: self.next() as u8,
                outwards: self.below(2) == 0,
                answered: self.below(2) == 0,
                count: self.next() >> self.below(64),
            });
        }
        all
    }
}
