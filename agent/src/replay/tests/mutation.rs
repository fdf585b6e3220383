//! Thousands of damaged captures: never a panic, always one verdict a packet.

use super::super::test_bytes::*;
use super::*;

/// xorshift64*: the same captures on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn frames() -> Vec<Vec<u8>> {
    let (pc, cloud) = (([192, 168, 10, 17], 40000), ([198, 51, 100, 5], 443));
    let v6 = [&[0x60, 0, 0, 0, 0, 8, 17, 64][..], &[0x20; 16], &[0x21; 16], &[0, 53, 0, 54, 0, 8, 0, 0]].concat();
    vec![
        ethernet(mac(0x10, 1), mac(0x10, 0x17), &[], 0x0800, &tcp(pc, cloud, 2, 1, b"")),
        ethernet(mac(0x99, 2), mac(0x99, 1), &[], 0x0800, &tcp(cloud, pc, 0x12, 9, b"")),
        ethernet(mac(0x10, 1), mac(0x10, 0x17), &[10], 0x0800, &udp(pc, cloud, &[7; 300])),
        ethernet(mac(0x10, 1), mac(0x10, 0x17), &[100, 20, 3], 0x86dd, &v6),
        ethernet([0xff; 6], mac(0x10, 0x17), &[], 0x0806, &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0x10, 0x17]),
        ethernet(mac(0x99, 2), mac(0x99, 1), &[], 0x0800, &tcp(cloud, ([203, 0, 113, 10], 443), 2, 1, b"")),
        ethernet(mac(0x99, 1), mac(0x99, 2), &[], 0x0800, &tcp(([203, 0, 113, 10], 443), cloud, 0x12, 1, b"")),
        vec![1; 13],
        ethernet(mac(0x10, 1), mac(0x10, 0x17), &[], 0x0800, &tcp(pc, cloud, 0x10, 1, &vec![3; 9000])),
    ]
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => bytes.truncate(at.max(1)),
            3 => {
                bytes.remove(at);
            }
            4 => bytes.insert(at, random.next() as u8),
            _ => {
                let from = random.below(bytes.len());
                let piece: Vec<u8> = bytes[from..].iter().copied().take(random.below(64)).collect();
                bytes.splice(at..at, piece);
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

#[test]
fn damaged_captures_never_panic_and_every_packet_gets_one_verdict() {
    let frames = frames();
    let classic = capture(&frames);
    let mut next = [section(false), interface(false, 1, 0, &[(9, &[9])])].concat();
    for (number, frame) in frames.iter().enumerate() {
        next.extend(enhanced(false, 0, number as u64, frame.len() as u32, frame));
        next.extend(simple(false, 2 * frame.len() as u32, frame));
    }
    let seed = 0x5ee0_5ee0_2026_1122;
    let mut random = Random(seed);
    let (mut verdicts, mut faults) = (0, 0);
    for round in 0..6000 {
        let mut bytes = if round % 2 == 0 { classic.clone() } else { next.clone() };
        damage(&mut bytes, &mut random);
        let entry = if round % 3 == 0 { Entry::Interface("lan0".into()) } else { Entry::Auto };
        let mut answers = Random(random.next());
        let mut judge = Witness::new(|_, _| {
            let all = sekimori_ebpf::reason::ALL;
            Judged { rule: Some(answers.below(3)), ..says(all[answers.below(all.len())]) }
        });
        let (lines, summary, ended) = replay(&bytes, &mut judge, &options(entry));
        assert_eq!(lines.len() as u64, summary.packets, "seed {seed:#x}, round {round}");
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(line["n"], number + 1, "seed {seed:#x}, round {round}");
            assert!(line["verdict"] == "pass" || line["verdict"] == "drop");
        }
        match ended {
            Ok(()) => {}
            Err(Error::Capture(fault)) => {
                faults += 1;
                assert_eq!(fault.packets, summary.packets, "seed {seed:#x}, round {round}");
                assert!(fault.offset <= bytes.len() as u64);
            }
            Err(error) => panic!("seed {seed:#x}, round {round}: {error}"),
        }
        verdicts += lines.len();
    }
    assert!(verdicts > 20_000 && faults > 1_000, "{verdicts} verdicts, {faults} faults: the damage is not varied");
}
